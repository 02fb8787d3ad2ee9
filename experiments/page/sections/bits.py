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
ASKED = (1 / 2, 1 / 4, 1 / 8, 1 / 8)  # and in the first exercise
# In the second: what goes to the model's first choice, correct nine times in ten, and to every
# other word.
FIRST, OTHER = 0.9, 0.0001


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
        "In later sections, networks predict text. At every time step a network gives a "
        "probability to each letter or word that may come next. How good are its predictions? It "
        "is not enough to count how often the likeliest word was correct. A model that gives the "
        "true word 40 %, and another word 41 %, is better than one that gives the true word "
        "nothing, but both would count as wrong.",
        Heading("Surprise"),
        "So look at the probability $p$ that the model gave to the word that did come. Its "
        "*surprise* is",
        Equation(r"-\log p"),
        "If the model was certain of it, $p = 1$ and the surprise is zero. The smaller $p$, the "
        "larger the surprise.",
        "The base of the logarithm sets the unit. With base 2 the surprise is in *bits*: the "
        f"outcome of a fair coin has {coin['bits']:.0f} bit. With the natural logarithm it is in "
        f"*nats*, and the coin has {coin['nats']:.2f}.",
        "Why a logarithm? The probability of a whole text is the product of the probabilities of "
        "its words, each given the words before it. A logarithm turns the product into a sum, and "
        "the mean over the time steps is a fair score for texts of any length. It is also the "
        "loss on which such a network is trained, the *cross-entropy*.",
        Plot(
            ["surprise"],
            "The surprise at an event against the probability that it was given, on a logarithmic "
            "axis. A fair coin is one of two; with the space there are 27 letters.",
            "Two curves fall to zero at probability one. In bits: "
            + ", ".join(
                f"{name} {row['mean']['bits']:.1f}" for name, row in found["results"].items()
            )
            + f". In nats each value is {math.log(2):.2f} times that.",
        ),
        Heading("Perplexity"),
        "Bits are hard to picture, so the mean is often converted back. With a mean surprise of "
        r"$B$ bits, the *perplexity* is $2^B$: the model is as unsure as if it had to choose "
        "between that many equally likely words.",
        f"For example, a model gives the first word a probability of {WORKED[0]} and the second "
        f"{WORKED[1]}. That is 1 bit and 3 bits, {worked['bits']:.0f} on average, so the "
        f"perplexity is $2^{worked['bits']:.0f} = {worked['perplexity']:.0f}$. A choice between "
        "four equally likely words at each step would have cost the same.",
        "A warning: bits a letter cannot be compared with bits a word, because a word has "
        "several letters. Nor can models with different vocabularies be compared: one that may "
        "answer “unknown word” often has an easier task.",
        Heading("Shannon's game"),
        "How predictable is a text for you? Claude Shannon (1951) let people guess a hidden text "
        "letter by letter and counted the guesses. If most letters take you one guess, you "
        "have a good model of the language in your head. From the counts follow a lower and an "
        "upper bound on the bits a letter of your predictions.",
        "A model that takes the 26 letters and the space as equally likely needs "
        f"{letter['bits']:.2f} bits a letter. The lines below are from the plays on which the "
        "networks of [a later section](#characters) were tested.",
        Widget("shannon", "characters"),
        Code([score]),
    ]


def exercises(found: Found) -> list[Exercise]:
    """A perplexity by hand, and that of a wrong certainty."""
    asked, hedged = score(ASKED), score((*[FIRST] * 9, OTHER))
    return [
        Exercise(
            "A text has four words, to which a model gave the probabilities 1/2, 1/4, 1/8 and 1/8. "
            "How many bits is that on average, and what is the perplexity?",
            f"1, 2, 3 and 3 bits, {asked['bits']:.2f} on average, and a perplexity of "
            f"$2^{{{asked['bits']:.2f}}} = {asked['perplexity']:.2f}$.",
            {"Bits": asked["bits"], "Perplexity": asked["perplexity"]},
        ),
        Exercise(
            "A model is always certain of the next word, and wrong about one word in ten. Then its "
            "perplexity is infinite, because the surprise at a word with $p = 0$ is infinite. "
            f"Suppose that it gives its choice {FIRST} instead, and each of 1,000 other words "
            f"{OTHER}. What is its perplexity?",
            f"Nine words in ten cost $-\\log_2 {FIRST} = {-math.log2(FIRST):.2f}$ bits and the "
            f"tenth {-math.log2(OTHER):.2f}, on average {hedged['bits']:.2f} bits, which is a "
            f"perplexity of {hedged['perplexity']:.2f}. A language model must leave a little "
            "probability for everything.",
            {"Perplexity": hedged["perplexity"]},
        ),
    ]


SECTION = Section(
    title="Nats, bits and perplexity: a guessing game", body=body, exercises=exercises
)
