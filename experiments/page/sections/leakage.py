"""Training, validation and leakage."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, RED, Forecasting, numbers, rmse

MEMORISER, LINEAR = "nearest day", "least squares on two weeks"
RANDOM, BY_TIME = "random days", "the year after"


def nearest_day(training: np.ndarray, celsius: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The temperature of the training day that is nearest in time."""
    distance = np.abs(days[:, None] - training)
    return celsius[training[np.argmin(distance, axis=1)]]


def splits(task: Forecasting) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Days to learn from and days to be tested on, as many of both in either way."""
    days = np.arange(task.order, task.test)
    shuffled = np.random.default_rng(0).permutation(days)
    held_out = task.test - task.validation
    return {
        RANDOM: (np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])),
        BY_TIME: (days[:-held_out], days[-held_out:]),
    }


def measure() -> Found:
    """Both models under both splits."""
    task = Forecasting()
    rows: dict[str, dict[str, float]] = {MEMORISER: {}, LINEAR: {}}
    for name, (training, tested) in splits(task).items():
        told = nearest_day(training, task.celsius, tested)
        rows[MEMORISER][name] = rmse(told - task.celsius[tested])
        told = task.past[tested] @ task.fit(training)
        rows[LINEAR][name] = rmse(told - task.celsius[tested])
    columns = [Column(name, f"tested on\n{name}\nRMSE (°C)", ".2f") for name in (RANDOM, BY_TIME)]
    return numbers(rows, columns)


def draw(found: Found) -> Figure:
    """A dot a model and split."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(found["results"]))
    for split, shift, style in (
        (RANDOM, -0.15, {"color": RED, "linestyle": "--", "marker": "o"}),
        (BY_TIME, 0.15, {"color": BLUE, "linestyle": "-", "marker": "s"}),
    ):
        for place, row in zip(places, found["results"].values(), strict=True):
            label = f"tested on {split}" if place == 0 else None
            ax.plot(
                [0, row["mean"][split]], [place + shift] * 2, markevery=[1], label=label, **style
            )
    ax.set_yticks(places, found["results"])
    ax.set(xlabel="RMSE (°C), shorter is better", xlim=(0, None), ylim=(1.6, -0.6))
    ax.legend(loc="lower right")
    return figure


def _error(found: Found, model: str, split: str) -> str:
    return f"{found['results'][model]['mean'][split]:.2f} °C"


SECTION = Section(
    place=5,
    title="Training, validation and leakage",
    text=lambda found: [
        "A model is judged on what it has not seen. So the data are cut in three: on the training "
        "part the weights are fitted, on the validation part one chooses between models and when "
        "to stop, and the test part is looked at once, at the end. Everything that is fitted, the "
        "mean and deviation that bring the inputs to a common scale among it, is fitted on the "
        "training part alone.",
        "Where examples come in time, the cut must be made in time. Here is what happens "
        "otherwise. One model is a mere list: it says the temperature of the training day that is "
        "nearest in time. Tested on days drawn at random from between its training days, it errs "
        f"by {_error(found, MEMORISER, RANDOM)} (root mean square, RMSE), about as little as an "
        f"honest forecaster ({_error(found, LINEAR, RANDOM)}): almost every test day has a "
        "neighbour in the training part, sometimes the day after, which no forecast could know. "
        "Tested on the year after, the list can only repeat its last day, and errs by "
        f"{_error(found, MEMORISER, BY_TIME)}; the honest one errs by "
        f"{_error(found, LINEAR, BY_TIME)}, about as before.",
        "That the future leaks into the past is the commonest way to fool oneself with sequences, "
        "and a network with enough weights finds every leak. So every experiment on this page "
        "cuts by time where data are in time and by work where they are texts. Under temperature "
        "a second cut breaks this rule on purpose.",
    ],
    alt=lambda found: (
        "Root mean square errors of two models under two splits. "
        + "; ".join(
            f"{model}: {_error(found, model, RANDOM)} on {RANDOM}, "
            f"{_error(found, model, BY_TIME)} on {BY_TIME}"
            for model in (MEMORISER, LINEAR)
        )
        + "."
    ),
    code=[nearest_day, splits],
    exercise=Exercise(
        "A network learns to tell speakers apart from recordings. Each of 20 speakers was "
        "recorded in one session of 50 utterances, and the utterances are split at random. What "
        "might it learn instead of voices, and how would you split?",
        "The session: the room, the microphone, the hum. Utterances of one session stand on both "
        "sides of the split, so recognising the session is enough. Keep whole sessions together: "
        "test on sessions that no training utterance comes from. Where the question is not who "
        "speaks but what is said, keep whole speakers together.",
    ),
)
