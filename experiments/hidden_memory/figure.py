"""Memory of noise, memory of weather, and a state over the year."""

from collections.abc import Callable, Collection
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, MonthLocator, date2num
from matplotlib.figure import FigureBase

from experiments.hidden_memory.experiment import ALONE, LINE, Shown, Studied, beyond
from experiments.hidden_memory.options import NUMBERS
from experiments.hidden_memory.tasks import NOISE_LAGS, WEATHER_LAGS, Year
from experiments.lab.panels import Panel
from experiments.measures.seeds import mean_over_seeds
from experiments.style import DIVERGING, FAINT, GREY, STYLES

FEW = ("tanh", "tanh-orthogonal", "gru", "lstm")  # drawn first; seven curves are too many


def panels(shown: Shown) -> dict[str, Panel]:
    """R² of noise before and after training, its sums; the same for weather; a state's units."""
    few, others = first_and_others(shown.networks)
    on_noise = {
        "noise-before": (few, 0, "White noise, before training"),
        "noise-after": (few, 1, "White noise, after training on recall"),
    }
    if others:
        on_noise["others"] = (others, 1, "Other networks, after training on recall")
    return {
        **{
            name: Panel(partial(noise, shown=shown, names=names, index=index, title=title), 3.4)
            for name, (names, index, title) in on_noise.items()
        },
        "capacity": Panel(partial(capacities, shown=shown), 3.4),
        "weather": Panel(partial(weather, shown=shown, names=few), 3.4),
        "beyond": Panel(partial(share, shown=shown, names=few), 3.4),
        "strip": Panel(partial(over_the_year, shown=shown), 4.2),
    }


def first_and_others(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Those of FEW and the others; all and none where none of FEW is there."""
    few = [name for name in names if name in FEW] or list(names)
    return few, [name for name in names if name not in few]


def _curves(ax: Axes, shown: Shown, names: list[str], curve: Callable[[Studied], np.ndarray],
            first: int = 0) -> None:  # fmt: skip
    """A line for each network against the lag, from lag `first` on."""
    for name in names:
        values = curve(shown.networks[name])
        lags = np.arange(first, first + len(values))
        ax.plot(lags, values, label=STYLES[name].label, **STYLES[name].curve)


def noise(figure: FigureBase, shown: Shown, names: list[str], index: int, title: str) -> None:
    """R² of white noise against the lag, before training (index 0) or after (1)."""
    ax = figure.subplots()
    lags = np.arange(NOISE_LAGS + 1)
    ax.step(lags, lags < NUMBERS, ":", color=GREY, where="mid", label=LINE)
    _curves(ax, shown, names, lambda one: mean_over_seeds(one.noise, "r2")[index])
    ax.set(xlabel="lag (steps back)", ylabel="R²", xlim=(0, NOISE_LAGS), ylim=(-0.03, 1.05))
    ax.set_title(title)
    ax.legend(loc="upper right", handlelength=3.5)


def capacities(figure: FigureBase, shown: Shown) -> None:
    """One row a network: the sum of R² before training (open) and after it (filled)."""
    ax = figure.subplots()
    for place, (name, studied) in enumerate(shown.networks.items()):
        style = STYLES[name]
        pair = mean_over_seeds(studied.noise, "r2").sum(axis=1)
        ax.plot(pair, [place, place], **style.curve)
        for value, inside in zip(pair, ("white", style.colour), strict=True):
            ax.plot(value, place, style.marker, color=style.colour, markerfacecolor=inside)
        for part in studied.noise:
            sums = part["r2"].sum(axis=1)
            ax.plot(sums, [place + 0.25] * 2, "|", color=style.colour, markersize=5)
    ax.axvline(NUMBERS, color=GREY, linestyle=":")
    labels = [studied.label for studied in shown.networks.values()]
    ax.set_yticks(range(len(labels)), labels)
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlim=(0, NUMBERS + 2))
    ax.set_xlabel(f"sum of R² over lags (dotted: limit, {NUMBERS})")
    ax.set_title("Memory capacity")


def _hours(ax: Axes) -> None:
    ax.set(xlabel="lag (hours back)", xlim=(0, WEATHER_LAGS))
    ax.set_xticks(range(0, WEATHER_LAGS + 1, 24))


def weather(figure: FigureBase, shown: Shown, names: list[str]) -> None:
    """R² of the weather against the lag, after training."""
    ax = figure.subplots()
    lags = np.arange(WEATHER_LAGS + 1)
    alone = shown.alone.weather[0]
    ax.plot(lags, alone["r2"][1], color="black", linewidth=2.2, label=ALONE)
    _curves(ax, shown, names, lambda one: mean_over_seeds(one.weather, "r2")[1])
    _hours(ax)
    ax.set(title="Temperature, after training on forecasts", ylabel="R²", ylim=(0, 1.03))
    ax.legend(loc="lower left", handlelength=3.5)


def share(figure: FigureBase, shown: Shown, names: list[str]) -> None:
    """The share of the latest input's error that the state removes."""
    ax = figure.subplots()
    alone = shown.alone.weather[0]["error"][0]
    ax.axhline(0, color=FAINT)
    _curves(
        ax, shown, names, lambda one: beyond(mean_over_seeds(one.weather, "error")[1], alone), 1
    )
    _hours(ax)
    ax.set(title="Error removed by reading the state", ylim=(-0.2, 1.03))
    ax.set_ylabel("share of the error of $x_t$ alone")
    ax.legend(loc="upper right", handlelength=3.5)


def followed(networks: Collection[str]) -> str:
    """The network whose units are shown over the year: the GRU, or the first there is."""
    return "gru" if "gru" in networks else next(iter(networks))


def over_the_year(figure: FigureBase, shown: Shown) -> None:
    """The temperature, and below it every unit, the slowest on top."""
    studied = shown.networks[followed(shown.networks)]
    year, states = shown.year, studied.weather[0]["states"].astype(float)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2.6])
    above.set_title(f"The trained {studied.label} over a year")
    often = slice(WEATHER_LAGS, None, 6)  # six-hourly is as fine as can be seen
    above.plot(year.hours[often], year.degrees[often], color="black", linewidth=0.7)
    above.set_ylabel("°C")
    units, scales = turned(states, year)
    when = date2num(year.hours[often])
    image = below.imshow(
        units[often].T, aspect="auto", cmap=DIVERGING, vmin=-2.5, vmax=2.5,
        extent=(when[0], when[-1], len(scales) - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    some = np.linspace(0, len(scales) - 1, 6, dtype=int)
    below.set_yticks(some, [duration(scales[place]) for place in some])
    below.set_ylabel("time scale of the unit")
    below.xaxis.set_major_locator(MonthLocator(bymonth=range(1, 13, 2)))
    below.xaxis.set_major_formatter(DateFormatter("%b"))
    figure.colorbar(image, ax=[above, below], label="standard deviations from the mean", pad=0.02)


def turned(states: np.ndarray, year: Year) -> tuple[np.ndarray, np.ndarray]:
    """Units in deviations `[N, S]`, the slowest first, and their time scales `[S]`.

    The sign of a unit means nothing: each is turned so that it is high where it is warm.
    """
    scales = time_scales(states)
    order = np.argsort(-scales)
    moved = states - states.mean(axis=0)
    moved *= np.sign(moved.T @ year.values)
    moved /= np.maximum(moved.std(axis=0), 1e-12)
    return moved[:, order], scales[order]


def time_scales(states: np.ndarray) -> np.ndarray:
    """Steps `[S]` after which each unit's autocorrelation first falls below 1/e."""
    moved = states - states.mean(axis=0)
    # Twice as long, so that the end does not meet the beginning.
    spectrum = np.abs(np.fft.rfft(moved, 2 * len(moved), axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[: len(moved)]
    scales: np.ndarray = np.argmax(correlation <= correlation[0] / np.e, axis=0)
    return scales


def duration(hours: int) -> str:
    """In hours up to two days."""
    return f"{hours} h" if hours <= 48 else f"{hours / 24:.0f} days"
