"""The recurrence, unrolled."""

import math
from pathlib import Path

import jinja2

from experiments import page
from experiments.lab.harness import Column
from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import numbers
from rnnjax.folds._scan import scan_drives

INPUTS = (1.0, 0.0, 0.0, 1.0, 0.0)
W_HH, W_XH, B_H = 0.5, 1.0, 0.0


def by_hand(inputs: tuple[float, ...]) -> list[float]:
    """h_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h), one number wide."""
    h = 0.0
    states = []
    for x in inputs:
        h = math.tanh(W_HH * h + W_XH * x + B_H)
        states.append(h)
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


def draw(found: Found) -> str:
    """The equation with its parts coloured, the loop, and the loop unrolled."""
    template = (Path(page.__file__).parent / "recurrence.svg").read_text(encoding="utf-8")
    return jinja2.Template(template).render(states=found["states"][:4])


SECTION = Section(
    place=4,
    title="The recurrence, unrolled",
    text=lambda found: [
        "A recurrent network keeps a vector `h`, its hidden state, and changes it once a step by "
        "the one line in the figure. The new state is a function `f`, often tanh, of what the "
        "network carried so far, `W_hh h_{t-1}`, of what it reads now, `W_xh x_t`, and of a "
        "constant `b_h`. Where an answer is wanted, it is read off `h_t` by one more ordinary "
        "layer.",
        "Without `W_hh h_{t-1}` this is a feed-forward layer. What is new is a single wire, from "
        "`h_{t-1}` to `h_t`. Drawn over time, the wire makes a deep network: one layer a step, "
        "all with the same weights. A hundred steps are a network a hundred layers deep, and its "
        "gradient is found as in any deep network, by the chain rule from the last layer back to "
        "the first. That is all that backpropagation through time is.",
        "Programmers know the pattern as a fold: begin with `h_0`, take the next input, replace "
        "the state; `jax.lax.scan` is that fold. Since `W_xh x_t + b_h` knows nothing of the "
        "past, it is computed for all steps at once, and only the rest waits its turn. The table "
        f"follows a network one number wide with `W_hh = {W_HH}`, `W_xh = {W_XH:g}` and "
        f"`b_h = {B_H:g}`: of the 1 that it read at step 1, {found['states'][2]:.2f} is still in "
        "its state at step 3, although nothing was read since.",
    ],
    alt=lambda found: (
        "The equation h_t = f(W_hh h_{t-1} + W_xh x_t + b_h), what is carried and what is read in "
        "two colours. Below, a box f with an arrow from itself to itself, and beside it the same "
        "box drawn four times in a row, each handing its state to the next, reading one input "
        "from below and showing its state above: "
        + ", ".join(f"{h:.2f}" for h in found["states"][:4])
        + "."
    ),
    code=[by_hand, scan_drives],
    exercise=Exercise(
        "Leave `f` out, `h_t = W_hh h_{t-1} + W_xh x_t`, with `W_hh = 0.5` and `W_xh = 1`. The "
        "inputs are 1, 0, 0, 1. What is `h_4`?",
        f"{0.5**3 + 1}. The first input has been halved three times on the way, {0.5**3}, and the "
        "last adds 1. In general an input counts `W_hh` to the power of its age: remember that "
        "for the vanishing gradient.",
        number=0.5**3 + 1,
    ),
)
