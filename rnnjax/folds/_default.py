"""The default fold."""

from functools import partial

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._values import by_value
from rnnjax.folds._blocked import blocked
from rnnjax.folds._cost import cost_of, worth_storing
from rnnjax.folds._sequence import Fold, length_of, vary_together
from rnnjax.folds._stored import step_bytes, stored


@by_value
def default() -> Fold:
    """The default fold: exact, for any cell, as fast as moderate memory allows.

    If JAX has one CPU device and no other, `stored()` for batches of at least 32, and for a cell
    without a kernel, if what it stores besides the states takes at most 192 MiB. Else
    `blocked()`: also where `jax.export` leaves B or T symbolic; on an accelerator, where each
    operation in a loop over steps is launched by itself; with several devices, over which the
    gradients of the weights would be summed at every step.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.
    """

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        params, inputs, state = vary_together(params, inputs, state)
        chosen = blocked()
        if length != 0:
            cost = cost_of(cell, params, inputs, state)
            kept = partial(step_bytes, cell, params, inputs, state)
            if worth_storing(None, cost, length, kept):
                chosen = stored()
        return chosen(cell, params, inputs, state)

    return fold
