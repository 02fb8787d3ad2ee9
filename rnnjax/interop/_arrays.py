"""What the converters share: arrays by name, checked, and the layer that fits parameters."""

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

# Where a GRU's gates stand as z r n, as in Keras and Haiku: to r z n, and back.
GRU_ORDER = (1, 0, 2)

OTHER_FUNCTIONS = "a step with another function is a cell of your own, by `rnnjax.from_step`"


class Loaded(NamedTuple):
    """Weights of another library, and the layer that runs on them.

    Attributes:
      layer: runs on the parameters.
      params: of the structure that `layer.init` gives.
    """

    layer: Layer
    params: Params


def load(params: Params, *, activation: Activation | None = None, dropout: float = 0.0) -> Loaded:
    """The layer that fits the parameters, and copies of them on the device.

    Args:
      params: arrays of numpy: those of a cell for `recurrent`, `Directions` of two for
        `bidirectional`, a tuple for a `stack`.
      activation: f of an Elman network, tanh unless told.
      dropout: rate between the layers of a `stack`.

    Raises:
      ValueError: an activation that no cell takes, a dropout that no stack takes.
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
    """Refuses an activation where there is no Elman network to take it.

    Raises:
      ValueError: it is not the tanh that an LSTM and a GRU have.
    """
    if activation is not None:
        check_function("activation", activation, "x", "pass one such as jnp.tanh")
    if not elman and activation is not None and activation is not jnp.tanh:
        raise ValueError(
            f"activation: expected None for an LSTM or a GRU, got {activation!r}; theirs is tanh, "
            f"and {OTHER_FUNCTIONS}"
        )


def check_dropout(dropout: float, *, layers: int) -> None:
    """Refuses a dropout where there are no two layers for it to lie between.

    Raises:
      ValueError: it is not 0 for one layer.
    """
    if as_number("dropout", dropout) != 0 and layers == 1:
        raise ValueError(
            f"dropout: expected 0 for one layer, got {dropout}; it lies between layers, and "
            "`rnnjax.layers.dropout(layer, rate)` drops the outputs of one"
        )


def copy(params: Params) -> Params:
    """On the device: what came may be changed in place by its owner."""
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
    """What each layer has, and in it each direction: parameters, or states."""
    stacked = tree if type(tree) in (tuple, list) else (tree,)
    return [list(part) if isinstance(part, Directions) else [part] for part in stacked]


def nest(layers: Sequence[Sequence[Any]], *, stacked: bool) -> Any:
    """The way back from `by_layer`, to the tuple of a `stack` or to one layer."""
    nested = tuple(Directions(*parts) if len(parts) == 2 else parts[0] for parts in layers)
    return nested if stacked else nested[0]


def take_apart(params: Params) -> list[list[Params]]:
    """The parameters of each layer, and in it of each direction.

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
    """Refuses what holds no arrays by name, such as the module that they are of.

    Raises:
      TypeError: naming its class.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name}: expected a mapping of names to arrays, got {type(value).__name__}; {remedy}"
        )


def to_numpy(name: str, array: Any) -> np.ndarray:
    """An array of any library on the host, in its own dtype.

    Tensors of torch are taken as they are, on any device, with or without a gradient;
    torch itself is not imported.

    Raises:
      TypeError: it is no array of numbers, or numpy has no such dtype.
    """
    try:
        if hasattr(array, "detach"):
            array = array.detach().cpu()
            if str(array.dtype) == "torch.bfloat16":
                # Not known to numpy; float32 holds every such number.
                return np.asarray(array.float()).astype(jnp.bfloat16)
        found = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array, got {type(array).__name__}: {error}") from None
    if not jnp.issubdtype(found.dtype, jnp.number):
        # Of what is no array numpy makes one of objects or of letters.
        got = found.dtype if hasattr(array, "dtype") else type(array).__name__
        raise TypeError(f"{name}: expected an array of numbers, got {got}")
    return found


def check_entries(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape | None], *, what: str, remedy: str
) -> None:
    """Checks that all arrays are there, no others, of these shapes and of one floating dtype.

    Args:
      arrays: what came.
      shapes: what is expected of each name; None where any shape will do.
      what: what the arrays should be, for the error: "a GRU of torch".
      remedy: what to do if they are not.

    Raises:
      ValueError: an entry is missing, too much, of another shape or dtype; the message
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
        found = ", ".join(f"{name} has {dtype}" for dtype, name in dtypes.items())
        wrong.append(f"one floating dtype is expected, and {found}")
    if wrong:
        raise ValueError(f"arrays: expected {what}, but {'; '.join(wrong)}; {remedy}")


def reorder_gates(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """`[..., GH]` with its G blocks of columns in another order; block i is `order[i]` of old."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)
