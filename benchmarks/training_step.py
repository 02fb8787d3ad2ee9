"""How long does a training step take, compared with other libraries and with its products alone?

Run time: about 9 minutes on two cores; 15 s with --quick.

A training step is the gradient of the mean square of all outputs with respect to the weights:
three times the products of a forward pass.
"""

from collections.abc import Iterator, Sequence

from benchmarks.contest import Race, Targets, race, standings
from benchmarks.report import Report, Row

RACE = Race(lambda model: model.training_step, passes=3)
TARGETS = Targets(jax_mean=1.25, jax_worst=0.97, torch_mean=2.0, torch_worst=0.8)


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell and shape."""
    return race(RACE, quick=quick)


def report(rows: Sequence[Row]) -> Report:
    """In units of the limit."""
    return standings(rows, TARGETS)
