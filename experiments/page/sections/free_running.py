"""Teacher forcing and free running."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.page.drawings import drawing
from experiments.page.section import Block, Code, Drawing, Exercise, Found, Heading, Plot, Section
from experiments.page.sections import Forecasting, numbers, rmse
from experiments.style import BLUE, GREY, RED

AHEAD = 60  # days
SHOWN = 200  # day of the test year from which the figure runs free
STEPS = (1, 2, 3, 7, 14, 30, 60)
FORCED, FREE, NAIVE = "teacher forcing", "free running", "mean of the training years"
STYLES = {
    "observed": {"color": GREY, "marker": ".", "linewidth": 0.5},
    FORCED: {"color": BLUE, "linestyle": "--"},
    FREE: {"color": RED, "linestyle": "-"},
    NAIVE: {"color": "black", "linestyle": ":"},
}
# Of the exercise.
FACTOR, START, DAYS = 0.9, 10, 7
COMMAND = (
    'python -c "from experiments.page.sections import free_running; '
    'print(free_running.day_of_twice_the_error())"'
)


def forecast(
    weights: np.ndarray, celsius: np.ndarray, first: int, days: int, *, free: bool
) -> np.ndarray:
    """Day after day from `first` on; running free, it reads its own forecasts.

    `weights` are those of the last days, newest first, and of a constant.
    """
    order = len(weights) - 1
    read = list(celsius[first - order : first])
    predicted = []
    for day in range(first, first + days):
        predicted.append(np.dot(weights[:-1], read[: -order - 1 : -1]) + weights[-1])
        read.append(predicted[-1] if free else celsius[day])
    return np.array(predicted)


def measure() -> Found:
    """Errors by the number of days since the forecast began, over all days of the test year."""
    task = Forecasting(features=1)
    weights = task.fit(np.arange(task.order, task.validation))
    celsius = task.celsius
    starts = range(task.test, len(celsius) - AHEAD)
    truth = np.stack([celsius[first : first + AHEAD] for first in starts])
    predicted = {
        name: np.stack([forecast(weights, celsius, s, AHEAD, free=name == FREE) for s in starts])
        for name in (FORCED, FREE)
    }
    predicted[NAIVE] = np.full_like(truth, celsius[: task.validation].mean())
    rows = {
        f"{step} day{'s' * (step > 1)}": {
            name: rmse(values[:, step - 1] - truth[:, step - 1])
            for name, values in predicted.items()
        }
        for step in STEPS
    }
    return numbers(
        rows,
        [Column(name, f"{name}\nRMSE (°C)", ".2f") for name in predicted],
        curves={n: np.sqrt(np.mean((v - truth) ** 2, axis=0)) for n, v in predicted.items()},
        shown={"observed": truth[SHOWN]} | {n: predicted[n][SHOWN] for n in (FORCED, FREE)},
        starts=len(starts),
    )


def day_of_twice_the_error() -> int:
    """On which day the free-running error is at least twice that of the first day."""
    curve = measure()["curves"][FREE]
    return int(np.argmax(curve >= 2 * curve[0])) + 1


def panels(found: Found) -> dict[str, Panel]:
    """Two months in either way, and the errors by distance."""
    return {
        "stretch": Panel(partial(_stretch, found=found)),
        "errors": Panel(partial(_errors, found=found)),
    }


def _stretch(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    for name, values in found["shown"].items():
        ax.plot(np.arange(1, AHEAD + 1), values, label=name, **STYLES[name])
    low, high = ax.get_ylim()
    ax.set(title="One forecast of two months", xlabel="days since the run began", ylabel="°C")
    ax.set_ylim(low, high + 0.3 * (high - low))
    ax.legend(loc="upper right", ncols=2)


def _errors(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    for name, values in found["curves"].items():
        ax.plot(np.arange(1, AHEAD + 1), values, label=name, **STYLES[name])
    ax.set(title="Error over all runs", xlabel="days since the run began", ylabel="RMSE (°C)")
    ax.set_ylim(0, 1.4 * max(values.max() for values in found["curves"].values()))
    ax.legend(loc="upper left")


def _error(found: Found, step: int, name: str) -> str:
    return f"{found['results'][f'{step} day' + 's' * (step > 1)]['mean'][name]:.1f} °C"


def body(found: Found) -> Sequence[Block]:
    """The two ways to feed a network, and what the second does to the error."""
    return [
        "A network that predicts the next word reads the words before it. Which words are these: "
        "the true ones, or those that it predicted itself? Both are in use, and the errors are "
        "very different.",
        "In training the network reads the true words, whatever it predicted. Suppose that after "
        "“the” its prediction was “dog”. The text goes on with “cat”, so “cat” is its next input. "
        "This is called *teacher forcing*: a teacher corrects every step before the next one. All "
        "steps of a sequence are examples at once, and an early mistake does not spoil the later "
        "ones.",
        "When the network writes a text of its own, there is no teacher. Its prediction, “dog”, "
        "becomes its next input. This is *free running*, also called autoregressive generation. "
        "Now a mistake changes every later input, and may lead to inputs that no training text "
        "contained.",
        Drawing(
            drawing("free_running"),
            "The same network in three steps. Above, each input (blue) comes from the text. Below, "
            "each output is carried down and becomes the next input. The hidden state (red) is "
            "passed on in both.",
            "Two rows of three boxes. Above, teacher forcing: the inputs are the, cat, sat, the "
            "outputs dog, sat, on. Below, free running: the first input is the, its output dog is "
            "the second input, whose output ran is the third input, whose output is away.",
        ),
        Heading("A small example"),
        "Write the temperature as a deviation from its mean. A model predicts that tomorrow's "
        f"deviation is {FACTOR} times today's. Today it is {START} °C. Running free, the model "
        f"predicts {START * FACTOR:.1f}, then ${FACTOR} \\cdot {START * FACTOR:.1f} = "
        f"{START * FACTOR**2:.1f}$, then {START * FACTOR**3:.2f}: it decays to the mean, whatever "
        "the weather does. With teacher forcing it reads the true temperature every day and "
        "cannot drift away.",
        Heading("Measured"),
        "The same happens to a model that was fitted to data. It is a linear model of Seattle's "
        "daily highest temperature, which reads the two weeks before and was fitted to two years. "
        f"It runs for {AHEAD} days in both ways, beginning on each of {found['starts']} days of "
        "the test year.",
        Plot(
            ["stretch", "errors"],
            "First panel: one of these runs. Second panel: the error over all of them, by the "
            "number of days "
            "since the run began. The dotted line is the error of a forecast that always predicts "
            "the mean of the training years.",
            "Two charts. First, two months of temperature: with teacher forcing the forecast "
            "follows the ups and downs about a day late; with free running it soon becomes a "
            "smooth line. Second, the error: with teacher forcing it remains near "
            f"{_error(found, 30, FORCED)}; with free running it grows from "
            f"{_error(found, 1, FREE)} to {_error(found, 30, FREE)} after 30 days and "
            f"{_error(found, 60, FREE)} after 60, where the mean of the training years has "
            f"{_error(found, 60, NAIVE)}.",
        ),
        f"On the first day both ways are the same, with an error of {_error(found, 1, FREE)}. "
        f"After a week it is {_error(found, 7, FREE)} with free running and "
        f"{_error(found, 7, FORCED)} with teacher forcing.",
        f"After two months the free-running error is {_error(found, 60, FREE)}, not far from that "
        f"of the mean, {_error(found, 60, NAIVE)}. The smooth line is not a defect: so far ahead, "
        "a prediction near the mean has the smallest expected squared error. But it hardly is a "
        "forecast any more, and the teacher-forced error would have hidden that.",
        "So an error that was measured with teacher forcing says little about free running. On "
        "this page, [bits and perplexities](#bits) are measured with teacher forcing, and texts "
        "that a network writes are free running. The [forecasts of the "
        "temperature](#temperature) predict all hours ahead at once and are never fed back.",
        "Can the network be trained for free running? *Scheduled sampling* (Bengio and others "
        "2015) feeds it some of its own predictions in training. It is not used here.",
        Code([forecast], "One forecast, in either way"),
    ]


def exercises(found: Found) -> Sequence[Exercise]:
    """A decay by hand, and where the free-running forecast loses its value."""
    end = START * FACTOR**DAYS
    day = day_of_twice_the_error()
    return [
        Exercise(
            f"Today it is {START} °C warmer than the mean. What does the model of the small "
            f"example, with its factor of {FACTOR}, predict for day {DAYS}, running free?",
            f"${FACTOR}^{DAYS} \\cdot {START} = {end:.2f}$ °C above the mean.",
            {"°C above the mean": end},
        ),
        Exercise(
            "On which day is the free-running error for Seattle twice that of the first day? Read "
            f"it off the figure, then run `{COMMAND}`.",
            f"On day {day}. With teacher forcing the error hardly changes from day to day.",
            {"Day": day},
        ),
    ]


SECTION = Section(title="Teacher forcing and free running", body=body, exercises=exercises)
