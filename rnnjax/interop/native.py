"""Flax's LSTM, GRU and simple cell as this library's own, on the weights that Flax holds.

The same numbers to rounding. A module is called once a step; `cells.lstm` and the others
take the input product out of the loop, and have a kernel.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax import cells
from rnnjax.cell import Batch, Cell, Params
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams, LSTMState
from rnnjax.interop.flax import LAYOUTS

Carry = Any
Weights = Mapping[str, Any]


class Native(NamedTuple):
    """A Flax cell in this library's form.

    Attributes:
      cell: its state is the carry of the Flax cell.
      params: its parameters, of those of the Flax cell.
      inputs: the inputs in their precision.
    """

    cell: Cell
    params: Params
    inputs: jax.Array


def native(
    module: Any, weights: Weights, inputs: Any, start: Callable[[Params, Batch], Carry]
) -> Native | None:
    """The native form of a Flax cell, or None where it might give other numbers.

    That is any cell that is not exactly one of Flax's own, with gates and weights as they come,
    all in one precision, float32 or float64.

    Args:
      module: the cell, of linen or nnx.
      weights: its parameters in nested dictionaries, by Flax's names.
      inputs: `[T, *B, D]`.
      start: `(params, batch_shape) -> carry`, as the module has it.
    """
    layout = LAYOUTS.get(type(module))
    if layout is None or not isinstance(inputs, jax.Array) or not _plain(module):
        return None
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): array
        for path, array in jax.tree_util.tree_flatten_with_path(weights)[0]
    }
    if set(named) != {name for block in layout.names.values() for name in block}:
        return None  # a part of the module was replaced
    carry = jax.eval_shape(lambda: start(None, ()))
    dtype = named[layout.names["W_hh"][0]].dtype
    if (
        {leaf.dtype for leaf in (*named.values(), *jax.tree.leaves(carry))} != {dtype}
        or dtype not in (jnp.float32, jnp.float64)
        or module.dtype not in (None, dtype)
        or jnp.promote_types(inputs.dtype, dtype) != dtype
    ):
        return None
    fields = {
        field: jnp.concatenate([named[name] for name in block], axis=-1)
        for field, block in layout.names.items()
    }
    input_size, hidden_size = len(fields["W_xh"]), len(fields["W_hh"])
    if layout.kind is GRUParams:
        fields.setdefault("b_hn", jnp.zeros(hidden_size, dtype))
    cell = _MAKE[layout.kind](input_size, hidden_size)._replace(start=start)
    return Native(cell, layout.kind(**fields), inputs.astype(dtype))


def _plain(module: Any) -> bool:
    """Whether what the constructor lets one choose is as Flax has it."""
    own = {
        "gate_fn": jax.nn.sigmoid,
        "activation_fn": jnp.tanh,
        "residual": False,
        "promote_dtype": nnx.nn.dtypes.promote_dtype,
    }
    return all(getattr(module, name, default) == default for name, default in own.items())


def _lstm(input_size: int, hidden_size: int) -> Cell:
    """The LSTM with the carry of Flax, a plain tuple."""
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
