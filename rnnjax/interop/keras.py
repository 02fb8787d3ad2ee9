"""Weights of Keras's `SimpleRNN`, `LSTM` and `GRU`, in and out; Keras is not imported.

    Keras     kernel [D, GH]   recurrent_kernel [H, GH]   bias [GH], or [2, GH]
    rnnjax    W_xh = kernel    W_hh = recurrent_kernel    b_h = bias

The gates of an LSTM stand in the same order, i f c o; those of a GRU stand as z r h, here
as r z n. A GRU with `reset_after=True` has two rows of biases, for the inputs and for the
product: b_h = bias[0] + bias[1] for r and z; b_h[n] = bias[0, h], b_hn = bias[1, h].
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cell import Params
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.checks import as_bool
from rnnjax.interop.arrays import (
    GRU_ORDER,
    Loaded,
    Shape,
    check_entries,
    load,
    reorder_gates,
    take_apart,
    to_numpy,
)
from rnnjax.interop.weights import other_size
from rnnjax.layers import Directions, concatenate

NAMES = ("kernel", "recurrent_kernel", "bias")
KINDS = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
IN_FILE = re.compile(r"(.+?)(?:/forward_layer|/backward_layer)?/cell/vars/0")
FROM_LAYER = (
    "pass `layer.get_weights()` of one SimpleRNN, LSTM, GRU or Bidirectional, or a list of such "
    "lists for layers on top of each other"
)


def from_keras(
    weights: Sequence[Any],
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    reset_after: bool | None = None,
    merge: Callable[[Any, Any], Any] = concatenate,
) -> Loaded:
    """A layer that computes what the Keras layer computed, and its parameters.

    Kind, sizes, directions and biases are what number and shapes of the arrays tell. They
    tell neither a square matrix from its transpose nor what is no weight: a
    `recurrent_activation` other than the default sigmoid, or an `activation` of an LSTM or
    a GRU other than tanh, has no cell here; a layer that ran with `go_backwards` is
    `rnnjax.layers.backward(layer)`, whose outputs stay in the order of the inputs.

    Args:
      weights: `layer.get_weights()`; for layers on top of each other a list of such lists,
        from the first layer to the last; from a file, what `layer_weights` takes out of it.
        They are copied.
      activation: f of a `SimpleRNN`.
      reset_after: of a GRU without biases, whose weights do not tell; else None.
      merge: of `Bidirectional`; `jnp.add` for `merge_mode="sum"`, `jnp.multiply` for "mul".

    Returns:
      The layer and its parameters in the dtype of the arrays (float64 becomes float32
      unless `jax_enable_x64` is set, as everywhere in JAX): `recurrent(cell)`,
      `bidirectional` of two, or a `stack`. A layer without biases gets zeros.

    Raises:
      ValueError: an array is missing, too much, or of a shape or dtype that does not fit;
        all are named.
      TypeError: an entry is no array of numbers, or `reset_after` no boolean.
    """
    reset_after = None if reset_after is None else as_bool("reset_after", reset_after)
    stacked = len(weights) > 0 and all(isinstance(layer, list | tuple) for layer in weights)
    layers = [
        _take_layer(layer, f"layer {k} " if stacked else "")
        for k, layer in enumerate(weights if stacked else [weights])
    ]
    found: dict[str, np.ndarray] = {}
    shapes: dict[str, Shape | None] = {}
    width = layers[0][0].input_size
    for layer in layers:
        for part in layer:
            expected = _expect(part, width, reset_after)
            found |= {f"{part.place}{n}": a for n, a in zip(NAMES, part.arrays, strict=False)}
            shapes |= {f"{part.place}{n}": s for n, s in zip(NAMES, expected, strict=False)}
        shown = [jax.ShapeDtypeStruct((part.hidden,), np.float32) for part in layer]
        width = (jax.eval_shape(merge, *shown) if len(shown) == 2 else shown[0]).shape[0]
    kinds = ", ".join(KINDS[part.gates] for layer in layers for part in layer)
    check_entries(found, shapes, what=f"the weights of Keras's {kinds}", remedy=FROM_LAYER)
    params = tuple(
        Directions(*parts) if len(parts) == 2 else parts[0]
        for parts in ([_from_part(part, reset_after) for part in layer] for layer in layers)
    )
    return load(params if stacked else params[0], activation=activation, merge=merge)


def to_keras(params: Params) -> list[Any]:
    """What `set_weights` takes of the Keras layer that computes what these parameters do.

    The layer has `use_bias=True`, and `reset_after` as the GRU has it.

    Args:
      params: of `elman`, `lstm` or `gru`, or `Directions` of two such; or a tuple of layers.

    Returns:
      A list of arrays in the dtype of the parameters; for a tuple of layers, a list of such
      lists.

    Raises:
      TypeError: the parameters of another cell or layer.
      ValueError: an LSTM with a projection, which Keras has not.
    """
    layers = [[array for part in layer for array in _to_part(part)] for layer in take_apart(params)]
    return layers if type(params) in (tuple, list) else layers[0]


def layer_weights(arrays: Mapping[str, Any], path: str) -> list[Any]:
    """What `layer.get_weights()` gives, out of a `.weights.h5` file.

        arrays = rnnjax.interop.files.read("NAME.weights.h5")
        from_keras([layer_weights(arrays, "layers/lstm"), layer_weights(arrays, "layers/gru")])

    The file does not tell the order of layers of different kinds: Keras names each after
    its class, and numbers those of one class from the second on ("layers/lstm_1").

    Args:
      arrays: what the file holds, by name.
      path: of the layer; the error for one that is not there names those that are.

    Raises:
      ValueError: no weights of a recurrent layer of that path.
    """
    places = [f"{path}/{part}" for part in ("cell", "forward_layer/cell", "backward_layer/cell")]
    found = [
        arrays[name]
        for place in places
        for name in (f"{place}/vars/{i}" for i in range(len(NAMES)))
        if name in arrays
    ]
    if not found:
        paths = sorted({match[1] for match in map(IN_FILE.fullmatch, arrays) if match})
        raise ValueError(
            f"path: expected one of {paths}, got {path!r}; a file that has none was not written by "
            '`model.save_weights("NAME.weights.h5")`'
        )
    return found


class _Part(NamedTuple):
    """One layer in one direction: its kernel, recurrent kernel and, where it has one, bias."""

    place: str
    arrays: list[Any]
    gates: int
    input_size: int
    hidden: int


def _take_layer(weights: Any, place: str) -> list[_Part]:
    """The directions of one layer, told from the number of its arrays."""
    arrays = [to_numpy(f"{place}array {i}", array) for i, array in enumerate(weights)]
    if len(arrays) not in (2, 3, 4, 6):
        raise ValueError(
            f"{place or 'weights'}: expected 2 or 3 arrays of a layer, or 4 or 6 of a "
            f"Bidirectional, got shapes {[array.shape for array in arrays]}; {FROM_LAYER}"
        )
    if len(arrays) < 4:
        return [_take_part(arrays, place)]
    half = len(arrays) // 2
    return [
        _take_part(arrays[:half], f"{place}forward "),
        _take_part(arrays[half:], f"{place}backward "),
    ]


def _take_part(arrays: list[np.ndarray], place: str) -> _Part:
    kernel, recurrent = arrays[0].shape, arrays[1].shape
    hidden, columns = recurrent if len(recurrent) == 2 else (0, 0)
    gates = columns // max(hidden, 1)
    if gates not in KINDS or columns != gates * hidden:
        turned = columns > 0 and hidden in [n * columns for n in KINDS]
        hint = f", which transposed is that of {KINDS[hidden // columns]}" if turned else ""
        raise ValueError(
            f"{place}recurrent_kernel: expected [H, H] of a SimpleRNN, [H, 3H] of a GRU or "
            f"[H, 4H] of an LSTM, got {recurrent}{hint}; {FROM_LAYER}"
        )
    if len(kernel) != 2:
        raise ValueError(f"{place}kernel: expected [D, {columns}], got {kernel}; {FROM_LAYER}")
    return _Part(place, arrays, gates, other_size(arrays[0], columns, axis=0), hidden)


def _expect(part: _Part, input_size: int, reset_after: bool | None) -> list[Shape]:
    """Of as many arrays as there are."""
    columns = part.gates * part.hidden
    biases, rows = part.arrays[2:], 1
    if KINDS[part.gates] == "GRU":
        if not biases and reset_after is None:
            raise ValueError(
                "reset_after: expected True or False for a GRU without biases, got None; its "
                "weights do not tell, and True is Keras's default"
            )
        two = biases[0].ndim == 2 if reset_after is None else reset_after
        rows = 2 if two else 1
    bias = (columns,) if rows == 1 else (rows, columns)
    return [(input_size, columns), (part.hidden, columns), *[bias for _ in biases]]


def _from_part(part: _Part, reset_after: bool | None) -> Params:
    W_xh, W_hh, *biases = part.arrays
    bias: Any = biases[0] if biases else np.zeros(W_hh.shape[1], W_hh.dtype)
    match KINDS[part.gates]:
        case "SimpleRNN":
            return ElmanParams(W_xh, W_hh, bias)
        case "LSTM":
            return LSTMParams(W_xh, W_hh, bias)
    reordered: list[Any] = [reorder_gates(array, GRU_ORDER) for array in (W_xh, W_hh, bias)]
    W_xh, W_hh, bias = reordered
    if bias.ndim == 1 and not reset_after:
        return GRUParams(W_xh, W_hh, bias, b_hn=None)
    rz = 2 * part.hidden
    of_inputs, of_product = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    b_h: Any = np.concatenate([of_inputs[:rz] + of_product[:rz], of_inputs[rz:]])
    return GRUParams(W_xh, W_hh, b_h, b_hn=of_product[rz:])


def _to_part(params: Params) -> list[np.ndarray]:
    params = jax.tree.map(np.array, params)
    if isinstance(params, LSTMParams) and params.W_hr is not None:
        raise ValueError(
            "params: expected those of an LSTM without a projection, got W_hr "
            f"{params.W_hr.shape}; Keras has no such layer"
        )
    if not isinstance(params, GRUParams):
        return [params.W_xh, params.W_hh, params.b_h]
    bias: Any = params.b_h
    if params.b_hn is not None:
        of_product = np.zeros_like(bias)
        of_product[-params.b_hn.shape[0] :] = params.b_hn
        bias = np.stack([bias, of_product])
    arrays: list[Any] = [params.W_xh, params.W_hh, bias]
    return [reorder_gates(array, GRU_ORDER) for array in arrays]
