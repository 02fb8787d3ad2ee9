"""Training, validation and test sets, and how the test set leaks."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

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
from experiments.page.sections import Forecasting, numbers, rmse
from experiments.style import BLUE, FAINT, RED

MEMORISER, LINEAR = "nearest day", "linear model"
RANDOM, BY_TIME = "random days", "the last year"
SHOWN = slice(500, 540)  # days of the first panel
# Of the exercise.
YEAR, TRAINING, WINDOW = 365, 292, 15
COMMAND = (
    'python -c "from experiments.page.sections import leakage; '
    'print(leakage.share_with_a_neighbour())"'
)


def nearest_day(training: np.ndarray, celsius: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The temperature of the training day that is nearest in time."""
    distance = np.abs(days[:, None] - training)
    nearest: np.ndarray = celsius[training[np.argmin(distance, axis=1)]]
    return nearest


def splits(task: Forecasting) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training days and test days, as many of both in either way."""
    days = np.arange(task.order, task.test)
    shuffled = np.random.default_rng(0).permutation(days)
    held_out = task.test - task.validation
    return {
        RANDOM: (np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])),
        BY_TIME: (days[:-held_out], days[-held_out:]),
    }


def share_with_a_neighbour() -> float:
    """Of the random test days: how many have the day before or after in the training set."""
    training, tested = splits(Forecasting())[RANDOM]
    return float(np.mean(np.isin(tested - 1, training) | np.isin(tested + 1, training)))


def measure() -> Found:
    """Both models under both splits."""
    task = Forecasting()
    rows: dict[str, dict[str, float]] = {MEMORISER: {}, LINEAR: {}}
    for name, (training, tested) in splits(task).items():
        predicted = nearest_day(training, task.celsius, tested)
        rows[MEMORISER][name] = rmse(predicted - task.celsius[tested])
        predicted = task.past[tested] @ task.fit(training)
        rows[LINEAR][name] = rmse(predicted - task.celsius[tested])
    columns = [Column(name, f"test on\n{name}\nRMSE (°C)", ".2f") for name in (RANDOM, BY_TIME)]
    training, tested = splits(task)[RANDOM]
    days = np.arange(len(task.celsius))[SHOWN]
    return numbers(
        rows, columns, celsius=task.celsius[SHOWN], tested=np.isin(days, tested),
        nearest=nearest_day(training, task.celsius, days), counts=(len(training), len(tested)),
    )  # fmt: skip


def panels(found: Found) -> dict[str, Panel]:
    """Some days of the random split, and the errors."""
    return {
        "days": Panel(partial(_days, found=found)),
        "errors": Panel(partial(_errors, found=found)),
    }


def _days(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    days, tested = np.arange(1, len(found["celsius"]) + 1), found["tested"]
    for name, colour, marker, which, fill in (
        ("training day", BLUE, "o", ~tested, BLUE), ("test day", RED, "s", tested, "white"),
    ):  # fmt: skip
        ax.plot(
            days[which], found["celsius"][which], marker, color=colour, markerfacecolor=fill,
            markersize=5, label=name,
        )  # fmt: skip
    ax.plot(days, found["celsius"], color=FAINT, linewidth=0.8, zorder=0)
    ax.plot(
        days[tested], found["nearest"][tested], "x", color="black", label="predicted by nearest day"
    )
    low, high = ax.get_ylim()
    ax.set(title="Part of the random split", xlabel="day", ylabel="highest temperature (°C)")
    ax.set_ylim(low, high + 0.35 * (high - low))
    ax.legend(loc="upper left")


def _errors(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    places = np.arange(len(found["results"]))
    for split, shift, style in (
        (RANDOM, -0.15, {"color": RED, "linestyle": "--", "marker": "o"}),
        (BY_TIME, 0.15, {"color": BLUE, "linestyle": "-", "marker": "s"}),
    ):
        for place, row in zip(places, found["results"].values(), strict=True):
            error, label = row["mean"][split], None if place else f"test on {split}"
            ax.plot([0, error], [place + shift] * 2, markevery=[1], label=label, **style)
            ax.annotate(
                f"{error:.2f}", (error, place + shift), (8, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
    largest = max(max(row["mean"].values()) for row in found["results"].values())
    ax.set_yticks(places, found["results"])
    ax.set(xlabel="RMSE (°C)", xlim=(0, 1.2 * largest), ylim=(2.0, -0.6))
    ax.set_title("Test error of both models")
    ax.legend(loc="lower right")


def _error(found: Found, model: str, split: str) -> str:
    return f"{found['results'][model]['mean'][split]:.2f} °C"


def body(found: Found) -> Sequence[Block]:
    """Three sets, two splits, and the ways in which a test set leaks."""
    training, tested = found["counts"]
    return [
        "Suppose that a model simply memorises its training data. On these data it makes no error "
        "at all, which tells you nothing about how well it will do tomorrow. So a model is "
        "judged on data that it has not seen. The data are split into three sets:",
        Bullets([
            "The *training set* is used to fit the weights.",
            "The *validation set* is used to choose between models, and to decide when to stop "
            "training.",
            "The *test set* is looked at once, at the end.",
        ]),
        "Everything that is fitted is fitted on the training set alone. That includes the mean and "
        "the standard deviation with which the inputs are scaled.",
        Heading("Which days go where?"),
        "Independent examples can be split at random. Neighbouring days are not independent: they "
        "[resemble each other](#time_dependence). Say that Tuesday to Thursday had 11, 13 and "
        "12 °C, and that only Wednesday is in the test set. A model that knows Thursday's "
        "temperature predicts 12 °C for Wednesday and is off by only 1 °C. But on Tuesday, when "
        "the forecast is made, nobody knows Thursday's temperature.",
        "Here are two models of the daily highest temperature in Seattle. The first, “nearest "
        "day”, is no more than a list: it predicts the temperature of the training day that is "
        "nearest in time. The second is an honest forecaster, a linear model of the two weeks "
        "before the day in question, fitted by least squares.",
        "Both are tested in two ways. Either the test days are drawn at random from three years, "
        "or the test set is the last of these years and the training set is what came before. In "
        f"both cases {training} days are for training and {tested} for testing.",
        Plot(
            ["days", "errors"],
            "First panel: some days of the random split. A cross is what the list predicts for a "
            "test day; it mostly copies a neighbour. Second panel: the error of both models under "
            "both splits, "
            "as root mean squared error (RMSE); lower is better.",
            f"Two charts. First, {len(found['celsius'])} days of temperature, "
            f"{sum(found['tested'])}"
            " of them test days scattered among training days; the predictions of the list are "
            "close to the test days because they are taken from the day before or after. Second, "
            "errors: "
            + "; ".join(
                f"{model} {_error(found, model, RANDOM)} on {RANDOM} and "
                f"{_error(found, model, BY_TIME)} on {BY_TIME}"
                for model in (MEMORISER, LINEAR)
            )
            + ".",
        ),
        "On random days the list looks like a good forecaster: its error is "
        f"{_error(found, MEMORISER, RANDOM)}, that of the linear model "
        f"{_error(found, LINEAR, RANDOM)}. Most test days have a neighbour in the training set, "
        "often the day after. In the last year there are no such neighbours. The list "
        "can only repeat the last day that it knows, and its error becomes "
        f"{_error(found, MEMORISER, BY_TIME)}.",
        f"The linear model has an error of {_error(found, LINEAR, BY_TIME)} there, about as "
        "before, since it never used anything but the past. So the random split did not measure "
        "forecasting. It rewarded remembering the training set, and a network can remember much.",
        Heading("How a test set leaks"),
        Bullets([
            "*Neighbours in time* are on both sides of the split, as here.",
            "*Windows cross the border.* An example that reads 14 days and predicts the next one "
            "may begin in the training set and end in the test set.",
            "*One source is on both sides.* If 20 speakers are recorded in one session each and "
            "the utterances are split at random, a network can learn the room and the microphone "
            "instead of the voice. Keep whole sessions, patients or works together.",
            "*Scaling uses all data.* The mean over the whole series contains the future.",
            "*The test set is looked at twice.* If you try ten models and report the best test "
            "error, you have used the test set as a validation set.",
        ]),
        "On this page, time series are split in time and texts by whole works. One experiment, "
        "[temperature](#temperature), adds a second split that breaks this rule on purpose.",
        Code([nearest_day, splits], "The list and the splits"),
    ]  # fmt: skip


def exercises(found: Found) -> Sequence[Exercise]:
    """Windows at a border, and neighbours in the random split."""
    crossing, left = WINDOW - 1, TRAINING - WINDOW + 1
    training, tested = found["counts"]
    share = tested / (training + tested)
    return [
        Exercise(
            f"A year of {YEAR} days is split: the first {TRAINING} days are for training, the "
            f"others for testing. An example is a window of {WINDOW} days in a row: 14 days of "
            "input and the day to predict. How many windows lie wholly in the training set? How "
            "many cross the border and must be left out?",
            f"A window can begin on days 1 to {TRAINING} − {WINDOW} + 1 = {left} and still end in "
            f"the training set. The next {crossing} windows have at least one day on each side.",
            {"Windows for training": left, "Windows that cross": crossing},
        ),
        Exercise(
            "In the random split above, what share of the test days has a neighbour, the day "
            f"before or the day after, in the training set? A share of {share:.2f} of all days is "
            "for testing. First estimate it, as if every day were drawn independently. Then count "
            f"them, with `{COMMAND}`.",
            f"Both neighbours are test days with a probability of ${share:.2f}^2$, so the estimate "
            f"is $1 - {share:.2f}^2 = {1 - share**2:.3f}$. The count is "
            f"{share_with_a_neighbour():.3f}.",
            {"Estimate": 1 - share**2, "Count": share_with_a_neighbour()},
        ),
    ]


SECTION = Section(title="Training, validation and leakage", body=body, exercises=exercises)
