"""Bits of every model, their differences, and what the networks' predictions depend on."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from experiments.characters.experiment import Shown
from experiments.characters.options import LAGS, NEAR, ORDERS
from experiments.characters.passages import Passage
from experiments.lab.panels import Panel
from experiments.style import FAINT, GREY, STYLES

LONGEST_LINE = 42  # characters that fit below an axis
WRITTEN = {" ": "␣", "\n": "↵"}


def panels(shown: Shown) -> dict[str, Panel]:
    """Every panel."""
    draw = {
        "bits": (orders, 3.4),
        "differences": (differences, 3.4),
        "line": (line, 3.4),
        "lags": (lags, 3.4),
        "ends": (ends, 0.9 + 0.45 * len(shown.rows)),
        "far": (far, 0.9 + 0.45 * len(shown.rows)),
    }
    return {name: Panel(partial(one, shown=shown), height) for name, (one, height) in draw.items()}


def orders(figure: FigureBase, shown: Shown) -> None:
    """Bits of n-grams by their order, and of each network as a level line."""
    ax = figure.subplots()
    ax.plot(ORDERS, shown.gram_bits, "s-", color=GREY, label="n-grams")
    for name in shown.shares:
        bits = mean(shown, STYLES[name].label, "bits_test")
        ax.axhline(bits, label=f"{STYLES[name].label}, {bits:.2f}", **STYLES[name].curve)
    ax.set_xticks(ORDERS)
    ax.set(xlabel="order of the n-gram (characters)", ylabel="bits per character of the test plays")
    ax.set_title("Bits per character (lower is better)")
    ax.legend(handlelength=4)


def differences(figure: FigureBase, shown: Shown) -> None:
    """A row for each pair of models: the mean and its interval, open where none was found."""
    ax = figure.subplots()
    ax.axvline(0, color="black", linewidth=1)
    for place, d in enumerate(shown.differences):
        colour = colours(shown)[d.one]
        ax.plot([d.low, d.high], [place, place], color=colour, linewidth=2.5, alpha=0.6)
        ax.plot(d.saved, place, "o", color=colour, markerfacecolor=colour if d.found else "white")
    labels = [f"{d.one} against {short(d.other)}" for d in shown.differences]
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.margins(x=0.1)
    ax.set(xlabel="bits per character saved", title="Differences")


def short(label: str) -> str:
    """Without the name of the method."""
    return label.removeprefix("Kneser-Ney ")


def example(passage: Passage) -> tuple[int, str]:
    """The prediction that the figure shows, and the characters of its line that it shows.

    It is that of the last line end of a passage.
    """
    end = passage.text.rindex("\n")
    begin = passage.text.rfind("\n", 0, end) + 1
    return end - 1, passage.text[begin:end][-LONGEST_LINE:]


def line(figure: FigureBase, shown: Shown) -> None:
    """One prediction of each network: a bar over each character, its share of the gradient."""
    t, before = example(shown.places.passages[0])
    axes = figure.subplots(len(shown.shares), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (name, share) in zip(axes, shown.shares.items(), strict=True):
        style = STYLES[name]
        ax.bar(range(len(before)), 100 * share[t, : len(before)][::-1], color=style.colour)
        ax.set_title(style.label, loc="left", color=style.colour, fontsize=10, pad=2)
        ax.set_xlim(-0.6, len(before) - 0.4)
        ax.tick_params(length=0)
    axes[-1].set_xticks(
        range(len(before)), [WRITTEN.get(c, c) for c in before], family="monospace", fontsize=9
    )
    figure.suptitle("What one prediction depends on", fontsize=10.5)
    figure.supylabel("share of the gradient (%)", fontsize=10)


def lags(figure: FigureBase, shown: Shown) -> None:
    """The share of the gradient by distance, on average over the passages."""
    ax = figure.subplots()
    back = np.arange(1, LAGS + 1)
    for name, share in shown.shares.items():
        passages, _, _ = shown.places.split(share)
        average = np.concatenate(passages).mean(axis=0)
        ax.plot(back, 100 * average, label=STYLES[name].label, linewidth=2, **STYLES[name].curve)
    ax.grid(color=FAINT, linewidth=0.5)
    ax.set(xscale="log", yscale="log", xlim=(1, LAGS), ylim=(1e-3, 100))
    ax.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    ax.set(xlabel="characters back", ylabel="share of the gradient (%)")
    ax.set_title("By distance, on average")
    ax.legend(handlelength=4)


def ends(figure: FigureBase, shown: Shown) -> None:
    """Of each model, the mean probability of a line end: at line ends, and at spaces."""
    ax = pairs(figure, shown, list(shown.rows), "end")
    ax.set(xlabel="mean probability (%)", title="Probability of a line end")


def far(figure: FigureBase, shown: Shown) -> None:
    """Of each network, the share of the gradient that is far back: at line ends, and at spaces."""
    ax = pairs(figure, shown, list(colours(shown)), "far")
    ax.set(xlabel="share of the gradient (%)", title=f"More than {NEAR} characters back")


def pairs(figure: FigureBase, shown: Shown, labels: Sequence[str], name: str) -> Axes:
    """Two bars for each model: full at line ends, pale at spaces."""
    ax = figure.subplots()
    for place, label in enumerate(labels):
        colour = colours(shown).get(label, GREY)
        for shift, alpha, kind in ((-0.2, 1.0, "ends"), (0.2, 0.4, "spaces")):
            share = mean(shown, label, f"{name}_at_{kind}")
            ax.barh(place + shift, share, height=0.38, color=colour, alpha=alpha)
            what = "" if place else f" at {'line ' * (kind == 'ends')}{kind}"
            ax.annotate(
                f"{share:.0f}{what}", (share, place + shift), (4, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
    ax.set_yticks(range(len(labels)), list(map(short, labels)))
    ax.invert_yaxis()
    ax.margins(x=0.35)
    return ax


def mean(shown: Shown, label: str, name: str) -> float:
    """Of a number, over the seeds."""
    return float(np.mean([row[name] for row in shown.rows[label]]))


def colours(shown: Shown) -> dict[str, str]:
    """Of the networks, by label."""
    return {STYLES[name].label: STYLES[name].colour for name in shown.shares}
