"""Functions from cell to cell: masks, resets, gradient cuts and probes.

Each wrapper adds one input per step, `(inputs, extra)`, passes it through `project` into
the drive, and changes the state before or after the step. The kernel is unchanged, so a
wrapped cell folds as fast as the plain one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Cell, Drive, Inputs, Params, State
from rnnjax._tree import combine, floating, rest
from rnnjax._values import by_value


@by_value
def masked(cell: Cell, batched: State) -> Cell:
    """Inputs `(inputs, mask)`, mask `[T, B]`: a step where it is False keeps the state.

    Args:
      cell: the recurrence.
      batched: for each leaf of the state, a negative number if the leaf has no batch axes;
        such a leaf is updated at every step.
    """

    def after(old: State, new: State, valid: jax.Array) -> State:
        return jax.tree.map(lambda n, a, b: a if n < 0 else select(valid, a, b), batched, new, old)

    return _with_extra(cell, after=after)


def resetting(cell: Cell, start: State, batched: State) -> Cell:
    """Inputs `(inputs, resets)`, resets `[T, B]`: where True, the step starts from `start`.

    Args:
      cell: the recurrence.
      start: the state to reset to.
      batched: as in `masked`; a leaf without batch axes is never reset.
    """

    def before(state: State, reset: jax.Array) -> State:
        return jax.tree.map(
            lambda n, a, b: b if n < 0 else select(reset, a, b), batched, start, state
        )

    return _with_extra(cell, before=before)


@by_value
def cut(cell: Cell) -> Cell:
    """Inputs `(inputs, cuts)`, cuts `[T]`: where True, no gradient flows to the previous step."""

    def before(state: State, here: jax.Array) -> State:
        held = jax.tree.map(jax.lax.stop_gradient, floating(state))
        return combine(jax.tree.map(partial(select, here), held, floating(state)), rest(state))

    return _with_extra(cell, before=before)


@by_value
def probed(cell: Cell) -> Cell:
    """Inputs `(inputs, probes)`: each probe is added to the state after its step.

    Probes have the structure of the states, None where a leaf carries no gradient.
    Zero probes change nothing, and the gradient with respect to them is ∂L/∂s_t.
    """

    def add(old: State, new: State, probe: Any) -> State:
        return combine(jax.tree.map(jnp.add, floating(new), probe), rest(new))

    return _with_extra(cell, after=add)


def select(where: jax.Array, this: jax.Array, that: jax.Array) -> jax.Array:
    """`this` `[..., B, ...]` where `where` `[..., B]` is True, else `that`."""
    return jnp.where(where.reshape(where.shape + (1,) * (this.ndim - where.ndim)), this, that)


def blank(valid: jax.Array | None, tree: Any) -> Any:
    """Zeros, without gradient, where `valid` `[T, B]` is False; leaves of other axes unchanged."""
    if valid is None:
        return tree
    return jax.tree.map(
        lambda y: (
            select(valid, y, jnp.zeros_like(y)) if y.shape[: valid.ndim] == valid.shape else y
        ),
        tree,
    )


def _with_extra(
    cell: Cell,
    *,
    before: Callable[[State, Any], State] = lambda state, extra: state,
    after: Callable[[State, State, Any], State] = lambda old, new, extra: new,
) -> Cell:
    def project(params: Params, inputs: Inputs) -> Drive:
        return cell.project(params, inputs[0]), inputs[1]

    def hidden(state: State, drive: Drive) -> jax.Array:
        assert cell.hidden is not None
        return cell.hidden(before(state, drive[1]), drive[0])

    def update(params: Params, state: State, drive: Drive, mixed: Any) -> State:
        state = before(state, drive[1])
        return after(state, cell.update(params, state, drive[0], mixed), drive[1])

    return cell._replace(
        project=project,
        hidden=None if cell.hidden is None else hidden,
        update=update,
        feature_axes=(cell.feature_axes, None),
    )
