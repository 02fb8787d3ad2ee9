"""Shared by the converters: checks of arrays by name, and the layer that fits parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Cell, Params
from rnnjax._checks import as_number, check_function
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams, elman, gru, lstm
from rnnjax.layers import Directions, Layer, bidirectional, recurrent, stack

Shape = tuple[int, ...]
Activation = Callable[[jax.Array], jax.Array]

# From the order z r n of a GRU's gates, in Keras and Haiku, to r z n, and back.
GRU_ORDER = (1, 0, 2)

OTHER_FUNCTIONS = "a cell with another function can be made by `rnnjax.from_step`"


class Loaded(NamedTuple):
    """Weights from another library, and the layer that uses them.

    Attributes:
      layer: takes the parameters.
      params: structured as by `layer.init`.
    """

    layer: Layer
    params: Params


def load(params: Params, *, activation: Activation | None = None, dropout: float = 0.0) -> Loaded:
    """The layer that fits the parameters, and copies of them on the device.

    Args:
      params: numpy arrays: those of a cell for `recurrent`, `Directions` of two for
        `bidirectional`, a tuple for a `stack`.
      activation: f of an Elman network, by default tanh.
      dropout: rate between the layers of a `stack`.

    Raises:
      ValueError: an activation without an Elman network, or a dropout without a stack.
    """
    check_dropout(dropout, layers=len(params) if type(params) is tuple else 1)
    cells = [part for layer in take_apart(params) for part in layer]
    check_activation(activation, elman=any(isinstance(part, ElmanParams) for part in cells))

    def build(part: Params) -> Layer:
        if isinstance(part, Directions):
            return bidirectional(build(part.forward), build(part.backward))
        if type(part) is tuple:
            return stack(*map(build, part), dropout=dropout)
        return recurrent(build_cell(part, activation))

    params = copy(params)
    return Loaded(build(params), params)


def check_activation(activation: Activation | None, *, elman: bool) -> None:
    """Raises if an activation is given but there is no Elman network.

    Raises:
      ValueError: it is not the tanh of an LSTM and a GRU.
    """
    if activation is not None:
        check_function("activation", activation, "x", "pass one such as jnp.tanh")
    if not elman and activation is not None and activation is not jnp.tanh:
        raise ValueError(
            f"activation: expected None for an LSTM or a GRU, got {activation!r}; theirs is tanh, "
            f"and {OTHER_FUNCTIONS}"
        )


def check_dropout(dropout: float, *, layers: int) -> None:
    """Raises if a dropout is given but there is only one layer.

    Raises:
      ValueError: it is not 0 for one layer.
    """
    if as_number("dropout", dropout) != 0 and layers == 1:
        raise ValueError(
            f"dropout: expected 0 for one layer, got {dropout}; it lies between layers, and "
            "`rnnjax.layers.dropout(layer, rate)` drops the outputs of one"
        )


def copy(params: Params) -> Params:
    """Copies to the device: the caller may modify the given arrays in place."""
    return jax.tree.map(jnp.array, params)


def build_cell(params: Params, activation: Activation | None) -> Cell:
    """The cell that fits the parameters; `activation` as in `load`."""
    inputs, hidden, dtype = params.W_xh.shape[0], params.W_hh.shape[0], params.W_hh.dtype
    if isinstance(params, ElmanParams):
        return elman(inputs, hidden, activation=activation or jnp.tanh, dtype=dtype)
    if isinstance(params, GRUParams):
        return gru(inputs, hidden, reset_after=params.b_hn is not None, dtype=dtype)
    assert isinstance(params, LSTMParams)
    if params.W_hr is None:
        return lstm(inputs, hidden, dtype=dtype)
    hidden, projection = params.W_hr.shape
    return lstm(inputs, hidden, projection_size=projection, dtype=dtype)


def by_layer(tree: Any) -> list[list[Any]]:
    """Parameters or states of each layer, and within it of each direction."""
    stacked = tree if type(tree) in (tuple, list) else (tree,)
    return [list(part) if isinstance(part, Directions) else [part] for part in stacked]


def nest(layers: Sequence[Sequence[Any]], *, stacked: bool) -> Any:
    """The inverse of `by_layer`, to the tuple of a `stack` or to one layer."""
    nested = tuple(Directions(*parts) if len(parts) == 2 else parts[0] for parts in layers)
    return nested if stacked else nested[0]


def take_apart(params: Params) -> list[list[Params]]:
    """The parameters of each layer, and within it of each direction.

    Raises:
      TypeError: neither those of `elman`, `lstm` or `gru`, nor of `bidirectional` or
        `stack` of them.
    """
    layers = by_layer(params)
    for part in (part for layer in layers for part in layer):
        if not isinstance(part, ElmanParams | LSTMParams | GRUParams):
            raise TypeError(
                "params: expected ElmanParams, LSTMParams or GRUParams, Directions of two of "
                f"them, or a tuple of such layers, got {type(part).__name__} for a cell; convert "
                "other layers one by one"
            )
    return layers


def check_mapping(name: str, value: Any, remedy: str) -> None:
    """Raises if a value is not a mapping, such as the module itself.

    Raises:
      TypeError: naming its class.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name}: expected a mapping of names to arrays, got {type(value).__name__}; {remedy}"
        )


def to_numpy(name: str, array: Any) -> np.ndarray:
    """An array of any library on the host, in its own dtype.

    Torch tensors are accepted on any device, with or without a gradient; torch itself is not
    imported.

    Raises:
      TypeError: it is not an array of numbers, or numpy has no such dtype.
    """
    try:
        if hasattr(array, "detach"):
            array = array.detach().cpu()
            if str(array.dtype) == "torch.bfloat16":
                # Not known to numpy; float32 holds every such number.
                return np.asarray(array.float()).astype(jnp.bfloat16)
        converted = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array, got {type(array).__name__}: {error}") from None
    if not jnp.issubdtype(converted.dtype, jnp.number):
        # Other objects numpy converts to arrays of objects or strings.
        got = converted.dtype if hasattr(array, "dtype") else type(array).__name__
        raise TypeError(f"{name}: expected an array of numbers, got {got}")
    return converted


def check_entries(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape | None], *, what: str, remedy: str
) -> None:
    """Checks that exactly these arrays are given, of these shapes and one floating dtype.

    Args:
      arrays: the given arrays.
      shapes: the expected shape for each name; None for any shape.
      what: what the arrays should be, for the error: "a GRU of torch".
      remedy: what to do if they are not.

    Raises:
      ValueError: an entry is missing, unexpected, or of a wrong shape or dtype; the message
        names them all.
    """
    wrong = [
        f"{name}{f' {shape}' if shape is not None else ''} is missing"
        for name, shape in shapes.items()
        if name not in arrays
    ]
    wrong += [
        f"{name} {array.shape} is one too many"
        for name, array in arrays.items()
        if name not in shapes
    ]
    for name, shape in shapes.items():
        if shape is None or name not in arrays or arrays[name].shape == shape:
            continue
        hint = ", its transpose" if arrays[name].shape == shape[::-1] else ""
        wrong.append(f"{name} is {arrays[name].shape}, expected {shape}{hint}")
    dtypes: dict[np.dtype, str] = {}
    for name in shapes:
        if name in arrays:
            dtypes.setdefault(arrays[name].dtype, name)
    if len(dtypes) > 1 or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        given = ", ".join(f"{name} has {dtype}" for dtype, name in dtypes.items())
        wrong.append(f"one floating dtype is expected, and {given}")
    if wrong:
        raise ValueError(f"arrays: expected {what}, but {'; '.join(wrong)}; {remedy}")


def reorder_gates(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """`[..., GH]` with its G blocks of columns reordered; new block i is old block `order[i]`."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)
