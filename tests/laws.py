"""The tables of cells and folds, and the slow oracle that both are held against.

A new cell of the library is a row of `CELLS`, a new fold a row of `FOLDS`; the laws of the
other files then hold for every pair of the two, or fail, but for what its row says and gives
the reason of. Whatever else is asked of all cells of the library goes over `FACTORIES` or
`LIBRARY`, and names none. The oracle runs each member of a batch alone, in a
plain loop over `rnnjax.step`, and knows what masks and resets mean; its gradient is
the chain of the steps' pull-backs, written out.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import Cell, cells, folds, from_step, step

Tree = Any
Leaves = list[Any]

D, H = 5, 4
CLOSED = np.array([0.9, 1.1, 0.8, 1.2, 0.7, 0.3])


# Cells ------------------------------------------------------------------------------


class CellRow(NamedTuple):
    """One recurrence of the table.

    Attributes:
      make: `closed -> cell`; closed `[6]` is there to be closed over, traced.
      inputs: `(rng, [T, *B]) -> inputs`.
      takes_zeros: whether the step is finite, and its gradient, where its input is zero.
      like: the row that shows a fold all that this one does: a kernel or none, the leaves
        of its state, what it closes over. The dear laws are held on that one, and on this
        one by the default fold alone.
      factory: `(input_size, hidden_size, **options) -> cell`, where the library makes it.
      linear: whether it is linear in its state, each unit by itself.
      taken: by option that no other factory has, what of the wrong values in
        `test_every_argument.py` it takes rightly.
    """

    make: Callable[[jax.Array], Cell]
    inputs: Callable[[np.random.Generator, tuple[int, ...]], Tree] = lambda rng, shape: rng.normal(
        size=(*shape, D)
    )
    takes_zeros: bool = True
    like: str = ""
    factory: Callable[..., Cell] | None = None
    linear: bool = False
    taken: Mapping[str, str] = MappingProxyType({})


def _of_library(factory: Callable[..., Cell], **row: Any) -> CellRow:
    return CellRow(lambda closed: factory(D, H, dtype=jnp.float64), factory=factory, **row)


class Counted(NamedTuple):
    """A state with leaves that carry no gradient, one of them without batch axes."""

    h: jax.Array
    seen: jax.Array
    keys: jax.Array
    clock: jax.Array


def _wide(x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(x[..., None], (*x.shape, H))


def _weights(key: jax.Array, **shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(k, shape, jnp.float64) / np.sqrt(H)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _zeros(params: Tree, batch: tuple[int, ...]) -> jax.Array:
    return jnp.zeros((*batch, H))


def _bare(closed: jax.Array) -> Cell:
    def step(params: Tree, h: jax.Array, x: jax.Array) -> jax.Array:
        proposal = jnp.tanh(h @ params["W"] + x @ params["U"])
        return (1 - params["leak"]) * h + params["leak"] * proposal

    return from_step(
        step,
        init=lambda key: (
            _weights(key, W=(H, H), U=(D, H)) | {"leak": jnp.asarray(0.6, jnp.float64)}
        ),
        start=_zeros,
    )


def _bare_closure(closed: jax.Array) -> Cell:
    def step(params: Tree, h: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(closed[0] * (h @ params["W"]) + x @ params["U"]) + closed[1] * h

    return from_step(
        step,
        init=lambda key: _weights(key, W=(H, H), U=(D, H)),
        start=lambda params, batch: closed[2] * jnp.ones((*batch, H)),
        output=lambda h: closed[3] * h,
    )


def _closure(closed: jax.Array) -> Cell:
    return Cell(
        init=lambda key: _weights(key, W=(H, H), U=(D, H)),
        start=lambda params, batch: closed[4] * jnp.ones((*batch, H)),
        project=lambda params, inputs: closed[0] * (inputs @ params["U"]),
        kernel=lambda params: closed[1] * params["W"],
        hidden=lambda state, drive: state + closed[2] * drive,
        update=lambda params, state, drive, mixed: jnp.tanh(drive + mixed) + closed[3] * state,
        output=lambda state: closed[5] * state,
    )


def _counted(closed: jax.Array) -> Cell:
    def start(params: Tree, batch: tuple[int, ...]) -> Counted:
        return Counted(
            h=_zeros(params, batch),
            seen=jnp.zeros(batch, jnp.int32),
            keys=jnp.broadcast_to(jax.random.key(3), batch),
            clock=jnp.zeros((), jnp.int32),
        )

    def update(params: Tree, state: Counted, drive: jax.Array, mixed: jax.Array) -> Counted:
        # A generator of one line: the real one takes long to compile.
        data = jax.random.key_data(state.keys) * np.uint32(1664525) + np.uint32(1013904223)
        noise = data[..., 0].astype(jnp.float64) / 2**32
        age = (state.seen + 2 * state.clock).astype(jnp.float64)
        return Counted(
            h=jnp.tanh(drive + mixed + _wide(0.2 * noise + 0.1 * jnp.cos(age))),
            seen=state.seen + 1,
            keys=jax.random.wrap_key_data(data),
            clock=state.clock + 1,
        )

    return Cell(
        init=lambda key: _weights(key, W=(H, H), U=(D, H)),
        start=start,
        project=lambda params, inputs: inputs @ params["U"],
        kernel=lambda params: params["W"],
        hidden=lambda state, drive: state.h,
        update=update,
        output=lambda state: {"h": state.h, "seen": state.seen},
    )


def _learned_start(closed: jax.Array) -> Cell:
    inner = cells.elman(D, H, dtype=jnp.float64)

    def start(params: Tree, batch: tuple[int, ...]) -> jax.Array:
        return jnp.broadcast_to(params["start"], (*batch, H))

    return Cell(
        init=lambda key: {"start": jnp.linspace(-1.0, 1.0, H), "inner": inner.init(key)},
        start=start,
        project=lambda params, inputs: inner.project(params["inner"], inputs),
        kernel=lambda params: inner.kernel(params["inner"]),
        hidden=inner.hidden,
        update=lambda params, *args: inner.update(params["inner"], *args),
        output=inner.output,
    )


def _switched(closed: jax.Array) -> Cell:
    """Inputs, drive and parameters with integers and booleans among their leaves."""

    def project(params: Tree, inputs: Tree) -> Tree:
        return inputs | {"x": inputs["x"] @ params["U"] + params["E"][inputs["token"]]}

    def update(params: Tree, h: jax.Array, drive: Tree, mixed: jax.Array) -> jax.Array:
        new = jnp.tanh(drive["x"] + mixed)[..., params["order"]]
        return jnp.where(_wide(drive["open"]), new, 0.5 * h)

    return Cell(
        init=lambda key: (
            _weights(key, W=(H, H), U=(D, H), E=(3, H)) | {"order": jnp.arange(H)[::-1]}
        ),
        start=_zeros,
        project=project,
        kernel=lambda params: params["W"],
        hidden=lambda state, drive: jnp.where(_wide(drive["token"] == 0), -state, state),
        update=update,
        output=lambda state: state,
        feature_axes={"x": 1, "token": 0, "open": 0},
    )


def _switched_inputs(rng: np.random.Generator, shape: tuple[int, ...]) -> Tree:
    return {
        "x": rng.normal(size=(*shape, D)),
        "token": rng.integers(0, 3, shape, np.int32),
        "open": rng.random(shape) < 0.8,
    }


def _normalising(closed: jax.Array) -> Cell:
    """Zeros in its inputs give NaN, in values and gradients."""

    def project(params: Tree, inputs: jax.Array) -> jax.Array:
        return (inputs / jnp.linalg.norm(inputs, axis=-1, keepdims=True)) @ params["U"]

    return Cell(
        init=lambda key: _weights(key, W=(H, H), U=(D, H)),
        start=_zeros,
        project=project,
        kernel=lambda params: params["W"],
        hidden=lambda state, drive: state,
        update=lambda params, state, drive, mixed: jnp.tanh(drive + mixed),
        output=lambda state: state,
    )


def _complex(closed: jax.Array) -> Cell:
    def kernel(params: Tree) -> jax.Array:
        return jax.lax.complex(params["W"], params["V"])

    def update(params: Tree, z: jax.Array, drive: jax.Array, mixed: jax.Array) -> jax.Array:
        a = mixed + jax.lax.complex(drive, jnp.zeros_like(drive))
        return a / (1 + jnp.abs(a)).astype(a.dtype)

    return Cell(
        init=lambda key: _weights(key, W=(H, H), V=(H, H), U=(D, H)),
        start=lambda params, batch: jnp.full((*batch, H), 0.1 + 0.2j),
        project=lambda params, inputs: inputs @ params["U"],
        kernel=kernel,
        hidden=lambda state, drive: state,
        update=update,
        output=lambda state: jnp.concatenate([state.real, state.imag], axis=-1),
    )


CELLS: dict[str, CellRow] = {
    "elman": _of_library(cells.elman, like="learned-start", taken={"activation": ""}),
    "elman-relu": _of_library(partial(cells.elman, activation=jax.nn.relu), like="learned-start"),
    "lstm": _of_library(
        cells.lstm, taken={"projection_size": "None", "forget_bias": "half negative nan"}
    ),
    "lstm-projected": _of_library(partial(cells.lstm, projection_size=3), like="lstm"),
    "gru": _of_library(cells.gru, like="learned-start", taken={"reset_after": "True"}),
    "gru-before": _of_library(partial(cells.gru, reset_after=False), like="bare-closure"),
    "lru": _of_library(cells.lru, linear=True, taken={"max_phase": "half"}),
    "min-gru": _of_library(cells.min_gru, linear=True, like="bare-closure"),
    "bare": CellRow(_bare, like="bare-closure"),
    "bare-closure": CellRow(_bare_closure),
    "closure": CellRow(_closure),
    "counted": CellRow(_counted),
    "learned-start": CellRow(_learned_start),
    "switched": CellRow(_switched, _switched_inputs),
    "normalising": CellRow(_normalising, takes_zeros=False),
    "complex": CellRow(_complex),
}
# What the library offers to make cells with, and the rows of it, options and all.
FACTORIES: list[Callable[..., Cell]] = [
    make for make in (getattr(cells, name) for name in cells.__all__) if not isinstance(make, type)
]
LIBRARY = {name: row.factory for name, row in CELLS.items() if row.factory is not None}


def initialisers_of(factory: Callable[..., Cell]) -> list[str]:
    """The names of the initialisers that it takes."""
    return [name for name in inspect.signature(factory).parameters if name.endswith("_init")]


def has_kernel(name: str) -> bool:
    """Whether the cell has a kernel, and so takes a fold's own reverse rule."""
    return CELLS[name].make(jnp.asarray(CLOSED)).kernel is not None


# Folds ------------------------------------------------------------------------------


class FoldRow(NamedTuple):
    """One way of folding, which meets every law on every cell but for what stands here.

    Attributes:
      fold: the fold.
      lengths: the T at which something about it changes.
      window: the steps after which its gradient is cut, by definition; None where it is
        that of the loop. No sequence is shorter.
      forward: whether cells with a kernel have a forward-mode derivative; where they have
        none, its law is the error that says so.
      iterates: whether it stops at states that are near enough: to 16 units in the last
        place at every step, and NaN after the first that is not.
      excused: the cells that it does not take, and for each the reason.
      like: the row of which this is another number. The dear laws are held on that one.
      daily: the cells on which `make test` holds the dear laws; on the others they are
        slow tests.
      slow: whether `make test` leaves its states and gradients to the slow tests, too.
    """

    fold: folds.Fold
    lengths: tuple[int, ...]
    window: int | None = None
    forward: bool = True
    iterates: bool = False
    excused: Mapping[str, str] = MappingProxyType({})
    like: str = ""
    daily: tuple[str, ...] = ()
    slow: bool = False


def _frugal(cell: Cell, params: Tree, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
    """Checkpointed, with a budget that 37 steps meet by segments of segments alone."""
    one = sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
    return folds.checkpointed(budget_bytes=12 * one)(cell, params, inputs, state)


_NO_JACOBIAN = {"counted": "counters, keys and leaves shared by the batch have no"}

FOLDS: dict[str, FoldRow] = {
    "scan()": FoldRow(folds.scan(), (7,)),
    "scan(unroll=2)": FoldRow(folds.scan(unroll=2), (7,), like="scan()", slow=True),
    "blocked()": FoldRow(folds.blocked(), (0, 1, 37), forward=False, like="blocked(size=3)"),
    "blocked(size=1)": FoldRow(
        folds.blocked(size=1), (2,), forward=False, like="blocked(size=3)", slow=True
    ),
    "blocked(size=3)": FoldRow(
        folds.blocked(size=3), (7,), forward=False, daily=("lstm", "counted")
    ),
    "blocked(size=5)": FoldRow(
        folds.blocked(size=5), (16,), forward=False, like="blocked(size=3)", slow=True
    ),
    "stored()": FoldRow(folds.stored(), (0, 1, 7, 37), forward=False, daily=("lstm", "counted")),
    "default()": FoldRow(folds.default(), (0, 37), forward=False, like="blocked(size=3)"),
    "checkpointed()": FoldRow(
        folds.checkpointed(), (0, 16), forward=False, like="checkpointed(segments=2)"
    ),
    "checkpointed(segments=2)": FoldRow(
        folds.checkpointed(segments=2), (7,), forward=False, daily=("learned-start",)
    ),
    "checkpointed(budget_bytes)": FoldRow(
        _frugal, (37,), forward=False, like="checkpointed(segments=2)", slow=True
    ),
    "truncated(window=3)": FoldRow(
        folds.truncated(window=3), (7,), window=3, forward=False, daily=("counted",)
    ),
    "parallel()": FoldRow(
        folds.parallel(), (7,), iterates=True, excused=_NO_JACOBIAN, daily=("closure",), slow=True
    ),
    "parallel(diagonal)": FoldRow(
        folds.parallel(linearise=folds.diagonal),
        (7,),
        iterates=True,
        excused=_NO_JACOBIAN,
        slow=True,
    ),
}
# The default at small batches, by blocks that a short sequence has several of: it meets every cell.
DEFAULT = "blocked(size=3)"


def carries(fold: str, cell: str) -> bool:
    """Whether the fold takes the cell."""
    return cell not in FOLDS[fold].excused


PAIRS = [
    (cell, fold)
    for fold, row in FOLDS.items()
    for cell in CELLS
    if carries(fold, cell) and not row.like and (fold == DEFAULT or not CELLS[cell].like)
]


def dear(pairs: list[tuple[str, str]]) -> list[Any]:
    """Pairs of cell and fold for a law that takes long: but for a few they are slow tests."""
    return _marked(pairs, lambda cell, fold: cell in FOLDS[fold].daily)


def cheap(pairs: list[tuple[str, str]]) -> list[Any]:
    """Pairs for a law that takes less: `make test` holds it on every cell for the default."""
    return _marked(pairs, lambda cell, fold: fold == DEFAULT or cell in FOLDS[fold].daily)


def _marked(pairs: list[tuple[str, str]], daily: Callable[[str, str], bool]) -> list[Any]:
    return [pytest.param(*p, marks=[] if daily(*p) else [pytest.mark.slow]) for p in pairs]


def folds_of(cell: str) -> list[Any]:
    """The folds of the pairs with one cell, for a law that is about no other."""
    pairs = cheap([pair for pair in PAIRS if pair[0] == cell])
    return [pytest.param(pair.values[1], marks=pair.marks) for pair in pairs]


def reference(fold: str) -> folds.Fold:
    """The fold by JAX's own rules that has the same gradient by definition."""
    return _by_scan(FOLDS[fold].window)


@lru_cache
def _by_scan(window: int | None) -> folds.Fold:
    return folds.scan() if window is None else folds.truncated(window=window, fold=folds.scan())


# The batch that goes with each length.
BATCH = {0: (3,), 1: (2, 3), 2: (3,), 6: (3,), 7: (3,), 16: (), 37: (2, 3)}


# Leaves -----------------------------------------------------------------------------


def floats(tree: Tree) -> Leaves:
    """The leaves that carry a gradient."""
    return [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]


def refill(tree: Tree, leaves: Leaves) -> Tree:
    """`tree` with other floating leaves."""
    given: Iterator[Any] = iter(leaves)
    return jax.tree.map(lambda leaf: next(given) if _is_float(leaf) else leaf, tree)


def _is_float(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def plain(leaf: Any) -> np.ndarray:
    """A leaf as numpy; a key as its data."""
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_close(got: Tree, want: Tree, tolerance: float = 1e-12) -> None:
    """Leaf by leaf, relative to the largest entry of a leaf that is wanted, or to one."""
    got_leaves, want_leaves = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got_leaves) == len(want_leaves)
    for number, (a, b) in enumerate(zip(got_leaves, want_leaves, strict=True)):
        a, b = plain(a), plain(b)
        assert a.shape == b.shape, f"leaf {number}: {a.shape} instead of {b.shape}"
        assert a.dtype == b.dtype, f"leaf {number}: {a.dtype} instead of {b.dtype}"
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0))) if _is_float(b) else 0.0
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * scale, err_msg=f"leaf {number} of {len(got_leaves)}"
        )


# Arguments --------------------------------------------------------------------------


class Arguments(NamedTuple):
    """What a run depends on, and may be differentiated by.

    Attributes:
      closed: `[6]`, what the cell closes over.
      params: the cell's parameters, biases included, drawn at random.
      inputs: leaves `[T, B, ...]`.
      state: leaves `[B, ...]`; None to begin at `cell.start`.
    """

    closed: np.ndarray
    params: Tree
    inputs: Tree
    state: Tree


def draw(name: str, length: int, batch: tuple[int, ...], seed: int = 0) -> Arguments:
    """Arguments for a row of the table."""
    rng = np.random.default_rng(seed)
    cell, params = _drawn(name)
    params = refill(params, [p + 0.3 * like(p, rng) for p in floats(params)])

    def other(leaf: Any) -> Any:
        if _is_float(leaf):
            return 0.5 * like(leaf, rng)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(seed), leaf.shape)
        return jnp.asarray(rng.integers(0, 9, leaf.shape, leaf.dtype))

    state = jax.tree.map(other, cell.start(params, batch))
    return Arguments(CLOSED, params, CELLS[name].inputs(rng, (length, *batch)), state)


@lru_cache
def _drawn(name: str) -> tuple[Cell, Tree]:
    cell = CELLS[name].make(jnp.asarray(CLOSED))
    return cell, jax.tree.map(np.asarray, cell.init(jax.random.key(0)))


def like(leaf: Any, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers of a leaf's shape and dtype."""
    shape, dtype = np.shape(leaf), jnp.result_type(leaf)
    value = np.asarray(rng.normal(size=shape))
    if jnp.issubdtype(dtype, jnp.complexfloating):
        value = value + 1j * rng.normal(size=shape)
    return np.asarray(value, dtype)


def weights_like(tree: Tree, seed: int = 1) -> Leaves:
    """Random weights for the floating leaves of a result: the loss is their product."""
    rng = np.random.default_rng(seed)
    return [like(leaf, rng) for leaf in floats(tree)]


def shifted(args: Arguments, direction: Leaves, step: float) -> Arguments:
    """`args` moved along a direction of `floats(args)`."""
    moved = [np.asarray(x) + step * d for x, d in zip(floats(args), direction, strict=True)]
    return refill(args, moved)


def pairing(weights: Leaves, leaves: Leaves) -> float:
    """Re Σ weights · leaves, the loss whose gradient a pull-back of the weights is."""
    return float(
        sum(
            np.sum(np.asarray(w) * np.asarray(x)).real for w, x in zip(weights, leaves, strict=True)
        )
    )


def value_and_pullback(
    function: Callable[..., Tree], args: Tree, weights: Leaves
) -> tuple[Tree, Leaves]:
    """`function(*args)`, and the gradient of its pairing with `weights` to `floats(args)`."""

    def moving(leaves: Leaves) -> tuple[Leaves, Tree]:
        value = function(*refill(args, leaves))
        return floats(value), value

    _, pullback, value = jax.vjp(moving, floats(args), has_aux=True)
    return value, pullback(weights)[0]


# The oracle -------------------------------------------------------------------------


class Path(NamedTuple):
    """A run: final state `[B, ...]`, states `[T, B, ...]`, outputs `[T, B, ...]`."""

    final: Tree
    states: Tree
    outputs: Tree


class Gradient(NamedTuple):
    """The gradient of the pairing of a `Path` with weights.

    Attributes:
      args: to `floats(args)`.
      adjoints: to every state, `[T, B, ...]`, as `floats(states)`.
    """

    args: Leaves
    adjoints: Leaves


def loop(name: str, args: Arguments, **flags: Any) -> Path:
    """Each sequence of the batch alone, step by step; flags as `loop_gradient`."""
    path, _ = loop_gradient(name, args, None, **flags)
    return path


def loop_gradient(
    name: str,
    args: Arguments,
    weights: Leaves | None,
    *,
    mask: np.ndarray | None = None,
    resets: np.ndarray | None = None,
    reverse: bool = False,
    window: int | None = None,
    handed: Tree = None,
) -> tuple[Path, Gradient]:
    """`loop`, and the way back through the pull-back of each step in turn.

    Args:
      name: the row of `CELLS`.
      args: its arguments.
      weights: of `floats(path)`; None for no gradient.
      mask: `[T, B]`, True where a step is to be taken.
      resets: `[T, B]`, True where t-1 and t are to be parted.
      reverse: from the last step to the first.
      window: the steps after which the gradient is cut: the state that the next window
        is handed is held constant. The state before the first is not cut.
      handed: `[T, B, ...]`, the states that are handed over, for those found on the way;
        the gradient is then that of the pairing in every sense, finite differences too.
    """
    shape = jax.tree.leaves(args.inputs)[0].shape
    length, batch = shape[0], _batch(name, args)
    mask = np.ones((length, *batch), bool) if mask is None else mask
    resets = np.zeros((length, *batch), bool) if resets is None else resets
    order = range(length)[::-1] if reverse else range(length)
    batched = batched_leaves(name, args.params)
    params = jax.tree.map(jnp.asarray, args.params)

    def state_of(state: Tree, at: tuple[Any, ...]) -> Tree:
        leaves, structure = jax.tree.flatten(state)
        picked = [s[at] if own else s for s, own in zip(leaves, batched, strict=True)]
        return jax.tree.unflatten(structure, picked)

    members, member_gradients = [], []
    for b in np.ndindex(batch):
        one = _Member(
            functions=_one(name),
            closed=args.closed,
            params=params,
            inputs=jax.tree.map(lambda x: np.asarray(x)[(slice(None), *b)], args.inputs),  # noqa: B023
            state=None if args.state is None else state_of(args.state, b),
            batched=batched,
        )
        # In reverse, what parts t from t+1 comes before the step at t.
        cut = np.append(resets[1:], np.zeros((1, *batch), bool), axis=0) if reverse else resets
        given = None if handed is None else state_of(handed, (slice(None), *b))
        path, turns = one.forward(
            order, mask[(slice(None), *b)], cut[(slice(None), *b)], window, given
        )
        members.append(path)
        if weights is not None:
            final, states, outputs = split(weights, path)
            member_gradients.append(
                one.backward(
                    turns,
                    [w[b] for w in final],
                    [w[(slice(None), *b)] for w in states],
                    [w[(slice(None), *b)] for w in outputs],
                    window,
                )
            )

    def stack(leaves: tuple[np.ndarray, ...], axis: int, own: bool = True) -> np.ndarray:
        if not own:
            return leaves[0]
        shape = leaves[0].shape
        return np.stack(leaves, axis).reshape((*shape[:axis], *batch, *shape[axis:]))

    def stack_states(trees: list[Tree], axis: int) -> Tree:
        columns = zip(*(jax.tree.leaves(tree) for tree in trees), strict=True)
        stacked = [stack(c, axis, own) for c, own in zip(columns, batched, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(trees[0]), stacked)

    path = Path(
        stack_states([m.final for m in members], 0),
        stack_states([m.states for m in members], 1),
        jax.tree.map(lambda *leaves: stack(leaves, 1), *[m.outputs for m in members]),
    )
    if weights is None:
        return path, Gradient([], [])

    def total(column: int) -> Leaves:
        return [sum(leaves) for leaves in zip(*(g[column] for g in member_gradients), strict=True)]

    def every(column: int, axis: int) -> Leaves:
        return [stack(c, axis) for c in zip(*(g[column] for g in member_gradients), strict=True)]

    return path, Gradient(total(0) + every(1, 1) + every(2, 0), every(3, 1))


def _batch(name: str, args: Arguments) -> tuple[int, ...]:
    leaf = jax.tree.leaves(args.inputs)[0]
    one = jax.tree.leaves(CELLS[name].inputs(np.random.default_rng(0), (1,)))[0]
    return leaf.shape[1 : 1 + leaf.ndim - one.ndim]


def batched_leaves(name: str, params: Tree) -> list[bool]:
    """For each leaf of the state, whether it has the batch axes."""
    cell = CELLS[name].make(jnp.asarray(CLOSED))
    alone, many = (jax.tree.leaves(cell.start(params, batch)) for batch in ((), (7,)))
    return [a.shape != b.shape for a, b in zip(alone, many, strict=True)]


def split(weights: Leaves, parts: tuple[Tree, ...]) -> list[Leaves]:
    """`floats(parts)` cut into the floats of each part."""
    rest = iter(weights)
    return [[next(rest) for _ in floats(part)] for part in parts]


class _Turn(NamedTuple):
    """One step of one sequence, remembered for the way back."""

    t: int
    valid: bool
    reset: bool
    before: Tree
    x: Tree
    after: Tree


class _Member(NamedTuple):
    """One sequence: its arguments without batch axes, and the functions of one step."""

    functions: "_Functions"
    closed: np.ndarray
    params: Tree
    inputs: Tree
    state: Tree
    batched: list[bool]

    def forward(
        self,
        order: range,
        mask: np.ndarray,
        cut: np.ndarray,
        window: int | None,
        handed: Tree,
    ) -> tuple[Path, list[_Turn]]:
        one = self.functions
        start = one.start(self.closed, self.params)
        state = start if self.state is None else self.state
        states: dict[int, Any] = dict.fromkeys(range(len(mask)))
        outputs, turns = dict(states), []
        nothing = jax.tree.map(np.zeros_like, one.output(self.closed, state))
        for turn, t in enumerate(order):
            if handed is not None and _begins(turn, window):
                state = refill(state, [leaf[order[turn - 1]] for leaf in floats(handed)])
            x = jax.tree.map(lambda leaf: leaf[t], self.inputs)  # noqa: B023
            before = self._choose(start, state) if cut[t] else state
            state = before
            if mask[t] or not all(self.batched):
                after = one.step(self.closed, self.params, before, x)
                state = after if mask[t] else self._choose(before, after)
            turns.append(_Turn(t, bool(mask[t]), bool(cut[t]), before, x, state))
            states[t] = state
            outputs[t] = one.output(self.closed, state) if mask[t] else nothing
        return (
            Path(
                jax.tree.map(plain, state),
                _over_time(list(states.values()), state),
                _over_time(list(outputs.values()), nothing),
            ),
            turns,
        )

    def _choose(self, theirs: Tree, common: Tree) -> Tree:
        """`theirs`, but for the leaves that belong to no member of the batch."""
        leaves, structure = jax.tree.flatten(theirs)
        chosen = [
            a if own else b
            for a, b, own in zip(leaves, jax.tree.leaves(common), self.batched, strict=True)
        ]
        return jax.tree.unflatten(structure, chosen)

    def backward(
        self,
        turns: list[_Turn],
        final: Leaves,
        states: Leaves,
        outputs: Leaves,
        window: int | None,
    ) -> tuple[Leaves, Leaves, Leaves, Leaves]:
        """The gradient to closed and params, inputs, state, and every state."""
        one = self.functions
        theta = [np.zeros_like(x) for x in floats((self.closed, self.params))]
        dL_dx = [np.zeros_like(x) for x in floats(self.inputs)]
        adjoints = [np.zeros_like(x) for x in states]
        g = [np.array(x) for x in final]
        g_start = [np.zeros_like(x) for x in final]
        for number, turn in reversed(list(enumerate(turns))):
            g = _sum(g, [w[turn.t] for w in states])
            if turn.valid:
                shown = [w[turn.t] for w in outputs]
                by_output = one.output_pullback((self.closed, turn.after), shown)
                theta[0] = theta[0] + by_output[0]
                g = _sum(g, by_output[1:])
            for total, value in zip(adjoints, g, strict=True):
                total[turn.t] = value
            if turn.valid:
                examples = (self.closed, self.params, turn.before, turn.x)
                by_step = split(one.step_pullback(examples, g), examples)
                theta = _sum(theta, by_step[0] + by_step[1])
                g = by_step[2]
                for total, value in zip(dL_dx, by_step[3], strict=True):
                    total[turn.t] = value
            if turn.reset:
                g_start, g = _sum(g_start, g), [np.zeros_like(x) for x in g]
            if _begins(number, window):
                g = [np.zeros_like(x) for x in g]
        if self.state is None:
            g_start = _sum(g_start, g)
        theta = _sum(theta, one.start_pullback((self.closed, self.params), g_start))
        return theta, dL_dx, [] if self.state is None else g, adjoints


def _begins(turn: int, window: int | None) -> bool:
    """Whether a window begins with the turn, of those that are handed a state."""
    return window is not None and turn > 0 and turn % window == 0


def _sum(first: Leaves, second: Leaves) -> Leaves:
    return [np.asarray(a) + np.asarray(b) for a, b in zip(first, second, strict=True)]


def _over_time(trees: list[Tree], example: Tree) -> Tree:
    if not trees:
        return jax.tree.map(lambda leaf: np.zeros_like(plain(leaf))[None][:0], example)
    return jax.tree.map(lambda *leaves: np.stack([plain(leaf) for leaf in leaves]), *trees)


class _Functions(NamedTuple):
    """What a single step of a single sequence is made of, compiled."""

    step: Callable[..., Tree]
    step_pullback: Callable[..., Leaves]
    output: Callable[..., Tree]
    output_pullback: Callable[..., Leaves]
    start: Callable[..., Tree]
    start_pullback: Callable[..., Leaves]


@lru_cache
def _one(name: str) -> _Functions:
    make = CELLS[name].make

    def one_step(closed: Any, params: Tree, state: Tree, x: Tree) -> Tree:
        return step(make(closed), params, state, x)

    def output(closed: Any, state: Tree) -> Tree:
        return make(closed).output(state)

    def start(closed: Any, params: Tree) -> Tree:
        return make(closed).start(params, ())

    def pullback(function: Callable[..., Tree]) -> Callable[..., Leaves]:
        return jax.jit(lambda args, weights: value_and_pullback(function, args, weights)[1])

    return _Functions(
        jax.jit(one_step), pullback(one_step),
        jax.jit(output), pullback(output),
        jax.jit(start), pullback(start),
    )  # fmt: skip
