"""Does the training step do as well at sizes that nobody chose?

Run time: about 7 minutes on two cores; 15 s with --quick.

Twelve problems drawn at random between the corners of `training_step`: log-uniform in B from 1 to
128, T from 64 to 2000, D from 16 to 640 and H from 48 to 640, below 2 × 10¹¹ multiply-adds.
"""

import random
from collections.abc import Iterator, Sequence

from benchmarks.contest import Race, Targets, race, standings
from benchmarks.models import CELLS, Problem
from benchmarks.report import Report, Row

SEED = 20261128
POINTS = 12
MOST = 2e11


def draw_problems() -> list[Problem]:
    """The same at every run."""
    drawn = random.Random(SEED)
    problems: list[Problem] = []
    while len(problems) < POINTS:
        problem = Problem(
            drawn.choice(sorted(CELLS)),
            *(
                round(low * (high / low) ** drawn.random())
                for low, high in ((1, 128), (64, 2000), (16, 640), (48, 640))
            ),
        )
        # Three products of as many operations; two operations are one multiply-add.
        if 3 * problem.operations / 2 < MOST:
            problems.append(problem)
    return problems


RACE = Race(lambda model: model.training_step, passes=3, problems=draw_problems())
TARGETS = Targets(jax_worst=0.95)


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each problem."""
    return race(RACE, quick=quick)


def report(rows: Sequence[Row]) -> Report:
    """In units of the limit."""
    return standings(rows, TARGETS)._replace(draw=None)
