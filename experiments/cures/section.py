"""The section on the page: how far back a network can learn."""

import math
from collections.abc import Sequence

from experiments.cures.comparing import reach, share_of
from experiments.cures.experiment import CLIPS, Network, networks, recall, relu_identity
from experiments.cures.options import EXPLODING, EXPLODING_LAG, LEARNED
from experiments.measures.seeds import Spread, exceeds
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
)

BIAS = 5  # of the forget gate in the second exercise
COMMAND = (
    "python -c 'import jax, jax.numpy as jnp, rnnjax; from rnnjax import cells; "
    f"cell = cells.lstm(1, 8, kernel_init=jax.nn.initializers.zeros, forget_bias={BIAS}); "
    "params = cell.init(jax.random.key(0)); "
    "print(rnnjax.gradient_report(cell, params, jnp.zeros((1000, 1, 1))))'"
)


def body(found: Found) -> list[Block]:
    """The starts and gates, one bit to recall, and clipping."""
    return [
        "The gradient [vanishes](#vanishing_gradients) when every step back multiplies it by less "
        "than 1. There are two ways out: start with recurrent weights that neither shrink nor "
        "stretch the state, or use [gates](#gates). How far back can a network then *learn*?",
        Heading("The contenders"),
        *_contenders(found),
        Heading("One bit, then noise"),
        "At every step the network reads two numbers, a signal and noise. The signal is $+1$ or "
        "$-1$ at the first step and 0 from then on; the noise is random. After the last step, one "
        "lag later, the network has to output the sign of the signal. Without a memory the "
        "accuracy is 50 %.",
        "Solving this takes no more than a sum: add up the signal, and ignore the noise. We "
        "measure whether gradient descent *finds* such a memory. Each network is trained anew for "
        f"each lag, for {found['steps']} steps, and tested on new sequences.",
        Plot(
            ("recalled", "gradient"),
            "Means over the seeds. First panel: accuracy by network and lag; the stronger the "
            f"colour, the further above chance, in bold from {100 * LEARNED:.0f} %. Second panel: "
            "the share of the gradient that is left across the lag before training. Marks are "
            "filled where training then succeeded and open where it did not; the dashed line is "
            "the threshold that separates the two best.",
            _alt(found),
        ),
        _extremes(found),
        *_compared(found),
        *_threshold(found),
        Heading("When the gradient explodes"),
        "If every step multiplies the gradient by more than 1, it grows until a single update "
        "throws the weights far away. *Clipping* shortens a gradient that is longer than some "
        "limit to that limit and keeps its direction. To see it work, we start a ReLU network at "
        f"{EXPLODING} times the identity and train it on the same task across {EXPLODING_LAG} "
        "steps, by plain gradient descent at several learning rates.",
        Plot(
            ("clipping",),
            "Accuracy at each learning rate, with and without clipping, means over the seeds. A "
            "cross marks a rate at which the training of at least one seed diverged; that seed "
            "then counts as 0 %. The grey line is at chance.",
            f"A graph of accuracy against the learning rate. {_clipping(found)}",
        ),
        _clipping(found),
        "All of this is one small task with one training budget. More steps or another learning "
        "rate would shift every number.",
        Code([recall, relu_identity, reach], "The task, the exploding network and the reach"),
    ]


_CONTENDERS = {
    "tanh": "*tanh (torch's default)* draws $W_{hh}$ at random, at a scale at which the gradient "
    "vanishes.",
    "tanh-orthogonal": "*tanh (orthogonal)* starts with a rotation, which keeps the length of "
    "every vector.",
    "relu-identity": "*ReLU (identity)* starts with the identity, so a positive state is copied.",
    "gru": "The *GRU* starts as in [the section on gates](#gates).",
    "lru": "*LRU (rings near 1)* multiplies each unit by a complex number whose length starts "
    "between 0.9 and 0.999: it turns the state and hardly shrinks it.",
}


def _contenders(found: Found) -> list[Block]:
    """How each of them starts."""
    told = [text for name, text in _CONTENDERS.items() if name in found["results"]]
    gated = (
        "The *LSTM* has three starts. The bias of its forget gate is 0, so that the gate is at "
        "$\\sigma(0) = 0.5$, or 1, so that it is at $\\sigma(1) = 0.73$. *Chrono* draws the biases "
        "so that the units remember for one step up to the whole lag. It is the only contender "
        "that knows the lag."
    )
    return [Bullets([*told, *([gated] if "lstm-chrono" in found["results"] else [])])]


def _chosen(found: Found) -> dict[str, Network]:
    return networks(1, found["cell"])


def _reach_of(found: Found, name: str) -> Spread:
    row = found["results"][name]
    return Spread(row["mean"]["reach"], row.get("deviation", {}).get("reach", 0.0))


def _reaches(found: Found) -> str:
    """The longest lag of every network, with its deviation over the seeds."""

    def told(name: str) -> str:
        mean, deviation = _reach_of(found, name)
        return f"{mean:.0f} ± {deviation:.0f}" if deviation else f"{mean:.0f}"

    return ", ".join(f"{n.style.label} {told(name)}" for name, n in _chosen(found).items())


def _extremes(found: Found) -> str:
    """Which networks recall across the most steps, and which across the fewest."""
    reached = {name: _reach_of(found, name).mean for name in _chosen(found)}
    shortest, longest = min(reached.values()), max(reached.values())

    def labels(mean: float) -> str:
        return " and ".join(n.style.label for name, n in _chosen(found).items()
                            if reached[name] == mean)  # fmt: skip

    mean = " (the mean over the seeds)" if len(found["seeds"]) > 1 else ""
    told = f"How far each network reaches is the longest lag that it recalls{mean}. It is "
    told += f"{longest:.0f} steps for {labels(longest)}"
    if shortest < longest:
        told += f", and only {shortest:.0f} for {labels(shortest)}"
    return f"{told}. No lag above {max(found['lags'])} was tested, so some may reach further."


def _compared(found: Found) -> list[str]:
    """The others beside tanh, and the biases of the LSTM in their order."""
    if "tanh" not in found["results"] or len(found["results"]) < 2:
        return []
    tanh = _reach_of(found, "tanh")
    others = {name: n.style.label for name, n in _chosen(found).items() if name != "tanh"}
    same = [label for name, label in others.items() if not exceeds(_reach_of(found, name), tanh)]
    rule = (
        " (We call one reach longer than another if the means differ by more than the sum of the "
        "deviations.)"
        if len(found["seeds"]) > 1
        else " (With one seed, this is only a first look.)"
    )
    told = (
        f"No longer reach than that of torch's tanh was found for {', '.join(same)}.{rule}"
        if same
        else f"Every other network reached further back than torch's tanh.{rule}"
    )
    biases = [name for name in ("lstm-0", "lstm-1", "lstm-chrono") if name in found["results"]]
    if len(biases) > 1:
        means = [_reach_of(found, name).mean for name in biases]
        longer = exceeds(_reach_of(found, biases[-1]), _reach_of(found, biases[0]))
        order = means == sorted(means) and longer
        told += (
            " The reach of the LSTM grew with the bias of its forget gate."
            if order
            else " This run did not show that the LSTM's reach grows with the bias of its forget "
            "gate."
        )
    return [told]


def _threshold(found: Found) -> list[str]:
    """How well the gradient before training predicts what is learned."""
    line = found["extra"]["threshold"]
    return [
        "Could you have predicted this before any training? Suppose that a network learns if more "
        f"than {share_of(line['left'])} of the gradient is left across the lag (the dashed line). "
        f"This rule is correct for {line['right']} of {line['trainings']} trainings. It was chosen "
        "to fit these same trainings, so on new ones it would do somewhat worse. "
        f"{_stuck(line['stuck'])}"
    ]


def _stuck(count: int) -> str:
    if not count:
        return "No training above the line failed."
    times = "one training" if count == 1 else f"{count} trainings"
    return f"Above the line, {times} failed all the same: a gradient is needed, but not enough."


def _rates(found: Found, clip: str) -> tuple[str, str]:
    """At how many learning rates the exploding network learned, and diverged."""
    mean = found["results"][f"exploding, {clip}"]["mean"]
    return f"{mean['rates']:.2g}", f"{mean['diverged']:.2g}"


def _clipping(found: Found) -> str:
    plain, clipped = (_rates(found, clip) for clip in CLIPS)
    mean = " (means over the seeds)" if len(found["seeds"]) > 1 else ""
    return (
        f"Of {len(found['rates'])} learning rates, gradient descent without clipping learned at "
        f"{plain[0]} and diverged at {plain[1]}{mean}. With gradients clipped to a length of "
        f"{CLIPS['clipped']:g} it learned at {clipped[0]} and diverged at {clipped[1]}."
    )


def _alt(found: Found) -> str:
    line = found["extra"]["threshold"]
    return (
        "A table of accuracy by network and lag; the longest lags recalled: "
        f"{_reaches(found)}. A graph of the gradient left across each lag before training, one "
        "line for each network, filled marks where it then learned and open ones where not, with a "
        f"dashed line at {share_of(line['left'])}."
    )


def _horizon(bias: float) -> int:
    """Steps until 1 % is left: the output gate halves it once, the forget gate at each step."""
    forget = 1 / (1 + math.exp(-bias))
    return math.ceil(math.log(0.01 / 0.5) / math.log(forget))


def _exercises(found: Found) -> Sequence[Exercise]:
    return [
        Exercise(
            "A gradient has the two entries 6 and 8. What does clipping to a length of 1 make of "
            "them?",
            "The length is $\\sqrt{6^2 + 8^2} = 10$, so both entries are divided by 10: 0.6 and "
            "0.8. If each entry were limited to 1 on its own, both would become 1, and the "
            "direction would change.",
            {"First entry": 0.6, "Second entry": 0.8},
        ),
        Exercise(
            "Let the library measure how far the gradient of an LSTM reaches. Run "
            f"`{COMMAND}`, where the recurrent weights and the inputs are zero and the forget bias "
            f"is {BIAS}. Type the horizon that it prints: the steps until 1 % of the gradient is "
            "left. Then try a bias of 1.",
            f"{_horizon(BIAS)}. The forget gate multiplies by $\\sigma({BIAS}) = "
            f"{1 / (1 + math.exp(-BIAS)):.4f}$ at every step, and the output gate, at 0.5, once. "
            f"With a bias of 1 it is {_horizon(1)} steps.",
            {"Horizon (steps)": _horizon(BIAS)},
        ),
    ]


SECTION = Section(title="How far back can a network learn?", body=body, exercises=_exercises)
