"""Nats, bits and perplexity, by a guessing game."""

import math

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, GREY, RED, numbers

CHANCES = {
    "certain": 1.0,
    "a coin": 1 / 2,
    "one of four": 1 / 4,
    "a die": 1 / 6,
    "a letter or space": 1 / 27,
    "one word of 10,000": 1e-4,
}


def score(probabilities: list[float]) -> dict[str, float]:
    """What a model scores that gave these probabilities to what then came.

    A mean over the steps: long texts do not cost more than short ones.
    """
    nats = sum(-math.log(p) for p in probabilities) / len(probabilities)
    return {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats)}


def measure() -> Found:
    """The three scales, side by side."""
    rows = {name: {"p": p, **score([p])} for name, p in CHANCES.items()}
    columns = [
        Column("p", "probability", ".4g"),
        Column("nats", "nats", ".2f"),
        Column("bits", "bits", ".2f"),
        Column("perplexity", "perplexity", ",.0f"),
    ]
    return numbers(rows, columns)


def draw(found: Found) -> Figure:
    """Surprise against probability."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ax = figure.subplots()
    p = np.geomspace(5e-5, 1, 200)
    ax.plot(p, -np.log2(p), color=BLUE, label="bits: −log₂ p")
    ax.plot(p, -np.log(p), color=RED, linestyle="--", label="nats: −ln p")
    for name, chance in CHANCES.items():
        ax.plot(chance, -math.log2(chance), "o", color=BLUE)
        ax.annotate(
            name, (chance, -math.log2(chance)), (6, 5), textcoords="offset points", color=GREY
        )
    ax.set(xscale="log", xlim=(5e-5, 3), xlabel="probability given to what came", ylabel="surprise")
    ax.legend()
    return figure


SECTION = Section(
    place=7,
    title="Nats, bits and perplexity: a guessing game",
    text=lambda found: [
        "A network that reads text gives, at every step, a probability to each thing that may "
        "come next. How good is it? Look at the probability `p` that it gave to what did come, "
        "and call `-log p` its surprise. What was certain surprises by nothing; a coin by "
        f"{found['results']['a coin']['mean']['bits']:.0f} bit when the logarithm is to the base "
        "2, or "
        f"{found['results']['a coin']['mean']['nats']:.2f} nats when it is the natural one. "
        "Logarithms, because probabilities of a whole text multiply, and what multiplies is "
        "averaged best by its logarithm. The mean surprise is also the loss that the network is "
        "trained on, by the name of cross-entropy.",
        "Perplexity is the same number put differently: two to the power of the bits. A model "
        "with perplexity 40 is as unsure as one that at each step must choose blindly between 40 "
        "words. Bits per character and perplexity per word cannot be compared with each other, "
        "and neither can models with different vocabularies: who may answer “unknown word” often "
        "has an easy life.",
        "Play it yourself: guess the letters of a hidden line, one after another. Claude Shannon "
        "let people do so in 1951, to learn how predictable English is: whoever needs one guess "
        "for most letters carries a good model of the language in the head. From the number of "
        "guesses you needed follow a lower and an upper bound of your own bits per letter.",
    ],
    alt=lambda found: (
        "Surprise against the probability given to what came, falling to zero at probability "
        "one. In bits: "
        + ", ".join(f"{name} {row['mean']['bits']:.1f}" for name, row in found["results"].items())
        + ". In nats each is 0.69 times that."
    ),
    code=[score],
    exercise=Exercise(
        "A model gave the four words that came the probabilities 1/2, 1/4, 1/8 and 1/8. What is "
        "its perplexity?",
        f"1, 2, 3 and 3 bits, in the mean {9 / 4} bits; 2 to that power is {2 ** (9 / 4):.2f}. "
        "The mean of the probabilities would have told something else: a single very wrong word "
        "costs more than many right ones win.",
        number=2 ** (9 / 4),
    ),
    widget="shannon",
)
