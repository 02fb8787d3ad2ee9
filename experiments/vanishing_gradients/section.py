"""The section on the page: the vanishing gradient."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.measures.seeds import mean_over_seeds
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
    Widget,
)
from experiments.page.wording import power_of_ten
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
        "[Training](#training) sends the gradient back from the last time step to the first, and "
        "each step back multiplies it once more. This section shows what many multiplications do "
        "to it, and when that matters.",
        Heading("One number"),
        "Take the smallest recurrence there is, one unit without inputs and without $\\tanh$: "
        "$h_t = w\\,h_{t-1}$. If you change $h_{T-1}$ a little, $h_T$ changes $w$ times as much. "
        "If you go back by a lag of $l$ steps, the chain rule multiplies by $w$ once for each:",
        Equation(r"\frac{\partial h_T}{\partial h_{T-l}} = w^{\,l}"),
        f"With $w = 0.9$ and a lag of 100 this is ${power_of_ten(0.9**100)}$: the gradient has "
        f"*vanished*. With $w = 1.1$ it is {1.1**100:,.0f}: it has *exploded*. A weight that "
        "differs from 1 by a tenth is enough for either.",
        "Suppose an input a hundred steps ago decides the answer. Only through this product does "
        "the loss reach the weights that should have kept that input. If the product is tiny, "
        "recent inputs dominate the gradient, and the network learns from them alone.",
        Heading("A matrix"),
        "In the tanh network, $h_t = \\tanh(a_t)$ with $a_t = W_{hh} h_{t-1} + W_{xh} x_t + b_h$. "
        "Now one step back multiplies by a matrix, the *Jacobian* $J_t$, which holds the "
        "derivative of each unit of $h_t$ with respect to each unit of $h_{t-1}$:",
        Equation(
            r"J_t = \frac{\partial h_t}{\partial h_{t-1}} = "
            r"\mathrm{diag}\left(f'(a_t)\right) W_{hh}"
        ),
        "Here $f'$ is the slope of $\\tanh$, and $\\mathrm{diag}$ writes the slopes of all units "
        "on the diagonal of a matrix. A lag of $l$ steps multiplies by $l$ Jacobians:",
        Equation(r"\frac{\partial h_T}{\partial h_{T-l}} = J_T \, J_{T-1} \cdots J_{T-l+1}"),
        "The *norm* $\\|W_{hh}\\|_2$ is the largest factor by which $W_{hh}$ stretches any vector. "
        "The slope of $\\tanh$ is 1 at zero and smaller everywhere else, so each step multiplies "
        "by at most that factor:",
        Equation(
            r"\left\| \frac{\partial h_T}{\partial h_{T-l}} \right\|_2 \le \|W_{hh}\|_2^{\,l}"
        ),
        "If the norm is below 1, the gradient must vanish. If it is above 1, the bound says "
        "nothing: the gradient may explode, or vanish all the same. In the box further down you "
        "can try both.",
        Heading("Real networks"),
        f"How much of the gradient is left in a network with $H = {found['hidden']}$ units that "
        "reads Seattle's weather day by day? We compare networks with different starting weights "
        "$W_{hh}$:",
        Bullets(_starts(found)),
        "Each network is trained twice, from the same start and for the same number of steps. One "
        "task is to predict tomorrow's highest temperature, for which recent days should suffice. "
        f"The other is to read {found['lag'] + 1} days and then recall the highest temperature of "
        "the first of them. The recent days say little about it, so a network that does not "
        "remember has a large error.",
        Plot(
            PANELS,
            "First two panels: the share of the gradient that is left at each lag, on a "
            "logarithmic scale, before training and after training on the recall task. The "
            f"horizontal line marks 1 %, the vertical one the {found['lag']} days of that task. "
            "Last two panels: the error of both tasks on the test year, with one mark for each "
            "seed; further left is better. The two lines are baselines: the last day's temperature "
            f"and a linear model of at most the last {max(found['lag'] // 2, 1)} days.",
            _alt(found),
        ),
        *_reaches(found),
        Widget("gradient", "vanishing_gradients"),
        *_tasks(found),
        *_diverged(found),
        "This result has two limits. A gradient that arrives is necessary for learning, but not "
        "sufficient. And this is one data set, one size of network and one training budget: with "
        "more steps, a network that failed here may still learn. Other lags follow in "
        "[how far back a network can learn](#cures).",
        Code([gradient, tomorrow, recall], "The measurement and the two tasks"),
    ]


def _chosen(found: Found) -> dict[str, Network]:
    return networks(1, found["hidden"], list(found["results"]))


def _label(found: Found, name: str) -> str:
    return _chosen(found)[name].style.label


_STARTS = {
    "tanh-small": "*tanh (small weights)*: random entries with a standard deviation of 0.05.",
    "tanh": "*tanh (torch's default)*: random entries between $-1/\\sqrt{{H}}$ and "
    "$1/\\sqrt{{H}}$, with a standard deviation of {deviation:.2f}.",
    "tanh-orthogonal": "*tanh (orthogonal)*: an orthogonal matrix. It rotates or mirrors the "
    "state and keeps its length, so its norm is 1.",
    "relu-identity": "*ReLU (identity)*: the identity matrix, which copies the state. Here "
    "$f(a) = \\max(0, a)$ replaces $\\tanh$.",
}


def _starts(found: Found) -> list[str]:
    """The contenders that ran."""
    deviation = 1 / np.sqrt(3 * found["hidden"])
    told = [
        text.format(deviation=deviation)
        for name, text in _STARTS.items()
        if name in found["results"]
    ]
    if gated := [f"*{_label(found, name)}*" for name in GATED if name in found["results"]]:
        told.append(f"{', '.join(gated)}: for comparison, explained in [the gates](#gates).")
    return told


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
            f"With small weights the norm of $W_{{hh}}$ is {bound:.2f}. The curve remains below "
            "the bound, the thin grey line."
        )
    if (pair := near_and_far(found["results"])) is not None:
        told.append(_same_cell(found, *pair))
    return told


def _same_cell(found: Found, near: str, far: str) -> str:
    """Two starts of one cell, the gated cells beside them, and what training changes."""
    gated = [name for name in GATED if name in found["results"]]
    words = (
        f"Before training, 1 % of the gradient is left after {_days(found, near)} in "
        f"{_label(found, near)} and after {_days(found, far)} in {_label(found, far)}, although "
        "only the starting weights differ. "
    )
    if gated and all(_horizon_of(found, name) < _horizon_of(found, far) for name in gated):
        words += (
            f"The gated networks, as rnnjax starts them, do not reach as far as "
            f"{_label(found, far)}. "
        )
    return (
        f"{words}Training then changes the weights: after the recall task, the same two networks "
        f"reach back {_days(found, near, 'recall')} and {_days(found, far, 'recall')}."
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
        numbers = f"{_celsius(ours)} for {other} and {_celsius(theirs)} for {one}"
        if high < 0:
            return f"{numbers}. The network whose gradient reaches further has the smaller error"
        if low > 0:
            return f"{numbers}. The network whose gradient reaches further has the larger error"
        return f"{numbers}. No difference was found"

    linear = found["baselines"]["linear"]["recall"]
    return [
        "Does the reach of the gradient matter? For tomorrow's temperature the error is "
        f"{compared('tomorrow')}. (A difference counts if its 95 % interval over the days of the "
        "test year excludes zero.)",
        f"For the temperature of {found['lag']} days ago the error is {compared('recall')}. "
        f"The linear model, which sees only recent days, has {linear:.2f} °C. A network near that "
        "value has not learned to remember.",
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
        f"Gates are no guarantee: within this training budget {names} did not beat the linear "
        "model by more than a tenth."
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
        f"Some training runs diverged, that is, the gradient exploded: {'; '.join(told)}. They "
        "have no error, and the means are over the other seeds."
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
            "above: choose the orthogonal matrix, whose norm equals its spectral radius, and move "
            "the lag.",
            "After 44. The bound is $0.9^{43} = 0.0108$ after 43 steps and $0.9^{44} = 0.0097$ "
            "after 44; $\\ln 0.01 / \\ln 0.9 = 43.7$, rounded up. The gradient may vanish sooner, "
            "because the slope of $\\tanh$ is below 1 wherever a unit is not at zero.",
            {"Steps": 44},
        ),
        Exercise(
            f"Measure it. In this network $W_{{hh}}$ is {FACTOR} times the identity and every "
            f"input is zero. Run `{COMMAND}` and type the horizon that it prints: the number of "
            "steps until 1 % is left. Then replace `zeros` by `ones`. Does the horizon grow or "
            "shrink?",
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
