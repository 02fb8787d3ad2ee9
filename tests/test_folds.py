"""The laws of folds, over the whole table cell × fold."""

import inspect
import re
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from laws import BATCH, CELLS, FOLDS, PAIRS, Arguments, Gradient, Leaves, Path

from rnnjax import cells, folds, from_step
from rnnjax._cell import Cell
from rnnjax.folds._linearised import Linearised, linearise
from rnnjax.folds._sequence import types_of_step
from rnnjax.folds._stored import step_bytes

CELL_LENGTH_FOLD = [
    pytest.param(cell, length, fold, marks=[pytest.mark.slow] if row.slow else [])
    for cell in CELLS
    for length in BATCH
    for fold, row in FOLDS.items()
    if length in row.lengths and laws.carries(fold, cell)
]


def refuses(cell: str, fold: str) -> bool:
    """Whether forward mode is not defined."""
    return laws.has_kernel(cell) and not FOLDS[fold].forward


def folded(cell: str, fold: str, *args: Any) -> Path:
    """A fold, with the cell's outputs beside its states."""
    closed, params, inputs, state = args
    made = CELLS[cell].make(closed)
    final, states = FOLDS[fold].fold(made, params, inputs, state)
    return Path(final, states, jax.vmap(made.output)(states))


def path_of(cell: str, fold: str, args: Arguments, leaves: Leaves) -> Leaves:
    """The floating leaves of the path, as a function of those of the arguments."""
    return laws.floats(folded(cell, fold, *laws.refill(args, leaves)))


def gradient_of(cell: str, fold: str, weights: Leaves, *args: Any) -> Leaves:
    """The gradient of the pairing of the path with `weights`, to `floats(args)`."""
    return laws.value_and_pullback(partial(folded, cell, fold), args, weights)[1]


@lru_cache(maxsize=16)
def expected(
    cell: str, length: int, seed: int = 0, window: int | None = None
) -> tuple[Arguments, Leaves, Path, Gradient]:
    """Arguments, weights of the loss, and what the loop makes of them."""
    args = laws.draw(cell, length, BATCH[length], seed)
    weights = laws.weights_like(laws.loop(cell, args))
    return args, weights, *laws.loop_gradient(cell, args, weights, window=window)


@lru_cache(maxsize=4)
def bent(cell: str, length: int, window: int | None) -> tuple[Leaves, Leaves]:
    """A direction, and the change of the loop's gradient along it, by central differences."""
    args, weights, path, _ = expected(cell, length)
    direction = laws.weights_like(args, seed=5)
    up, down = (
        laws.loop_gradient(
            cell, laws.shifted(args, direction, step), weights, window=window, handed=path.states
        )[1].args
        for step in (1e-5, -1e-5)
    )
    return direction, [(u - d) / 2e-5 for u, d in zip(up, down, strict=True)]


# The table --------------------------------------------------------------------------


def test_every_fold_of_the_library_is_in_the_table() -> None:
    makers = {
        name
        for name in folds.__all__
        if inspect.isfunction(getattr(folds, name))
        and inspect.signature(getattr(folds, name)).return_annotation == folds.Fold
    }
    makers.remove("default")  # It chooses one of the others.
    assert makers == {fold.split("(")[0] for fold, row in FOLDS.items() if not row.like}


def test_rows_leave_nothing_out_without_a_word() -> None:
    """Another number names the row that meets the laws; a cell not taken has its reason."""
    for table in (CELLS, FOLDS):
        for row in table.values():
            assert not row.like or not table[row.like].like
    for fold, row in FOLDS.items():
        assert set(row.lengths) & BATCH.keys()
        assert all(cell in CELLS and reason for cell, reason in row.excused.items())
        assert all((cell, fold) in PAIRS for cell in row.daily)


# Values and gradients ---------------------------------------------------------------


@pytest.mark.parametrize(("cell", "length", "fold"), CELL_LENGTH_FOLD)
def test_states_and_gradient_are_those_of_the_loop(cell: str, length: int, fold: str) -> None:
    """The loop runs each member of the batch alone: a batch is the stack of its members."""
    args, weights, path, gradient = expected(cell, length, window=FOLDS[fold].window)
    got = jax.jit(partial(laws.value_and_pullback, partial(folded, cell, fold)))(args, weights)
    laws.assert_close(got, (path, gradient.args))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_the_loop_agrees_with_finite_differences(cell: str, window: int | None) -> None:
    """Leaf by leaf, along a random direction; every fold is held against the loop."""
    args, weights, path, gradient = expected(cell, 7, window=window)
    directions = laws.weights_like(args, seed=3)

    def run(args: Arguments) -> Path:
        return laws.loop(cell, args, window=window, handed=path.states)

    for number, (g, direction) in enumerate(zip(gradient.args, directions, strict=True)):
        alone = [direction if n == number else np.zeros_like(d) for n, d in enumerate(directions)]
        up, down = (
            laws.pairing(weights, laws.floats(run(laws.shifted(args, alone, step))))
            for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(
            laws.pairing([direction], [g]), (up - down) / 2e-5, rtol=1e-7, atol=1e-8
        )


@pytest.mark.parametrize(("cell", "fold"), laws.dear(PAIRS))
def test_reverse_and_forward_over_reverse(cell: str, fold: str) -> None:
    """Both give the change of the gradient along a direction."""
    args, weights, _, _ = expected(cell, 6)
    direction, wanted = bent(cell, 6, FOLDS[fold].window)
    gradient = partial(gradient_of, cell, fold, weights)

    @jax.jit
    def second(args: Arguments, direction: Leaves) -> tuple[Leaves, Leaves]:
        reverse = laws.value_and_pullback(gradient, args, direction)[1]
        forward = jax.jvp(
            lambda leaves: gradient(*laws.refill(args, leaves)),
            (laws.floats(args),),
            (direction,),
        )[1]
        return reverse, forward

    reverse, forward = second(args, direction)
    laws.assert_close(reverse, forward, 1e-11)
    laws.assert_close(forward, wanted, 1e-7)


@pytest.mark.parametrize(("cell", "fold"), laws.dear(PAIRS))
def test_vmap_of_grad_and_grad_of_vmap(cell: str, fold: str) -> None:
    """Over parameters, closed-over values, inputs and start state, all at once."""
    (first, weights, *_), (second, *_) = (expected(cell, 6, seed) for seed in (0, 1))
    # Keys and counters stay those of the first run.
    second = laws.refill(first, laws.floats(second))
    wanted = [
        laws.loop_gradient(cell, args, weights, window=FOLDS[fold].window)[1].args
        for args in (first, second)
    ]
    stacked = [np.stack(pair) for pair in zip(laws.floats(first), laws.floats(second), strict=True)]
    path = partial(path_of, cell, fold, first)

    @jax.jit
    def both(stacked: Leaves) -> tuple[Leaves, Leaves]:
        inner = jax.vmap(lambda leaves: jax.vjp(path, leaves)[1](weights)[0])(stacked)
        every = [jnp.stack([w, w]) for w in weights]
        outer = jax.vjp(jax.vmap(path), stacked)[1](every)[0]
        return inner, outer

    for got in both(stacked):
        laws.assert_close(got, [np.stack(pair) for pair in zip(*wanted, strict=True)])


@pytest.mark.parametrize(
    ("cell", "fold"), laws.cheap([pair for pair in PAIRS if not refuses(*pair)])
)
def test_forward_mode(cell: str, fold: str) -> None:
    """The tangent, weighted as the loss does, is the gradient along the direction."""
    args, weights, _, gradient = expected(cell, 6, window=FOLDS[fold].window)
    direction = laws.weights_like(args, seed=7)

    @jax.jit
    def tangent(x: Leaves, dx: Leaves) -> Leaves:
        return jax.jvp(partial(path_of, cell, fold, args), (x,), (dx,))[1]

    np.testing.assert_allclose(
        laws.pairing(weights, tangent(laws.floats(args), direction)),
        laws.pairing(direction, gradient.args),
        rtol=1e-10,
    )


@pytest.mark.parametrize(("cell", "fold"), laws.cheap([pair for pair in PAIRS if refuses(*pair)]))
def test_forward_mode_names_the_fold_that_has_it(cell: str, fold: str) -> None:
    """By jvp, and linearize, which may wait until its result is called."""
    args = expected(cell, 6)[0]
    x = laws.floats(args)
    path = partial(path_of, cell, fold, args)
    remedy = re.escape("fold=rnnjax.folds.scan()")
    with pytest.raises(TypeError, match=remedy):
        jax.jvp(path, (x,), (x,))
    with pytest.raises(TypeError, match=remedy):
        jax.jit(lambda x: jax.jvp(path, (x,), (x,)))(x)
    with pytest.raises(TypeError, match=remedy):
        jax.linearize(path, x)[1](x)


@pytest.mark.parametrize(("cell", "fold"), laws.cheap([pair for pair in PAIRS if refuses(*pair)]))
def test_jacfwd_names_the_fold_that_has_it(cell: str, fold: str) -> None:
    """By the first of the parameters: jacfwd takes no complex ones."""
    args = expected(cell, 6)[0]
    x = laws.floats(args)
    path = partial(path_of, cell, fold, args)
    with pytest.raises(TypeError, match=re.escape("fold=rnnjax.folds.scan()")):
        jax.jacfwd(lambda one: path([x[0], one, *x[2:]]))(x[1])


@pytest.mark.parametrize("fold", [fold for fold, row in FOLDS.items() if not row.forward])
def test_forward_mode_by_what_a_cell_closes_over(fold: str) -> None:
    """Nothing but a closed-over value moves: the remedy is named all the same."""
    x = laws.floats(expected("closure", 6)[0])
    path = partial(path_of, "closure", fold, expected("closure", 6)[0])
    with pytest.raises(TypeError, match=re.escape("fold=rnnjax.folds.scan()")):
        jax.jvp(lambda closed: path([closed, *x[1:]]), (x[0],), (x[0],))


@pytest.mark.parametrize("fold", [folds.checkpointed(segments=512), folds.truncated(window=1)])
def test_pieces_add_up_in_float32(fold: folds.Fold) -> None:
    """A sum of 512 gradients in bfloat16 would lose most of them."""
    cell = cells.elman(1, 2, dtype=jnp.bfloat16)
    params = jax.tree.map(lambda w: jnp.full_like(w, 0.125), cell.init(jax.random.key(0)))

    def gradient(params: Any) -> Any:
        inputs = jnp.ones((512, 1), params.W_hh.dtype)
        return jax.grad(lambda p: jnp.sum(fold(cell, p, inputs, cell.start(p, ()))[1]))(params)

    wide = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    for got, wanted in zip(*(jax.tree.leaves(gradient(p)) for p in (params, wide)), strict=True):
        np.testing.assert_allclose(got.astype(np.float32), wanted, rtol=0.01)


# Around a fold ----------------------------------------------------------------------


def small_loss(fold: folds.Fold, weight: Any, params: Any, inputs: Any) -> jax.Array:
    """A loss whose cell closes over `weight` in every place where it can."""
    closed = weight * jnp.asarray(laws.CLOSED)
    cell = CELLS["closure"].make(closed)
    final, states = fold(cell, params, inputs, cell.start(params, inputs.shape[1:-1]))
    return jnp.sum(jnp.sin(cell.output(states))) + jnp.sum(final)


@pytest.mark.parametrize("fold", laws.folds_of("closure"))
@pytest.mark.parametrize(
    "way", ["vmap", "loop", pytest.param("checkpoint", marks=pytest.mark.slow)]
)
def test_closed_over_values_leak_nothing(way: str, fold: str) -> None:
    """Mapped but not differentiated, in another loop's body, and recomputed."""
    _, params, inputs, _ = laws.draw("closure", 6, (3,))

    def by_vmap(loss: Any, weights: jax.Array) -> Any:
        return jax.vmap(jax.grad(loss, argnums=1), (0, None, None))(weights, params, inputs)

    def by_loop(loss: Any, weights: jax.Array) -> Any:
        def body(total: Any, weight: jax.Array) -> tuple[Any, Any]:
            return total + jax.grad(loss)(weight, params, inputs), None

        return jax.lax.scan(body, jnp.zeros(()), weights)[0]

    def by_checkpoint(loss: Any, weights: jax.Array) -> Any:
        def total(weights: jax.Array) -> jax.Array:
            return sum(jax.checkpoint(loss)(weight, params, inputs) for weight in weights)

        return jax.grad(total)(weights)

    ways = {"vmap": by_vmap, "loop": by_loop, "checkpoint": by_checkpoint}
    weights = np.array([0.5, 1.0])
    with jax.checking_leaks():
        got = jax.jit(partial(ways[way], partial(small_loss, FOLDS[fold].fold)))(weights)
    wanted = jax.jit(partial(ways[way], partial(small_loss, laws.reference(fold))))(weights)
    laws.assert_close(got, wanted)


@pytest.mark.parametrize("fold", laws.folds_of("closure"))
def test_closed_over_integers_and_keys(fold: str) -> None:
    """Traced values that carry no gradient may be closed over too, mapped or not."""
    _, params, inputs, _ = laws.draw("closure", 6, (3,))

    def loss(fold: folds.Fold, params: Any, number: jax.Array, key: jax.Array) -> jax.Array:
        def update(params: Any, h: jax.Array, drive: jax.Array, mixed: jax.Array) -> jax.Array:
            noise = jax.random.uniform(key, h.shape, jnp.float64)
            return jnp.where(number > 1, jnp.tanh(drive + mixed + noise), jnp.sin(drive + mixed))

        cell = (
            CELLS["elman"]
            .make(jnp.asarray(laws.CLOSED))
            ._replace(
                start=lambda params, batch: jnp.zeros((*batch, laws.H)),
                kernel=lambda params: params["W"],
                project=lambda params, inputs: inputs @ params["U"],
                update=update,
            )
        )
        _, states = fold(cell, params, inputs, jnp.zeros((3, laws.H)))
        return jnp.sum(states**2)

    numbers, keys = jnp.arange(3), jax.random.split(jax.random.key(0), 3)

    def mapped(fold: folds.Fold) -> Any:
        return jax.vmap(jax.grad(partial(loss, fold)), (None, 0, 0))

    got = jax.jit(mapped(FOLDS[fold].fold))(params, numbers, keys)
    wanted = jax.jit(mapped(laws.reference(fold)))(params, numbers, keys)
    laws.assert_close(got, wanted)


@pytest.mark.parametrize("fold", laws.folds_of("learned-start"))
def test_without_jit(fold: str) -> None:
    """Eagerly, and with every loop run by Python, the numbers are the same."""
    cell = "learned-start"
    args, weights, _, gradient = expected(cell, 6, window=FOLDS[fold].window)
    laws.assert_close(gradient_of(cell, fold, weights, *args), gradient.args)
    with jax.disable_jit():
        laws.assert_close(gradient_of(cell, fold, weights, *args), gradient.args)


@pytest.mark.parametrize(
    ("cell", "fold"),
    laws.cheap([pair for pair in PAIRS if pair[0] in ("elman", "closure", "counted", "bare")]),
)
def test_second_call_compiles_nothing(cell: str, fold: str, compilations: list[str]) -> None:
    """With the same shapes and other values."""
    gradient = jax.jit(partial(gradient_of, cell, fold))
    first, second = (expected(cell, 6, seed) for seed in (0, 1))
    jax.block_until_ready(gradient(first[1], *first[0]))
    assert compilations
    compilations.clear()
    jax.block_until_ready(gradient(second[1], *second[0]))
    assert not compilations


# Only the states are stored ---------------------------------------------------------

B, D, H = 32, 16, 64
LARGE = {
    "elman": cells.elman(D, H),
    "gru": cells.gru(D, H),
    "lstm": cells.lstm(D, H),
    "gru-before": cells.gru(D, H, reset_after=False),
}


@lru_cache
def training_step(cell: str, length: int, fold: str) -> Any:
    """The compiled gradient of the mean square of all outputs, float32."""
    made = LARGE[cell]
    params = jax.eval_shape(made.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((length, B, D), jnp.float32)

    def loss(params: Any, inputs: jax.Array) -> jax.Array:
        _, states = FOLDS[fold].fold(made, params, inputs, made.start(params, (B,)))
        return jnp.mean(made.output(states) ** 2)

    return jax.jit(jax.grad(loss)).lower(params, inputs).compile()


def temporary_bytes(*args: Any) -> int:
    return training_step(*args).memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("cell", "fraction"), [("elman", 0.4), ("gru", 0.15), ("lstm", 0.16), ("gru-before", 0.13)]
)
def test_only_the_states_are_stored(cell: str, fraction: float) -> None:
    """A step more costs the bytes of its state and of the loss's gradient to its output."""
    short, long = (temporary_bytes(cell, length, "blocked()") for length in (4096, 8192))
    assert long < fraction * temporary_bytes(cell, 8192, "scan()")
    made = LARGE[cell]
    state = made.start(made.init(jax.random.key(0)), (B,))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((state, made.output(state))))
    assert (long - short) / 4096 < 1.1 * held


def loops(hlo: str) -> Iterator[list[str]]:
    """The instructions of each loop's body, those of fusions and loops in it included."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if head := re.match(r"(?:ENTRY )?%([\w.\-]+) .*\{$", line):
            lines = computations.setdefault(head[1], [])
        elif " = " in line:
            lines.append(line.strip())

    def within(name: str) -> list[str]:
        called = re.findall(
            r"(?:calls|to_apply|body|condition)=%([\w.\-]+)", "\n".join(computations[name])
        )
        return computations[name] + [line for other in called for line in within(other)]

    for body in set(re.findall(r"body=%([\w.\-]+)", hlo)):
        yield within(body)


def loops_over_steps(hlo: str) -> list[list[str]]:
    """Those that hold no other loop."""
    return [loop for loop in loops(hlo) if not any(" while(" in line for line in loop)]


def weight_sized(loop: list[str], shape: tuple[int, int]) -> list[str]:
    """Instructions that compute, not only pass on, an array of the kernel's shape."""
    either = f"{shape[0]},{shape[1]}", f"{shape[1]},{shape[0]}"
    computing = rf"= f32\[(?:{'|'.join(either)})\]\S* (?:dot|transpose|add|fusion|custom-call)\("
    return [line for line in loop if re.search(computing, line)]


@pytest.mark.parametrize(("cell", "arrays"), [("elman", 0), ("gru", 4), ("lstm", 5)])
def test_few_arrays_are_stored(cell: str, arrays: int) -> None:
    """A step more costs, besides what it costs in blocks, the arrays that the docstring names."""
    short, long = (temporary_bytes(cell, length, "stored()") for length in (1024, 2048))
    made = LARGE[cell]
    state = made.start(made.init(jax.random.key(0)), (B,))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((state, made.output(state))))
    assert (long - short) / 1024 == pytest.approx(held + arrays * B * H * 4, rel=0.01)


def test_what_all_steps_share_is_not_stored_by_each() -> None:
    """`update` has the tanh of a weight `[H, H]`, and a tanh that is a state."""
    made = LARGE["elman"]

    def update(params: Any, h: jax.Array, drive: jax.Array, mixed: jax.Array) -> jax.Array:
        return jnp.tanh(drive + mixed + h @ jnp.tanh(params.W_hh))

    linearised = made._replace(update=update)
    params = linearised.init(jax.random.key(0))
    x, h = jnp.ones((3, B, D), jnp.float32), jnp.ones((B, H), jnp.float32)
    assert step_bytes(linearised, params, x, h) == 0
    assert step_bytes(LARGE["gru"], LARGE["gru"].init(jax.random.key(0)), x, h) == 4 * h.nbytes

    def loss(params: Any, fold: folds.Fold) -> jax.Array:
        return jnp.sum(jnp.sin(fold(linearised, params, x, h)[1]))

    got, expected = (jax.grad(loss)(params, fold) for fold in (folds.stored(), folds.scan()))
    laws.assert_close(got, expected, tolerance=1e-4)


@pytest.mark.parametrize(("cell", "gates"), [("elman", 1), ("gru", 3), ("lstm", 4)])
def test_steps_compute_nothing_of_the_kernels_size(cell: str, gates: int) -> None:
    """No outer product, no sum and no transpose of it, as JAX's own rule has at every step."""

    def found(fold: str) -> list[str]:
        inner = loops_over_steps(training_step(cell, 1024, fold).as_text())
        assert len(inner) == 2, "one loop forward, one back"
        lines = [line for loop in inner for line in loop]
        turned = [line for line in lines if "rhs_contracting_dims={1}" in line]
        return turned + weight_sized(lines, (H, gates * H))

    assert len(found("scan()")) > 1
    assert not found("blocked()")


def products(cell: str, by: Any) -> int:
    """How many products stand in the compiled gradient by parameters, inputs or both."""
    made = LARGE[cell]
    params = jax.eval_shape(made.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((512, B, D), jnp.float32)

    def loss(params: Any, inputs: jax.Array) -> jax.Array:
        _, states = folds.blocked(size=32)(made, params, inputs, made.start(params, (B,)))
        return jnp.mean(made.output(states) ** 2)

    compiled = jax.jit(jax.grad(loss, argnums=by)).lower(params, inputs).compile()
    return len(re.findall(r" dot\(", compiled.as_text()))


def test_no_gradient_is_computed_that_nobody_asks_for() -> None:
    """The inputs' takes one product more."""
    assert products("lstm", (0, 1)) == products("lstm", 0) + 1


@lru_cache
def last_output_bytes(length: int, budget_bytes: int | None = None) -> int:
    """Temporary memory of a training step whose loss reads the last output alone."""
    made = LARGE["elman"]
    params = jax.eval_shape(made.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((length, B, D), jnp.float32)
    fold = folds.checkpointed(budget_bytes=budget_bytes)

    def loss(params: Any, inputs: jax.Array) -> jax.Array:
        final, _ = fold(made, params, inputs, made.start(params, (B,)))
        return jnp.mean(made.output(final) ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(params, inputs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


STATE, X = B * H * 4, B * D * 4


def test_checkpointed_holds_as_many_states_as_the_root_of_the_steps() -> None:
    """From 2 · 64 states and 64 inputs to twice as many with four times the steps."""
    short, long = last_output_bytes(4096), last_output_bytes(16384)
    assert (long - short) / (128 * STATE + 64 * X) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("length", [4096, 16384])
@pytest.mark.parametrize("held", [80, 400])
def test_checkpointed_stays_within_its_budget(held: int, length: int) -> None:
    """Beside what a short sequence takes, and a copy of a small part of the inputs."""
    apart = last_output_bytes(256) + length * X // 8
    assert last_output_bytes(length, held * STATE) < held * STATE + apart


# Bad input --------------------------------------------------------------------------


def test_numbers_below_one() -> None:
    """A block of no steps, and a loop unrolled by none."""
    with pytest.raises(ValueError, match="size: expected at least 1, got 0; pass 1 or more"):
        folds.blocked(size=0)
    with pytest.raises(ValueError, match="unroll: expected at least 1, got -2"):
        folds.scan(unroll=-2)
    with pytest.raises(ValueError, match="window: expected at least 1, got 0"):
        folds.truncated(window=0)
    with pytest.raises(ValueError, match="segments: expected at least 1, got 0; None takes"):
        folds.checkpointed(segments=0)


def test_what_a_sequence_cannot_give() -> None:
    """A budget that holds too little of it, and two ways to cut it."""
    cell = CELLS["elman"].make(jnp.asarray(laws.CLOSED))
    args = laws.draw("elman", 7, (3,))[1:]
    told = "budget_bytes: expected at least 576 bytes for 7 steps of a state of 96 bytes, got {}; r"
    for budget_bytes in (95, 575):
        with pytest.raises(ValueError, match=told.format(budget_bytes)):
            folds.checkpointed(budget_bytes=budget_bytes)(cell, *args)
    folds.checkpointed(budget_bytes=576)(cell, *args)
    with pytest.raises(ValueError, match="segments, budget_bytes: expected one of them, got 2 and"):
        folds.checkpointed(segments=2, budget_bytes=1000)


@pytest.mark.parametrize("fold", FOLDS)
def test_inputs_without_a_common_length(fold: str) -> None:
    """No leaf, a leaf without axes, leaves of two lengths."""
    cell = from_step(
        lambda params, h, x: h, init=lambda key: (), start=lambda params, b: jnp.zeros(b)
    )

    def run(inputs: Any) -> Any:
        return FOLDS[fold].fold(cell, (), inputs, jnp.zeros(3))

    with pytest.raises(ValueError, match=r"inputs: expected at least one array .* \[T, B, 0\]"):
        run({})
    with pytest.raises(ValueError, match=r"inputs: expected every leaf .* shapes \[\(\)\]"):
        run(jnp.zeros(()))
    with pytest.raises(ValueError, match=r"same T, got shapes \[\(4, 3\), \(5, 3\)\]; put time"):
        run((jnp.zeros((5, 3)), jnp.zeros((4, 3))))


@pytest.mark.parametrize("fold", FOLDS)
def test_a_step_that_changes_its_state(fold: str) -> None:
    """Shape, dtype or structure: what was, what came, and what to do."""
    for change, came in (
        (lambda h: h[:, :1], "float64[3,1]"),
        (lambda h: h.astype(jnp.float32), "float32[3,4]"),
        (lambda h: (h, h), "(float64[3,4], float64[3,4])"),
    ):
        cell: Cell = from_step(
            lambda params, h, x: change(h),  # noqa: B023
            init=lambda key: (),
            start=lambda params, b: jnp.zeros((*b, 4)),
        )
        told = f"state: expected a step to keep float64[3,4], got {came} after one step; make"
        with pytest.raises(TypeError, match=re.escape(told)):
            FOLDS[fold].fold(cell, (), jnp.zeros((5, 3, 1)), jnp.zeros((3, 4)))


def test_one_step_linearised_twice_is_equal() -> None:
    """JAX runs the forward pass of a program that it has traced once more, and compares."""
    cell = cells.gru(2, 3)
    params = cell.init(jax.random.key(0))

    def at(batch: int) -> Linearised:
        state = cell.start(params, (batch,))
        drive, mixed = types_of_step(cell, params, jnp.ones((batch, 2)), state)
        return linearise(cell.update, params, state, drive, mixed)

    assert at(4) == at(4) and hash(at(4)) == hash(at(4))
    assert at(4) != at(6)
