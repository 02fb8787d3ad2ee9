"""The section on the page: how far back a network can learn."""

import math
from collections.abc import Sequence

from experiments.cures.comparing import Reach, further, reach, share_of
from experiments.cures.experiment import CLIPS, Network, networks, recall, relu_identity
from experiments.cures.options import EXPLODING, EXPLODING_LAG, LEARNED
from experiments.page.section import Block, Code, Exercise, Found, Heading, Plot, Section

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
        "than 1. There are two ways out: start the recurrent weights so that they neither shrink "
        "nor stretch, or use [gates](#gates). How far back does each let a network *learn*?",
        Heading("The contenders"),
        *_contenders(found),
        Heading("One bit, then noise"),
        "The test is as plain as possible. The first input is $+1$ or $-1$. Then come only random "
        "numbers, for as many steps as the lag, and after the last one the network has to output "
        "the first input. Without a memory the accuracy is 50 %. Each network is trained anew "
        f"for each lag, for {found['steps']} steps on new sequences, and tested on others.",
        "The task is easy for a memory that exists: adding up the first input recalls the bit "
        "without any training. What we measure is whether gradient descent *finds* such a memory.",
        Plot(
            ("recalled", "gradient"),
            "Means over the seeds. One panel has the accuracy by network and lag: the stronger the "
            f"colour, the further above chance, and bold from {100 * LEARNED:.0f} %. The other has "
            "the share of the gradient that is left across the lag before training: filled marks "
            "where training then succeeded, open marks where it did not. The dashed line separates "
            "the two best.",
            _alt(found),
        ),
        _extremes(found),
        *_compared(found),
        *_threshold(found),
        Heading("When the gradient explodes"),
        "If every step multiplies the gradient by more than 1, it grows until a single update "
        "throws the weights far away. *Clipping* shortens a gradient that is longer than some "
        "limit to that limit and keeps its direction. To see it work, we start a ReLU network at "
        f"{EXPLODING} times the identity and train it across {EXPLODING_LAG} steps by plain "
        "gradient descent at several learning rates.",
        Plot(
            ("clipping",),
            "Accuracy at each learning rate, with and without clipping, means over the seeds. "
            "After a divergence (cross) a network gives no answers. The grey line is at chance.",
            f"A graph of accuracy against the learning rate. {_clipping(found)}",
        ),
        _clipping(found),
        "Enough gradient is necessary for learning, but not sufficient. And this is one small task "
        "with one training budget: more steps or another learning rate would shift every number.",
        Code([recall, relu_identity, reach], "The task, the exploding network and the reach"),
    ]


_CONTENDERS = {
    "tanh": "*tanh (torch's default)* draws $W_{hh}$ at random, at a scale at which the gradient "
    "vanishes.",
    "tanh-orthogonal": "*tanh (orthogonal)* starts with a rotation, which keeps the length of "
    "every vector.",
    "relu-identity": "*ReLU (identity)* starts with the identity, so a positive state is copied.",
    "lru": "The *LRU* is a linear recurrence that multiplies each unit by a complex number just "
    "inside the unit circle: it turns and hardly shrinks.",
}


def _contenders(found: Found) -> list[str]:
    """What is not explained in the section on gates."""
    told = [text for name, text in _CONTENDERS.items() if name in found["results"]]
    gated = [
        "The forget gate of an LSTM multiplies its memory, and the gradient, at every step. The "
        "bias of that gate therefore sets the memory before training: with bias 0 the gate is at "
        "$\\sigma(0) = 0.5$, with bias 1 at $\\sigma(1) = 0.73$. The *chrono* start draws the "
        "biases so that the memories of the units last from one step up to the lag. It is the "
        "only contender that knows the lag."
    ]
    return [" ".join(told), *(gated if "lstm-chrono" in found["results"] else [])]


def _chosen(found: Found) -> dict[str, Network]:
    return networks(1, found["cell"])


def _reach_of(found: Found, name: str) -> Reach:
    row = found["results"][name]
    return Reach(row["mean"]["reach"], row.get("deviation", {}).get("reach", 0.0))


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
        return ", ".join(n.style.label for name, n in _chosen(found).items()
                         if reached[name] == mean)  # fmt: skip

    told = f"The longest lag recalled is {longest:.0f} steps, by {labels(longest)}"
    if shortest < longest:
        told += f", and the shortest {shortest:.0f}, by {labels(shortest)}"
    mean = " These are means over the seeds." if len(found["seeds"]) > 1 else ""
    return (
        f"{told}.{mean} No lag above {max(found['lags'])} was tested, so a network that recalls "
        "that one may reach further. The table has every number."
    )


def _compared(found: Found) -> list[str]:
    """The others beside tanh, and the biases of the LSTM in their order."""
    if "tanh" not in found["results"] or len(found["results"]) < 2:
        return []
    tanh = _reach_of(found, "tanh")
    others = {name: n.style.label for name, n in _chosen(found).items() if name != "tanh"}
    same = [label for name, label in others.items() if not further(_reach_of(found, name), tanh)]
    rule = (
        " (We call one reach longer than another if the means differ by more than the sum of the "
        "deviations.)"
        if len(found["seeds"]) > 1
        else " (With one seed, this is only a first look.)"
    )
    told = (
        f"For {', '.join(same)} no longer reach than that of torch's tanh was found.{rule}"
        if same
        else f"Every other network reached further back than torch's tanh.{rule}"
    )
    biases = [name for name in ("lstm-0", "lstm-1", "lstm-chrono") if name in found["results"]]
    if len(biases) > 1:
        means = [_reach_of(found, name).mean for name in biases]
        longer = further(_reach_of(found, biases[-1]), _reach_of(found, biases[0]))
        order = means == sorted(means) and longer
        told += (
            " The reach of the LSTM grew with the bias of its forget gate."
            if order
            else " That the LSTM's reach grows with the bias of its forget gate was not found."
        )
    return [told]


def _threshold(found: Found) -> list[str]:
    """How well the gradient before training predicts what is learned."""
    line = found["extra"]["threshold"]
    return [
        "Could you have predicted this before any training? Suppose that a network learns if more "
        f"than {share_of(line['left'])} of the gradient is left across the lag, the dashed line. "
        f"This is correct for {line['right']} of {line['trainings']} trainings. The line was "
        "chosen to fit these same trainings, so on new ones it would do somewhat worse. "
        f"{_stuck(line['stuck'])}"
    ]


def _stuck(count: int) -> str:
    if not count:
        return "No training above the line failed."
    times = "One training" if count == 1 else f"{count} trainings"
    return f"{times} had more than that and failed: a gradient is needed, but it is not enough."


def _rates(found: Found, clip: str) -> tuple[str, str]:
    """At how many learning rates the exploding network learned, and diverged."""
    mean = found["results"][f"exploding, {clip}"]["mean"]
    return f"{mean['rates']:.2g}", f"{mean['diverged']:.2g}"


def _clipping(found: Found) -> str:
    plain, clipped = (_rates(found, clip) for clip in CLIPS)
    mean = ", in the mean over the seeds" if len(found["seeds"]) > 1 else ""
    return (
        f"Learning rates tested: {len(found['rates'])}. Gradient descent without clipping learned "
        f"at {plain[0]} of them and diverged at {plain[1]}{mean}. With gradients clipped to a "
        f"length of {CLIPS['clipped']:g} it learned at {clipped[0]} and diverged at {clipped[1]}."
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
            "Suppose that the forget gate of an LSTM is at $\\sigma(b)$ whatever the input, with "
            "$\\sigma(b) = 1 / (1 + e^{-b})$. Which bias $b$ leaves half of the memory, and so of "
            "its gradient, after 100 steps?",
            "$\\sigma(b)^{100} = 0.5$ requires $\\sigma(b) = 0.5^{1/100} = 0.9931$, so "
            "$b = \\ln(0.9931 / 0.0069) = 4.97$. Chrono gives such a bias to units that should "
            "remember for about $e^{4.97} = 144$ steps.",
            {"Bias": 4.97},
        ),
        Exercise(
            f"Now let the library measure it. Run `{COMMAND}`, in which the recurrent weights "
            f"and the inputs are zero and the forget bias is {BIAS}. Type the horizon "
            "that it prints: the steps until 1 % of the gradient is left. Which number "
            "would a bias of 1 give?",
            f"{_horizon(BIAS)}. The forget gate multiplies by $\\sigma({BIAS}) = "
            f"{1 / (1 + math.exp(-BIAS)):.4f}$ at every step, and the output gate, at 0.5, once. "
            f"With a bias of 1 it is {_horizon(1)} steps.",
            {"Horizon (steps)": _horizon(BIAS)},
        ),
    ]


SECTION = Section(title="How far back can a network learn?", body=body, exercises=_exercises)
