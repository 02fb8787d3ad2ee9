"""The sections that need no experiment, a file each.

A file defines `SECTION`, and `measure() -> found`, which computes in a moment what the section
shows, in the form of `result.json`. It may define `panels(found) -> dict[str, Panel]`, the panels
of its plots by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.baselines.linear import lagged, least_squares
from experiments.data.seattle import seattle_weather
from experiments.lab.harness import Column
from experiments.page.section import Found

BLUE, RED, GREEN, GREY = "#1f5fa8", "#c1272d", "#1b7837", "#6b6b6b"


def numbers(
    rows: Mapping[str, Mapping[str, float]], columns: Sequence[Column], **others: Any
) -> Found:
    """What a section measured, in the form of `result.json`."""
    return {
        "columns": [column._asdict() for column in columns],
        "results": {name: {"mean": dict(row)} for name, row in rows.items()},
        "baselines": {},
        **others,
    }


class Forecasting:
    """Tomorrow's highest temperature in Seattle by least squares on the last days.

    Attributes:
      order: how many days.
      celsius: `[N]`, the highest temperature of each day.
      past: `[N, order * F + 1]`, what the forecast of each day may know, newest day first, and 1.
      validation: first day of 2014; the days before are for training.
      test: first day of 2015.
    """

    def __init__(self, order: int = 14, features: int = 4) -> None:
        self.order = order
        weather = seattle_weather()
        values = weather.values[:, :features]
        self.celsius = weather.values[:, 0]
        years = np.array([day.year for day in weather.dates])
        self.validation, self.test = (int(np.argmax(years == year)) for year in (2014, 2015))
        yesterday = np.maximum(np.arange(len(values)) - 1, 0)
        past = lagged(values, order)[yesterday]
        self.past = np.concatenate([past, np.ones((len(values), 1))], axis=1)

    def fit(self, days: np.ndarray) -> np.ndarray:
        """The weights that serve these days best."""
        return least_squares(self.past[days], self.celsius[days])


def rmse(error: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(error**2)))
