"""A few sizes of the sweep over what XLA compiles, the one that went wrong first."""

import itertools

import pytest
from laws import LIBRARY
from sweep_sizes import FOLDS, Case, difference

CASES = [
    *(Case(*kind, 4, 5) for kind in itertools.product(LIBRARY, FOLDS, ["float64"])),
    *(Case(cell, "blocked", "float32", 4, 5) for cell in LIBRARY),
    *(Case(cell, "blocked", "float64", 8, 5) for cell in LIBRARY),
]
DAILY = [Case("gru", "blocked", "float64", 4, 5), Case("lstm", "blocked", "float64", 4, 5)]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in DAILY else [pytest.mark.slow]) for case in CASES],
    ids=lambda case: " ".join(map(str, case)),
)
def test_fused_loops_compute_what_they_should(case: Case) -> None:
    """The gradient does not depend on the width of the vectors that XLA emits."""
    assert difference(case) < 1000
