"""The opening: a sentence to finish, by the reader and by a network."""

from collections.abc import Sequence

from experiments.page.section import (
    Block,
    Bullets,
    Equation,
    Exercise,
    Found,
    Heading,
    Section,
    Widget,
)
from experiments.page.sections import numbers

# The sentence of the exercise, up to its gap, and the word on which the missing one depends.
BEFORE = "The keys to the old cabinet"
DECIDES = "keys"


def measure() -> Found:
    """How many words before the gap the word is that decides."""
    words = BEFORE.split()
    return numbers({}, [], back=len(words) - words.index(DECIDES))


def _body(found: Found) -> Sequence[Block]:
    return [*_question(), *_point(), *_promise()]


def _question() -> Sequence[Block]:
    return [
        "Finish this sentence: “The cat sat on the ____”. Which word did you choose, and what did "
        "you use to choose it?",
        Widget("opening", source="characters"),
    ]


def _point() -> Sequence[Block]:
    return [
        "To find your word, you used the words before the gap. A network that looks at each word "
        "alone could not do that. At the gap it sees only “the”, and almost any noun can follow "
        "“the”. It needs a memory of what it has read.",
        "In this lesson you build a network that has one. All of it comes from one line:",
        Equation(r"h_t = f(W_{hh} h_{t-1} + W_{xh} x_t + b_h)"),
        "At step $t$ the network reads $x_t$, which may be a word, a letter or a measurement, and "
        "updates its memory from $h_{t-1}$ to $h_t$. The weights $W_{hh}$ and $W_{xh}$ and the "
        "bias $b_h$ are learned, and $f$ is a function such as tanh.",
        "The term $W_{hh} h_{t-1}$ is new: without it, this is the feed-forward layer that you "
        "know. A network with such a term is called *recurrent*.",
    ]


def _promise() -> Sequence[Block]:
    return [
        Heading("What you will be able to do"),
        Bullets(
            [
                "say what a hidden state is, and [compute one by hand](#recurrence);",
                "[draw an LSTM](#gates), and say why its gradient survives over many steps;",
                "[measure how far back](#hidden_memory) a network can learn;",
                "tell an honest evaluation from [one that leaks](#leakage);",
                "train and run a recurrent network of your own in rnnjax, the library behind this "
                "lesson.",
            ]
        ),
        "Allow two to three hours, with the exercises. Every section ends with at least one, and "
        "the page checks your numbers. You need Python, and the chain rule.",
        "Every figure was computed on this machine. Each section shows the command that computed "
        "it; add `--quick` for a small run. Most of the code is folded away until you open it.",
    ]


def _exercises(found: Found) -> Sequence[Exercise]:
    return [
        Exercise(
            f"“{BEFORE} ____ on the table.” Is the missing word “is” or “are”? One word before "
            "the gap decides. How many words back is it? (The word just before the gap is one "
            "word back.)",
            f"“Are”, because of “{DECIDES}”, which is {found['back']} words back. The word next to "
            "the gap, “cabinet”, suggests “is”, which is wrong. A network has to remember one "
            "word and not be misled by a later one.",
            {"words back": found["back"]},
        )
    ]


SECTION = Section(title="How do you finish a sentence?", body=_body, exercises=_exercises)
