"""The state of each member of a batch as one real vector.

Its floating leaves are flattened and concatenated in the order of the pytree, complex ones
as real parts followed by imaginary parts. Integers and keys are left out.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Batch
from rnnjax._tree import at_least_float32, combine, describe, floating, rest


def to_vectors(tree: Any, batch: Batch) -> jax.Array:
    """`[B, S]` from the floating leaves `[B, ...]`.

    Raises:
      TypeError: there is no floating leaf, or one does not begin with the batch axes.
    """
    return jnp.concatenate(_parts(tree, batch), axis=-1)


def _parts(tree: Any, batch: Batch) -> list[jax.Array]:
    """What `to_vectors` concatenates."""
    leaves = jax.tree.leaves(floating(tree))
    if not leaves:
        raise TypeError(
            f"state: expected a floating leaf to differentiate, got {describe(tree)}; the results "
            "of `output` and `block` need one too"
        )
    if any(leaf.shape[: len(batch)] != batch for leaf in leaves):
        raise TypeError(
            f"state: expected every floating leaf to begin with the batch axes {batch}, got "
            f"{describe(tree)}; a leaf shared by the batch has no Jacobian of one member, and "
            "the results of `output` and `block` must keep the axes"
        )
    parts = []
    for leaf in leaves:
        flat = leaf.reshape(*batch, math.prod(leaf.shape[len(batch) :]))
        parts += [flat.real, flat.imag] if jnp.iscomplexobj(leaf) else [flat]
    # A product of half-precision Jacobians would be dominated by rounding errors.
    widest = max((at_least_float32(p.dtype) for p in parts), key=lambda d: jnp.finfo(d).bits)
    return [p.astype(widest) for p in parts]


def from_vectors(vectors: jax.Array, like: Any, batch: Batch) -> Any:
    """Puts `[B, S]` back into the floating leaves of `like`."""
    leaves, structure = jax.tree.flatten(floating(like))
    place, restored = 0, []

    def take(count: int) -> jax.Array:
        nonlocal place
        place += count
        return vectors[..., place - count : place]

    for leaf in leaves:
        count = math.prod(leaf.shape[len(batch) :])
        complex_ = jnp.iscomplexobj(leaf)
        flat = jax.lax.complex(take(count), take(count)) if complex_ else take(count)
        restored.append(flat.reshape(leaf.shape).astype(leaf.dtype))
    return combine(jax.tree.unflatten(structure, restored), rest(like))


def for_every_member(rows: jax.Array, like: jax.Array) -> jax.Array:
    """`[R, S]` as `[R, B, S]`, the same rows for every member of `like` `[B, S]`."""
    count, size = rows.shape
    # A sum, not a broadcast: with explicit sharding the result is sharded as `like` is.
    return rows.reshape(count, *(1,) * (like.ndim - 1), size) + jnp.zeros_like(like)[None]


def largest_entry(tree: Any, batch: Batch) -> jax.Array:
    """Of each member, in absolute value, `[B]`; NaN if one of its entries is."""
    parts = _parts(tree, batch)
    largest = functools.reduce(jnp.maximum, [jnp.abs(part).max(-1) for part in parts])
    # On CPUs XLA reduces arrays of some 4,096 entries and more to a maximum that ignores NaN.
    lost = functools.reduce(jnp.logical_or, [jnp.isnan(part).any(-1) for part in parts])
    return jnp.where(lost, jnp.nan, largest)


def all_finite(tree: Any, batch: Batch) -> jax.Array:
    """Whether all entries of each member are, `[B]`."""
    finite = [jnp.isfinite(part).all(-1) for part in _parts(tree, batch)]
    return functools.reduce(jnp.logical_and, finite)
