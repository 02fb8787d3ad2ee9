"""Sampling error: how sure one may be of a difference."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.harness import Column
from experiments.measures.intervals import block_bootstrap
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, GREY, RED, Forecasting, numbers

SIZES = (20, 40, 60, 90, 120, 180, 240, 300, 365)
BLOCK = 14  # days
DRAWS = 2000


def interval(differences: np.ndarray, block: int) -> np.ndarray:
    """95 % of the means over resampled blocks of days."""
    days = np.arange(len(differences))
    means = block_bootstrap(differences[:, None], days, block=block, draws=DRAWS, seed=0)
    return np.percentile(means[:, 0], [2.5, 97.5])


def measure() -> Found:
    """What the linear forecast wins over persistence, in squared error, by test days."""
    task = Forecasting()
    days = np.arange(task.test, len(task.celsius))
    persistence = task.celsius[days - 1] - task.celsius[days]
    linear = task.forecasts[days] - task.celsius[days]
    differences = persistence**2 - linear**2
    rows = {}
    for size in SIZES:
        first = differences[:size]
        (low, high), (low_1, high_1) = (interval(first, block) for block in (BLOCK, 1))
        rows[f"{size} days"] = {
            "size": size, "mean": float(first.mean()), "low": low, "high": high,
            "low_1": low_1, "high_1": high_1,
        }  # fmt: skip
    columns = [
        Column("mean", "won (°C²)", ".2f"),
        Column("low", "95 %, blocks\nfrom", ".2f"),
        Column("high", "\nto", ".2f"),
        Column("low_1", "95 %, single days\nfrom", ".2f"),
        Column("high_1", "\nto", ".2f"),
    ]
    follows = np.corrcoef(differences[:-1], differences[1:])[0, 1]
    return numbers(rows, columns, follows=float(follows))


def draw(found: Found) -> Figure:
    """The difference with both intervals, by the size of the test."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    ax = figure.subplots()
    rows = [row["mean"] for row in found["results"].values()]
    for shift, low, high, colour, line, label in (
        (-2, "low", "high", BLUE, "-", f"95 %, blocks of {BLOCK} days"),
        (2, "low_1", "high_1", RED, "--", "95 %, single days"),
    ):
        ax.vlines(
            [row["size"] + shift for row in rows], [row[low] for row in rows],
            [row[high] for row in rows], color=colour, linestyle=line, label=label,
        )  # fmt: skip
    ax.plot([r["size"] for r in rows], [r["mean"] for r in rows], "o-", color=GREY, linewidth=0.8)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="days of the test year", ylabel="squared error won (°C²)")
    ax.legend()
    return figure


def _row(found: Found, size: int) -> Found:
    return found["results"][f"{size} days"]["mean"]


def _verdict(row: Found) -> str:
    return "leaves zero out" if row["low"] > 0 or row["high"] < 0 else "holds zero"


def _because(found: Found) -> str:
    whole = _row(found, SIZES[-1])
    single, blocks = (whole[f"high{end}"] - whole[f"low{end}"] for end in ("_1", ""))
    told = f": over the whole year single days give {whole['low_1']:.2f} to {whole['high_1']:.2f}"
    if found["follows"] < 0 and blocks < single:
        return f"{told}, which is wider, for what one day wins the next tends to lose"
    return told


SECTION = Section(
    place=21,
    title="Sampling error",
    text=lambda found: [
        "Every number on this page was measured on some test days or texts, and on others it "
        "would have come out differently. How differently can be told from the sample itself: "
        "draw from it, with replacement, a new sample of the same size, take the mean again, and "
        "do this a few thousand times. The middle 95 % of these means are an interval for the "
        "true one. This is the bootstrap.",
        "The figure asks how much squared error a linear forecast saves against persistence, in "
        "2015. The two are compared day by day, since a day that is hard for one is hard for the "
        "other: differences of pairs vary less than the errors do. After 40 days the linear model "
        f"has won {_row(found, 40)['mean']:.2f} °C² a day and the interval goes from "
        f"{_row(found, 40)['low']:.2f} to {_row(found, 40)['high']:.2f}: it "
        f"{_verdict(_row(found, 40))}. After the whole year it has won "
        f"{_row(found, 365)['mean']:.2f}, from {_row(found, 365)['low']:.2f} to "
        f"{_row(found, 365)['high']:.2f}, and the interval {_verdict(_row(found, 365))}.",
        "Neighbouring days hang together, so they must be drawn together: the solid lines are by "
        f"blocks of {BLOCK} days. Where good days follow good ones, single days would make the "
        "interval too narrow. Here a day's win and the next day's correlate by "
        f"{found['follows']:.2f}{_because(found)}. With few blocks to draw from, at the left, an "
        "interval of either kind is itself a guess. And the test days are one source of chance, "
        "the seed another: a network trained again from other first weights comes out elsewhere. "
        "Where an experiment takes several seeds, its table gives mean ± deviation over them. “No "
        "difference was found” is an honest result and stands on this page where it was the "
        "result.",
    ],
    alt=lambda found: (
        "Squared error won against persistence by the number of test days, with intervals: "
        + "; ".join(
            f"{size} days {_row(found, size)['mean']:.2f}, from {_row(found, size)['low']:.2f} to "
            f"{_row(found, size)['high']:.2f}"
            for size in (SIZES[0], 120, SIZES[-1])
        )
        + " °C². These are by blocks; by single days the interval is "
        + " and ".join(
            f"{_row(found, size)['low_1']:.2f} to {_row(found, size)['high_1']:.2f} at {size} days"
            for size in (SIZES[0], SIZES[-1])
        )
        + "."
    ),
    code=[block_bootstrap],
    exercise=Exercise(
        "An interval from 30 test days is 2 °C² wide. The differences are independent from day to "
        "day. About how many days would make it 0.5 °C² wide?",
        "480. The width falls with the square root of the number of days: a quarter of the width "
        "takes sixteen times as many.",
        number=30 * 4**2,
    ),
)
