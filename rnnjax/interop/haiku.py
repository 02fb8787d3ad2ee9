"""Haiku's cores: any of them as a `Cell`."""

import math
from collections.abc import Callable
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from rnnjax.cell import Batch, Cell, Inputs, Params
from rnnjax.interop.foreign import Carry, Foreign, Keys, foreign_cell, spread


def haiku_cell(
    make: Callable[[], hk.RNNCore], example: Inputs, *, key: chex.PRNGKey | None = None
) -> Cell:
    """Any core of Haiku as a `Cell`.

        y_t, carry_t = core(x_t, carry_{t-1})

    The parameters are `(params, state)`, as `hk.transform_with_state(...).init` gives
    them: `(params, {})` for a core without state. What a step changes of Haiku's state
    (counters, running statistics) is state here too, takes no gradient, and begins at the
    values given.

    >>> import haiku as hk, jax, jax.numpy as jnp, rnnjax
    >>> from rnnjax.interop.haiku import haiku_cell
    >>> cell = haiku_cell(lambda: hk.LSTM(32), jnp.zeros(8))
    >>> params = cell.init(jax.random.key(0))
    >>> final, outputs = rnnjax.unroll(cell, params, jnp.ones((50, 16, 8)))
    >>> outputs.shape, final.carry.cell.shape
    ((50, 16, 32), (16, 32))

    Args:
      make: `() -> core`, called within `hk.transform_with_state`. The core sees one batch
        axis, whatever the sequence has.
      example: the input of one step without batch axes, `[D]`; only its shape and dtype
        are read. With more feature axes, begin `rnnjax.unroll` at
        `cell.start(params, batch_shape)`, which tells it where the batch axes end.
      key: what `hk.next_rng_key` draws from, at each step anew. For other numbers at every
        training step, make the cell in the loss, of a key that comes with the batch.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.foreign.ForeignState`.

    Raises:
      TypeError: no core of Haiku, or a step does not give back what it was given.
    """

    def core() -> hk.RNNCore:
        made = make()
        if not isinstance(made, hk.RNNCore):
            raise TypeError(f"make: expected a hk.RNNCore, got {made!r}")
        return made

    def from_start(x: Inputs) -> Any:
        made = core()
        return made(x, made.initial_state(1))

    first = hk.transform_with_state(lambda rows: core().initial_state(rows))
    call = hk.transform_with_state(lambda x, carry: core()(x, carry))

    def init(key: chex.PRNGKey) -> Params:
        return hk.transform_with_state(from_start).init(key, spread(example, (1,)))

    def start(params: Params, batch: Batch) -> Carry:
        carry, _ = first.apply(*params, key, math.prod(batch))
        return _spread_rows(carry, batch)

    def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
        leaf, own = jax.tree.leaves(x)[0], jax.tree.leaves(example)[0]
        batch = leaf.shape[: leaf.ndim - jnp.ndim(own)]
        rows = [_join_rows(tree, batch) for tree in (x, carry)]
        (y, after), state = call.apply(*params, keys, *rows)
        return _spread_rows(after, batch), _spread_rows(y, batch), (params[0], state)

    def held(params: Params) -> Params:
        weights, state = params
        return weights, jax.lax.stop_gradient(state)

    like = jax.eval_shape(init, jax.random.key(0))
    return foreign_cell(Foreign(init, start, step, held), like, example, keys=key)


def _join_rows(tree: Any, batch: Batch) -> Any:
    """Leaves `[B, ...]` with the batch axes in one."""
    if len(batch) == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(math.prod(batch), *x.shape[len(batch) :]), tree)


def _spread_rows(tree: Any, batch: Batch) -> Any:
    """What `_join_rows` joined, parted."""
    if len(batch) == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), tree)
