"""Accuracy of every network on either task."""

from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.panels import Panel
from experiments.order_matters.experiment import NEIGHBOURS, OnTask, Shown
from experiments.style import BLUE, GREY, ORANGE, PURPLE, RED

LOOKS = {"mean": (RED, "s"), "alone": (ORANGE, "D"), "recurrent": (BLUE, "o"),
         "orderless": (PURPLE, "v")}  # fmt: skip


def panels(shown: Shown) -> dict[str, Panel]:
    """A panel for each task."""
    return {
        name: Panel(partial(accuracies, found=found, shown=shown))
        for name, found in shown.tasks.items()
    }


def accuracies(figure: FigureBase, found: OnTask, shown: Shown) -> None:
    """One row a network: a mark for each seed, and the interval of the mean."""
    rows = [(c.label, *LOOKS[name], found.seeds[name]) for name, c in shown.contenders.items()]
    rows.append((NEIGHBOURS, GREY, "P", [found.counted]))
    ax = figure.subplots()
    ax.axvline(50, color="black", linewidth=1)
    for place, (_, colour, marker, seeds) in enumerate(rows):
        each = [100 * float(part["accuracy"]) for part in seeds]
        mean = float(np.mean(each))
        ends = [100 * end for end in found.interval(mean / 100)]
        ax.plot(ends, [place, place], color=colour, linewidth=2)
        ax.plot(each, [place] * len(each), marker, color=colour)
        ax.annotate(f"{mean:.1f}", (max(ends), place), (6, 5), textcoords="offset points")
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
    ax.set_xticks(range(50, 101, 10))
    ax.set(ylim=(len(rows) - 0.5, -0.6), xlim=(43, 114), xlabel="accuracy on the test set (%)")
    ax.set_title(found.title)
