"""Drop-in replacements for linen's `nn.RNN` and `nn.Bidirectional`, run by `rnnjax.unroll`.

Unlike Flax's, a sequence of length zero returns its initial carry, and outputs in the
padding are zeros without gradient.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
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
    input_shape,
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
    """A cell over a sequence, with the attributes, the call and the scopes of `flax.linen.RNN`.

    The cell may be one of Flax, whose parameters stay where Flax keeps them, or a `Cell` or
    `Layer` of this library, whose parameters are `params["cell"]`, in dictionaries by
    name (`rnnjax.interop.names`), so that an optax mask can select each. A custom module
    needs the interface that Flax requires: `(carry, x) -> (carry, y)`, `num_feature_axes`
    and, if a call has no carry or has resets, `initialize_carry(key, input_shape)`.

    Attributes:
      cell: the recurrence.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: return `(carry, outputs)` instead of the outputs.
      reverse: run from the last valid step to the first.
      keep_order: return the outputs of a reverse run in the order of the inputs.
      unroll: ignored; folds choose their own blocks.
      variable_axes: must be empty; an axis to scan over raises ValueError.
      variable_broadcast: ignored: the cell sees every collection.
      variable_carry: ignored: variables of mutable collections that a step changes are
        carried from step to step.
      split_rngs: whether each random stream of a Flax cell gives new numbers at every step,
        which is the default, or the same. The numbers differ from Flax's, which depend on
        how often JAX has traced the step.
      fold: how to run and differentiate it; see `rnnjax.folds`.
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
        """Runs over the inputs; None means the module's own setting.

        Args:
          inputs: `[*B, T, D]`, `[T, *B, D]` with `time_major`; a pytree if the cell takes one.
          initial_carry: what the cell carries before the first step, leaves `[*B, ...]`.
          init_key: draws a Flax cell's carry, by default `jax.random.key(0)`.
          seq_lengths: `[*B]`, integers; later steps of a sequence are padding.
          return_carry: as for the module.
          time_major: as for the module; also for mask and resets.
          reverse: with lengths, each sequence backward within its own length.
          keep_order: as for the module.
          mask: `[*B, T]`, True at valid steps, combined with the lengths.
          resets: `[*B, T]`; where True, the step begins at the initial carry of the cell.

        Returns:
          The outputs `[*B, T, H]`, zeros in the padding; with `return_carry`
          `(carry, outputs)`, with the carry of the last valid step. A layer applies dropout
          if there is a random stream "dropout".

        Raises:
          ValueError: a shape or a length does not fit, or variable axes are given.
          TypeError: a cell of another kind, or a dtype or a structure does not fit.
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

    @nn.nowrap  # Called only by `__call__`: it needs no scope.
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
            return initialize(self.cell, init_key, input_shape(example, batch))

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
        """Whether a random stream gives new numbers at every step."""
        return next((s for f, s in self.split_rngs.items() if in_filter(f, stream)), True)


class Bidirectional(nn.Module):
    """Two RNNs over the same inputs, the second backward, as `flax.linen.Bidirectional`.

    Attributes:
      forward_rnn: runs from the first step to the last; an `RNN`, or called like one.
      backward_rnn: runs from the last valid step to the first.
      merge_fn: combines the two outputs.
      time_major: inputs and outputs are `[T, *B, ...]`, not `[*B, T, ...]`.
      return_carry: return `((forward, backward), outputs)` instead of the outputs.
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
        """Runs both; arguments and errors as `RNN`, with a pair of carries.

        `keep_order` is ignored: outputs are in the order of the inputs. `reverse=True` raises
        ValueError.
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
    """The `Cell` or `Layer` as given, before linen froze its dictionaries."""
    axes = jax.tree.map(
        unfreeze, cell.feature_axes, is_leaf=lambda axes: isinstance(axes, FrozenDict)
    )
    return cell._replace(feature_axes=axes)
