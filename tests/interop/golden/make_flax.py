"""What Flax computes: weights, inputs, outputs and gradients of its standard cells.

    python tests/interop/golden/make_flax.py

writes flax.npz beside this file; `record` is what the tests hold live against our layers
too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

T, B, D, H = 4, 3, 3, 4

CASES: dict[str, Callable[[], Any]] = {
    "linen_rnn": lambda: linen.SimpleCell(H),
    "linen_rnn_residual": lambda: linen.SimpleCell(H, activation_fn=jax.nn.relu, residual=True),
    "linen_lstm": lambda: linen.LSTMCell(H),
    "linen_lstm_optimized": lambda: linen.OptimizedLSTMCell(H),
    "linen_gru": lambda: linen.GRUCell(H),
    "nnx_rnn": lambda: nnx.SimpleCell(D, H, rngs=nnx.Rngs(0)),
    "nnx_lstm": lambda: nnx.LSTMCell(D, H, rngs=nnx.Rngs(0)),
    "nnx_lstm_optimized": lambda: nnx.OptimizedLSTMCell(D, H, rngs=nnx.Rngs(0)),
    "nnx_gru": lambda: nnx.GRUCell(D, H, rngs=nnx.Rngs(0)),
}


def record(case: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name; the loss is the sum of `outputs * cotangent`, time first."""
    rng = np.random.default_rng(seed)
    cell = CASES[case]()

    def draw(array: Any) -> jax.Array:
        # Biases too, which start at zero, where a wrong one does not show.
        return jnp.asarray(0.5 * rng.normal(size=array.shape), jnp.float32)

    inputs, cotangent = (draw(np.zeros((T, B, n))) for n in (D, H))
    if isinstance(cell, linen.Module):
        carry = cell.initialize_carry(jax.random.key(0), (B, D))
        weights = cell.init(jax.random.key(0), carry, inputs[0])["params"]
    else:
        carry = cell.initialize_carry((B, D), nnx.Rngs(0))
        graph, state = nnx.split(cell)
        weights = nnx.to_pure_dict(state)

    def step(weights: Any, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        if isinstance(cell, linen.Module):
            return cell.apply({"params": weights}, carry, x)
        state = jax.tree.map(jnp.asarray, nnx.state(cell))
        nnx.replace_by_pure_dict(state, weights)
        return nnx.merge(graph, state)(carry, x)

    def loss(weights: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, outputs = jax.lax.scan(lambda h, x: step(weights, h, x), carry, inputs)
        return jnp.sum(outputs * cotangent), outputs

    weights = jax.tree.map(draw, weights)
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, outputs), (by_weights, by_inputs) = run(weights, inputs)
    arrays = {
        "inputs": inputs,
        "outputs": outputs,
        "cotangent": cotangent,
        "gradient/inputs": by_inputs,
    }
    for place, tree in (("weights", weights), ("gradient/weights", by_weights)):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            arrays[f"{place}/{jax.tree_util.keystr(path, simple=True, separator='/')}"] = leaf
    return {name: np.asarray(array) for name, array in arrays.items()}


if __name__ == "__main__":
    arrays = {f"{case}/{name}": array for case in CASES for name, array in record(case).items()}
    versions = np.array([f"{p.__name__} {p.__version__}" for p in (flax, jax, np)])
    np.savez_compressed(Path(__file__).with_name("flax.npz"), versions=versions, **arrays)
