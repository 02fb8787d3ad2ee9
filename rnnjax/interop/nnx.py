"""Drop-in replacements for `nnx.RNN` and `nnx.Bidirectional`, run by `rnnjax.unroll`.

Unlike Flax's, a sequence of length zero returns its initial carry, outputs in the padding
are zeros without gradient, and a carry that is not given is drawn without changing a random
stream of the module.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from flax import nnx

from rnnjax._cell import Batch, Cell, Inputs, Params, State
from rnnjax._tree import carries_gradient, combine
from rnnjax.folds._sequence import Fold
from rnnjax.interop._conventions import (
    both_ways,
    carried,
    check_cell,
    given,
    initialize,
    input_shape,
    one_step,
    run_foreign,
    run_layer,
)
from rnnjax.interop._native import run_native
from rnnjax.interop.flax import take_nnx
from rnnjax.layers import Layer, concatenate

__all__ = ["RNN", "Bidirectional"]

Streams = nnx.Rngs | nnx.RngStream
Carry = Any


class _Constructor:
    """The signature of a class, which Flax's metaclass hides; its instances have their own."""

    def __get__(self, instance: Any, owner: Any) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        own = inspect.signature(owner.__init__)
        return own.replace(parameters=list(own.parameters.values())[1:])


class RNN(nnx.Module):
    """A cell over a sequence, with the arguments, the call and the parameters of `flax.nnx.RNN`.

    The cell may be one of Flax, whose parameters stay where Flax keeps them, or a `Cell` or
    `Layer` of this library, whose parameters are in `params`, one `nnx.Param` per leaf. A
    custom module needs the interface that Flax requires: `(carry, x) -> (carry, y)`,
    `num_feature_axes` and, if a call has no carry or has resets,
    `initialize_carry(input_shape, rngs)`.

    Args:
      cell: the recurrence.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: return `(carry, outputs)` instead of the outputs.
      reverse: run from the last valid step to the first.
      keep_order: return the outputs of a reverse run in the order of the inputs.
      unroll: ignored; folds choose their own blocks.
      state_axes: every state is carried from step to step in any case; an axis to scan over
        raises ValueError.
      broadcast_rngs: a filter for those random streams of a Flax cell that give the same
        numbers at every step, as recurrent dropout needs.
      rngs: draws the parameters of a `Cell` or `Layer`. For a Flax cell, draws a carry that
        is not given, the same one at every call.
      params: of a `Cell` or `Layer`, instead of drawn ones.
      fold: how to run and differentiate it; see `rnnjax.folds`.

    Raises:
      TypeError: a cell or a random stream of another kind.
      ValueError: an option that does not apply to this cell.
    """

    __signature__ = _Constructor()
    cell: Any

    def __init__(
        self,
        cell: Any,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        unroll: int = 1,
        state_axes: Mapping[Any, Any] | None = None,
        broadcast_rngs: Any = None,
        rngs: Streams | bool = True,
        params: Params | None = None,
        fold: Fold | None = None,
    ):
        for what, axis in (state_axes or {}).items():
            if axis is not None and axis is not nnx.Carry:
                raise ValueError(
                    f"state_axes: expected None or nnx.Carry for {what}, got {axis}; give what "
                    "differs from step to step to the cell as an input"
                )
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.unroll = unroll
        self.broadcast_rngs = broadcast_rngs
        self.fold = fold
        check_cell(cell, nnx.Module, "flax.nnx")
        if isinstance(cell, Cell | Layer):
            if params is None:
                if rngs is True:
                    raise TypeError(
                        "rngs: expected nnx.Rngs or a stream of it, to draw the parameters of a "
                        "Cell or a Layer with, got none; pass `rngs=nnx.Rngs(seed)`, or the "
                        "parameters as `params=`"
                    )
                params = cell.init(_stream(rngs, "params")())
            self.cell = nnx.static(cell)
            self.params = nnx.data(_held(params))
        else:
            if params is not None:
                raise ValueError("params: expected None for a Flax cell, which holds its own")
            self.cell = cell
            self.rngs = nnx.data(_kept(rngs))

    def __call__(
        self,
        inputs: Inputs,
        *,
        initial_carry: Carry | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Streams | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> Any:
        """Runs over the inputs; None means the module's own setting.

        Args:
          inputs: `[*B, T, D]`, `[T, *B, D]` with `time_major`; a pytree if the cell takes one.
          initial_carry: what the cell carries before the first step, leaves `[*B, ...]`.
          seq_lengths: `[*B]`, integers; later steps of a sequence are padding.
          return_carry: as for the module.
          time_major: as for the module; also for mask and resets.
          reverse: with lengths, each sequence backward within its own length.
          keep_order: as for the module.
          rngs: draws a Flax cell's carry, and a layer's dropout: without it there is no
            dropout, regardless of `model.train()` and `model.eval()`.
          mask: `[*B, T]`, True at valid steps, combined with the lengths.
          resets: `[*B, T]`; where True, the step begins at the initial carry of the cell.

        Returns:
          The outputs `[*B, T, H]`, zeros in the padding; with `return_carry`
          `(carry, outputs)`, with the carry of the last valid step.

        Raises:
          ValueError: a shape or a length does not fit.
          TypeError: a dtype or a structure does not fit.
        """
        own = isinstance(self.cell, Cell | Layer)
        return carried(
            self,
            partial(_run_layer if own else _run_module, self, initial_carry, rngs),
            inputs,
            feature_axes=self.cell.feature_axes if own else self.cell.num_feature_axes,
            return_carry=return_carry,
            time_major=time_major,
            seq_lengths=seq_lengths,
            mask=mask,
            resets=resets,
            reverse=reverse,
            keep_order=keep_order,
        )


class Bidirectional(nnx.Module):
    """Two RNNs over the same inputs, the second backward, as `flax.nnx.Bidirectional`.

    Args:
      forward_rnn: runs from the first step to the last; an `RNN`, or called like one.
      backward_rnn: runs from the last valid step to the first.
      merge_fn: combines the two outputs.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: return `((forward, backward), outputs)` instead of the outputs.
      rngs: ignored; each RNN has its own.
    """

    __signature__ = _Constructor()

    def __init__(
        self,
        forward_rnn: Any,
        backward_rnn: Any,
        *,
        merge_fn: Callable[[Any, Any], Any] = concatenate,
        time_major: bool = False,
        return_carry: bool = False,
        rngs: Streams | bool = True,
    ):
        self.forward_rnn = forward_rnn
        self.backward_rnn = backward_rnn
        self.merge_fn = merge_fn
        self.time_major = time_major
        self.return_carry = return_carry
        self.rngs = nnx.data(_kept(rngs))

    def __call__(
        self,
        inputs: Inputs,
        *,
        initial_carry: tuple[Carry, Carry] | None = None,
        rngs: Streams | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> Any:
        """Runs both; arguments and errors as `RNN`, with a pair of carries.

        `keep_order` is ignored: outputs are in the order of the inputs. `reverse=True` raises
        ValueError.
        """
        options = given(resets=resets, rngs=rngs)
        return both_ways(
            self,
            partial(self.forward_rnn, **options),
            partial(self.backward_rnn, **options),
            inputs,
            initial_carry,
            return_carry=return_carry,
            time_major=time_major,
            seq_lengths=seq_lengths,
            mask=mask,
            reverse=reverse,
        )


def _run_layer(
    rnn: RNN, carry: Carry | None, rngs: Streams | None, inputs: Inputs, **flags: Any
) -> tuple[Carry, Any]:
    """A `Cell` or `Layer`, over inputs `[T, B, D]`."""
    params = jax.tree.map(lambda p: p[...], rnn.params, is_leaf=_is_variable)
    key = None if rngs is None else _stream(rngs, "dropout")()
    return run_layer(rnn.cell, params, inputs, carry, fold=rnn.fold, key=key, **flags)


def _run_module(
    rnn: RNN, carry: Carry | None, rngs: Streams | None, inputs: Inputs, **flags: Any
) -> tuple[Carry, Any]:
    """A Flax cell, over inputs `[T, B, ...]`; updates its random streams and counters."""
    module = rnn.cell
    example = one_step(inputs, module.num_feature_axes)
    carry_key = _carry_key(rnn, rngs)

    def start(params: Params, batch: Batch) -> Carry:
        return initialize(module, input_shape(example, batch), nnx.Rngs(carry_key))

    options = {**flags, **given(fold=rnn.fold)}
    weights = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    done = run_native(module, weights, start, inputs, carry, **options)
    if done is not None:
        return done
    same = nnx.All(nnx.RngState, rnn.broadcast_rngs)
    with nnx.split_rngs(module, splits=1, only=same, squeeze=True):
        params = nnx.state(module)
        final, outputs = run_foreign(
            take_nnx(lambda _: module, module, example, carry_key),
            params,
            example,
            inputs,
            carry,
            change=partial(_holding, same),
            **options,
        )
        if jax.tree.leaves(final.params):
            nnx.update(module, combine(final.params, params))
    return final.carry, outputs


def _holding(same: Any, cell: Cell) -> Cell:
    """The cell, with the random streams selected by `same` held constant over the steps."""

    def update(params: Params, state: State, drive: Any, mixed: Any) -> State:
        after = cell.update(params, state, drive, mixed)
        held, _ = nnx.split_state(state.params, same, ...)
        _, moved = nnx.split_state(after.params, same, ...)
        return after._replace(params=nnx.merge_state(held, moved))

    return cell._replace(update=update)


def _held(params: Params) -> Params:
    """Parameters in variables; only leaves that carry a gradient are `nnx.Param`."""
    return jax.tree.map(lambda p: (nnx.Param if carries_gradient(p) else nnx.Variable)(p), params)


def _is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def _stream(rngs: Any, name: str) -> nnx.RngStream:
    if isinstance(rngs, nnx.Rngs):
        try:
            stream: nnx.RngStream = rngs[name]
        except KeyError:
            raise TypeError(
                f"rngs: expected a stream to draw {name} with, got those of {list(rngs)}; pass "
                f"`rngs=nnx.Rngs({name}=key)`, or nnx.Rngs(key) for any"
            ) from None
        return stream
    if isinstance(rngs, nnx.RngStream):
        return rngs
    raise TypeError(
        f"rngs: expected nnx.Rngs or a stream of it, to draw {name} with, got {rngs!r}; pass "
        "`rngs=nnx.Rngs(seed)`"
    )


def _kept(rngs: Streams | bool) -> nnx.RngStream | None:
    """The stream that Flax's modules keep, so that their checkpoints fit these modules."""
    if rngs is True:
        return nnx.RngStream(0, tag="carry")
    return None if rngs is False else _stream(rngs, "carry").fork()


def _carry_key(rnn: RNN, rngs: Streams | None) -> jax.Array:
    if rngs is not None:
        return _stream(rngs, "carry")()
    # The key of the stream without drawing, which would change the module.
    return jax.random.key(0) if rnn.rngs is None else rnn.rngs.key[...]
