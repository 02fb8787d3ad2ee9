"""How long does a training step with resets take, compared with what agents in JAX use?

Run time: about 3 minutes on two cores; 15 s with --quick.

In reinforcement learning many environments run side by side, and the state is reset where an
episode ends: here at 1 step in 50, by chance. `ScannedRNN` is `flax.linen.scan` over a cell with
`jnp.where` on its carry, as recurrent agents are usually written; plain scan is `lax.scan` over
the step with the same `where`. A training step is the gradient of the mean square of all outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

import rnnjax
from benchmarks.contest import Race, race
from benchmarks.models import CELLS, OURS, Model, Problem, draw_inputs, jax_model
from benchmarks.peers import plain_step, scanned, shown
from benchmarks.report import Report, Row, by_point, lowest
from rnnjax import folds

SHAPES = (
    (256, 128, 128, 128),
    (1024, 32, 128, 128),
    (2048, 16, 256, 256),
    (4096, 16, 64, 64),
)
PROBLEMS = [Problem(cell, *shape) for shape in SHAPES for cell in ("gru", "lstm")]
PLAIN, SCANNED = "plain scan", "ScannedRNN"
AT_LEAST = {PLAIN: 1.15, SCANNED: 1.2}


@lru_cache(maxsize=1)
def draw(problem: Problem) -> tuple[jax.Array, jax.Array]:
    """Inputs and resets, the same for every contender."""
    shape = (problem.length, problem.batch)
    return draw_inputs(problem), jax.random.bernoulli(jax.random.key(3), 0.02, shape)


def unrolled(fold: folds.Fold, problem: Problem) -> Model:
    """`rnnjax.unroll` with `resets`."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

    def run(params: Any, episodes: Any) -> tuple[jax.Array, jax.Array]:
        x, resets = episodes
        final, outputs = rnnjax.unroll(cell, params, x, resets=resets, fold=fold)
        return cell.output(final), outputs

    return jax_model(run, cell.init(jax.random.key(0)), draw(problem))


def reset_where(state: Any, reset: jax.Array) -> Any:
    """Zeros where an episode ends."""
    return jax.tree.map(lambda own: jnp.where(reset[:, None], 0.0, own), state)


def plain_scan(problem: Problem) -> Model:
    """`lax.scan` over the step, with `where` on the carry."""
    step, start = plain_step(problem)

    def resetting(params: Any, state: Any, x_t: Any) -> tuple[Any, jax.Array]:
        x, reset = x_t
        after: tuple[Any, jax.Array] = step(params, reset_where(state, reset), x)
        return after

    return scanned(problem, resetting, start, draw(problem))


def scanned_rnn(problem: Problem) -> Model:
    """`flax.linen.scan` over a cell, with `where` on the carry."""
    from flax import linen

    cells: dict[str, Callable[..., Any]] = {
        "gru": linen.GRUCell,
        "lstm": linen.OptimizedLSTMCell,
    }

    class ResettingCell(linen.Module):
        @linen.compact
        def __call__(self, state: Any, x_t: Any) -> tuple[Any, jax.Array]:
            x, reset = x_t
            cell = cells[problem.cell](problem.hidden_size)
            after: tuple[Any, jax.Array] = cell(reset_where(state, reset), x)
            return after

    module: Any = linen.scan(
        ResettingCell, variable_broadcast="params", split_rngs={"params": False}
    )()
    _, start = plain_step(problem)

    def run(params: Any, episodes: Any) -> tuple[jax.Array, jax.Array]:
        final, outputs = module.apply(params, start, episodes)
        return shown(final), outputs

    episodes = draw(problem)
    first = jax.tree.map(lambda leaf: leaf[:1], episodes)
    return jax_model(run, module.init(jax.random.key(0), start, first), episodes)


CONTENDERS: dict[str, Callable[[Problem], Model]] = {
    OURS: partial(unrolled, folds.default()),
    "blocked": partial(unrolled, folds.blocked()),
    "scan fold": partial(unrolled, folds.scan()),
    PLAIN: plain_scan,
    SCANNED: scanned_rnn,
}


RACE = Race(lambda model: model.training_step, passes=3, problems=PROBLEMS, contenders=CONTENDERS)


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell and shape."""
    return race(RACE, quick=quick)


def report(rows: Sequence[Row]) -> Report:
    """In milliseconds, and the others against ours."""
    cases = by_point(rows)
    ratios = {
        name: {
            place: case[name]["to_ours"]["median"]
            for place, case in cases.items()
            if case.get(name, {}).get("to_ours")
        }
        for name in AT_LEAST
    }
    findings = []
    for name, at_least in AT_LEAST.items():
        what = f"time of {name} over that of {OURS}"
        findings += lowest(what, ratios[name], at_least=at_least)

    def milliseconds(row: Row | None) -> str:
        return "" if row is None else f"{1e3 * row['seconds']['median']:.0f}"

    return Report(
        headers=["ms", *CONTENDERS, *(f"{name} / {OURS}" for name in AT_LEAST)],
        lines=[
            [
                place,
                *(milliseconds(case.get(name)) for name in CONTENDERS),
                *(f"{r[place]:.2f}" if place in r else "" for r in ratios.values()),
            ]
            for place, case in cases.items()
        ],
        findings=findings,
    )
