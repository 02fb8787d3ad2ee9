"""Networks that correct a simple forecast, against forecasts that need no network."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.data.new_york import HourlyWeather, new_york_weather
from experiments.lab import harness
from experiments.lab.output import Output, Part
from experiments.measures.seeds import mean_over_seeds
from experiments.temperature.options import Options
from experiments.temperature.scores import coverage, gains, scores, verdict
from experiments.temperature.task import (
    HORIZONS,
    OWN,
    PAST,
    PERSISTENCE,
    SEASONAL,
    Task,
    all_past,
    blend,
    naive,
    own_past,
    prepare,
)
from rnnjax import cells
from rnnjax.interop.nnx import RNN
from rnnjax.training import fit

SETTLE = 12  # first hours of a window, after which the network has not read enough to be trained
# Short, since they label the rows of a figure.
RIVAL, NETWORK, ROUGH = "linear blend", "GRU on the linear blend", "GRU on persistence"
SIMPLE = (PERSISTENCE, SEASONAL, OWN)
RMSE = [f"rmse_{horizon}" for horizon in HORIZONS]


class Forecaster(nnx.Module):
    """Corrections of a base forecast at all horizons and airports, after every hour read."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, dropout: float, rngs: nnx.Rngs
    ) -> None:
        # What is dropped is hidden for the whole window: no airport or instrument is relied on.
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1,))
        self.rnn = RNN(cells.gru(inputs, hidden), rngs=rngs)
        # Zeros, so that training begins at the base forecast.
        self.readout = nnx.Linear(hidden, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, inputs: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """`[B, T, D]` to `[B, T, K * A]`; nothing is dropped without a key."""
        if key is not None:
            inputs = self.dropout(inputs, rngs=nnx.Rngs(dropout=key))
        return self.readout(self.rnn(inputs))


class Batch(NamedTuple):
    """The last hours `[B]` of windows, and a key for what is dropped."""

    last: jax.Array
    key: jax.Array


def study(task: Task, base: np.ndarray, options: Options, seed: int, metrics: Path) -> Part:
    """Trains a network to correct the `base` forecast; its forecast `[N, K, A]`.

    There is one in the validation and the test part only; elsewhere it is NaN.
    """
    missing = task.truth - base
    training = task.split.training
    scale = np.sqrt(np.mean(missing[training] ** 2, axis=(0, 2)))[:, None]
    weight = np.zeros_like(missing)
    weight[training] = task.known[training]
    count = len(missing)
    inputs, wanted, weights = (
        jnp.asarray(array.reshape(count, -1), jnp.float32)
        for array in (task.inputs, missing / scale, weight)
    )

    model = Forecaster(
        inputs.shape[1], options.hidden, wanted.shape[1], dropout=options.dropout,
        rngs=nnx.Rngs(harness.key(seed, "network")),
    )  # fmt: skip
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def window(last: jax.Array) -> jax.Array:
        """The hours `[B, PAST]` that end there."""
        return last[:, None] - PAST + 1 + jnp.arange(PAST)

    def loss(params: Any, batch: Batch) -> jax.Array:
        """Mean square over the forecasts of a window once the network has read enough."""
        hours = window(batch.last)
        given = nnx.merge(graph, params, rest)(inputs[hours], key=batch.key)
        scored = hours[:, SETTLE:]
        squares = weights[scored] * (given[:, SETTLE:] - wanted[scored]) ** 2
        return jnp.sum(squares) / jnp.sum(weights[scored])

    def correction(params: Any, last: jax.Array) -> jax.Array:
        """After the whole window, in °C, `[B, K, A]`."""
        given = nnx.merge(graph, params, rest)(inputs[window(last)])[:, -1]
        return given.reshape(-1, *missing.shape[1:]) * scale

    def watch(params: Any) -> dict[str, jax.Array]:
        some = task.split.validation[::7]  # enough for a look
        error = correction(params, some) - missing[some]
        return {
            f"rmse_validation_{horizon}": jnp.sqrt(
                jnp.mean(error[:, k] ** 2, where=task.known[some, k])
            )
            for k, horizon in enumerate(HORIZONS)
        }

    def sample(key: jax.Array) -> Batch:
        which, dropped = jax.random.split(key)
        return Batch(jax.random.choice(which, jnp.asarray(training), (options.batch,)), dropped)

    schedule = optax.cosine_decay_schedule(options.learning_rate, options.steps)
    fitted = fit(
        loss,
        params,
        sample,
        optax.adamw(schedule, weight_decay=options.weight_decay),
        steps=options.steps,
        key=harness.key(seed, "batches"),
        chunk=50,
        clip=1.0,
        monitor=watch,
        metrics=metrics,
        description="temperature",
    )
    forecast = np.full_like(base, np.nan)
    for hours in (task.split.validation, task.split.test):
        forecast[hours] = base[hours] + jax.jit(correction)(fitted.params, hours)
    return {"forecast": forecast}


class Compared(NamedTuple):
    """All models on one split.

    Attributes:
      task: what was to be forecast.
      network: forecast of the network with the first seed.
      rival: forecast of the linear blend.
      rows: numbers of the networks, a seed each.
      baselines: numbers of the others.
    """

    task: Task
    network: np.ndarray
    rival: np.ndarray
    rows: dict[str, list[dict[str, float]]]
    baselines: dict[str, dict[str, float]]

    def mean(self, name: str) -> dict[str, float]:
        """The numbers of a network, mean over the seeds."""
        return {
            number: float(mean_over_seeds(self.rows[name], number)) for number in self.rows[name][0]
        }


def compare(weather: HourlyWeather, cycles: int, options: Options, out: Output) -> Compared:
    """The baselines, and the networks with every seed."""
    task = prepare(weather, cycles)
    own = own_past(task)
    rival = blend(task, all_past(task), own)
    simple = {**naive(task), OWN: own}
    bases = {NETWORK: rival, ROUGH: simple[PERSISTENCE]}
    forecasts = {
        name: [
            blend(task, base, trained(task, name, base, cycles, options, seed, out))
            for seed in options.all_seeds
        ]
        for name, base in bases.items()
    }
    rows = {
        name: [
            scores(task, forecast) | coverage(task, forecast) | gain
            for forecast, gain in zip(
                each, gains(task, each, rival, seed=options.all_seeds[0]), strict=True
            )
        ]
        for name, each in forecasts.items()
    }
    baselines = {name: scores(task, found) for name, found in {**simple, RIVAL: rival}.items()}
    return Compared(task, forecasts[NETWORK][0], rival, rows, baselines)


def trained(
    task: Task, name: str, base: np.ndarray, cycles: int, options: Options, seed: int, out: Output
) -> np.ndarray:
    """The mean forecast of several networks, which differ in nothing but their seeds."""
    parts = [
        out.part(
            f"cycles{cycles}-{name.split()[-1]}-seed{seed}-{member}",
            partial(study, task, base, options, seed * options.members + member),
        )
        for member in range(options.members)
    ]
    return mean_over_seeds(parts, "forecast")


def is_below(network: Mapping[str, float], simple: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the network's error is below that of every simple model, at every horizon."""
    return all(network[name] < simple[model][name] for model in SIMPLE for name in RMSE)


def bears_out(found: Compared) -> bool:
    """Whether it is so, and at no horizon clearly worse than the linear blend."""
    network = found.mean(NETWORK)
    clearly_worse = any(network[f"gain_high_{horizon}"] < 0 for horizon in HORIZONS)
    return is_below(network, found.baselines) and not clearly_worse


def in_words(found: Compared) -> str:
    """The finding on one split; numbers are means over the seeds."""
    network, simple = found.mean(NETWORK), found.baselines
    told = []
    for horizon, rmse in zip(HORIZONS, RMSE, strict=True):
        best = min(SIMPLE, key=lambda name, rmse=rmse: simple[name][rmse])
        against = verdict(network[f"gain_low_{horizon}"], network[f"gain_high_{horizon}"])
        told.append(
            f"{horizon} h {network[rmse]:.2f} °C ({best} {simple[best][rmse]:.2f}; against the "
            f"{RIVAL}: {against})"
        )
    return f"{', '.join(told)}."


def in_pieces(name: str, cycles: int) -> str:
    """A model on another split than the first, in the table."""
    return f"{name}, {cycles} pieces"


def run(options: Options, out: Output) -> harness.Result:
    """Every split; the figure of the first, and one table."""
    weather = new_york_weather()
    splits = {cycles: compare(weather, cycles, options, out) for cycles in options.cycles}
    first, *others = splits.values()
    rows, baselines = dict(first.rows), dict(first.baselines)
    finding = f"Errors ahead: {in_words(first)}"
    for cycles, split in zip(options.cycles[1:], others, strict=True):
        rows |= {in_pieces(name, cycles): each for name, each in split.rows.items()}
        baselines |= {in_pieces(name, cycles): each for name, each in split.baselines.items()}
        finding += f" In {cycles} pieces: {in_words(split)}"
    return harness.Result(
        finding=finding,
        rows=rows,
        baselines=baselines,
        columns=[
            *at_horizons("rmse", "RMSE (°C)\ntest", ".2f"),
            *at_horizons("rmse_validation", "\nvalidation", ".2f"),
            *at_horizons("gain", "saved over the\nlinear blend (%)", ".1f"),
            *at_horizons("coverage_fixed", "covered\n(%)", ".0f"),
        ],
        borne_out=all(map(bears_out, splits.values())),
        shown=first,
        data=weather.provenance,
    )


def at_horizons(name: str, header: str, form: str) -> list[harness.Column]:
    """A column for each horizon, under one header of two lines."""
    above = [header, *["\n"] * (len(HORIZONS) - 1)]
    return [
        harness.Column(f"{name}_{horizon}", f"{lines}\n{horizon} h", form)
        for lines, horizon in zip(above, HORIZONS, strict=True)
    ]
