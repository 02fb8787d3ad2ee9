"""Splitting a pytree into the leaves that carry a gradient and the others."""

import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from rnnjax._checks import kind_of

Tree = Any
Tuple = TypeVar("Tuple", bound=type[tuple[Any, ...]])


def serializable(kind: Tuple) -> Tuple:
    """Registers a NamedTuple with `jax.export`, so that exported functions may contain it."""
    export.register_namedtuple_serialization(kind, serialized_name=f"rnnjax.{kind.__name__}")
    return kind


def carries_gradient(leaf: Any) -> bool:
    """Whether a leaf is floating or complex; integers, booleans and keys are not."""
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def floating(tree: Tree) -> Tree:
    """`tree` with every leaf that carries no gradient replaced by None."""
    return jax.tree.map(lambda leaf: leaf if carries_gradient(leaf) else None, tree)


def rest(tree: Tree) -> Tree:
    """`tree` with every leaf that carries a gradient replaced by None."""
    return jax.tree.map(lambda leaf: None if carries_gradient(leaf) else leaf, tree)


def combine(first: Tree, second: Tree) -> Tree:
    """Merges `floating(tree)` and `rest(tree)` into `tree`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, first, second, is_leaf=lambda leaf: leaf is None
    )


def as_arrays(tree: Tree) -> Tree:
    """`tree` with its numpy arrays converted to JAX's, in the precision that JAX is set to."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, tree)


def at_least_float32(dtype: Any) -> Any:
    """`dtype`, or float32 where it is narrower."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def precision(tree: Tree) -> float:
    """The largest machine epsilon among the dtypes of the leaves, which are all floating."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(tree))


def count_bytes(tree: Tree) -> int:
    """The size in bytes of the arrays of a tree, or of arrays of their shapes."""
    return sum(
        math.prod(jnp.shape(leaf)) * jnp.result_type(leaf).itemsize
        for leaf in jax.tree.leaves(tree)
    )


def describe(tree: Tree) -> str:
    """Structure, dtypes and shapes in one line, for error messages."""
    return str(jax.tree.map(_Described, tree))


class _Described:
    def __init__(self, leaf: Any) -> None:
        try:
            self.text = f"{jnp.result_type(leaf)}[{','.join(map(str, jnp.shape(leaf)))}]"
        except TypeError:
            self.text = kind_of(leaf)

    def __repr__(self) -> str:
        return self.text
