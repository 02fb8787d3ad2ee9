"""A trained network in a form that a reader's browser can run.

The weights become 16-bit floats: half the bytes, at next to no cost in what the network predicts.
What the browser computes from them is what `rounded(model)` computes here.
"""

import base64
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.models.language import LanguageModel
from rnnjax.cells import LSTMParams


def portable(model: LanguageModel, alphabet: Sequence[str]) -> dict[str, Any]:
    """What `lesson.lstm` of `experiments/page/lstm.js` reads; `json.dumps` takes it.

    It holds `alphabet`, the V characters as one string, and `weights`: by name, the `shape` of an
    array and its numbers as `float16`, little-endian, row by row, in base64. The names are

        embedding   [V, E]     the network reads a row of it times the root of E
        W_xh        [E, 4H]    the gates' columns in the order i f g o
        W_hh        [H, 4H]
        b_h         [4H]
        W_hy        [H, V]     the readout
        b_y         [V]

    Args:
      model: an LSTM without projection, its readout separate from its embedding.
      alphabet: the characters, in the order of the model's tokens.

    Raises:
      TypeError: the network is another one.
      ValueError: the alphabet does not fit the embedding, or a weight does not fit 16 bits.
    """
    cell, readout = model.rnn.params, model.readout
    if not isinstance(cell, LSTMParams) or cell.W_hr is not None or readout is None:
        raise TypeError("model: expected an LSTM without projection and with a readout of its own")
    if len(alphabet) != model.table.num_embeddings:
        raise ValueError(
            f"alphabet: expected {model.table.num_embeddings} characters, as the embedding has "
            f"rows, got {len(alphabet)}"
        )
    weights: dict[str, Any] = {
        "embedding": model.table.embedding,
        "W_xh": cell.W_xh,
        "W_hh": cell.W_hh,
        "b_h": cell.b_h,
        "W_hy": readout.kernel,
        "b_y": readout.bias,
    }
    return {
        "alphabet": "".join(alphabet),
        "weights": {name: _packed(name, np.asarray(w[...])) for name, w in weights.items()},
    }


def rounded(model: LanguageModel) -> LanguageModel:
    """The model with its weights rounded to 16 bits and held in 32, as the browser has them."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = jax.tree.map(lambda w: w.astype(jnp.float16).astype(w.dtype), params)
    return nnx.merge(graph, params, rest)


def _packed(name: str, weights: np.ndarray) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        halves = weights.astype("<f2")
    if not np.all(np.isfinite(halves)):
        raise ValueError(f"{name}: expected numbers that 16 bits hold, up to 65504 in size")
    return {
        "shape": list(weights.shape),
        "float16": base64.b64encode(halves.tobytes()).decode("ascii"),
    }
