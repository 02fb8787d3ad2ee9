"""Time-dependent data: neighbours in time resemble each other."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.dates import DateFormatter, YearLocator
from matplotlib.figure import FigureBase

from experiments.baselines.linear import least_squares
from experiments.data.seattle import seattle_weather
from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.page.section import Block, Code, Equation, Exercise, Found, Heading, Plot, Section
from experiments.page.sections import numbers
from experiments.style import BLUE, FAINT, GREEN, RED

LAGS = (1, 2, 3, 7, 14, 30, 182, 365)
FAR = 400  # days
RAW, SEASONLESS, SHUFFLED = "as measured", "season removed", "shuffled"
LINES = {RAW: (BLUE, "-"), SEASONLESS: (GREEN, (0, (6, 2))), SHUFFLED: (RED, ":")}
EXAMPLE = (1, 2, 3, 2, 1, 2, 3, 2)


def autocorrelation(series: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """The correlation between the series and itself, for each lag."""
    return np.array([np.corrcoef(series[lag:], series[:-lag])[0, 1] for lag in lags])


def without_season(series: np.ndarray) -> np.ndarray:
    """What remains after a yearly wave and its overtone are subtracted."""
    angle = 2 * np.pi * np.arange(len(series)) / 365.25
    waves = [wave(k * angle) for k in (1, 2) for wave in (np.sin, np.cos)]
    season = np.stack([np.ones(len(series)), *waves], axis=1)
    rest: np.ndarray = series - season @ least_squares(season, series)
    return rest


def measure() -> Found:
    """The highest temperature, the same without the season, and shuffled."""
    celsius = seattle_weather().values[:, 0]
    series = {
        RAW: celsius,
        SEASONLESS: without_season(celsius),
        SHUFFLED: np.random.default_rng(0).permutation(celsius),
    }
    curves = {name: autocorrelation(values, range(1, FAR)) for name, values in series.items()}
    rows = {
        _earlier(lag): {name: float(curve[lag - 1]) for name, curve in curves.items()}
        for lag in LAGS
    }
    return numbers(
        rows,
        [Column(name, name, ".2f") for name in LINES],
        curves=curves,
        example=autocorrelation(np.array(EXAMPLE, float), (1, 2, 4)),
        days=len(celsius),
        deviation=float(celsius.std()),
        persistence=float(np.sqrt(np.mean(np.diff(celsius) ** 2))),
    )


def panels(found: Found) -> dict[str, Panel]:
    """The series, and how much it resembles itself."""
    return {
        "series": Panel(temperatures),
        "correlation": Panel(partial(correlations, curves=found["curves"])),
    }


def temperatures(figure: FigureBase) -> None:
    """Four years, day by day."""
    ax = figure.subplots()
    weather = seattle_weather()
    ax.plot(
        np.array(weather.dates, "datetime64[D]"), weather.values[:, 0], color=BLUE, linewidth=0.6
    )
    ax.xaxis.set_major_locator(YearLocator())
    ax.xaxis.set_major_formatter(DateFormatter("%Y"))
    ax.set(title="Highest temperature of the day in Seattle", ylabel="°C")


def correlations(figure: FigureBase, curves: dict[str, np.ndarray]) -> None:
    """Autocorrelation against the lag."""
    ax = figure.subplots()
    ax.axhline(0, color=FAINT)
    for name, (colour, line) in LINES.items():
        lags = np.arange(1, len(curves[name]) + 1)
        ax.plot(lags, curves[name], color=colour, linestyle=line, label=name)
    ax.set(title="Autocorrelation", xlabel="lag (days)", ylabel="$r_k$", ylim=(-1, 1))
    ax.legend(loc="upper center", handlelength=3.5)


def _earlier(lag: int) -> str:
    return f"{lag} day{'s' * (lag > 1)} earlier"


def _at(found: Found, lag: int, series: str) -> float:
    value: float = found["results"][_earlier(lag)]["mean"][series]
    return value


def _said(found: Found, lag: int, series: str) -> str:
    return f"{_at(found, lag, series):.2f}".replace("-", "−")


def _body(found: Found) -> Sequence[Block]:
    one, two, four = (f"{value:.0f}".replace("-", "−") for value in found["example"] + 0.0)
    return [
        "Take a novel and read one page. You can predict fairly well what the next page is about, "
        "less well what happens ten pages on, and hardly anything a hundred pages on. Now cut the "
        "book into pages and shuffle them. Every page is still there, but the one you have just "
        "read no longer helps with the next.",
        "Data that are recorded over time are like the novel. Most of machine learning assumes the "
        "shuffled book: training examples that are drawn independently of each other. In a *time "
        "series*, a sequence of measurements, neighbours resemble each other. This makes "
        "forecasting possible. It also makes it easy to fool yourself about a forecast.",
        Heading("Measuring the resemblance"),
        "Write $x_t$ for the value at time $t$, and compare the series with itself $k$ steps "
        "earlier. The shift $k$ is called the *lag*. The *autocorrelation* at lag $k$ is the "
        "ordinary correlation coefficient between the two:",
        Equation(r"r_k = \operatorname{corr}(x_t, x_{t-k})"),
        "At $r_k = 1$ the earlier value determines the present one, and a high value is followed "
        "by a high one. At −1 it also determines it, but a high value is followed by a low one. "
        "At 0 a straight line through the pairs predicts nothing.",
        f"For example, take the series {', '.join(map(str, EXAMPLE))}: a wave that repeats every "
        f"four steps. Its autocorrelation is {one} at lag 1, {two} at lag 2 and {four} at lag 4. "
        "Two steps apart a crest meets a trough; four steps apart it meets the next crest.",
        Heading("Four years of temperature"),
        "Now take the highest temperature of each day in Seattle, from 2012 to 2015, with lags of "
        "up to a little more than a year.",
        Plot(
            ["series", "correlation"],
            "First panel: the data, one value a day. Second panel: their autocorrelation against "
            "the lag, for the data as measured, after subtracting the season, and after shuffling "
            "the days.",
            "First, four years of daily highest temperatures in Seattle: one wave a year with "
            "ragged edges. Second, the autocorrelation: as measured it starts at "
            f"{_said(found, 1, RAW)}, falls to {_said(found, 182, RAW)} at half a year and rises "
            f"again to {_said(found, 365, RAW)} at a year; with the season removed it starts at "
            f"{_said(found, 1, SEASONLESS)} and is {_said(found, 14, SEASONLESS)} after two weeks; "
            "shuffled it remains near zero.",
        ),
        "A warm day is usually followed by a warm day: the correlation with the day before is "
        f"{_said(found, 1, RAW)}. With the day half a year before it is {_said(found, 182, RAW)}, "
        "since summer meets winter, and after a whole year it is positive again. Shuffle the days, "
        "and the curve is close to zero at every lag.",
        "The blue curve mixes two things. One is the calendar. A forecaster who knows the date "
        "needs no memory to know that July is warm. To see the rest, subtract the season: fit a "
        "wave with a period of one year, and one with a period of half a year, by least squares.",
        "The rest is the weather itself: is this day warmer than usual for the time of year? The "
        f"correlation with the day before is now {_said(found, 1, SEASONLESS)}, and with the "
        f"day a week before {_said(found, 7, SEASONLESS)}. Only the recent past can predict "
        "this part, and its influence fades within days. The large negative correlation at half a "
        "year is gone: it was all calendar.",
        Code([autocorrelation, without_season]),
        Heading("Two consequences"),
        "First, the simplest forecast is already good. *Persistence* predicts that tomorrow will "
        "be like today. A simple rule with which a network is compared is called a *baseline*; a "
        "network that does not beat persistence has learned nothing of use. More baselines come "
        "[later in the lesson](#simple_wins).",
        "Second, a thousand days are worth fewer than a thousand independent observations. A day "
        "that resembles the day before adds little that is new. This matters when data are split "
        "into a training set and a test set ([leakage](#leakage)), and when you ask how certain a "
        "measured error is ([sampling error](#sampling_error)).",
    ]


def _exercises(found: Found) -> list[Exercise]:
    # With the numbers that the reader is given.
    r, deviation = round(_at(found, 1, RAW), 2), round(found["deviation"], 1)
    persistence = math.sqrt(2 * (1 - r)) * deviation
    rest, days = round(_at(found, 1, SEASONLESS), 2), found["days"]
    count = days * (1 - rest) / (1 + rest)
    return [
        Exercise(
            "Predicting the mean every day has a root mean squared error (RMSE) of $s$, the "
            "standard deviation of the series. Persistence has an RMSE of $\\sqrt{2 (1 - r_1)} "
            f"\\, s$. How large is that for $s = {deviation}$ °C and $r_1 = {r}$? And above which "
            "$r_1$ does persistence beat the mean?",
            f"$\\sqrt{{2 (1 - {r})}} \\cdot {deviation} = {persistence:.1f}$ °C; counted directly "
            f"in the data it is {found['persistence']:.1f} °C. Persistence is better if "
            "$2 (1 - r_1) < 1$, that is above $r_1 = 0.5$.",
            {"RMSE (°C)": persistence, "Above r₁": 0.5},
        ),
        Exercise(
            "Suppose each day's deviation from the season is $r$ times that of the day before, "
            "plus something new and independent. The mean of $n$ such days is then as uncertain "
            "as the mean of about $n (1 - r) / (1 + r)$ independent days. How many independent "
            f"days are the {days} days of the figure worth, with $r = {rest}$?",
            f"{days} · {1 - rest:.2f} / {1 + rest:.2f} = {count:.0f}. In this sense "
            f"four years of weather contain about {100 * count / days:.0f} % of the observations "
            "that they seem to contain.",
            {"Independent days": count},
        ),
    ]


SECTION = Section(title="Time-dependent data", body=_body, exercises=_exercises)
