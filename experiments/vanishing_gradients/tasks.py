"""Two tasks on Seattle's weather: one that needs a long memory, and one that does not."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.baselines.linear import lagged, least_squares
from experiments.data.scaling import standardised
from experiments.data.seattle import Weather
from experiments.vanishing_gradients.options import Options


class Days(NamedTuple):
    """The weather as one row a day, standardised by the training years alone.

    Attributes:
      values: `[N, D]`; the first column is the highest temperature.
      degrees: °C in one unit of that column.
      validation: first day of the validation year.
      test: first day of the test year.
    """

    values: jax.Array
    degrees: float
    validation: int
    test: int

    def window(self, last: Any, length: int) -> jax.Array:
        """The `length` days up to each of `last` `[B]`: `[T, B, D]`."""
        return self.values[(last - length + 1)[None] + np.arange(length)[:, None]]

    def rmse(self, error: Any) -> float:
        """Root mean square of errors, in °C."""
        return self.degrees * float(np.sqrt(np.mean(np.square(error))))


def prepare(weather: Weather) -> Days:
    """Trains on 2012 and 2013, validates on 2014, tests on 2015."""
    years = [day.year for day in weather.dates]
    validation, test = years.index(2014), years.index(2015)
    values = weather.values.copy()
    rain = weather.features.index("precipitation")
    values[:, rain] = np.log1p(values[:, rain])  # a few days of heavy rain must not dominate
    scaled = standardised(values, training=slice(0, validation))
    return Days(
        jnp.asarray(scaled.values, jnp.float32), float(scaled.deviation[0]), validation, test
    )


class Batch(NamedTuple):
    """What a network reads, `[T, B, D]`, and what its last outputs should be, `[1 to T, B]`."""

    inputs: jax.Array
    targets: jax.Array


Task = Callable[[Days, Options, Any], Batch]  # the last: the last day that is read, [B]


def tomorrow(days: Days, options: Options, last: Any) -> Batch:
    """After every day of the window, the highest temperature of the next day."""
    following = days.window(last + 1, options.window)
    return Batch(days.window(last, options.window), following[..., 0])


def recall(days: Days, options: Options, last: Any) -> Batch:
    """After the last day, the highest temperature of the first day, `lag` days before."""
    inputs = days.window(last, options.lag + 1)
    return Batch(inputs, inputs[:1, :, 0])


TASKS: dict[str, Task] = {"tomorrow": tomorrow, "recall": recall}
MOMENTS = ("before", *TASKS)  # when the gradient is measured: before training, after each task


def baselines(days: Days, options: Options) -> dict[str, Mapping[str, float]]:
    """What needs no network: the last day's temperature, and a linear model of the last days.

    The number of days is the one best in 2014, at most half the lag: to recall, it does without
    the first day and its neighbours.
    """
    values = np.asarray(days.values, np.float64)
    last = np.arange(options.lag, len(values) - 1)
    wanted = {"tomorrow": values[last + 1, 0], "recall": values[last - options.lag, 0]}
    train = last < days.validation - 1
    chosen, tested = ~train & (last < days.test - 1), last >= days.test - 1

    found: dict[str, dict[str, float]] = {"last day's temperature": {}, "linear": {}}
    for name, target in wanted.items():
        scores = []
        for order in range(1, max(options.lag // 2, 1) + 1):
            past = np.c_[lagged(values, order)[last], np.ones(len(last))]
            error = past @ least_squares(past[train], target[train]) - target
            scores.append((days.rmse(error[chosen]), days.rmse(error[tested])))
        found["linear"][name] = min(scores)[1]
        found["last day's temperature"][name] = days.rmse((values[last, 0] - target)[tested])
    return {**found}
