"""What Keras computes: weights, inputs, outputs and gradients of small layers.

    python tests/interop/golden/make_keras.py

writes keras_NAME.npz beside this file for every case of the table; `record` is what the
tests hold live against our layers too.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.layers import GRU, LSTM, Bidirectional, SimpleRNN

T, B, D, H = 5, 3, 3, 4

CASES: dict[str, Callable[[], list[Any]]] = {
    "rnn": lambda: [SimpleRNN(H, return_sequences=True)],
    "relu": lambda: [SimpleRNN(H, return_sequences=True, activation="relu")],
    "lstm": lambda: [LSTM(H, return_sequences=True)],
    "gru_after": lambda: [GRU(H, return_sequences=True)],
    "gru_before": lambda: [GRU(H, return_sequences=True, reset_after=False)],
    "gru_without_bias": lambda: [GRU(H, return_sequences=True, use_bias=False)],
    "masked": lambda: [
        Bidirectional(LSTM(H, return_sequences=True)),
        Bidirectional(GRU(2, return_sequences=True)),
    ],
    "summed": lambda: [Bidirectional(SimpleRNN(H, return_sequences=True), merge_mode="sum")],
}
# Two lengths below T, and a hole.
MASK = {"masked": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 1, 0]], bool).T}


def record(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name; the loss is the sum of `outputs * cotangent` over valid steps, time first."""
    rng = np.random.default_rng(seed)
    mask = MASK.get(name, np.ones((T, B), bool))
    inputs = rng.normal(size=(T, B, D)).astype(np.float32)
    layers, shape = CASES[name](), (B, T, D)
    for layer in layers:
        layer.build(shape)
        # The biases start at zero, where a wrong one does not show.
        layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
        shape = layer.compute_output_shape(shape)
    cotangent = rng.normal(size=(T, *shape[::2])).astype(np.float32) * mask[..., None]

    def loss(weights: list[list[jax.Array]], inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = jnp.swapaxes(inputs, 0, 1)
        for layer, own in zip(layers, weights, strict=True):
            rest = [variable.value for variable in layer.non_trainable_variables]
            outputs, _ = layer.stateless_call(own, rest, outputs, mask=mask.T)
        outputs = jnp.swapaxes(outputs, 0, 1)
        return jnp.sum(outputs * cotangent), outputs

    weights = [[variable.value for variable in layer.weights] for layer in layers]
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, outputs), gradients = run(weights, inputs)
    arrays = {
        "inputs": inputs,
        "mask": mask,
        "outputs": outputs * mask[..., None],
        "cotangent": cotangent,
        "gradient/inputs": gradients[1],
    }
    for k, (own, gradient) in enumerate(zip(weights, gradients[0], strict=True)):
        for i, (array, by_array) in enumerate(zip(own, gradient, strict=True)):
            arrays |= {f"weights/{k}/{i}": array, f"gradient/weights/{k}/{i}": by_array}
    return {key: np.array(array) for key, array in arrays.items()}


if __name__ == "__main__":
    versions = np.array([f"{p.__name__} {p.__version__}" for p in (keras, jax, np)])
    for case in CASES:
        file = Path(__file__).with_name(f"keras_{case}.npz")
        np.savez_compressed(file, versions=versions, **record(case))
