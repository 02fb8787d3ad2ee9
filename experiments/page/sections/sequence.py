"""What a sequence is."""

import numpy as np
from matplotlib.figure import Figure

from experiments.data.scaling import standardised
from experiments.data.seattle import seattle_weather
from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import numbers

PHRASE = "the cat sat"
DAYS = 30


def one_hot(text: str) -> tuple[list[str], np.ndarray]:
    """The letters that occur, and for each step the vector with a one at its letter."""
    alphabet = sorted(set(text))
    steps = np.zeros((len(text), len(alphabet)))  # [T, D]
    for t, letter in enumerate(text):
        steps[t, alphabet.index(letter)] = 1.0
    return alphabet, steps


def weather_steps() -> np.ndarray:
    """A month of weather, `[T, D]`, each feature in units of its deviation."""
    values = seattle_weather().values
    return standardised(values, training=slice(0, len(values))).values[:DAYS]


def measure() -> Found:
    """The first week of the weather as it stands in the file."""
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


def draw(found: Found) -> Figure:
    """Both sequences as the network is given them: a column a step."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[8, 5])
    alphabet, steps = one_hot(PHRASE)
    edges = {"edgecolors": "#999999", "linewidth": 0.4}
    above.pcolormesh(steps.T, cmap="Blues", vmax=1.6, **edges)
    for t, letter in enumerate(PHRASE):
        above.text(t + 0.5, alphabet.index(letter) + 0.5, "1", ha="center", va="center")
    above.set_title(f"“{PHRASE}”: T = {len(PHRASE)} steps of D = {len(alphabet)} numbers")
    above.set_xticks(np.arange(len(PHRASE)) + 0.5, [repr(c)[1:-1] for c in PHRASE])
    above.set_yticks(np.arange(len(alphabet)) + 0.5, ["space" if c == " " else c for c in alphabet])
    values = weather_steps()
    drawn = below.pcolormesh(values.T, cmap="RdBu_r", vmin=-3, vmax=3, **edges)
    below.set_title(f"Weather in Seattle, January 2012: T = {len(values)} steps of D = 4 numbers")
    below.set_xticks(np.arange(0, DAYS, 5) + 0.5, range(1, DAYS + 1, 5))
    below.set_yticks(np.arange(4) + 0.5, ["highest", "lowest", "rain", "wind"])
    below.set_xlabel("time: one column a day")
    figure.colorbar(drawn, ax=below, label="deviations")
    return figure


SECTION = Section(
    place=1,
    title="What a sequence is",
    text=lambda found: [
        "A feed-forward network takes a fixed list of numbers and gives an answer, and does not "
        "care what it was asked before. A sequence is a list whose entries come one after "
        "another, and where the place of an entry is part of what is said: the letters of a "
        "line, the notes of a tune, the weather day by day.",
        "To a network all of these look alike: `T` steps, and at each step a vector of `D` "
        "numbers. A letter becomes a vector of zeros with a one in its own place "
        f"({found['letters']} places are enough for the phrase in the figure); a day of weather is "
        "four numbers already, here brought to a common scale. Time runs to the right, and each "
        "column is what the network is given at one step.",
        "Two things follow. Sequences differ in length, so what is wanted is not a layer with a "
        "place for every entry but one rule that is used again at every step. And several "
        "sequences are worked on side by side: arrays here have the shape `[T, B, D]`, time "
        "first, then the batch, then the features. A short sequence is filled up to the length "
        "of the longest, and a mask says which steps are real.",
    ],
    alt=lambda found: (
        f"Two grids. Above, the phrase “{PHRASE}”: {len(PHRASE)} columns, in each a single 1 in "
        f"the row of its letter, {found['letters']} rows. Below, {DAYS} days of weather: a column "
        "a day, four rows, coloured by how far each is from its mean."
    ),
    code=[one_hot, standardised],
    exercise=Exercise(
        "Sixteen melodies of 60 notes go into one batch. Each note is one of 88 keys, one-hot. "
        "How many numbers does the array hold? And what is its shape?",
        f"{60 * 16 * 88:,}, of which {60 * 16} are ones. The shape is `[60, 16, 88]`: time, batch, "
        "features.",
        number=60 * 16 * 88,
    ),
)
