"""Other libraries at the same problems, each as its own documentation recommends.

All get float32, zeros as initial state, and the memory layout that their own sequence
front end takes without transposing.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import CELLS, Model, Problem, Program, draw_inputs, jax_model


class UnavailableError(Exception):
    """The library cannot take part in this problem; the message says why."""


def shown(carry: Any) -> jax.Array:
    """H of a state that is h alone, or (c, h)."""
    return carry[1] if isinstance(carry, tuple) else carry


def plain_step(problem: Problem) -> tuple[Any, Any]:
    """`(params, state, x) -> (state, output)` in the straightforward way, and the first state."""

    def tanh(params: Any, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x @ params.W_xh + h @ params.W_hh + params.b_h)
        return h, h

    def gru(params: Any, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_r, x_z, x_n = jnp.split(x @ params.W_xh + params.b_h, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ params.W_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h = (1 - z) * jnp.tanh(x_n + r * (h_n + params.b_hn)) + z * h
        return h, h

    def lstm(params: Any, state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        c, h = state
        i, f, g, o = jnp.split(x @ params.W_xh + h @ params.W_hh + params.b_h, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zeros = jnp.zeros((problem.batch, problem.hidden_size))
    start = (zeros, zeros) if problem.cell == "lstm" else zeros
    return {"tanh": tanh, "gru": gru, "lstm": lstm}[problem.cell], start


def plain_scan(problem: Problem) -> Model:
    """`lax.scan` over `plain_step`."""
    return scanned(problem, *plain_step(problem), draw_inputs(problem))


def scanned(problem: Problem, step: Any, start: Any, x: Any) -> Model:
    """`lax.scan` over a step, with our weights."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

    def run(params: Any, x: Any) -> tuple[jax.Array, jax.Array]:
        final, outputs = jax.lax.scan(lambda state, x_t: step(params, state, x_t), start, x)
        return shown(final), outputs

    return jax_model(run, cell.init(jax.random.key(0)), x)


def flax_linen(problem: Problem) -> Model:
    """`flax.linen.RNN`."""
    from flax import linen

    cells: dict[str, Callable[..., Any]] = {
        "tanh": linen.SimpleCell,
        "gru": linen.GRUCell,
        "lstm": linen.OptimizedLSTMCell,
    }
    rnn = linen.RNN(cells[problem.cell](problem.hidden_size), time_major=True)
    x = draw_inputs(problem)

    def run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        final, outputs = rnn.apply(params, x, return_carry=True)
        return shown(final), outputs

    return jax_model(run, rnn.init(jax.random.key(0), x[:1]), x)


def flax_nnx(problem: Problem) -> Model:
    """`flax.nnx.RNN` with an initial state: drawing one would mutate its random stream."""
    from flax import nnx

    cells: dict[str, Callable[..., Any]] = {
        "tanh": nnx.SimpleCell,
        "gru": nnx.GRUCell,
        "lstm": nnx.OptimizedLSTMCell,
    }
    cell = cells[problem.cell](problem.input_size, problem.hidden_size, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(nnx.RNN(cell, time_major=True), nnx.Param, ...)
    zeros = jnp.zeros((problem.batch, problem.hidden_size))
    start = (zeros, zeros) if problem.cell == "lstm" else zeros

    def run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        rnn = nnx.merge(graph, params, rest)
        final, outputs = rnn(x, initial_carry=start, return_carry=True)
        return shown(final), outputs

    return jax_model(run, params, draw_inputs(problem))


def haiku(problem: Problem) -> Model:
    """`haiku.dynamic_unroll`; its GRU resets before the product, which takes two per step."""
    import haiku as hk

    cells: dict[str, Callable[..., Any]] = {"gru": hk.GRU, "lstm": hk.LSTM}
    if problem.cell not in cells:
        raise UnavailableError("has a ReLU cell, no tanh")

    def network(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        core = cells[problem.cell](problem.hidden_size)
        outputs, final = hk.dynamic_unroll(core, x, core.initial_state(problem.batch))
        return final.hidden if problem.cell == "lstm" else final, outputs

    pure = hk.without_apply_rng(hk.transform(network))
    x = draw_inputs(problem)
    return jax_model(pure.apply, pure.init(jax.random.key(0), x[:1]), x)


def equinox(problem: Problem) -> Model:
    """`equinox.nn` cells, mapped over the batch and scanned over time."""
    import equinox as eqx

    cells: dict[str, Callable[..., Any]] = {"gru": eqx.nn.GRUCell, "lstm": eqx.nn.LSTMCell}
    if problem.cell not in cells:
        raise UnavailableError(f"has no {problem.cell} cell")
    cell = cells[problem.cell](problem.input_size, problem.hidden_size, key=jax.random.key(0))
    arrays, static = eqx.partition(cell, eqx.is_array)
    zeros = jnp.zeros((problem.batch, problem.hidden_size))
    start = (zeros, zeros) if problem.cell == "lstm" else zeros

    def hidden(state: Any) -> jax.Array:
        return state[0] if problem.cell == "lstm" else state

    def run(arrays: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        step = jax.vmap(eqx.combine(arrays, static))

        def body(state: Any, x_t: jax.Array) -> tuple[Any, jax.Array]:
            state = step(x_t, state)
            return state, hidden(state)

        final, outputs = jax.lax.scan(body, start, x)
        return hidden(final), outputs

    return jax_model(run, arrays, draw_inputs(problem))


def keras(problem: Problem) -> Model:
    """Keras 3 layers on its JAX backend; they take the batch first."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras as k

    layers: dict[str, Callable[..., Any]] = {
        "tanh": k.layers.SimpleRNN,
        "gru": k.layers.GRU,
        "lstm": k.layers.LSTM,
    }
    layer = layers[problem.cell](problem.hidden_size, return_sequences=True)
    layer.build((problem.batch, problem.length, problem.input_size))
    rest = [variable.value for variable in layer.non_trainable_variables]

    def run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs, _ = layer.stateless_call(params, rest, x)
        return outputs[:, -1], outputs

    params = [variable.value for variable in layer.trainable_variables]
    return jax_model(run, params, jnp.swapaxes(draw_inputs(problem), 0, 1))


def vendor(problem: Problem) -> Model:
    """The LSTM of cuDNN, through `jax.experimental.rnn`; it takes the batch first."""
    if problem.cell != "lstm":
        raise UnavailableError("JAX offers the LSTM alone")
    if jax.default_backend() != "gpu":
        raise UnavailableError(f"JAX has none on the {jax.default_backend()}")
    from jax.experimental import rnn

    sizes = (problem.input_size, problem.hidden_size, 1)
    zeros = jnp.zeros((1, problem.batch, problem.hidden_size))
    lengths = jnp.full(problem.batch, problem.length, jnp.int32)

    def run(weights: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs, final, _ = rnn.lstm(x, zeros, zeros, weights, lengths, *sizes, 0.0, False)
        return final[0], outputs

    weights = rnn.init_lstm_weight(jax.random.key(0), *sizes, False)
    return jax_model(run, weights, jnp.swapaxes(draw_inputs(problem), 0, 1))


def torch(problem: Problem) -> Model:
    """`torch.nn` modules, eager as its documentation runs them, on the same kind of device."""
    import torch as t

    modules: dict[str, Callable[..., Any]] = {"tanh": t.nn.RNN, "gru": t.nn.GRU, "lstm": t.nn.LSTM}
    accelerated = jax.default_backend() == "gpu" and t.cuda.is_available()
    if jax.default_backend() != "cpu" and not accelerated:
        raise UnavailableError(f"does not see the {jax.default_backend()}")
    device = "cuda" if accelerated else "cpu"
    module = modules[problem.cell](problem.input_size, problem.hidden_size).to(device)
    x = t.from_numpy(np.array(draw_inputs(problem))).to(device)

    def wait() -> None:
        if accelerated:
            t.cuda.synchronize()

    def forward() -> Any:
        with t.inference_mode():
            outputs, _ = module(x)
        wait()
        return outputs

    def gradient(shown: Callable[[Any], Any]) -> Callable[[], Any]:
        def call() -> Any:
            module.zero_grad()
            shown(module(x)[0]).square().mean().backward()
            wait()
            return [weight.grad for weight in module.parameters()]

        return call

    return Model(
        forward=lambda: Program(forward),
        training_step=lambda: Program(gradient(lambda outputs: outputs)),
        last_output=lambda: Program(gradient(lambda outputs: outputs[-1])),
    )


JAX_PEERS: dict[str, Callable[[Problem], Model]] = {
    "plain scan": plain_scan,
    "Flax linen": flax_linen,
    "Flax nnx": flax_nnx,
    "Haiku": haiku,
    "Equinox": equinox,
    "Keras": keras,
}
TORCH, VENDOR = "torch", "cuDNN"
PEERS = JAX_PEERS | {TORCH: torch, VENDOR: vendor}
