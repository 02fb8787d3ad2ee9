"""A product of many matrices in log scale, by QR, and its singular values.

Multiplied out, a product of a thousand Jacobians over- or underflows, and its small singular
values drown in the rounding of the large ones long before. Here the size of every direction is
kept as a logarithm, and no two sizes are ever added up as numbers of one scale.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Stands for the logarithm of zero where differences of logarithms are taken.
_LOG_ZERO = -1e30
# Below this size a decomposition of half the rows takes about as long.
_SMALL = 32


class Graded(NamedTuple):
    """A matrix diag(exp(logs)) U Q, up to an orthogonal factor on its left.

    Attributes:
      logs: `[B, R]`.
      U: `[B, R, R]`, upper triangular, the largest entry of each row one in absolute value.
      Q: `[B, R, S]`, orthonormal rows.
    """

    logs: jax.Array
    U: jax.Array
    Q: jax.Array


def graded(logs: jax.Array, rows: jax.Array) -> Graded:
    """diag(exp(logs)) rows in that form, by one iteration of QLP: two QR decompositions.

    Args:
      logs: `[B, R]`.
      rows: `[B, R, S]`; `U @ Q @ J` for the product of a graded matrix with J.

    Stewart, The QLP approximation to the singular value decomposition, 1999, section 3.
    """
    # rows = R' Q; row i of R diag(exp(logs)) is taken relative to its own largest entry.
    Q, R = jnp.linalg.qr(jnp.swapaxes(rows, -1, -2))
    size = jnp.maximum(jnp.log(jnp.abs(R)) + logs[..., None, :], _LOG_ZERO)
    largest = size.max(axis=-1)
    order = jnp.argsort(-largest, axis=-1)
    logs = jnp.take_along_axis(largest, order, axis=-1)
    Q = jnp.take_along_axis(jnp.swapaxes(Q, -1, -2), order[..., None], axis=-2)
    M = jnp.sign(R) * jnp.exp(size - largest[..., None])
    M = jnp.take_along_axis(M, order[..., None], axis=-2)
    # That makes M' diag(exp(logs)) Q. Factor M' = W upper and drop the orthogonal W, which changes
    # no singular value: diag(exp(logs)) U Q. The logarithms descend, so no entry of U is larger
    # than in upper.
    upper = jnp.linalg.qr(jnp.swapaxes(M, -1, -2), mode="r")
    U = upper * jnp.exp(jnp.minimum(logs[..., None, :] - logs[..., None], 0.0))
    largest = jnp.abs(U).max(axis=-1)
    U = U / jnp.where(largest == 0, 1.0, largest)[..., None]
    return Graded(jnp.maximum(logs + jnp.log(largest), _LOG_ZERO), U, Q)


def log_singular_values(product: Graded) -> jax.Array:
    """`[B, R]`, descending.

    An SVD is accurate for values near the largest, whatever the matrix, and for the small ones
    where U is nearly diagonal. Where it disagrees with the diagonal of U, or underflows, the
    diagonal is used.
    """
    logs, U = product.logs, product.U
    precision = jnp.finfo(U.dtype).eps
    # Entries below the precision of their row change no singular value; but in the SVD a row of
    # rounding errors alone would mix rows of all sizes.
    clean = jnp.where(jnp.abs(U) < precision, 0.0, U)
    top = logs.max(axis=-1, keepdims=True)
    relative = _singular_values(jnp.exp(logs - top)[..., None] * clean)
    exact = top + jnp.log(relative)
    diagonal = jnp.log(jnp.abs(jnp.diagonal(U, axis1=-2, axis2=-1)))
    estimate = -jnp.sort(-jnp.maximum(logs + diagonal, _LOG_ZERO), axis=-1)
    near = relative > math.sqrt(precision) * relative[..., :1]
    trusted = near | (jnp.abs(exact - estimate) < 1.0)
    values = -jnp.sort(-jnp.where(trusted, exact, estimate), axis=-1)
    return jnp.where(values <= _LOG_ZERO / 2, -jnp.inf, values)


def _singular_values(A: jax.Array) -> jax.Array:
    """Of upper triangles `[B, R, R]` whose last columns may all have underflowed to zero."""
    size = A.shape[-1]
    half = size // 2

    def of_all() -> jax.Array:
        return jnp.linalg.svd(A, compute_uv=False)

    def of_first() -> jax.Array:
        values = _singular_values(A[..., :half, :half])
        return jnp.concatenate([values, jnp.zeros_like(A[..., 0, half:])], axis=-1)

    if size < _SMALL:
        return of_all()
    values: jax.Array = lax.cond(jnp.any(A[..., half:] != 0), of_all, of_first)
    return values
