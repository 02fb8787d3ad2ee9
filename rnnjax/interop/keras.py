"""Weights to and from Keras's `SimpleRNN`, `LSTM` and `GRU`; Keras is not imported.

    Keras     kernel [D, GH]   recurrent_kernel [H, GH]   bias [GH], or [2, GH]
    rnnjax    W_xh = kernel    W_hh = recurrent_kernel    b_h = bias

The gates of an LSTM are in the same order, i f c o; those of a GRU are z r h there and r z n
here. A GRU with `reset_after=True` has two rows of biases, for the inputs and for the
product: b_h = bias[0] + bias[1] for r and z; b_h[n] = bias[0, h], b_hn = bias[1, h].
"""

import itertools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Params
from rnnjax._checks import as_bool, as_text, kind_of
from rnnjax._tree import describe
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.interop._arrays import (
    GRU_ORDER,
    OTHER_FUNCTIONS,
    Activation,
    Loaded,
    Shape,
    build_cell,
    check_activation,
    check_dropout,
    check_entries,
    check_mapping,
    copy,
    nest,
    reorder_gates,
    take_apart,
    to_numpy,
)
from rnnjax.interop._keras_config import Direction, LayerConfig, read_layer
from rnnjax.interop._weights import (
    count_gates,
    join_biases,
    other_size,
    split_biases,
    transposed_hint,
)
from rnnjax.layers import Directions, Layer, backward, bidirectional, concatenate, recurrent, stack

__all__ = ["from_keras", "to_keras", "layer_weights", "layer_config"]

Merge = Callable[[Any, Any], Any]

NAMES = ("kernel", "recurrent_kernel", "bias")
KINDS = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
SIDES = ("forward", "backward")
# Names of a cell's arrays in a file: in a `.weights.h5`, and in older ones.
IN_FILE = (("vars/0", "vars/1", "vars/2"), NAMES, tuple(f"{name}:0" for name in NAMES))
# The path of a cell within its layer.
WITHIN = re.compile(r"((/forward_layer|/backward_layer)?/cell|/cell/cells/[^/]+)$")
FROM_LAYER = (
    "pass `layer.get_weights()` of one SimpleRNN, LSTM, GRU or Bidirectional, or a list of such "
    "lists for layers on top of each other"
)
FROM_FILE = 'pass what `rnnjax.interop.files.read("NAME.weights.h5")` gives'
OF_WEIGHTS = "pass the config of the layer whose weights these are"


def _identity(x: jax.Array) -> jax.Array:
    return x


def _average(forward: Any, backward: Any) -> Any:
    return (forward + backward) / 2


def _both(forward: Any, backward: Any) -> Any:
    return [forward, backward]


# Only those that are the same function in every version of Keras.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "linear": _identity,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
}
MERGES: dict[str | None, Merge] = {
    "concat": concatenate,
    "sum": jnp.add,
    "mul": jnp.multiply,
    "ave": _average,
    None: _both,
}


def from_keras(
    weights: Sequence[Any],
    *,
    config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    activation: Activation | None = None,
    reset_after: bool | None = None,
    merge: Merge | None = None,
    dropout: float = 0.0,
) -> Loaded:
    """A layer that computes what the Keras layer computed, and its parameters.

        from_keras(layer.get_weights(), config=layer.get_config())

    Weights determine kind, sizes, directions and biases, but neither a square matrix from
    its transpose nor the options of the layer: without a config, an `activation` of tanh, a
    `recurrent_activation` of sigmoid, no `go_backwards`, `merge_mode="concat"` and
    `return_sequences` of a layer below another are assumed. A config gives all of them; it
    is an error if no cell here supports it (a hard sigmoid, an LSTM with ReLU), or the
    weights or the other arguments contradict it.

    Outputs stay in the order of the inputs, where Keras returns those of a layer with
    `go_backwards` in the order of the run; a layer above it runs as it does in Keras.
    `dropout`, `recurrent_dropout`, `stateful`, the dtype policy and initialisers are
    ignored.

    Args:
      weights: `layer.get_weights()`; for stacked layers a list of such lists, from the first
        layer to the last; from a file, the result of `layer_weights`. `Directions` of two
        such lists are a `Bidirectional`, regardless of their sizes. They are copied.
      config: `layer.get_config()`, or a list of them, one for each layer; from a file, the
        result of `layer_config`. That of `RNN([cell, cell])` splits the weights by cell.
      activation: f of each `SimpleRNN`, if no config names it; by default tanh.
      reset_after: of a GRU without biases, whose weights do not determine it; else None.
      merge: of `Bidirectional`, if there is no config; `jnp.add` for `merge_mode="sum"`,
        `jnp.multiply` for "mul".
      dropout: rate between the layers, as of a `keras.layers.Dropout(rate)` after each but
        the last; active if `layer.apply` is given a key.

    Returns:
      The layer and its parameters in the dtype of the arrays (float64 becomes float32
      unless `jax_enable_x64` is set, as everywhere in JAX): `recurrent(cell)`,
      `bidirectional` of two, or a `stack`; `backward` of them with `go_backwards`. A layer
      without biases gets zeros.

    Raises:
      ValueError: an array is missing, unexpected, or of a wrong shape or dtype; all are
        named. It is ambiguous whether arrays are two layers or two directions. A config does
        not match the weights, or is not supported here. An argument contradicts a config, or
        fits no layer.
      TypeError: `weights` is not a list, an entry not an array of numbers, a config not a
        mapping, or `reset_after` not a boolean.
    """
    reset_after = None if reset_after is None else as_bool("reset_after", reset_after)
    lists = _take_lists(weights)
    configs = None
    if config is not None:
        configs = _read(config)
        lists = _split_cells(lists, configs)
    stacked = len(lists) > 1 or lists[0] is not weights
    places = [f"layer {k} " if stacked else "" for k in range(len(lists))]
    taken = [_take_layer(own, place) for own, place in zip(lists, places, strict=True)]
    options = _Options(activation, reset_after, merge)
    _check_options(options, taken, has_config=configs is not None)
    check_dropout(dropout, layers=len(lists))
    if configs is None:
        if merge is None:
            for own, parts, place in zip(lists, taken, places, strict=True):
                _check_unambiguous(own, parts, place)
        layers = [_assume(parts, options) for parts in taken]
    else:
        layers = _configure(taken, [own for cells in configs for own in cells], options)
    named: dict[str, np.ndarray] = {}
    shapes: dict[str, Shape | None] = {}
    width = taken[0][0].input_size
    for layer in layers:
        for part in layer.parts:
            expected = _expect(part, width)
            named |= {f"{part.place}{n}": a for n, a in zip(NAMES, part.arrays, strict=False)}
            shapes |= {f"{part.place}{n}": s for n, s in zip(NAMES, expected, strict=False)}
        if layer is not layers[-1]:
            width = _width(layer)
    kinds = ", ".join(part.kind for layer in layers for part in layer.parts)
    check_entries(named, shapes, what=f"the weights of Keras's {kinds}", remedy=FROM_LAYER)
    params = [copy([_from_part(part) for part in layer.parts]) for layer in layers]
    built = [_build(layer, own) for layer, own in zip(layers, params, strict=True)]
    joined = stack(*built, dropout=dropout) if stacked else built[0]
    return Loaded(joined, nest(params, stacked=stacked))


def to_keras(params: Params) -> list[Any]:
    """The argument of `set_weights` of a Keras layer that computes the same.

    The layer must have `use_bias=True`, the `reset_after` of the GRU, and the activation,
    merging and order of our layer, which the parameters do not include.

    Args:
      params: of `elman`, `lstm` or `gru`, or `Directions` of two such; or a tuple of layers.

    Returns:
      A list of arrays in the dtype of the parameters; for a tuple of layers, a list of such
      lists.

    Raises:
      TypeError: the parameters of another cell or layer.
      ValueError: an LSTM with a projection, which Keras does not have.
    """
    layers = [[array for part in layer for array in _to_part(part)] for layer in take_apart(params)]
    return layers if type(params) in (tuple, list) else layers[0]


def layer_weights(arrays: Mapping[str, Any], path: str) -> list[Any] | Directions:
    """The weights of one layer for `from_keras`, from a `.weights.h5` file.

        arrays = rnnjax.interop.files.read("NAME.weights.h5")
        from_keras([layer_weights(arrays, "layers/lstm"), layer_weights(arrays, "layers/gru")])

    The file does not record the order of layers of different kinds: Keras names each after
    its class, and numbers those of one class from the second on ("layers/lstm_1").

    Args:
      arrays: the contents of the file, by name; also of Keras 2, where the path of a cell is
        everything before "/kernel:0".
      path: of the layer, or of one of its cells, "layers/rnn/cell/cells/lstm_cell"; the
        error for an unknown path lists the known ones.

    Returns:
      A list of arrays; of a `Bidirectional`, `Directions` of two such lists; of an RNN of
      several cells of one class, a list of such lists, from the first cell to the last.

    Raises:
      ValueError: there is no recurrent layer of that path, or its cells are of several
        classes, whose order the file does not record.
      TypeError: `arrays` is not a mapping, or `path` not a string.
    """
    check_mapping("arrays", arrays, FROM_FILE)
    as_text("path", path)
    places = {
        name.removesuffix(f"/{own[1]}"): own
        for own in IN_FILE
        for name, array in arrays.items()
        if name.endswith(f"/{own[1]}") and count_gates(np.shape(array), KINDS)
    }

    def take(place: str) -> list[Any]:
        names = [f"{place}/{name}" for name in places[place]]
        return [arrays[name] for name in names if name in arrays]

    for own in (path, f"{path}/cell"):
        if own in places:
            return take(own)
    sides = [f"{path}/{side}_layer/cell" for side in SIDES]
    if all(side in places for side in sides):
        return Directions(*map(take, sides))
    cells = [place for place in places if place.rpartition("/")[0] == f"{path}/cell/cells"]
    if cells:
        return [take(cell) for cell in _in_order(cells, path)]
    paths = sorted({WITHIN.sub("", place) for place in places})
    raise ValueError(
        f"path: expected one of {paths}, got {path!r}; Keras writes them by "
        '`model.save_weights("NAME.weights.h5")`'
    )


def _in_order(cells: list[str], path: str) -> list[str]:
    """The cells of one class, which Keras numbers from the second on."""
    numbered = {cell: re.fullmatch(r"(.+?)(?:_(\d+))?", cell) for cell in cells}
    keys = {cell: (match[1], int(match[2] or 0)) for cell, match in numbered.items() if match}
    if len({name for name, _ in keys.values()}) > 1:
        raise ValueError(
            f"path: expected that of cells of one class, got {path!r}, whose order the file does "
            f"not record; convert a list of `layer_weights` of {sorted(cells)}, from the first "
            "cell to the last"
        )
    return sorted(cells, key=keys.__getitem__)


def layer_config(model: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The config of one recurrent layer, from that of a model.

        model = rnnjax.interop.files.read_config("NAME.keras")
        from_keras(weights, config=layer_config(model, "lstm"))

    Args:
      model: `model.get_config()`, or the config in a `.keras` file.
      name: of the layer, `layer.name`; the error for an unknown name lists the known ones,
        in the order of the model.

    Returns:
      The config, for `from_keras`.

    Raises:
      ValueError: there is no recurrent layer of that name, or more than one.
      TypeError: `model` is not a mapping, or `name` not a string.
    """
    if not isinstance(model, Mapping):
        raise TypeError(
            f"model: expected the config of a model, got {kind_of(model)}; pass what "
            "`rnnjax.interop.files.read_config(path)` gives"
        )
    as_text("name", name)
    layers: dict[str, list[Mapping[str, Any]]] = {}
    rest: list[Any] = [model]
    while rest:
        node = rest.pop()
        if not isinstance(node, Mapping):
            rest += reversed(node) if isinstance(node, list) else []
        elif node.get("class_name") in (*KINDS.values(), "RNN", "Bidirectional"):
            own = node.get("config")
            own_name = str(own.get("name")) if isinstance(own, Mapping) else "?"
            layers.setdefault(own_name, []).append(node)
        else:
            rest += reversed(list(node.values()))
    count = len(layers.get(name, ()))
    if count != 1:
        raise ValueError(
            f"name: expected that of one recurrent layer, of {list(layers)}, got {name!r}, the "
            f"name of {count}"
        )
    return layers[name][0]


class _Options(NamedTuple):
    """The caller's arguments, for all layers; None leaves them to a config."""

    activation: Activation | None
    reset_after: bool | None
    merge: Merge | None


class _Part(NamedTuple):
    """One layer in one direction: its kernel, recurrent kernel and, where it has one, bias."""

    place: str
    arrays: list[Any]
    kind: str
    input_size: int
    hidden: int
    activation: Activation | None = None
    reset_after: bool | None = None


class _Layer(NamedTuple):
    """The directions of a layer; whether it runs from our last step to the first."""

    parts: list[_Part]
    merge: Merge
    reversed: bool


def _take_lists(weights: Any) -> list[Any]:
    """The list of arrays of each layer, from the first to the last; `Directions` of two."""
    if isinstance(weights, Directions):
        return [weights]
    if not isinstance(weights, list | tuple):
        raise TypeError(
            f"weights: expected a list of arrays, got {type(weights).__name__}; {FROM_LAYER}; from "
            "arrays by name, as in a file, take them with `layer_weights(arrays, path)`"
        )
    if any(isinstance(own, list | tuple | Mapping) for own in weights):
        return [layer for own in weights for layer in _take_lists(own)]
    return [weights]


def _read(config: Any) -> list[tuple[LayerConfig, ...]]:
    """Each config, read."""
    configs = config if isinstance(config, list | tuple) else [config]
    several = len(configs) > 1
    return [
        read_layer(own, f"config of layer {k}" if several else "config")
        for k, own in enumerate(configs)
    ]


def _split_cells(lists: list[Any], configs: list[tuple[LayerConfig, ...]]) -> list[Any]:
    """One list for each cell of an RNN, where `get_weights()` returns one for all."""
    split, rest = [], lists
    for cells in configs:
        counts = [3 if cell.directions[0].use_bias else 2 for cell in cells]
        if len(cells) > 1 and rest and len(rest[0]) == sum(counts):
            ends = list(itertools.accumulate(counts))
            split += [rest[0][end - n : end] for end, n in zip(ends, counts, strict=True)]
            rest = rest[1:]
        else:
            split += rest[: len(cells)]
            rest = rest[len(cells) :]
    return split + rest


def _take_layer(weights: Any, place: str) -> list[_Part]:
    """The directions of one layer, inferred from the number of its arrays."""
    if isinstance(weights, Directions):
        sides = list(weights)
    else:
        half = len(weights) // 2
        sides = [weights] if len(weights) < 4 else [weights[:half], weights[half:]]
    places = [place] if len(sides) == 1 else [f"{place}{side} " for side in SIDES]
    arrays = [
        [to_numpy(f"{place}array {i}", array) for i, array in enumerate(own)]
        for own, place in zip(sides, places, strict=True)
    ]
    if any(len(own) not in (2, 3) for own in arrays) or len(arrays[0]) != len(arrays[-1]):
        shapes = [array.shape for own in arrays for array in own]
        raise ValueError(
            f"{place.strip() or 'weights'}: expected 2 or 3 arrays of a layer, or 4 or 6 of a "
            f"Bidirectional, got shapes {shapes}; {FROM_LAYER}"
        )
    return [_take_part(own, place) for own, place in zip(arrays, places, strict=True)]


def _check_unambiguous(weights: Any, parts: list[_Part], place: str) -> None:
    """Raises if the arrays in one list may be of two layers as well as of two directions."""
    if len(parts) == 1 or isinstance(weights, Directions):
        return
    first, second = parts
    if first.input_size == first.hidden == second.input_size:
        raise ValueError(
            f"{place.strip() or 'weights'}: expected those of one layer, got {len(weights)} arrays "
            f"that may be of two stacked layers of {first.hidden} units over {first.input_size} "
            "inputs, or of two directions; pass `config=layer.get_config()`, "
            "or a list of one list for each layer, or `rnnjax.layers.Directions` of two lists"
        )


def _take_part(arrays: list[np.ndarray], place: str) -> _Part:
    kernel, recurrent = arrays[0].shape, arrays[1].shape
    gates = count_gates(recurrent, KINDS)
    if not gates:
        raise ValueError(
            f"{place}recurrent_kernel: expected [H, H] of a SimpleRNN, [H, 3H] of a GRU or "
            f"[H, 4H] of an LSTM, got {recurrent}{transposed_hint(recurrent, KINDS)}; {FROM_LAYER}"
        )
    hidden, columns = recurrent
    if len(kernel) != 2:
        raise ValueError(f"{place}kernel: expected [D, {columns}], got {kernel}; {FROM_LAYER}")
    return _Part(place, arrays, KINDS[gates], other_size(arrays[0], columns, axis=0), hidden)


def _check_options(options: _Options, layers: list[list[_Part]], *, has_config: bool) -> None:
    """Raises if an argument applies to no layer."""
    kinds = {part.kind for parts in layers for part in parts}
    # Without a config, it applies to all layers.
    applies = "SimpleRNN" in kinds if has_config else kinds == {"SimpleRNN"}
    check_activation(options.activation, elman=applies)
    for name, value, layer, present in (
        ("reset_after", options.reset_after, "GRU", "GRU" in kinds),
        ("merge", options.merge, "Bidirectional", any(len(parts) == 2 for parts in layers)),
    ):
        if value is not None and not present:
            raise ValueError(
                f"{name}: expected None for the weights of {', '.join(sorted(kinds))}, got "
                f"{value!r}; it is for a {layer}"
            )


def _assume(parts: list[_Part], options: _Options) -> _Layer:
    """Without a config: Keras's defaults."""
    activation, merge = options.activation or jnp.tanh, options.merge or concatenate
    for part in parts:
        if part.kind == "GRU" and len(part.arrays) == 2 and options.reset_after is None:
            raise ValueError(
                "reset_after: expected True or False for a GRU without biases, got None; its "
                "weights do not determine it, and True is Keras's default"
            )
    parts = [p._replace(activation=activation, reset_after=options.reset_after) for p in parts]
    return _Layer(parts, merge, reversed=False)


def _configure(
    layers: list[list[_Part]], configs: list[LayerConfig], options: _Options
) -> list[_Layer]:
    """Stacked layers with the options of their configs, checked against the weights."""
    if len(configs) != len(layers):
        raise ValueError(
            f"config: expected a list of {len(layers)}, one for each layer, got {len(configs)}; "
            f"{OF_WEIGHTS}"
        )
    configured, is_reversed = [], False
    for k, (parts, config) in enumerate(zip(layers, configs, strict=True)):
        what = config.what
        if len(config.directions) != len(parts):
            counts = {1: "one direction", 2: "a Bidirectional"}
            raise ValueError(
                f"{what}: expected that of {counts[len(parts)]}, of which the weights are, got "
                f"that of {counts[len(config.directions)]}; {OF_WEIGHTS}"
            )
        if k + 1 < len(layers) and not config.directions[0].return_sequences:
            raise ValueError(
                f"{what}: expected return_sequences=True below another layer, got False; convert "
                "the layers one by one"
            )
        settled = [
            _settle(part, direction, options, what if len(parts) == 1 else f"{what}, {side}")
            for part, direction, side in zip(parts, config.directions, SIDES, strict=False)
        ]
        # A layer above one that runs backward gets its outputs from the last to the first.
        is_reversed ^= config.directions[0].go_backwards
        merge = concatenate
        if len(parts) == 2:
            merge = _agree("merge", options, MERGES, "merge_mode", config.merge_mode, what)
        configured.append(_Layer(settled, merge, is_reversed))
    return configured


def _settle(part: _Part, config: Direction, options: _Options, what: str) -> _Part:
    """A direction with the options of its config, checked against its weights."""
    has_bias = len(part.arrays) == 3
    by_weights = {"class_name": part.kind, "units": part.hidden, "use_bias": has_bias}
    by_config = {"class_name": config.kind, "units": config.units, "use_bias": config.use_bias}
    if config.kind == part.kind == "GRU" and has_bias:
        by_weights |= {"reset_after": part.arrays[2].ndim == 2}
        by_config |= {"reset_after": config.reset_after}
    wrong = [
        f"{key}={value!r}, got {by_config[key]!r}"
        for key, value in by_weights.items()
        if by_config[key] != value
    ]
    if wrong:
        raise ValueError(f"{what}: expected, from the weights, {'; '.join(wrong)}; {OF_WEIGHTS}")
    if part.kind == "SimpleRNN":
        given = config.activation
        activation = _agree("activation", options, ACTIVATIONS, "activation", given, what)
        return part._replace(activation=activation)
    for key, only in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if getattr(config, key) != only:
            raise ValueError(
                f"{what}: expected {key}={only!r}, the only one of `cells.{part.kind.lower()}`, "
                f"got {getattr(config, key)!r}; {OTHER_FUNCTIONS}"
            )
    if part.kind == "LSTM":
        return part
    either = {True: True, False: False}
    reset_after = _agree("reset_after", options, either, "reset_after", config.reset_after, what)
    return part._replace(reset_after=reset_after)


def _agree(
    name: str, options: _Options, known: Mapping[Any, Any], key: str, given: Any, what: str
) -> Any:
    """The value of an option from the argument or the config, which must agree."""
    argument = getattr(options, name)
    value = known.get(given) if isinstance(given, Hashable) else None
    if value is None and argument is None:
        raise ValueError(
            f"{what}: expected {key} to be one of {list(known)}, got {given!r}; pass what it "
            f"computes as `{name}=`"
        )
    if value is not None and argument is not None and argument is not value:
        raise ValueError(
            f"{name}: expected None with a {what} that has {key}={given!r}, got {argument!r}; "
            "leave out one of them"
        )
    return argument if value is None else value


def _width(layer: _Layer) -> int:
    """The width of a layer's outputs, the input size of the layer above."""
    # With axes for time and batch, on which `merge` may rely.
    outputs = [jax.ShapeDtypeStruct((1, 1, part.hidden), np.float32) for part in layer.parts]
    merged = jax.tree.leaves(
        jax.eval_shape(layer.merge, *outputs) if len(outputs) == 2 else outputs
    )
    shapes = [leaf.shape for leaf in merged]
    if [shape[:-1] for shape in shapes] != [(1, 1)]:
        raise ValueError(
            f"merge: expected one array [T, B, D] below another layer, got {describe(merged)}; "
            "join them"
        )
    width: int = shapes[0][-1]
    return width


def _build(layer: _Layer, params: list[Params]) -> Layer:
    each = [
        recurrent(build_cell(own, part.activation))
        for part, own in zip(layer.parts, params, strict=True)
    ]
    built = bidirectional(*each, merge=layer.merge) if len(each) == 2 else each[0]
    return backward(built) if layer.reversed else built


def _expect(part: _Part, input_size: int) -> list[Shape]:
    """The expected shapes of as many arrays as there are."""
    columns = part.arrays[1].shape[1]
    biases, rows = part.arrays[2:], 1
    if part.kind == "GRU" and biases:
        two = biases[0].ndim == 2 if part.reset_after is None else part.reset_after
        rows = 2 if two else 1
    bias = (columns,) if rows == 1 else (rows, columns)
    return [(input_size, columns), (part.hidden, columns), *[bias for _ in biases]]


def _from_part(part: _Part) -> Params:
    W_xh, W_hh, *biases = part.arrays
    bias: Any = biases[0] if biases else np.zeros(W_hh.shape[1], W_hh.dtype)
    match part.kind:
        case "SimpleRNN":
            return ElmanParams(W_xh, W_hh, bias)
        case "LSTM":
            return LSTMParams(W_xh, W_hh, bias)
    reordered: list[Any] = [reorder_gates(array, GRU_ORDER) for array in (W_xh, W_hh, bias)]
    W_xh, W_hh, bias = reordered
    if bias.ndim == 1 and not part.reset_after:
        return GRUParams(W_xh, W_hh, bias, b_hn=None)
    of_inputs, of_product = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    return GRUParams(W_xh, W_hh, *join_biases(of_inputs, of_product))


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
        bias = np.stack(split_biases(params.b_h, params.b_hn))
    arrays: list[Any] = [params.W_xh, params.W_hh, bias]
    return [reorder_gates(array, GRU_ORDER) for array in arrays]
