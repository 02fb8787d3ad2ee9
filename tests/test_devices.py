"""A training step on eight devices: one sum, and the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_sharding import communication

import rnnjax
from rnnjax import cells, training

CELL = cells.lstm(3, 4)
MESH = jax.make_mesh((8,), ("batch",))
PARAMS = CELL.init(jax.random.key(0))
OPTIMIZER = optax.sgd(0.1)


def loss(params, batch):
    return jnp.mean(rnnjax.unroll(CELL, params, batch)[1] ** 2)


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


TANH = cells.elman(3, 4)


def last_loss(params, batch):
    """Of one target for each member, `[B, H]` or labels `[B]`, weighed by what all share."""
    (x, target), weight = batch["data"], batch["weight"]
    final, _ = rnnjax.unroll(TANH, params, x)
    shown = final if target.ndim == 2 else final[:, 0]
    return weight * jnp.mean((shown - target) ** 2)


@pytest.mark.parametrize(
    ("kind", "how", "target", "axis"),
    [
        (AxisType.Explicit, lambda function: function, (4, 4), 0),
        (AxisType.Explicit, jax.jit, (4,), -1),
        (AxisType.Auto, lambda function: function, (4,), 0),
    ],
    ids=["explicit, eager", "explicit, jit", "automatic, eager"],
)
def test_the_axes_of_the_batch_are_told(kind, how, target, axis, compilations) -> None:
    """T = B = H, so that no size tells a target `[B, H]` from a sequence."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(kind,))
    params = TANH.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    data = tuple(rng.normal(size=shape).astype(np.float32) for shape in ((4, 4, 3), target))
    batch = {"data": data, "weight": np.float32(2)}
    wanted = jax.jit(jax.value_and_grad(last_loss))(params, batch)
    spread = rnnjax.over_devices(last_loss, mesh, in_axes={"data": (1, axis), "weight": None})
    gradient = how(jax.value_and_grad(spread))
    got = gradient(params, batch)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    compilations.clear()
    gradient(params, batch)
    assert not compilations


@pytest.mark.parametrize("shape", [(4, 4), (4,), (4, 3), (3, 4, 4), (4, 4, 4, 4)])
def test_axes_that_are_not_told_are_not_guessed(shape) -> None:
    """Unless every leaf begins [T, B], and has as many axes."""
    x = jnp.zeros((4, 4, 3))
    with pytest.raises(ValueError, match=r"in_axes: expected the .* \(1, 0\) for inputs"):
        rnnjax.over_devices(loss, MESH)(PARAMS, (x, jnp.zeros(shape)))


@pytest.mark.parametrize(
    ("axes", "shapes", "message"),
    [
        (None, [(5, 6, 3)], r"batch: .* a multiple of the 8 devices .* got \[6\] .* pad or"),
        (1, [(5, 8, 3), (5, 16)], r"batch: expected leaves with one B, .* got \[8, 16\] "),
        (None, [(5,)], "in_axes: expected the batch axis"),
        ((1, 1), [(5, 8, 3), (8,)], "in_axes: expected axes that the leaves have, got 1 for"),
        (-4, [(5, 8, 3)], "in_axes: expected axes that the leaves have, got -4 for"),
        ((1, 0, 0), [(5, 8, 3), (8,)], r"in_axes: expected a prefix of .* got \(1, 0, 0\)"),
        ((None, None), [(5, 8, 3), (8,)], "batch: .* got none in"),
    ],
)  # fmt: skip
def test_axes_that_do_not_fit(axes, shapes, message) -> None:
    """The remedy is named."""
    batch = tuple(jnp.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        rnnjax.over_devices(loss, MESH, in_axes=axes)(PARAMS, batch)
    with pytest.raises(TypeError, match=r"in_axes: expected a whole number, got True"):
        rnnjax.over_devices(loss, MESH, in_axes=True)(PARAMS, batch)


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
