"""What every fold asks of its arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax.cell import Cell, Inputs, Params, State

Fold = Callable[[Cell, Params, Inputs, State], tuple[State, State]]


def length_of(inputs: Inputs) -> int:
    """T, which all leaves of the inputs share.

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
    return int(shapes[0][0])


def batched_axes(cell: Cell, params: Params) -> State:
    """For each leaf of the state, the axes it has besides those of the batch; -1 if shared.

    Told by what `start` does with two batches, never by a shape that happens to fit.
    """
    one, two = (
        jax.eval_shape(lambda p, n=n: jax.tree.map(jnp.asarray, cell.start(p, (n,))), params)
        for n in (1, 2)
    )
    return jax.tree.map(lambda a, b: -1 if a.shape == b.shape else a.ndim - 1, one, two)


def vary_together(*trees: Any) -> Any:
    """Casts all leaves to the union of the mesh axes over which any of them varies.

    Inside `jax.shard_map` the weights are the same on every device and the batch is
    not. A loop's carry must not change its mind about that on the way, and the
    transpose of this cast adds the devices' gradients up, once, outside the loop.
    Elsewhere it is the identity.
    """
    axes = set().union(*(_varying(leaf) for leaf in jax.tree.leaves(trees)))

    def cast(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _varying(leaf)))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, trees)


def _varying(leaf: Any) -> frozenset[str]:
    return frozenset(jax.typeof(leaf).manual_axis_type.varying)
