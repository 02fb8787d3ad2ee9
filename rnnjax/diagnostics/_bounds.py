"""A bound on the gradient that needs no sequence."""

import jax
import jax.numpy as jnp

from rnnjax._checks import as_number, check_arrays
from rnnjax._tree import at_least_float32, describe


def norm_bound(kernel: jax.Array, *, slope: float = 1.0) -> jax.Array:
    """γ‖W_hh‖₂, whose power of the lag bounds the gradient (Pascanu 2013, section 2.2).

        ‖∂h_T/∂h_{T-lag}‖₂ <= (slope · ‖W_hh‖₂) ** lag

    It holds for h_t = f(W_hh h_{t-1} + ...) with |f'| <= slope: a cell whose whole
    recurrence is one kernel and one function. Below one, the gradient must vanish;
    above one, it may or may not explode. For long lags work with its logarithm.

    Args:
      kernel: W_hh `[H, H]`, or its transpose.
      slope: γ, the supremum of |f'|: 1 for tanh and ReLU, 1/4 for the logistic.

    Returns:
      A scalar.

    Raises:
      TypeError: the kernel is not an array, or the slope not a number.
      ValueError: the kernel is not a square matrix, or the slope is negative.
    """
    check_arrays("kernel", kernel)
    if not hasattr(kernel, "ndim"):
        raise TypeError(
            f"kernel: expected W_hh [H, H], got {describe(kernel)}; pass the matrix, as params.W_hh"
        )
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(
            f"kernel: expected W_hh [H, H], got {kernel.shape}; a gated cell has no such bound"
        )
    slope = as_number("slope", slope)
    if not slope >= 0:
        raise ValueError(f"slope: expected the supremum of |f'|, at least 0, got {slope}")
    return jnp.multiply(slope, jnp.linalg.norm(kernel.astype(at_least_float32(kernel.dtype)), 2))
