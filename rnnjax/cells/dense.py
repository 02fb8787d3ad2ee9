"""What the cells with dense weights share: their precision and their input product."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnjax.cell import Batch
from rnnjax.checks import as_int, check_batch_shape, check_floating_dtype
from rnnjax.tree import at_least_float32, describe


def state_dtype(weights: jax.Array) -> Any:
    """The precision of the state: that of the weights, float32 at least.

    Weights and inputs in bfloat16 halve the memory they take; a state in bfloat16
    would lose one bit in 256 at every step, so it is carried, and every product
    accumulated, in float32.
    """
    return at_least_float32(weights.dtype)


def zeros(batch_shape: Batch, size: int, weights: jax.Array) -> jax.Array:
    """A state of zeros `[B, size]` in the precision that the weights ask for.

    Raises:
      TypeError: `batch_shape` is no tuple.
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


def check_sizes(input_size: int, hidden_size: int, dtype: DTypeLike) -> tuple[int, int]:
    """The sizes, unless no cell can have them or the dtype.

    Raises:
      ValueError: a size is negative, or no hidden unit is asked for.
      TypeError: a size is not a whole number, or the dtype not floating.
    """
    input_size = as_int("input_size", input_size)
    hidden_size = as_int("hidden_size", hidden_size)
    if input_size < 0 or hidden_size < 1:
        raise ValueError(
            "input_size, hidden_size: expected at least 0 and at least 1, got "
            f"{input_size} and {hidden_size}"
        )
    check_floating_dtype("dtype", dtype)
    return input_size, hidden_size
