"""What Haiku computes: weights, inputs, outputs and gradients of its standard cores.

    python tests/interop/golden/make_haiku.py

writes haiku.npz beside this file; `record` is what the tests hold live against our layers
too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

T, B, D, H = 4, 3, 3, 4

CASES: dict[str, Callable[[], hk.RNNCore]] = {
    "vanilla_rnn": lambda: hk.VanillaRNN(H),
    "vanilla_rnn_single_bias": lambda: hk.VanillaRNN(H, double_bias=False, name="core"),
    "lstm": lambda: hk.LSTM(H),
    "gru": lambda: hk.GRU(H),
}


def record(case: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name; the loss is the sum of `outputs * cotangent`, time first."""
    rng = np.random.default_rng(seed)

    def draw(array: Any) -> jax.Array:
        return jnp.asarray(0.5 * rng.normal(size=array.shape), jnp.float32)

    def run(inputs: jax.Array) -> jax.Array:
        core = CASES[case]()
        return hk.dynamic_unroll(core, inputs, core.initial_state(B))[0]

    def loss(weights: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = model.apply(weights, None, inputs)
        return jnp.sum(outputs * cotangent), outputs

    model = hk.transform(run)
    # A state of Haiku has JAX's widest floats, whatever its inputs.
    with jax.enable_x64(False):
        inputs, cotangent = (draw(np.zeros((T, B, n))) for n in (D, H))
        weights = jax.tree.map(draw, model.init(jax.random.PRNGKey(0), inputs))
        gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        (_, outputs), (by_weights, by_inputs) = gradient(weights, inputs)
    arrays = {
        "inputs": inputs,
        "outputs": outputs,
        "cotangent": cotangent,
        "gradient/inputs": by_inputs,
    }
    for place, tree in (("weights", weights), ("gradient/weights", by_weights)):
        for module, entries in tree.items():
            arrays |= {f"{place}/{module}/{name}": leaf for name, leaf in entries.items()}
    return {name: np.asarray(array) for name, array in arrays.items()}


if __name__ == "__main__":
    arrays = {f"{case}/{name}": array for case in CASES for name, array in record(case).items()}
    versions = np.array([f"{p.__name__} {p.__version__}" for p in (hk, jax, np)])
    np.savez_compressed(Path(__file__).with_name("haiku.npz"), versions=versions, **arrays)
