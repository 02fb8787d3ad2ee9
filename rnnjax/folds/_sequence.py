"""Shared by the folds: checks of their arguments, pieces, scans and sharding."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim
from jax.sharding import AxisType

from rnnjax._cell import Cell, Drive, Inputs, Params, State
from rnnjax._checks import check_function
from rnnjax._tree import at_least_float32, carries_gradient
from rnnjax.folds._closures import hoist

Fold = Callable[[Cell, Params, Inputs, State], tuple[State, State]]
Carry = TypeVar("Carry")


def check_fold(fold: Any) -> None:
    """Raises if a value is not a fold.

    Raises:
      TypeError: naming the given value, and a remedy.
    """
    remedy = "call what makes folds, as `rnnjax.folds.scan()`"
    check_function("fold", fold, "cell, params, inputs, state", remedy)


def length_of(inputs: Inputs) -> int:
    """T, which all leaves of the inputs share; symbolic where `jax.export` leaves it so.

    Raises:
      ValueError: there is no leaf, a leaf has no axis, or the leaves disagree.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if not shapes:
        raise ValueError(
            "inputs: expected at least one array [T, B, ...], got none; give a recurrence "
            "without input an array of zeros [T, B, 0]"
        )
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) > 1 or None in lengths:
        raise ValueError(
            f"inputs: expected every leaf to begin with the same T, got shapes "
            f"{sorted(set(shapes))}; put time on the first axis, and pass arrays, not nested lists"
        )
    length: int = shapes[0][0]
    return length


def _split(inputs: Inputs, begin: int, end: int, steps: int) -> Inputs:
    """`[T, B, ...]` from begin to end, in blocks `[(end - begin) / steps, steps, B, ...]`."""
    blocks = (end - begin) // steps
    return jax.tree.map(lambda x: x[begin:end].reshape(blocks, steps, *x.shape[1:]), inputs)


def _join(states: State) -> State:
    """The inverse of `_split`."""
    return jax.tree.map(lambda s: s.reshape(s.shape[0] * s.shape[1], *s.shape[2:]), states)


def in_pieces(
    run: Callable[[Carry, Inputs], tuple[Carry, State]], inputs: Inputs, carry: Carry, size: int
) -> tuple[Carry, State]:
    """Folds in pieces of `size` steps, and a shorter last one if T is not a multiple of it.

    A symbolic T is one piece.

    Args:
      run: `(carry, pieces) -> (carry, states)`, a scan over pieces of one size; pieces and
        states `[n, size, B, ...]`.
      inputs: leaves `[T, B, ...]`, T at least one.
      carry: the initial carry.
      size: steps in a piece.

    Returns:
      `(carry, states)`, states `[T, B, ...]`.
    """
    length = length_of(inputs)
    if is_symbolic_dim(length):
        # `lax.scan` must know that the loop has an iteration, and no other split guarantees one.
        carry, states = run(carry, jax.tree.map(lambda x: x[None], inputs))
        return carry, _join(states)
    size = min(size, length)
    whole = length - length % size
    parts = []
    for begin, end, steps in ((0, whole, size), (whole, length, length - whole)):
        if begin < end:
            carry, states = run(carry, _split(inputs, begin, end, steps))
            parts.append(_join(states))
    return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def element(xs: Any) -> Any:
    """The shapes and dtypes of one element along the leading axis."""

    def first(leaf: jax.Array) -> Any:
        if is_symbolic_dim(leaf.shape[0]):
            # Indexing must know that the axis is not empty.
            return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
        return jax.eval_shape(lambda leaf: leaf[0], leaf)

    return jax.tree.map(first, xs)


def types_of_step(cell: Cell, params: Params, x: Inputs, state: State) -> tuple[Drive, Any]:
    """The types of the drive and of the product of one step; None for that without a kernel.

    Args:
      cell: the recurrence.
      params: its parameters.
      x: leaves `[B, ...]`, or arrays of their types.
      state: leaves `[B, ...]`.
    """
    drive = jax.eval_shape(cell.project, params, x)
    kernel, hidden = cell.kernel, cell.hidden
    if kernel is None or hidden is None:
        return drive, None
    return drive, jax.eval_shape(lambda p, s, d: hidden(s, d) @ kernel(p), params, state, drive)


def scan_wide(
    body: Callable[[Carry, Any], tuple[Carry, State]], carry: Carry, xs: Any, *, unroll: int = 1
) -> tuple[Carry, State]:
    """`lax.scan` that accumulates gradients of closed-over values in at least float32.

    The transpose of `lax.scan` accumulates in the precision of the value itself, and in
    bfloat16 adding one to a sum of hundreds is lost.

    Args:
      body: `(carry, x) -> (carry, y)`.
      carry: the initial carry.
      xs: leaves `[T, ...]`.
      unroll: as in `lax.scan`.

    Returns:
      `(carry, ys)`.
    """
    options: Any = jax.config
    # With `disable_jit` a step is run for debugging, and must see values, not tracers.
    if length_of(xs) == 0 or options.jax_disable_jit:
        return lax.scan(body, carry, xs)
    converted, constants = hoist(body, carry, element(xs))
    # Widened outside the loop and cast back at each step, the values are bitwise the same.
    shared = tuple(_wide(constant) for constant in constants)

    def step(carry: Carry, x: Any) -> tuple[Carry, State]:
        own = (
            s.astype(c.dtype) if carries_gradient(c) else c
            for s, c in zip(shared, constants, strict=True)
        )
        after: tuple[Carry, State] = converted(carry, x, *own)
        return after

    return lax.scan(step, carry, xs, unroll=unroll)


def _wide(leaf: jax.Array) -> jax.Array:
    """A leaf, in at least float32 if it carries a gradient."""
    return leaf.astype(at_least_float32(leaf.dtype)) if carries_gradient(leaf) else leaf


def vary_together(*trees: Any) -> Any:
    """Casts all leaves to the union of the mesh axes over which any of them varies.

    Inside `jax.shard_map` the weights are the same on every device and the batch is not.
    The type of a loop's carry must not change in this respect, and the transpose of this
    cast sums the gradients over the devices, once, outside the loop. Elsewhere it is the
    identity.
    """
    axes = set().union(*(_varying(leaf) for leaf in jax.tree.leaves(trees)))

    def cast(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _varying(leaf)))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, trees)


def spread_over(tree: Any, time: int, batch: int) -> tuple[Any, tuple[Any, ...]] | None:
    """The mesh over which a batch is sharded, and the mesh axes of each batch axis.

    Args:
      tree: arrays; the first sharded one determines the result.
      time: number of axes before the batch axes.
      batch: number of batch axes.

    Returns:
      None if there is no explicit sharding, or the batch is not sharded.
    """
    for leaf in jax.tree.leaves(tree):
        sharding = jax.typeof(leaf).sharding
        axes = tuple(sharding.spec)[time : time + batch]
        if AxisType.Explicit in sharding.mesh.axis_types and any(axes):
            return sharding.mesh, axes
    return None


def _varying(leaf: Any) -> frozenset[str]:
    return frozenset(jax.typeof(leaf).manual_axis_type.varying)
