"""Does `jax.vmap` over ten sets of weights take as long as ten calls in turn?

Run time: about 90 s on two cores; 10 s with --quick.

A training step of each member, as in `training_step`: weights from ten seeds, shared inputs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.contest import QUICK, sizes
from benchmarks.models import CELLS, Problem, draw_inputs
from benchmarks.report import Report, Row, by_point, highest
from benchmarks.timing import ratio, spread, take_turns
from rnnjax import folds

MEMBERS = 10
SHAPES = (("tanh", 64), ("tanh", 256), ("gru", 64), ("gru", 128), ("lstm", 128))
PROBLEMS = [Problem(cell, batch, 100, H, H) for batch in (16, 32) for cell, H in SHAPES]
TURN, VMAP = "in turn", "vmap"
AT_MOST = 1.05


def measure(quick: bool) -> Iterator[Row]:
    """A row for either way at each cell and shape."""
    for problem in QUICK if quick else PROBLEMS:
        cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

        def loss(params: Any, x: jax.Array, cell: Any = cell) -> jax.Array:
            start = cell.start(params, x.shape[1:-1])
            return jnp.mean(cell.output(folds.default()(cell, params, x, start)[1]) ** 2)

        x = draw_inputs(problem)
        members = [cell.init(jax.random.key(seed)) for seed in range(MEMBERS)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        one = jax.jit(jax.grad(loss))
        many = jax.jit(jax.vmap(jax.grad(loss), in_axes=(0, None)))
        calls = {
            TURN: lambda one=one, members=members, x=x: [one(params, x) for params in members],
            VMAP: lambda many=many, stacked=stacked, x=x: many(stacked, x),
        }
        for call in calls.values():
            jax.block_until_ready(call())
        times = take_turns(calls, rounds=5, seconds=2.0)
        for name in calls:
            yield sizes(problem) | {
                "contender": name,
                "rounds": len(times[name]),
                "seconds": spread(times[name])._asdict(),
                "to_turn": ratio(times, name, TURN)._asdict(),
            }


def report(rows: Sequence[Row]) -> Report:
    """In milliseconds, and their ratio."""
    cases = by_point(rows)
    ratios = {place: c[VMAP]["to_turn"]["median"] for place, c in cases.items() if VMAP in c}
    return Report(
        headers=["ms", TURN, VMAP, f"{VMAP} / {TURN}"],
        lines=[
            [
                place,
                *(f"{1e3 * cases[place][name]['seconds']['median']:.0f}" for name in (TURN, VMAP)),
                f"{ratios[place]:.2f}",
            ]
            for place in ratios
        ],
        findings=highest(f"time of {VMAP} over that of ten calls {TURN}", ratios, at_most=AT_MOST),
    )
