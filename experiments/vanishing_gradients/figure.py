"""The gradient against the lag, and the errors on both tasks."""

import math
from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.panels import Panel
from experiments.measures.seeds import mean_over_seeds
from experiments.style import FAINT, GREY
from experiments.vanishing_gradients.comparing import error_of
from experiments.vanishing_gradients.experiment import Shown
from experiments.vanishing_gradients.tasks import MOMENTS, TASKS

ROW = 0.27  # inches
TITLES = {
    "before": "Before training",
    "recall": "After training on the recall task",
}


def panels(shown: Shown) -> dict[str, Panel]:
    """Two of the gradient, and one for each task."""
    height = 1.2 + ROW * len(shown.networks)
    return {
        f"gradient-{moment}": Panel(
            partial(against_lag, shown=shown, moment=moment),
            3.0 + 0.2 * math.ceil((len(shown.networks) + (moment == "before")) / 2),  # the legend
        )
        for moment in TITLES
    } | {f"error-{task}": Panel(partial(errors, shown=shown, task=task), height) for task in TASKS}


def against_lag(figure: FigureBase, shown: Shown, moment: str) -> None:
    """A curve a network, the mean over the seeds of the logarithm; before training a bound."""
    ax = figure.subplots()
    index = MOMENTS.index(moment)
    lags = np.arange(shown.options.window + 1)
    for name, network in shown.networks.items():
        log_left = mean_over_seeds(shown.parts[name], "left")[index]
        ax.plot(lags, np.exp(np.minimum(log_left, 50)), **network.style.curve,
                label=network.style.label)  # fmt: skip
    if moment == "before" and "tanh-small" in shown.networks:
        bound = mean_over_seeds(shown.parts["tanh-small"], "bound")[index]
        label = "bound of the small weights"
        ax.plot(lags, np.minimum(bound**lags, 1e9), color=GREY, linewidth=1, label=label)
    ax.axhline(0.01, color=FAINT, linewidth=1)
    ax.axvline(shown.options.lag, color=FAINT, linewidth=1)
    ax.set(
        title=TITLES[moment],
        xlabel="lag (days back from the last output)",
        ylabel="gradient left",
        yscale="log",
        ylim=(1e-10, 1e2),
        xlim=(0, lags[-1]),
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, handlelength=3)


def errors(figure: FigureBase, shown: Shown, task: str) -> None:
    """One row a network, a mark a seed, those that diverged left out; lines for the baselines."""
    ax = figure.subplots()
    for row, (name, network) in enumerate(shown.networks.items()):
        each = [error_of([part], task).mean for part in shown.parts[name]]
        style = network.style
        ax.plot(each, [row] * len(each), style.marker, color=style.colour)
        if diverged := sum(map(math.isnan, each)):
            ax.annotate(f"{diverged} diverged", (0, row), (5, 0), ha="left", va="center",
                        xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    for (label, scores), line in zip(shown.baselines.items(), ("--", "-"), strict=True):
        ax.axvline(scores[task], color=GREY, linewidth=1, linestyle=line, label=label)
    ax.set_yticks(range(len(shown.networks)), [n.style.label for n in shown.networks.values()])
    ax.set_ylim(len(shown.networks) - 0.4, -0.6)
    ax.set_xlim(0, 1.15 * ax.get_xlim()[1])
    title = {"tomorrow": "Predict tomorrow", "recall": f"Recall {shown.options.lag} days ago"}[task]
    ax.set(xlabel="error on the test year, RMSE (°C)", title=title)
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.25), ncols=2, handlelength=2)
