"""Accuracy by network and lag, the gradient before training, and clipping."""

from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.cures.experiment import CLIPS, Shown
from experiments.cures.options import EXPLODING, EXPLODING_LAG, LEARNED
from experiments.lab.panels import Panel
from experiments.measures.seeds import mean_over_seeds
from experiments.style import BLUE, FAINT, GREY, RED, SEQUENTIAL


def panels(shown: Shown) -> dict[str, Panel]:
    """Three; all numbers are means over the seeds."""
    rows = len(shown.networks)
    return {
        "recalled": Panel(partial(recalled, shown=shown), 1.1 + 0.33 * rows),
        "gradient": Panel(partial(gradient, shown=shown), 3.2 + 0.1 * rows),
        "clipping": Panel(partial(clipping, shown=shown), 3.2),
    }


def recalled(figure: FigureBase, shown: Shown) -> None:
    """A table, coloured from chance to certainty."""
    ax = figure.subplots()
    shares = np.stack([mean_over_seeds(seeds, "accuracy") for seeds in shown.parts.values()])
    ax.imshow(shares, vmin=0.5, vmax=1.4, cmap=SEQUENTIAL, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        weight = "bold" if share >= LEARNED else "normal"
        ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontweight=weight)
    ax.set_yticks(range(len(shares)), [n.style.label for n in shown.networks.values()])
    ax.set_xticks(range(len(shown.options.lags)), [str(lag) for lag in shown.options.lags])
    ax.set(xlabel="lag (steps)", title="Accuracy on new sequences (%)")


def gradient(figure: FigureBase, shown: Shown) -> None:
    """What was left before training; filled where training then learned."""
    ax = figure.subplots()
    lags = np.array(shown.options.lags)
    for name, network in shown.networks.items():
        left, accuracy = (mean_over_seeds(shown.parts[name], n) for n in ("left", "accuracy"))
        style = network.style
        ax.plot(lags, left, marker=style.marker, label=style.label, **style.curve)
        missed = accuracy < LEARNED
        ax.plot(lags[missed], left[missed], style.marker, color=style.colour,
                markerfacecolor="white", zorder=3)  # fmt: skip
    ax.axhline(shown.threshold.left, color=GREY, linewidth=1, linestyle="--")
    ax.set(
        title="Gradient left before training",
        xlabel="lag (steps)",
        ylabel="log₁₀ of the share left",
        xscale="log",
        ylim=(-16, 1.5),
    )
    ax.set_xticks(lags, [str(lag) for lag in lags])
    ax.minorticks_off()
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, handlelength=3)


def clipping(figure: FigureBase, shown: Shown) -> None:
    """Accuracy against the learning rate; a cross where a training diverged."""
    ax = figure.subplots()
    rates = np.array(shown.options.rates)
    shares = 100 * mean_over_seeds(shown.exploding, "accuracy")
    diverged = mean_over_seeds(shown.exploding, "diverged") > 0
    styles = [(RED, "--", "s"), (BLUE, "-", "o")]
    for name, share, ended, style in zip(CLIPS, shares, diverged, styles, strict=True):
        colour, line, marker = style
        ax.plot(rates, share, marker, color=colour, linestyle=line, label=name)
        ax.plot(rates[ended], share[ended], "x", color="black", markersize=11)
    ax.plot([], [], "x", color="black", markersize=11, label="diverged")
    ax.axhline(50, color=FAINT, linewidth=1)
    ax.set(
        xscale="log",
        xlabel="learning rate of plain gradient descent",
        ylabel="accuracy (%)",
        ylim=(-4, 104),
        title=f"ReLU, {EXPLODING} times the identity, lag {EXPLODING_LAG}",
    )
    ax.legend(loc="lower left")
