"""Shared by the cells with dense weights: initialisation, precision, input product."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch
from rnnjax._checks import as_int, check_batch_shape, check_floating_dtype
from rnnjax._tree import at_least_float32, describe
from rnnjax.initializers import by_gate, checked


def gated_init(
    gates: int,
    hidden_size: int,
    dtype: DTypeLike,
    *,
    bias_init: Initializer,
    **matrix_inits: tuple[int, Initializer],
) -> Callable[[jax.Array], list[jax.Array]]:
    """A function that draws the weights of a cell, its matrices gate by gate.

    Args:
      gates: G.
      hidden_size: H.
      dtype: of the weights.
      bias_init: draws the bias as `[G, H]`, one row per gate.
      **matrix_inits: for each matrix its number of rows, K, and the initialiser that
        draws each gate's `[K, H]`.

    Returns:
      `keys -> weights`, one key for each: the matrices `[K, G * H]` in the order given, then
      the bias `[G * H]`.

    Raises:
      TypeError: an initialiser is not a function; from the returned function, if one draws
        another shape or dtype than it is asked for.
    """
    matrices = [
        (rows, by_gate(checked(name, init), gates)) for name, (rows, init) in matrix_inits.items()
    ]
    bias = checked("bias_init", bias_init)

    def draw(keys: jax.Array) -> list[jax.Array]:
        columns = gates * hidden_size
        drawn = [
            init(key, (rows, columns), dtype)
            for key, (rows, init) in zip(keys[:-1], matrices, strict=True)
        ]
        return [*drawn, bias(keys[-1], (gates, hidden_size), dtype).reshape(columns)]

    return draw


def state_dtype(weights: jax.Array) -> Any:
    """The precision of the state: that of the weights, at least float32.

    Weights and inputs in bfloat16 take half the memory; a state in bfloat16 would be
    rounded by up to one part in 256 at every step, so it is carried, and every product
    accumulated, in float32.
    """
    return at_least_float32(weights.dtype)


def zeros(batch_shape: Batch, size: int, weights: jax.Array) -> jax.Array:
    """A state of zeros `[B, size]` in the precision that fits the weights.

    Raises:
      TypeError: `batch_shape` is not a tuple.
    """
    check_batch_shape(batch_shape)
    return jnp.zeros((*batch_shape, size), state_dtype(weights))


def affine(inputs: jax.Array, W_xh: jax.Array, b_h: jax.Array) -> jax.Array:
    """x_t W_xh + b_h in the state's precision.

    Args:
      inputs: `[..., D]`, floating.
      W_xh: `[D, M]`.
      b_h: `[M]`.

    Returns:
      `[..., M]`.

    Raises:
      TypeError: the inputs are not one floating array.
      ValueError: their last axis is not D.
    """
    input_size = W_xh.shape[0]
    if not hasattr(inputs, "dtype"):
        raise TypeError(
            f"inputs: expected one array [T, B, {input_size}], got {describe(inputs)}; join the "
            "features on the last axis"
        )
    if not jnp.issubdtype(jnp.result_type(inputs), jnp.floating):
        raise TypeError(
            f"inputs: expected a floating dtype, got {jnp.result_type(inputs)}; cast them with "
            "`inputs.astype(...)`, or embed tokens first"
        )
    if jnp.ndim(inputs) == 0 or inputs.shape[-1] != input_size:
        raise ValueError(
            f"inputs: expected [T, B, {input_size}] to match input_size={input_size}, got "
            f"steps x_t of shape {jnp.shape(inputs)}; put the features on the last axis"
        )
    dtype = state_dtype(W_xh)
    if inputs.dtype != W_xh.dtype:
        inputs, W_xh = inputs.astype(dtype), W_xh.astype(dtype)
    return add_bias(jnp.matmul(inputs, W_xh, preferred_element_type=dtype), b_h)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """X `[..., M]` + bias `[M]`, in the precision of x."""
    return x + jnp.broadcast_to(bias.astype(x.dtype), x.shape)


def check_optional(field: str, weights: jax.Array | None, shape: str | None, option: str) -> None:
    """Raises if parameters have a field that the cell lacks, or lack one that it has.

    Args:
      field: its name.
      weights: the given value.
      shape: expected, for the error; None if the cell has no such field.
      option: of the cell that decides.

    Raises:
      TypeError: naming the given value, and a remedy.
    """
    if (weights is None) != (shape is None):
        raise TypeError(
            f"params: expected {field} {shape} for {option}, got {describe(weights)}; pass the "
            "parameters that this cell's `init` gives"
        )


def check_sizes(input_size: int, hidden_size: int, dtype: DTypeLike) -> tuple[int, int]:
    """The sizes as integers, if they and the dtype are valid.

    Raises:
      ValueError: `input_size` is negative, or `hidden_size` below one.
      TypeError: a size is not a whole number, or the dtype not floating.
    """
    input_size = as_int("input_size", input_size)
    hidden_size = as_int("hidden_size", hidden_size)
    if input_size < 0 or hidden_size < 1:
        raise ValueError(
            "input_size, hidden_size: expected at least 0 and at least 1, got "
            f"{input_size} and {hidden_size}; pass the number of features and of hidden units"
        )
    check_floating_dtype("dtype", dtype)
    return input_size, hidden_size
