"""What the tests of weights from other libraries share: our side of the comparison."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.interop._arrays import Loaded

Arrays = dict[str, np.ndarray]


class Computed(NamedTuple):
    """Outputs, and the gradient of `sum(outputs * cotangent)`."""

    outputs: jax.Array
    by_params: Any
    by_inputs: jax.Array


def compute(loaded: Loaded, record: Arrays, mask: Any) -> Computed:
    def loss(params: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = loaded.layer.apply(params, inputs, mask=mask)[1]
        return jnp.sum(outputs * record["cotangent"]), outputs

    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, outputs), gradients = run(loaded.params, jnp.asarray(record["inputs"]))
    return Computed(outputs, *gradients)


def close(ours: Any, theirs: np.ndarray, what: str) -> None:
    """To 1e-5 of the largest number, in float32."""
    assert ours.dtype == np.float32, what
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=what)


def part(record: Arrays, place: str) -> Arrays:
    """The entries below a place, without its name."""
    return {
        name.removeprefix(place): array for name, array in record.items() if name.startswith(place)
    }
