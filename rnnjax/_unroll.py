"""The main entry point: a recurrence over a sequence, with masks, resets and reverse."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import is_symbolic_dim
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rnnjax import folds
from rnnjax._cell import (
    Batch,
    Cell,
    Inputs,
    Params,
    State,
    batch_of_state,
    batched_axes,
    blamed_on_params,
    check_batch,
    check_cell,
    check_state,
    leading_axes,
    signature,
    step,
)
from rnnjax._checks import as_bool, as_int, as_text, check_arrays
from rnnjax._observation import observer
from rnnjax._once import once
from rnnjax._tree import describe, floating
from rnnjax._wrappers import blank, masked, probed, resetting
from rnnjax.folds._sequence import Fold, check_fold, length_of, spread_over, vary_together


class Options(TypedDict, total=False):
    """Keyword arguments of `unroll`, `states` and the diagnostics of a cell; see `unroll`."""

    mask: jax.Array | None
    resets: jax.Array | None
    reverse: bool
    probes: State | None
    fold: Fold
    name: str


def unroll(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    *,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    probes: State | None = None,
    fold: Fold = folds.default(),
    name: str = "",
) -> tuple[State, Any]:
    """Runs a recurrence over a sequence.

        s_t = step(params, s_{t-1}, x_t)
        outputs_t = output(s_t)

    A NaN at a valid step is not hidden: it propagates to every later state, and into the
    gradient even where a reset cuts those states off.

    Args:
      cell: the recurrence.
      params: its parameters.
      inputs: pytree, leaves `[T, B, ...]`.
      state: s before the first step, leaves `[B, ...]`; by default `cell.start`.
      mask: `[T, B]`, True at valid steps, in any pattern. A masked step leaves the state
        unchanged, outputs zeros and contributes no gradient, regardless of its input.
      resets: `[T, B]`; where True, the state before that step is `cell.start`. This holds
        at masked steps too, and in reverse it separates the same two steps, t-1 and t.
      reverse: run from T-1 to 0; with a mask, each sequence backward over its own
        valid steps. Outputs stay in the order of the inputs.
      probes: added to the states, leaves `[T, B, ...]`, None for leaves that carry no
        gradient; the gradient with respect to zero probes is ∂L/∂s_t.
      fold: how to run and differentiate it; see `rnnjax.folds`.
      name: of this recurrence in profiles, errors and diagnostics.

    Returns:
      `(final_state, outputs)`: the state after the last (valid) step, leaves
      `[B, ...]`, and the outputs `[T, B, H]`. Batch axes are those of the mask or the
      resets if given, else of the state, else those of the inputs between time and the
      cell's `feature_axes`. The state keeps the dtypes of `cell.start`, at least float32 for
      the cells of this library, regardless of the precision of inputs and parameters.

    Raises:
      ValueError: a shape does not fit.
      TypeError: a dtype or a structure does not fit, or a step changes those of the state.
    """
    path = trajectory(
        cell, params, inputs, state,
        mask=mask, resets=resets, reverse=reverse, probes=probes, fold=fold, name=name,
    )  # fmt: skip
    return path.final, path.outputs


def states(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    **options: Unpack[Options],
) -> State:
    """All states, leaves `[T, B, ...]`; arguments and errors as `unroll`.

    At a masked step it is the unchanged previous state.
    """
    return trajectory(cell, params, inputs, state, **options).states


class Trajectory(NamedTuple):
    """The results of `unroll` and `states` together.

    Attributes:
      final: the state after the last step, leaves `[B, ...]`.
      states: all states, leaves `[T, B, ...]`.
      outputs: `[T, B, H]`.
    """

    final: State
    states: State
    outputs: Any


@once("reverse")
def trajectory(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    **options: Unpack[Options],
) -> Trajectory:
    """`unroll` and `states` in one; arguments and errors as `unroll`."""
    with running(cell, params, inputs, state, **options) as run:
        carry = observer.value or Run.carry
        final, states = carry(run)
        outputs = blank(run.mask, jax.vmap(cell.output)(states))
        return Trajectory(final, turned(states, run.reverse), turned(outputs, run.reverse))


def lengths_to_mask(lengths: jax.Array, length: int, *, name: str = "lengths") -> jax.Array:
    """`[T, B]`, True at the first `lengths` steps of each sequence.

    Args:
      lengths: `[B]`, integers; a length of zero gives a sequence without valid steps.
        Under `jit`, where their values are not known, a length above T counts as T, and
        one below zero as zero.
      length: T.
      name: of the lengths in errors.

    Returns:
      Booleans `[T, B]`.

    Raises:
      TypeError: the lengths are not integers, or T is not a whole number.
      ValueError: a length is negative or above T, if the values are known.
    """
    steps: Any = length if is_symbolic_dim(length) else as_int("length", length)
    lengths = check_lengths(lengths, steps, name=as_text("name", name))
    times = jnp.arange(steps, dtype=jnp.int32).reshape(steps, *(1,) * lengths.ndim)
    return times < lengths[None]


def check_lengths(lengths: jax.Array, length: int, *, name: str) -> jax.Array:
    """Lengths `[B]` in int32; arguments and errors as `lengths_to_mask`.

    Values that are not known are clipped to the range of int32, not to T.
    """
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(lengths))
    check_arrays(name, lengths)
    # By numpy: JAX would truncate known values to int32, and inside `jit` make them tracers.
    convert: Any = np.asarray if known else jnp.asarray
    try:
        values = convert(lengths)
    except ValueError:  # Lists of different lengths.
        values = np.array(lengths, object)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(
            f"{name}: expected integers [B], got "
            f"{values.dtype}[{','.join(map(str, values.shape))}]; count the valid steps of each "
            "sequence"
        )
    if not known:
        # A narrow dtype may not hold T, nor int32 the values of a wide one.
        most = min(int(jnp.iinfo(dtype).max) for dtype in (values.dtype, jnp.int32))
        return jnp.clip(values, 0, most).astype(jnp.int32)
    if values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or (not is_symbolic_dim(length) and high > length):
            raise ValueError(
                f"{name}: expected values from 0 to T = {length}, got {low} to {high}; pass "
                "the number of valid steps of each sequence"
            )
    return jnp.asarray(values.astype(np.int32))


class Run(NamedTuple):
    """A recurrence, ready to run over its inputs.

    Attributes:
      cell: the cell, wrapped for mask, resets and probes.
      params: its parameters.
      inputs: its inputs, leaves `[T, B, ...]`, in the order of the run.
      state: s before the first step.
      mask: `[T, B]` in the order of the run, or None.
      batch: B.
      reverse: whether that order is from the last step to the first.
      fold: how it is run.
    """

    cell: Cell
    params: Params
    inputs: Inputs
    state: State
    mask: jax.Array | None
    batch: Batch
    reverse: bool
    fold: Fold

    def carry(self) -> tuple[State, State]:
        """The final state and all states, leaves `[T, B, ...]`, in the order of the run."""
        return self.fold(self.cell, self.params, self.inputs, self.state)


@contextlib.contextmanager
def running(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    *,
    name: str = "",
    **options: Any,
) -> Iterator[Run]:
    """The run described by the arguments of `unroll`, in a scope of its name.

    Raises:
      As `unroll`; errors raised inside carry a note with the name.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"options: expected any of {', '.join(Options.__annotations__)}, got "
            f"{', '.join(sorted(unknown))}; see `rnnjax.unroll`"
        )
    scope = jax.named_scope(name) if as_text("name", name) else contextlib.nullcontext()
    try:
        with scope:
            yield _run(cell, params, inputs, state, **options)
    except (TypeError, ValueError) as error:
        if name:
            error.add_note(f"name: this is the recurrence {name!r}")
        raise


def _run(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None,
    *,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    probes: State | None = None,
    fold: Fold = folds.default(),
) -> Run:
    """Checks the arguments of `unroll`, and wraps the cell."""
    check_cell(cell)
    check_fold(fold)
    reverse = as_bool("reverse", reverse)
    given = {"params": params, "inputs": inputs, "state": state, "probes": probes}
    for argument, tree in given.items():
        check_arrays(argument, tree)
    inputs = jax.tree.map(jnp.asarray, inputs)
    length = length_of(inputs)
    mask = check_flags("mask", mask, inputs)
    resets = check_flags("resets", resets, inputs)
    if mask is not None and resets is not None and mask.shape != resets.shape:
        raise ValueError(
            f"resets: expected the shape of the mask, {mask.shape}, got {resets.shape}"
        )
    with blamed_on_params(cell, params):
        batched = batched_axes(cell, params)
    batch = _batch_shape(cell, batched, inputs, state, mask, resets)
    sources = {"mask": mask, "resets": resets, "state": state}
    of = next((name for name, value in sources.items() if value is not None), "other inputs")
    start = jax.tree.map(jnp.asarray, cell.start(params, batch))
    start = _spread(vary_together(start, params, inputs, state)[0], batched, inputs, batch)
    if state is None:
        state = start
    else:
        state = jax.tree.map(jnp.asarray, state)
        check_state(state, start, batch)
    check_batch(cell.feature_axes, "inputs", inputs, batch, of, time=1)

    if mask is not None:
        cell, inputs = masked(cell, batched), (_fill(inputs, mask), mask)
    if resets is not None:
        if reverse:
            # In reverse, the reset between t-1 and t comes before step t-1.
            resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
        cell, inputs = resetting(cell, start, batched), (inputs, resets)
    inputs, mask = turned((inputs, mask), reverse)
    _check_step(cell, params, state, inputs, batch)
    if probes is not None:
        _check_probes(probes, state, length)
        cell, inputs = probed(cell), (inputs, turned(probes, reverse))
    return Run(cell, params, inputs, state, mask, batch, reverse, fold)


def _spread(start: State, batched: State, inputs: Inputs, batch: Batch) -> State:
    """`start` sharded as the inputs are, if they have explicit sharding."""
    sharding = spread_over(inputs, 1, len(batch))
    if sharding is None:
        return start
    mesh, axes = sharding
    place = {True: NamedSharding(mesh, P(*axes)), False: NamedSharding(mesh, P())}
    return jax.tree.map(lambda own, s: jax.reshard(s, place[own >= 0]), batched, start)


def turned(tree: Any, reverse: bool) -> Any:
    """Leaves `[T, ...]` from the last step to the first, if `reverse`."""
    return jax.tree.map(lambda x: x[::-1], tree) if reverse else tree


def _fill(inputs: Inputs, mask: jax.Array) -> Inputs:
    """Replaces every invalid input by the last valid one before it, else the next one.

    With zeros, a step such as x / |x| would give a NaN that poisons every gradient; they are
    used only where a sequence has no valid step at all.
    """
    times = jnp.arange(mask.shape[0]).reshape(-1, *(1,) * (mask.ndim - 1))
    length = mask.shape[0]
    last = lax.cummax(jnp.where(mask, times, -1), axis=0)
    following = lax.cummin(jnp.where(mask, times, length), axis=0, reverse=True)
    nearest = jnp.where(last >= 0, last, following)

    def fill(x: jax.Array) -> jax.Array:
        def along(flags: jax.Array) -> jax.Array:
            return flags.reshape(flags.shape + (1,) * (x.ndim - mask.ndim))

        # Held constant: a masked step has no gradient, so the scatter is avoided.
        filled = jnp.take_along_axis(
            lax.stop_gradient(x), along(jnp.minimum(nearest, length - 1)), axis=0
        )
        filled = jnp.where(along(nearest < length), filled, jnp.zeros_like(filled))
        return jnp.where(along(mask), x, filled)

    return jax.tree.map(fill, inputs)


def check_flags(
    name: str, flags: jax.Array | None, inputs: Inputs, *, time: bool = True
) -> jax.Array | None:
    """A mask or resets as an array, or None if not given.

    Args:
      name: "mask" or "resets".
      flags: `[T, B]`, or `[B]` for one step.
      inputs: leaves `[T, B, ...]`, or `[B, ...]`.
      time: whether they have a time axis.

    Raises:
      TypeError: they are not booleans.
      ValueError: their axes are not those of the inputs.
    """
    if flags is None:
        return None
    axes = "[T, B]" if time else "[B]"
    if not jax.tree_util.all_leaves([flags]) and not isinstance(flags, list):
        raise TypeError(
            f"{name}: expected one array of booleans {axes}, got {describe(flags)}; all leaves of "
            "the state follow it"
        )
    check_arrays(name, flags)
    flags = jnp.asarray(flags)
    if flags.dtype != jnp.bool_:
        lengths = ", or `rnnjax.lengths_to_mask(lengths, T)` for lengths"
        raise TypeError(
            f"{name}: expected booleans {axes}, got {describe(flags)}; write `{name} != 0`"
            + (lengths if time and name == "mask" else "")
        )
    for leaf in jax.tree.leaves(inputs):
        if flags.ndim < time or leaf.shape[: flags.ndim] != flags.shape:
            raise ValueError(
                f"{name}: expected {axes}, the leading axes of inputs {leaf.shape}, got "
                f"{flags.shape}; {'put time first' if time else 'give one to each sequence'}"
            )
    return flags


def _batch_shape(
    cell: Cell,
    batched: State,
    inputs: Inputs,
    state: State | None,
    mask: jax.Array | None,
    resets: jax.Array | None,
) -> Batch:
    flags = mask if mask is not None else resets
    if flags is not None:
        if all(own < 0 for own in jax.tree.leaves(batched)):
            raise ValueError(
                "mask, resets: expected a state whose leaves begin with the batch axes, got none "
                "that does; make `start(params, batch_shape)` use its batch_shape"
            )
        return flags.shape[1:]
    if state is not None:
        return batch_of_state(batched, state) or ()
    return leading_axes(cell.feature_axes, inputs)[1:]


def _check_step(cell: Cell, params: Params, state: State, inputs: Inputs, batch: Batch) -> None:
    """Traces one step, so that errors name what does not fit before anything is folded."""

    def first(leaf: jax.Array) -> jax.ShapeDtypeStruct:
        own = jax.typeof(leaf).sharding
        axes = tuple(own.spec)[1:]
        sharding = NamedSharding(own.mesh, P(*axes)) if any(axes) else None
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=sharding)

    x = jax.tree.map(first, inputs)
    try:
        jax.eval_shape(lambda p, s, x: step(cell, p, s, x), params, state, x)
    except (TypeError, ValueError) as error:
        error.add_note(
            f"inputs: one step was tried with batch axes {batch}, state {describe(state)}, x "
            f"{describe(x)} and params {describe(params)}; the batch axes are those of the mask or "
            "resets if given, else of the state, else of the inputs"
        )
        raise


def _check_probes(probes: State, state: State, length: int) -> None:
    expected = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((length, *s.shape), s.dtype), floating(state)
    )
    if signature(probes) != signature(expected):
        raise TypeError(
            f"probes: expected {describe(expected)}, got {describe(probes)}; take zeros like "
            "`rnnjax.states(...)`, with None for leaves that carry no gradient"
        )
