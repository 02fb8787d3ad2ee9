"""Nats, bits and perplexity, and a game of letters."""

import math

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.page.section import (
    Block,
    Code,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
    Widget,
)
from experiments.page.sections import numbers
from experiments.style import BLUE, GREY, RED

CHANCES = {
    "certain": 1.0,
    "one of two": 1 / 2,
    "one of four": 1 / 4,
    "one of 27": 1 / 27,
    "one of 10,000": 1e-4,
}
WORKED = (1 / 2, 1 / 8)  # probabilities in the example of the text
ASKED = (1 / 2, 1 / 4, 1 / 8, 1 / 8)  # and in the exercise


def score(probabilities: tuple[float, ...]) -> dict[str, float]:
    """What a model scores that gave these probabilities to what came.

    A mean over the time steps, so that a long text does not cost more than a short one.
    """
    nats = sum(-math.log(p) for p in probabilities) / len(probabilities)
    return {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats)}


def measure() -> Found:
    """The three scales, side by side."""
    rows = {name: {"p": p, **score((p,))} for name, p in CHANCES.items()}
    columns = [
        Column("p", "probability", ".4g"),
        Column("nats", "nats", ".2f"),
        Column("bits", "bits", ".2f"),
        Column("perplexity", "perplexity", ",.0f"),
    ]
    return numbers(rows, columns)


def panels(found: Found) -> dict[str, Panel]:
    """The surprise at an event, by its probability."""
    return {"surprise": Panel(surprise)}


def surprise(figure: FigureBase) -> None:
    """In bits and in nats."""
    ax = figure.subplots()
    p = np.geomspace(5e-5, 1, 200)
    ax.plot(p, -np.log2(p), color=BLUE, label="bits: −log₂ p")
    ax.plot(p, -np.log(p), color=RED, linestyle="--", label="nats: −ln p")
    for name, chance in CHANCES.items():
        ax.plot(chance, -math.log2(chance), "o", color=BLUE)
        ax.annotate(
            name, (chance, -math.log2(chance)), (7, 4), textcoords="offset points", color=GREY
        )
    ax.set_xscale("log")
    # Room on the right for what the last points are called.
    ax.set(xlim=(5e-5, 20), xlabel="probability given to what came", ylabel="surprise")
    ax.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.0001", "0.001", "0.01", "0.1", "1"])
    ax.set_title("Surprise")
    ax.legend()


def body(found: Found) -> list[Block]:
    """Surprise, its mean, perplexity, what cannot be compared, and the game."""
    worked = score(WORKED)
    coin, letter = (found["results"][name]["mean"] for name in ("one of two", "one of 27"))
    return [
        "Later sections predict text. At every time step a network gives a probability to each "
        "letter or word that may come next. How good are its predictions? Whether the likeliest "
        "one was correct says too little: a model that gives the true word 40 % when another has "
        "41 % is better than one that gives it nothing.",
        Heading("Surprise"),
        "So look at the probability $p$ that the model gave to what did come. Its *surprise* is",
        Equation(r"-\log p"),
        "If something was certain, $p = 1$ and the surprise is zero. The smaller $p$ was, the "
        "larger the surprise.",
        "The base of the logarithm is the unit. With base 2 the surprise is in *bits*: the outcome "
        f"of a fair coin holds {coin['bits']:.0f} bit. With the natural logarithm it is in *nats*, "
        f"{coin['nats']:.2f} for the coin. A bit is {math.log(2):.2f} nats.",
        "Why a logarithm? The probability of a whole text is the product of the probabilities of "
        "its words, and a logarithm turns the product into a sum. The mean of that sum over the "
        "time steps is a fair score for texts of any length. It is also the loss that such a "
        "network is trained on, called *cross-entropy*.",
        Plot(
            ["surprise"],
            "The surprise at an event against the probability it was given. A fair coin is one of "
            "two; 27 is the number of letters with the space.",
            "Two curves fall to zero at probability one. In bits: "
            + ", ".join(
                f"{name} {row['mean']['bits']:.1f}" for name, row in found["results"].items()
            )
            + f". In nats each value is {math.log(2):.2f} times that.",
        ),
        Heading("Perplexity"),
        "Bits are hard to picture, so the mean is often converted back. With a mean surprise of "
        r"$B$ bits, the *perplexity* is $2^B$. It says between how many equally likely outcomes "
        "one would have to choose to be as unsure as the model.",
        f"For example, a model gives the first word {WORKED[0]} and the second {WORKED[1]}. That "
        f"is a surprise of 1 bit and of 3 bits, {worked['bits']:.0f} on average, so its perplexity "
        f"is $2^{worked['bits']:.0f} = {worked['perplexity']:.0f}$. A choice between four equally "
        "likely words at each step would have cost the same.",
        "One warning. Bits a letter cannot be compared with bits a word, because a word has "
        "several letters. Models with different vocabularies cannot be compared either: a model "
        "that may answer “unknown word” often has an easier task.",
        Heading("Shannon's game"),
        "How predictable is a text to you? In 1951 Claude Shannon had people guess a hidden text "
        "letter by letter and counted the guesses. If most letters take you one guess, you "
        "have a good model of the language in your head. The counts give a lower and an upper "
        "bound on the bits a letter that your predictions are worth.",
        "Someone who knows nothing, and takes the letters and the space as equally likely, needs "
        f"{letter['bits']:.2f} bits a letter. The lines below come from plays that the networks "
        "of [the section on characters](#characters) were tested on.",
        Widget("shannon", "characters"),
        Code([score]),
    ]


def exercises(found: Found) -> list[Exercise]:
    """A perplexity by hand, and that of a wrong certainty."""
    asked = score(ASKED)
    return [
        Exercise(
            "A model gave the four words that came the probabilities 1/2, 1/4, 1/8 and 1/8. How "
            "many bits is that on average, and what is its perplexity?",
            f"1, 2, 3 and 3 bits, {asked['bits']:.2f} on average, and "
            f"$2^{{{asked['bits']:.2f}}} = {asked['perplexity']:.2f}$. Averaging the probabilities "
            "instead would hide what matters: one very bad prediction costs more than several good "
            "ones gain.",
            {"Bits": asked["bits"], "Perplexity": asked["perplexity"]},
        ),
        Exercise(
            "A model is always certain of the next word, and is wrong once in a thousand words. "
            "What is its perplexity?",
            "Infinite. It gave a word that came the probability 0, whose surprise is infinite, and "
            "so is the mean. A model of language must leave a little probability for everything.",
        ),
    ]


SECTION = Section(
    title="Nats, bits and perplexity: a guessing game", body=body, exercises=exercises
)
