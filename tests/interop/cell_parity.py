"""What the tests of single cells of other libraries share: the comparison both ways."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import parity
import pytest

from rnnjax.interop._arrays import Loaded

Arrays = dict[str, np.ndarray]


def golden(library: str, case: str) -> Arrays:
    file = Path(__file__).with_name("golden") / f"{library}.npz"
    with np.load(file, allow_pickle=False) as arrays:
        return parity.part(dict(arrays), f"{case}/")


def check(
    record: Arrays,
    take: Callable[[Arrays], Loaded],
    give: Callable[[Any], Arrays],
    *,
    twice: Iterable[str] = (),
    missing: Iterable[str] = (),
) -> None:
    """Outputs, gradients, and the way back.

    Args:
      record: as the scripts beside the golden files write it.
      take: the weights by name, to our layer.
      give: our parameters, to the weights by name.
      twice: weights that are there beside others to which they are added.
      missing: fields of our parameters for which there is no weight.
    """
    weights = parity.part(record, "weights/")
    loaded = take(weights)
    ours = parity.compute(loaded, record, None)
    parity.close(ours.outputs, record["outputs"], "outputs")
    parity.close(ours.by_inputs, record["gradient/inputs"], "inputs")

    def without(params: Any) -> Any:
        return params._replace(**{f: np.zeros_like(getattr(params, f)) for f in missing})

    # A gradient goes back the way its weights do, but for constants that were added.
    constants = give(jax.tree.map(np.zeros_like, loaded.params))
    gradient, back = give(without(ours.by_params)), give(loaded.params)
    for name, array in weights.items():
        if name not in twice:
            theirs = record[f"gradient/weights/{name}"]
            parity.close(gradient[name] - constants[name], theirs, name)
            added = sum(weights[other] for other in twice if name.endswith("/b"))
            np.testing.assert_allclose(back[name], array + added, rtol=0, atol=1e-6, err_msg=name)


def refuses(
    record: Arrays, take: Callable[[Arrays], Loaded], missing: str, turned: str, *also: str
) -> None:
    """One error names what is missing, too much and of a wrong shape."""
    weights = parity.part(record, "weights/")
    del weights[missing]
    weights[turned] = weights[turned].T
    weights[f"{turned}_more"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="is missing") as error:
        take(weights)
    # The names within the module are enough.
    names = (name.rpartition("/")[-1] for name in (missing, turned))
    for text in (*names, "one too many", "transpose", *also):
        assert text in str(error.value), error.value
