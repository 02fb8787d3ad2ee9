"""The section on the page: the vanishing gradient."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.measures.seeds import mean_over_seeds
from experiments.page.section import (
    Block,
    Code,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
    Widget,
)
from experiments.vanishing_gradients.comparing import GATED, Error, near_and_far
from experiments.vanishing_gradients.experiment import Network, Shown, gradient, networks
from experiments.vanishing_gradients.tasks import recall, tomorrow

PANELS = ("gradient-before", "gradient-recall", "error-tomorrow", "error-recall")
FACTOR = 0.8  # of the identity in the second exercise
COMMAND = (
    "python -c 'import jax, jax.numpy as jnp, rnnjax; from rnnjax import cells, initializers; "
    f"cell = cells.elman(1, 8, kernel_init=initializers.scaled_identity({FACTOR})); "
    "params = cell.init(jax.random.key(0)); "
    "print(rnnjax.gradient_report(cell, params, jnp.zeros((100, 1, 1))))'"
)


def body(found: Found) -> list[Block]:
    """One number, a matrix, a real network, and a task that needs the gradient."""
    return [
        "[Training](#training) sends the gradient back from the last time step to the first. Each "
        "step back multiplies it once more. This section shows what many multiplications do to "
        "it, and when that matters.",
        Heading("One number"),
        "Take the smallest recurrence there is, one unit without inputs and without $\\tanh$: "
        "$h_t = w\\,h_{t-1}$. Change $h_{T-1}$ a little and $h_T$ changes $w$ times as much. Go "
        "back by a lag of $l$ steps, and the chain rule multiplies by $w$ once for each:",
        Equation(r"\frac{\partial h_T}{\partial h_{T-l}} = w^{\,l}"),
        f"With $w = 0.9$ and a lag of 100 this is {_power(0.9, 100)}: the gradient has "
        f"*vanished*. With $w = 1.1$ it is {1.1**100:,.0f}: it has *exploded*. A weight that is "
        "off from 1 by a tenth is enough for either.",
        "Suppose an input a hundred steps ago decides the answer. The loss can correct the weights "
        "that should have kept that input only through this product. If the product is 0.00003, "
        "recent inputs dominate the gradient, and the network learns from them alone.",
        Heading("A matrix"),
        "In the tanh network, $h_t = \\tanh(a_t)$ with $a_t = W_{hh} h_{t-1} + W_{xh} x_t + b$. "
        "Now one step back multiplies by a matrix, the Jacobian $J_t$, and a lag of $l$ steps "
        "multiplies by $l$ of them:",
        Equation(
            r"J_t = \mathrm{diag}\left(f'(a_t)\right) W_{hh}, \qquad "
            r"\frac{\partial h_T}{\partial h_{T-l}} = J_T \, J_{T-1} \cdots J_{T-l+1}"
        ),
        "Here $f$ is $\\tanh$, $f'$ is its slope, and $\\mathrm{diag}$ writes the slopes of all "
        "units on the diagonal of a matrix. The slope of $\\tanh$ is 1 at zero and smaller "
        "everywhere else. The *norm* $\\|W_{hh}\\|_2$ is the largest factor by which $W_{hh}$ "
        "stretches any vector. Since no slope exceeds 1, each step multiplies by at most that:",
        Equation(
            r"\left\| \frac{\partial h_T}{\partial h_{T-l}} \right\|_2 \le \|W_{hh}\|_2^{\,l}"
        ),
        "If the norm is below 1, the gradient must vanish. If it is above 1, the bound says "
        "nothing: the gradient may explode, or vanish all the same. The box further down lets you "
        "try both.",
        Heading("Real networks"),
        f"How much gradient is left in a network with {found['hidden']} units that reads Seattle's "
        "weather day by day? We compare networks that differ in how $W_{hh}$ starts. "
        f"{_starts(found)}",
        "Each network is trained twice, from the same start and for the same number of steps. One "
        "task is to predict tomorrow's highest temperature, for which recent days should suffice. "
        f"The other is to read {found['lag'] + 1} days and then recall the highest temperature of "
        "the first of them. The recent days say little about it, so a network that cannot remember "
        "pays for it.",
        Plot(
            PANELS,
            "Above, the share of the gradient that is left at each lag, on a logarithmic scale, "
            "before training and after training to recall. The horizontal line marks 1 %, the "
            f"vertical one the {found['lag']} days of the recall task. Below, the error on the "
            "test year, one mark for each seed; further left is better. The two lines are methods "
            "without a network: the last day's temperature (dashed), and a linear model of at most "
            f"the last {max(found['lag'] // 2, 1)} days.",
            _alt(found),
        ),
        *_reaches(found),
        Widget("gradient", "vanishing_gradients"),
        *_tasks(found),
        *_diverged(found),
        "Two limits. A gradient that arrives is necessary for learning, not sufficient. And this "
        "is one data set, one size of network and one budget: with more training steps, weights "
        "can grow and a network that failed here may still learn. How the lag changes the picture "
        "is measured in [how far back a network can learn](#cures).",
        Code([gradient, tomorrow, recall], "The measurement and the two tasks"),
    ]


def _power(base: float, exponent: int) -> str:
    """In scientific notation."""
    mantissa, power = f"{base**exponent:.1e}".split("e")
    return f"${mantissa} \\cdot 10^{{{int(power)}}}$"


def _chosen(found: Found) -> dict[str, Network]:
    return networks(1, found["hidden"], list(found["results"]))


def _label(found: Found, name: str) -> str:
    return _chosen(found)[name].style.label


_STARTS = {
    "tanh-small": "*tanh (small weights)* draws its entries with a deviation of 0.05",
    "tanh": "*tanh (torch's default)* draws them evenly from $-1/\\sqrt{{H}}$ to $1/\\sqrt{{H}}$, "
    "where $H$ is the number of units: a deviation of {deviation:.2f}",
    "tanh-orthogonal": "*tanh (orthogonal)* starts with a rotation of the state, which keeps the "
    "length of every vector, so its norm is 1",
    "relu-identity": "*ReLU (identity)* replaces $\\tanh$ by $\\max(0, a)$ and starts with "
    "$W_{{hh}}$ as the identity, which copies the state",
}


def _starts(found: Found) -> str:
    """The contenders that ran."""
    deviation = 1 / np.sqrt(3 * found["hidden"])
    told = [
        text.format(deviation=deviation)
        for name, text in _STARTS.items()
        if name in found["results"]
    ]
    words = f"{'; '.join(told)}." if told else ""
    if gated := [_label(found, name) for name in GATED if name in found["results"]]:
        words += f" For comparison there are gated networks ({', '.join(gated)}), explained in "
        words += "[the gates](#gates)."
    return words


def _days(found: Found, name: str, moment: str = "before") -> str:
    """Until 1 % of the gradient is left; `result.json` has nothing for infinity."""
    days = found["results"][name]["mean"][f"horizon_{moment}"]
    if days is None or days > found["window"]:
        return f"more than {found['window']} days"
    return f"{days:.0f} days"


def _each(found: Found, moment: str = "before") -> str:
    return ", ".join(
        f"{network.style.label} {_days(found, name, moment)}"
        for name, network in _chosen(found).items()
    )


def _reaches(found: Found) -> list[str]:
    """How far before training, and what decides it."""
    told = []
    if "tanh-small" in found["results"]:
        bound = found["results"]["tanh-small"]["mean"]["bound_before"]
        told.append(
            f"With small weights the norm of $W_{{hh}}$ is {bound:.2f}, and the curve remains "
            f"below its bound: 1 % of the gradient is left after {_days(found, 'tanh-small')}."
        )
    if (pair := near_and_far(found["results"])) is not None:
        told.append(_same_cell(found, *pair))
    return told


def _same_cell(found: Found, near: str, far: str) -> str:
    """Two starts of one cell, the gated cells beside them, and what training changes."""
    gated = [name for name in GATED if name in found["results"]]
    words = (
        f"Before training, 1 % of the gradient is left after {_days(found, near)} in "
        f"{_label(found, near)} and after {_days(found, far)} in {_label(found, far)}. Both are "
        "the same cell. "
    )
    if gated and all(_horizon_of(found, name) < _horizon_of(found, far) for name in gated):
        words += (
            f"The gated networks, as this library starts them, reach less far than "
            f"{_label(found, far)}. "
        )
    if _horizon_of(found, near) < _horizon_of(found, far):
        words += (
            "What decides is the scale at which the recurrent weights start, not the name of the "
            "cell. "
        )
    return (
        f"{words}That holds until training changes the weights: after training to recall, the "
        f"numbers are {_days(found, near, 'recall')} and {_days(found, far, 'recall')}."
    )


def _horizon_of(found: Found, name: str) -> float:
    """Before training."""
    days = found["results"][name]["mean"]["horizon_before"]
    return np.inf if days is None else float(days)


def _error(found: Found, name: str, task: str) -> Error:
    mean, deviation, diverged = found["extra"]["errors"][name][task].values()
    return Error(np.nan if mean is None else mean, deviation, diverged)


def _celsius(error: Error) -> str:
    spread = f" ± {error.deviation:.2f}" if error.deviation else ""
    return f"{error.mean:.2f}{spread} °C" if np.isfinite(error.mean) else "no result"


def _tasks(found: Found) -> list[str]:
    """The near and the far tanh network on both tasks, each beside the linear model."""
    if (pair := near_and_far(found["results"])) is None:
        return []
    near, far = pair
    one, other = _label(found, near), _label(found, far)

    def compared(task: str) -> str:
        ours, theirs = _error(found, far, task), _error(found, near, task)
        low, high = found["extra"]["differences"][task]
        numbers = f"{_celsius(ours)} for {other}, {_celsius(theirs)} for {one}"
        if high < 0:
            return f"{numbers}: the gradient that reaches further goes with the smaller error"
        if low > 0:
            return f"{numbers}: the gradient that reaches further goes with the larger error"
        return f"{numbers}: no difference was found"

    linear = found["baselines"]["linear"]["recall"]
    spread = " ± gives the deviation over the seeds." if len(found["seeds"]) > 1 else ""
    return [
        "Does it matter? For tomorrow's temperature the error is "
        f"{compared('tomorrow')}.{spread} (We speak of a difference if its 95 % interval over the "
        "days of the test year excludes zero.)",
        f"For the temperature of {found['lag']} days ago the error is {compared('recall')}. "
        f"The linear model, which sees only recent days, has {linear:.2f} °C; a network near that "
        "value has not learned to remember. The table has the others.",
        *_gated_recall(found),
    ]


def _gated_recall(found: Found) -> list[str]:
    """Whether the gated networks learned to recall within this budget."""
    gated = [name for name in GATED if name in found["results"]]
    linear = found["baselines"]["linear"]["recall"]
    failed = [name for name in gated if _error(found, name, "recall").mean > 0.9 * linear]
    if not failed:
        return []
    names = " and ".join(f"the {_label(found, name)}" for name in failed)
    return [
        f"A gated cell is no guarantee: within this budget {names} came no more than a tenth "
        "below that value."
    ]


def _diverged(found: Found) -> list[str]:
    """Trainings that ended in numbers too large to hold."""
    told = [
        f"{_label(found, name)} on {task}, {error['diverged']} of {len(found['seeds'])} seeds"
        for name, tasks in found["extra"]["errors"].items()
        for task, error in tasks.items()
        if error["diverged"]
    ]
    if not told:
        return []
    return [
        f"Some trainings diverged, that is, the gradient exploded: {'; '.join(told)}. They have "
        "no error, and means are over the other seeds."
    ]


def _alt(found: Found) -> str:
    errors = "; ".join(
        f"{network.style.label} {_celsius(_error(found, name, 'tomorrow'))} and "
        f"{_celsius(_error(found, name, 'recall'))}"
        for name, network in _chosen(found).items()
    )
    linear = found["baselines"]["linear"]
    return (
        "Two graphs of the gradient left against the lag in days. Lag at which 1 % is left, before "
        f"training: {_each(found)}; after training to recall: {_each(found, 'recall')}. Below, the "
        f"errors for tomorrow and for {found['lag']} days ago: {errors}; linear model "
        f"{linear['tomorrow']:.2f} and {linear['recall']:.2f} °C."
    )


def data(shown: Shown) -> dict[str, Any]:
    """The gradient left at every lag, as natural logarithms, for the page's slider."""
    return {
        "step": "day",
        "networks": [
            {
                "label": network.style.label,
                "when": when,
                "left": np.round(mean_over_seeds(shown.parts[name], "left")[index], 2),
                "log_bound": float(np.log(mean_over_seeds(shown.parts[name], "bound")[index]))
                if network.bounded
                else None,
            }
            for name, network in shown.networks.items()
            for index, when in ((0, "before training"), (2, "after training to recall"))
        ],
    }


def _exercises(found: Found) -> Sequence[Exercise]:
    return [
        Exercise(
            "In a tanh network $\\|W_{hh}\\|_2 = 0.9$. After how many whole steps back can no more "
            "than 1 % of the gradient be left? Work it out, or use the second half of the box "
            "above: choose the orthogonal kernel, whose norm is its spectral radius, and move the "
            "lag.",
            "After 44. The bound is $0.9^{43} = 0.0108$ after 43 steps and $0.9^{44} = 0.0097$ "
            "after 44; $\\ln 0.01 / \\ln 0.9 = 43.7$, rounded up. The gradient may vanish sooner, "
            "because the slope of $\\tanh$ is below 1 wherever a unit is not at zero.",
            {"Steps": 44},
        ),
        Exercise(
            f"Measure it. In this network $W_{{hh}}$ is {FACTOR} times the identity and every "
            f"input is zero. Run `{COMMAND}` and type the horizon that it prints: the steps until "
            "1 % is left. Then replace `zeros` by `ones` and see whether it grows or shrinks.",
            f"{_horizon(FACTOR)}. With inputs of zero the state remains zero, where the slope of "
            f"$\\tanh$ is 1, so exactly ${FACTOR}^{{\\,l}}$ is left. With inputs of one the units "
            "leave zero, the slope falls below 1, and the horizon shrinks.",
            {"Horizon (steps)": _horizon(FACTOR)},
        ),
    ]


def _horizon(factor: float) -> int:
    """The first lag at which no more than 1 % is left."""
    return int(np.ceil(np.log(0.01) / np.log(factor)))


SECTION = Section(
    title="The vanishing gradient",
    body=body,
    exercises=_exercises,
    data=data,
)
