"""A recurrence as a NamedTuple of pure functions.

Shapes are written in these letters everywhere: `T` time, `B` batch (any number
of axes, including none), `D` input features, `H` hidden units, `G` gates, `K` and
`M` the kernel's rows and columns, `P` a projection, `S` all entries of a state, `R` directions.
Time comes first.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import as_int, check_arrays, check_function, kind_of
from rnnjax._tree import as_arrays, describe
from rnnjax._values import by_value, written

Params = Any
State = Any
Inputs = Any
Drive = Any
Batch = tuple[int, ...]


class Cell(NamedTuple):
    """h_t = f(W_hh h_{t-1} + W_xh x_t + b_h), split into its parts.

    One step is

        drive = project(params, x_t)
        mixed = hidden(state, drive) @ kernel(params)
        state = update(params, state, drive, mixed)

    The parts computed for all steps at once (`project`), once per sequence (`kernel`) and
    step by step (`hidden`, `update`) are separate functions, so that a fold can schedule
    them. Vectors are rows: the kernel is `W_hh` transposed.

    Attributes:
      init: `key -> params`; draws the weights.
      start: `(params, batch_shape) -> state`; h_0, zeros or learned. Every leaf
        begins with the batch axes; a leaf that does not (a counter) is carried
        along but never masked or reset. `start` sets the dtype of every leaf, and
        `update` must keep it.
      project: `(params, inputs) -> drive`; `W_xh x_t + b_h` for any number of
        steps at once: inputs `[..., D]`, drive leaves `[..., M]`. The drive may be
        any pytree.
      kernel: `params -> [K, M]` in the state's precision; built once per fold.
        None for a recurrence without a single dense recurrent product, which then does
        everything in `update`, with `mixed = None`.
      hidden: `(state, drive) -> [B, K]`; the left factor of the product with the kernel.
        None if `kernel` is None.
      update: `(params, state, drive, mixed) -> state`; f, with mixed `[B, M]`.
      output: `state -> [B, H]`; the output of the cell.
      feature_axes: number of axes of x_t after the batch axes: a number, or a pytree that
        is a prefix of the inputs, of numbers or None where it is not specified. 1 for
        vectors `[T, B, D]`, 0 for tokens `[T, B]`, 3 for images `[T, B, H, W, C]`. It
        determines where the batch axes end; without it the mask, the resets or the state
        do, else the inputs are assumed to be vectors.
    """

    init: Callable[[jax.Array], Params]
    start: Callable[[Params, Batch], State]
    project: Callable[[Params, Inputs], Drive]
    kernel: Callable[[Params], jax.Array] | None
    hidden: Callable[[State, Drive], jax.Array] | None
    update: Callable[[Params, State, Drive, Any], State]
    output: Callable[[State], Any]
    feature_axes: Any = None

    def __hash__(self) -> int:
        """Of the functions: a cell is a static argument, and `feature_axes` may be a dict."""
        return hash(self[:-1])

    def __repr__(self) -> str:
        return written(self)


def step(cell: Cell, params: Params, state: State, x: Inputs) -> State:
    """One step of the recurrence: the reference that every fold agrees with.

    Args:
      cell: the recurrence.
      params: its parameters.
      state: leaves `[B, ...]`, s_{t-1}.
      x: leaves `[B, ...]`, x_t.

    Returns:
      s_t, with the structure, shapes and dtypes of `state`.

    Raises:
      TypeError: the cell changed the state's structure, shapes or dtypes.
      ValueError: x and the state have different batch axes.
    """
    check_cell(cell)
    for name, tree in {"params": params, "state": state, "x": x}.items():
        check_arrays(name, tree)
    params, state, x = as_arrays((params, state, x))
    with blamed_on_params(cell, params):
        # If all axes but the last agree, nothing is broadcast, and `start` need not be called.
        # A bare tuple may be a NamedTuple that a checkpoint restored.
        axes = {jnp.shape(leaf)[:-1] for leaf in jax.tree.leaves((state, x))}
        if state is None or type(state) in (tuple, list) or len(axes) > 1:
            batch = batch_of_state(batched_axes(cell, params), state) or ()
            check_state(state, jax.eval_shape(lambda p: cell.start(p, batch), params), batch)
            check_batch(cell.feature_axes, "x", x, batch, "state", time=0)
        return advance(cell, params, build_kernel(cell, params), state, cell.project(params, x))


def check_cell(cell: Any) -> None:
    """Raises if a value is not a cell.

    Raises:
      TypeError: naming the given value, and a remedy.
    """
    if isinstance(cell, Cell):
        return
    remedy = "pass a Cell, as of `rnnjax.cells.gru(input_size, hidden_size)`"
    if hasattr(cell, "apply") and hasattr(cell, "causal"):
        remedy = "a layer runs by `layer.apply(params, inputs)`"
    elif callable(cell):
        remedy = "call what makes cells, as `rnnjax.cells.gru(input_size, hidden_size)`; a bare "
        remedy += "step becomes a cell by `rnnjax.from_step`"
    raise TypeError(f"cell: expected a Cell, got {kind_of(cell)}; {remedy}")


@contextlib.contextmanager
def blamed_on_params(cell: Cell, params: Params) -> Iterator[None]:
    """Blames the parameters if a cell fails on them because they belong to another cell.

    Raises:
      TypeError: in place of the cell's error, if `init` returns another structure; a note says
        if it returns other shapes.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        expected = jax.eval_shape(cell.init, jax.random.key(0))
        structure: Any = jax.tree.structure(expected)
        if structure == jax.tree.structure(params) and signature(expected) != signature(params):
            error.add_note(
                f"params: this cell's `init` gives {describe(expected)}, got {describe(params)}"
            )
        if ": expected " in str(error):
            raise  # It is one of ours, and names its argument.
        if structure in (jax.tree.structure(params), jax.tree.structure(None)):
            raise
        remedy = "pass what this cell's `init` gives"
        if isinstance(params, dict):
            remedy += ", or `rnnjax.interop.names.from_names(cell.init, params)` of arrays by name"
        raise TypeError(
            f"params: expected {describe(expected)}, got {describe(params)}; {remedy}"
        ) from error


def build_kernel(cell: Cell, params: Params) -> jax.Array | None:
    """`[K, M]`, or None for a cell without a kernel."""
    return None if cell.kernel is None else cell.kernel(params)


def advance(
    cell: Cell, params: Params, kernel: jax.Array | None, state: State, drive: Drive
) -> State:
    """`step` with precomputed kernel and drive, for folds.

    Raises:
      TypeError: as `step`.
    """
    mixed = None
    if kernel is not None:
        assert cell.hidden is not None
        h = cell.hidden(state, drive)
        if h.dtype != kernel.dtype or h.shape[-1:] != kernel.shape[:1]:
            raise TypeError(
                f"state, kernel: expected hidden(state, drive) [B, K] and [K, M] of one precision, "
                f"got {describe(h)} and {describe(kernel)}; begin with `cell.start(params, "
                "batch_shape)`, pass the parameters that this cell's `init` gives, and let a cell "
                "of your own cast its kernel where it builds it"
            )
        mixed = h @ kernel
    after = cell.update(params, state, drive, mixed)
    if signature(after) != signature(state):
        raise TypeError(
            f"state: expected a step to keep {describe(state)}, got {describe(after)} after "
            "one step; make `update` (or the bare step) return the structure, shapes and "
            "dtypes that `start` gives, with the batch axes of the inputs"
        )
    return after


def check_state(state: State, start: State, batch: Batch) -> None:
    """Raises if a state is not like the one a cell starts with.

    Args:
      state: the given value.
      start: `cell.start(params, batch)`, or its shapes.
      batch: B, for the error.

    Raises:
      TypeError: another structure, other shapes or dtypes.
    """
    if signature(state) == signature(start):
        return
    remedy = "begin with `cell.start(params, batch_shape)` or with a final state"
    kind: Any = type(start)
    fields = getattr(kind, "_fields", ())
    if fields and type(state) in (tuple, list) and len(state) == len(fields):
        if signature(kind(*state)) == signature(start):
            remedy = f"write `{kind.__name__}(*state)` if it is {', '.join(fields)}"
        if jax.tree_util.all_leaves(state):
            remedy += ", or make one of torch's by `rnnjax.interop.torch.from_torch_state`"
    parts = [name for name in fields if signature(getattr(start, name)) == signature(state)]
    if parts and state is not None:
        write = "`cell.start(params, {})._replace({}=state)` if it is the {}"
        remedy = f"write {' or '.join(write.format(batch, name, name) for name in parts)}"
    raise TypeError(
        f"state: expected {describe(start)} for batch axes {batch}, got {describe(state)}; {remedy}"
    )


def batched_axes(cell: Cell, params: Params) -> State:
    """For each leaf of the state, the number of its axes after the batch axes; -1 if shared.

    Determined by calling `start` with two batch sizes, never by a shape that happens to fit.
    """
    one, two = (
        jax.eval_shape(lambda p, n=n: jax.tree.map(jnp.asarray, cell.start(p, (n,))), params)
        for n in (1, 2)
    )
    return jax.tree.map(lambda a, b: -1 if a.shape == b.shape else a.ndim - 1, one, two)


def batch_of_state(batched: State, state: State) -> Batch | None:
    """B, from the first leaf with batch axes according to `batched_axes`; None if none has."""
    for leaf, axes in zip(jax.tree.leaves(state), jax.tree.leaves(batched), strict=False):
        if axes >= 0:
            return jnp.shape(leaf)[: max(jnp.ndim(leaf) - axes, 0)]
    return None


def leading_axes(feature_axes: Any, inputs: Inputs) -> tuple[int, ...]:
    """The axes before the feature axes, on which all leaves of the inputs agree.

    Args:
      feature_axes: as in `Cell`; 1 if it is not specified for any leaf.
      inputs: leaves `[T, B, ...]`, or with these axes in another order.

    Raises:
      ValueError: they do not agree, or a leaf has fewer axes than `feature_axes`.
    """
    leaves = _by_name(feature_axes, "inputs", inputs)
    if not leaves:
        raise ValueError("inputs: expected at least one array [T, B, ...], got none; pass zeros")
    specified = [leaf for leaf in leaves if leaf.axes is not None]
    vectors = [leaf._replace(axes=min(1, len(leaf.shape) - 1)) for leaf in leaves]
    leading = {leaf.name: leaf.leading(time=1) for leaf in specified or vectors}
    if len(set(leading.values())) != 1:
        raise ValueError(
            f"inputs: expected the same axes of time and batch in every leaf, got {leading} of "
            f"{describe(inputs)}; give the cell `feature_axes`, the number of the other axes of "
            "each leaf, as {'x': 1, 'token': 0}, or pass a mask or a state"
        )
    return next(iter(leading.values()))


def check_batch(
    feature_axes: Any, name: str, inputs: Inputs, batch: Batch, of: str, *, time: int
) -> None:
    """Raises if the batch axes of the inputs are not those of the other arguments.

    Args:
      feature_axes: as in `Cell`.
      name: of the inputs in errors.
      inputs: leaves `[B, ...]`, after `time` axes of time.
      batch: B.
      of: the argument with these batch axes, for the error.
      time: 0 or 1.

    Raises:
      ValueError: a leaf has other batch axes.
    """
    for leaf in _by_name(feature_axes, name, inputs):
        if leaf.axes is None and not leaf.shape:
            continue  # One step's key or scalar, shared by the whole batch.
        own = leaf.leading(time=time)[time:]
        if (own if leaf.axes is not None else own[: len(batch)]) != batch:
            expected = [*"T"[:time], *map(str, batch), *["..."][: leaf.axes != 0]]
            features = "" if leaf.axes is None else f" and feature_axes={leaf.axes} of the cell"
            raise ValueError(
                f"{leaf.name}: expected [{', '.join(expected)}] with the batch axes {batch} of "
                f"the {of}{features}, got {leaf.shape}; give both the same batch"
            )


class _Leaf(NamedTuple):
    """A leaf of the inputs: its name in errors, its shape, the number of its feature axes."""

    name: str
    shape: tuple[int, ...]
    axes: int | None

    def leading(self, *, time: int) -> tuple[int, ...]:
        """The axes before the feature axes; all of them if `axes` is None."""
        end = len(self.shape) - (self.axes or 0)
        if end < time:
            raise ValueError(
                f"{self.name}: expected axes of time and batch before the features, of which the "
                f"cell has feature_axes={self.axes}, got {self.shape}; give a single sequence, or "
                "a single step, an axis of its own"
            )
        return self.shape[:end]


def _by_name(feature_axes: Any, name: str, inputs: Inputs) -> list[_Leaf]:
    def is_none(axes: Any) -> bool:
        return axes is None

    try:
        axes = jax.tree.broadcast(feature_axes, inputs, is_leaf=is_none)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected the structure that the cell's feature_axes={feature_axes} names, "
            f"got {describe(inputs)}; give the cell the inputs that it names"
        ) from error
    leaves = jax.tree_util.tree_flatten_with_path(inputs, is_leaf=is_none)[0]
    return [
        _Leaf(
            name + jax.tree_util.keystr(path),
            jnp.shape(leaf),
            None if own is None else _as_axes(own),
        )
        for (path, leaf), own in zip(leaves, jax.tree.leaves(axes, is_leaf=is_none), strict=True)
        if leaf is not None
    ]


def _as_axes(count: int) -> int:
    count = as_int("feature_axes", count)
    if count < 0:
        raise ValueError(
            f"feature_axes: expected at least 0, got {count}; count the axes of one x_t that come "
            "after those of the batch"
        )
    return count


def signature(state: State) -> Any:
    """Structure, shapes and dtypes, which two states must have in common."""
    leaves, structure = jax.tree.flatten(state)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


@by_value
def from_step(
    step: Callable[[Params, State, Inputs], State],
    *,
    init: Callable[[jax.Array], Params],
    start: Callable[[Params, Batch], State],
    output: Callable[[State], Any] | None = None,
    feature_axes: Any = None,
) -> Cell:
    """Makes a cell from a step function s_t = step(params, s_{t-1}, x_t).

    Args:
      step: `(params, state, x) -> state`, state and x with the batch axes first.
      init: `key -> params`.
      start: `(params, batch_shape) -> state`.
      output: `state -> [B, H]`; by default the state itself.
      feature_axes: of x, as in `Cell`.

    Returns:
      A cell without a kernel: all its work is done in `update`.

    Raises:
      TypeError: one of them is not a function of these arguments.
    """
    remedy = "pass a pure function"
    check_function("step", step, "params, state, x", remedy)
    check_function("init", init, "key", remedy)
    check_function("start", start, "params, batch_shape", remedy)
    if output is not None:
        check_function("output", output, "state", remedy)
    return Cell(
        init=init,
        start=start,
        project=lambda params, inputs: inputs,
        kernel=None,
        hidden=None,
        update=lambda params, state, drive, mixed: step(params, state, drive),
        output=output if output is not None else lambda state: state,
        feature_axes=feature_axes,
    )
