"""Perplexities, what the network saves, and what more context is worth."""

from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.panels import Panel
from experiments.next_word.experiment import MIXED, NETWORK, Shown
from experiments.next_word.options import CONTEXTS, ORDERS
from experiments.next_word.rivals import CACHE, LONGEST, gram_label
from experiments.style import BLUE, BROWN, GREEN, GREY, ORANGE, PURPLE, RED, STYLES

COLOURS = {
    gram_label(1): GREY, gram_label(2): PURPLE, gram_label(3): ORANGE, LONGEST: RED, CACHE: BROWN,
    NETWORK: BLUE, MIXED: GREEN,
}  # fmt: skip
LINES = {gram_label(2): (0, (1, 1)), gram_label(3): (0, (5, 2)), LONGEST: (0, (5, 1, 1, 1))}


def panels(shown: Shown) -> dict[str, Panel]:
    """Every panel."""
    draw = {
        "perplexity": (perplexities, 3.2),
        "advantage": (advantages, 3.2),
        "context": (contexts, 3.4),
    }
    return {name: Panel(partial(one, shown=shown), height) for name, (one, height) in draw.items()}


def short(name: str) -> str:
    """A label that fits beside a bar."""
    return {MIXED: "LSTM + 5-gram", CACHE: "5-gram + cache"}.get(
        name, name.removeprefix("Kneser-Ney ")
    )


def perplexities(figure: FigureBase, shown: Shown) -> None:
    """A bar for each model, the mean over its seeds."""
    ax = figure.subplots()
    for place, (name, values) in enumerate(shown.scores.items()):
        mean = float(np.mean(values))
        ax.barh(place, mean, color=COLOURS[name])
        ax.annotate(f"{mean:.0f}", (mean, place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(shown.scores)), list(map(short, shown.scores)))
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel="perplexity on the test plays", title="Perplexity (lower is better)")


def advantages(figure: FigureBase, shown: Shown) -> None:
    """A row for each rival: a mark for each seed, and the interval of their mean."""
    ax = figure.subplots()
    ax.axvline(0, color="black", linewidth=1)
    for place, (name, saved) in enumerate(shown.advantages.items()):
        colour = COLOURS[name]
        ax.plot([saved.low, saved.high], [place, place], color=colour, linewidth=3, alpha=0.6)
        ax.plot(saved.each, [place] * len(saved.each), "v", color=colour)
        ax.text(saved.mean, place - 0.18, f"{saved.mean:.2f}".replace("-", "−"), ha="center")
    ax.set_yticks(range(len(shown.advantages)), list(map(short, shown.advantages)))
    ax.set_ylim(len(shown.advantages) - 0.5, -0.6)
    ax.margins(x=0.12)
    ax.set_xlabel("bits a word saved by the LSTM")
    ax.set_title("LSTM against each rival")


def contexts(figure: FigureBase, shown: Shown) -> None:
    """Perplexity of the network by the number of words that it sees; those of n-grams, level."""
    ax = figure.subplots()
    for seed, curve in enumerate(shown.by_context):
        label = f"{NETWORK} from a fresh state" if seed == 0 else "_"  # which hides it
        style = STYLES["lstm"]
        ax.plot(CONTEXTS, curve, **style.curve, marker=style.marker, label=label)
    for order in ORDERS[1:]:
        name = gram_label(order)
        level = shown.scores[name][0]
        ax.plot(
            [order - 1, CONTEXTS[-1]], [level, level], linestyle=LINES[name],
            color=COLOURS[name], label=name,
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(CONTEXTS, list(map(str, CONTEXTS)))
    ax.set(xlabel="words that the model sees", ylabel="perplexity on the test plays")
    ax.set_title("What more context is worth")
    ax.legend(handlelength=4)
