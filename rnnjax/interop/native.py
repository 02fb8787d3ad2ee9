"""Flax's LSTM, GRU and simple cell as this library's own, on the weights that Flax holds.

The same numbers to rounding. A module is called once a step; `cells.lstm` and the others
take the input product out of the loop, and have a kernel.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen, nnx

from rnnjax import cells
from rnnjax.cell import Batch, Cell, Params
from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams, LSTMState

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
    kind = _KINDS.get(type(module))
    if kind is None or not isinstance(inputs, jax.Array) or not _plain(module):
        return None
    leaves = jax.tree.leaves(weights)
    carry = jax.eval_shape(lambda: start(None, ()))
    dtypes = {leaf.dtype for leaf in (*leaves, *jax.tree.leaves(carry))}
    dtype = leaves[0].dtype
    precise = dtype in (jnp.float32, jnp.float64) and module.dtype in (None, dtype)
    if (
        dtypes != {dtype}
        or len(leaves) != kind.leaves
        or not precise
        or jnp.promote_types(inputs.dtype, dtype) != dtype
    ):
        return None
    params = kind.params(weights)
    cell = kind.make(module, *map(len, (params.W_xh, params.W_hh)))
    return Native(cell._replace(start=start), params, inputs.astype(dtype))


class _Kind(NamedTuple):
    """A cell of Flax.

    Attributes:
      params: its weights, by Flax's names, as ours.
      make: `(module, input_size, hidden_size) -> cell` that runs on them.
      leaves: how many weights it has; a module of which something was added or replaced
        has others.
    """

    params: Callable[[Weights], Any]
    make: Callable[[Any, int, int], Cell]
    leaves: int


def _plain(module: Any) -> bool:
    """Whether all that the constructor lets one choose is as Flax has it, but for an activation."""
    own = {
        "gate_fn": jax.nn.sigmoid,
        "activation_fn": jnp.tanh,
        "residual": False,
        "promote_dtype": nnx.nn.dtypes.promote_dtype,
    }
    return all(getattr(module, name, default) == default for name, default in own.items())


def _joined(weights: Weights, names: str, part: str) -> jax.Array:
    return jnp.concatenate([weights[name][part] for name in names.split()], axis=-1)


def _linen_lstm(weights: Weights) -> LSTMParams:
    return LSTMParams(
        W_xh=_joined(weights, "ii if ig io", "kernel"),
        W_hh=_joined(weights, "hi hf hg ho", "kernel"),
        b_h=_joined(weights, "hi hf hg ho", "bias"),
    )


def _linen_gru(weights: Weights) -> GRUParams:
    return GRUParams(
        W_xh=_joined(weights, "ir iz in", "kernel"),
        W_hh=_joined(weights, "hr hz hn", "kernel"),
        b_h=_joined(weights, "ir iz in", "bias"),
        b_hn=weights["hn"]["bias"],
    )


def _linen_simple(weights: Weights) -> ElmanParams:
    return ElmanParams(weights["i"]["kernel"], weights["h"]["kernel"], weights["i"]["bias"])


def _nnx_lstm(weights: Weights) -> LSTMParams:
    return _linen_lstm({**weights, "if": weights["if_"]})


def _nnx_optimized_lstm(weights: Weights) -> LSTMParams:
    dense = weights["dense_h"]
    return LSTMParams(weights["dense_i"]["kernel"], dense["kernel"], dense["bias"])


def _nnx_gru(weights: Weights) -> GRUParams:
    dense, kernel = weights["dense_i"], weights["dense_h"]["kernel"]
    return GRUParams(dense["kernel"], kernel, dense["bias"], jnp.zeros(len(kernel), kernel.dtype))


def _nnx_simple(weights: Weights) -> ElmanParams:
    dense = weights["dense_i"]
    return ElmanParams(dense["kernel"], weights["dense_h"]["kernel"], dense["bias"])


def _lstm(module: Any, input_size: int, hidden_size: int) -> Cell:
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


def _gru(module: Any, input_size: int, hidden_size: int) -> Cell:
    return cells.gru(input_size, hidden_size)


def _simple(module: Any, input_size: int, hidden_size: int) -> Cell:
    return cells.elman(input_size, hidden_size)


_KINDS: dict[type, _Kind] = {
    linen.LSTMCell: _Kind(_linen_lstm, _lstm, 12),
    linen.OptimizedLSTMCell: _Kind(_linen_lstm, _lstm, 12),
    linen.GRUCell: _Kind(_linen_gru, _gru, 10),
    linen.SimpleCell: _Kind(_linen_simple, _simple, 3),
    nnx.LSTMCell: _Kind(_nnx_lstm, _lstm, 12),
    nnx.OptimizedLSTMCell: _Kind(_nnx_optimized_lstm, _lstm, 3),
    nnx.GRUCell: _Kind(_nnx_gru, _gru, 3),
    nnx.SimpleCell: _Kind(_nnx_simple, _simple, 3),
}
