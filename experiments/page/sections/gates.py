"""Gates: a memory that is added to."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    Widget,
)
from experiments.page.sections import numbers
from experiments.page.wording import power_of_ten

STEPS = 100
KEPT_BY_TANH = 0.9  # of the gradient in each step, in the section on vanishing gradients
# One unit of an LSTM, followed through a step: what goes into its gates, and what is in its cell.
GOES_IN = {"i": 0.0, "f": 2.0, "g": -1.0, "o": 1.0}
CELL = 1.5
# And one of a GRU: its state, its candidate, and its update gate.
STATE, CANDIDATE, UPDATE = 0.5, -0.5, 0.9
# The sizes of the exercise.
D, H = 3, 5

Array = np.ndarray


def sigmoid(a: Any) -> Any:
    """σ(a), between 0 and 1, of a number or an array."""
    return 1 / (1 + np.exp(-a))


def lstm_step(weights: tuple[Array, ...], c: Array, h: Array, x: Array) -> tuple[Array, Array]:
    """The next c and h, `[H]`, from x, `[D]`; weights `[D, 4H]`, `[H, 4H]` and `[4H]`."""
    W_xh, W_hh, b_h = weights
    a_i, a_f, a_g, a_o = np.split(x @ W_xh + h @ W_hh + b_h, 4, axis=-1)
    f = sigmoid(a_f)
    i = sigmoid(a_i)
    g = np.tanh(a_g)
    c = f * c + i * g
    o = sigmoid(a_o)
    h = o * np.tanh(c)
    return c, h


def gru_step(weights: tuple[Array, ...], h: Array, x: Array) -> Array:
    """The next h, `[H]`, from x, `[D]`; weights `[D, 3H]`, `[H, 3H]`, `[3H]` and `[H]`."""
    W_xh, W_hh, b_h, b_hn = weights
    x_r, x_z, x_n = np.split(x @ W_xh + b_h, 3, axis=-1)
    m_r, m_z, m_n = np.split(h @ W_hh, 3, axis=-1)
    r = sigmoid(x_r + m_r)
    n = np.tanh(x_n + r * (m_n + b_hn))
    z = sigmoid(x_z + m_z)
    h = (1 - z) * n + z * h
    return h


def measure() -> Found:
    """What each forget gate leaves, one step of one unit, and the sizes of the networks."""
    gates = [0.5, float(sigmoid(1.0)), 0.9, 0.99, 0.999]
    lags = (10, STEPS, 1000)
    rows = {
        f"forget gate {gate:.3f}": {
            "bias": _logit(gate),
            "span": 1 / (1 - gate),
            **{f"after {lag}": gate**lag for lag in lags},
        }
        for gate in gates
    }
    columns = [
        Column("bias", "bias b\nwith σ(b) = gate", "+.2f"),
        Column("span", "1 / (1 − gate)\nin steps", ".1f"),
        *(Column(f"after {lag}", f"left after\n{lag} steps", ".2g") for lag in lags),
    ]
    biases = np.array([GOES_IN[gate] for gate in "ifgo"])
    weights = np.zeros((1, 4)), np.zeros((1, 4)), biases
    c, h = lstm_step(weights, np.array([CELL]), np.zeros(1), np.zeros(1))
    inside = {name: float(np.tanh(a) if name == "g" else sigmoid(a)) for name, a in GOES_IN.items()}
    half = 0.5 ** (1 / STEPS)
    tanh = H * D + H * H + H
    return numbers(
        rows, columns,
        bias_1=gates[1],
        left={"tanh": KEPT_BY_TANH**STEPS, "0.5": 0.5**STEPS, "0.99": 0.99**STEPS},
        lstm={**inside, "c": float(c[0]), "h": float(h[0])},
        gru=(1 - UPDATE) * CANDIDATE + UPDATE * STATE,
        half={"gate": half, "lost": 100 * (1 - half), "bias": _logit(half)},
        parameters={"tanh": tanh, "LSTM": 4 * tanh, "GRU": 3 * tanh + H},
        rounds=math.ceil(math.log2(lags[-1])),
    )  # fmt: skip


def line(function: Callable[..., Any], name: str) -> str:
    """The line of a function that computes a name."""
    lines = (one.strip() for one in inspect.getsource(function).splitlines())
    return next(one for one in lines if one.startswith(f"{name} = "))


def _logit(gate: float) -> float:
    """The bias b with σ(b) = gate."""
    return math.log(gate / (1 - gate))


def _body(found: Found) -> Sequence[Block]:
    return [*_idea(), *_lstm(found), *_gradient(found), *_gru(found), *_linear(found)]


def _idea() -> Sequence[Block]:
    return [
        "A tanh network rewrites its hidden state at every step. Whatever it is to remember passes "
        "through $W_{hh}$ and tanh each time, and so does the gradient on its way back. That is "
        "why [the gradient can vanish](#vanishing_gradients). *Long short-term memory* (LSTM; "
        "Hochreiter and Schmidhuber 1997) begins with a different idea: keep a memory, and add to "
        "it instead of rewriting it.",
        "Picture a conveyor belt that runs through all time steps. It carries the *cell state* "
        "$c_t$, a vector with one number for each unit, which is kept beside the hidden state "
        "$h_t$. At each step the network can do three things: remove some of what is on the belt, "
        "put something new on it, and read what is there. A gate controls each of them.",
        r"A *gate* is a small layer that ends in a sigmoid, $\sigma(a) = 1 / (1 + e^{-a})$. From "
        "$h_{t-1}$ and $x_t$ it computes one number between 0 and 1 for each unit, and something "
        "is multiplied by that number. A gate at 0 is closed: nothing passes. A gate at 1 is open: "
        "everything passes. Each gate has weights of its own, so the network learns what to keep, "
        "what to add and when to read.",
    ]


def _lstm(found: Found) -> Sequence[Block]:
    unit = found["lstm"]
    return [
        Heading("The LSTM in four steps"),
        "An LSTM has three gates and one ordinary tanh layer. The letters $f$, $i$, $g$ and $o$ "
        "mark their weights and biases: $W_{hf}$, for example, is the matrix of the forget gate "
        f"for $h_{{t-1}}$. The example follows one unit, whose cell state is {CELL} before the "
        "step.",
        "*Step 1: forget.* The *forget gate* $f_t$ (Gers and others 2000) decides how much of the "
        "old cell state is kept. Note the name: 1 keeps everything, 0 forgets everything.",
        Equation(r"f_t = \sigma(W_{hf} h_{t-1} + W_{xf} x_t + b_f)"),
        f"In code: `{line(lstm_step, 'f')}`, where `a_f` is the sum in the parentheses. In the "
        f"example that sum is {GOES_IN['f']:g}, so the gate is at {unit['f']:.2f}.",
        Drawing(
            drawing("lstm", step=1),
            "Step 1 in blue: the forget gate reads $h_{t-1}$ and $x_t$, and multiplies the old "
            r"cell state. A box is a layer with weights of its own; $\times$ and $+$ act unit by "
            "unit.",
            "A line runs along the top, from c of the previous step to c of this step: the belt. "
            "Two lines along the bottom bring h of the previous step and x of this step to four "
            "boxes: forget, input, candidate and output. In blue is the box forget, a sigmoid, "
            "whose result f goes up to a multiplication on the belt.",
        ),
        "*Step 2: what to add.* The *candidate* $g_t$ is what an ordinary tanh layer would make "
        "its new state. The *input gate* $i_t$ decides how much of it goes into the cell state.",
        Equation(r"i_t = \sigma(W_{hi} h_{t-1} + W_{xi} x_t + b_i)"),
        Equation(r"g_t = \tanh(W_{hg} h_{t-1} + W_{xg} x_t + b_g)"),
        f"In the example the two sums are {GOES_IN['i']:g} and ${GOES_IN['g']:g}$, so the input "
        f"gate is at {unit['i']:g} and the candidate is ${unit['g']:.2f}$.",
        Drawing(
            drawing("lstm", step=2),
            "Step 2 in blue: the input gate multiplies the candidate.",
            "The same drawing. In blue are the boxes input, a sigmoid, and candidate, a tanh; "
            "their results i and g meet in a multiplication below the belt.",
        ),
        "*Step 3: the new cell state.* Forget, then add. This line is the heart of the LSTM: the "
        "old cell state is multiplied by a gate and by nothing else.",
        Equation(r"c_t = f_t \odot c_{t-1} + i_t \odot g_t"),
        f"In code: `{line(lstm_step, 'c')}`. For our unit, "
        rf"${unit['f']:.2f} \cdot {CELL} + {unit['i']:g} \cdot ({unit['g']:.2f}) = "
        rf"{unit['c']:.2f}$.",
        Drawing(
            drawing("lstm", step=3),
            "Step 3 in blue: the new cell state moves on to the next step.",
            "The same drawing. In blue is the belt from the multiplication by f through an "
            "addition, where i times g comes in from below, to its right end, c of this step.",
        ),
        "*Step 4: read.* The *output gate* $o_t$ decides how much of the cell state is shown as "
        "the hidden state $h_t$. The next layer reads $h_t$, and so do the gates at the next step. "
        "A unit can therefore hold something for many steps without showing it.",
        Equation(r"o_t = \sigma(W_{ho} h_{t-1} + W_{xo} x_t + b_o)"),
        Equation(r"h_t = o_t \odot \tanh(c_t)"),
        f"The sum is {GOES_IN['o']:g}, the output gate is at {unit['o']:.2f}, and our unit shows "
        rf"${unit['o']:.2f} \cdot \tanh({unit['c']:.2f}) = {unit['h']:.2f}$.",
        Drawing(
            drawing("lstm", step=4),
            "Step 4 in blue: a copy of the cell state passes through tanh and the output gate. The "
            "belt itself is not changed.",
            "The same drawing. In blue is a branch down from the right end of the belt through a "
            "tanh to a multiplication by o, the result of the box output, a sigmoid; from there "
            "h of this step leaves to the right.",
        ),
        r"Now draw it from memory. You need three $\sigma$ and two tanh, three $\times$ and one "
        "$+$, and only one of the lines runs straight through.",
        "The whole step is a few lines of numpy. Vectors are rows, as before, and the four layers "
        "share one matrix, whose blocks of columns are in the order `i f g o`. "
        "`rnnjax.cells.lstm` computes the same numbers.",
        Code([sigmoid, lstm_step], "One step of an LSTM", open=True),
    ]


def _gradient(found: Found) -> Sequence[Block]:
    left = found["left"]
    return [
        Heading("Why its gradient survives"),
        "Follow the gradient back along the belt, from $c_t$ to $c_{t-1}$. An addition passes a "
        "gradient on unchanged, and the multiplication scales it by the forget gate. On this "
        "direct path there is no matrix and no slope of tanh. For each unit,",
        Equation(r"\frac{\partial c_t}{\partial c_{t-1}} = f_t"),
        "Over $k$ steps the factors multiply:",
        Equation(r"\frac{\partial c_t}{\partial c_{t-k}} = f_t \cdot f_{t-1} \cdots f_{t-k+1}"),
        "This is again a product of many factors, but now the network sets each of them. With the "
        rf"forget gate at 0.99, $0.99^{{{STEPS}}} = {left['0.99']:.3f}$ of the gradient is left "
        f"after {STEPS} steps; a tanh network with a factor of {KEPT_BY_TANH} has "
        f"${power_of_ten(left['tanh'])}$. A forget gate can be near 1 for one unit and near 0 for "
        "another, and it can change from step to step.",
        "The memory itself fades by the same product. As a rule of thumb, a gate at $f$ remembers "
        "for about $1/(1-f)$ steps. The table at the end of this section has more gates and lags.",
        r"The start of training matters. With bias 0 a forget gate begins near $\sigma(0) = 0.5$, "
        rf"and $0.5^{{{STEPS}}} = {power_of_ten(left['0.5'])}$. The bias therefore usually "
        rf"starts at 1, as in `rnnjax.cells.lstm`: $\sigma(1) = {found['bias_1']:.3f}$ is better, "
        "but still a short memory.",
        "*Chrono* initialisation (Tallec and Ollivier 2018) goes further. It draws the biases so "
        "that the units remember for different spans, up to the longest lag that you expect.",
        "All this has limits. The direct path is not the whole derivative: $c_t$ also depends on "
        "$c_{t-1}$ through $h_{t-1}$, which the gates and the candidate read. That path contains "
        "matrices and slopes of tanh again. It can shrink the gradient or make it grow, so an LSTM "
        "does not rule out an exploding gradient.",
        "And where a forget gate closes, memory and gradient end. Often this is right: a network "
        "that has read the end of a sentence may well clear its memory of it. "
        "[A later section](#cures) measures how far each network reaches.",
        Heading("Try it"),
        "Here you are the network and set the gates of a single unit by hand. To keep the numbers "
        "readable, both tanh are left out: $c_t = f_t c_{t-1} + i_t x_t$ and $h_t = o_t c_t$. Four "
        "numbers arrive within 24 steps, and 0 at all other steps. Can you store the first one "
        "and ignore the others?",
        Widget("gates"),
    ]


def _gru(found: Found) -> Sequence[Block]:
    return [
        Heading("The GRU: two gates and one state"),
        "The *gated recurrent unit* (GRU; Cho and others 2014) is simpler. It has no cell state: "
        "the hidden state $h_t$ itself is on the belt. Two gates control it.",
        "The *reset gate* $r_t$ decides how much of the old state the candidate $n_t$ sees. When "
        "it is closed, the unit starts afresh from the input.",
        Equation(r"r_t = \sigma(W_{hr} h_{t-1} + W_{xr} x_t + b_r)"),
        Equation(r"n_t = \tanh(W_{xn} x_t + b_n + r_t \odot (W_{hn} h_{t-1} + b_{hn}))"),
        "Here, as in `rnnjax.cells.gru` by default, the gate acts after the product with $W_{hn}$, "
        "which has a bias $b_{hn}$ of its own. In the paper it acts before the product.",
        "The *update gate* $z_t$ decides how much of the old state is kept. The candidate makes "
        "up the rest, so one gate does the work of the forget gate and the input gate. "
        "(Some texts swap $z_t$ and $1 - z_t$.)",
        Equation(r"z_t = \sigma(W_{hz} h_{t-1} + W_{xz} x_t + b_z)"),
        Equation(r"h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}"),
        f"In code: `{line(gru_step, 'h')}`. With an update gate of {UPDATE}, an old state of "
        f"{STATE} and a candidate of ${CANDIDATE}$, the new state is {found['gru']:.2f}.",
        Drawing(
            drawing("gru", step=3),
            "A step of a GRU, the update in blue. Only the part of the candidate that comes from "
            r"$h_{t-1}$ passes the reset gate, at the lower $\times$; its matrix is not drawn.",
            "Along the top runs a belt, now from h of the previous step to h of this step. Lines "
            "along the bottom bring h of the previous step and x of this step to three boxes: "
            "reset, a sigmoid, candidate, a tanh, and update, a sigmoid. The result r of reset "
            "multiplies what the candidate reads of h. In blue is the belt: h of the previous "
            "step is multiplied by z, the result of update; the candidate n is multiplied by 1 "
            "minus z; the two are added and leave to the right as h of this step.",
        ),
        "On the direct path of the gradient $z_t$ takes the place of $f_t$. All that was said "
        "about 0.99 and 0.5 holds again, and so do the limits.",
        Code([gru_step], "One step of a GRU"),
    ]


def _linear(found: Found) -> Sequence[Block]:
    return [
        Heading("No gate at all: the LRU"),
        "If the direct path carries the memory, we can keep it and drop the rest. The *linear "
        "recurrent unit* (LRU; Orvieto and others 2023) has neither gates nor tanh in its "
        "recurrence:",
        Equation(r"h_t = \lambda \odot h_{t-1} + B x_t"),
        r"$B$ is a matrix, and $\lambda$ holds one complex number for each unit. Multiplying by a "
        r"complex number rotates the state and scales it by $\left|\lambda\right|$, which the "
        r"formula for $\lambda$ keeps below 1. With $\left|\lambda\right| = 0.99$, the memory "
        "fades as with a forget gate of 0.99. The price is that the factor does not depend on the "
        "input, so the network cannot choose when to forget.",
        r"In return it can be computed in parallel. Two steps of the form $h \to a h + b$, one "
        "after the other, make another step of that form. So neighbouring steps can be merged in "
        f"pairs, then the pairs in pairs: 1000 steps take {found['rounds']} rounds. "
        "`rnnjax.folds.parallel` does this. With a tanh around the state it would not work.",
        "The *minGRU* (Feng and others 2024) is between the two. Its update gate reads the input "
        "only, so the recurrence remains linear in $h_{t-1}$ and can be computed in parallel.",
        Bullets(
            [
                "*LSTM*: forget gate, input gate, output gate; cell state and hidden state.",
                "*GRU*: reset gate, update gate; hidden state only.",
                "*minGRU*: update gate, computed from the input; linear in the state.",
                "*LRU*: no gates; linear in the state.",
            ]
        ),
    ]


def _exercises(found: Found) -> Sequence[Exercise]:
    half, parameters = found["half"], found["parameters"]
    return [
        Exercise(
            f"A unit has to keep half of its memory for {STEPS} steps. What percentage of it may "
            "the forget gate remove at each step? And if the gate receives nothing but its bias, "
            "which bias does that?",
            rf"$f^{{{STEPS}}} = 0.5$ gives $f = 0.5^{{1/{STEPS}}} = {half['gate']:.4f}$: the gate "
            f"removes {half['lost']:.2f} % a step. Solving $\\sigma(b) = f$ gives "
            rf"$b = \ln(f / (1 - f)) = {half['bias']:.2f}$. The usual bias of 1 is far from that. "
            "The network has to learn the rest, or start there with chrono initialisation.",
            {"removed at each step, in %": half["lost"], "bias": half["bias"]},
        ),
        Exercise(
            f"How many parameters does a tanh network with {D} inputs and {H} hidden units have, "
            "and how many does an LSTM of the same size have? Leave out the output layer.",
            rf"The tanh network has ${H} \cdot {D}$ weights from the input, ${H} \cdot {H}$ from "
            f"the hidden state and {H} biases, {parameters['tanh']} in all. The LSTM has four such "
            f"layers: {parameters['LSTM']}. (The GRU above has three and a second bias "
            f"$b_{{hn}}$: {parameters['GRU']}.) For a fair comparison, give two networks the same "
            "number of parameters, or of numbers in the state, rather than of units.",
            {"tanh network": parameters["tanh"], "LSTM": parameters["LSTM"]},
        ),
    ]


SECTION = Section(
    title="Gates: adding to a memory",
    body=_body,
    exercises=_exercises,
)
