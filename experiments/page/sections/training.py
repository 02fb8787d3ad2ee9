"""Training a recurrent network: the first one, and backpropagation through time."""

import math
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import FigureBase

import rnnjax
from experiments.lab.harness import Column
from experiments.lab.panels import Panel
from experiments.page import wave
from experiments.page.drawings import drawing
from experiments.page.section import (
    Block,
    Code,
    Drawing,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
)
from experiments.page.sections import numbers
from experiments.page.sections.recurrence import W_HH, W_XH
from experiments.style import BLUE, GREY, ORANGE, RED

EARLY, LATE = 3, 20  # predictions at the beginning and at the end of a wave
INPUTS, TARGETS = (1.0, 0.0, 0.0), (1.0, 0.5, 0.25)


def forward(f: Callable[[float], float]) -> list[float]:
    """The states h_1, h_2, h_3 of a network one unit wide."""
    h, states = 0.0, []
    for x in INPUTS:
        h = f(W_HH * h + W_XH * x)
        states.append(h)
    return states


def backward(errors: list[float], slopes: list[float], k: int) -> list[float]:
    """δ_t = f'(a_t) (∂L_t/∂h_t + W_hh δ_{t+1}), cut after every k steps."""
    delta, deltas = 0.0, list[float]()
    for t in reversed(range(len(errors))):
        if (t + 1) % k == 0:
            delta = 0.0  # nothing comes back from the next piece
        delta = slopes[t] * (errors[t] + W_HH * delta)
        deltas.insert(0, delta)
    return deltas


def addends(deltas: list[float], states: list[float]) -> list[float]:
    """δ_t h_{t-1}, whose sum is the gradient of W_hh."""
    return [delta * h for delta, h in zip(deltas, [0.0, *states], strict=False)]


def loss(W_hh: float, k: int) -> jax.Array:
    """The same network for `jax.grad`: the loss, its gradient cut after every k steps."""
    h, total = jnp.zeros(()), jnp.zeros(())
    for t, (x, target) in enumerate(zip(INPUTS, TARGETS, strict=True)):
        if t % k == 0:
            h = jax.lax.stop_gradient(h)
        h = jnp.tanh(W_hh * h + W_XH * x)
        total += (h - target) ** 2 / 2
    return total


def measure() -> Found:
    """The network on waves, trained; and the gradient of the small one, addend by addend."""
    states = forward(math.tanh)
    errors = [h - target for h, target in zip(states, TARGETS, strict=True)]
    slopes = [1 - h**2 for h in states]
    whole, cut = (backward(errors, slopes, k) for k in (len(errors), 1))
    rows = {
        f"step {t + 1}": {
            "before": [0.0, *states][t],
            "h": states[t],
            "error": errors[t],
            "delta": whole[t],
            # Adding zero turns -0 into 0.
            "addend": addends(whole, states)[t] + 0.0,
            "cut": addends(cut, states)[t] + 0.0,
        }
        for t in range(len(states))
    }
    rows["sum"] = {name: sum(row[name] for row in rows.values()) for name in ("addend", "cut")}
    gradient = jax.jit(jax.grad(loss), static_argnames="k")
    rows["jax.grad"] = {
        "addend": float(gradient(W_HH, k=len(errors))),
        "cut": float(gradient(W_HH, k=1)),
    }
    columns = [
        Column("before", "h_{t-1}", ".3f"),
        Column("h", "h_t", ".3f"),
        Column("error", "∂L_t/∂h_t", ".3f"),
        Column("delta", "δ_t", ".3f"),
        Column("addend", "δ_t h_{t-1}", ".4f"),
        Column("cut", "the same, cut\nafter each step", ".4f"),
    ]
    return numbers(rows, columns, **_waves(), exercise=_exercise())


def alone_init(key: jax.Array) -> wave.Params:
    """The weights of the exercise: W_hh is a vector."""
    return {
        "W_hh": jnp.full(wave.H, 0.5),
        "W_xh": jax.random.normal(key, (1, wave.H)),
        "b_h": jnp.zeros(wave.H),
    }


def alone_step(params: wave.Params, h: jax.Array, x: jax.Array) -> jax.Array:
    """The recurrence of the exercise: each unit reads its own last state and no other."""
    return jnp.tanh(h * params["W_hh"] + x @ params["W_xh"] + params["b_h"])


def _waves() -> Found:
    """What training on the waves gave; predictions and what was to be predicted, `[T, B]`."""
    cell = rnnjax.from_step(wave.step, init=wave.init, start=wave.start)
    alone = rnnjax.from_step(alone_step, init=alone_init, start=wave.start)
    params, losses = wave.train(cell)
    validation = wave.waves(seed=2)
    before, after = (
        np.asarray(wave.predict(weights, cell, validation[:-1]))[..., 0]
        for weights in (wave.begin(cell), params)
    )
    values = np.asarray(validation)[..., 0]
    squares = ((after - values[1:]) ** 2).mean(axis=1)
    return {
        "losses": losses,
        "alone": wave.train(alone)[1][-1, 1],
        "present": _from_the_present(np.asarray(wave.waves(seed=1))[..., 0], values),
        "values": values,
        "before": before,
        "after": after,
        "early": squares[:EARLY].mean(),
        "late": squares[-LATE:].mean(),
    }


def _from_the_present(training: np.ndarray, validation: np.ndarray) -> float:
    """The loss of the best straight line from a value to the next one."""
    slope, offset = np.polyfit(training[:-1].ravel(), training[1:].ravel(), 1)
    return float(((slope * validation[:-1] + offset - validation[1:]) ** 2).mean())


def _exercise() -> dict[str, float]:
    """The gradient with the identity for f, where only the last step has a loss."""
    states = forward(lambda a: a)
    errors, slopes = [0.0, 0.0, states[-1] - 1], [1.0, 1.0, 1.0]
    return {
        "whole": sum(addends(backward(errors, slopes, len(errors)), states)),
        "cut": sum(addends(backward(errors, slopes, 1), states)),
    }


def panels(found: Found) -> dict[str, Panel]:
    """The losses over training, and two waves with what was predicted."""

    def losses(figure: FigureBase) -> None:
        ax = figure.subplots()
        training, validation = found["losses"].T
        ax.plot(training, color=BLUE, label="training set")
        ax.plot(validation, color=ORANGE, linestyle=(0, (6, 2)), label="validation set")
        ax.axhline(
            found["present"], color=GREY, linestyle=":", label="from the present value alone"
        )
        ax.axhline(wave.NOISE**2, color=GREY, linestyle="-.", label="variance of the noise")
        ax.set(yscale="log", ylim=(0.008, 3), xlabel="training steps", ylabel="mean squared error")
        ax.set_title("Loss during training")
        ax.legend()

    def predictions(figure: FigureBase) -> None:
        axes = figure.subplots(2, 1, sharex=True, sharey=True)
        time = np.arange(1, len(found["values"]))
        for ax, column in zip(axes, _slow_and_fast(found["values"]), strict=True):
            values, before, after = (
                found[name][-len(time) :, column] for name in ("values", "before", "after")
            )
            ax.plot(
                time, values, "o", color="black", markerfacecolor="white", markersize=3.5,
                label="observed",
            )  # fmt: skip
            ax.plot(time, before, color=RED, linestyle=":", label="untrained")
            ax.plot(time, after, color=BLUE, label="trained")
        figure.supylabel("value", fontsize="medium")
        axes[0].set_title("Predictions one step ahead")
        axes[-1].set_xlabel("time step")
        axes[0].set_ylim(-2.6, 1.6)
        axes[0].legend(ncols=3, loc="lower center", columnspacing=1.2, handlelength=1.6)

    return {"losses": Panel(losses, 3.4), "predictions": Panel(predictions, 3.4)}


def _slow_and_fast(values: np.ndarray) -> tuple[int, int]:
    """The waves that cross zero least and most often."""
    crossings = (np.diff(np.sign(values), axis=0) != 0).sum(axis=0)
    return int(crossings.argmin()), int(crossings.argmax())


def _body(found: Found) -> Sequence[Block]:
    return [*_first_network(found), *_through_time(found), *_truncated(found)]


def _first_network(found: Found) -> Sequence[Block]:
    (_, untrained), (training, validation) = found["losses"][0], found["losses"][-1]
    return [
        "A recurrent network is trained in the same way as a feed-forward network. A forward pass "
        "gives predictions, a loss compares them with the targets, a backward pass gives the "
        "gradient of the loss with respect to every weight, and an optimizer changes the weights a "
        "little. Two things are new: every time step can have a loss, and the gradient has to "
        "travel back through time.",
        Heading("A first network"),
        "Here is a task that needs memory. Each sequence is a noisy wave with a period and a phase "
        "of its own; periods range from 6 to 20 steps. After each step, the network predicts the "
        "value of the next step. The present value alone is not enough: at 0.5 one wave is rising "
        "and another is falling. The same weights serve all waves, so whatever the network knows "
        "about the wave it is reading must be in its hidden state.",
        f"The network has $H = {wave.H}$ hidden units with $f = \\tanh$, and its prediction is the "
        f"output $y_t = W_{{hy}} h_t + b_y$. The training set contains {wave.WAVES} waves, and the "
        f"validation set another {wave.WAVES}, which are never used to change a weight.",
        "Here are the parts that are specific to a recurrent network. `rnnjax.unroll` is the fold "
        "of [the previous section](#recurrence): it applies `step` to one value after another. In "
        "a batch each row is the state of one wave, so the code multiplies by the weights from the "
        "right, `h @ W_hh`: its `W_hh` is the transpose of $W_{hh}$ in the equation. The rest of "
        "the program is the training loop that you know.",
        Code([wave.step, wave.predict, wave.loss], title="What is new", open=True),
        Code([wave], title="experiments/page/wave.py, the whole program"),
        "This page ran the program when it was built, with the following result.",
        Plot(
            ["losses", "predictions"],
            "First panel: the losses, on a logarithmic axis. The dotted line is the best linear "
            "forecast from the present value alone, fitted to the training set. The dash-dotted "
            "line is the variance of the noise, which no forecast can beat on average. Second "
            "panel: the slowest and the fastest wave of the validation set. Each prediction was "
            "made one step earlier, from the values before it.",
            f"Two panels. The loss on the validation set falls from {untrained:.2f} to "
            f"{validation:.3f} in {wave.STEPS} training steps, and the loss on the training set to "
            f"{training:.3f}; a horizontal line for the best forecast from the present value is at "
            f"{found['present']:.3f}, and one for the noise at {wave.NOISE**2:.2f}. The other "
            "panel shows a slow and a fast wave: the predictions after training are close to the "
            "observed values, those before training are not.",
        ),
        f"After {wave.STEPS} training steps, the validation loss is {validation:.3f}, compared "
        f"with {found['present']:.3f} for the best linear forecast from the present value alone. "
        "The difference shows what the hidden state is worth. " + _gap(training, validation),
        "The errors are not spread evenly over a sequence. The mean squared error of the first "
        f"{EARLY} predictions is {found['early']:.3f}, and that of the last {LATE} is "
        f"{found['late']:.3f}. At the beginning of a wave, the state is empty. With each value "
        "that the network reads, the state knows more about the period and the phase.",
    ]  # fmt: skip


def _gap(training: float, validation: float) -> str:
    if training > validation:
        return ""
    return (
        "The training loss is a little lower, because the weights have also fitted some of the "
        "noise of the training set: they overfit, as in a feed-forward network."
    )


def _through_time(found: Found) -> Sequence[Block]:
    rows = {name: row["mean"] for name, row in found["results"].items()}
    steps = [
        {**rows[f"step {t + 1}"], "x": x} for t, x in enumerate(INPUTS)
    ]  # fmt: skip
    second, third = steps[1], steps[2]
    return [
        Heading("Backpropagation through time"),
        "How does `jax.grad` find the gradient? Unrolled over time, the network is a deep "
        "feed-forward network: one layer per time step, the same weights in every layer, and a "
        "loss wherever there is a prediction. The chain rule goes through the layers from the last "
        "to the first. In a recurrent network this is called *backpropagation through time* "
        "(Werbos 1990).",
        "Let $L_t$ be the loss at step $t$, $L = \\sum_t L_t$ the loss of the sequence, and "
        "$a_t = W_{hh} h_{t-1} + W_{xh} x_t + b_h$ the vector to which $f$ is applied. The "
        "backward pass computes $\\delta_t = \\partial L / \\partial a_t$ for each step, beginning "
        "at the last:",
        Equation(
            r"\delta_t = f'(a_t) \odot \left( \frac{\partial L_t}{\partial h_t} "
            r"+ W_{hh}^{\top} \, \delta_{t+1} \right)"
        ),
        "The sign $\\odot$ multiplies entry by entry, and $\\top$ transposes a matrix. For tanh, "
        "$f'(a_t) = 1 - h_t^2$. No step follows the last one, so $\\delta_{T+1} = 0$.",
        "The parentheses have two terms because a state affects the loss in two ways: through the "
        "prediction of its own step, and through the next state, on which all later ones depend.",
        "Every step uses the same weights. If you change $W_{hh}$ a little, you change it at all "
        "steps at once, and the effects on the loss add up. So the gradient of a shared weight is "
        "a *sum over the time steps*:",
        Equation(r"\frac{\partial L}{\partial W_{hh}} = \sum_{t=1}^{T} \delta_t \, h_{t-1}^{\top}"),
        "For an example, take the small network of the previous section again, with "
        f"$W_{{hh}} = {W_HH}$, $W_{{xh}} = {W_XH:g}$ and $b_h = 0$. The inputs are 1, 0, 0 and the "
        "targets 1, 0.5, 0.25. The state itself is the prediction, and $L_t$ is half the squared "
        "error, so that $\\partial L_t / \\partial h_t$ is $h_t$ minus the target.",
        Drawing(
            drawing("through_time", steps=steps, total=rows["sum"]["addend"]),
            "Three steps of a network with one unit. Solid arrows are the forward pass. Dashed "
            "arrows are the backward pass. Each loss sends $\\partial L_t / \\partial h_t$, the "
            "number beside its arrow, to its own step. Each step sends $W_{hh} \\delta_t$ to the "
            "step before it, and all steps add to the gradient of $W_{hh}$ in the box below.",
            "Three boxes f in a row, one for each step. Forward arrows lead from the inputs "
            + ", ".join(f"{x:.0f}" for x in INPUTS)
            + " and the previous states into the boxes, and from the boxes up to the losses. "
            "Backward arrows lead from the losses, with gradients "
            + _listed(step["error"] for step in steps)
            + ", down to the boxes, from each box to the one before it, and from all boxes to a "
            "sum: "
            + _listed((step["addend"] for step in steps), 4)
            + f" make {_signed(rows['sum']['addend'], 4)}.",
        ),
        f"Begin at step 3, where nothing comes back from later steps. The slope $1 - h_3^2$ is "
        f"{1 - third['h'] ** 2:.3f}:",
        Equation(
            rf"\delta_3 = {1 - third['h'] ** 2:.3f} \cdot ({_signed(third['error'])}) "
            rf"= {_signed(third['delta'])}"
        ),
        f"At step 2 the slope is {1 - second['h'] ** 2:.3f}, and $W_{{hh}} \\delta_3 = "
        f"{_signed(W_HH * third['delta'])}$ comes back. Together with ${_signed(second['error'])}$ "
        f"this makes ${_signed(second['error'] + W_HH * third['delta'])}$:",
        Equation(
            rf"\delta_2 = {1 - second['h'] ** 2:.3f} \cdot "
            rf"({_signed(second['error'] + W_HH * third['delta'])}) = {_signed(second['delta'])}"
        ),
        "Each $\\delta_t$ times the state before it is one term of the gradient. `jax.grad` finds "
        "the same sum, as the table at the end of this section shows. "
        + _direction(rows["sum"]["addend"]),
        Code([forward, backward, addends, loss], title="The gradient by hand, and for jax.grad"),
    ]


def _direction(gradient: float) -> str:
    sign, change = ("negative", "larger") if gradient < 0 else ("positive", "smaller")
    return f"The sum is {sign}, so a slightly {change} $W_{{hh}}$ would lower the loss."


def _truncated(found: Found) -> Sequence[Block]:
    total = found["results"]["sum"]["mean"]
    return [
        Heading("Truncated backpropagation through time"),
        "The backward pass needs the states of all steps, so memory grows with the length of the "
        "sequence, and the weights do not change until the whole sequence has been read. For a "
        "text of a million letters this is impractical.",
        "*Truncated* backpropagation through time cuts the sequence into pieces of $k$ steps and "
        "updates the weights after each piece. The state is carried from one piece to the next; "
        "the gradient is not. In JAX, `jax.lax.stop_gradient(h)` at the beginning of a piece is "
        "all it takes; in rnnjax, choose the fold `rnnjax.folds.truncated`.",
        Drawing(
            drawing("truncated"),
            "Two pieces of three steps each. Boxes are time steps; the dotted line is the border "
            "between the pieces.",
            "Six boxes in a row, with a vertical line between the third and the fourth. Forward "
            "arrows connect all neighbours; backward arrows connect all neighbours except across "
            "the line.",
        ),
        "What does this cost? The gradient of a loss no longer reaches the steps before its own "
        "piece. The state may still carry information from there, but no weight is adjusted to "
        "keep it. As a rule, the network does not learn to remember anything for more than $k$ "
        "steps.",
        "The last column of the table shows the extreme case $k = 1$ for the small network. The "
        f"sum is {_signed(total['cut'], 4)} instead of {_signed(total['addend'], 4)}: the part "
        "that came back from step 3 to step 2 is missing.",
        "Truncated or not, the gradient is multiplied by $W_{hh}^{\\top}$ and by $f'(a_t)$ at "
        "every step back. [The next section](#vanishing_gradients) asks what many such factors do "
        "to it.",
    ]  # fmt: skip


def _exercises(found: Found) -> Sequence[Exercise]:
    validation, alone = found["losses"][-1, 1], found["alone"]
    exercise = found["exercise"]
    return [
        Exercise(
            f"Replace tanh by $f(a) = a$, so that $f'(a) = 1$. With $W_{{hh}} = {W_HH}$, "
            f"$W_{{xh}} = {W_XH:g}$ and the inputs 1, 0, 0 the states are 1, 0.5 and 0.25. There "
            "is a loss only at step 3, $L_3 = \\frac{1}{2} (h_3 - 1)^2$. What is "
            "$\\partial L / \\partial W_{hh}$? And what remains of it if the gradient is cut after "
            "every step ($k = 1$)?",
            "$\\delta_3 = -0.75$, $\\delta_2 = 0.5 \\cdot \\delta_3 = -0.375$, and the sum is "
            f"$\\delta_2 h_1 + \\delta_3 h_2 = {_signed(exercise['whole'])}$. You can check it: "
            "$h_3 = W_{hh}^2$, so its derivative is $2 W_{hh} = 1$, times the error $-0.75$. Cut "
            f"after every step, only $\\delta_3 h_2 = {_signed(exercise['cut'])}$ remains.",
            {"the gradient": exercise["whole"], "what remains": exercise["cut"]},
        ),
        Exercise(
            "Change the recurrence yourself. Copy `experiments/page/wave.py` to `mine.py`, or save "
            "the whole program above under that name, and run `python mine.py` in the environment "
            "of this lesson. In a few seconds it prints the validation loss. Now let each unit "
            "read its own previous state and no other: replace the matrix $W_{hh}$ by a vector $w$ "
            "of $H$ weights, each 0.5 before training, in "
            "$h_t = \\tanh(w \\odot h_{t-1} + W_{xh} x_t + b_h)$. You need to change no more than "
            "five lines, in `init` and `step`. Delete the split of the key, which is no longer "
            "needed, and draw `W_xh` from `key` itself. What does the program print before and "
            "after your change?",
            'In `init`, delete the line with `jax.random.split`, make `"W_hh"` '
            '`jnp.full(H, 0.5)`, and draw `"W_xh"` from `key`. In `step`, '
            '`h @ params["W_hh"]` becomes `h * params["W_hh"]`. The loss is '
            f"{alone:.4f} instead of {validation:.4f}. " + _verdict(validation, alone),
            {"as it is": float(validation), "after the change": float(alone)},
        ),
    ]


def _verdict(validation: float, alone: float) -> str:
    if alone < validation:
        return "On this task, units that read only themselves are enough."
    return (
        "Units that cannot read each other remember less about the wave, although each of them "
        "still has a memory of its own."
    )


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _listed(values: Iterable[float], digits: int = 3) -> str:
    return ", ".join(_signed(value, digits) for value in values)


SECTION = Section(title="Training a recurrent network", body=_body, exercises=_exercises)
