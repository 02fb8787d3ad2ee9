"""A training step on eight devices: one sum, and the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from test_sharding import communication

import rnnjax
from rnnjax import cells, training

CELL = cells.lstm(3, 4)
MESH = jax.make_mesh((8,), ("batch",))
PARAMS = CELL.init(jax.random.key(0))
OPTIMIZER = optax.sgd(0.1)


def loss(params, batch, unroll=rnnjax.unroll):
    return jnp.mean(unroll(CELL, params, batch)[1] ** 2)


def step(loss, params, state, batch):
    value, gradient = jax.value_and_grad(loss)(params, batch)
    updates, state = OPTIMIZER.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


def test_a_training_step_holds_one_all_reduce_and_nothing_else() -> None:
    """Gradients and value in one, once: the fold's loops hold none."""
    batch = jax.random.normal(jax.random.key(1), (40, 16, 3), jnp.float32)
    spread = jax.device_put(batch, NamedSharding(MESH, P(None, "batch")))
    whole = jax.device_put(PARAMS, NamedSharding(MESH, P()))
    function = jax.jit(lambda *args: step(rnnjax.over_devices(loss, MESH), *args))
    compiled = function.lower(whole, OPTIMIZER.init(whole), spread).compile()
    told = communication(compiled)
    assert told.pop("all-reduce") == 1
    assert not any(told.values()), told
    got = compiled(whole, OPTIMIZER.init(whole), spread)
    wanted = step(loss, PARAMS, OPTIMIZER.init(PARAMS), batch)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_fit_trains_on_all_of_them() -> None:
    """The losses are those of one device."""

    def sample(key):
        return jax.random.normal(key, (5, 8, 3), jnp.float32)

    with jax.numpy_dtype_promotion("standard"):
        one, all_ = (
            training.fit(
                each, PARAMS, sample, optax.sgd(0.1), steps=3, key=jax.random.key(0)
            ).losses
            for each in (loss, rnnjax.over_devices(loss, MESH))
        )
    np.testing.assert_allclose(all_, one, rtol=1e-5)


def test_a_mesh_that_does_not_divide_the_batch() -> None:
    """The remedy is named."""
    for shape in ((5, 6, 3), (5,)):
        with pytest.raises(ValueError, match=r"with B a multiple of the 8 devices .* pad or cut"):
            rnnjax.over_devices(loss, MESH)(PARAMS, jnp.zeros(shape))


def test_a_mesh_of_two_axes_spreads_the_batch_over_both() -> None:
    """A member a device; a mean over the devices of one axis alone is another number."""
    mesh = jax.make_mesh((2, 4), ("host", "device"))
    batch = jnp.arange(1, 17, dtype=jnp.float32).reshape(2, 8, 1) / 16

    def loss(weight, batch):
        members.append(batch.shape[1])
        return jnp.mean(jnp.tanh(weight * batch))

    weight = jnp.ones((), jnp.float32)
    members: list[int] = []
    wanted = jax.value_and_grad(loss)(weight, batch)
    got = jax.jit(jax.value_and_grad(rnnjax.over_devices(loss, mesh)))(weight, batch)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert members == [8, 1]
