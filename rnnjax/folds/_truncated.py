"""Truncated backpropagation through time: the gradient is cut at every window."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._checks import as_count
from rnnjax._forward_mode import with_remedy
from rnnjax._values import by_value
from rnnjax._wrappers import cut
from rnnjax.folds._default import default
from rnnjax.folds._sequence import Fold, check_fold, in_pieces, length_of, scan_wide, vary_together


@by_value
def truncated(*, window: int, fold: Fold = default()) -> Fold:
    """Folds window by window; no gradient flows from a window to the previous one.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t,   g_{t+1} = 0 at the end of a window

    The states are those of every other fold. The gradient is not that of the loss: it
    is the sum of the gradients of the windows, each with its initial state held constant.
    The gradient to the state before the first window is not cut. For training window by
    window on an endless sequence, see `rnnjax.training.stream`.

    Args:
      window: steps in a window; the last may be shorter, and so may the sequence.
      fold: how a window is folded and differentiated.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      TypeError: `window` is not a whole number, or `fold` not a fold.
      ValueError: `window` is below one.

    Williams and Peng, An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories, 1990; Sutskever, Training recurrent neural networks,
    2013, section 2.8.6.
    """
    window = as_count("window", window)
    check_fold(fold)

    @with_remedy()
    def run(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        if is_symbolic_dim(length):
            times = jnp.arange(length)
            return fold(cut(cell), params, (inputs, (times > 0) & (times % window == 0)), state)
        if length <= window:
            return fold(cell, params, inputs, state)
        params, inputs, state = vary_together(params, inputs, state)

        # The carried state is cut, the returned one is not: neither start nor end are cut.
        def body(carry: tuple[State, State], piece: Inputs) -> tuple[tuple[State, State], State]:
            final, states = fold(cell, params, piece, carry[0])
            return (jax.tree.map(lax.stop_gradient, final), final), states

        (_, final), states = in_pieces(partial(scan_wide, body), inputs, (state, state), window)
        return final, states

    return run
