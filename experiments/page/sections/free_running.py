"""Teacher forcing and free running."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, GREY, RED, Forecasting, numbers, rmse

AHEAD = 60  # days
SHOWN = 200  # day of the test year from which the figure runs free
STEPS = (1, 2, 3, 7, 14, 30, 60)
FORCED, FREE, NAIVE = "teacher forced", "free running", "mean of the training years"


def predictor(celsius: np.ndarray, training: slice, order: int) -> np.ndarray:
    """Weights that tell a day from the `order` days before it, and a constant."""
    days = np.arange(training.start + order, training.stop)
    past = celsius[days[:, None] - 1 - np.arange(order)]
    return np.linalg.lstsq(np.c_[past, np.ones(len(days))], celsius[days], rcond=None)[0]


def forecast(
    weights: np.ndarray, celsius: np.ndarray, first: int, days: int, *, free: bool
) -> np.ndarray:
    """Day after day from `first` on; running free, it reads its own forecasts."""
    order = len(weights) - 1
    read = list(celsius[first - order : first])
    told = []
    for day in range(first, first + days):
        told.append(np.dot(weights[:-1], read[: -order - 1 : -1]) + weights[-1])
        read.append(told[-1] if free else celsius[day])
    return np.array(told)


def measure() -> Found:
    """Errors by the number of steps since the truth was last seen."""
    task = Forecasting()
    celsius = task.celsius
    weights = predictor(celsius, slice(0, task.validation), task.order)
    starts = range(task.test, len(celsius) - AHEAD)
    truth = np.stack([celsius[first : first + AHEAD] for first in starts])
    told = {
        name: np.stack([forecast(weights, celsius, s, AHEAD, free=name == FREE) for s in starts])
        for name in (FORCED, FREE)
    }
    told[NAIVE] = np.full_like(truth, celsius[: task.validation].mean())
    rows = {
        f"{step} day{'s' * (step > 1)} ahead": {
            name: rmse(values[:, step - 1] - truth[:, step - 1]) for name, values in told.items()
        }
        for step in STEPS
    }
    return numbers(
        rows,
        [Column(name, f"{name}\nRMSE (°C)", ".2f") for name in told],
        curves={name: np.sqrt(np.mean((v - truth) ** 2, axis=0)) for name, v in told.items()},
        shown={"truth": truth[SHOWN], FORCED: told[FORCED][SHOWN], FREE: told[FREE][SHOWN]},
    )


def draw(found: Found) -> Figure:
    """Two months by either way, and the errors by distance."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[5, 4])
    styles = {
        "truth": {"color": GREY, "marker": ".", "linewidth": 0.5},
        FORCED: {"color": BLUE, "linestyle": "--"},
        FREE: {"color": RED},
        NAIVE: {"color": GREY, "linestyle": ":"},
    }
    days = np.arange(1, AHEAD + 1)
    for name, values in found["shown"].items():
        left.plot(days, values, label=name, **styles[name])
    left.set(title="Two months of the test year", xlabel="days since the start", ylabel="°C")
    for name, values in found["curves"].items():
        right.plot(days, values, label=name, **styles[name])
    right.set(title="Error, over all starts", xlabel="days since the start", ylabel="RMSE (°C)")
    right.set_ylim(0, None)
    for ax in (left, right):
        ax.legend(handlelength=4)
    return figure


def _error(found: Found, step: int, name: str) -> str:
    return f"{found['results'][f'{step} day' + 's' * (step > 1) + ' ahead']['mean'][name]:.1f} °C"


SECTION = Section(
    place=8,
    title="Teacher forcing and free running",
    text=lambda found: [
        "While it is trained, a network that tells the next step is given the true steps before, "
        "whatever it had told itself: after “the cat sat on the” it may have put its stake on "
        "“dog”, but next it reads “mat”, since that is what the text says. This is teacher "
        "forcing. It makes all steps of a sequence into examples at once, and no early mistake "
        "spoils the later ones.",
        "When a network writes text, or looks further ahead than one step, there is no teacher. "
        "It reads what it said itself: it runs free. Then a mistake becomes an input, the next "
        "step begins from it, and the network comes to places that no training text ever took it "
        "to. The figure shows it with the smallest model there is, least squares on two weeks of "
        f"temperature. One step ahead both ways are the same, {_error(found, 1, FREE)}. A week "
        f"ahead it errs by {_error(found, 7, FREE)} running free and by {_error(found, 7, FORCED)} "
        f"when corrected daily; two months ahead by {_error(found, 60, FREE)}, where saying the "
        f"mean of the training years all the time errs by {_error(found, 60, NAIVE)}.",
        "So a number that was measured with the teacher says little about free running. When this "
        "page gives perplexities, they are teacher forced; texts that a network wrote are free "
        "running; forecasts of the temperature a day ahead are told at once, and never read.",
    ],
    alt=lambda found: (
        "Left, two months of temperatures: the teacher-forced forecast follows the ups and downs "
        "a day late, the free-running one soon turns into a smooth line. Right, the error against "
        f"days since the start: teacher forced it stays near {_error(found, 30, FORCED)}, free "
        f"running it grows from {_error(found, 1, FREE)} to {_error(found, 30, FREE)} at 30 days "
        f"and {_error(found, 60, FREE)} at 60."
    ),
    code=[forecast],
    exercise=Exercise(
        "A forecaster says each day 0.9 times what it reads (deviations from the mean, in °C). It "
        "last read 10. What does it say running free for the 7th day?",
        f"0.9 to the power of 7, times 10: {10 * 0.9**7:.2f} °C. Running free it forgets its start "
        "and ends at the mean, whatever the weather does.",
        number=10 * 0.9**7,
    ),
)
