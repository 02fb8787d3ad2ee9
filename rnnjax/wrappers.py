"""From cell to cell: masks, resets and probes.

Each wrapper takes one more input a step, `(inputs, extra)`, hands it through
`project` into the drive, and changes the state before a step or after it. The kernel
is left alone, so a wrapped cell folds as fast as the plain one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.cell import Cell, Drive, Inputs, Params, State
from rnnjax.tree import combine, floating, rest


def masked(cell: Cell) -> Cell:
    """Inputs `(inputs, mask)`, mask `[T, B]`: a step where it is False keeps the state."""
    return _with_extra(cell, after=lambda old, new, valid: select(valid, new, old, new))


def resetting(cell: Cell, start: State) -> Cell:
    """Inputs `(inputs, resets)`, resets `[T, B]`: where True, the step begins at `start`."""
    return _with_extra(cell, before=lambda state, reset: select(reset, start, state, state))


def probed(cell: Cell) -> Cell:
    """Inputs `(inputs, probes)`: each probe is added to the state after its step.

    Probes have the structure of the states, None where a leaf carries no gradient.
    At zero they change nothing, and the gradient to them is ∂L/∂s_t.
    """

    def add(old: State, new: State, probe: Any) -> State:
        return combine(jax.tree.map(jnp.add, floating(new), probe), rest(new))

    return _with_extra(cell, after=add)


def select(where: jax.Array, this: Any, that: Any, otherwise: Any) -> Any:
    """`this` where `where` `[..., B]` is True, else `that`, leaf by leaf.

    A leaf that does not begin with the axes of `where` belongs to no member of the
    batch; it is taken from `otherwise`.
    """

    def choose(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
        if a.shape[: where.ndim] != where.shape:
            return c
        return jnp.where(where.reshape(where.shape + (1,) * (a.ndim - where.ndim)), a, b)

    return jax.tree.map(choose, this, that, otherwise)


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
        project=project, hidden=None if cell.hidden is None else hidden, update=update
    )
