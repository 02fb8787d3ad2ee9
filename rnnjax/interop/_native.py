"""Flax's LSTM, GRU and simple cell run as this library's cells, on the weights of Flax.

The results are the same up to rounding. A module is called once per step; `cells.lstm` and
the others move the input product out of the loop, and have a kernel.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax import cells
from rnnjax._cell import Batch, Cell, Params
from rnnjax._unroll import unroll
from rnnjax._values import by_value
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams, LSTMState
from rnnjax.interop._conventions import check_carry
from rnnjax.interop.flax import LAYOUTS, by_name

Carry = Any
Weights = Mapping[str, Any]


def run_native(
    module: Any,
    weights: Weights,
    start: Callable[[Params, Batch], Carry],
    inputs: Any,
    carry: Carry | None,
    **options: Any,
) -> tuple[Carry, Any] | None:
    """Runs a Flax cell as a cell of this library, or returns None if results might differ.

    They agree for exactly Flax's standard cells, with default gates and weights, all in one
    precision, float32 or float64.

    Args:
      module: the cell, of linen or nnx.
      weights: its parameters in nested dictionaries, by Flax's names.
      start: `(params, batch_shape) -> carry`, of the module.
      inputs: `[T, *B, D]`.
      carry: the initial carry, or None.
      **options: of `rnnjax.unroll`.

    Returns:
      The final carry and the outputs.

    Raises:
      TypeError: the carry is not like that of `start`.
    """
    own = _native(module, weights, inputs, start)
    if own is None:
        return None
    if carry is not None:
        carry = check_carry(carry, jax.eval_shape(lambda: start(None, inputs.shape[1:-1])))
    return unroll(own.cell, own.params, own.inputs, carry, **options)


class _Native(NamedTuple):
    """A Flax cell as a cell of this library.

    Attributes:
      cell: its state is the carry of the Flax cell.
      params: its parameters, converted from those of the Flax cell.
      inputs: the inputs in the precision of the parameters.
    """

    cell: Cell
    params: Params
    inputs: jax.Array


def _native(
    module: Any, weights: Weights, inputs: Any, start: Callable[[Params, Batch], Carry]
) -> _Native | None:
    layout = LAYOUTS.get(type(module))
    if layout is None or not isinstance(inputs, jax.Array) or not _plain(module):
        return None
    named = by_name(weights)
    if set(named) != {name for block in layout.names.values() for name in block}:
        return None  # A submodule was replaced.
    carry = jax.eval_shape(lambda: start(None, ()))
    dtype = named[layout.names["W_hh"][0]].dtype
    if (
        {leaf.dtype for leaf in (*named.values(), *jax.tree.leaves(carry))} != {dtype}
        or dtype not in (jnp.float32, jnp.float64)
        or module.dtype not in (None, dtype)
        or jnp.promote_types(inputs.dtype, dtype) != dtype
    ):
        return None
    params = layout.join(named)
    cell = _MAKE[layout.kind](len(params.W_xh), len(params.W_hh))._replace(start=start)
    return _Native(cell, params, inputs.astype(dtype))


def _plain(module: Any) -> bool:
    """Whether the constructor's options have Flax's defaults."""
    own = {
        "gate_fn": jax.nn.sigmoid,
        "activation_fn": jnp.tanh,
        "residual": False,
        "promote_dtype": nnx.nn.dtypes.promote_dtype,
    }
    return all(getattr(module, name, default) == default for name, default in own.items())


@by_value
def _lstm(input_size: int, hidden_size: int) -> Cell:
    """The LSTM with Flax's carry, a plain tuple."""
    cell = cells.lstm(input_size, hidden_size)
    hidden = cell.hidden
    assert hidden is not None
    return cell._replace(
        hidden=lambda carry, drive: hidden(LSTMState(*carry), drive),
        update=lambda params, carry, drive, mixed: tuple(
            cell.update(params, LSTMState(*carry), drive, mixed)
        ),
        output=lambda carry: cell.output(LSTMState(*carry)),
    )


_MAKE: dict[Any, Callable[[int, int], Cell]] = {
    ElmanParams: cells.elman,
    LSTMParams: _lstm,
    GRUParams: cells.gru,
}
