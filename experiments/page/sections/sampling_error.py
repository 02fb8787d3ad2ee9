"""Sampling error: how sure one may be of a difference."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.measures.intervals import block_bootstrap, mean_interval
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
)
from experiments.page.sections import Forecasting, numbers
from experiments.style import BLUE, GREY, RED

SIZES = (20, 40, 60, 90, 120, 180, 240, 300, 365)
BLOCKS = (1, 7, 14, 28)  # days
BLOCK = 14  # of the first panel and of the text
DRAWS = 2000
# Of the exercises.
FEW_DAYS, TIMES = 30, 4
LONG_BLOCK = 60
COMMAND = (
    'python -c "from experiments.page.sections.sampling_error import differences, interval; '
    f'print(interval(differences(), {LONG_BLOCK}))"'
)


def differences() -> np.ndarray:
    """The square error of persistence minus that of the linear model, in °C², each day of 2015."""
    task = Forecasting()
    days = np.arange(task.test, len(task.celsius))
    weights = task.fit(np.arange(task.order, task.validation))
    persistence = task.celsius[days - 1] - task.celsius[days]
    linear = task.past[days] @ weights - task.celsius[days]
    saved: np.ndarray = persistence**2 - linear**2
    return saved


def interval(values: np.ndarray, block: int) -> tuple[float, float]:
    """The middle 95 % of the means over resampled blocks of days."""
    return mean_interval(values, block=block, draws=DRAWS, seed=0)


def measure() -> Found:
    """What the linear forecast saves over persistence, by test days and by length of the blocks."""
    values = differences()
    rows = {}
    for size in SIZES:
        first = values[:size]
        ends = {block: interval(first, block) for block in BLOCKS}
        rows[f"{size} days"] = {
            "size": size,
            "mean": float(first.mean()),
            **{f"low_{block}": low for block, (low, _) in ends.items()},
            **{f"high_{block}": high for block, (_, high) in ends.items()},
        }
    columns = [Column("mean", "saved (°C²)", ".2f")]
    for block in BLOCKS:
        header = f"95 %, blocks of {block} days" if block > 1 else "95 %, single days"
        columns += [Column(f"low_{block}", f"{header}\nfrom", ".2f")]
        columns += [Column(f"high_{block}", "\nto", ".2f")]
    follows = np.corrcoef(values[:-1], values[1:])[0, 1]
    return numbers(rows, columns, follows=float(follows))


def panels(found: Found) -> dict[str, Panel]:
    """The difference by the size of the test, and by the length of the blocks."""
    return {
        "sizes": Panel(partial(_sizes, found=found)),
        "blocks": Panel(partial(_blocks, found=found)),
    }


def _sizes(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    rows = [row["mean"] for row in found["results"].values()]
    ax.vlines(
        [row["size"] for row in rows], [row[f"low_{BLOCK}"] for row in rows],
        [row[f"high_{BLOCK}"] for row in rows], color=BLUE, linewidth=2,
    )  # fmt: skip
    ax.plot([row["size"] for row in rows], [row["mean"] for row in rows], "o", color=BLUE)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="test days, from 1 January on", ylabel="square error saved (°C²)")
    ax.set_title(f"More and more test days, in blocks of {BLOCK}")


def _blocks(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    row = _row(found, SIZES[-1])
    for place, block in enumerate(BLOCKS):
        low, high = row[f"low_{block}"], row[f"high_{block}"]
        colour = GREY if low <= 0 <= high else RED
        ax.plot([place, place], [low, high], "-_", color=colour, linewidth=2, markersize=12)
        ax.plot(place, row["mean"], "o", color=colour)
        ax.annotate(
            f"{low:.2f}".replace("-", "−"), (place, low), (9, 7 if low > 0 else -1),
            textcoords="offset points", va="center",
        )  # fmt: skip
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(BLOCKS)), list(map(str, BLOCKS)))
    ax.set(xlim=(-0.5, len(BLOCKS) - 0.3), xlabel="days in a block")
    ax.set_ylabel("square error saved (°C²)")
    ax.set_title(f"All {SIZES[-1]} days, by the length of a block")


def _row(found: Found, size: int) -> Found:
    return found["results"][f"{size} days"]["mean"]


def _from_to(found: Found, size: int, block: int) -> str:
    """An interval in words."""
    row = _row(found, size)
    return f"{row[f'low_{block}']:.2f} to {row[f'high_{block}']:.2f}".replace("-", "−")


def _excluding(found: Found) -> list[int]:
    """The blocks whose interval over all days does not include zero."""
    row = _row(found, SIZES[-1])
    return [b for b in BLOCKS if not row[f"low_{b}"] <= 0 <= row[f"high_{b}"]]


def body(found: Found) -> Sequence[Block]:
    """The bootstrap, pairs, blocks, and what an interval close to zero means."""
    return [
        "One model has a test error of 2.8 °C, another 2.9 °C. Is the first one better? Both were "
        "measured on some test days. On other days the errors would have been different, and "
        "perhaps their order too. An interval says how different.",
        Heading("The bootstrap"),
        "You have only one test set, but it can show you how much its mean varies. Draw from it, "
        "with replacement, a new sample of the same size, and take the mean. Do this a few "
        "thousand times. The middle 95 % of these means form a 95 % interval for the true mean. "
        "This is the *bootstrap* (Efron 1979).",
        "Say that the test set is three days, with errors of 1, 2 and 6 °C. One sample might be "
        "2, 6, 6, with a mean of 4.7; another 1, 1, 2, with a mean of 1.3. With so few days the "
        "means are far apart, and the interval is wide.",
        "Two refinements matter for sequences:",
        Bullets([
            "*Compare in pairs.* A day that is hard for one model is usually hard for the other. "
            "So take the difference of the two errors on each day, and resample the differences.",
            "*Draw blocks.* If good days follow good days, single days give too narrow an "
            "interval. Draw whole blocks of consecutive days instead (Künsch 1989). A block that "
            "reaches over the end continues at the beginning, so that every day is equally likely "
            "to be drawn (Politis and Romano 1992).",
        ]),
        Heading("Is the linear model better than persistence?"),
        "On each day of 2015 in Seattle, [persistence](#time_dependence) predicts today's highest "
        "temperature for tomorrow, and a linear model uses the last two weeks. We resample the "
        "squared error of persistence minus that of the linear model. Above zero, the linear model "
        "is better.",
        Plot(
            ["sizes", "blocks"],
            "Dots: mean difference. Bars: its 95 % interval. First panel: for the first 20, 40, … "
            f"days of the test year, with blocks of {BLOCK} days. Second panel: for the whole "
            "year, with blocks of other lengths; a bar is red where it does not include zero, and "
            "its lower end is given as a number.",
            "Two charts of the squared error saved, in °C². First, by test days: "
            + "; ".join(
                f"{size} days {_row(found, size)['mean']:.2f}".replace("-", "−")
                + f", from {_from_to(found, size, BLOCK)}"
                for size in (SIZES[0], 120, SIZES[-1])
            )
            + f". Second, {SIZES[-1]} days by the length of the blocks: "
            + "; ".join(f"{b}, from {_from_to(found, SIZES[-1], b)}" for b in BLOCKS)
            + ".",
        ),
        f"After 40 days the mean is {_row(found, 40)['mean']:.2f} °C² and the interval goes from "
        f"{_from_to(found, 40, BLOCK)}. It includes zero, so *no difference was found*. That is "
        "not the same as “there is no difference”: the test may be too small to show one.",
        *_border(found),
        *_single(found),
        Heading("What an interval leaves out"),
        f"Look at the far left of the figure. After {SIZES[0]} days the interval goes from "
        f"{_from_to(found, SIZES[0], BLOCK)}, but after 90 days the mean is "
        f"{_row(found, 90)['mean']:.2f} °C². ".replace("-", "−")
        + "A test set of one or two blocks says almost nothing about how blocks vary, so the "
        "interval itself is unreliable. In the same way, a single year says little about how "
        "years differ.",
        "The test days are only one source of chance. The seed is another: a network that is "
        "trained again from other initial weights makes other errors. That is why the experiments "
        "on this page use several seeds, and their tables give the mean ± the standard deviation "
        "over them.",
        Code([block_bootstrap], "The block bootstrap"),
    ]  # fmt: skip


def _border(found: Found) -> Sequence[Block]:
    """What the whole year says, by every length of the blocks."""
    out = _excluding(found)
    told = (
        f"After the whole year the mean is {_row(found, SIZES[-1])['mean']:.2f} °C², and with "
        f"blocks of {BLOCK} days the interval goes from {_from_to(found, SIZES[-1], BLOCK)}."
    )
    if not 0 < len(out) < len(BLOCKS):
        return [f"{told} All lengths of blocks agree on whether it includes zero."]
    within = [block for block in BLOCKS if block not in out]
    return [
        f"{told} That is a borderline case.",
        f"With blocks of {_listed(out)} days the interval only just excludes zero; with "
        f"{_listed(within)} it includes it. No rule gives the one right length. A block should be "
        "longer than the time over which errors resemble each other, and short enough to leave "
        "many blocks.",
        "So what do you report? That the linear model probably has the smaller error, and that "
        "the year is too short to be sure. An interval that only just excludes zero is weak "
        "evidence. It would be wrong to try several lengths and report the one that suits you: "
        "choose the length before you look, or show them all.",
    ]


def _listed(blocks: Sequence[int]) -> str:
    return " and ".join(f"{b} (single days)" if b == 1 else str(b) for b in blocks)


def _single(found: Found) -> Sequence[Block]:
    """Why single days may give the wider interval."""
    row = _row(found, SIZES[-1])
    single, blocks = (row[f"high_{b}"] - row[f"low_{b}"] for b in (1, BLOCK))
    if not (found["follows"] < 0 and blocks < single):
        return []
    return [
        "Here single days give the wider interval, not the narrower one. The likely reason is the "
        f"correlation between one day's difference and the next, {found['follows']:.2f}".replace(
            "-", "−"
        )
        + ": a day on which the linear model gains tends to be followed by one on which it loses. "
        "The two partly cancel within a block. So with single days an interval may be too narrow "
        "or too wide, depending on the data."
    ]


def exercises(found: Found) -> Sequence[Exercise]:
    """The square root of the number of days, and another length of the blocks."""
    low, high = interval(differences(), LONG_BLOCK)
    zero = "does, so no difference was found" if low <= 0 <= high else "does not"
    return [
        Exercise(
            f"An interval from {FEW_DAYS} test days is 2 °C² wide, and the differences are "
            "independent from day to day. About how many days would make it 0.5 °C² wide?",
            f"{FEW_DAYS * TIMES**2}. The width falls with the square root of the number of days: "
            f"for a quarter of the width you need {TIMES**2} times as many.",
            {"Days": FEW_DAYS * TIMES**2},
        ),
        Exercise(
            f"Now take blocks of {LONG_BLOCK} days: run `{COMMAND}`, which prints the lower and "
            "the upper end of the interval for the whole year. Does it include zero?",
            f"It goes from {low:.3f} to {high:.3f}. It ".replace("-", "−") + f"{zero}. But a year "
            f"has only {SIZES[-1] // LONG_BLOCK} such blocks, too few to show how blocks vary.",
            {"Lower end": low, "Upper end": high},
        ),
    ]


SECTION = Section(title="Sampling error", body=body, exercises=exercises)
