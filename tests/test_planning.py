"""The planner: it fits the budget, prefers the faster fold, and tells what it will take."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import cells, folds
from rnnjax._tree import count_bytes
from rnnjax.folds._cost import block_size, segment_sizes, step_cost

MIB = 1 << 20


def temporary_bytes(cell: rnnjax.Cell, fold: folds.Fold, batch: int, length: int, D: int) -> int:
    """Of the compiled gradient of a loss of the last output."""
    params = jax.eval_shape(cell.init, jax.random.key(0))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        final, _ = fold(cell, params, x, cell.start(params, (batch,)))
        return jnp.mean(cell.output(final) ** 2)

    inputs = jax.ShapeDtypeStruct((length, batch, D), jnp.float32)
    compiled = jax.jit(jax.grad(loss)).lower(params, inputs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


PLANS = [
    (cells.elman(64, 64), 32768, None, "blocked()"),
    (cells.gru(256, 256), 512, None, "stored()"),
    (cells.lstm(256, 256), 512, None, "stored()"),
    (cells.gru(256, 256), 512, 60 * MIB, "blocked()"),
    (cells.lstm(256, 256), 8192, None, "blocked()"),
    (cells.lstm(256, 256), 8192, 40 * MIB, "checkpointed(budget_bytes="),
]


@pytest.fixture
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As most have it; these tests have eight."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(("cell", "length", "budget", "told"), PLANS)
def test_what_it_expects_is_what_it_takes(
    cell: rnnjax.Cell, length: int, budget: int | None, told: str
) -> None:
    """Within the weights' gradient and a third."""
    found = rnnjax.plan(cell, (32,), length, budget_bytes=budget)
    assert found.description.startswith(told)
    assert budget is None or found.bytes <= budget
    width = jax.eval_shape(cell.init, jax.random.key(0)).W_xh.shape[0]
    taken = temporary_bytes(cell, found.fold, 32, length, width)
    assert 0.75 < taken / found.bytes < 1.35


class Device:
    """One that tells how much memory it has, or does not."""

    def __init__(self, stats: dict[str, int] | None) -> None:
        self.stats = stats
        self.platform = "cpu"

    def memory_stats(self) -> dict[str, int] | None:
        """As JAX's devices have it."""
        return self.stats


@pytest.mark.usefixtures("one_device")
def test_the_budget_is_what_the_device_has() -> None:
    """Unless it is given, or the device does not tell."""
    cell = cells.gru(256, 256)
    for stats in (None, {}, {"bytes_limit": 60 * MIB}):
        found = rnnjax.plan(cell, (32,), 512, device=Device(stats))  # type: ignore[arg-type]
        limit = (stats or {}).get("bytes_limit")
        assert found == rnnjax.plan(cell, (32,), 512, budget_bytes=limit)
        assert (found.description == "blocked()") == bool(limit)


@pytest.mark.usefixtures("one_device")
def test_less_memory_takes_more_time() -> None:
    """From everything kept to segments of segments, and then no further."""
    cell = cells.lstm(256, 256)
    plans = [
        rnnjax.plan(cell, (32,), 1000, budget_bytes=budget * MIB) for budget in (400, 100, 30, 18)
    ]
    kept, states, segments, _ = plans
    assert kept.relative_time < 4 / 3 == states.relative_time < segments.relative_time
    assert [plan.bytes for plan in plans] == sorted((plan.bytes for plan in plans), reverse=True)
    with pytest.raises(ValueError, match=r"budget_bytes: expected at least \d+ for 1000 steps of"):
        rnnjax.plan(cell, (32,), 1000, budget_bytes=MIB)
    with pytest.raises(ValueError, match="length: expected at least 1, got 0"):
        rnnjax.plan(cell, (32,), 0)


@pytest.mark.parametrize("length", [10**12, 10**12 + 39, (10**6 + 3) ** 2, 2**62])
def test_a_plan_for_any_length(length: int) -> None:
    """Round, prime, the square of a prime, the longest: none is searched through."""
    cell = cells.elman(4, 4)
    whole, segments = (rnnjax.plan(cell, (2,), length, budget_bytes=b) for b in (None, 10**13))
    assert whole.description == "blocked()" and whole.bytes > 32 * length
    assert segments.bytes < 10**13
    with pytest.raises(
        ValueError, match=rf"budget_bytes: expected at least \d+ for {length} steps"
    ):
        rnnjax.plan(cell, (2,), length, budget_bytes=10)


@pytest.mark.parametrize(
    "lengths", [range(1, 200), range(4990, 5001), [720720, 999983, 1009 * 1013]]
)
def test_segments_are_the_nearest_divisors(lengths: Any) -> None:
    """Up to a factor of two, by trying every number."""

    def near(length: int, wanted: float) -> int:
        tried = range(math.ceil(wanted / 2), min(math.floor(2 * wanted), length - 1) + 1)
        divisors = [size for size in tried if length % size == 0]
        return min(divisors, key=lambda d: abs(math.log(d / wanted)), default=round(wanted))

    for length in lengths:
        for levels in range(min(length.bit_length(), 5)):
            sizes, rest = [], length
            for level in range(levels, 0, -1):
                rest = near(rest, rest ** (level / (level + 1)))
                sizes.append(rest)
            assert segment_sizes(length, levels) == sizes


@pytest.mark.parametrize("budget", [None, 16000])
@pytest.mark.slow
def test_the_planned_fold_folds(budget: int | None) -> None:
    """With the gradient of `scan`, for a cell without a kernel too."""
    for cell in (cells.gru(3, 8), cells.min_gru(3, 8)):
        params = cell.init(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), (100, 2, 3), jnp.float32)

        def loss(params: Any, fold: folds.Fold, cell: rnnjax.Cell = cell, x: Any = x) -> jax.Array:
            return jnp.sum(rnnjax.unroll(cell, params, x, fold=fold)[1] ** 2)

        found = rnnjax.plan(cell, (2,), 100, budget_bytes=budget)
        got, wanted = (jax.grad(loss)(params, fold) for fold in (found.fold, folds.scan()))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "batch", "length", "size"),
    [
        (cells.lstm(64, 64), 1, 1000, 1000),  # all of them have less than two blocks of drives
        (cells.gru(64, 64), 16, 2000, 80),  # a divisor of 2000 up to 85, which fill 1 MiB
        (cells.gru(64, 64), 16, 1999, 85),  # a prime: the rest is a block of its own
        (cells.lstm(512, 512), 128, 64, 16),  # no fewer, however large
        (cells.lstm(512, 512), 256, 64, 1),  # but for large batches
        (cells.min_gru(64, 64), 16, 2000, 32),  # no kernel
    ],
)
def test_the_default_block(cell: rnnjax.Cell, batch: int, length: int, size: int) -> None:
    """By the bytes of a step's drive."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((batch, params.W_xh.shape[0]), jnp.float32)
    drive = jax.eval_shape(cell.project, params, inputs)
    cost = step_cost(cell, params, (batch,), count_bytes(drive))
    assert block_size(cost, length) == size


def chosen(cell: rnnjax.Cell, batch: int, length: int) -> str:
    """The fold whose program the default's is."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((length, batch, 3), jnp.float32)

    def program(fold: folds.Fold) -> str:
        def loss(params: Any, x: jax.Array) -> jax.Array:
            return jnp.sum(cell.output(fold(cell, params, x, cell.start(params, (batch,)))[0]))

        return jax.jit(jax.grad(loss)).lower(params, inputs).as_text()

    default = program(folds.default())
    (name,) = (f.__name__ for f in (folds.stored, folds.blocked) if program(f()) == default)
    return name


def test_the_default_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """By batch, memory and devices; a cell without a kernel stores at any batch."""
    gru, bare = cells.gru(3, 8), cells.gru(3, 8, reset_after=False)
    assert chosen(gru, 32, 40) == chosen(bare, 32, 40) == "blocked"
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert chosen(gru, 32, 40) == chosen(bare, 2, 40) == "stored"
    assert chosen(gru, 31, 40) == "blocked"
    # Four arrays [32, 8] of four bytes at each step.
    most = (192 << 20) // (4 * 32 * 8 * 4)
    assert (chosen(gru, 32, most), chosen(gru, 32, most + 1)) == ("stored", "blocked")
    assert chosen(cells.elman(3, 8), 32, most + 1) == "stored"  # stores nothing
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(gru, 32, 40) == "blocked"
