"""A small recurrent network learns to forecast waves; prints its loss on the validation set."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax

H = 16  # hidden units
STEPS = 200  # of training
WAVES, LENGTH, NOISE = 32, 40, 0.1
Params = dict[str, Any]


def init(key: jax.Array) -> Params:
    """The weights of the recurrence before training."""
    recurrent, read = jax.random.split(key)
    return {
        "W_hh": jax.random.normal(recurrent, (H, H)) / H**0.5,
        "W_xh": jax.random.normal(read, (1, H)),
        "b_h": jnp.zeros(H),
    }


def step(params: Params, h: jax.Array, x: jax.Array) -> jax.Array:
    """h_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h) for a batch: each row is a sequence."""
    return jnp.tanh(h @ params["W_hh"] + x @ params["W_xh"] + params["b_h"])


def start(params: Params, batch_shape: tuple[int, ...]) -> jax.Array:
    """h_0 = 0."""
    return jnp.zeros((*batch_shape, H))


def waves(seed: int) -> jax.Array:
    """Noisy sines, [LENGTH + 1, WAVES, 1]; each has a period of its own, 6 to 20 steps."""
    rng = np.random.default_rng(seed)
    period, phase = rng.uniform(6, 20, WAVES), rng.uniform(0, 1, WAVES)
    time = np.arange(LENGTH + 1)[:, None]
    values = np.sin(2 * np.pi * (time / period + phase))
    return jnp.asarray((values + NOISE * rng.normal(size=values.shape))[..., None], jnp.float32)


def predict(params: Params, cell: rnnjax.Cell, values: jax.Array) -> jax.Array:
    """After each step, the value of the next one: y_t = W_hy h_t + b_y."""
    _, h = rnnjax.unroll(cell, params["cell"], values)  # the last state, and all states [T, B, H]
    predictions: jax.Array = h @ params["W_hy"] + params["b_y"]
    return predictions


def loss(params: Params, cell: rnnjax.Cell, values: jax.Array) -> jax.Array:
    """The mean squared error of the predictions."""
    return jnp.mean((predict(params, cell, values[:-1]) - values[1:]) ** 2)


def begin(cell: rnnjax.Cell) -> Params:
    """All weights before training."""
    key, readout = jax.random.split(jax.random.key(0))
    W_hy = jax.random.normal(readout, (H, 1)) / H**0.5
    return {"cell": cell.init(key), "W_hy": W_hy, "b_y": jnp.zeros(1)}


def train(cell: rnnjax.Cell) -> tuple[Params, np.ndarray]:
    """The trained weights; the losses of training and validation, [STEPS, 2]."""
    training, validation = waves(seed=1), waves(seed=2)
    params, optimizer = begin(cell), optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def update(params: Params, state: optax.OptState) -> tuple[Params, optax.OptState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, cell, training)
        losses = jnp.stack([value, loss(params, cell, validation)])
        changes, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, changes), state, losses

    losses = []
    for _ in range(STEPS):
        params, state, both = update(params, state)
        losses.append(both)
    return params, np.array(jax.device_get(losses))


if __name__ == "__main__":
    trained, losses = train(rnnjax.from_step(step, init=init, start=start))
    print(f"validation loss {losses[-1, 1]:.4f}")
