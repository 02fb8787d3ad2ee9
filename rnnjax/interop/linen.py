"""`nn.RNN` and `nn.Bidirectional` of Flax linen, carried by `rnnjax.unroll`.

Change the import, keep the call. What is right here and not there: a sequence of length
zero gives its initial carry, and outputs in the padding are zeros and take no gradient.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict, freeze, unfreeze
from flax.core.scope import in_filter

from rnnjax._cell import Batch, Cell, Inputs, Params
from rnnjax._tree import combine
from rnnjax.folds._sequence import Fold
from rnnjax.interop._conventions import (
    batch_of,
    both_ways,
    carried,
    check_cell,
    given,
    initialize,
    one_step,
    run_foreign,
    run_layer,
)
from rnnjax.interop._foreign import Carry, Foreign, Keys, spread
from rnnjax.interop._native import run_native
from rnnjax.interop.names import from_names, to_names
from rnnjax.layers import Layer, concatenate

__all__ = ["RNN", "Bidirectional"]


class RNN(nn.Module):
    """A cell over a sequence: the attributes, the call and the scopes of `flax.linen.RNN`.

    The cell may be one of Flax, whose parameters stay where Flax has them, or a `Cell` or
    `Layer` of this library, whose parameters are `params["cell"]`, in dictionaries by
    name (`rnnjax.interop.names`), so that a mask for optax sees each. A module of your own
    needs what Flax asks of one: `(carry, x) -> (carry, y)`, `num_feature_axes` and, where
    a call gives no carry or has resets, `initialize_carry(key, input_shape)`.

    Attributes:
      cell: the recurrence.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: give `(carry, outputs)`, not the outputs alone.
      reverse: run from the last valid step to the first.
      keep_order: give the outputs of a reverse run in the order of the inputs.
      unroll: taken and not used; folds choose their own blocks.
      variable_axes: nothing; an axis to scan over is refused.
      variable_broadcast: taken and not used: the cell sees every collection.
      variable_carry: taken and not used: what a step changes of the collections that are
        mutable is carried from step to step.
      split_rngs: which random streams of a Flax cell give new numbers at every step, as
        those that are not named do, and which the same. They are other numbers than
        Flax's, which depend on how often JAX has traced the step.
      fold: how to carry it and how to differentiate it; see `rnnjax.folds`.
    """

    cell: Any
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    variable_axes: Mapping[Any, Any] = freeze({})
    variable_broadcast: Any = "params"
    variable_carry: Any = False
    split_rngs: Mapping[Any, bool] = freeze({"params": False})
    fold: Fold | None = None

    @nn.compact
    def __call__(
        self,
        inputs: Inputs,
        *,
        initial_carry: Carry | None = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> Any:
        """Runs over the inputs; what is None is as the module was made.

        Args:
          inputs: `[*B, T, D]`, `[T, *B, D]` with `time_major`; a pytree if the cell takes one.
          initial_carry: what the cell carries before the first step, leaves `[*B, ...]`.
          init_key: what a Flax cell's carry is drawn with, `jax.random.key(0)` unless given.
          seq_lengths: `[*B]`, integers; what comes later in a sequence is padding.
          return_carry: as for the module, and so on.
          time_major: here for mask and resets, too.
          reverse: with lengths, each sequence backward within its own length.
          keep_order: as for the module.
          mask: `[*B, T]`, True at valid steps, besides those that the lengths allow.
          resets: `[*B, T]`; where True, the step begins at the initial carry of the cell.

        Returns:
          The outputs `[*B, T, H]`, zeros in the padding; with `return_carry` a pair,
          `(carry, outputs)`, the carry that of the last valid step. A layer drops out if
          there is a random stream "dropout".

        Raises:
          ValueError: a shape or a length that does not fit, or variable axes.
          TypeError: a cell of another kind, a dtype or a structure that does not fit.
        """
        if self.variable_axes:
            raise ValueError(
                f"variable_axes: expected none, got {self.variable_axes}; give what differs from "
                "step to step to the cell as an input, and show it in the cell's output"
            )
        check_cell(self.cell, nn.Module, "flax.linen")
        own = isinstance(self.cell, Cell | Layer)
        run = self._run_layer if own else partial(self._run_module, init_key)
        return carried(
            self,
            partial(run, initial_carry),
            inputs,
            feature_axes=_thawed(self.cell).feature_axes if own else self.cell.num_feature_axes,
            return_carry=return_carry,
            time_major=time_major,
            seq_lengths=seq_lengths,
            mask=mask,
            resets=resets,
            reverse=reverse,
            keep_order=keep_order,
        )

    @nn.nowrap  # Called by `__call__` alone: it needs no scope of its own name.
    def _run_layer(self, carry: Carry | None, inputs: Inputs, **flags: Any) -> tuple[Carry, Any]:
        """A `Cell` or `Layer`, over inputs `[T, B, D]`."""
        named = self.param("cell", lambda key: to_names(self.cell.init(key)))
        params = from_names(self.cell.init, unfreeze(named))
        key = self.make_rng("dropout") if self.has_rng("dropout") else None
        cell = _thawed(self.cell)
        return run_layer(cell, params, inputs, carry, fold=self.fold, key=key, **flags)

    @nn.nowrap
    def _run_module(
        self, init_key: jax.Array | None, carry: Carry | None, inputs: Inputs, **flags: Any
    ) -> tuple[Carry, Any]:
        """A Flax cell, over inputs `[T, B, ...]`."""
        example = one_step(inputs, self.cell.num_feature_axes)
        batch = batch_of(inputs, example)
        init_key = jax.random.key(0) if init_key is None else init_key

        def start(params: Params, batch: Batch) -> Carry:
            shape = (*batch, *jnp.shape(jax.tree.leaves(example)[0]))
            return initialize(self.cell, init_key, shape)

        if self.is_mutable_collection("params") and "params" not in self.cell.variables:
            self.cell(start(None, batch) if carry is None else carry, spread(example, batch))
        module, variables = self.cell.unbind()
        variables = unfreeze(variables)
        options = {**flags, **given(fold=self.fold)}
        weights = nn.meta.unbox(variables.get("params", {}))
        done = run_native(module, weights, start, inputs, carry, **options)
        if done is not None:
            return done
        mutable = [c for c in variables if c != "params" and self.is_mutable_collection(c)]
        assert self.scope is not None
        streams = {name: self.make_rng(name) for name in self.scope.rngs}
        same = {name: key for name, key in streams.items() if not self._splits(name)}
        other = {name: key for name, key in streams.items() if name not in same}

        def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
            (carry, y), changed = module.apply(
                params, carry, x, rngs={**same, **(keys or {})}, mutable=mutable
            )
            return carry, y, {**params, **changed}

        foreign = Foreign(lambda key: variables, start, step, lambda params: params)
        final, outputs = run_foreign(
            foreign, variables, example, inputs, carry, keys=other or None, **options
        )
        for collection in mutable:
            changed = combine(final.params, variables)[collection]
            for name, value in changed.items():
                self.cell.scope.put_variable(collection, name, value)
        return final.carry, outputs

    def _splits(self, stream: str) -> bool:
        """Whether a random stream gives other numbers at every step."""
        return next((s for f, s in self.split_rngs.items() if in_filter(f, stream)), True)


class Bidirectional(nn.Module):
    """Two RNNs over the same inputs, the second backward, as `flax.linen.Bidirectional`.

    Attributes:
      forward_rnn: runs from the first step on; an `RNN` or what is called as one.
      backward_rnn: runs from the last valid step back.
      merge_fn: joins the outputs of both.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: give `((forward, backward), outputs)`, not the outputs alone.
    """

    forward_rnn: Any
    backward_rnn: Any
    merge_fn: Callable[[Any, Any], Any] = concatenate
    time_major: bool = False
    return_carry: bool = False

    def __call__(
        self,
        inputs: Inputs,
        *,
        initial_carry: tuple[Carry, Carry] | None = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
    ) -> Any:
        """Runs both; arguments and errors as `RNN`, the carries a pair.

        `keep_order` is taken and not used: outputs are in the order of the inputs. `reverse`
        is refused.
        """
        keys = (None, None) if init_key is None else jax.random.split(init_key)
        return both_ways(
            self,
            partial(self.forward_rnn, **given(init_key=keys[0], resets=resets)),
            partial(self.backward_rnn, **given(init_key=keys[1], resets=resets)),
            inputs,
            initial_carry,
            return_carry=return_carry,
            time_major=time_major,
            seq_lengths=seq_lengths,
            mask=mask,
            reverse=reverse,
        )


def _thawed(cell: Any) -> Any:
    """A `Cell` or `Layer` as it was given: linen freezes the dictionaries in it."""
    axes = jax.tree.map(
        unfreeze, cell.feature_axes, is_leaf=lambda axes: isinstance(axes, FrozenDict)
    )
    return cell._replace(feature_axes=axes)
