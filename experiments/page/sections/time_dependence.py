"""Time-dependent data: neighbours in time resemble each other."""

import numpy as np
from matplotlib.dates import YearLocator
from matplotlib.figure import Figure

from experiments.data.seattle import seattle_weather
from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, GREEN, GREY, RED, numbers

LAGS = (1, 2, 3, 7, 14, 30, 182, 365)
FAR = 400  # days
RAW, SEASONLESS, SHUFFLED = "as it is", "without the season", "shuffled"
LINES = {RAW: (BLUE, "-"), SEASONLESS: (GREEN, (0, (6, 2))), SHUFFLED: (RED, ":")}


def autocorrelation(series: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """The correlation of the series with itself `lag` days before."""
    return np.array([np.corrcoef(series[lag:], series[: len(series) - lag])[0, 1] for lag in lags])


def without_season(series: np.ndarray) -> np.ndarray:
    """What is left when a yearly wave and its overtone are taken away."""
    angle = 2 * np.pi * np.arange(len(series)) / 365.25
    waves = [f(k * angle) for k in (1, 2) for f in (np.sin, np.cos)]
    season = np.stack([np.ones(len(series)), *waves], axis=1)
    return series - season @ np.linalg.lstsq(season, series, rcond=None)[0]


def measure() -> Found:
    """The highest temperature, what is left of it without the season, and shuffled."""
    celsius = seattle_weather().values[:, 0]
    series = {
        RAW: celsius,
        SEASONLESS: without_season(celsius),
        SHUFFLED: np.random.default_rng(0).permutation(celsius),
    }
    lags = np.arange(1, FAR)
    curves = {name: autocorrelation(values, lags) for name, values in series.items()}
    rows = {
        f"{lag} day{'s' * (lag > 1)} before": {
            name: float(curve[lag - 1]) for name, curve in curves.items()
        }
        for lag in LAGS
    }
    return numbers(rows, [Column(name, name, ".2f") for name in LINES], curves=curves)


def draw(found: Found) -> Figure:
    """The series, and how much it resembles itself."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[5, 4])
    weather = seattle_weather()
    left.plot(weather.dates, weather.values[:, 0], color=BLUE, linewidth=0.6)
    left.xaxis.set_major_locator(YearLocator())
    left.set(title="Highest temperature in Seattle", ylabel="°C")
    for name, (colour, line) in LINES.items():
        curve = found["curves"][name]
        right.plot(np.arange(1, len(curve) + 1), curve, color=colour, linestyle=line, label=name)
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set(title="Correlation with itself", xlabel="days before", ylim=(-1, 1))
    right.legend(handlelength=4)
    return figure


def _at(found: Found, lag: int, series: str) -> str:
    return f"{found['results'][_before(lag)]['mean'][series]:.2f}".replace("-", "−")


def _before(lag: int) -> str:
    return f"{lag} day{'s' * (lag > 1)} before"


SECTION = Section(
    place=3,
    title="Time-dependent data",
    text=lambda found: [
        "Most of what is learnt from examples is learnt under one assumption: the examples are "
        "drawn independently of each other. Data that come in time break it. A warm day is "
        "mostly followed by a warm day, and the figure says how much: the correlation of "
        "Seattle's highest temperature with that of the day before is "
        f"{_at(found, 1, RAW)}, half a year before it is "
        f"{_at(found, 182, RAW)}, a year before "
        f"{_at(found, 365, RAW)}. Put the same days in a random order, "
        f"and it is {_at(found, 1, SHUFFLED)}: nothing is left.",
        "There are two kinds of memory in it. One is the calendar, which a forecaster can be told. "
        "When the season is taken away, what is left still correlates at "
        f"{_at(found, 1, SEASONLESS)} with the day before and "
        f"{_at(found, 7, SEASONLESS)} with the week before: that is "
        "the memory which has to be read off the recent past, and it soon fades.",
        "For whoever measures, this has two consequences. The simplest forecast, “tomorrow will be "
        "as today” (persistence), is already good, and every network must be compared with it "
        "and not with nothing. And a thousand days are fewer than a thousand independent "
        "observations, which we shall meet again under training, validation and leakage, and "
        "under sampling error.",
    ],
    alt=lambda found: (
        "Left, four years of daily highest temperatures: a wave a year with ragged edges. Right, "
        "correlation with the past by lag: the series itself starts at "
        f"{_at(found, 1, RAW)}, falls to "
        f"{_at(found, 182, RAW)} at half a year and rises again to "
        f"{_at(found, 365, RAW)} at a year; without the season it starts at "
        f"{_at(found, 1, SEASONLESS)} and is "
        f"{_at(found, 14, SEASONLESS)} after two weeks; shuffled it stays near "
        "zero."
    ),
    code=[autocorrelation, without_season],
    exercise=Exercise(
        "The highest temperature half a year before correlates strongly, and with a minus sign. "
        "Could a forecaster use it? Would it help one that knows the date?",
        "It can be used: a minus sign is as good as a plus sign for a linear model, which takes "
        "the negative. But it tells nothing but the season. In the column without the season the "
        "correlation at that lag is close to zero, so that a forecaster who knows the date "
        "gains nothing.",
    ),
)
