"""Starts that keep the gradient, and gates that begin open, learn across lags that tanh cannot.

Claim: a tanh network as torch starts it learns to recall one bit across a few steps only. An
orthogonal start, an identity with ReLU, gates, and rings near the unit circle each carry the
bit further, and the LSTM's reach grows with the bias of its forget gate (0, 1, chrono). Where
the gradient explodes, clipping lets more learning rates learn than plain descent.

Source: Le, Jaitly and Hinton 2015 (identity); Jozefowicz, Zaremba and Sutskever 2015 (forget
bias 1); Tallec and Ollivier 2018 (chrono); Orvieto and others 2023 (LRU); Pascanu, Mikolov and
Bengio 2013, section 3.2 (clipping).

Run time: about 6 min on two cores; 10 s with --quick, which takes two networks and two lags.

Examples:
  python -m experiments.cures
  python -m experiments.cures --cell gru lstm-chrono --lags 100 200 400 --out results/far

How: at the first step the network is shown +1 or -1, as often the one as the other, then noise
on a second input for `lag` steps; then it tells which of the two it was. Without the first step
no network can be right more than half the time. Every network trains at every lag anew, on
fresh sequences, as long and with the same optimiser; the gradient is measured before training.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

LEARNED = 0.9  # share of right answers from which on a bit counts as recalled
TESTED = 1000  # sequences, half of them of either bit
EXPLODING = 1.1  # the identity is multiplied by it, where clipping is tried
EXPLODING_LAG = 40
Name = Literal["tanh", "tanh-orthogonal", "relu-identity", "gru", "lstm-0", "lstm-1",
               "lstm-chrono", "lru"]  # fmt: skip


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    lags: tuple[int, ...] = (10, 20, 40, 80, 160)
    """Steps between what is shown and what is asked."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 400
    """Training steps, for each network and lag."""
    batch: int = 32
    """Sequences in a training step."""
    learning_rate: float = 2e-3
    """Of Adam."""
    rates: tuple[float, ...] = (0.0002, 0.001, 0.005, 0.025, 0.125)
    """Learning rates of plain descent, at which clipping is tried."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "cell": ("tanh", "relu-identity"), "lags": (5, 40), "hidden": 16, "steps": 150,
        "rates": (0.01,),
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        for name, values in (("lags", self.lags), ("rates", self.rates)):
            if not values or min(values) <= 0 or list(values) != sorted(set(values)):
                raise ValueError(
                    f"--{name}: expected numbers above zero, rising, got {values}; sort them"
                )
        if self.batch % 2:
            raise ValueError(f"--batch: expected an even number, got {self.batch}; half of either")
        self.above_zero("hidden", "steps", "batch", "learning_rate")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import lecun_normal, normal
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import rnnjax
from experiments.lab.cores import Trained, side_by_side
from experiments.lab.output import Output, Part
from experiments.measures.seeds import mean_over_seeds
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells
from rnnjax.initializers import chrono, orthogonal, scaled_identity
from rnnjax.training import NonFiniteError, fit

INPUTS = 2  # the signal and the noise
CLIPS = {"not clipped": None, "clipped": 1.0}  # largest norm of the gradient


class Network(NamedTuple):
    """A recurrence, made for a lag, and how it is drawn."""

    label: str
    cell: Callable[[int], rnnjax.Cell]
    colour: str
    marker: str
    line: Any


def networks(hidden: int) -> dict[str, Network]:
    """The contenders, by the name that `--cell` takes."""
    elman, lstm = (partial(make, INPUTS, hidden) for make in (cells.elman, cells.lstm))

    def as_torch(key: jax.Array, shape: Any, dtype: Any, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(hidden)

    def always(cell: rnnjax.Cell) -> Callable[[int], rnnjax.Cell]:
        return lambda lag: cell

    return {
        "tanh": Network(
            "tanh (as torch starts it)", always(elman(kernel_init=as_torch)), "#c1272d", "o", "-"
        ),
        "tanh-orthogonal": Network(
            "tanh (orthogonal)", always(elman(kernel_init=orthogonal())),
            "#7b3fa0", "s", (0, (4, 1.5, 1, 1.5)),
        ),
        "relu-identity": Network(
            # Its units add up all the noise, so its input weights must be small.
            "ReLU (identity)",
            always(relu_identity(hidden, scale=1.0)), "#d98200", "^", (0, (6, 2)),
        ),
        "gru": Network("GRU", always(cells.gru(INPUTS, hidden)), "#1b7837", "D", (0, (2, 1))),
        "lstm-0": Network(
            "LSTM (forget bias 0)", always(lstm(forget_bias=0.0)), "#6baed6", "v", (0, (1, 1))
        ),
        "lstm-1": Network(
            "LSTM (forget bias 1)", always(lstm(forget_bias=1.0)), "#1f5fa8", "<", (0, (10, 3))
        ),
        "lstm-chrono": Network(
            "LSTM (chrono)",
            cache(
                lambda lag: lstm(forget_bias=0.0, bias_init=chrono(lag + 1, forget=1, remember=0))
            ),
            "#0b2545", ">", (0, (8, 2, 2, 2)),
        ),
        "lru": Network(
            "LRU (rings near 1)", always(cells.lru(INPUTS, hidden, r_min=0.9, r_max=0.999)),
            "#8c510a", "P", (0, (3, 1, 1, 1, 1, 1)),
        ),
    }  # fmt: skip


@cache
def relu_identity(hidden: int, *, scale: float) -> rnnjax.Cell:
    """ReLU whose kernel begins as scale · I."""
    return cells.elman(
        INPUTS, hidden, activation=jax.nn.relu, kernel_init=scaled_identity(scale),
        input_init=normal(0.03),
    )  # fmt: skip


def recall(key: jax.Array, lag: int, count: int) -> tuple[jax.Array, jax.Array]:
    """A bit, then noise for `lag` steps: inputs `[lag + 1, B, 2]`, and the bits `[B]`."""
    bit = jnp.repeat(jnp.array([1.0, -1.0]), count // 2)
    signal = jnp.zeros((lag + 1, count)).at[0].set(bit)
    noise = jax.random.normal(key, signal.shape)
    return jnp.stack([signal, noise], axis=-1), bit


def score(cell: rnnjax.Cell, params: Any, inputs: jax.Array, **options: Any) -> jax.Array:
    """Above zero for the bit 1, `[B]`."""
    _, outputs = rnnjax.unroll(cell, params["cell"], inputs, **options)
    return outputs[-1] @ params["readout"] + params["bias"]


# Compiled once for all seeds, as what is trained cannot be; the plain fold compiles sooner.
@partial(jax.jit, static_argnames=("cell", "lag", "count"))
def log_left(params: Any, key: jax.Array, *, cell: rnnjax.Cell, lag: int, count: int) -> jax.Array:
    """log10 of what is left of the gradient across the lag."""
    inputs, _ = recall(key, lag, count)
    report = rnnjax.gradient_report(cell, params["cell"], inputs, fold=rnnjax.folds.scan())
    # Entry 1 is the state after the first step, which alone has seen the bit.
    return jnp.median(report.log_norms[1] - report.log_norms[-1]) / math.log(10)


@partial(jax.jit, static_argnames=("cell", "lag"))
def right(params: Any, key: jax.Array, *, cell: rnnjax.Cell, lag: int) -> jax.Array:
    """Share of right answers on new sequences."""
    inputs, bit = recall(key, lag, TESTED)
    return jnp.mean(score(cell, params, inputs, fold=rnnjax.folds.scan()) * bit > 0)


def learn(
    cell: rnnjax.Cell,
    lag: int,
    optimizer: optax.GradientTransformation,
    *,
    options: Options,
    seed: int,
    clip: float | None = None,
) -> Trained:
    """Trains one network to recall across one lag.

    Its numbers: `accuracy`, the share of right answers on sequences that are new; `left`, log10
    of what was left of the gradient across the lag before training; `diverged`, 0 or 1.
    """

    def loss(params: Any, batch: Any) -> jax.Array:
        inputs, bit = batch
        return jnp.mean(jax.nn.softplus(-bit * score(cell, params, inputs)))

    weights = cell.init(harness.key(seed, "recurrence"))
    outputs = jax.eval_shape(lambda: cell.output(cell.start(weights, ()))).shape[-1]
    params = {
        "cell": weights,
        "readout": lecun_normal()(harness.key(seed, "readout"), (outputs, 1))[:, 0],
        "bias": jnp.zeros(()),
    }
    report = harness.key(seed, "report")
    at_start = float(log_left(params, report, cell=cell, lag=lag, count=options.batch))
    try:
        fitted = fit(
            loss,
            params,
            lambda key: recall(key, lag, options.batch),
            optimizer,
            steps=options.steps,
            key=harness.key(seed, "batches"),
            clip=clip,
            quiet=True,  # two trainings run at a time
        )
        params, records, diverged = fitted.params, fitted.records, False
    except NonFiniteError as error:
        params, records, diverged = error.params, [], True
    share = float(right(params, harness.key(seed, "test"), cell=cell, lag=lag))
    return Trained({"accuracy": share, "left": at_start, "diverged": float(diverged)}, records)


def across_lags(network: Network, options: Options, seed: int, metrics: Path) -> Part:
    """One network at every lag."""
    adam = optax.adam(options.learning_rate)
    return side_by_side(
        {
            f"lag {lag}": partial(learn, network.cell(lag), lag, adam, options=options, seed=seed)
            for lag in options.lags
        },
        metrics,
    )


def across_rates(options: Options, seed: int, metrics: Path) -> Part:
    """Plain descent at every rate where the gradient explodes; a row for each of `CLIPS`."""
    cell = relu_identity(options.hidden, scale=EXPLODING)
    part = side_by_side(
        {
            f"{name}, rate {rate}": partial(
                learn, cell, EXPLODING_LAG, optax.sgd(rate), options=options, seed=seed, clip=clip
            )
            for name, clip in CLIPS.items()
            for rate in options.rates
        },
        metrics,
    )
    return {name: values.reshape(len(CLIPS), -1) for name, values in part.items()}


def reach(part: Part, lags: tuple[int, ...]) -> int:
    """The longest lag recalled, all shorter ones too; 0 for none."""
    recalled = part["accuracy"] >= LEARNED
    return int(max([0, *(lag for i, lag in enumerate(lags) if recalled[: i + 1].all())]))


class Threshold(NamedTuple):
    """The amount of gradient that best tells trainings that learn from those that do not.

    Attributes:
      left: log10 of it.
      right: how many trainings it tells rightly.
      count: of how many.
      stuck: how many had more of it and did not learn.
    """

    left: float
    right: int
    count: int
    stuck: int


def threshold(parts: list[Part]) -> Threshold:
    """Chosen on the trainings that it is counted on."""
    left = np.concatenate([part["left"] for part in parts])
    learned = np.concatenate([part["accuracy"] >= LEARNED for part in parts])
    ordered = np.sort(left)
    places = [ordered[0] - 1, *(ordered[:-1] + ordered[1:]) / 2]
    right = [int(((left > place) == learned).sum()) for place in places]
    best = int(np.argmax(right))
    stuck = int(((left > places[best]) & ~learned).sum())
    return Threshold(float(places[best]), right[best], len(left), stuck)


def baselines(lags: tuple[int, ...], seed: int) -> dict[str, dict[str, float]]:
    """What needs no network: one answer for all, and the sum of the first input."""
    scores: dict[str, list[float]] = {"always the same answer": [], "sum of the signal": []}
    for lag in lags:
        inputs, bit = recall(harness.key(seed, "test"), lag, TESTED)
        scores["always the same answer"].append(float(jnp.mean(bit > 0)))
        scores["sum of the signal"].append(float(jnp.mean(inputs[..., 0].sum(axis=0) * bit > 0)))
    return {name: by_lag("accuracy", lags, values) for name, values in scores.items()}


def by_lag(name: str, lags: tuple[int, ...], values: Any) -> dict[str, float]:
    """One number a lag, named after it."""
    return {f"{name}_{lag}": float(value) for lag, value in zip(lags, values, strict=True)}


def bears_out(reached: Mapping[str, float], learned: Mapping[str, float]) -> bool:
    """Whether tanh reaches less far than all others, each forget bias further, and clipping helps.

    Args:
      reached: the reach of every network that ran, by name; means over the seeds.
      learned: at how many rates the exploding one learned, by name in `CLIPS`.
    """
    others = [value for name, value in reached.items() if name != "tanh"]
    biases = [reached[name] for name in ("lstm-0", "lstm-1", "lstm-chrono") if name in reached]
    return (
        reached.get("tanh", math.inf) < min(others, default=-math.inf)
        and biases == sorted(biases)
        and (len(biases) < 2 or biases[0] < biases[-1])
        and learned["not clipped"] < learned["clipped"]
    )


def share_of(power: float) -> str:
    """10 to this power, as one writes it."""
    whole = math.floor(power)
    raised = str(whole).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10 ** (power - whole):.1f} · 10{raised}"


def in_words(
    reached: Mapping[str, float], learned: Mapping[str, float], told: Threshold, rates: int
) -> tuple[str, str, str]:
    """The findings on lags, on the gradient and on clipping; means over seeds, reach by label."""
    shortest, longest = min(reached, key=reached.__getitem__), max(reached, key=reached.__getitem__)
    return (
        f"Longest lag recalled: {reached[shortest]:.0f} steps by {shortest}, "
        f"{reached[longest]:.0f} by {longest}.",
        f"Whether more or less than {share_of(told.left)} of the gradient was left before training "
        f"tells {told.right} of {told.count} outcomes.",
        f"Where the gradient explodes, plain descent learned at {learned['not clipped']:.2g} of "
        f"{rates} learning rates, clipped at {learned['clipped']:.2g}.",
    )


Tried = list[tuple[Network, list[Part]]]  # each network's parts, a seed each


def draw(
    found: Tried, exploding: list[Part], told: Threshold, finding: tuple[str, ...],
    options: Options,
) -> Figure:  # fmt: skip
    """Who recalls at which lag; the gradient before training; clipping. Means over the seeds."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1 + 0.35 * len(found), 4])
    recalled(top.subplots(), found, options.lags)
    gradient, clipping = bottom.subplots(1, 2, width_ratios=[3, 2])
    foretold(gradient, found, told, options.lags)
    clipped(clipping, exploding, options.rates)
    figure.suptitle("\n".join(finding), fontsize=11)
    return figure


def recalled(ax: Axes, found: Tried, lags: tuple[int, ...]) -> None:
    """A table, coloured from chance to certainty."""
    shares = np.stack([mean_over_seeds(seeds, "accuracy") for _, seeds in found])
    ax.imshow(shares, vmin=0.5, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        ax.text(
            column, row, f"{100 * share:.0f} %", ha="center", va="center",
            color="white" if share > 0.8 else "black",
            fontweight="bold" if share >= LEARNED else "normal",
        )  # fmt: skip
    ax.set_yticks(range(len(found)), [network.label for network, _ in found])
    ax.set_xticks(range(len(lags)), [str(lag) for lag in lags])
    ax.set(
        xlabel="lag (steps between what is shown and what is asked)",
        title=f"Right answers on new sequences; chance is 50 %, bold from {100 * LEARNED:.0f} % on",
    )


def foretold(ax: Axes, found: Tried, told: Threshold, lags: tuple[int, ...]) -> None:
    """What was left of the gradient before training; filled where training then learned."""
    for network, seeds in found:
        left, accuracy = (mean_over_seeds(seeds, name) for name in ("left", "accuracy"))
        style = {"color": network.colour, "marker": network.marker}
        ax.plot(lags, left, linestyle=network.line, label=network.label, **style)
        missed = accuracy < LEARNED
        ax.plot(
            np.array(lags)[missed], left[missed], linestyle="", markerfacecolor="white", zorder=3,
            **style,
        )  # fmt: skip
    ax.axhline(told.left, color="0.4", linewidth=0.8, linestyle="--")
    ax.set(
        xscale="log",
        xlabel="lag (steps)",
        ylabel="log₁₀ of the gradient left across the lag",
        title="Before training: filled where it then learned, white where not",
        ylim=(-16, 1.5),
    )
    ax.set_xticks(lags, [str(lag) for lag in lags])
    ax.minorticks_off()
    ax.legend(loc="lower left", fontsize=8, handlelength=4)


def clipped(ax: Axes, exploding: list[Part], rates: tuple[float, ...]) -> None:
    """Right answers against the learning rate; a cross where training diverged."""
    shares = 100 * mean_over_seeds(exploding, "accuracy")
    diverged = mean_over_seeds(exploding, "diverged") > 0
    styles = [("#c1272d", "--", "s"), ("#1f5fa8", "-", "o")]
    for name, share, ended, style in zip(CLIPS, shares, diverged, styles, strict=True):
        colour, line, marker = style
        ax.plot(rates, share, marker, color=colour, linestyle=line, label=name)
        ax.plot(np.array(rates)[ended], share[ended], "x", color="black", markersize=11)
    ax.plot([], [], "x", color="black", markersize=11, label="diverged: no answers")
    ax.axhline(50, color="0.5", linewidth=0.8)
    ax.set(
        xscale="log",
        xlabel="learning rate of plain descent",
        ylabel="right answers (%)",
        ylim=(-4, 104),
        title=f"Exploding: ReLU from {EXPLODING} · I, lag {EXPLODING_LAG}",
    )
    ax.legend(loc="lower left")


def run(options: Options, out: Output) -> harness.Result:
    """Every network at every lag, and clipping at every rate; then the figure and the table."""
    lags, seeds = options.lags, options.all_seeds
    chosen = networks(options.hidden)
    chosen = {name: network for name, network in chosen.items() if name in options.cell}
    parts = {
        name: [
            out.part(f"{name}-seed{seed}", partial(across_lags, network, options, seed))
            for seed in seeds
        ]
        for name, network in chosen.items()
    }
    exploding = [
        out.part(f"exploding-seed{seed}", partial(across_rates, options, seed)) for seed in seeds
    ]

    learned = {
        clip: [int((part["accuracy"][i] >= LEARNED).sum()) for part in exploding]
        for i, clip in enumerate(CLIPS)
    }
    reached = {name: [reach(part, lags) for part in each] for name, each in parts.items()}
    mean_reach = {name: float(np.mean(each)) for name, each in reached.items()}
    mean_learned = {name: float(np.mean(each)) for name, each in learned.items()}

    told = threshold([part for each in parts.values() for part in each])
    by_label = {chosen[name].label: mean for name, mean in mean_reach.items()}
    finding = in_words(by_label, mean_learned, told, len(options.rates))
    found = [(network, parts[name]) for name, network in chosen.items()]
    out.figure(draw(found, exploding, told, finding, options))
    return harness.Result(
        finding=" ".join(finding),
        rows={
            name: [
                {"reach": far}
                | by_lag("accuracy", lags, part["accuracy"])
                | by_lag("left", lags, part["left"])
                for far, part in zip(reached[name], parts[name], strict=True)
            ]
            for name in chosen
        }
        | {
            f"exploding, {clip}": [
                {
                    "rates": count,
                    "diverged": int(part["diverged"][i].sum()),
                    f"left_{EXPLODING_LAG}": float(part["left"][i].mean()),
                }
                for count, part in zip(learned[clip], exploding, strict=True)
            ]
            for i, clip in enumerate(CLIPS)
        },
        baselines=baselines(lags, seeds[0]),
        columns=[
            harness.Column("reach", "longest lag\nrecalled", ".0f"),
            *(
                harness.Column(f"accuracy_{lag}", f"{'right at lag' * (i == 0)}\n{lag}", ".2f")
                for i, lag in enumerate(lags)
            ),
            *(
                harness.Column(f"left_{lag}", f"{'log₁₀ left at lag' * (i == 0)}\n{lag}", ".1f")
                for i, lag in enumerate(lags)
            ),
            harness.Column("rates", f"of {len(options.rates)} rates\nlearned", ".1f"),
            harness.Column("diverged", "\ndiverged", ".1f"),
        ],
        borne_out=bears_out(mean_reach, mean_learned),
    )


def _labels(found: Found) -> dict[str, str]:
    """Of the networks in `result.json`."""
    return {name: networks(1)[name].label for name in found["cell"]}


def _reach(found: Found, name: str) -> str:
    """The longest lag recalled, with its deviation over the seeds."""
    row = found["results"][name]
    deviation = row.get("deviation", {}).get("reach", 0)
    spread = f" ± {deviation:.0f}" if deviation else ""
    return f"{row['mean']['reach']:.0f}{spread}"


def _reaches(found: Found, *, but: str = "") -> str:
    """Of all networks but one."""
    return ", ".join(
        f"{label} {_reach(found, name)}" for name, label in _labels(found).items() if name != but
    )


def _several(found: Found) -> str:
    """What stands behind a ±, where there is one."""
    count = len(found["seeds"])
    return f", mean ± deviation over {count} seeds" if count > 1 else ""


def _told(found: Found) -> Threshold:
    """How well the gradient before training foretold who would learn."""
    return threshold(
        [
            {
                name: np.array([each[f"{name}_{lag}"] for lag in found["lags"]])
                for name in ("left", "accuracy")
            }
            for network in found["cell"]
            for each in found["results"][network]["each"]
        ]
    )


def _clipping(found: Found) -> str:
    """At how many rates the exploding network learned."""

    def told(clip: str) -> str:
        mean = found["results"][f"exploding, {clip}"]["mean"]
        return f"learns at {mean['rates']:.2g} and diverges at {mean['diverged']:.2g}"

    return (
        f"of {len(found['rates'])} learning rates, plain descent {told('not clipped')} in the mean "
        f"over the seeds; with the gradient's norm clipped to {CLIPS['clipped']:g} it "
        f"{told('clipped')}"
    )


SECTION = Section(
    place=10,
    title="The cures, measured",
    text=lambda found: [
        "If the gradient vanishes because the same matrix is multiplied in at every step, then let "
        "that matrix neither shrink nor stretch. An orthogonal matrix does neither, nor does the "
        "identity, which under ReLU leaves a positive state as it was. Gates go another way: in an "
        "LSTM the memory is multiplied by the forget gate, `c_t = f_t c_{t-1} + i_t g_t`, a number "
        "between 0 and 1 for each unit, and the gradient is multiplied by the same number on its "
        "way back. So the bias it begins with is the memory it begins with: at bias 0 the gate "
        "stands half open, `0.5` a step; at bias 1, `0.73`; chrono, which alone is told the lag, "
        "draws the biases so that the units' memories last from one step to the lag. A GRU has one "
        "gate for both, `h_t = z_t h_{t-1} + (1 - z_t) n_t`. The LRU multiplies each unit by a "
        "complex number just inside the unit circle.",
        "The test is the plainest there is: one bit is shown, noise follows, and then the bit is "
        "asked for. Half of all answers are right by chance. The longest lags recalled after "
        f"{found['steps']} training steps{_several(found)}: {_reaches(found)}. "
        f"The lags tried were {', '.join(map(str, found['lags']))}; who recalls the last one might "
        "go further. White marks in the figure are lags at which, in the mean over the seeds, less "
        f"than {100 * LEARNED:.0f} % of the answers were right. Do they lie low? "
        f"Call a training hopeless where less than {share_of(_told(found).left)} of the gradient "
        "is left across the lag before it begins (the dashed line, drawn where it serves best); "
        f"{_told(found).right} of {_told(found).count} trainings are called rightly; "
        f"{_told(found).stuck} had gradient enough and failed all the same: it is needed, but not "
        "all that is needed. (A sum over the signal's input would answer without any training, as "
        "the table shows; the question is what a network finds by descent.)",
        "The gradient may explode as well: multiplied by more than 1 at every step, it grows until "
        "one update throws the weights out of all bounds. Clipping keeps its direction and bounds "
        f"its length. On a network that begins at {EXPLODING} times the identity, "
        f"{_clipping(found)}. The claim of this section, that tanh as torch starts it reaches "
        "least far, that the LSTM's reach grows with its bias, and that clipping helps, is "
        f"{'borne out' if found['borne_out'] else 'not borne out'} by the networks of this run.",
    ],
    alt=lambda found: (
        "Above, a table of right answers by network and lag, dark where the bit is recalled; the "
        f"longest lags recalled are: {_reaches(found)}. Below left, the "
        "gradient left across each lag before training, a line a network, filled marks where it "
        "then learned, white ones where not, and a dashed line at "
        f"{share_of(_told(found).left)}. Below right, right answers against the learning rate: "
        f"{_clipping(found)}."
    ),
    code=[recall, relu_identity, reach],
    exercise=Exercise(
        "Suppose that an LSTM's forget gate stands at `σ(b)`, whatever the input. With bias "
        "`b = 1` that is 0.73. Which bias keeps half of the memory, and so of its gradient, over "
        "100 steps?",
        "`σ(b)^100 = 0.5` asks for `σ(b) = 0.5^(1/100)` = 0.9931, and "
        "`b = ln(0.9931 / 0.0069)` = 4.97. Chrono would give such a bias to units meant for about "
        "`e^4.97` = 144 steps.",
        number=4.97,
    ),
)
