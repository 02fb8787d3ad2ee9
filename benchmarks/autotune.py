"""How good is the planner's choice, compared with the best of `stored` and blocks of every size?

Run time: about 4 minutes on two cores; 15 s with --quick.

The planner is `rnnjax.plan` without a budget.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import rnnjax
from benchmarks.contest import QUICK, attempt, ready, sizes
from benchmarks.models import CELLS, SHAPES, Problem, folded
from benchmarks.report import Report, Row, by_point, highest, mean
from benchmarks.timing import ratio, spread, take_turns
from benchmarks.training_step import RACE
from rnnjax import folds

PLANNED = "planned"
SIZES = (16, 32, 64, 128)
CANDIDATES = {"stored": folds.stored()} | {
    f"blocked, size={size}": folds.blocked(size=size) for size in SIZES
}


def measure(quick: bool) -> Iterator[Row]:
    """A row for the planner and each candidate at each cell and shape."""
    for problem in QUICK if quick else [Problem(c, *s) for s in SHAPES[:-1] for c in CELLS]:
        cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)
        plan = rnnjax.plan(cell, (problem.batch,), problem.length)
        made, reasons = attempt(
            {
                name: partial(ready, RACE, partial(folded, fold), problem)
                for name, fold in {PLANNED: plan.fold, **CANDIDATES}.items()
            }
        )
        times = take_turns({n: p.call for n, p in made.items()}, rounds=5, seconds=1.0)
        for name, program in made.items():
            yield sizes(problem) | {
                "contender": name,
                "rounds": len(times[name]),
                "seconds": spread(times[name])._asdict(),
                "planned_to_it": ratio(times, PLANNED, name)._asdict(),
                "temporary_bytes": program.temporary_bytes,
                "plan": plan.description,
                "expected_bytes": plan.bytes,
                "expected_time": plan.relative_time,
            }
        for name, reason in reasons.items():
            yield sizes(problem) | {"contender": name, "left_out": reason}


def report(rows: Sequence[Row]) -> Report:
    """The planner's time over the best candidate's, and its predictions."""
    lines, losses = [], {}
    for place, case in by_point(rows).items():
        others = {n: r["planned_to_it"]["median"] for n, r in case.items() if n in CANDIDATES}
        if PLANNED not in case or not others:
            continue
        best = max(others, key=lambda name: others[name])
        losses[place] = max(1.0, others[best])
        planned = case[PLANNED]
        lines.append([
            place, planned["plan"], best, f"{losses[place]:.2f}",
            f"{planned['expected_bytes'] / 2**20:.1f}", f"{planned['temporary_bytes'] / 2**20:.1f}",
        ])  # fmt: skip
    what = "time of the planner's choice over that of the best"
    return Report(
        headers=["", "planned", "best", "planned / best", "MiB expected", "MiB taken"],
        lines=lines,
        findings=[*mean(what, losses), *highest(what, losses)],
    )
