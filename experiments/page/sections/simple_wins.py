"""Why a linear or bag-of-words model sometimes wins."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import FigureBase

from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.page.section import Block, Bullets, Code, Exercise, Found, Heading, Plot, Section
from experiments.page.sections import Forecasting, numbers, rmse
from experiments.style import BLUE, GREY, RED

ORDERS = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 60, 90, 120)
FEATURES = 4
HIDDEN = 32  # units of the network in the first exercise
ORDER = 150  # days of the model in the second
COMMAND = (
    'python -c "from experiments.page.sections.simple_wins import errors; '
    f'print(errors({ORDER})[1])"'
)


def errors(order: int) -> tuple[float, float]:
    """RMSE on the training and on the validation days, from the `order` days before each."""
    task = Forecasting(order, FEATURES)
    # The same days for every order up to the largest.
    fitted = np.arange(max(*ORDERS, order), task.validation)
    validation = np.arange(task.validation, task.test)
    weights = task.fit(fitted)
    one, other = (
        rmse(task.past[days] @ weights - task.celsius[days]) for days in (fitted, validation)
    )
    return one, other


def measure() -> Found:
    """The error of ever larger linear models, where it was fitted and where not."""
    rows = {}
    for order in ORDERS:
        fitted, validation = errors(order)
        rows[f"{order} day{'s' * (order > 1)}"] = {
            "order": order,
            "weights": FEATURES * order + 1,
            "training": fitted,
            "validation": validation,
        }
    columns = [
        Column("weights", "weights", ".0f"),
        Column("training", "RMSE (°C)\ntraining", ".2f"),
        Column("validation", "\nvalidation", ".2f"),
    ]
    return numbers(rows, columns, days=Forecasting().validation - max(ORDERS))


def panels(found: Found) -> dict[str, Panel]:
    """Both errors against the number of weights."""
    return {"errors": Panel(partial(_errors, found=found))}


def _errors(figure: FigureBase, found: Found) -> None:
    ax = figure.subplots()
    rows = [row["mean"] for row in found["results"].values()]
    weights = [row["weights"] for row in rows]
    for name, colour, line in (("training", GREY, "--"), ("validation", BLUE, "-")):
        ax.plot(weights, [row[name] for row in rows], color=colour, linestyle=line, label=name)
    best = _best(found)
    ax.plot(best["weights"], best["validation"], "o", color=RED, label="smallest validation error")
    ax.set(xscale="log", xlabel="weights of the linear model", ylabel="RMSE (°C)")
    ticks = [5, 10, 20, 50, 100, 200, 500]
    ax.set_xticks(ticks, list(map(str, ticks)))
    ax.set_title("Error of ever larger linear models")
    ax.legend()


def _best(found: Found) -> Found:
    return min((row["mean"] for row in found["results"].values()), key=lambda r: r["validation"])


def _of(found: Found, order: int) -> Found:
    return found["results"][f"{order} day{'s' * (order > 1)}"]["mean"]


def body(found: Found) -> Sequence[Block]:
    """Why a model with true assumptions wins, what a weight costs, and when order pays."""
    best, smallest, largest = _best(found), _of(found, min(ORDERS)), _of(found, max(ORDERS))
    return [
        "A recurrent network can represent almost any rule. You might expect it to beat a linear "
        "model or a bag of words everywhere. It does not: in some experiments on this page the "
        "simple model is close to the network, or ahead. There is a reason for this.",
        "Every model makes assumptions. A linear model assumes that the answer is a weighted sum "
        "of the inputs. If that is nearly true, least squares finds the best weights at once and "
        "exactly. A network must learn from the same few examples that nothing more complicated "
        "is going on.",
        Heading("What a weight costs"),
        "Each further weight can fit something true, and it can also fit chance. Suppose that you "
        "draw a curve through five measured points. A line has two weights and misses most of "
        "them a little. A curve with five weights passes through all five, noise included, and "
        "may be far off between them. This is *overfitting*.",
        "The figure shows it for the temperature in Seattle. All models are linear; they differ "
        f"only in how many days they read, from 1 to {max(ORDERS)}, with {FEATURES} numbers a day. "
        f"All are fitted on the same {found['days']} days and then tested on the validation year.",
        Plot(
            ["errors"],
            "Each point of a line is a model; further to the right it has more weights (note the "
            "logarithmic axis). Dashed: the error on the days on which the model was fitted. "
            "Solid: the error on the year after.",
            "Error against the number of weights of a linear model. On the training days it falls "
            f"steadily to {largest['training']:.2f} °C at {largest['weights']:.0f} weights. On the "
            f"validation year it is {smallest['validation']:.2f} °C at {smallest['weights']:.0f} "
            f"weights, smallest, {best['validation']:.2f} °C, at {best['weights']:.0f}, and "
            f"{largest['validation']:.2f} °C at {largest['weights']:.0f}.",
        ),
        "On the training days more weights always help. On the validation year the smallest model, "
        f"which reads only yesterday, has an error of {smallest['validation']:.2f} °C, and the "
        f"largest {largest['validation']:.2f} °C.",
        "Up to about a month the solid line is almost flat, and [chance](#sampling_error) may "
        "decide which of these models is best. Beyond that, the linear model overfits too. Simple "
        "does not mean linear; it means few weights for the data at hand.",
        "Even a small recurrent network has more weights than any of these. Weight decay, dropout "
        "and early stopping keep them in check, as in a feed-forward network. How well this works "
        "is a question for the validation set; it is not measured here.",
        Heading("Words"),
        "For texts, the simple model is the [bag of words](#order_matters). It counts how often "
        "each word occurs and forgets the order. Take “goal, coach, league” and “vote, senate, "
        "law”: no order is needed to see which text is about sports. A weight for each word is "
        "enough, and can be learned from few examples.",
        "Order helps under two conditions. The label must depend on it, as in “the dog bites the "
        "man”. And there must be enough examples from which to learn it: 10,000 words need 10,000 "
        "weights on their own, but they make 100 million pairs of neighbours.",
        Heading("What follows"),
        Bullets([
            "Begin with the simplest baseline, and give it the same inputs as the network.",
            "Report it next to the network, even when it wins.",
            "Let the network [correct a simple model](#temperature) instead of replacing it.",
            "Expect networks to gain with more data, or where order and long memory matter.",
        ]),
        Code([errors], "One of these models"),
    ]  # fmt: skip


def exercises(found: Found) -> Sequence[Exercise]:
    """The weights of a network, and a model that is larger still."""
    count = HIDDEN * HIDDEN + HIDDEN * FEATURES + HIDDEN
    _, validation = errors(ORDER)
    days = found["days"] - (ORDER - max(ORDERS))
    return [
        Exercise(
            "A tanh network $h_t = \\tanh(W_{hh} h_{t-1} + W_{xh} x_t + b_h)$ has "
            f"{HIDDEN} hidden units and reads {FEATURES} numbers a step. How many weights and "
            f"biases does it have, without the output layer? And how many does a linear model have "
            f"that reads 14 days of {FEATURES} numbers?",
            f"${HIDDEN} \\cdot {HIDDEN}$ in $W_{{hh}}$, ${HIDDEN} \\cdot {FEATURES}$ in $W_{{xh}}$ "
            f"and {HIDDEN} in $b_h$: {count:,}. The linear model has $14 \\cdot {FEATURES} + 1 = "
            f"{14 * FEATURES + 1}$.",
            {"Network": count, "Linear model": 14 * FEATURES + 1},
        ),
        Exercise(
            f"What happens with {ORDER} days? Predict whether the validation error rises or falls, "
            f"then run `{COMMAND}`. What does it print?",
            f"{validation:.2f} °C; the largest model of the figure has "
            f"{_of(found, max(ORDERS))['validation']:.2f} °C. With {FEATURES * ORDER + 1} weights "
            f"it has more weights than there are training days ({days}; the first {ORDER} have too "
            "little past). It fits every one of them exactly, noise included.",
            {"RMSE in °C": validation},
        ),
    ]


SECTION = Section(title="Why a simple model sometimes wins", body=body, exercises=exercises)
