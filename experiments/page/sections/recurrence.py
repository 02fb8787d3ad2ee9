"""The recurrence: the equation, the loop, and the loop unrolled."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from experiments.lab.harness import Column
from experiments.page.drawings import drawing
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Drawing,
    Equation,
    Exercise,
    Found,
    Heading,
    Section,
)
from experiments.page.sections import numbers

INPUTS = (1.0, 0.0, 0.0, 1.0, 0.0)
DRAWN = 4  # of these steps
W_HH, W_XH, B_H = 0.5, 1.0, 0.0
# The sizes of the exercise: letters in, letters out.
D, H, K = 27, 64, 27


def by_hand(inputs: Sequence[float]) -> list[float]:
    """The states of a network with one hidden unit."""
    h = 0.0
    states = []
    for x in inputs:
        h = math.tanh(W_HH * h + W_XH * x + B_H)
        states.append(h)
    return states


def fold(W_hh: jax.Array, W_xh: jax.Array, b_h: jax.Array, inputs: jax.Array) -> jax.Array:
    """The states h_1 to h_T, [T, H], of the inputs x_1 to x_T, [T, D]."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(W_hh @ h + W_xh @ x + b_h)
        return h, h  # the state for the next step, and what is kept of this one

    _, states = jax.lax.scan(step, jnp.zeros_like(b_h), inputs)
    return states


def measure() -> Found:
    """Every part of the equation at every step."""
    states = by_hand(INPUTS)
    before = [0.0, *states]
    rows = {
        f"step {t + 1}": {
            "x": x,
            "carried": W_HH * before[t],
            "read": W_XH * x + B_H,
            "h": states[t],
        }
        for t, x in enumerate(INPUTS)
    }
    columns = [
        Column("x", "x_t", ".0f"),
        Column("carried", "W_hh h_{t-1}", ".3f"),
        Column("read", "W_xh x_t + b_h", ".3f"),
        Column("h", "h_t", ".3f"),
    ]
    return numbers(rows, columns, states=states)


def _body(found: Found) -> Sequence[Block]:
    return [*_equation(found), *_by_hand(found), *_uses(), *_as_code()]


def _equation(found: Found) -> Sequence[Block]:
    drawn = found["states"][:DRAWN]
    return [
        "Imagine that you take notes at a lecture. You do not write down every word. With each "
        "sentence you hear, you look at your notes, decide what is new and revise them. At the end "
        "the lecturer's words are gone, and all you have is your notes. The page has a fixed size, "
        "however long the lecture is.",
        "A recurrent network works in this way. Its notes are a vector of $H$ numbers, the "
        "*hidden state* $h_t$. At each time step, the network reads one input $x_t$ and computes a "
        "new hidden state from that input and from the state before it:",
        Equation(r"h_t = f(W_{hh} \, h_{t-1} + W_{xh} \, x_t + b_h)"),
        Bullets(
            [
                "$x_t$ is the input at step $t$, a vector of $D$ numbers.",
                "$h_t$ is the hidden state after step $t$, a vector of $H$ numbers, one for each "
                "*hidden unit*. The first step begins with $h_0$, usually all zeros.",
                "$W_{xh}$, an $H \\times D$ matrix, weighs what is read now.",
                "$W_{hh}$, an $H \\times H$ matrix, weighs what is remembered.",
                "$b_h$, a vector of $H$ numbers, is the bias.",
                "$f$ is the activation function, applied to each number. Here it is tanh, which "
                "keeps every number of the state between −1 and 1.",
            ]
        ),
        "What is new compared with a feed-forward layer is the path from one state to the next. "
        "The weights do not depend on $t$: the same $W_{hh}$, $W_{xh}$ and $b_h$ are used at every "
        "step, so a network can read a sequence of any length.",
        Drawing(
            drawing("recurrence", inputs=INPUTS[:DRAWN], states=drawn),
            "The equation, the loop it describes, and the loop unrolled over time. Solid red: what "
            "is remembered. Dashed blue: what is read. The unrolled network has one hidden unit, "
            "with inputs below and states above; its numbers are those of the next example.",
            "The equation h_t = f(W_hh h_{t-1} + W_xh x_t + b_h). Below it a box f with an arrow "
            "from itself back to itself. Below that, the box four times in a row, each handing its "
            "state to the next. The inputs are "
            + ", ".join(f"{x:.0f}" for x in INPUTS[:DRAWN])
            + "; the states are "
            + ", ".join(f"{h:.2f}" for h in drawn)
            + ".",
        ),
        "Where you want a prediction, it is computed from the hidden state by one more layer:",
        Equation(r"y_t = W_{hy} \, h_t + b_y"),
        "The output $y_t$ is a vector of $K$ numbers, $W_{hy}$ is a $K \\times H$ matrix, and "
        "$b_y$ is a bias of $K$ numbers. In a classifier, $y_t$ goes through a softmax, as in any "
        "other network. Where a temperature is predicted, $y_t$ is the prediction itself.",
    ]


def _by_hand(found: Found) -> Sequence[Block]:
    first, second, third, fourth, _ = found["states"]
    return [
        Heading("An example by hand"),
        "Take the smallest recurrent network, with one input and one hidden unit, so that every "
        f"matrix is a single number. Let $W_{{hh}} = {W_HH}$, $W_{{xh}} = {W_XH:g}$, "
        f"$b_h = {B_H:g}$ and $h_0 = 0$. The inputs are 1, 0, 0, 1, 0.",
        "At step 1 the network reads a 1: $h_1 = \\tanh(0.5 \\cdot 0 + 1 \\cdot 1) = "
        f"{first:.3f}$. At step 2 it reads a 0: $h_2 = \\tanh(0.5 \\cdot {first:.3f} + 1 \\cdot 0) "
        f"= {second:.3f}$. The input is gone, but the state is not zero: the network still has a "
        f"trace of the 1. At step 3 the trace is weaker, $h_3 = {third:.3f}$.",
        f"At step 4 the network reads another 1, and $h_4 = {fourth:.3f}$. At step 1 the input was "
        "the same, but the state was different, because the network had read nothing before. The "
        "table at the end of this section has all the terms.",
    ]  # fmt: skip


def _uses() -> Sequence[Block]:
    return [
        Heading("Four shapes of use"),
        "The same recurrence serves different tasks. They differ in the steps at which the network "
        "reads an input and in the steps at which you use its output.",
        Bullets(
            [
                "*One-to-one*: one input, one output. This is the ordinary classifier, and it "
                "needs no recurrence.",
                "*One-to-many*: the network reads one input and then produces a sequence.",
                "*Many-to-one*: the network reads a sequence and gives one answer at the end.",
                "*Many-to-many*: the output is a sequence as well. It may keep pace with the "
                "input. Or it may begin once everything has been read, as in translation, where "
                "the last word of a sentence can change the first word of its translation.",
            ]
        ),
        Drawing(
            drawing("shapes_of_use"),
            "Each shape with an example. Time runs to the right. The red arrows carry the hidden "
            "state from step to step.",
            "Five small networks. One-to-one: one box with one input and one output. One-to-many: "
            "three boxes, an input at the first, outputs at all. Many-to-one: three boxes, inputs "
            "at all, an output at the last. Many-to-many: three boxes with inputs and outputs at "
            "all. Many-to-many, read first: six boxes, inputs at the first three, outputs at the "
            "last three.",
        ),
    ]  # fmt: skip


def _as_code() -> Sequence[Block]:
    return [
        Heading("The recurrence as code"),
        "Programmers know this pattern as a *fold*: begin with a state, take the next item of a "
        "list, compute the next state, and continue to the end of the list. In Python it is a loop "
        "that updates one variable. In JAX it is `jax.lax.scan`, which compiles the loop and can "
        "be differentiated. The line with `tanh` is the equation, and the rest is the "
        "fold.",
        Code([by_hand, fold], title="The example by hand, and a network of any size", open=True),
    ]


def _exercises(found: Found) -> Sequence[Exercise]:
    linear = W_HH**3 + 1
    weights = {"W_hh": H * H, "W_xh": H * D, "b_h": H, "W_hy": K * H, "b_y": K}
    return [
        Exercise(
            "Leave $f$ out: $h_t = W_{hh} h_{t-1} + W_{xh} x_t$, with $W_{hh} = 0.5$, "
            "$W_{xh} = 1$ and $h_0 = 0$. The inputs are 1, 0, 0, 1. What is $h_4$?",
            f"$h_4 = {linear}$. The first input has been multiplied by 0.5 three times on its way, "
            f"which leaves {W_HH**3}, and the last input adds 1. In general, an input that was "
            "read $n$ steps ago enters with the factor $W_{hh}^n$. This will be important for "
            "[the vanishing gradient](#vanishing_gradients).",
            {"h₄": linear},
        ),
        Exercise(
            f"A network reads text letter by letter. A letter is a one-hot vector of $D = {D}$ "
            f"numbers (26 letters and the space), there are $H = {H}$ hidden units, and the output "
            f"has $K = {K}$ numbers, one for each possible next letter. How many numbers does "
            "training adjust? How many for texts that are twice as long?",
            " + ".join(f"{count:,}" for count in weights.values())
            + f" = {sum(weights.values()):,}, for "
            + ", ".join(f"`{name}`" for name in weights)
            + ". None of these depends on the length of the text, so the number remains the same.",
            {"weights": sum(weights.values()), "for longer texts": sum(weights.values())},
        ),
    ]


SECTION = Section(title="The recurrence", body=_body, exercises=_exercises)
