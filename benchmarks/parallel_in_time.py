"""How many iterations does Newton's method take, and how does it compare with a sequential scan?

Run time: about 30 s on two cores, with --quick too.

Iterations: random tanh networks, W_hh ~ gain N(0, 1/N), N = 32, inputs ~ N(0, .3²), start
~ N(0, 1), float64, to 1e-8, the median of eight; and the linear cells. Depth counts
dependent steps: two scans of log₂ T stages per iteration, against T in a sequential scan.
Work counts multiplications: 2 T products of Jacobians per iteration, against T products with
a vector. Time is that of a forward pass on this device; a CPU offers little parallelism. The
linear cells are compared with an associative scan of their equation, too, forward and in the
gradient of a sum of squares.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import build
from benchmarks.report import Finding, Report, Row
from benchmarks.timing import ratio, spread, take_turns
from rnnjax import Cell, cells, folds

N, T, SEEDS = 32, 256, 8
TURNS = {0.5: (3, 3), 0.9: (5, 5), 1.5: (19, 23)}  # Published: 3, 5, about 21.
LONG = 8192
# Of a linear cell's time to that of the scan by hand.
MOST_TO_HAND = 1.2


def lru_by_hand(params: Any, x: jax.Array, h: jax.Array) -> jax.Array:
    """h_t = λ h_{t-1} + exp(γ) (x_t W_xh + b_h)."""
    lambda_ = jnp.exp(jax.lax.complex(-jnp.exp(params.nu), jnp.exp(params.theta)))
    real, imaginary = jnp.split(x @ params.W_xh + params.b_h, 2, axis=-1)
    b = jnp.exp(params.gamma) * jax.lax.complex(real, imaginary)
    return scan_by_hand(jnp.broadcast_to(lambda_, b.shape), b, h)


def min_gru_by_hand(params: Any, x: jax.Array, h: jax.Array) -> jax.Array:
    """h_t = (1 - z) h_{t-1} + z (x_t W_xn + b_n)."""
    z, n = jnp.split(x @ params.W_xh + params.b_h, 2, axis=-1)
    z = jax.nn.sigmoid(z)
    return scan_by_hand(1 - z, z * n, h)


def scan_by_hand(a: jax.Array, b: jax.Array, h: jax.Array) -> jax.Array:
    """h_t = a_t h_{t-1} + b_t."""

    def join(first: Any, second: Any) -> Any:
        (a, b), (c, d) = first, second
        return c * a, c * b + d

    states: jax.Array = jax.lax.associative_scan(join, (a, b.at[0].add(a[0] * h)))[1]
    return states


class Linear(NamedTuple):
    """A linear cell, and its states by an associative scan: `(params, inputs, state) -> states`."""

    cell: Cell
    by_hand: Callable[..., jax.Array]


LINEAR = {
    "lru": Linear(cells.lru(N, N), lru_by_hand),
    "min_gru": Linear(cells.min_gru(N, N), min_gru_by_hand),
}


def measure(quick: bool) -> Iterator[Row]:
    """A row for each gain and each linear cell."""
    with jax.enable_x64(True):
        cell = cells.elman(N, N, dtype=jnp.float64)
        for gain in TURNS:
            problems = [tanh_network(gain, seed) for seed in range(1 if quick else SEEDS)]
            yield row(f"tanh, gain {gain}", cell, problems, 1e-8, N**3 / N**2)
    length = T if quick else LONG
    for name, (cell, by_hand) in LINEAR.items():
        params = cell.init(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), (length, N), jnp.float32)
        problem = params, x, cell.start(params, ())
        yield row(name, cell, [problem], None, 1) | to_hand(cell, by_hand, problem)


def tanh_network(gain: float, seed: int) -> tuple[Any, ...]:
    """Parameters, inputs `[T, N]`, and start `[N]`."""
    rng = np.random.default_rng(seed)
    W_hh = gain * rng.normal(size=(N, N)) / math.sqrt(N)
    params = cells.ElmanParams(jnp.eye(N), jnp.asarray(W_hh), jnp.zeros(N))
    return params, jnp.asarray(0.3 * rng.normal(size=(T, N))), jnp.asarray(rng.normal(size=N))


def row(
    name: str,
    cell: Cell,
    problems: Sequence[tuple[Any, ...]],
    tolerance: float | None,
    product_cost: float,
) -> Row:
    """The iterations of every problem, and the time of the first."""
    solve = jax.jit(lambda *args: folds.newton(cell, *args, tolerance=tolerance))
    found = [solve(*problem) for problem in problems]
    turns = [int(solution.iterations) for solution in found]
    length, params = len(problems[0][1]), problems[0]
    programs = {
        "parallel": build(lambda *args: folds.parallel(tolerance=tolerance)(cell, *args), *params),
        "scan": build(lambda *args: folds.scan()(cell, *args), *params),
    }
    for program in programs.values():
        jax.block_until_ready(program.call())
    times = take_turns({n: p.call for n, p in programs.items()}, rounds=7, seconds=1.0)
    median = statistics.median(turns)
    return {
        "cell": name,
        "T": length,
        "N": N,
        "contender": "parallel",
        "converged": all(bool(solution.converged) for solution in found),
        "turns": turns,
        "median_turns": median,
        "depth": 2 * median * math.ceil(math.log2(length)),
        "depth_to_scan": 2 * median * math.ceil(math.log2(length)) / length,
        "work_to_scan": 2 * median * product_cost,
        "seconds": spread(times["parallel"])._asdict(),
        "time_to_scan": ratio(times, "parallel", "scan")._asdict(),
    }


def to_hand(cell: Cell, by_hand: Callable[..., jax.Array], problem: tuple[Any, ...]) -> Row:
    """The time of a linear cell's states, and of their gradient, to that of the scan by hand."""

    def parallel(*args: Any) -> jax.Array:
        states: jax.Array = folds.parallel()(cell, *args)[1]
        return states

    def gradient(states: Callable[..., jax.Array]) -> Callable[..., Any]:
        def loss(params: Any, *args: Any) -> jax.Array:
            return jnp.sum(jnp.abs(states(params, *args)) ** 2)

        return jax.grad(loss)

    def measured(contenders: dict[str, Callable[..., Any]]) -> dict[str, float]:
        programs = {name: build(f, *problem) for name, f in contenders.items()}
        for program in programs.values():
            jax.block_until_ready(program.call())
        times = take_turns({n: p.call for n, p in programs.items()}, rounds=15, seconds=1.0)
        return ratio(times, "parallel", "by hand")._asdict()

    both = {"parallel": parallel, "by hand": by_hand}
    return {
        "time_to_hand": measured(both),
        "gradient_to_hand": measured({name: gradient(f) for name, f in both.items()}),
    }


def report(rows: Sequence[Row]) -> Report:
    """Iterations, depth, work and time compared with a plain scan's, and one by hand."""
    findings = []
    for gain, (least, most) in TURNS.items():
        findings += [
            Finding(
                f"median iterations at gain {gain}",
                r["median_turns"],
                at_least=least,
                at_most=most,
            )
            for r in rows
            if r["cell"] == f"tanh, gain {gain}" and len(r["turns"]) == SEEDS
        ]
    findings += [
        Finding(f"iterations of {r['cell']}", r["median_turns"], at_most=1)
        for r in rows
        if r["cell"] in LINEAR
    ]
    findings += [
        Finding(
            f"{what} of {r['cell']} to an associative scan by hand",
            r[key]["median"],
            at_most=MOST_TO_HAND,
        )
        for r in rows
        for key, what in {"time_to_hand": "time", "gradient_to_hand": "gradient's time"}.items()
        if key in r and r["T"] == LONG
    ]
    return Report(
        headers=["cell", "T", "iterations", "lowest", "highest", "depth", "depth / scan",
                 "work / scan", "time / scan"],
        lines=[
            [
                r["cell"], str(r["T"]), f"{r['median_turns']:g}", str(min(r["turns"])),
                str(max(r["turns"])), f"{r['depth']:g}", f"{r['depth_to_scan']:.3f}",
                f"{r['work_to_scan']:g}", f"{r['time_to_scan']['median']:.2f}",
            ]
            for r in rows
        ],
        findings=findings,
    )  # fmt: skip
