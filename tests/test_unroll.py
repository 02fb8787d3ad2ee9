"""Masks, resets, reverse, streaming and probes, over the table and at random."""

import itertools
import re
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from hypothesis import strategies as st
from laws import CELLS, FOLDS, PAIRS, Arguments, Leaves, Path

import rnnjax
from rnnjax import cells, folds, from_step, lengths_to_mask
from rnnjax._cell import Cell
from rnnjax._unroll import trajectory

T, BATCH = 7, (3,)

# One sequence whole, one with holes and padding, one of length zero.
MASK = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]) > 0
# On valid steps and on masked ones, on the first and on the last, and two in a row.
RESETS = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0]]) > 0

MADE = {name: row.make(jnp.asarray(laws.CLOSED)) for name, row in CELLS.items()}


def mask_for(cell: str) -> np.ndarray:
    """`MASK`, with one valid step for a cell that needs something to fill the rest with."""
    return MASK if CELLS[cell].takes_zeros else MASK | (np.arange(T) == 4)[:, None]


def unrolled(cell: str, fold: folds.Fold, options: dict[str, Any], *args: Any) -> Path:
    """The path of arguments and, last of them, probes."""
    closed, params, inputs, state, probes = args
    made = CELLS[cell].make(closed)
    path = trajectory(made, params, inputs, state, probes=probes, fold=fold, **options)
    return Path(path.final, path.states, path.outputs)


def poisoned(inputs: Any, mask: np.ndarray | None) -> Any:
    """NaN in the padding, or an integer that is out of range."""

    def poison(leaf: np.ndarray) -> np.ndarray:
        worst = {"f": np.nan, "b": True, "i": 2**30}[leaf.dtype.kind]
        own = mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
        return np.where(own, leaf, np.asarray(worst, leaf.dtype))

    return inputs if mask is None else jax.tree.map(poison, inputs)


def zero_probes(path: Path) -> Any:
    """Zeros like the states; None for what carries no gradient."""
    return jax.tree.map(
        lambda leaf: np.zeros_like(leaf) if leaf.dtype.kind in "fc" else None, path.states
    )


def assert_unrolls_like_the_loop(
    cell: str,
    fold: folds.Fold,
    args: Arguments,
    options: dict[str, Any],
    window: int | None = None,
) -> Leaves:
    """Path, gradient and adjoints, with poison in the padding; returns the inputs' gradient."""
    weights = laws.weights_like(laws.loop(cell, args, **options))
    path, gradient = laws.loop_gradient(cell, args, weights, window=window, **options)
    given = args._replace(inputs=poisoned(args.inputs, options["mask"]))
    run = jax.jit(partial(laws.value_and_pullback, partial(unrolled, cell, fold, options)))
    got, got_gradient = run((*given, zero_probes(path)), weights)
    laws.assert_close(got, path)
    laws.assert_close(got_gradient, gradient.args + gradient.adjoints)
    begin = len(laws.floats(args[:2]))
    return got_gradient[begin : begin + len(laws.floats(args.inputs))]


# Against the loop -------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("cell", "fold"), laws.dear(PAIRS))
def test_masks_resets_and_probes(cell: str, fold: str, reverse: bool) -> None:
    """What stands in the padding changes nothing, and takes no gradient at all.

    The loop runs each sequence over its own valid steps, in either direction.
    """
    args = laws.draw(cell, T, BATCH)
    if reverse:
        args = args._replace(state=None)
    mask = mask_for(cell)
    options = {"mask": mask, "resets": RESETS, "reverse": reverse}
    row = FOLDS[fold]
    for dL_dx in assert_unrolls_like_the_loop(cell, row.fold, args, options, row.window):
        assert not np.asarray(dL_dx)[~mask].any()
        assert np.asarray(dL_dx)[mask].any()


@st.composite
def runs(draw: Any) -> tuple[str, folds.Fold, Arguments, dict[str, Any]]:
    """A cell of the table, a fold, its arguments, and a mask, resets and a direction."""
    cell = draw(st.sampled_from(list(CELLS)))
    length = draw(st.integers(0, 9))
    batch = draw(st.sampled_from([(), (1,), (2,), (3, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    mask = rng.random((length, *batch)) < draw(st.sampled_from([0.3, 0.8]))
    resets = rng.random((length, *batch)) < draw(st.sampled_from([0.1, 0.5]))
    if not CELLS[cell].takes_zeros:
        mask[:1] = True
    options = {
        "mask": draw(st.sampled_from([mask, None])),
        "resets": draw(st.sampled_from([resets, None])),
        "reverse": draw(st.booleans()),
    }
    args = laws.draw(cell, length, batch, seed=draw(st.integers(0, 99)))
    if draw(st.booleans()):
        args = args._replace(state=None)
    fold = draw(st.sampled_from([folds.scan(), *(folds.blocked(size=n) for n in (1, 2, 3, 4))]))
    return cell, fold, args, options


@hypothesis.given(runs())
def test_any_run(run: tuple[str, folds.Fold, Arguments, dict[str, Any]]) -> None:
    """Any length, batch, mask, resets, block size, direction and start."""
    assert_unrolls_like_the_loop(*run)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["learned-start", "lstm"])
def test_gradient_of_the_loop_agrees_with_finite_differences(cell: str, reverse: bool) -> None:
    """With masks and resets, and a start that both the parameters and resets reach."""
    args = laws.draw(cell, T, BATCH)._replace(state=None)
    run = partial(laws.loop, cell, mask=MASK, resets=RESETS, reverse=reverse)
    weights = laws.weights_like(run(args))
    _, gradient = laws.loop_gradient(cell, args, weights, mask=MASK, resets=RESETS, reverse=reverse)
    direction = laws.weights_like(args, seed=3)
    up, down = (
        laws.pairing(weights, laws.floats(run(laws.shifted(args, direction, step))))
        for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(
        laws.pairing(direction, gradient.args), (up - down) / 2e-5, rtol=1e-7
    )


# Splitting --------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "fold"), laws.cheap(PAIRS))
def test_streaming(cell: str, fold: str) -> None:
    """Pieces of several lengths, none included, each beginning where the last one ended."""
    # No sequence is shorter than a window.
    cuts = (0, 3, 3, 4, T) if FOLDS[fold].window is None else (0, 3, T)
    args, mask = laws.draw(cell, T, BATCH), mask_for(cell)
    whole = laws.loop(cell, args, mask=mask, resets=RESETS)

    @jax.jit
    def stream(closed: Any, params: Any, inputs: Any, state: Any) -> Any:
        made, outputs = CELLS[cell].make(closed), []
        for begin, end in itertools.pairwise(cuts):
            state, shown = rnnjax.unroll(
                made,
                params,
                jax.tree.map(lambda x: x[begin:end], inputs),  # noqa: B023
                state,
                mask=mask[begin:end],
                resets=RESETS[begin:end],
                fold=FOLDS[fold].fold,
            )
            outputs.append(shown)
        return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

    laws.assert_close(stream(*args), (whole.final, whole.outputs))


def test_a_padded_sequence_is_the_sequence() -> None:
    """In either direction, and through the default fold."""
    made, args = MADE["lstm"], laws.draw("lstm", T, ())
    lengths, padding = (T, 4, 0), np.full((T, laws.D), np.nan)

    @partial(jax.jit, static_argnames="reverse")
    def both(params: Any, reverse: bool) -> Any:
        x = jnp.stack([jnp.where(np.arange(T)[:, None] < n, args.inputs, padding) for n in lengths])
        mask = lengths_to_mask(jnp.array(lengths), T)
        padded = rnnjax.unroll(made, params, x.swapaxes(0, 1), mask=mask, reverse=reverse)
        alone = [rnnjax.unroll(made, params, args.inputs[:n], reverse=reverse) for n in lengths]
        return padded, alone

    for reverse in (False, True):
        (final, outputs), alone = both(args.params, reverse)
        for b, (n, (final_alone, outputs_alone)) in enumerate(zip(lengths, alone, strict=True)):
            laws.assert_close(jax.tree.map(lambda s: s[b], final), final_alone)  # noqa: B023
            laws.assert_close(outputs[:n, b], outputs_alone)
            assert not outputs[n:, b].any()
    laws.assert_close(jax.tree.map(lambda s: s[2], final), made.start(args.params, ()))


@pytest.mark.xfail(strict=True, reason="there is nothing but zeros to fill such a sequence with")
def test_length_zero_where_zeros_poison_the_gradient() -> None:
    """A step such as x / |x| over a batch with a sequence without any valid step."""
    args = laws.draw("normalising", T, BATCH)

    def loss(params: Any) -> jax.Array:
        inputs = poisoned(args.inputs, MASK)
        return jnp.sum(rnnjax.unroll(MADE["normalising"], params, inputs, mask=MASK)[1])

    gradient = jax.jit(jax.grad(loss))(args.params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# What belongs to no member of the batch ---------------------------------------------


def ticking(clock: tuple[int, ...]) -> Cell:
    """A sum of the inputs beside a counter `clock` without batch axes."""
    return from_step(
        lambda params, state, x: (state[0] + x, state[1] + 1),
        init=lambda key: (),
        start=lambda params, batch: (jnp.zeros((*batch, 1)), jnp.zeros(clock, jnp.uint32)),
        output=lambda state: state[0],
    )


@pytest.mark.parametrize("batch", [(), (2,), (3,)])
@pytest.mark.parametrize("clock", [(), (2,)])
def test_leaves_without_batch_axes_are_carried(
    clock: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    """Not masked and not reset, whether or not their shape could be taken for a batch."""
    half = np.broadcast_to((np.arange(6) % 2 == 0).reshape(6, *(1 for _ in batch)), (6, *batch))

    @jax.jit
    def run(inputs: jax.Array) -> Any:
        (total, ticks), _ = rnnjax.unroll(ticking(clock), (), inputs, mask=half)
        (_, kept), _ = rnnjax.unroll(ticking(clock), (), inputs, resets=half)
        return total, ticks, kept

    total, ticks, kept = run(jnp.ones((6, *batch, 1)))
    np.testing.assert_array_equal(total, np.full((*batch, 1), 3.0))
    np.testing.assert_array_equal(ticks, np.full(clock, 6))
    np.testing.assert_array_equal(kept, np.full(clock, 6))


def test_a_start_of_python_numbers() -> None:
    """Counts like any other leaf, under mask and resets."""
    cell = from_step(
        lambda params, state, x: (state[0] + x, state[1] + 1),
        init=lambda key: (),
        start=lambda params, batch: (jnp.zeros(batch), 0),
        output=lambda state: state[0],
    )
    flags = np.array([[True, False], [True, True]])
    final, _ = rnnjax.unroll(cell, (), jnp.ones((2, 2, 1))[..., 0], mask=flags, resets=flags)
    np.testing.assert_array_equal(final[0], [1, 1])
    assert final[1] == 2


# Batch axes, NaN, lengths -----------------------------------------------------------


def test_where_the_batch_axes_come_from() -> None:
    """Mask or resets, else the state, else all axes of the inputs but the first and last."""
    cell = from_step(
        lambda params, h, x: jnp.tanh(h + params[x]),
        init=lambda key: jax.random.normal(key, (9, 4), jnp.float64),
        start=lambda params, batch: jnp.zeros((*batch, 4)),
    )
    params, tokens = cell.init(jax.random.key(0)), jnp.arange(10).reshape(5, 2) % 9
    every = np.ones((5, 2), bool)
    wanted = rnnjax.unroll(cell, params, tokens, jnp.zeros((2, 4)))
    assert wanted[1].shape == (5, 2, 4)
    laws.assert_close(rnnjax.unroll(cell, params, tokens, mask=every), wanted)
    laws.assert_close(rnnjax.unroll(cell, params, tokens, resets=~every), wanted)
    elman, weights, inputs, _ = MADE["elman"], *laws.draw("elman", 2, (3, 2))[1:]
    assert rnnjax.unroll(elman, weights, inputs)[1].shape == (2, 3, 2, laws.H)


def test_states_and_unroll_show_one_run() -> None:
    """`states` are those whose outputs `unroll` returns; a masked step shows what it kept."""
    args, mask = laws.draw("lstm", T, BATCH), mask_for("lstm")
    options = {"mask": mask, "resets": RESETS, "reverse": True}
    path = laws.loop("lstm", args, **options)
    run = args[1:]

    @jax.jit
    def both(params: Any, inputs: Any, state: Any) -> Any:
        return (
            rnnjax.unroll(MADE["lstm"], params, inputs, state, **options),
            rnnjax.states(MADE["lstm"], params, inputs, state, **options),
        )

    laws.assert_close(both(*run), ((path.final, path.outputs), path.states))


@pytest.mark.parametrize("fold", laws.folds_of("lstm"))
def test_nan_on_a_valid_step_stays(fold: str) -> None:
    """In the states up to a reset, and in the gradient even of what comes after it.

    By iteration nothing is known of what comes after.
    """
    args = laws.draw("lstm", T, (2,))
    inputs = args.inputs.copy()
    inputs[2, 0] = np.nan
    resets = np.zeros((T, 2), bool)
    resets[4] = True

    def loss(params: Any) -> Any:
        _, outputs = rnnjax.unroll(
            MADE["lstm"], params, inputs, resets=resets, fold=FOLDS[fold].fold
        )
        return jnp.sum(outputs[4:]), outputs

    (_, outputs), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(args.params)
    assert np.isnan(outputs[2:4, 0]).all()
    assert np.isfinite(outputs[:2]).all() and np.isfinite(outputs[:, 1]).all()
    after = np.isfinite(outputs[4:, 0])
    assert not after.any() if FOLDS[fold].iterates else after.all()
    assert np.isnan(gradient.W_hh).any() and np.isnan(gradient.W_xh).any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_lengths_of_any_integer_dtype(dtype: Any) -> None:
    """Small integers hold the lengths, not the times they are compared with."""
    mask = np.asarray(lengths_to_mask(np.array([[0, 3], [100, 127]], dtype), 300))
    assert mask.shape == (300, 2, 2) and mask.dtype == bool
    np.testing.assert_array_equal(mask.sum(0), [[0, 3], [100, 127]])
    assert (mask[1:] <= mask[:-1]).all(), "valid steps come first"


def test_lengths_under_jit() -> None:
    """Their values are not known there, and nothing is asked of them."""
    mask = jax.jit(lambda lengths: lengths_to_mask(lengths, 3))(jnp.array([0, 2, 5]))
    np.testing.assert_array_equal(mask.sum(0), [0, 2, 3])


@pytest.mark.parametrize(
    ("dtype", "lengths"),
    [
        (np.int8, [-128, 2, 127]),
        (np.uint8, [0, 2, 255]),
        (np.uint32, [0, 2, 2**32 - 1]),
        (np.int64, [-(2**40), 2, 2**40]),
        (np.uint64, [0, 2, 2**63]),
    ],
)
def test_lengths_under_jit_saturate(dtype: Any, lengths: list[int]) -> None:
    """At zero and at T, whatever their dtype can hold."""
    mask = jax.jit(lambda each: lengths_to_mask(each, 3))(np.array(lengths, dtype))
    np.testing.assert_array_equal(mask.sum(0), [0, 2, 3])


def test_known_lengths_are_not_cut_down_to_32_bits() -> None:
    """Before they are looked at: 2**40 would be 0."""
    with jax.enable_x64(False):
        for wrong in (np.array([2**40]), [2**40, 1], np.array([2**32 + 1], np.uint64)):
            with pytest.raises(ValueError, match="lengths: expected values from 0 to T = 5, got"):
                lengths_to_mask(wrong, 5)
    with pytest.raises(TypeError, match=r"lengths: expected integers \[B\], got object\[1\]"):
        lengths_to_mask([2**70], 5)


def test_lengths_of_which_some_are_known() -> None:
    """A list may hold both."""
    mask = jax.jit(lambda one: lengths_to_mask([one, 2], 3))(5)
    np.testing.assert_array_equal(mask.sum(0), [3, 2])


def test_known_lengths_inside_jit() -> None:
    """They are checked there too, and make no tracer of themselves."""
    good, bad = jnp.array([0, 2, 3]), jnp.array([0, 4])
    mask = jax.jit(lambda: lengths_to_mask(good, 3))()
    np.testing.assert_array_equal(mask.sum(0), [0, 2, 3])
    with pytest.raises(ValueError, match="lengths: expected values from 0 to T = 3, got 0 to 4"):
        jax.jit(lambda: lengths_to_mask(bad, 3))()


# Bad input --------------------------------------------------------------------------

ELMAN, LSTM = MADE["elman"], MADE["lstm"]
ELMAN_PARAMS = laws.draw("elman", 0, ()).params
LSTM_PARAMS = laws.draw("lstm", 0, ()).params
X, EVERY = np.zeros((6, 3, 5)), np.ones((6, 3), bool)


def bare(step: Any) -> Cell:
    return from_step(step, init=lambda key: (), start=lambda params, batch: jnp.zeros((*batch, 4)))


def kernelled(update: Any) -> Cell:
    return ELMAN._replace(update=lambda params, state, drive, mixed: update(drive + mixed))


BAD = {
    "mask-dtype": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": EVERY.astype(np.int32)},
        TypeError,
        "mask: expected booleans [T, B], got int32[6,3]; write `mask != 0`",
    ),
    "resets-dtype": (
        (ELMAN, ELMAN_PARAMS, X),
        {"resets": EVERY.astype(np.float64)},
        TypeError,
        "resets: expected booleans [T, B], got float64[6,3]; write `resets != 0`",
    ),
    "mask-batch-first": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": EVERY.T},
        ValueError,
        "mask: expected [T, B], the leading axes of inputs (6, 3, 5), got (3, 6); put time first",
    ),
    "mask-rank": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": np.ones((6, 3, 5, 1), bool)},
        ValueError,
        "mask: expected [T, B], the leading axes of inputs (6, 3, 5), got (6, 3, 5, 1)",
    ),
    "mask-scalar": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": np.array(True)},
        ValueError,
        "mask: expected [T, B], the leading axes of inputs (6, 3, 5), got ()",
    ),
    "resets-shape": (
        (ELMAN, ELMAN_PARAMS, X),
        {"resets": EVERY[:5]},
        ValueError,
        "resets: expected [T, B], the leading axes of inputs (6, 3, 5), got (5, 3)",
    ),
    "resets-not-mask": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": EVERY, "resets": EVERY[:, 0]},
        ValueError,
        "resets: expected the shape of the mask, (6, 3), got (6,)",
    ),
    "inputs-features": (
        (ELMAN, ELMAN_PARAMS, X[..., :4]),
        {},
        ValueError,
        "inputs: expected [T, B, 5] to match input_size=5, got steps x_t of shape (3, 4); put",
    ),
    "inputs-rank": (
        (ELMAN, ELMAN_PARAMS, X[:, 0, 0]),
        {},
        ValueError,
        "inputs: expected axes of time and batch before the features, of which the cell has "
        "feature_axes=1, got (6,); give a single sequence, or a single step, an axis of its own",
    ),
    "inputs-integers": (
        (ELMAN, ELMAN_PARAMS, X.astype(np.int32)),
        {},
        TypeError,
        "inputs: expected a floating dtype, got int32; cast them with `inputs.astype(...)`",
    ),
    "inputs-complex": (
        (ELMAN, ELMAN_PARAMS, X.astype(complex)),
        {},
        TypeError,
        "inputs: expected a floating dtype, got complex128",
    ),
    "inputs-none": (
        (ELMAN, ELMAN_PARAMS, None),
        {},
        ValueError,
        "inputs: expected at least one array [T, B, ...], got none; give",
    ),
    "inputs-lengths": (
        (ELMAN, ELMAN_PARAMS, (X, X[:5])),
        {},
        ValueError,
        "inputs: expected every leaf to begin with the same T, got shapes [(5, 3, 5), (6, 3, 5)]",
    ),
    "state-batch": (
        (ELMAN, ELMAN_PARAMS, X, np.zeros((2, 4))),
        {},
        ValueError,
        "inputs: expected [T, 2, ...] with the batch axes (2,) of the state and feature_axes=1 of "
        "the cell, got (6, 3, 5); give both",
    ),
    "state-batch-axes": (
        (ELMAN, ELMAN_PARAMS, X, np.zeros(4)),
        {},
        ValueError,
        "inputs: expected [T, ...] with the batch axes () of the state and feature_axes=1 of the "
        "cell, got (6, 3, 5); give both",
    ),
    "mask-batch-axes": (
        (ELMAN, ELMAN_PARAMS, X),
        {"mask": EVERY[:, 0]},
        ValueError,
        "inputs: expected [T, ...] with the batch axes () of the mask and feature_axes=1 of the "
        "cell, got (6, 3, 5); give both",
    ),
    "state-and-mask": (
        (ELMAN, ELMAN_PARAMS, X, np.zeros((2, 4))),
        {"mask": EVERY},
        TypeError,
        "state: expected float64[3,4] for batch axes (3,), got float64[2,4]; begin with",
    ),
    "state-features": (
        (ELMAN, ELMAN_PARAMS, X, np.zeros((3, 6))),
        {},
        TypeError,
        "state: expected float64[3,4] for batch axes (3,), got float64[3,6]; begin with",
    ),
    "state-dtype": (
        (ELMAN, ELMAN_PARAMS, X, np.zeros((3, 4), np.float32)),
        {},
        TypeError,
        "state: expected float64[3,4] for batch axes (3,), got float32[3,4]; begin with",
    ),
    "state-structure": (
        (LSTM, LSTM_PARAMS, X, (np.zeros((3, 4)), np.zeros((3, 4)))),
        {},
        TypeError,
        "state: expected LSTMState(c=float64[3,4], h=float64[3,4]) for batch axes (3,), got "
        "(float64[3,4], float64[3,4]); write `LSTMState(*state)` if it is c, h, or make one of",
    ),
    "state-of-torch": (
        (LSTM, LSTM_PARAMS, X, (np.zeros((1, 3, 4)), np.zeros((1, 3, 4)))),
        {},
        TypeError,
        "or make one of torch's by `rnnjax.interop.torch.from_torch_state`",
    ),
    "state-uneven": (
        (LSTM, LSTM_PARAMS, X, cells.LSTMState(np.zeros((3, 4)), np.zeros((2, 4)))),
        {},
        TypeError,
        "got LSTMState(c=float64[3,4], h=float64[2,4])",
    ),
    "step-shape": (
        (bare(lambda params, h, x: h[..., :1]), (), X),
        {},
        TypeError,
        "state: expected a step to keep float64[3,4], got float64[3,1] after one step; make",
    ),
    "step-dtype": (
        (bare(lambda params, h, x: h.astype(jnp.float32)), (), X),
        {},
        TypeError,
        "state: expected a step to keep float64[3,4], got float32[3,4] after one step; make",
    ),
    "step-structure": (
        (bare(lambda params, h, x: {"h": h}), (), X),
        {},
        TypeError,
        "state: expected a step to keep float64[3,4], got {'h': float64[3,4]} after one step; make",
    ),
    "update-dtype": (
        (kernelled(lambda a: a.astype(jnp.float32)), ELMAN_PARAMS, X),
        {},
        TypeError,
        "state: expected a step to keep float64[3,4], got float32[3,4] after one step; make",
    ),
    "update-structure": (
        (kernelled(lambda a: (a,)), ELMAN_PARAMS, X),
        {},
        TypeError,
        "state: expected a step to keep float64[3,4], got (float64[3,4],) after one step; make",
    ),
    "probes-structure": (
        (LSTM, LSTM_PARAMS, X),
        {"probes": np.zeros((6, 3, 4))},
        TypeError,
        "probes: expected LSTMState(c=float64[6,3,4], h=float64[6,3,4]), got float64[6,3,4]; take",
    ),
    "probes-length": (
        (ELMAN, ELMAN_PARAMS, X),
        {"probes": np.zeros((5, 3, 4))},
        TypeError,
        "probes: expected float64[6,3,4], got float64[5,3,4]; take zeros like `rnnjax.states(...)`",
    ),
    "probes-integer": (
        (ticking(()), (), X[..., :1]),
        {"probes": (np.zeros((6, 3, 1)), np.zeros(6, np.int32))},
        TypeError,
        "probes: expected (float64[6,3,1], None), got (float64[6,3,1], int32[6]); take zeros",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    """What was expected, what came, and what to do about it."""
    args, options, error, told = BAD[name]
    with pytest.raises(error, match=re.escape(told)):
        rnnjax.unroll(*args, **options)


def test_a_step_that_fails_says_what_was_tried() -> None:
    """What only the step can know to be wrong comes with what it was given."""
    with pytest.raises(ValueError, match="expected") as caught:
        rnnjax.unroll(ELMAN, ELMAN_PARAMS, X[:, 0, :4])
    notes = "\n".join(caught.value.__notes__)
    assert "one step was tried with batch axes ()" in notes
    assert "state float64[4]" in notes and "float64[" in notes.split("x ")[-1]


@pytest.mark.parametrize(
    ("lengths", "error", "told"),
    [
        ([1.0, 2.0], TypeError, "lengths: expected integers [B], got float64[2]"),
        ([True], TypeError, "lengths: expected integers [B], got bool[1]"),
        ([2, -1], ValueError, "lengths: expected values from 0 to T = 3, got -1 to 2; pass"),
        ([4, 0], ValueError, "lengths: expected values from 0 to T = 3, got 0 to 4; pass"),
    ],
)
def test_bad_lengths(lengths: list[Any], error: type[Exception], told: str) -> None:
    """No clipping where the values are known."""
    with pytest.raises(error, match=re.escape(told)):
        lengths_to_mask(np.array(lengths), 3)


# Which axes are the batch -----------------------------------------------------------


def image_cell(feature_axes: Any = None) -> Cell:
    """x `[B, W, C]`, a state of the same axes."""
    return from_step(
        lambda params, state, x: jnp.tanh(state + x @ params),
        init=lambda key: jnp.ones((2, 3)),
        start=lambda params, batch: jnp.zeros((*batch, 5, 3)),
        feature_axes=feature_axes,
    )


def timed_cell(feature_axes: Any = None) -> Cell:
    """Inputs of two ranks, of which the first in the alphabet has none of its own."""
    return from_step(
        lambda params, state, x: state * jnp.exp(-x["dt"][..., None]) + x["x"],
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, 2)),
        feature_axes=feature_axes,
    )


TIMED = {"dt": np.full((4, 3), 0.5), "x": np.ones((4, 3, 2))}


def test_a_cell_says_where_the_batch_ends() -> None:
    """As many members as columns, which no shape tells apart."""
    x = np.random.default_rng(0).normal(size=(4, 5, 5, 2))
    given = rnnjax.states(image_cell(), np.ones((2, 3)), x, np.zeros((5, 5, 3)))
    said = rnnjax.states(image_cell(2), np.ones((2, 3)), x)
    laws.assert_close(said, given)
    layer = rnnjax.layers.stack(rnnjax.layers.recurrent(image_cell(2)))
    laws.assert_close(layer.apply((np.ones((2, 3)),), x)[1], given)
    report = rnnjax.gradient_report(image_cell(2), np.ones((2, 3)), x)
    assert report.rate.shape == (5,)


@pytest.mark.parametrize(
    "said",
    [
        {"dt": 0, "x": 1},
        pytest.param({"dt": 0, "x": None}, marks=pytest.mark.slow),
        pytest.param({"dt": None, "x": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_cell_says_it_of_each_leaf(said: Any) -> None:
    given = rnnjax.states(timed_cell(), (), TIMED, np.zeros((3, 2)))
    laws.assert_close(rnnjax.states(timed_cell(said), (), TIMED), given)
    options = {"mask": np.ones((4, 3), bool), "resets": np.zeros((4, 3), bool), "reverse": True}
    backward = rnnjax.states(timed_cell(), (), TIMED, **options)
    laws.assert_close(rnnjax.states(timed_cell(said), (), TIMED, **options), backward)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            None,
            "inputs: expected the same axes of time and batch in every leaf, got {\"inputs['dt'",
        ),
        (1, "inputs: expected the same axes of time and batch in every leaf, got {\"inputs['dt'"),
        ({"dt": 3, "x": 1}, "inputs['dt']: expected axes of time and batch before the features"),
        (
            {"dt": 0, "y": 1},
            "inputs: expected the structure that the cell's feature_axes={'dt': 0, ",
        ),
    ],
)
def test_leaves_that_disagree_about_the_batch_are_named(said: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        rnnjax.unroll(timed_cell(said), (), TIMED)


@pytest.mark.parametrize("shape", [(1, 5), (5,), (2, 5), (3, 1, 5)])
def test_a_step_broadcasts_no_batch(shape: tuple[int, ...]) -> None:
    """One x for three states is refused; so is an x of another rank."""
    told = re.escape(
        "x: expected [3, ...] with the batch axes (3,) of the state and feature_axes=1"
    )
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=told):
        rnnjax.step(ELMAN, ELMAN_PARAMS, jnp.zeros((3, 4)), jnp.ones(shape))


def test_a_cell_that_says_it_by_name_is_a_static_argument() -> None:
    """A dictionary has no hash, and a cell has one all the same; equal cells are equal."""
    cell = timed_cell({"dt": 0, "x": 1})
    assert hash(cell) == hash(cell._replace()) and cell == cell._replace()
    assert cell != cell._replace(feature_axes=None)
    layer = rnnjax.layers.recurrent(cell)
    assert hash(layer) == hash(layer._replace())
    final, _ = jax.jit(rnnjax.unroll, static_argnums=0)(cell, (), TIMED)
    assert final.shape == (3, 2)


def test_a_step_may_share_a_number_or_a_key() -> None:
    """One for all members of the batch, where the cell does not say otherwise."""
    cell = from_step(
        lambda params, h, x: h + x[0] * x[1],
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, 2)),
    )
    after = rnnjax.step(cell, (), jnp.zeros((3, 2)), (jnp.ones((3, 2)), jnp.asarray(0.5)))
    laws.assert_close(after, np.full((3, 2), 0.5))


def test_without_jit_a_step_sees_values() -> None:
    """To be printed, or stopped at: with `jax.disable_jit`, the plain fold is a plain loop."""
    seen = []

    def look(params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        seen.append(isinstance(h, jax.core.Tracer))
        return h + x

    cell = from_step(look, init=lambda key: (), start=lambda params, batch: jnp.zeros((*batch, 2)))
    with jax.disable_jit():
        rnnjax.unroll(cell, (), jnp.ones((4, 2)), fold=folds.scan())
    assert seen.count(False) == 4
