"""The errors, what the networks save over the linear blend, intervals, and a stretch of days."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.dates import DateFormatter, DayLocator
from matplotlib.figure import FigureBase

from experiments.lab.panels import Panel
from experiments.style import BLUE, GREY, RED, STYLES
from experiments.temperature.experiment import NETWORK, RIVAL, ROUGH, Compared
from experiments.temperature.scores import LEVEL, RECENT, half_widths
from experiments.temperature.task import HORIZONS

STRETCH = 8 * 24  # hours of which the forecast is drawn
AHEAD = [f"{horizon} h" for horizon in HORIZONS]
NETWORK_COLOUR = STYLES["gru"].colour


def panels(shown: Compared) -> dict[str, Panel]:
    """Four panels."""
    return {
        "errors": Panel(partial(errors, shown=shown), 4.8),
        "gains": Panel(partial(gains, shown=shown), 4.8),
        "coverage": Panel(partial(coverage, network=shown.mean(NETWORK)), 3.6),
        "stretch": Panel(partial(stretch, shown=shown), 3.6),
    }


def errors(figure: FigureBase, shown: Compared) -> None:
    """A part a horizon, a row a model; networks filled, the others open."""
    models = shown.baselines | {name: shown.mean(name) for name in shown.rows}
    figure.suptitle("Error on the test set", fontsize=10.5)
    rows = figure.subplots(len(HORIZONS), 1)
    for ax, horizon in zip(rows, HORIZONS, strict=True):
        largest = max(model[f"rmse_{horizon}"] for model in models.values())
        for place, (name, model) in enumerate(models.items()):
            error, ours = model[f"rmse_{horizon}"], name in shown.rows
            colour = NETWORK_COLOUR if ours else GREY
            ax.plot([0, error], [place, place], ":", color=colour, linewidth=1)
            ax.plot(
                error, place, "o" if ours else "D", color=colour,
                markerfacecolor=colour if ours else "white",
            )  # fmt: skip
            ax.annotate(
                f"{error:.2f}", (error, place), (8, 0), textcoords="offset points", va="center"
            )
        ax.set_yticks(range(len(models)), list(models), fontsize=9)
        ax.set(xlim=(0, 1.25 * largest), ylim=(len(models) - 0.5, -0.5))
        ax.set_ylabel(f"{horizon} h ahead")
    rows[-1].set_xlabel("RMSE (°C)")


def gains(figure: FigureBase, shown: Compared) -> None:
    """Each network against the linear blend, with the bootstrap's interval, and every seed."""
    figure.suptitle(f"The networks against the {RIVAL}", fontsize=10.5)
    parts = figure.subplots(2, 1)  # what one gains or loses would hide the other
    for ax, name, fill in zip(parts, (NETWORK, ROUGH), (NETWORK_COLOUR, "white"), strict=True):
        mean, labels = shown.mean(name), []
        for row, horizon in enumerate(HORIZONS):
            value, low, high = (mean[f"gain_{end}{horizon}"] for end in ("", "low_", "high_"))
            ax.plot([low, high], [row, row], "-|", color=NETWORK_COLOUR, markersize=10)
            each = [seed[f"gain_{horizon}"] for seed in shown.rows[name]]
            ax.plot(each, [row] * len(each), "o", color=NETWORK_COLOUR, markerfacecolor=fill)
            labels.append(f"{horizon} h: {value:+.1f} %".replace("-", "−"))
        ax.axvline(0, color="black", linewidth=1)
        ax.margins(x=0.12)
        ax.set_yticks(range(len(HORIZONS)), labels)
        ax.set(ylim=(len(HORIZONS) - 0.5, -0.5), ylabel="ahead")
        ax.set_title(name, fontsize=10)
    parts[-1].set_xlabel("mean squared error saved (%)")


def coverage(figure: FigureBase, network: Mapping[str, float]) -> None:
    """What share of the truths the network's intervals cover, and how wide they are."""
    ax = figure.subplots()
    kinds = (
        ("fixed", "from the validation set", BLUE, "s", -0.15),
        ("recent", f"from the last {RECENT // 24} days", RED, "^", 0.15),
    )
    for kind, label, colour, marker, shift in kinds:
        covered, width = (
            [network[f"{x}_{kind}_{horizon}"] for horizon in HORIZONS]
            for x in ("coverage", "width")
        )
        rows = np.arange(len(HORIZONS)) + shift
        ax.plot(covered, rows, marker, color=colour, label=label)
        for share, row, wide in zip(covered, rows, width, strict=True):
            ax.annotate(
                f"{share:.0f} %, {wide:.1f} °C wide", (share, row), (-8, 0), ha="right",
                va="center", textcoords="offset points",
            )  # fmt: skip
    ax.axvline(100 * LEVEL, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(HORIZONS)), AHEAD)
    least = min(network[f"coverage_{kind}_{h}"] for kind in ("fixed", "recent") for h in HORIZONS)
    ax.set(xlim=(min(45, least - 25), 101), ylim=(len(HORIZONS) - 0.5, -1.3), ylabel="ahead")
    ax.set_xlabel("true values inside the interval (%)")
    ax.set_title("Coverage of the network's intervals")
    ax.legend(loc="upper left")


def stretch(figure: FigureBase, shown: Compared) -> None:
    """The forecasts for the farthest horizon in the middle of the test part, over the truth."""
    ax = figure.subplots()
    task, k, airport = shown.task, len(HORIZONS) - 1, len(shown.task.airports) - 1
    middle = max((len(task.split.test) - STRETCH) // 2, 0)
    some = slice(middle, middle + STRETCH)
    hours = task.split.test[some]
    half = half_widths(task, shown.network)[1][some, k]
    when = task.hours[hours] + np.timedelta64(HORIZONS[k], "h")
    centre = shown.network[hours, k, airport]
    ax.fill_between(
        when, centre - half, centre + half, color=NETWORK_COLOUR, alpha=0.15, linewidth=0,
        label=f"{100 * LEVEL:.0f} % interval",
    )  # fmt: skip
    came = np.where(task.known[hours, k, airport], task.truth[hours, k, airport], np.nan)
    ax.plot(when, came, color="black", linewidth=1.6, label="observed")
    ax.plot(when, centre, color=NETWORK_COLOUR, linestyle=(0, (6, 1.5)), label="network")
    rival = shown.rival[hours, k, airport]
    ax.plot(when, rival, color=BLUE, linestyle=(0, (1, 1)), label=RIVAL)
    ax.xaxis.set_major_locator(DayLocator(interval=2))
    ax.xaxis.set_major_formatter(DateFormatter("%d %b"))
    ax.set(ylabel="°C", xlim=(when[0], when[-1]))
    ax.set_title(f"Forecasts {HORIZONS[k]} h ahead for {task.airports[airport]}")
    figure.legend(loc="outside lower center", ncols=2)
