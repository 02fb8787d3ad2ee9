"""Flax's conventions for sequences, for `rnnjax.unroll` and layers, which put time first.

Flax's batch axes `*B` come before time unless `time_major`; lengths determine the padding;
the outputs of a reverse run are reversed unless `keep_order`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Batch, Cell, Inputs, Params, State, leading_axes, signature
from rnnjax._checks import as_bool, check_arrays
from rnnjax._tree import describe
from rnnjax._unroll import check_lengths, lengths_to_mask, unroll
from rnnjax._wrappers import blank
from rnnjax.folds._sequence import Fold, length_of
from rnnjax.interop._foreign import Foreign, ForeignState, Keys, foreign_cell, spread
from rnnjax.layers import Layer, recurrent


def carried(
    rnn: Any,
    run: Callable[..., tuple[State, Any]],
    inputs: Inputs,
    *,
    feature_axes: Any,
    return_carry: bool | None,
    time_major: bool | None,
    seq_lengths: jax.Array | None,
    mask: jax.Array | None,
    resets: jax.Array | None,
    reverse: bool | None,
    keep_order: bool | None,
) -> Any:
    """Runs a time-major function over inputs in Flax's conventions.

    Args:
      rnn: the module, whose settings replace options that are None.
      run: `(inputs, *, mask, resets, reverse) -> (final_state, outputs)`, inputs
        `[T, *B, ...]` and flags `[T, *B]`; outputs in the order of the inputs.
      inputs: leaves `[*B, T, ...]`, `[T, *B, ...]` with `time_major`.
      feature_axes: number of axes after batch and time, as in `rnnjax.Cell`.
      return_carry: return `(final_state, outputs)` instead of the outputs.
      time_major: whether time comes first, in inputs, mask, resets and outputs.
      seq_lengths: `[*B]`, integers; later steps of a sequence are padding.
      mask: `[*B, T]`, True at valid steps, combined with the lengths.
      resets: `[*B, T]`, as in `rnnjax.unroll`.
      reverse: from the last valid step to the first.
      keep_order: outputs in the order of the inputs, else in the order of the run: with
        lengths, each sequence reversed within its own length.

    Returns:
      The outputs `[*B, T, ...]`, zeros in the padding; with `return_carry` a pair.

    Raises:
      ValueError: too few axes, or a shape or a length does not fit.
      TypeError: flags are not booleans, or lengths not integers.
    """
    return_carry = _option("return_carry", return_carry, rnn)
    time_major = _option("time_major", time_major, rnn)
    reverse = _option("reverse", reverse, rnn)
    keep_order = _option("keep_order", keep_order, rnn)
    check_arrays("inputs", inputs)
    inputs = jax.tree.map(jnp.asarray, inputs)
    leading = leading_axes(feature_axes, inputs)
    axis = 0 if time_major else len(leading) - 1
    batch = leading[:axis] + leading[axis + 1 :]
    inputs = _to_front(inputs, axis)
    length = length_of(inputs)
    flags = {
        name: _to_front(_checked(name, each, (*batch[:axis], length, *batch[axis:])), axis)
        for name, each in {"mask": mask, "resets": resets}.items()
    }
    if seq_lengths is not None:
        seq_lengths = check_lengths(seq_lengths, length, name="seq_lengths")
        if seq_lengths.shape != batch:
            raise ValueError(
                f"seq_lengths: expected one for each sequence, {batch}, got {seq_lengths.shape}; "
                "batch axes are those of the inputs except time and features"
            )
    final, outputs = run(
        inputs,
        mask=_within(seq_lengths, flags["mask"], length),
        resets=flags["resets"],
        reverse=reverse,
    )
    if reverse and not keep_order:
        outputs = _reversed(outputs, seq_lengths)
    outputs = _back(outputs, axis)
    return (final, outputs) if return_carry else outputs


def both_ways(
    rnn: Any,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Inputs,
    initial_carry: Any,
    *,
    return_carry: bool | None,
    time_major: bool | None,
    seq_lengths: jax.Array | None,
    mask: jax.Array | None,
    reverse: bool | None,
) -> Any:
    """Two RNNs over the same inputs, the second backward.

    Args:
      rnn: the module, as in `carried`; its `merge_fn` combines the outputs, leaf by leaf.
      forward: called like Flax's RNN.
      backward: likewise.
      inputs: as in `carried`.
      initial_carry: a pair, or None.
      return_carry: as in `carried`.
      time_major: as in `carried`.
      seq_lengths: as in `carried`.
      mask: as in `carried`.
      reverse: must not be True.

    Returns:
      The outputs in the order of the inputs, zeros in the padding even if `merge_fn` of two
      zeros is not; with `return_carry`, the pair of carries before them.

    Raises:
      TypeError: the initial carry is not a pair.
      ValueError: `reverse` is True, or as the RNNs raise.
    """
    return_carry = _option("return_carry", return_carry, rnn)
    time_major = _option("time_major", time_major, rnn)
    if reverse is not None and as_bool("reverse", reverse):
        raise ValueError(
            "reverse: expected nothing for a Bidirectional, which runs both ways, got True; give "
            "it its RNNs the other way round"
        )
    if initial_carry is None:
        initial_carry = (None, None)
    if not isinstance(initial_carry, tuple | list) or len(initial_carry) != 2:
        raise TypeError(
            "initial_carry: expected a pair, of the forward and of the backward RNN, got "
            f"{describe(initial_carry)}; a call with return_carry=True gives such a pair"
        )
    first, second = initial_carry
    options: dict[str, Any] = {
        "return_carry": True, "time_major": time_major, "seq_lengths": seq_lengths,
        **given(mask=mask),  # which another library's RNN need not take
    }  # fmt: skip
    first, ahead = forward(inputs, initial_carry=first, reverse=False, **options)
    second, back = backward(inputs, initial_carry=second, reverse=True, keep_order=True, **options)
    outputs = jax.tree.map(rnn.merge_fn, ahead, back)
    if mask is not None or seq_lengths is not None:
        mask = None if mask is None else jnp.asarray(mask)
        batch_axes = jnp.asarray(seq_lengths).ndim if mask is None else mask.ndim - 1
        axis = 0 if time_major else batch_axes
        outputs, mask = _to_front((outputs, mask), axis)
        outputs = _back(blank(_within(seq_lengths, mask, length_of(outputs)), outputs), axis)
    return ((first, second), outputs) if return_carry else outputs


def run_layer(
    cell: Cell | Layer,
    params: Params,
    inputs: Inputs,
    carry: State | None,
    *,
    fold: Fold | None,
    **options: Any,
) -> tuple[State, Any]:
    """A cell or a layer of this library over inputs `[T, *B, D]`; options as `Layer.apply`.

    Raises:
      ValueError: a fold is given for a layer, whose recurrences have their own.
      TypeError: the carry is not like that of `start`.
    """
    if isinstance(cell, Layer) and fold is not None:
        raise ValueError(
            "fold: expected None for a Layer, got one; give it to `rnnjax.layers.recurrent`"
        )
    layer = recurrent(cell, **given(fold=fold)) if isinstance(cell, Cell) else cell
    if carry is not None:
        batch = leading_axes(layer.feature_axes, inputs)[1:]
        start = jax.eval_shape(lambda p: layer.start(p, batch), params)
        carry = check_carry(carry, start)
    return layer.apply(params, inputs, carry, **options)


def run_foreign(
    module: Foreign,
    params: Params,
    example: Inputs,
    inputs: Inputs,
    carry: State | None,
    *,
    keys: Keys = None,
    change: Callable[[Cell], Cell] = lambda cell: cell,
    **options: Any,
) -> tuple[ForeignState, Any]:
    """A cell of Flax over inputs `[T, *B, ...]`.

    Args:
      module: the cell as pure functions.
      params: its variables.
      example: the shapes of one step without batch axes.
      inputs: the sequence.
      carry: the initial carry, leaves `[*B, ...]`; as in Flax, `initialize_carry` may then be
        missing or differ from it. By default that of `initialize_carry`.
      keys: as in `foreign_cell`.
      change: applied to the resulting cell.
      **options: of `rnnjax.unroll`.

    Raises:
      TypeError: a step does not keep the structure of the carry; or no carry, or resets, for
        a module without `initialize_carry`.
    """
    batch = batch_of(inputs, example)
    if carry is not None:
        carry = jax.tree.map(jnp.asarray, carry)
        x, resets = spread(example, batch), options["resets"] is not None
        module = _begun(module, params, keys, x, carry, batch, resets=resets)
    cell = change(foreign_cell(module, params, example, keys=keys))
    state = cell.start(params, batch)
    if carry is not None:
        state = state._replace(carry=carry)
    return unroll(cell, params, inputs, state, **options)


def _begun(
    module: Foreign,
    params: Params,
    keys: Keys,
    x: Inputs,
    carry: State,
    batch: Batch,
    *,
    resets: bool,
) -> Foreign:
    """The module with `carry` as its initial one, if its own is missing or differs."""
    own = None
    try:
        own = jax.eval_shape(lambda p: module.carry(p, batch), params)
    except NoCarryError:
        if resets:
            raise  # A reset needs it.
    if signature(own) == signature(carry):
        return module
    try:
        after, *_ = jax.eval_shape(lambda p, c: module.step(p, keys, c, x), params, carry)
    except Exception:
        if own is None:
            raise
        after = None  # The module may have failed because of the carry.
    if resets or signature(after) != signature(carry):
        check_carry(carry, after if own is None else own)

    def start(params: Params, shape: Batch) -> State:
        def spread(leaf: jax.Array) -> jax.Array:
            if leaf.shape[: len(batch)] != batch:
                return leaf  # Without batch axes.
            return jnp.zeros((*shape, *leaf.shape[len(batch) :]), leaf.dtype)

        return jax.tree.map(spread, carry)

    return module._replace(carry=start)


def batch_of(inputs: Inputs, example: Inputs) -> Batch:
    """`*B` of inputs `[T, *B, ...]`, given one step without it."""
    leaf, own = jax.tree.leaves(inputs)[0], jax.tree.leaves(example)[0]
    batch: Batch = leaf.shape[1 : leaf.ndim - len(own.shape)]
    return batch


def one_step(inputs: Inputs, feature_axes: int) -> Inputs:
    """The shapes of the inputs `[T, *B, ...]` at one step, without batch axes."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[x.ndim - feature_axes :], x.dtype), inputs
    )


def check_carry(carry: State, expected: State) -> State:
    """`carry` as arrays.

    Raises:
      TypeError: its structure, a shape or a dtype differs from the expected one.
    """
    carry = jax.tree.map(jnp.asarray, carry)
    if signature(carry) != signature(expected):
        raise TypeError(
            f"initial_carry: expected {describe(expected)}, got {describe(carry)}; begin with what "
            "`initialize_carry` or `start` of the cell gives, or with the carry of another call"
        )
    return carry


class NoCarryError(TypeError):
    """A Flax cell has no `initialize_carry`, which Flax requires if no carry is given."""


def input_shape(example: Inputs, batch: Batch) -> tuple[int, ...]:
    """For `initialize_carry`: the shape of the first leaf of one step, with batch axes."""
    return (*batch, *jnp.shape(jax.tree.leaves(example)[0]))


def initialize(cell: Any, *arguments: Any) -> State:
    """The result of a Flax cell's `initialize_carry`.

    Raises:
      NoCarryError: it has none, or only that of Flax's base class.
    """
    try:
        return getattr(cell, "initialize_carry", _no_carry)(*arguments)
    except NotImplementedError as error:
        raise NoCarryError(
            f"initialize_carry: expected one of {type(cell).__name__}, to begin and to reset to, "
            "got none; define it, or give `RNN` an `initial_carry` and no resets"
        ) from error


def _no_carry(*_: Any) -> State:
    raise NotImplementedError


def check_cell(cell: Any, kind: type, library: str) -> None:
    """Raises if a value is neither a cell of this library nor one that Flax's RNN would take.

    Raises:
      TypeError: naming the given value.
    """
    if isinstance(cell, Cell | Layer):
        return
    try:
        fits = isinstance(cell, kind) and hasattr(cell, "num_feature_axes")
    except NotImplementedError:  # Raised by the property of Flax's base class.
        fits = False
    if not fits:
        remedy = f"; pass an instance, as {cell.__name__}(...)" if isinstance(cell, type) else ""
        raise TypeError(
            f"cell: expected a cell of {library}, a module with `num_feature_axes`, or a Cell or "
            f"Layer of rnnjax, got {cell!r}{remedy}"
        )


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


def _option(name: str, value: bool | None, rnn: Any) -> bool:
    """An option of the call, or the module's if that is None."""
    return as_bool(name, getattr(rnn, name) if value is None else value)


def _to_front(tree: Any, axis: int) -> Any:
    return jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), tree)


def _back(tree: Any, axis: int) -> Any:
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, axis), tree)


def _checked(name: str, flags: jax.Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    if flags.shape != shape:
        raise ValueError(
            f"{name}: expected the axes of the inputs without features, {shape}, got "
            f"{flags.shape}; time comes where it does in the inputs"
        )
    return flags


def _within(lengths: jax.Array | None, mask: jax.Array | None, length: int) -> jax.Array | None:
    """`[T, *B]`, True where a step is within its sequence's length and not masked."""
    if lengths is None:
        return mask
    within = lengths_to_mask(lengths, length, name="seq_lengths")
    return within if mask is None else within & mask


def _reversed(tree: Any, lengths: jax.Array | None) -> Any:
    """Leaves `[T, *B, ...]`, each sequence reversed within its own length."""
    if lengths is None:
        return jax.tree.map(lambda x: x[::-1], tree)
    length = length_of(tree)
    # Under `jit` a length may exceed T, where the mask clips it.
    lengths = jnp.clip(lengths, 0, length)[None]
    times = jnp.arange(length, dtype=jnp.int32).reshape(length, *(1,) * (lengths.ndim - 1))
    places = (lengths - 1 - times) % max(length, 1)

    def reverse(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(
            x, places.reshape(places.shape + (1,) * (x.ndim - places.ndim)), axis=0
        )

    return jax.tree.map(reverse, tree)
