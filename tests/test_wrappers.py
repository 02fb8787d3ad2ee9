"""Wrappers, one step at a time: what a fold then makes of them is in test_unroll."""

from typing import Any

import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from laws import CELLS

from rnnjax import step
from rnnjax._tree import carries_gradient, floating
from rnnjax._wrappers import masked, probed, resetting

BATCH = (3,)
FLAGS = np.array([True, False, True])


def rows(flags: np.ndarray, this: Any, that: Any) -> Any:
    """Members of `this` where the flag is set, else of `that`, which also has what is shared."""

    def choose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (
            np.stack([x if flag else y for flag, x, y in zip(flags, a, b, strict=True)])
            if a.ndim
            else b
        )

    return jax.tree.map(lambda a, b: choose(laws.plain(a), laws.plain(b)), this, that)


def batched_of(cell: str, state: Any) -> Any:
    """-1 for each leaf that belongs to no member of the batch."""
    own = laws.batched_leaves(cell, laws.draw(cell, 1, BATCH).params)
    return jax.tree.unflatten(jax.tree.structure(state), [0 if o else -1 for o in own])


def shifted(tree: Any) -> Any:
    """A quarter more, where that has a meaning."""
    return jax.tree.map(lambda s: s + 0.25 if carries_gradient(s) else laws.plain(s), tree)


@pytest.mark.parametrize("cell", CELLS)
def test_a_wrapped_step(cell: str) -> None:
    """A mask keeps the state, a reset replaces it before the step, a probe adds to it after."""
    made = CELLS[cell].make(jnp.asarray(laws.CLOSED))
    args = laws.draw(cell, 1, BATCH)
    params, state, x = args.params, args.state, jax.tree.map(lambda x: x[0], args.inputs)
    start = made.start(params, BATCH)
    # A clock belongs to no member: no reset turns it back and no mask holds it.
    fresh = jax.tree.map(lambda a, own: a if jnp.ndim(a) else own, start, state)
    probe = jax.tree.map(
        lambda s: np.full_like(s, 0.25) if carries_gradient(s) else None, floating(state)
    )

    batched = batched_of(cell, state)

    @jax.jit
    def run(params: Any, state: Any, x: Any) -> Any:
        plain = step(made, params, state, x)
        again = step(made, params, fresh, x)
        keeps = step(masked(made, batched), params, state, (x, FLAGS))
        begins = step(resetting(made, start, batched), params, state, (x, FLAGS))
        adds = step(probed(made), params, state, (x, probe))
        every = step(
            probed(resetting(masked(made, batched), start, batched)),
            params,
            state,
            (((x, ~FLAGS), FLAGS), probe),
        )
        return plain, again, keeps, begins, adds, every

    plain, again, keeps, begins, adds, every = run(params, state, x)

    held = jax.tree.map(lambda s, p: s if jnp.ndim(s) else p, state, plain)
    laws.assert_close(keeps, rows(FLAGS, plain, held))
    laws.assert_close(begins, rows(FLAGS, again, plain))
    laws.assert_close(adds, shifted(plain))
    laws.assert_close(every, shifted(rows(FLAGS, start, plain)))


@pytest.mark.parametrize("cell", CELLS)
def test_the_kernel_is_left_alone(cell: str) -> None:
    """A wrapped cell has the same kernel, or none."""
    made = CELLS[cell].make(jnp.asarray(laws.CLOSED))
    start = made.start(laws.draw(cell, 1, BATCH).params, BATCH)
    batched = batched_of(cell, start)
    for wrapped in (masked(made, batched), resetting(made, start, batched), probed(made)):
        assert wrapped.kernel is made.kernel
        assert (wrapped.hidden is None) == (made.hidden is None)
        assert wrapped.start is made.start and wrapped.output is made.output
