"""How long does a training step take to trace and compile?

Run time: about 100 s on two cores; 10 s with --quick.

Each round traces and compiles again, with JAX's compilation cache off.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import jax

from benchmarks.contest import attempt, sizes
from benchmarks.models import CELLS, FOLDS, OURS, Problem, Program
from benchmarks.peers import JAX_PEERS
from benchmarks.report import Report, Row, by_point, highest
from benchmarks.timing import ratio, spread, take_turns

PLAIN = "plain scan"
CONTENDERS = FOLDS | JAX_PEERS
AT_MOST = 1.5


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell."""
    jax.config.update("jax_enable_compilation_cache", False)
    for cell in ("tanh",) if quick else CELLS:
        yield from compare(Problem(cell, 32, 128, 64, 128), rounds=1 if quick else 5)


def compare(problem: Problem, *, rounds: int) -> Iterator[Row]:
    """A row for each contender."""

    def once(name: str) -> Program:
        return CONTENDERS[name](problem).training_step()

    # The first time includes imports and what JAX traces only once per process.
    calls = {name: partial(once, name) for name in CONTENDERS}
    first, reasons = attempt(calls)
    times = take_turns({name: calls[name] for name in first}, rounds=rounds, seconds=0)
    for name in CONTENDERS:
        row = sizes(problem) | {"contender": name}
        if name in reasons:
            yield row | {"left_out": reasons[name]}
        else:
            yield row | {
                "rounds": len(times[name]),
                "seconds": spread(times[name])._asdict(),
                "to_plain_scan": ratio(times, name, PLAIN)._asdict(),
            }


def report(rows: Sequence[Row]) -> Report:
    """In seconds, and ours against plain `scan`."""
    by_problem = by_point(rows)
    contenders = [name for name in CONTENDERS if any(name in p for p in by_problem.values())]

    def shown(peers: Mapping[str, Row], name: str) -> str:
        return f"{peers[name]['seconds']['median']:.2f}" if name in peers else ""

    ratios = {
        place: peers[OURS]["to_plain_scan"]["median"]
        for place, peers in by_problem.items()
        if OURS in peers
    }
    return Report(
        headers=["seconds", *contenders, f"{OURS} / {PLAIN}"],
        lines=[
            [
                place,
                *(shown(peers, name) for name in contenders),
                f"{ratios[place]:.2f}" if place in ratios else "",
            ]
            for place, peers in by_problem.items()
        ],
        findings=highest(f"time to compile {OURS} over that for {PLAIN}", ratios, at_most=AT_MOST),
    )
