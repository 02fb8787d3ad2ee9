"""A product of many matrices in log scale, by QR, and its singular values.

Multiplied out, a product of a thousand Jacobians over- or underflows, and its small singular
values drown in the rounding of the large ones long before. Here the size of every direction is
kept as a logarithm, and no two sizes are ever added up as numbers of one scale.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Stands for the logarithm of zero where differences of logarithms are taken.
_LOG_ZERO = -1e30


class Graded(NamedTuple):
    """A matrix Q diag(exp(logs)) M, up to an orthogonal factor on its right.

    Attributes:
      Q: `[B, S, R]`.
      logs: `[B, R]`.
      M: `[B, R, R]`.
    """

    Q: jax.Array
    logs: jax.Array
    M: jax.Array


def orthogonalise(product: Graded) -> Graded:
    """Makes the columns of Q orthonormal, passing what they were into logs and M."""
    Q, triangle = jnp.linalg.qr(product.Q)
    # Row i of triangle diag(exp(logs)), relative to its own largest entry.
    size = jnp.log(jnp.abs(triangle)) + product.logs[..., None, :]
    size = jnp.maximum(size, _LOG_ZERO)
    largest = size.max(axis=-1, keepdims=True)
    M = jnp.sign(triangle) * jnp.exp(size - largest) @ product.M
    return _rescaled(Q, largest[..., 0], M)


def refine(product: Graded) -> Graded:
    """One iteration of QLP: QR of the transpose, then QR of what comes out, in log scale."""
    order = jnp.argsort(-product.logs, axis=-1)
    logs = jnp.take_along_axis(product.logs, order, axis=-1)
    Q = jnp.take_along_axis(product.Q, order[..., None, :], axis=-1)
    M = jnp.take_along_axis(product.M, order[..., :, None], axis=-2)
    # diag(exp(logs)) M = L W with orthogonal W, L = N diag(exp(logs)) lower triangular; the
    # logarithms descend, so N's entries exp(logs_i - logs_j), i >= j, are at most one.
    upper = jnp.linalg.qr(jnp.swapaxes(M, -1, -2), mode="r")
    ratio = jnp.exp(jnp.minimum(logs[..., :, None] - logs[..., None, :], 0.0))
    N = jnp.tril(jnp.swapaxes(upper, -1, -2) * ratio)
    rotation, upper = jnp.linalg.qr(N)
    M = jnp.triu(upper * jnp.swapaxes(ratio, -1, -2))
    return _rescaled(Q @ rotation, logs, M)


def _rescaled(Q: jax.Array, logs: jax.Array, M: jax.Array) -> Graded:
    """Moves the size of each row of M into logs."""
    size = jnp.abs(M).max(axis=-1)
    dead = size == 0
    M = M / jnp.where(dead, 1.0, size)[..., None]
    logs = jnp.maximum(logs + jnp.log(size), _LOG_ZERO)
    return Graded(Q, logs, M)


def log_singular_values(product: Graded) -> jax.Array:
    """`[B, R]`, descending."""
    logs, M = product.logs, product.M
    top = logs.max(axis=-1, keepdims=True)
    exact = jnp.linalg.svd(jnp.exp(logs - top)[..., None] * M, compute_uv=False)
    trusted = exact > math.sqrt(jnp.finfo(logs.dtype).eps) * exact[..., :1]
    diagonal = jnp.abs(jnp.diagonal(M, axis1=-2, axis2=-1))
    graded = jnp.maximum(logs + jnp.log(diagonal), _LOG_ZERO)
    graded = -jnp.sort(-graded, axis=-1)
    values = jnp.where(trusted, top + jnp.log(exact), graded)
    return jnp.where(values <= _LOG_ZERO / 2, -jnp.inf, values)
