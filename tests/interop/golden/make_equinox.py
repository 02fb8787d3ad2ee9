"""What Equinox computes: weights, inputs, outputs and gradients of its cells.

    python tests/interop/golden/make_equinox.py

writes equinox.npz beside this file; `record` is what the tests hold live against our
layers too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

T, B, D, H = 4, 3, 3, 4
OPTIONS = {"dtype": jnp.float32, "key": jax.random.key(0)}

CASES: dict[str, Callable[[], eqx.Module]] = {
    "lstm": lambda: eqx.nn.LSTMCell(D, H, **OPTIONS),
    "lstm_without_bias": lambda: eqx.nn.LSTMCell(D, H, use_bias=False, **OPTIONS),
    "gru": lambda: eqx.nn.GRUCell(D, H, **OPTIONS),
    "gru_without_bias": lambda: eqx.nn.GRUCell(D, H, use_bias=False, **OPTIONS),
}


def record(case: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name; the loss is the sum of `outputs * cotangent`, time first."""
    rng = np.random.default_rng(seed)

    def draw(array: Any) -> jax.Array:
        return jnp.asarray(0.5 * rng.normal(size=array.shape), jnp.float32)

    zeros = jnp.zeros((B, H), jnp.float32)
    hidden = (zeros, zeros) if case.startswith("lstm") else zeros

    def loss(cell: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(hidden: Any, x: jax.Array) -> tuple[Any, jax.Array]:
            hidden = jax.vmap(cell)(x, hidden)
            return hidden, hidden[0] if case.startswith("lstm") else hidden

        _, outputs = jax.lax.scan(step, hidden, inputs)
        return jnp.sum(outputs * cotangent), outputs

    inputs, cotangent = (draw(np.zeros((T, B, n))) for n in (D, H))
    cell = jax.tree.map(draw, CASES[case]())
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, outputs), (by_cell, by_inputs) = run(cell, inputs)
    arrays = {
        "inputs": inputs,
        "outputs": outputs,
        "cotangent": cotangent,
        "gradient/inputs": by_inputs,
    }
    for place, module in (("weights", cell), ("gradient/weights", by_cell)):
        arrays |= {f"{place}/{n}": a for n, a in vars(module).items() if eqx.is_array(a)}
    return {name: np.asarray(array) for name, array in arrays.items()}


if __name__ == "__main__":
    arrays = {f"{case}/{name}": array for case in CASES for name, array in record(case).items()}
    versions = np.array([f"{p.__name__} {p.__version__}" for p in (eqx, jax, np)])
    np.savez_compressed(Path(__file__).with_name("equinox.npz"), versions=versions, **arrays)
