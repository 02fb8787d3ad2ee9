"""White noise and a year of weather: what the networks read, and the past that is looked for."""

from typing import NamedTuple

import numpy as np

from experiments.baselines.linear import lagged
from experiments.data.new_york import new_york_weather
from experiments.data.packages import Provenance
from experiments.data.scaling import standardised

NOISE_LAGS = 64  # lags at which the memory of noise is measured: twice what could be held
WEATHER_LAGS = 96  # hours, likewise for weather
WASHOUT = 2 * NOISE_LAGS  # steps of noise read before the first one that is measured


def past(inputs: np.ndarray, lags: int) -> np.ndarray:
    """`[T, B]` to `[T, B, lags + 1]`: the inputs 0 to `lags` steps ago."""
    return lagged(inputs, lags + 1).reshape(len(inputs), lags + 1, -1).swapaxes(1, 2)


class Noise(NamedTuple):
    """White noise whose past is to be read.

    Attributes:
      inputs: `[T, B]`.
      wanted: `[n, NOISE_LAGS + 1]`, a row for each step after WASHOUT: its inputs k steps ago.
      fitted: rows of the first half of the sequences, for the readout.
      measured: rows of the second half, for R².
    """

    inputs: np.ndarray
    wanted: np.ndarray
    fitted: slice
    measured: slice


def white_noise(seed: int) -> Noise:
    """The noise on which a seed's networks are measured."""
    # Little longer than training sequences: far beyond them, sums without end would drift.
    inputs = np.random.default_rng([seed, 1]).standard_normal((2 * WASHOUT, 320))
    wanted = settled(past(inputs, NOISE_LAGS))
    half = len(wanted) // 2
    return Noise(inputs, wanted, slice(half), slice(half, None))


def settled(sequences: np.ndarray) -> np.ndarray:
    """The steps after WASHOUT, `[T, B, K]`, as rows `[n, K]`, one sequence after another."""
    return sequences[WASHOUT:].swapaxes(0, 1).reshape(-1, sequences.shape[-1])


class Year(NamedTuple):
    """The temperature at JFK airport in 2013, standardised by its first two thirds.

    Attributes:
      hours: `[N]`, in UTC.
      degrees: `[N]`, in °C, NaN where nothing was observed.
      values: `[N]`, standardised, the last observation where there is none.
      fitted: the hours that train networks and readouts.
      measured: the hours on which R² is measured, a gap of WEATHER_LAGS after them.
    """

    hours: np.ndarray
    degrees: np.ndarray
    values: np.ndarray
    fitted: slice
    measured: slice


def jfk_in_2013() -> tuple[Year, Provenance]:
    """The year, and where it comes from."""
    weather = new_york_weather()
    place = weather.airports.index("JFK"), weather.features.index("temp")
    filled = weather.values[:, *place]
    degrees = np.where(weather.observed[:, *place], filled, np.nan)
    border = len(degrees) * 2 // 3
    fitted, measured = slice(WEATHER_LAGS, border), slice(border + WEATHER_LAGS, None)
    values = standardised(filled[:, None], training=fitted).values[:, 0]
    return Year(weather.hours, degrees, values, fitted, measured), weather.provenance
