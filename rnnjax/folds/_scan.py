"""The plain fold: `jax.lax.scan`, with every derivative that JAX supports."""

from jax.export import is_symbolic_dim

from rnnjax._cell import Cell, Drive, Inputs, Params, State, advance, build_kernel
from rnnjax._checks import as_count
from rnnjax._values import by_value
from rnnjax.folds._sequence import Fold, length_of, scan_wide, vary_together


@by_value
def scan(*, unroll: int = 1) -> Fold:
    """Folds by one `lax.scan` over all steps.

        s_t = step(params, s_{t-1}, x_t)

    Differentiable in every way, forward mode included. Reverse mode stores every
    intermediate of every step.

    Args:
      unroll: steps per iteration of the compiled loop, as in `lax.scan`; one where
        `jax.export` leaves T symbolic.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      TypeError: `unroll` is not a whole number.
      ValueError: `unroll` is below one.
    """
    unroll = as_count("unroll", unroll)

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        steps = 1 if is_symbolic_dim(length_of(inputs)) else unroll
        params, inputs, state = vary_together(params, inputs, state)
        return scan_drives(cell, params, inputs, state, steps)

    return fold


def scan_drives(
    cell: Cell, params: Params, inputs: Inputs, state: State, unroll: int = 1
) -> tuple[State, State]:
    """Projects all inputs at once, then scans over the drive."""
    kernel = build_kernel(cell, params)

    def body(state: State, drive: Drive) -> tuple[State, State]:
        state = advance(cell, params, kernel, state, drive)
        return state, state

    return scan_wide(body, state, cell.project(params, inputs), unroll=unroll)
