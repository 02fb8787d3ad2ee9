"""What every fold asks of its arguments."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax.cell import Cell, Inputs, Params, State
from rnnjax.tree import at_least_float32, carries_gradient

Fold = Callable[[Cell, Params, Inputs, State], tuple[State, State]]
Carry = TypeVar("Carry")


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


def _split(inputs: Inputs, begin: int, end: int, steps: int) -> Inputs:
    """`[T, B, ...]` from begin to end, in blocks `[(end - begin) / steps, steps, B, ...]`."""
    blocks = (end - begin) // steps
    return jax.tree.map(lambda x: x[begin:end].reshape(blocks, steps, *x.shape[1:]), inputs)


def _join(states: State) -> State:
    """What `_split` parted, in one."""
    return jax.tree.map(lambda s: s.reshape(s.shape[0] * s.shape[1], *s.shape[2:]), states)


def in_pieces(
    run: Callable[[Carry, Inputs], tuple[Carry, State]], inputs: Inputs, carry: Carry, size: int
) -> tuple[Carry, State]:
    """Folds by pieces of `size` steps, and a shorter one at the end if T is no multiple.

    Args:
      run: `(carry, pieces) -> (carry, states)`, a scan over pieces of one size; pieces and
        states `[n, size, B, ...]`.
      inputs: leaves `[T, B, ...]`, T at least one.
      carry: what the first piece begins with.
      size: steps in a piece.

    Returns:
      `(carry, states)`, states `[T, B, ...]`.
    """
    length = length_of(inputs)
    whole = length - length % size
    parts = []
    for begin, end, steps in ((0, whole, size), (whole, length, length - whole)):
        if begin < end:
            carry, states = run(carry, _split(inputs, begin, end, steps))
            parts.append(_join(states))
    return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def widen(params: Params) -> Params:
    """`params` with no leaf that carries a gradient narrower than float32.

    A gradient that is summed over the pieces of a sequence takes its precision from
    what the pieces share: `narrow(wide, params)`, in each, is `params` to the bit.
    """

    def cast(leaf: Any) -> Any:
        dtype = jnp.result_type(leaf)
        narrow = carries_gradient(leaf) and dtype != at_least_float32(dtype)
        return leaf.astype(at_least_float32(dtype)) if narrow else leaf

    return jax.tree.map(cast, params)


def narrow(wide: Params, params: Params) -> Params:
    """`wide` in the dtypes of `params`."""
    return jax.tree.map(
        lambda w, p: w if jnp.result_type(w) == jnp.result_type(p) else w.astype(p.dtype),
        wide,
        params,
    )


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
