"""The data, their split, and the forecasts that need no network."""

import math
from typing import NamedTuple

import numpy as np

from experiments.baselines.linear import lagged, ridge_path
from experiments.data.new_york import HourlyWeather
from experiments.data.scaling import standardised

HORIZONS = (1, 6, 24)  # hours ahead
PAST = 48  # hours read
CLOCK = 6  # inputs, the last ones, that hold the time of day and of year
PERSISTENCE, SEASONAL, OWN = "persistence", "seasonal naive", f"autoregression, {PAST} h"


class Split(NamedTuple):
    """The hours after which a forecast is made, by part."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Task(NamedTuple):
    """What is known after every hour, and what is to be forecast from it.

    Attributes:
      hours: `[N]`, in UTC.
      airports: the A places.
      inputs: `[N, D]`: first the temperatures, then the other observations of all places,
        standardised by the training hours, then the clock.
      now: `[N, A]`, the temperature in °C.
      truth: `[N, K, A]`, the temperature at the K horizons.
      known: `[N, K, A]`, whether that was observed; what was not is never scored.
      split: the hours of each part.
    """

    hours: np.ndarray
    airports: tuple[str, ...]
    inputs: np.ndarray
    now: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    split: Split

    def rmse(self, forecast: np.ndarray, hours: np.ndarray) -> np.ndarray:
        """Root mean square error `[K]` of `forecast` `[N, K, A]` over some hours, in °C."""
        squares = (forecast - self.truth)[hours] ** 2
        return np.sqrt(np.mean(squares, axis=(0, 2), where=self.known[hours]))


def divide(count: int, cycles: int) -> Split:
    """Two thirds of each cycle train, a sixth validates, a sixth tests, in this order.

    Only hours whose window, from PAST hours back to the farthest horizon, is in one part.
    """
    label = np.repeat(np.tile([0, 0, 0, 0, 1, 2], cycles), math.ceil(count / (6 * cycles)))[:count]
    border = np.cumsum(np.diff(label, prepend=0) != 0)
    hours = np.arange(PAST - 1, count - max(HORIZONS))
    whole = hours[border[hours - PAST + 1] == border[hours + max(HORIZONS)]]
    return Split(*(whole[label[whole] == part] for part in range(3)))


def prepare(weather: HourlyWeather, cycles: int) -> Task:
    """Inputs, targets and parts."""
    count = len(weather.hours)
    split = divide(count, cycles)
    temperature = weather.features.index("temp")
    order = [temperature, *(i for i in range(len(weather.features)) if i != temperature)]
    # A feature's columns side by side, one an airport; the temperatures first.
    columns = weather.values[:, :, order].transpose(0, 2, 1).reshape(count, -1)
    day = 2 * np.pi * (weather.hours.astype(int) % 24) / 24
    year = 2 * np.pi * (weather.hours - weather.hours[0]).astype(int) / (24 * 365.25)
    clock = [turn(angle) for angle in (day, 2 * day, year) for turn in (np.sin, np.cos)]
    scaled = standardised(columns, training=split.training)
    ahead = np.minimum(np.arange(count)[:, None] + np.array(HORIZONS), count - 1)
    return Task(
        hours=weather.hours,
        airports=weather.airports,
        inputs=np.concatenate([scaled.values, np.stack(clock, axis=1)], axis=1),
        now=weather.values[:, :, temperature],
        truth=weather.values[ahead, :, temperature],
        known=weather.observed[ahead, :, temperature],
        split=split,
    )


def naive(task: Task) -> dict[str, np.ndarray]:
    """Forecasts `[N, K, A]` that need no fitting; 24 hours ahead the two are one."""
    same_hour = np.arange(len(task.now))[:, None] + np.array(HORIZONS) - 24
    return {
        PERSISTENCE: np.repeat(task.now[:, None], len(HORIZONS), axis=1),
        SEASONAL: task.now[np.maximum(same_hour, 0)],
    }


def ridge(
    past: np.ndarray, truth: np.ndarray, fitted: np.ndarray, penalties: tuple[float, ...]
) -> list[np.ndarray]:
    """Forecasts `[N, A]` by least squares on the hours `fitted`, one for each penalty.

    minimise ‖truth - past W - b‖² + penalty ‖W‖²
    """
    centred, level = past - past[fitted].mean(axis=0), truth[fitted].mean(axis=0)
    weights = ridge_path(centred[fitted], truth[fitted] - level, penalties)
    return [centred @ each + level for each in weights]


def own_past(task: Task) -> np.ndarray:
    """An autoregression: each airport's temperature from its last PAST hours and the clock."""
    clock = task.inputs[:, -CLOCK:]
    forecast = np.empty_like(task.truth)
    for airport in range(len(task.airports)):
        past = np.concatenate([lagged(task.inputs[:, [airport]], PAST), clock], axis=1)
        for k in range(len(HORIZONS)):
            known = task.split.training[task.known[task.split.training, k, airport]]
            # The penalty only keeps the equations solvable.
            (found,) = ridge(past, task.truth[:, k, [airport]], known, (1e-6,))
            forecast[:, k, airport] = found[:, 0]
    return forecast


def all_past(task: Task) -> np.ndarray:
    """A vector autoregression: all temperatures from all inputs of the network.

    How many hours it reads, and how far its weights are drawn to zero, is chosen on the
    validation part, for each horizon.
    """
    penalties = (1.0, 10.0, 100.0, 1000.0, 10000.0)
    known = task.split.training[task.known[task.split.training].all(axis=(1, 2))]
    forecast = np.empty_like(task.truth)
    least = [np.inf] * len(HORIZONS)
    for order in (1, 2, 3, 6, 12, 24, PAST):
        # The clock of earlier hours adds nothing.
        observed, clock = np.split(task.inputs, [-CLOCK], axis=1)
        past = np.concatenate([lagged(observed, order), clock], axis=1)
        for found in ridge(past, task.truth.reshape(len(past), -1), known, penalties):
            shaped = found.reshape(task.truth.shape)
            for k, error in enumerate(task.rmse(shaped, task.split.validation)):
                if error < least[k]:
                    least[k], forecast[:, k] = error, shaped[:, k]
    return forecast


def blend(task: Task, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A weighted mean of two forecasts `[N, K, A]`.

    The weight is one of 0, 0.25, ..., 1, chosen on the validation part, for each horizon.
    """
    shares = np.linspace(0, 1, 5)
    errors = [task.rmse(one + share * (other - one), task.split.validation) for share in shares]
    best = shares[np.argmin(errors, axis=0)]
    return one + best[:, None] * (other - one)
