"""A state of 32 numbers remembers 32 inputs of white noise at most; training brings it nearer.

Claim: what a linear readout finds of earlier inputs in the hidden state, its R² summed over all
lags, is at most the count of numbers that the state holds, where the inputs are white noise;
every cell stays below it, and is brought nearer to it by training on recall. On weather, whose
past shows in its present, the state tells more of the past than the last input alone.

Source: linear memory capacity, Jaeger 2002 (Short term memory in echo state networks), section
2; its bound, proposition 2; the cells, Elman 1990, Le and others 2015 (ReLU with the identity),
Cho and others 2014, Hochreiter and Schmidhuber 1997, Orvieto and others 2023, Feng and others
2024.

Run time: about 100 s on two cores; 10 s with --quick, which takes one network and few steps.

Examples:
  python -m experiments.hidden_memory
  python -m experiments.hidden_memory --cell gru lstm --seeds 0,1,2 --out results/gated

How: every cell carries 32 numbers from step to step (an LSTM 16 and 16, an LRU 16 complex ones).
A ridge regression from all of them to the input k steps ago is fitted on one part and measured
on another, before and after training: on noise, to recall the last 32 inputs; on weather, to
forecast JFK's temperature 1, 6 and 24 hours ahead. Weather is fitted on January to August and
measured on the rest, after a gap of the longest lag. Nothing is chosen, so no part validates.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

NUMBERS = 32  # that every cell carries from step to step
NOISE_LAGS = 64  # lags at which the memory of noise is measured: twice what could be held
WEATHER_LAGS = 96  # hours, likewise for weather
HORIZONS = (1, 6, 24)  # hours ahead, of the forecasts of the weather
BLUR = 0.01  # the state is read with errors of this share of each number's deviation
WASHOUT = 2 * NOISE_LAGS  # steps of noise read before the first one that is measured
SHOWN = 72  # hours of the states that the page shows step by step
ALONE, LINE = "the last input alone", f"delay line of {NUMBERS}"
Name = Literal["tanh", "tanh-orthogonal", "relu-identity", "gru", "lstm", "lru", "min-gru"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    steps: int = 1000
    """Training steps."""
    batch: int = 32
    """Sequences in a training step."""
    length: int = 128
    """Steps of a training sequence."""
    learning_rate: float = 3e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    QUICK: ClassVar[dict[str, Any]] = {"cell": ("gru",), "steps": 60}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        # What is to be recalled must have been read.
        self.between("length", NUMBERS + 1, 1000)
        self.above_zero("steps", "batch", "learning_rate")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import lecun_normal, normal
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, MonthLocator, date2num
from matplotlib.figure import Figure, SubFigure

import rnnjax
from experiments.data.new_york import new_york_weather
from experiments.data.scaling import standardised
from experiments.lab.output import Output, Part
from experiments.measures.seeds import mean_over_seeds
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells
from rnnjax.initializers import orthogonal, scaled_identity
from rnnjax.training import fit


class Network(NamedTuple):
    """A recurrence that carries NUMBERS numbers and puts out all of them, and how it is drawn."""

    label: str
    cell: rnnjax.Cell
    colour: str
    line: Any


def networks() -> dict[str, Network]:
    """The contenders, by the name that `--cell` takes; each reads one number a step."""
    # Small inputs leave tanh almost linear, where it forgets least.
    elman = partial(cells.elman, 1, NUMBERS, input_init=normal(0.1))
    half = NUMBERS // 2
    lstm = cells.lstm(1, half)._replace(output=lambda s: jnp.concatenate([s.c, s.h], axis=-1))
    return {
        "tanh": Network("tanh (random)", elman(kernel_init=lecun_normal()), "#c1272d", "-"),
        "tanh-orthogonal": Network(
            "tanh (orthogonal)", elman(kernel_init=orthogonal()),
            "#7b3fa0", (0, (4, 1.5, 1, 1.5)),
        ),
        "relu-identity": Network(
            "ReLU (identity)", elman(activation=jax.nn.relu, kernel_init=scaled_identity()),
            "#d98200", (0, (6, 2)),
        ),
        "gru": Network("GRU", cells.gru(1, NUMBERS), "#1b7837", (0, (2, 1))),
        "lstm": Network("LSTM", lstm, "#1f5fa8", (0, (10, 3))),
        "lru": Network("LRU", cells.lru(1, half), "#17889b", (0, (5, 1, 1, 1, 1, 1))),
        "min-gru": Network("minGRU", cells.min_gru(1, NUMBERS), "#8c510a", (0, (1, 1))),
    }  # fmt: skip


def past(inputs: np.ndarray, lags: int) -> np.ndarray:
    """`[T, ...]` to `[T, ..., lags + 1]`: the inputs 0 to `lags` steps ago, zeros before all."""
    padded = np.concatenate([np.zeros((lags, *inputs.shape[1:])), inputs])
    return np.stack([padded[lags - k : len(padded) - k] for k in range(lags + 1)], axis=-1)


def memory(
    states: np.ndarray, wanted: np.ndarray, fitted: Any, measured: Any
) -> tuple[np.ndarray, np.ndarray]:
    """How much of `wanted` `[n, K]` a linear readout finds in `states` `[n, S]`.

        R²_k = 1 - Σ (wanted_k - (states W + b)_k)² / Σ (wanted_k - its mean)²

    W and b are fitted on some rows, R² measured on others. The penalty is that of reading
    every state with an independent error of BLUR times its deviation: what is there only in
    the last digits is not remembered.

    Returns:
      R² `[K]`, below zero where the mean would have been nearer; and the mean square error `[K]`.
    """
    mean, deviation = states[fitted].mean(axis=0), states[fitted].std(axis=0)
    # A unit that never moves tells nothing.
    read = (states - mean) / np.where(deviation > 0, deviation, 1)
    level = wanted[fitted].mean(axis=0)
    gram = read[fitted].T @ read[fitted]
    gram += len(read[fitted]) * BLUR**2 * np.eye(len(gram))
    weights = np.linalg.solve(gram, read[fitted].T @ (wanted[fitted] - level))
    error = np.mean((read[measured] @ weights + level - wanted[measured]) ** 2, axis=0)
    return 1 - error / wanted[measured].var(axis=0), error


def steps_back(remembered: np.ndarray) -> int:
    """How many steps in a row, from the latest on, are more than half remembered."""
    return int(np.argmax(np.append(remembered, 0) <= 0.5))


def study(
    network: Network, sample: Any, inputs: Any, options: Options, seed: int, metrics: Path
) -> list[np.ndarray]:
    """The states `[T, B, S]` over `inputs` `[T, B]`, before and after training a readout.

    `sample` gives inputs `[T, B, 1]`, targets `[T, B, K]` and from which step on they count.
    """
    _, targets, _ = jax.eval_shape(sample, harness.key(seed, "batches"))
    cell = network.cell
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
        told = states @ params["readout"] + params["bias"]
        counts = jnp.arange(len(inputs))[:, None, None] >= settled
        return jnp.mean((told - targets) ** 2, where=counts)

    def states(params: Any) -> jax.Array:
        given = jnp.asarray(inputs, jnp.float32)[..., None]
        return rnnjax.unroll(cell, params, given, fold=fold)[1]

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
            description=network.label,
        )
        pair = params["cell"], fitted.params["cell"]
        return [np.asarray(measuring.result()(each), np.float64) for each in pair]


def on_noise(network: Network, options: Options, seed: int, metrics: Path) -> Part:
    """R² of every lag in white noise, before and after training on recall, `[2, lags + 1]`."""

    def sample(key: jax.Array) -> Any:
        inputs = jax.random.normal(key, (options.length, options.batch, 1))
        targets = [jnp.roll(inputs, k, axis=0) for k in range(NUMBERS)]
        return inputs, jnp.concatenate(targets, axis=-1), NUMBERS - 1

    noise, *rest = noise_task(seed)
    over = study(network, sample, noise, options, seed, metrics)
    found = [memory(settled(states), *rest)[0] for states in over]
    return {"r2": np.stack(found)}


def settled(sequences: np.ndarray) -> np.ndarray:
    """The steps after WASHOUT, `[T, B, K]`, in rows `[n, K]`, one sequence after another."""
    return sequences[WASHOUT:].swapaxes(0, 1).reshape(-1, sequences.shape[-1])


def noise_task(seed: int) -> tuple[np.ndarray, np.ndarray, slice, slice]:
    """Noise `[T, B]`, its earlier inputs in rows, and the rows of each half of the sequences."""
    # Not much longer than what is trained on: a sum without end would drift far beyond that.
    noise = np.random.default_rng([seed, 1]).standard_normal((2 * WASHOUT, 320))
    wanted = settled(past(noise, NOISE_LAGS))
    return noise, wanted, slice(len(wanted) // 2), slice(len(wanted) // 2, None)


class Year(NamedTuple):
    """JFK's temperature over 2013, standardised by its first two thirds.

    Attributes:
      hours: `[N]`, in UTC.
      degrees: `[N]`, in °F, NaN where nothing was observed.
      values: `[N]`, standardised, the last observation where there is none.
      fitted: the hours that train networks and readouts.
      measured: those that tell what is remembered, a gap of WEATHER_LAGS after them.
    """

    hours: np.ndarray
    degrees: np.ndarray
    values: np.ndarray
    fitted: slice
    measured: slice


def year() -> tuple[Year, Any]:
    """The weather, and where it comes from."""
    weather = new_york_weather()
    place = weather.airports.index("JFK"), weather.features.index("temp")
    filled = weather.values[:, *place]
    degrees = np.where(weather.observed[:, *place], filled, np.nan)
    border = len(degrees) * 2 // 3
    fitted, measured = slice(WEATHER_LAGS, border), slice(border + WEATHER_LAGS, None)
    scaled = standardised(filled[:, None], training=fitted).values[:, 0]
    return Year(weather.hours, degrees, scaled, fitted, measured), weather.provenance


def on_weather(network: Network, year: Year, options: Options, seed: int, metrics: Path) -> Part:
    """Memory of the weather before and after training on forecasts, and the states after.

    `r2` and `error` `[2, lags + 1]`; `states` `[N, S]`.
    """
    values = jnp.asarray(year.values, jnp.float32)
    horizons = jnp.array(HORIZONS)

    def sample(key: jax.Array) -> Any:
        last = year.fitted.stop - options.length - max(HORIZONS)
        first = jax.random.randint(key, (options.batch,), 0, last)
        hours = first + jnp.arange(options.length)[:, None]
        inputs = values[hours][..., None]
        # The network begins at "as it is now", which needs no memory.
        return inputs, values[hours[..., None] + horizons] - inputs, NUMBERS

    over = study(network, sample, year.values[:, None], options, seed, metrics)
    wanted = past(year.values, WEATHER_LAGS)
    found = [memory(states[:, 0], wanted, year.fitted, year.measured) for states in over]
    r2, error = (np.stack(each) for each in zip(*found, strict=True))
    return {"r2": r2, "error": error, "states": over[1][:, 0].astype(np.float32)}


def beyond(error: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Of what the last input leaves open of each earlier one, the share that the state tells.

    `error` `[..., lags + 1]` and `alone` `[lags + 1]`; from lag 1 on, since x_t leaves nothing
    of itself open.
    """
    return 1 - error[..., 1:] / alone[1:]


def time_scales(states: np.ndarray) -> np.ndarray:
    """Steps `[S]` after which each unit's autocorrelation is first below 1/e."""
    moved = states - states.mean(axis=0)
    # Twice as long, so that the end does not meet the beginning.
    spectrum = np.abs(np.fft.rfft(moved, 2 * len(moved), axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[: len(moved)]
    return np.argmax(correlation <= correlation[0] / np.e, axis=0)


def row(noise: Part, weather: Part, alone: np.ndarray) -> dict[str, float]:
    """The numbers of one network and seed."""
    found = {}
    for index, when in enumerate(("before", "after")):
        told = beyond(weather["error"][index], alone)
        found |= {
            f"capacity_{when}": float(noise["r2"][index].sum()),
            f"steps_{when}": float(steps_back(noise["r2"][index])),
            f"beyond_{when}": float(told.mean()),
            f"r2_6_{when}": float(weather["r2"][index, 6]),
            f"r2_24_{when}": float(weather["r2"][index, 24]),
        }
    return found


def references(year: Year, seed: int) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The same measures for the last input alone, and for a delay line of NUMBERS inputs.

    Returns:
      A row of numbers each, and the curves of each.
    """
    _, wanted, *halves = noise_task(seed)
    hours = past(year.values, WEATHER_LAGS)
    curves = {}
    for label, length in ((ALONE, 1), (LINE, NUMBERS)):
        noise, _ = memory(wanted[:, :length], wanted, *halves)
        weather, error = memory(hours[:, :length], hours, year.fitted, year.measured)
        # No training changes them: the same before and after.
        curves[label] = (
            {"r2": np.stack([noise, noise])},
            {"r2": np.stack([weather, weather]), "error": np.stack([error, error])},
        )
    alone = curves[ALONE][1]["error"][0]
    return {label: row(*parts, alone) for label, parts in curves.items()}, curves


Studied = list[tuple[Network, list[Part], list[Part]]]  # on noise and on weather, one a seed


def draw(found: Studied, curves: dict[str, Any], year: Year) -> Figure:
    """Memory of noise, memory of weather, and a state over the year."""
    figure = Figure(figsize=(12, 13.5), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3.2, 3.2, 3.6])
    on_noise_drawn(top, found)
    on_weather_drawn(middle, found, curves)
    over_the_year(bottom, *shown(found), year)
    return figure


def dumbbells(ax: Axes, found: Studied, numbers: list[np.ndarray], least: float) -> None:
    """One row a network, from before training (open) to after it (filled).

    What is below `least` is an arrow at the edge.
    """
    for place, ((network, *_), pair) in enumerate(zip(found, numbers, strict=True)):
        style = {"color": network.colour}
        ax.plot(np.maximum(pair, least), [place, place], linestyle=network.line, **style)
        for number, inside in zip(pair, ("white", network.colour), strict=True):
            marker = "o" if number >= least else "<"
            ax.plot(max(number, least), place, marker, markerfacecolor=inside, **style)
    ax.set_yticks(range(len(found)), [network.label for network, *_ in found])
    ax.set_ylim(len(found) - 0.4, -0.6)


def on_noise_drawn(figure: SubFigure, found: Studied) -> None:
    """R² against the lag before and after training, and its sum."""
    before, after, sums = figure.subplots(1, 3, width_ratios=[4, 4, 3])
    for index, ax in enumerate((before, after)):
        ideal = np.arange(NOISE_LAGS + 1) < NUMBERS
        ax.step(np.arange(NOISE_LAGS + 1), ideal, ":", color="0.3", where="mid", label=LINE)
        for network, noise, _ in found:
            ax.plot(
                mean_over_seeds(noise, "r2")[index], linestyle=network.line, color=network.colour,
                label=network.label,
            )  # fmt: skip
        ax.set(xlabel="steps back", xlim=(0, NOISE_LAGS), ylim=(-0.03, 1.05))
    before.set(title="White noise, before training", ylabel="R² of reading that input")
    after.set_title(f"After training to recall {NUMBERS} inputs")
    before.legend(loc="upper right", handlelength=4, fontsize=9)
    dumbbells(sums, found, [mean_over_seeds(noise, "r2").sum(axis=1) for _, noise, _ in found], -1)
    sums.axvline(NUMBERS, color="0.3", linestyle=":")
    sums.set(xlabel=f"sum of R² (dotted: the bound, {NUMBERS})")
    sums.set_title("Capacity: ○ before, ● after")


def on_weather_drawn(figure: SubFigure, found: Studied, curves: dict[str, Any]) -> None:
    """R² against the lag after training, then what the state tells beyond the last input."""
    plain, more, sums = figure.subplots(1, 3, width_ratios=[4, 4, 3])
    lags = np.arange(WEATHER_LAGS + 1)
    alone = curves[ALONE][1]
    plain.plot(lags, alone["r2"][1], color="black", linewidth=2.5, label=ALONE)
    for network, _, weather in found:
        style = {"linestyle": network.line, "color": network.colour}
        plain.plot(lags, mean_over_seeds(weather, "r2")[1], **style)
        told = beyond(mean_over_seeds(weather, "error")[1], alone["error"][0])
        more.plot(lags[1:], told, **style)
    for ax in (plain, more):
        ax.set(xlabel="hours back", xlim=(0, WEATHER_LAGS))
        ax.set_xticks(range(0, WEATHER_LAGS + 1, 24))
    plain.legend(loc="lower left")
    plain.set(title="Weather: the state against x(t) alone", ylabel="R² of reading that hour")
    more.set(title="Share of what x(t) leaves open", ylim=(-0.2, 1.03))
    more.axhline(0, color="0.6", linewidth=0.8)
    told = [
        beyond(mean_over_seeds(weather, "error"), alone["error"][0]).mean(axis=1)
        for *_, weather in found
    ]
    dumbbells(sums, found, told, -0.1)
    sums.set(xlabel="mean share over the lags\n(◁: below the scale)")
    sums.set_title("○ before, ● after forecasting")


def shown(found: Studied) -> tuple[Network, np.ndarray]:
    """The GRU, or the first there is, and its states over the year for the first seed."""
    network, _, weather = next((f for f in found if f[0].label == "GRU"), found[0])
    return network, weather[0]["states"].astype(float)


def over_the_year(figure: SubFigure, network: Network, states: np.ndarray, year: Year) -> None:
    """The temperature, and below it every unit, the slowest on top."""
    figure.suptitle(f"The trained {network.label}'s state over the year, a row a unit")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 3])
    often = slice(WEATHER_LAGS, None, 6)  # six-hourly is as fine as can be seen
    above.plot(year.hours[often], year.degrees[often], color="0.3", linewidth=0.8)
    above.set_ylabel("°F at JFK")
    scales = time_scales(states)
    order = np.argsort(-scales)
    moved = states - states.mean(axis=0)
    # Signs mean nothing: each unit is turned so that it is red where it is warm.
    moved *= np.sign(moved.T @ year.values)
    moved /= np.maximum(moved.std(axis=0), 1e-12)
    when = date2num(year.hours[often])
    image = below.imshow(
        moved[often, order].T, aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5,
        extent=(when[0], when[-1], len(order) - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    some = np.linspace(0, len(order) - 1, 6, dtype=int)
    below.set_yticks(some, [duration(scales[order[place]]) for place in some])
    below.set_ylabel("time scale of the unit")
    below.xaxis.set_major_locator(MonthLocator())
    below.xaxis.set_major_formatter(DateFormatter("%b"))
    figure.colorbar(image, ax=[above, below], label="deviations from its mean", pad=0.01)


def duration(hours: int) -> str:
    """In hours up to two days."""
    return f"{hours} h" if hours <= 48 else f"{hours / 24:.0f} days"


def in_words(
    rows: dict[str, list[dict[str, float]]], labels: dict[str, str], alone: dict[str, float]
) -> str:
    """The finding; numbers are means over the seeds."""

    def mean(name: str, number: str) -> float:
        return float(np.mean([seed[number] for seed in rows[name]]))

    after = {name: mean(name, "capacity_after") for name in rows}
    most, least = max(after, key=after.__getitem__), min(after, key=after.__getitem__)
    ends = [
        f"{labels[name]} {mean(name, 'capacity_before'):.1f} before training on recall and "
        f"{after[name]:.1f} after"
        for name in dict.fromkeys([most, least])
    ]
    day = {name: mean(name, "r2_24_after") for name in rows}
    best = max(day, key=day.__getitem__)
    return (
        f"Of {NUMBERS} inputs of noise that could be remembered, {', '.join(ends)}. Of JFK's "
        f"temperature a day ago the last one alone tells R² {alone['r2_24_after']:.2f}, the state "
        f"of {labels[best]} {day[best]:.2f}."
    )


def step_by_step(found: Studied, year: Year) -> dict[str, Any]:
    """For the page: every network's state over some days in the middle of what was measured."""
    middle = (year.measured.start + len(year.hours)) // 2
    hours = slice(middle, middle + SHOWN)
    return {
        "step": "hour",
        "labels": [str(hour).replace("T", " ") + "h UTC" for hour in year.hours[hours]],
        "inputs": [
            {"label": "temperature at JFK", "unit": "°F", "values": year.degrees[hours].round(1)}
        ],
        "cells": [
            {"label": network.label, "h": weather[0]["states"][hours].astype(float).round(3)}
            for network, _, weather in found
        ],
    }


def paragraphs(found: Found) -> list[str]:
    """The section on the page."""
    rows = {name: result["mean"] for name, result in found["results"].items()}
    labels = {name: network.label for name, network in networks().items()}
    alone = found["baselines"][ALONE]
    most = max(rows, key=lambda name: rows[name]["capacity_after"])
    least = min(rows, key=lambda name: rows[name]["capacity_after"])
    day = max(rows, key=lambda name: rows[name]["r2_24_after"])
    ends = ", ".join(
        f"{labels[name]} from {rows[name]['capacity_before']:.1f} to "
        f"{rows[name]['capacity_after']:.1f}"
        for name in dict.fromkeys([most, least])
    )
    outcome = (
        "Training to recall brought this sum nearer to the bound in every network of this run"
        if found["borne_out"]
        else "This run does not bear the claim out: see the table for a network whose capacity "
        "training did not raise, that is above the bound, or that tells nothing of the weather"
    )
    less = [
        labels[name] for name in rows if rows[name]["beyond_after"] < rows[name]["beyond_before"]
    ]
    forgot = (
        f" Over all lags, {', '.join(less)} told less of it after learning to forecast than "
        f"before, {len(rows) - len(less)} of {len(rows)} networks more."
        if less
        else ""
    )
    return [
        "All that a recurrent network knows of earlier inputs is in its hidden state. What is "
        "in there? Try to read it: fit a straight line from the state's numbers to the input k "
        "steps ago on one part of the data, and see on another part how much of that input it "
        "tells (R²: 1 is all, 0 is nothing, below 0 is worse than saying the mean). With white "
        "noise, where no input tells anything of "
        "another, the R² of all lags together cannot be more than the count of numbers in the "
        f"state, {NUMBERS} here: what is remembered must be stored, and the store is full.",
        f"{outcome}. In {found['steps']} training steps the sum went in the {ends}. Recall of "
        f"{NUMBERS} inputs would fill the state exactly, as a delay line does that shifts its "
        "numbers by one every step. A state "
        "that keeps one thing forever must not take in others; one that takes in all must let "
        "go: how to strike that bargain is what sets the cells apart. "
        "Of these, tanh and ReLU are the recurrence drawn above, told apart by the weights they "
        "begin with. GRU and LSTM have gates, which the cures explain; a minGRU is a GRU whose "
        "gate looks at the input alone; the LRU is a linear recurrence of complex numbers.",
        "Weather is not noise: the temperature now tells that of a day ago with an R² of "
        f"{alone['r2_24_after']:.2f} without any memory. So what counts is what the state tells "
        f"beyond that: with the trained {labels[day]}'s it is {rows[day]['r2_24_after']:.2f}, with "
        f"a {LINE} hours {found['baselines'][LINE]['r2_24_after']:.2f}.{forgot} In the strip each "
        "row is a unit over the year: some follow the hours, some the passing of warm and cold "
        "air, some the season. The season is in the temperature that they read: a unit that only "
        "copied it would look as slow, so that a long time scale is no proof of memory. Below, "
        f"step through {SHOWN // 24} days and watch the units move.",
    ]


def in_a_picture(found: Found) -> str:
    """The figure in words."""
    labels = {name: network.label for name, network in networks().items()}
    each = "; ".join(
        f"{labels[name]} {result['mean']['capacity_before']:.1f} before training and "
        f"{result['mean']['capacity_after']:.1f} after, more than half of each input up to lag "
        f"{result['mean']['steps_after']:.0f}"
        for name, result in found["results"].items()
    )
    return (
        f"Memory of white noise falls with the lag; its sum, at most {NUMBERS}: {each}. In the "
        "middle the same for weather, where the last input alone already tells much. At the "
        "bottom the units of a trained network over the year as a strip of colours, the slowest "
        "on top, where winter and summer show."
    )


def run(options: Options, out: Output) -> harness.Result:
    """Every network on noise and on weather, with every seed; the figure and the table."""
    weather, provenance = year()
    chosen = {name: net for name, net in networks().items() if name in options.cell}
    found = [
        (
            network,
            [
                out.part(f"{name}-noise-seed{seed}", partial(on_noise, network, options, seed))
                for seed in options.all_seeds
            ],
            [
                out.part(
                    f"{name}-weather-seed{seed}",
                    partial(on_weather, network, weather, options, seed),
                )
                for seed in options.all_seeds
            ],
        )
        for name, network in chosen.items()
    ]
    baselines, curves = references(weather, options.all_seeds[0])
    alone = curves[ALONE][1]["error"][0]
    rows = {
        name: [row(noise, over, alone) for noise, over in zip(*seeds, strict=True)]
        for name, (_, *seeds) in zip(chosen, found, strict=True)
    }
    out.figure(draw(found, curves, weather))
    out.write_json("lesson.json", step_by_step(found, weather), indent=None)
    labels = {name: network.label for name, network in chosen.items()}
    return harness.Result(
        finding=in_words(rows, labels, baselines[ALONE]),
        rows=rows,
        baselines=baselines,
        columns=[
            harness.Column("capacity_before", "noise:\ncapacity\nbefore", ".1f"),
            harness.Column("capacity_after", "\n\nafter", ".1f"),
            harness.Column("steps_before", "steps\nback\nbefore", ".0f"),
            harness.Column("steps_after", "\n\nafter", ".0f"),
            harness.Column("r2_6_before", "weather: R²\n6 h ago\nbefore", ".2f"),
            harness.Column("r2_6_after", "\n\nafter", ".2f"),
            harness.Column("r2_24_before", "R²\n24 h ago\nbefore", ".2f"),
            harness.Column("r2_24_after", "\n\nafter", ".2f"),
            harness.Column("beyond_before", "share beyond\nx(t) alone\nbefore", ".2f"),
            harness.Column("beyond_after", "\n\nafter", ".2f"),
        ],
        borne_out=all(
            seed["capacity_before"] < seed["capacity_after"] <= NUMBERS and seed["beyond_after"] > 0
            for seeds in rows.values()
            for seed in seeds
        ),
        data=provenance,
    )


SECTION = Section(
    place=6,
    title="The hidden state as memory",
    text=paragraphs,
    alt=in_a_picture,
    code=[memory, steps_back],
    exercise=Exercise(
        question=(
            "A network carries 50 numbers from step to step. Someone says that it remembers each "
            "of the last 80 inputs of white noise with an R² of 0.8. What is the largest mean R² "
            "over these 80 lags that there can be?"
        ),
        answer=(
            "50 / 80 = 0.625: the R² of all lags together is at most 50. On other inputs more "
            "would be possible, since there an input tells of its neighbours."
        ),
        number=50 / 80,
    ),
    widget="states",
)
