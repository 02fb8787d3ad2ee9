"""What a sequence is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from experiments.data.scaling import standardised
from experiments.data.seattle import seattle_weather
from experiments.lab.harness import Column
from experiments.lab.panels import Panel
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
from experiments.page.sections import numbers
from experiments.style import DIVERGING, FAINT, GREY, SEQUENTIAL

PHRASE = "the cat sat"
DAYS = 30
# The melodies of the exercise.
NOTES, MELODIES, KEYS = 60, 16, 88


def one_hot(text: str) -> tuple[list[str], np.ndarray]:
    """The letters that occur, and for each step the vector with a one at its letter."""
    alphabet = sorted(set(text))
    steps = np.zeros((len(text), len(alphabet)))  # [T, D]
    for t, letter in enumerate(text):
        steps[t, alphabet.index(letter)] = 1.0
    return alphabet, steps


def weather_steps() -> np.ndarray:
    """A month of weather, `[T, D]`, each feature in units of its standard deviation."""
    values = seattle_weather().values
    return standardised(values, training=slice(0, len(values))).values[:DAYS]


def measure() -> Found:
    """The first week of the weather as it is in the file."""
    weather = seattle_weather()
    rows = {
        day.isoformat(): dict(zip(weather.features, map(float, values), strict=True))
        for day, values in list(zip(weather.dates, weather.values, strict=True))[:7]
    }
    return numbers(
        rows,
        [
            Column("temp_max", "highest\n(°C)", ".1f"),
            Column("temp_min", "lowest\n(°C)", ".1f"),
            Column("precipitation", "rain\n(mm)", ".1f"),
            Column("wind", "wind\n(m/s)", ".1f"),
        ],
        letters=len(set(PHRASE)),
    )


def panels(found: Found) -> dict[str, Panel]:
    """Both sequences as a network receives them: a column a step."""
    edges: dict[str, Any] = {"edgecolors": FAINT, "linewidth": 0.5}

    def letters(figure: FigureBase) -> None:
        ax = figure.subplots()
        alphabet, steps = one_hot(PHRASE)
        ax.pcolormesh(steps.T, cmap=SEQUENTIAL, vmax=3, **edges)
        for (t, row), value in np.ndenumerate(steps):
            ax.text(
                t + 0.5, row + 0.47, f"{value:.0f}", ha="center", va="center",
                color="black" if value else GREY,
            )  # fmt: skip
        ax.set_title(f"“{PHRASE}”: {len(PHRASE)} steps of {len(alphabet)} numbers")
        ax.set_xticks(np.arange(len(PHRASE)) + 0.5, [repr(letter)[1:-1] for letter in PHRASE])
        ax.set_yticks(np.arange(len(alphabet)) + 0.5, [_written(letter) for letter in alphabet])
        ax.set_xlabel("time: one column a letter")
        ax.invert_yaxis()

    def weather(figure: FigureBase) -> None:
        ax = figure.subplots()
        values = weather_steps()
        drawn = ax.pcolormesh(values.T, cmap=DIVERGING, vmin=-3, vmax=3, **edges)
        ax.set_title(f"Seattle, January 2012: {DAYS} steps of {values.shape[1]} numbers")
        ax.set_xticks(np.arange(0, DAYS, 5) + 0.5, [str(day) for day in range(1, DAYS + 1, 5)])
        ax.set_yticks(np.arange(4) + 0.5, ["highest", "lowest", "rain", "wind"])
        ax.set_xlabel("time: one column a day")
        ax.invert_yaxis()
        figure.colorbar(
            drawn, ax=ax, location="bottom", aspect=30, label="standard deviations from the mean"
        )

    return {"letters": Panel(letters, 3.2), "weather": Panel(weather, 3.2)}


def _written(letter: str) -> str:
    return "space" if letter == " " else letter


def _body(found: Found) -> Sequence[Block]:
    return [*_examples(), *_alone(), *_steps(found), *_arrays()]


def _examples() -> Sequence[Block]:
    return [
        "A *sequence* is a list of things that come one after another, where the order is part of "
        "the meaning. You meet sequences all day:",
        Bullets(
            [
                "the *words* of a sentence: “dog bites man” is not “man bites dog”;",
                "the *letters* of a word: “listen” and “silent” have the same ones;",
                "the *temperatures* of a city, day after day;",
                "the *notes* of a melody: played backwards, they are another melody;",
                "*speech*, which a microphone records as thousands of air pressure values per "
                "second.",
            ]
        ),
        "Each item is one *time step*, even where no clock is involved. Step $t$ of a sentence is "
        "its $t$-th word.",
    ]


def _alone() -> Sequence[Block]:
    return [
        Heading("Why a feed-forward network is not enough"),
        "A feed-forward network takes a fixed number of inputs and treats each example alone. What "
        "it computed for the previous example has no effect on the next one. A convolutional "
        "network can slide along a sequence of any length, but each of its outputs depends on a "
        "window of fixed width, and each window is treated alone. Neither remembers anything.",
        "Think of someone who reads a novel. When a character returns in chapter 20, a reader who "
        "remembers chapter 2 knows who it is. A reader who forgot every page on turning it could "
        "understand each page alone, but not the story. A longer window, of ten pages instead of "
        "one, would help a little. But nobody can say in advance how far back the important page "
        "is. What is needed is a memory that is updated while reading.",
    ]


def _steps(found: Found) -> Sequence[Block]:
    return [
        Heading("What a network receives"),
        "To a network, all sequences look alike. There are $T$ time steps, and at each step $t$ "
        "there is a vector $x_t$ of $D$ numbers, the *features*.",
        "Letters and words are not numbers, so they are encoded. In a *one-hot* vector, every "
        "letter has a place of its own. There is a 1 at the place of the letter that occurs, and a "
        f"0 everywhere else. The phrase in the figure has {found['letters']} different characters, "
        f"including the space, so $D = {found['letters']}$.",
        "A day of weather consists of numbers already, here four of them. Their units differ, so "
        "they are put on a common scale: each is given as its distance from the mean, in "
        "standard deviations.",
        Plot(
            ["letters", "weather"],
            "Two sequences as a network receives them. Time runs to the right, and each column is "
            "the vector $x_t$ of one step. In the weather, red is above the mean and blue is below "
            "it. The table at the end of this section gives the first week in the original "
            "units.",
            f"Two grids. One is the phrase “{PHRASE}”: {len(PHRASE)} columns and "
            f"{found['letters']} rows, in each column a single 1 in the row of its letter and 0 "
            f"elsewhere. The other is {DAYS} days of weather: a column a day and four rows, "
            "highest and lowest temperature, rain and wind, coloured by the distance from the "
            "mean.",
        ),
    ]


def _arrays() -> Sequence[Block]:
    return [
        Heading("Sequences in arrays"),
        "Sequences differ in length. A layer with separate weights for every time step would fit "
        "only one length. A recurrent network has one set of weights instead and uses it at "
        "every step.",
        "For speed, several sequences are processed side by side as a *batch*. In this lesson, "
        "arrays have the shape `[T, B, D]`: time first, then the $B$ sequences of the batch, then "
        "the features. Shorter sequences are padded to the length of the longest one, and a *mask* "
        "marks the steps that are real.",
        Code([one_hot, standardised]),
    ]  # fmt: skip


def _exercises(found: Found) -> Sequence[Exercise]:
    size, ones = NOTES * MELODIES * KEYS, NOTES * MELODIES
    return [
        Exercise(
            f"A batch contains {MELODIES} melodies of {NOTES} notes. Each note is one of {KEYS} "
            "piano keys, encoded as a one-hot vector. What is the shape of the array, how many "
            "numbers does it hold, and how many of them are 1?",
            f"The shape is `[{NOTES}, {MELODIES}, {KEYS}]`: time, batch, features. That makes "
            f"{size:,} numbers. Each of the {ones} notes has exactly one 1.",
            {"numbers": size, "ones": ones},
        )
    ]


SECTION = Section(title="What is a sequence?", body=_body, exercises=_exercises)
