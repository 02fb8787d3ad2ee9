"""How long does a forward pass take, compared with other libraries and with its products alone?

Run time: about 5 minutes on two cores; 15 s with --quick.

A forward pass computes all outputs, `[T, B, H]`.
"""

from collections.abc import Iterator, Sequence

from benchmarks.contest import Race, Targets, race, standings
from benchmarks.report import Report, Row

RACE = Race(lambda model: model.forward, passes=1)
TARGETS = Targets(jax_mean=1.12, jax_worst=0.97)


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell and shape."""
    return race(RACE, quick=quick)


def report(rows: Sequence[Row]) -> Report:
    """In units of the limit."""
    return standings(rows, TARGETS)
