"""Why a linear or bag-of-words model sometimes wins."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import BLUE, GREY, RED, Forecasting, numbers, rmse

ORDERS = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 60, 90, 120)
FEATURES = 4


def least_squares(
    values: np.ndarray, order: int, training: slice, tested: slice
) -> tuple[float, float]:
    """RMSE on the training and on the tested days, from the `order` days before each."""

    def past(days: slice) -> np.ndarray:
        rows = np.arange(days.start, days.stop)[:, None] - 1 - np.arange(order)
        return np.c_[values[rows].reshape(len(rows), -1), np.ones(len(rows))]

    weights = np.linalg.lstsq(past(training), values[training, 0], rcond=None)[0]
    return tuple(rmse(past(days) @ weights - values[days, 0]) for days in (training, tested))


def measure() -> Found:
    """The error of ever larger linear models, where it was fitted and where not."""
    task = Forecasting()
    training = slice(max(ORDERS), task.validation)
    rows = {}
    for order in ORDERS:
        values = (task.weather.values, order, training, slice(task.validation, task.test))
        fitted, tested = least_squares(*values)
        weights = FEATURES * order + 1
        rows[f"{order} day{'s' * (order > 1)}"] = {
            "order": order,
            "weights": weights,
            "training": fitted,
            "validation": tested,
        }
    columns = [
        Column("weights", "weights", ".0f"),
        Column("training", "RMSE (°C)\ntraining", ".2f"),
        Column("validation", "\nvalidation", ".2f"),
    ]
    return numbers(rows, columns, days=task.validation - max(ORDERS))


def draw(found: Found) -> Figure:
    """Both errors against the number of weights."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ax = figure.subplots()
    rows = [row["mean"] for row in found["results"].values()]
    weights = [row["weights"] for row in rows]
    for name, colour, line in (("training", GREY, "--"), ("validation", BLUE, "-")):
        ax.plot(weights, [row[name] for row in rows], color=colour, linestyle=line, label=name)
    best = _best(found)
    ax.plot(best["weights"], best["validation"], "o", color=RED, label="best on validation")
    ax.set(xscale="log", xlabel="weights of the linear model", ylabel="RMSE (°C)")
    ax.legend()
    return figure


def _best(found: Found) -> Found:
    return min((row["mean"] for row in found["results"].values()), key=lambda r: r["validation"])


def _largest(found: Found) -> Found:
    return max((row["mean"] for row in found["results"].values()), key=lambda r: r["order"])


def _smallest(found: Found) -> Found:
    return min((row["mean"] for row in found["results"].values()), key=lambda r: r["order"])


SECTION = Section(
    place=20,
    title="Why a linear or bag-of-words model sometimes wins",
    text=lambda found: [
        "Several experiments above set a network beside a model without any recurrence, and the "
        "simple one is often close, sometimes ahead. That is no accident and no defect of the "
        "training. A model wins when its assumptions are true and it has little else to learn. "
        "Tomorrow's temperature is nearly a weighted sum of the last days: a linear model says "
        "just that and finds the weights exactly, while a network must first learn from the same "
        "few years that nothing more complicated is going on.",
        "The figure counts the price of every further weight. All models are linear and differ "
        f"only in how many days they see; all are fitted on the same {found['days']} days. With "
        "more weights the error on those days only falls, to "
        f"{_largest(found)['training']:.2f} °C at {_largest(found)['weights']:.0f} weights. On the "
        f"year after, {_smallest(found)['weights']:.0f} weights, yesterday alone, err by "
        f"{_smallest(found)['validation']:.2f} °C and the best, {_best(found)['weights']:.0f}, by "
        f"{_best(found)['validation']:.2f}; the largest errs by "
        f"{_largest(found)['validation']:.2f} °C. A network of 32 units has more weights than any "
        "of these; its form and few small steps may hold them in check, which is not measured "
        "here.",
        "It is the same with words. A bag of words, which counts words and forgets their order, "
        "is hard to beat at telling what a text is about, since that hangs on which words occur. "
        "Order starts to pay where the label depends on it (“dog bites man”), and where there are "
        "enough examples to learn it from. Hence the rule on this page: no network without a "
        "simple baseline that saw the same inputs.",
    ],
    alt=lambda found: (
        "Error against the number of weights of a linear model. On the training days it falls "
        f"steadily to {_largest(found)['training']:.2f} °C; on the validation year it is lowest, "
        f"{_best(found)['validation']:.2f} °C, at {_best(found)['weights']:.0f} weights, and rises "
        f"to {_largest(found)['validation']:.2f} °C at {_largest(found)['weights']:.0f}."
    ),
    code=[least_squares],
    exercise=Exercise(
        "A recurrence `h_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h)` has H = 32 units and reads D = 4 "
        "numbers. How many weights has it, without the readout?",
        f"{32 * 32 + 32 * 4 + 32:,}: 32 × 32 in `W_hh`, 32 × 4 in `W_xh` and 32 in `b_h`. An LSTM "
        "of that size has four times as many.",
        number=32 * 32 + 32 * 4 + 32,
    ),
)
