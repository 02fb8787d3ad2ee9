"""Weights to and from torch's `nn.RNN`, `nn.LSTM` and `nn.GRU`; torch is not imported.

    torch     weight_ih_l0 [GH, D]   weight_hh_l0 [GH, H]   bias_ih_l0, bias_hh_l0 [GH]
    rnnjax    W_xh = weight_ih^T     W_hh = weight_hh^T     b_h = bias_ih + bias_hh

The gates are in the same order, i f g o and r z n. The n of a GRU keeps both biases:
b_h[n] = bias_ih[n], b_hn = bias_hh[n]. Layer k is `_lk`, a backward direction
`_reverse`, and the projection of an LSTM weight_hr [P, H] = W_hr^T.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Params, State
from rnnjax._checks import as_text
from rnnjax._tree import describe
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams, LSTMState
from rnnjax.interop._arrays import (
    Activation,
    Loaded,
    Shape,
    build_cell,
    by_layer,
    check_entries,
    check_mapping,
    load,
    nest,
    take_apart,
    to_numpy,
)
from rnnjax.interop._weights import (
    count_gates,
    join_biases,
    other_size,
    split_biases,
    transposed_hint,
)

__all__ = ["from_torch", "to_torch", "from_torch_state", "to_torch_state"]

SUFFIXES = ("", "_reverse")
GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
ENTRY = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(\d+)(_reverse)?")

FROM_MODULE = (
    "pass the state_dict of one nn.RNN, nn.LSTM or nn.GRU; of a larger one, what begins with a "
    "`prefix`"
)


def from_torch(
    arrays: Mapping[str, Any],
    *,
    prefix: str = "",
    activation: Activation | None = None,
    dropout: float = 0.0,
) -> Loaded:
    """A layer that computes what the torch module computed, and its parameters.

    Kind, sizes, layers, directions, projection and biases are inferred from names and
    shapes. These determine neither a square matrix from its transpose nor the options of
    the module: the `nonlinearity` of an `nn.RNN` (`activation`), its `dropout`, and
    `batch_first` (the layer takes `[T, B, D]`).

    Args:
      arrays: the `state_dict()` of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, or of one of their
        cells: torch tensors, or arrays such as those of `rnnjax.interop.files.read`. They
        are copied.
      prefix: only entries whose names start with it are used, "encoder.rnn.".
      activation: f of an `nn.RNN`, by default tanh; `jax.nn.relu` for `nonlinearity="relu"`.
      dropout: rate between the layers, `module.dropout`; active if `layer.apply` is given a
        key, as torch's in training mode.

    Returns:
      The layer and its parameters in the dtype of the arrays (float64 becomes float32
      unless `jax_enable_x64` is set, as everywhere in JAX): `recurrent(cell)`, for two
      directions `bidirectional` of two, for several layers a `stack`. A module without
      biases gets zeros.

    Raises:
      ValueError: an entry is missing, unexpected, or of a wrong shape or dtype; all are
        named. A prefix without its dot. An activation for an LSTM or a GRU; a dropout for
        one layer, or outside [0, 1].
      TypeError: `arrays` is not a mapping (a module is not), or an entry not an array of
        numbers.
    """
    as_text("prefix", prefix)
    check_mapping("arrays", arrays, FROM_MODULE)
    entries = {
        name.removeprefix(prefix): to_numpy(name, array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    if "weight_hh" in entries:
        # One cell: its names lack the number of the layer.
        entries = {f"{name}_l0": array for name, array in entries.items()}
    elsewhere = sorted(
        name.removesuffix(own)
        for name in arrays
        for own in ("weight_hh_l0", "weight_hh")
        if name.endswith(f".{own}")
    )
    if f"{prefix}." in elsewhere:
        raise ValueError(
            f"prefix: expected everything before the names, one of {elsewhere}, got {prefix!r}; "
            "end it with the dot"
        )
    module = _check(entries, f"{FROM_MODULE} {elsewhere or ''}".rstrip())

    def take(place: str) -> Params:
        return _from_entries(
            {n.removesuffix(place): a for n, a in entries.items() if n.endswith(place)}
        )

    layers = [[take(f"_l{k}{suffix}") for suffix in module.suffixes] for k in range(module.layers)]
    params = nest(layers, stacked=module.layers > 1)
    return load(params, activation=activation, dropout=dropout)


def to_torch(params: Params) -> dict[str, np.ndarray]:
    """The `state_dict` of the torch module that computes the same as these parameters.

        module.load_state_dict({k: torch.as_tensor(v) for k, v in to_torch(params).items()})

    `module` has `bias=True` and the kind and sizes of the parameters; `bias_hh` is zero
    except for the n of a GRU. Parameters do not include the activation, nor how our layer
    merges two directions, which torch concatenates. torch cannot read bfloat16 from numpy:
    write such a dict with `rnnjax.interop.files.write` and read it with
    `safetensors.torch.load_file`.

    Args:
      params: of `elman` (tanh, or ReLU in a module that has it too), `lstm` or `gru`;
        `Directions` of two such; or a tuple of layers.

    Returns:
      Numpy arrays, by torch's names.

    Raises:
      TypeError: the parameters of another cell or layer.
      ValueError: a GRU that resets before the product, or layers that differ in kind, size,
        directions or projection; torch has no such module.
    """
    arrays = {
        f"{name}_l{k}{suffix}": array
        for k, layer in enumerate(take_apart(params))
        for part, suffix in zip(layer, SUFFIXES, strict=False)
        for name, array in _to_entries(part).items()
    }
    _check(arrays, "torch has no module for layers that differ in kind, size or dtype")
    return arrays


def from_torch_state(params: Params, state: Any) -> State:
    """The state of the layer returned by `from_torch`, from that of the torch module.

        output, state = module(x)
        layer.apply(params, more, from_torch_state(params, state))

    torch has the layers and directions of a state in one axis, first layer 0 forward, then
    layer 0 backward; here they are nested as the parameters are.

    Args:
      params: of the layer, from `from_torch`.
      state: torch's state: `h_n` of an `nn.RNN` or `nn.GRU`, `(h_n, c_n)` of an `nn.LSTM`.
        `[layers * directions, B, H]` each, h_n `[..., P]` with a projection; any number of
        batch axes.

    Returns:
      A state like `layer.start(params, (B,))`, in the same dtypes.

    Raises:
      TypeError: the parameters of another cell or layer, an array that is not numeric, one
        array for an LSTM, or more than one for another.
      ValueError: a shape does not fit.
    """
    layers = take_apart(params)
    parts = [part for layer in layers for part in layer]
    kind = type(parts[0])
    if any(type(part) is not kind for part in parts):
        raise ValueError(
            "params: expected layers of one kind, as torch's modules have them, got "
            f"{', '.join(type(part).__name__ for part in parts)}; convert their states one by one"
        )
    names = ("h_n", "c_n") if kind is LSTMParams else ("h_n",)
    given = tuple(state) if isinstance(state, tuple | list) else (state,)
    if len(given) != len(names):
        raise TypeError(
            f"state: expected {' and '.join(names)} for {kind.__name__}, got {len(given)} "
            f"{'array' if len(given) == 1 else 'arrays'}; pass what the module returns after "
            "its outputs"
        )
    arrays = [to_numpy(name, array) for name, array in zip(names, given, strict=True)]
    batch = arrays[0].shape[1:-1]
    states = []
    for k, part in enumerate(parts):
        cell = build_cell(part, None)
        start = _torch_order(jax.eval_shape(lambda p, start=cell.start: start(p, batch), part))
        for name, array, own in zip(names, arrays, start, strict=True):
            expected = (len(parts), *own.shape)
            if array.shape != expected:
                raise ValueError(
                    f"{name}: expected {expected}, [layers * directions, *B, size], got "
                    f"{array.shape}; pass the parameters of the module whose state this is"
                )
        h, *c = (jnp.asarray(a[k], own.dtype) for a, own in zip(arrays, start, strict=True))
        states.append(LSTMState(c=c[0], h=h) if c else h)
    in_order = iter(states)
    nested = [[next(in_order) for _ in layer] for layer in layers]
    return nest(nested, stacked=type(params) in (tuple, list))


def to_torch_state(state: State) -> Any:
    """The state in torch's form, from that of a layer returned by `from_torch`.

        state, outputs = layer.apply(params, x)
        module(more, jax.tree.map(torch.as_tensor, to_torch_state(state)))

    Args:
      state: of such a layer, leaves `[*B, H]`; that of a `stack`, of `bidirectional` or of
        one cell.

    Returns:
      Numpy arrays, `[layers * directions, *B, H]`: `h_n`, or `(h_n, c_n)` of an LSTM, h_n
      `[..., P]` with a projection. They have the dtype of the state, at least float32; cast
      them for a module of lower precision.

    Raises:
      TypeError: a leaf is not an array of numbers.
      ValueError: layers that differ in kind, size or directions; torch has no such module.
    """
    layers = by_layer(state)
    parts = [_torch_order(part) for layer in layers for part in layer]
    arrays = [[to_numpy(f"state {k}", array) for array in part] for k, part in enumerate(parts)]
    shapes = [[array.shape for array in part] for part in arrays]
    if not all(shape for part in shapes for shape in part):
        raise ValueError(
            f"state: expected leaves [*B, H], got {describe(state)}; pass the state of a layer "
            "that `from_torch` gave"
        )
    if any(len(layer) != len(layers[0]) for layer in layers) or any(s != shapes[0] for s in shapes):
        raise ValueError(
            "state: expected layers of one kind, size and number of directions, as torch's "
            f"modules have them, got {describe(state)}; convert them one by one"
        )
    joined = tuple(map(np.stack, zip(*arrays, strict=True)))
    return joined if len(joined) == 2 else joined[0]


def _torch_order(state: State) -> tuple[Any, ...]:
    """The state of one cell, h first."""
    return (state.h, state.c) if isinstance(state, LSTMState) else (state,)


class _Module(NamedTuple):
    """The structure of a torch module, from names and shapes."""

    layers: int
    suffixes: tuple[str, ...]


def _check(entries: Mapping[str, np.ndarray], remedy: str) -> _Module:
    """Infers kind and sizes from the first layer, and checks all entries against them."""
    names = [match.groups() for match in map(ENTRY.fullmatch, entries) if match]
    # Counted, not the highest number: a broken name may have any.
    layers = max(1, len({number for _, number, _ in names}))
    suffixes = SUFFIXES if any(reverse for *_, reverse in names) else SUFFIXES[:1]
    present = {part for part, *_ in names}
    parts = ["weight_ih", "weight_hh"]
    parts += ["weight_hr"] if "weight_hr" in present else []
    parts += ["bias_ih", "bias_hh"] if {"bias_ih", "bias_hh"} & present else []

    title = "an nn.RNN, nn.LSTM or nn.GRU"
    of_part: list[Mapping[str, Shape]] = [{}] * layers
    if "weight_hh_l0" in entries:
        sizes = _read_sizes(entries["weight_hh_l0"].shape, projects="weight_hr" in present)
        rows = sizes.gates * sizes.hidden
        weight = entries.get("weight_ih_l0")
        first = None if weight is None else other_size(weight, rows, axis=1)
        above = len(suffixes) * sizes.output
        title = (
            f"nn.{GATES[sizes.gates]}(hidden_size={sizes.hidden}, num_layers={layers}, "
            f"bidirectional={len(suffixes) == 2})"
        )
        of_part = [
            {
                "weight_hh": (rows, sizes.output),
                "weight_hr": (sizes.output, sizes.hidden),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            | ({} if inputs is None else {"weight_ih": (rows, inputs)})
            for inputs in [first] + [above] * (layers - 1)
        ]
    shapes = {
        f"{part}_l{k}{suffix}": of_part[k].get(part)
        for k in range(layers)
        for suffix in suffixes
        for part in parts
    }
    check_entries(entries, shapes, what=title, remedy=remedy)
    return _Module(layers, suffixes)


class _Sizes(NamedTuple):
    gates: int
    hidden: int
    output: int


def _read_sizes(shape: Shape, *, projects: bool) -> _Sizes:
    """Of weight_hh `[GH, H]`, or `[4H, P]` of an LSTM that projects."""
    rows, output = shape if len(shape) == 2 else (0, 0)
    hidden = rows // 4 if projects else output
    gates = count_gates((hidden, rows), GATES)
    if not gates:
        raise ValueError(
            "weight_hh_l0: expected [H, H] of an RNN, [3H, H] of a GRU or [4H, H] of an LSTM "
            f"([4H, P] with a weight_hr), got {shape}"
            f"{transposed_hint(shape[::-1], GATES)}; {FROM_MODULE}"
        )
    return _Sizes(gates, hidden, output)


def _from_entries(own: Mapping[str, Any]) -> Params:
    """The parameters of one layer in one direction; names without suffixes."""
    W_xh, W_hh = own["weight_ih"].T, own["weight_hh"].T
    columns = W_hh.shape[1]
    none = np.zeros(columns, W_hh.dtype)
    b_ih, b_hh = own.get("bias_ih", none), own.get("bias_hh", none)
    if "weight_hr" in own:
        return LSTMParams(W_xh, W_hh, b_ih + b_hh, own["weight_hr"].T)
    hidden = W_hh.shape[0]
    match GATES[columns // hidden]:
        case "LSTM":
            return LSTMParams(W_xh, W_hh, b_ih + b_hh)
        case "GRU":
            return GRUParams(W_xh, W_hh, *join_biases(b_ih, b_hh))
    return ElmanParams(W_xh, W_hh, b_ih + b_hh)


def _to_entries(params: Params) -> dict[str, np.ndarray]:
    params = jax.tree.map(np.asarray, params)
    b_ih, b_hh = params.b_h, np.zeros_like(params.b_h)
    if isinstance(params, GRUParams):
        if params.b_hn is None:
            raise ValueError(
                "params: expected those of a GRU with reset_after=True, got b_hn = None; torch "
                "has no GRU that resets before the product"
            )
        b_ih, b_hh = split_biases(params.b_h, params.b_hn)
    own = {"weight_ih": params.W_xh.T, "weight_hh": params.W_hh.T, "bias_ih": b_ih, "bias_hh": b_hh}
    if isinstance(params, LSTMParams) and params.W_hr is not None:
        own |= {"weight_hr": params.W_hr.T}
    # Copies: torch warns about read-only arrays, as those of JAX are.
    return {name: np.array(array, order="C") for name, array in own.items()}
