"""The sections that need no experiment, a file each.

A file defines `SECTION`, and `measure() -> found`, which computes in a moment what the section
shows, in the form of `result.json`. It may define `draw(found) -> figure`, a matplotlib figure
or SVG text; a section without it has no figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.data.seattle import Weather, seattle_weather
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
    """Tomorrow's highest temperature in Seattle by least squares on the last two weeks.

    Attributes:
      weather: the data.
      celsius: `[N]`, the highest temperature of each day.
      past: `[N, order * F + 1]`, what the forecast of each day may know.
      validation: first day of 2014; the days before are for training.
      test: first day of 2015.
      forecasts: `[N]`, of the days from `order` on.
    """

    order = 14

    def __init__(self) -> None:
        self.weather: Weather = seattle_weather()
        self.celsius = self.weather.values[:, 0]
        years = np.array([day.year for day in self.weather.dates])
        self.validation, self.test = (int(np.argmax(years == year)) for year in (2014, 2015))
        days = np.arange(len(years))[:, None] - 1 - np.arange(self.order)
        past = self.weather.values[np.maximum(days, 0)].reshape(len(years), -1)
        self.past = np.concatenate([past, np.ones((len(years), 1))], axis=1)
        self.forecasts = self.past @ self.fit(np.arange(self.order, self.validation))

    def fit(self, days: np.ndarray) -> np.ndarray:
        """The weights that serve these days best."""
        return np.linalg.lstsq(self.past[days], self.celsius[days], rcond=None)[0]


def rmse(error: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(error**2)))
