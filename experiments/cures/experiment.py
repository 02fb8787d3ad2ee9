"""One bit, then noise: which networks learn to recall it, and across how many steps."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import lecun_normal, normal

import rnnjax
from experiments.cures.comparing import (
    Threshold,
    bears_out,
    in_words,
    reach,
    threshold,
)
from experiments.cures.options import EXPLODING, EXPLODING_LAG, LEARNED, TESTED, Options
from experiments.lab import harness
from experiments.lab.cores import Trained, side_by_side
from experiments.lab.output import Output, Part
from experiments.measures.seeds import spread
from experiments.models.starts import as_torch
from experiments.style import STYLES, Style
from rnnjax import cells
from rnnjax.initializers import chrono, orthogonal, scaled_identity
from rnnjax.training import NonFiniteError, fit

INPUTS = 2  # the signal and the noise
CLIPS = {"not clipped": None, "clipped": 1.0}  # largest norm of the gradient


class Network(NamedTuple):
    """How a network is drawn, and its recurrence, made for a lag."""

    style: Style
    cell: Callable[[int], rnnjax.Cell]


def networks(hidden: int, names: Sequence[str]) -> dict[str, Network]:
    """Those of these names, in the order of the figure."""
    elman, lstm = (partial(make, INPUTS, hidden) for make in (cells.elman, cells.lstm))

    def chrono_lstm(lag: int) -> rnnjax.Cell:
        return lstm(forget_bias=0.0, bias_init=chrono(lag + 1, forget=1, remember=0))

    fixed = {
        "tanh": elman(kernel_init=as_torch),
        "tanh-orthogonal": elman(kernel_init=orthogonal()),
        "relu-identity": relu_identity(hidden, scale=1.0),
        "gru": cells.gru(INPUTS, hidden),
        "lstm-0": lstm(forget_bias=0.0),
        "lstm-1": lstm(forget_bias=1.0),
        "lru": cells.lru(INPUTS, hidden, r_min=0.9, r_max=0.999),
    }
    made: dict[str, Callable[[int], rnnjax.Cell]] = {
        name: partial(lambda cell, lag: cell, cell) for name, cell in fixed.items()
    }
    made["lstm-chrono"] = cache(chrono_lstm)
    labels = {"tanh": "tanh (torch's default)", "lru": "LRU (rings near 1)"}
    return {
        name: Network(STYLES[name]._replace(label=labels.get(name, STYLES[name].label)), made[name])
        for name in STYLES
        if name in names
    }


@cache
def relu_identity(hidden: int, *, scale: float) -> rnnjax.Cell:
    """ReLU whose W_hh starts as scale · I; it adds up all the noise, so W_xh starts small."""
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
    told: jax.Array = outputs[-1] @ params["readout"] + params["bias"]
    return told


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
    """Accuracy on new sequences."""
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

    Its numbers: `accuracy`, on new sequences; `left`, log10
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


def baselines(lags: tuple[int, ...], seed: int) -> dict[str, Mapping[str, float]]:
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


def learning_rates(part: Part, clip: str) -> int:
    """At how many the exploding network learned."""
    return int((part["accuracy"][list(CLIPS).index(clip)] >= LEARNED).sum())


def rows_of(
    parts: Mapping[str, list[Part]], exploding: list[Part], lags: tuple[int, ...]
) -> dict[str, Sequence[Mapping[str, float]]]:
    """Of the table: the networks, a number a lag; the exploding one, clipped and not."""
    found: dict[str, Sequence[Mapping[str, float]]] = {
        name: [
            {"reach": reach(part, lags)}
            | by_lag("accuracy", lags, part["accuracy"])
            | by_lag("left", lags, part["left"])
            for part in each
        ]
        for name, each in parts.items()
    }
    for place, clip in enumerate(CLIPS):
        found[f"exploding, {clip}"] = [
            {
                "rates": learning_rates(part, clip),
                "diverged": int(part["diverged"][place].sum()),
                f"left_{EXPLODING_LAG}": float(part["left"][place].mean()),
            }
            for part in exploding
        ]
    return found


def columns(options: Options) -> list[harness.Column]:
    """Of the table."""
    return [
        harness.Column("reach", "longest lag\nrecalled", ".0f"),
        *(
            harness.Column(f"accuracy_{lag}", f"{'accuracy at lag' * (i == 0)}\n{lag}", ".2f")
            for i, lag in enumerate(options.lags)
        ),
        *(
            harness.Column(f"left_{lag}", f"{'log₁₀ left at lag' * (i == 0)}\n{lag}", ".1f")
            for i, lag in enumerate(options.lags)
        ),
        harness.Column("rates", f"of {len(options.rates)} rates\nlearned", ".1f"),
        harness.Column("diverged", "\ndiverged", ".1f"),
    ]


class Shown(NamedTuple):
    """What the figure is made from.

    Attributes:
      networks: by name.
      parts: of every network, a seed each.
      exploding: the parts of `across_rates`.
      threshold: of the gradient.
      options: of the run.
    """

    networks: dict[str, Network]
    parts: dict[str, list[Part]]
    exploding: list[Part]
    threshold: Threshold
    options: Options


def run(options: Options, out: Output) -> harness.Result:
    """Every network at every lag, and clipping at every rate."""
    lags, seeds = options.lags, options.all_seeds
    chosen = networks(options.hidden, options.cell)
    parts = {
        name: out.each_seed(name, seeds, partial(across_lags, network, options))
        for name, network in chosen.items()
    }
    exploding = out.each_seed("exploding", seeds, partial(across_rates, options))

    learned = {clip: [learning_rates(part, clip) for part in exploding] for clip in CLIPS}
    reached = {name: [reach(part, lags) for part in each] for name, each in parts.items()}
    mean_reach = {name: spread(each) for name, each in reached.items()}
    mean_learned = {name: float(np.mean(each)) for name, each in learned.items()}
    told = threshold([part for each in parts.values() for part in each])
    by_label = {chosen[name].style.label: value for name, value in mean_reach.items()}
    return harness.Result(
        finding=in_words(by_label, mean_learned, told, len(options.rates)),
        rows=rows_of(parts, exploding, lags),
        baselines=baselines(lags, seeds[0]),
        columns=columns(options),
        borne_out=bears_out(mean_reach, mean_learned),
        shown=Shown(chosen, parts, exploding, told, options),
        extra={"threshold": told._asdict()},
    )
