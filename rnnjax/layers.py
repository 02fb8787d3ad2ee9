"""Sequence-to-sequence layers: recurrences in parallel and stacked.

A layer runs over the whole sequence before the next one begins, so that its input product
is computed for many steps at once. Layers nest freely, and each handles masks, resets and
sequences of length zero as `unroll` does.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax import folds
from rnnjax._cell import Batch, Cell, Inputs, Params, State, check_cell
from rnnjax._checks import as_bool, as_number, check_arrays, check_function, kind_of, split_key
from rnnjax._tree import carries_gradient, describe, serializable
from rnnjax._unroll import check_flags, unroll
from rnnjax._values import by_value, written
from rnnjax._wrappers import blank
from rnnjax.folds._sequence import Fold, check_fold

__all__ = [
    "Apply",
    "Layer",
    "Directions",
    "recurrent",
    "concatenate",
    "bidirectional",
    "backward",
    "stack",
    "dropout",
    "drop",
    "residual",
    "Streaming",
    "streaming",
]


class Apply(Protocol):
    """`(params, inputs, state) -> (final_state, outputs)`; see `Layer.apply`."""

    def __call__(
        self,
        params: Params,
        inputs: Inputs,
        state: State | None = None,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reverse: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[State, Any]:
        """The layer over a sequence."""
        ...


class Layer(NamedTuple):
    """A function of a sequence, with parameters and a state.

    Attributes:
      init: `key -> params`; draws the weights.
      start: `(params, batch_shape) -> state`; the initial state.
      apply: `(params, inputs, state=None, *, mask, resets, reverse, key) ->
        (final_state, outputs)`: inputs `[T, B, D]`, outputs `[T, B, H]`, the rest as in
        `rnnjax.unroll`. Without a `key` there is no dropout. Every recurrence runs in a
        `jax.named_scope` of its place ("1/forward"), which is its name in
        `rnnjax.adjoints` and `rnnjax.gradient_reports`.
      causal: whether no output depends on a later input.
      feature_axes: of the inputs, as in `rnnjax.Cell`.
    """

    init: Callable[[jax.Array], Params]
    start: Callable[[Params, Batch], State]
    apply: Apply
    causal: bool
    feature_axes: Any = None

    def __hash__(self) -> int:
        """Of the functions, as for a cell."""
        return hash(self[:-1])

    def __repr__(self) -> str:
        return written(self)


@serializable
class Directions(NamedTuple):
    """Parameters, or states, of two directions.

    Attributes:
      forward: of the layer that runs from the first step to the last.
      backward: of the layer that runs from the last step to the first.
    """

    forward: Any
    backward: Any


@by_value
def recurrent(cell: Cell, *, fold: Fold = folds.default()) -> Layer:
    """A cell over the whole sequence; parameters and state are the cell's.

        s_t = step(params, s_{t-1}, x_t),   outputs_t = output(s_t)

    Args:
      cell: the recurrence.
      fold: how to run and differentiate it.

    Returns:
      A layer with the cell's parameters and states.

    Raises:
      TypeError: `cell` is not a cell, or `fold` not a fold.
    """
    check_cell(cell)
    check_fold(fold)

    def apply(
        params: Params,
        inputs: Inputs,
        state: State | None = None,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reverse: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[State, Any]:
        return unroll(
            cell, params, inputs, state, mask=mask, resets=resets, reverse=reverse, fold=fold
        )

    return Layer(cell.init, cell.start, apply, causal=True, feature_axes=cell.feature_axes)


def concatenate(forward: jax.Array, backward: jax.Array) -> jax.Array:
    """`[T, B, 2H]`, the outputs of the two directions concatenated."""
    return jnp.concatenate([forward, backward], axis=-1)


@by_value
def bidirectional(
    forward: Layer, backward: Layer, *, merge: Callable[[Any, Any], Any] = concatenate
) -> Layer:
    """Two layers over the same inputs, the second from the last step to the first.

        outputs_t = merge(forward(x_1 ... x_t), backward(x_T ... x_t))

    With a mask, the second begins at the last valid step of each sequence. Outputs at
    masked steps are zero, even where `merge` of two zeros is not.

    Args:
      forward: runs from the first step to the last.
      backward: runs from the last step to the first.
      merge: combines the two outputs, for example `jnp.add` or `jnp.multiply`.

    Returns:
      A layer whose parameters and states are `Directions`.

    Raises:
      TypeError: `forward` or `backward` is not a layer, or `merge` not a function.
    """
    _check_layer("forward", forward)
    _check_layer("backward", backward)
    check_function("merge", merge, "forward, backward", "pass one such as jnp.add")

    def init(key: jax.Array) -> Directions:
        first, second = split_key(key, 2)
        return Directions(forward.init(first), backward.init(second))

    def start(params: Directions, batch_shape: Batch) -> Directions:
        first, second = _parts("params", params, 2)
        return Directions(forward.start(first, batch_shape), backward.start(second, batch_shape))

    def apply(
        params: Directions,
        inputs: Inputs,
        state: Directions | None = None,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reverse: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[Directions, Any]:
        reverse = as_bool("reverse", reverse)
        weights, states, keys = _parts("params", params, 2), _states(state, 2), _keys(key, 2)
        results = []
        for i, (name, layer) in enumerate([("forward", forward), ("backward", backward)]):
            with _part(name, f".{name}"):
                results.append(
                    layer.apply(
                        weights[i], inputs, states[i], mask=mask, resets=resets,
                        reverse=reverse != bool(i), key=keys[i],
                    )
                )  # fmt: skip
        finals, outputs = zip(*results, strict=True)
        return Directions(*finals), blank(mask, merge(*outputs))

    axes = backward.feature_axes if forward.feature_axes is None else forward.feature_axes
    return Layer(init, start, apply, causal=False, feature_axes=axes)


@by_value
def backward(layer: Layer) -> Layer:
    """The layer run from the last step to the first; outputs stay in the order of the inputs.

    Args:
      layer: any layer.

    Returns:
      A layer with its parameters and states.

    Raises:
      TypeError: `layer` is not a layer.
    """
    _check_layer("layer", layer)

    def apply(
        params: Params, inputs: Inputs, state: State | None = None, *, reverse: bool = False,
        **options: Any,
    ) -> tuple[State, Any]:  # fmt: skip
        opposite = not as_bool("reverse", reverse)
        return layer.apply(params, inputs, state, reverse=opposite, **options)

    return layer._replace(apply=apply, causal=False)


@by_value
def stack(*layers: Layer, dropout: float = 0.0) -> Layer:
    """Stacked layers: the outputs of one are the inputs of the next.

    Args:
      *layers: from the first to the last; at least one.
      dropout: rate between the layers, not after the last.

    Returns:
      A layer whose parameters and states are tuples, one entry per layer.

    Raises:
      ValueError: no layers, or a rate outside [0, 1].
      TypeError: one of `layers` is not a layer, or the rate not a number.
    """
    if not layers:
        raise ValueError("layers: expected at least one, got none")
    for place, layer in enumerate(layers):
        _check_layer(f"layers[{place}]", layer)
    _check_rate("dropout", dropout)
    count = len(layers)

    def init(key: jax.Array) -> tuple[Params, ...]:
        keys = split_key(key, count)
        return tuple(layer.init(k) for layer, k in zip(layers, keys, strict=True))

    def start(params: tuple[Params, ...], batch_shape: Batch) -> tuple[State, ...]:
        weights = _parts("params", params, count)
        return tuple(layer.start(p, batch_shape) for layer, p in zip(layers, weights, strict=True))

    def apply(
        params: tuple[Params, ...],
        inputs: Inputs,
        state: tuple[State, ...] | None = None,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reverse: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[tuple[State, ...], Any]:
        weights, states = _parts("params", params, count), _states(state, count)
        keys = _keys(key, 2 * count)
        finals = []
        for i, layer in enumerate(layers):
            if i > 0:
                inputs = drop(inputs, dropout, key=keys[count + i])
            with _part(str(i), f"[{i}]"):
                final, inputs = layer.apply(
                    weights[i], inputs, states[i], mask=mask, resets=resets, reverse=reverse,
                    key=keys[i],
                )  # fmt: skip
            finals.append(final)
        return tuple(finals), inputs

    causal = all(layer.causal for layer in layers)
    return Layer(init, start, apply, causal, layers[0].feature_axes)


@by_value
def dropout(layer: Layer, rate: float) -> Layer:
    """Dropout on a layer's outputs, independent at every step, where `apply` is given a key.

        outputs_t = keep_t outputs_t / (1 - rate),   keep_t ~ Bernoulli(1 - rate)

    For arrays that are not the outputs of a layer, see `drop`.

    Args:
      layer: any layer.
      rate: the fraction that is dropped.

    Returns:
      A layer with its parameters and states.

    Raises:
      ValueError: a rate outside [0, 1].
      TypeError: `layer` is not a layer, or `rate` not a number.
    """
    _check_layer("layer", layer)
    _check_rate("rate", rate)

    def apply(
        params: Params, inputs: Inputs, state: State | None = None, *,
        key: jax.Array | None = None, **options: Any,
    ) -> tuple[State, Any]:  # fmt: skip
        inner, own = _keys(key, 2)
        final, outputs = layer.apply(params, inputs, state, key=inner, **options)
        return final, drop(outputs, rate, key=own)

    return layer._replace(apply=apply)


def drop(tree: Any, rate: float, *, key: jax.Array | None) -> Any:
    """Dropout on any arrays, such as embeddings or the inputs of a readout.

        y = keep x / (1 - rate),   keep ~ Bernoulli(1 - rate) for each entry; zeros at rate 1

    Args:
      tree: array of any shape, or a pytree of arrays; leaves that are not floating are
        unchanged.
      rate: the fraction that is dropped.
      key: random key; None drops nothing.

    Returns:
      Arrays of the same shapes and dtypes.

    Raises:
      ValueError: a rate outside [0, 1].
      TypeError: `rate` is not a number, `tree` holds anything but arrays, or `key` is not a
        key.
    """
    _check_rate("rate", rate)
    check_arrays("tree", tree)
    if key is None or rate == 0:
        return tree
    keep = 1.0 - float(rate)
    # At rate 1 everything is dropped; dividing by zero would put NaN into the gradient.
    scale = keep or 1.0
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, tree))
    dropped = [
        jnp.where(jax.random.bernoulli(k, keep, x.shape), x / scale, jnp.zeros_like(x))
        if carries_gradient(x) else x
        for x, k in zip(leaves, split_key(key, len(leaves)), strict=True)
    ]  # fmt: skip
    return jax.tree.unflatten(structure, dropped)


@by_value
def residual(layer: Layer) -> Layer:
    """outputs_t = x_t + layer(x)_t, zero at masked steps; in the precision of the layer.

    Args:
      layer: one whose outputs have the shape of its inputs.

    Returns:
      A layer with its parameters and states.

    Raises:
      TypeError: `layer` is not a layer.
      ValueError: from `apply`, if outputs and inputs have different shapes.
    """
    _check_layer("layer", layer)

    def apply(
        params: Params, inputs: Inputs, state: State | None = None, *,
        mask: jax.Array | None = None, **options: Any,
    ) -> tuple[State, Any]:  # fmt: skip
        final, outputs = layer.apply(params, inputs, state, mask=mask, **options)
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (inputs, outputs)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"residual: expected outputs of the shape of the inputs, {describe(inputs)}, got "
                f"{describe(outputs)}; make the layer as wide as its inputs"
            )
        # The padding of the inputs must not reach the outputs through the skip connection.
        inputs = blank(mask, inputs)
        return final, jax.tree.map(lambda x, y: x.astype(y.dtype) + y, inputs, outputs)

    return layer._replace(apply=apply)


class Streaming(NamedTuple):
    """A layer one step at a time; the same numbers as over the whole sequence.

    Attributes:
      start: `(params, batch_shape) -> state`, a pytree of arrays, which can be saved.
      step: `(params, state, x, *, mask=None, resets=None) -> (state, outputs)`: x
        `[B, D]`, outputs `[B, H]`; the flags `[B]`, as in `rnnjax.unroll`.
    """

    start: Callable[[Params, Batch], State]
    step: Callable[..., tuple[State, Any]]


@by_value
def streaming(layer: Layer) -> Streaming:
    """The streaming form of a layer, without dropout: one step at a time.

        state, outputs_t = step(params, state, x_t)

    Args:
      layer: one whose outputs depend on no later input.

    Returns:
      `start` and `step` for the parameters and states of the layer.

    Raises:
      ValueError: an output of the layer depends on later inputs.
      TypeError: `layer` is not a layer.
    """
    _check_layer("layer", layer)
    if not layer.causal:
        raise ValueError(
            "layer: expected one whose outputs depend on no later input, got one with a backward "
            "direction; a stream has no end to begin at"
        )

    def step(
        params: Params,
        state: State,
        x: Inputs,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> tuple[State, Any]:
        check_arrays("x", x)
        x = jax.tree.map(jnp.asarray, x)
        flags = {
            name: check_flags(name, each, x, time=False)
            for name, each in {"mask": mask, "resets": resets}.items()
        }
        inputs, flags = jax.tree.map(lambda leaf: leaf[None], (x, flags))
        state, outputs = layer.apply(params, inputs, state, **flags)
        return state, jax.tree.map(lambda y: y[0], outputs)

    return Streaming(layer.start, step)


def _check_layer(name: str, layer: Any) -> None:
    if isinstance(layer, Layer):
        return
    remedy = "make one by `rnnjax.layers.recurrent(cell)`"
    if isinstance(layer, Cell):
        remedy = "a cell becomes one by `rnnjax.layers.recurrent(cell)`"
    elif isinstance(layer, list | tuple) and name.startswith("layers"):
        remedy = "give layers one by one, as `stack(*layers)`"
    raise TypeError(f"{name}: expected a Layer, got {kind_of(layer)}; {remedy}")


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= as_number(name, rate) <= 1:
        raise ValueError(
            f"{name}: expected a rate from 0 to 1, got {rate}; it is the share that is dropped"
        )


def _keys(key: jax.Array | None, count: int) -> Any:
    return [None] * count if key is None else split_key(key, count)


def _states(state: Any, count: int) -> Any:
    return [None] * count if state is None else _parts("state", state, count)


def _parts(name: str, parts: Any, count: int) -> Any:
    """`parts`, one for each layer."""
    # A checkpoint may have restored the tuple as a list.
    if type(parts) not in (tuple, list, Directions) or len(parts) != count:
        remedy = (
            "`start` gives, or `rnnjax.interop.torch.from_torch_state(params, state)` of torch's"
        )
        if name == "params":
            remedy = "`init` gives"
            if isinstance(parts, dict):
                remedy += (
                    ", or `rnnjax.interop.names.from_names(layer.init, params)` of arrays by name"
                )
        raise TypeError(
            f"{name}: expected {count} parts, one for each layer, got {describe(parts)}; pass what "
            f"the layer's {remedy}"
        )
    return parts


@contextlib.contextmanager
def _part(name: str, place: str) -> Iterator[None]:
    """Names a layer's recurrences, and in errors its place in `params` or `state`."""
    try:
        with jax.named_scope(name):
            yield
    except (TypeError, ValueError) as error:
        error.add_note(f"in the layer {name!r}")
        match = re.match(r"(params|state)(?=[:.\[])", str(error))
        if match:
            error.args = (f"{match[0]}{place}{str(error)[match.end() :]}",)
        raise
