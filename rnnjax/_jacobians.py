"""The Jacobians of all steps at once, full or diagonal, and their algebra."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax._cell import Batch
from rnnjax._tree import precision
from rnnjax._vectors import for_every_member, from_vectors, largest_entry, to_vectors

# Leaves `[T, B, ...]`: states, or tangents and cotangents of them.
Path = Any
Linear = Callable[[Path], Path]


class Jacobians(Protocol):
    """J_t = ∂s_t/∂s_{t-1} of every step, or an approximation; a pytree, leaves `[T, ...]`."""

    def __call__(self, path: Path) -> Path:
        """J_t v_t for every t."""

    def after(self, earlier: Self) -> Self:
        """The products of these, on the left, with the earlier ones."""

    def adjoint(self) -> Self:
        """The conjugate transposes."""


Linearise = Callable[[Linear, Path, Batch], Jacobians]


class Dense(NamedTuple):
    """Matrices `[T, B, S, S]` over one member's state as a real vector (`_vectors`)."""

    matrices: jax.Array

    def __call__(self, path: Path) -> Path:
        """J_t v_t for every t."""
        batch = self.matrices.shape[:-2]
        moved = self.matrices @ to_vectors(path, batch)[..., None]
        return from_vectors(moved[..., 0], path, batch)

    def after(self, earlier: "Dense") -> "Dense":
        """The products of these, on the left, with the earlier ones."""
        return Dense(self.matrices @ earlier.matrices)

    def adjoint(self) -> "Dense":
        """The transposes."""
        return Dense(jnp.swapaxes(self.matrices, -1, -2))


class Diagonal(NamedTuple):
    """One factor per entry of the state, leaves `[T, B, ...]`, complex where the states are."""

    factors: Path

    def __call__(self, path: Path) -> Path:
        """J_t v_t for every t."""
        return jax.tree.map(jnp.multiply, self.factors, path)

    def after(self, earlier: "Diagonal") -> "Diagonal":
        """The products of these with the earlier ones."""
        return Diagonal(self(earlier.factors))

    def adjoint(self) -> "Diagonal":
        """The conjugates."""
        return Diagonal(jax.tree.map(jnp.conj, self.factors))


def dense(push: Linear, path: Path, axes: Batch) -> Dense:
    """The full Jacobian of each step, by S Jacobian-vector products; Newton's method.

    Args:
      push: v -> J_t v_t for every t, linear over the reals.
      path: an example of v, leaves `[T, B, ...]`.
      axes: `(T, *B)`.

    Returns:
      J_t for every t, `[T, B, S, S]`.
    """
    vectors = to_vectors(path, axes)
    eye = jnp.eye(vectors.shape[-1], dtype=vectors.dtype)
    columns = jax.vmap(lambda v: to_vectors(push(from_vectors(v, path, axes)), axes))(
        for_every_member(eye, vectors)
    )
    return Dense(jnp.moveaxis(columns, 0, -1))


def diagonal(push: Linear, path: Path, axes: Batch) -> Diagonal:
    """The diagonal of each step's Jacobian; complex leaves have the complex derivative.

    If the Jacobian is diagonal (`cells.lru`, `cells.min_gru`), two Jacobian-vector products
    compute it and verify that it is. Otherwise, and always under `vmap`, S more follow one
    by one, and Newton's method becomes quasi-Newton (Gonzalez and others 2024, section 4.1):
    cheaper iterations that use less memory, more of them, and the same solution.

    Args:
      push: v -> J_t v_t for every t.
      path: an example of v, leaves `[T, B, ...]`.
      axes: `(T, *B)`.

    Returns:
      diag J_t for every t, leaves `[T, B, ...]`.
    """
    leaves, structure = jax.tree.flatten(path)
    numbers, count, first = [], 0, tuple(range(len(axes)))
    for leaf in leaves:
        own = leaf.shape[len(axes) :]
        numbers.append(jnp.arange(count, count + math.prod(own)).reshape(own))
        count += math.prod(own)

    def scaled(weights: Callable[[jax.Array], jax.Array]) -> tuple[Path, Path]:
        """The vector with entries `weights(index)`, and the Jacobian times it."""
        drawn = [
            jnp.zeros_like(leaf) + jnp.expand_dims(weights(number).astype(leaf.dtype), first)
            for number, leaf in zip(numbers, leaves, strict=True)
        ]
        direction = jax.tree.unflatten(structure, drawn)
        return direction, push(direction)

    def one_by_one() -> Path:
        def add(i: jax.Array, total: Path) -> Path:
            return jax.tree.map(lambda s, d, m: s + d * m, total, *scaled(lambda n: n == i))

        return lax.fori_loop(0, count, add, jax.tree.map(jnp.zeros_like, path))

    _, once = scaled(jnp.ones_like)
    # All weights differ, so that off-diagonal entries show.
    weights, again = scaled(lambda n: 1 + n / count)
    mixed = jax.tree.map(lambda a, w, o: a - w * o, again, weights, once)
    rounding = 16 * precision(path) * largest_entry(once, axes)
    unmixed = jnp.all(largest_entry(mixed, axes) <= rounding)
    return Diagonal(lax.cond(unmixed, lambda: once, one_by_one))
