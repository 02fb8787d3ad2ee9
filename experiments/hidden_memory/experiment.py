"""Seven networks read noise and weather; a linear readout then finds the past in their state."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import lecun_normal, normal

import rnnjax
from experiments.baselines.linear import ridge_path
from experiments.hidden_memory.options import NUMBERS, Options
from experiments.hidden_memory.tasks import (
    WEATHER_LAGS,
    Year,
    jfk_in_2013,
    past,
    settled,
    white_noise,
)
from experiments.lab import harness
from experiments.lab.output import Output, Part
from experiments.style import STYLES
from rnnjax import cells
from rnnjax.initializers import orthogonal, scaled_identity
from rnnjax.training import fit

HORIZONS = (1, 6, 24)  # hours ahead, of the weather forecasts
BLUR = 0.01  # the state is read with errors of this share of each number's deviation
ALONE, LINE = "latest input alone", f"delay line of {NUMBERS}"


def networks() -> dict[str, rnnjax.Cell]:
    """By the name that `--cell` takes: each reads one number a step and outputs its whole state."""
    # Small inputs keep tanh almost linear, where it forgets least.
    elman = partial(cells.elman, 1, NUMBERS, input_init=normal(0.1))
    half = NUMBERS // 2
    lstm = cells.lstm(1, half)
    return {
        "tanh": elman(kernel_init=lecun_normal()),
        "tanh-orthogonal": elman(kernel_init=orthogonal()),
        "relu-identity": elman(activation=jax.nn.relu, kernel_init=scaled_identity()),
        "gru": cells.gru(1, NUMBERS),
        "lstm": lstm._replace(output=lambda s: jnp.concatenate([s.c, s.h], axis=-1)),
        "lru": cells.lru(1, half),
        "min-gru": cells.min_gru(1, NUMBERS),
    }


def memory(
    states: np.ndarray, wanted: np.ndarray, fitted: slice, measured: slice
) -> tuple[np.ndarray, np.ndarray]:
    """How well a linear readout of `states` `[n, S]` predicts each column of `wanted` `[n, K]`.

        R²_k = 1 - Σ (wanted_k - (states W + b)_k)² / Σ (wanted_k - its mean)²

    W and b are fitted on some rows, R² is measured on others. The penalty is what reading every
    number with an independent error of BLUR times its deviation amounts to: a trace in the last
    digits does not count as memory.

    Returns:
      R² `[K]`, below zero where the mean would have been closer; the mean squared error `[K]`.
    """
    mean, deviation = states[fitted].mean(axis=0), states[fitted].std(axis=0)
    # A number that never changes predicts nothing.
    read = (states - mean) / np.where(deviation > 0, deviation, 1)
    level = wanted[fitted].mean(axis=0)
    penalty = len(read[fitted]) * BLUR**2
    (weights,) = ridge_path(read[fitted], wanted[fitted] - level, [penalty])
    error = np.mean((read[measured] @ weights + level - wanted[measured]) ** 2, axis=0)
    return 1 - error / wanted[measured].var(axis=0), error


def steps_back(remembered: np.ndarray) -> int:
    """How many lags in a row, from lag 0 on, have an R² above one half."""
    return int(np.argmax(np.append(remembered, 0) <= 0.5))


def beyond(error: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The share of the latest input's error that the state removes, from lag 1 on.

        share_k = 1 - error_k / alone_k

    Args:
      error: `[..., lags + 1]`, of reading the state.
      alone: `[lags + 1]`, of reading the latest input x_t alone; zero at lag 0.
    """
    share: np.ndarray = 1 - error[..., 1:] / alone[1:]
    return share


def states_before_and_after(
    name: str, sample: Any, inputs: np.ndarray, options: Options, seed: int, metrics: Path
) -> list[np.ndarray]:
    """The states `[T, B, S]` over `inputs` `[T, B]`, before and after training with a readout.

    `sample` draws inputs `[T, B, 1]`, targets `[T, B, K]` and the first step that counts.
    """
    cell = networks()[name]
    _, targets, _ = jax.eval_shape(sample, harness.key(seed, "batches"))
    # At this size the plain fold trains as fast as the default, and compiles sooner.
    fold = rnnjax.folds.scan()
    params = {
        "cell": jax.jit(cell.init)(harness.key(seed, "recurrence")),
        "readout": np.zeros((NUMBERS, targets.shape[-1]), np.float32),
        "bias": np.zeros(targets.shape[-1], np.float32),
    }

    def loss(params: Any, batch: Any) -> jax.Array:
        inputs, targets, settled = batch
        _, states = rnnjax.unroll(cell, params["cell"], inputs, fold=fold)
        predicted = states @ params["readout"] + params["bias"]
        counts = jnp.arange(len(inputs))[:, None, None] >= settled
        return jnp.mean((predicted - targets) ** 2, where=counts)

    def states(params: Any) -> jax.Array:
        given = jnp.asarray(inputs, jnp.float32)[..., None]
        _, states = rnnjax.unroll(cell, params, given, fold=fold)
        return states

    with ThreadPoolExecutor(1) as beside:
        # Compiled on the second core while the network trains.
        measuring = beside.submit(lambda: jax.jit(states).lower(params["cell"]).compile())
        fitted = fit(
            loss,
            params,
            sample,
            optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
            steps=options.steps,
            key=harness.key(seed, "batches"),
            clip=1.0,
            metrics=metrics,
            description=STYLES[name].label,
        )
        pair = params["cell"], fitted.params["cell"]
        return [np.asarray(measuring.result()(each), np.float64) for each in pair]


def on_noise(name: str, options: Options, seed: int, metrics: Path) -> Part:
    """R² of every lag in white noise, before and after training on recall, `[2, lags + 1]`."""

    def sample(key: jax.Array) -> Any:
        inputs = jax.random.normal(key, (options.length, options.batch, 1))
        targets = [jnp.roll(inputs, k, axis=0) for k in range(NUMBERS)]
        return inputs, jnp.concatenate(targets, axis=-1), NUMBERS - 1

    noise = white_noise(seed)
    both = states_before_and_after(name, sample, noise.inputs, options, seed, metrics)
    r2 = [memory(settled(s), noise.wanted, noise.fitted, noise.measured)[0] for s in both]
    return {"r2": np.stack(r2)}


def on_weather(name: str, year: Year, options: Options, seed: int, metrics: Path) -> Part:
    """Memory of the weather before and after training on forecasts, and the states after.

    `r2` and `error` `[2, lags + 1]`; `states` `[N, S]`.
    """
    values = jnp.asarray(year.values, jnp.float32)

    def sample(key: jax.Array) -> Any:
        last = year.fitted.stop - options.length - max(HORIZONS)
        first = jax.random.randint(key, (options.batch,), 0, last)
        hours = first + jnp.arange(options.length)[:, None]
        inputs = values[hours][..., None]
        # The network begins at "no change", which needs no memory.
        return inputs, values[hours[..., None] + jnp.array(HORIZONS)] - inputs, NUMBERS

    both = states_before_and_after(name, sample, year.values[:, None], options, seed, metrics)
    wanted = past(year.values[:, None], WEATHER_LAGS)[:, 0]
    found = [memory(states[:, 0], wanted, year.fitted, year.measured) for states in both]
    r2, error = (np.stack(each) for each in zip(*found, strict=True))
    return {"r2": r2, "error": error, "states": both[1][:, 0].astype(np.float32)}


class Studied(NamedTuple):
    """What was found of one network, or of a store that needs no training.

    Attributes:
      label: in the table.
      noise: `on_noise` for every seed.
      weather: `on_weather` for every seed.
    """

    label: str
    noise: list[Part]
    weather: list[Part]


class Shown(NamedTuple):
    """What the figure and the page are made from.

    Attributes:
      networks: by name.
      alone: of the latest input alone.
      year: the weather.
    """

    networks: dict[str, Studied]
    alone: Studied
    year: Year


def store(label: str, length: int, year: Year, seed: int) -> Studied:
    """The same measures for a state that holds the latest `length` inputs, and nothing else."""
    noise, hours = white_noise(seed), past(year.values[:, None], WEATHER_LAGS)[:, 0]
    r2, _ = memory(noise.wanted[:, :length], noise.wanted, noise.fitted, noise.measured)
    found = memory(hours[:, :length], hours, year.fitted, year.measured)
    # There is nothing to train: the same before and after.
    weather = {key: np.stack([each] * 2) for key, each in zip(("r2", "error"), found, strict=True)}
    return Studied(label, [{"r2": np.stack([r2] * 2)}], [weather])


def row(noise: Part, weather: Part, alone: np.ndarray) -> dict[str, float]:
    """The numbers of one network and seed."""
    found: dict[str, float] = {}
    for index, when in enumerate(("before", "after")):
        found |= {
            f"capacity_{when}": float(noise["r2"][index].sum()),
            f"steps_{when}": float(steps_back(noise["r2"][index])),
            f"beyond_{when}": float(beyond(weather["error"][index], alone).mean()),
            f"r2_24_{when}": float(weather["r2"][index, 24]),
        }
    return found


def in_words(rows: Mapping[str, Sequence[Mapping[str, float]]], alone: Mapping[str, float]) -> str:
    """The finding; numbers are means over the seeds."""

    def mean(label: str, number: str) -> float:
        return float(np.mean([seed[number] for seed in rows[label]]))

    capacities = ", ".join(
        f"{label} {mean(label, 'capacity_before'):.1f} → {mean(label, 'capacity_after'):.1f}"
        for label in rows
    )
    day = ", ".join(f"{label} {mean(label, 'r2_24_after'):.2f}" for label in rows)
    return (
        f"Memory capacity on noise, at most {NUMBERS}, before → after training on recall: "
        f"{capacities}. R² for the temperature a day ago: {ALONE} {alone['r2_24_after']:.2f}, "
        f"trained states {day}."
    )


def run(options: Options, out: Output) -> harness.Result:
    """Every network on noise and on weather, with every seed."""
    year, provenance = jfk_in_2013()

    def study(name: str) -> Studied:
        noise, weather = (
            out.each_seed(f"{name}-{task}", options.all_seeds, train)
            for task, train in (
                ("noise", partial(on_noise, name, options)),
                ("weather", partial(on_weather, name, year, options)),
            )
        )
        return Studied(STYLES[name].label, noise, weather)

    studied: dict[str, Studied] = {one: study(one) for one in networks() if one in options.cell}
    stores = [
        store(label, length, year, options.all_seeds[0])
        for label, length in ((ALONE, 1), (LINE, NUMBERS))
    ]
    alone = stores[0].weather[0]["error"][0]
    rows: dict[str, Sequence[Mapping[str, float]]] = {
        each.label: [row(*pair, alone) for pair in zip(each.noise, each.weather, strict=True)]
        for each in [*studied.values(), *stores]
    }
    baselines = {each.label: rows.pop(each.label)[0] for each in stores}
    return harness.Result(
        finding=in_words(rows, baselines[ALONE]),
        rows=rows,
        baselines=baselines,
        columns=[
            harness.Column("capacity_before", "noise:\ncapacity\nbefore", ".1f"),
            harness.Column("capacity_after", "\n\nafter", ".1f"),
            harness.Column("steps_before", "steps\nback\nbefore", ".0f"),
            harness.Column("steps_after", "\n\nafter", ".0f"),
            harness.Column("r2_24_before", "weather: R²\n24 h ago\nbefore", ".2f"),
            harness.Column("r2_24_after", "\n\nafter", ".2f"),
            harness.Column("beyond_before", "share beyond\nx(t) alone\nbefore", ".2f"),
            harness.Column("beyond_after", "\n\nafter", ".2f"),
        ],
        borne_out=all(
            seed["capacity_before"] < seed["capacity_after"] <= NUMBERS
            for seeds in rows.values()
            for seed in seeds
        ),
        shown=Shown(studied, stores[0], year),
        data=provenance,
    )
