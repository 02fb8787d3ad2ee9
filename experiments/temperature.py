"""A network forecasts the temperature better than persistence, the season and an autoregression.

Claim: told 48 hours of weather at New York's three airports, a recurrent network that corrects
a linear model forecasts the temperature 1, 6 and 24 hours ahead with smaller errors than
persistence, the seasonal naive forecast and an autoregression on 48 hours with the clock, and
is at no horizon surely worse than the linear model of the same inputs. Whether it is better
than that one is told by a paired bootstrap, where "no difference found" is an answer.

Source: the rival models, Hyndman and Athanasopoulos, Forecasting: Principles and Practice,
sections 5.2 and 12.3; resampling blocks, Künsch 1989; intervals, Vovk, Gammerman and Shafer
2005, and Lei and others 2018.

Run time: about 100 s on two cores; 11 s with --quick, which trains one small network.

Examples:
  python -m experiments.temperature
  python -m experiments.temperature --cycles 1 3 6 --seeds 0,1,2 --out results/seasons

How: January to August train, September and October choose models and widths of intervals,
November and December test: in use, too, what is forecast comes after all that was learned. A
forecast belongs to a part only if the 48 hours that it reads and the 24 that it tells of all
lie in it, so that no window straddles a border. Then all is done once more with each quarter of
the year cut in the same way (--cycles 1 4 are both): every season is in every part, but training
hours lie after test hours. The claim is about both. The linear model lies between a vector
autoregression and each airport's own, the network's forecast between the linear model and what
the network would make of it, as validation has it for each horizon. That was settled after the
test figures of models without it had been seen, so that only another year would be new.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.lab import harness

HORIZONS = (1, 6, 24)  # hours ahead
PAST = 48  # hours read
SETTLE = 12  # first hours of a window, after which the network has not read enough to be trained
BLOCK = 5 * 24  # hours in a row that are resampled together: errors go with the weather
RESAMPLES = 4000
RECENT = 30 * 24  # hours whose errors make the interval that keeps up
LEVEL = 0.9  # of the truths that the intervals should cover
STRETCH = 12 * 24  # hours of which the forecast is drawn
NETWORK, RIVAL = "GRU on the linear model", "linear, same inputs"
ROUGH = "GRU on persistence"  # without the linear model
OWN = f"autoregression, {PAST} h"
SIMPLE = ("persistence", "seasonal naive", OWN)
RMSE = [f"rmse_{horizon}" for horizon in HORIZONS]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cycles: tuple[int, ...] = (1, 4)
    """Pieces of the year that are each cut into training, validation and test; a split each."""
    hidden: int = 32
    """Hidden units."""
    members: int = 4
    """Networks whose mean is the forecast."""
    steps: int = 400
    """Training steps."""
    batch: int = 64
    """Windows in a training step."""
    learning_rate: float = 1e-3
    """Of AdamW, at the start; it falls to zero along a cosine."""
    weight_decay: float = 1.0
    """Of AdamW: how far the weights are drawn to zero."""
    dropout: float = 0.5
    """Share of the inputs that are hidden from the network in a training window."""

    QUICK: ClassVar[dict[str, Any]] = {"cycles": (1,), "hidden": 8, "members": 1, "steps": 40}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        # From six cycles on, a part is hardly longer than the block that is resampled.
        self.each_once("cycles")
        if not all(1 <= cycles <= 6 for cycles in self.cycles):
            raise ValueError(f"--cycles: expected 1 to 6, got {self.cycles}; choose others")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"--dropout: expected 0 to below 1, got {self.dropout}; choose another"
            )
        self.above_zero("hidden", "members", "steps", "batch", "learning_rate")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

import math
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure, SubFigure

from experiments.data.new_york import HourlyWeather, new_york_weather
from experiments.data.scaling import standardised
from experiments.lab.output import Output, Part
from experiments.measures.intervals import block_bootstrap, conformal
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells
from rnnjax.interop.nnx import RNN
from rnnjax.training import fit

GREEN, BLUE, RED, GREY = "#1b7837", "#1f5fa8", "#c1272d", "0.35"


class Split(NamedTuple):
    """The hours after which a forecast is made, by part."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Task(NamedTuple):
    """What is known after every hour, and what is to be forecast from it.

    Attributes:
      hours: `[N]`, in UTC.
      airports: the A places.
      inputs: `[N, D]`: first the temperatures, then the other observations of all places,
        standardised by the training hours, then the clock.
      now: `[N, A]`, the temperature in °F.
      truth: `[N, K, A]`, the temperature at the K horizons.
      known: `[N, K, A]`, whether that was observed; what was not is never scored.
      split: the hours of each part.
    """

    hours: np.ndarray
    airports: tuple[str, ...]
    inputs: np.ndarray
    now: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    split: Split

    def rmse(self, forecast: np.ndarray, hours: np.ndarray) -> np.ndarray:
        """Root mean square error `[K]` of `forecast` `[N, K, A]` over some hours, in °F."""
        squares = (forecast - self.truth)[hours] ** 2
        return np.sqrt(np.mean(squares, axis=(0, 2), where=self.known[hours]))


def divide(count: int, cycles: int) -> Split:
    """Two thirds of each cycle train, a sixth validates, a sixth tests, in this order.

    Only hours whose window, from PAST hours back to the farthest horizon, is in one part.
    """
    label = np.repeat(np.tile([0, 0, 0, 0, 1, 2], cycles), math.ceil(count / (6 * cycles)))[:count]
    border = np.cumsum(np.diff(label, prepend=0) != 0)
    hours = np.arange(PAST - 1, count - max(HORIZONS))
    whole = hours[border[hours - PAST + 1] == border[hours + max(HORIZONS)]]
    return Split(*(whole[label[whole] == part] for part in range(3)))


def prepare(weather: HourlyWeather, cycles: int) -> Task:
    """Inputs, targets and parts."""
    count = len(weather.hours)
    split = divide(count, cycles)
    temperature = weather.features.index("temp")
    order = [temperature, *(i for i in range(len(weather.features)) if i != temperature)]
    # A feature's columns side by side, one an airport; the temperatures first.
    columns = weather.values[:, :, order].transpose(0, 2, 1).reshape(count, -1)
    day = 2 * np.pi * (weather.hours.astype(int) % 24) / 24
    year = 2 * np.pi * (weather.hours - weather.hours[0]).astype(int) / (24 * 365.25)
    clock = [turn(angle) for angle in (day, 2 * day, year) for turn in (np.sin, np.cos)]
    scaled = standardised(columns, training=split.training)
    ahead = np.minimum(np.arange(count)[:, None] + np.array(HORIZONS), count - 1)
    return Task(
        hours=weather.hours,
        airports=weather.airports,
        inputs=np.concatenate([scaled.values, np.stack(clock, axis=1)], axis=1),
        now=weather.values[:, :, temperature],
        truth=weather.values[ahead, :, temperature],
        known=weather.observed[ahead, :, temperature],
        split=split,
    )


def naive(task: Task) -> dict[str, np.ndarray]:
    """Forecasts `[N, K, A]` that need no fitting; 24 hours ahead the two are one."""
    same_hour = np.arange(len(task.now))[:, None] + np.array(HORIZONS) - 24
    return {
        "persistence": np.repeat(task.now[:, None], len(HORIZONS), axis=1),
        "seasonal naive": task.now[np.maximum(same_hour, 0)],
    }


def lagged(inputs: np.ndarray, order: int) -> np.ndarray:
    """`[N, order * D]`: the last `order` hours after every hour; the first hours repeat."""
    back = np.maximum(np.arange(len(inputs))[:, None] - np.arange(order), 0)
    return inputs[back].reshape(len(inputs), -1)


def ridge(
    past: np.ndarray, truth: np.ndarray, fitted: np.ndarray, penalties: tuple[float, ...]
) -> list[np.ndarray]:
    """Forecasts `[N, A]` by least squares on the hours `fitted`, one for each penalty.

    minimise ‖truth - past W - b‖² + penalty ‖W‖²
    """
    mean, level = past[fitted].mean(axis=0), truth[fitted].mean(axis=0)
    centred = past - mean
    values, vectors = np.linalg.eigh(centred[fitted].T @ centred[fitted])
    turned = vectors.T @ (centred[fitted].T @ (truth[fitted] - level))
    return [
        centred @ (vectors @ (turned / (values + penalty)[:, None])) + level
        for penalty in penalties
    ]


def autoregression(task: Task) -> np.ndarray:
    """Each airport's temperature from its own last PAST hours and the clock."""
    clock = task.inputs[:, -6:]
    forecast = np.empty_like(task.truth)
    for airport in range(len(task.airports)):
        past = np.concatenate([lagged(task.inputs[:, [airport]], PAST), clock], axis=1)
        for k in range(len(HORIZONS)):
            known = task.split.training[task.known[task.split.training, k, airport]]
            # The penalty only keeps the equations solvable.
            (found,) = ridge(past, task.truth[:, k, [airport]], known, (1e-6,))
            forecast[:, k, airport] = found[:, 0]
    return forecast


def linear(task: Task) -> np.ndarray:
    """A vector autoregression on all that the network is told.

    How many hours it reads and how far its weights are drawn to zero is chosen on the
    validation part, for each horizon.
    """
    penalties = (1.0, 10.0, 100.0, 1000.0, 10000.0)
    forecast = np.empty_like(task.truth)
    least = [np.inf] * len(HORIZONS)
    for order in (1, 2, 3, 6, 12, 24, PAST):
        # The clock of earlier hours tells nothing new.
        past = np.concatenate([lagged(task.inputs[:, :-6], order), task.inputs[:, -6:]], axis=1)
        known = task.split.training[task.known[task.split.training].all(axis=(1, 2))]
        stacked = task.truth.reshape(len(past), -1)
        for found in ridge(past, stacked, known, penalties):
            shaped = found.reshape(task.truth.shape)
            for k, error in enumerate(task.rmse(shaped, task.split.validation)):
                if error < least[k]:
                    least[k], forecast[:, k] = error, shaped[:, k]
    return forecast


def blend(task: Task, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between two forecasts `[N, K, A]`, as near to either as is best in the validation part."""
    shares = np.linspace(0, 1, 5)
    errors = [task.rmse(one + share * (other - one), task.split.validation) for share in shares]
    best = shares[np.argmin(errors, axis=0)]  # one for each horizon
    return one + best[:, None] * (other - one)


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

    It is told in the validation and the test part only, and is NaN elsewhere.
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
        told = nnx.merge(graph, params, rest)(inputs[hours], key=batch.key)
        scored = hours[:, SETTLE:]
        squares = weights[scored] * (told[:, SETTLE:] - wanted[scored]) ** 2
        return jnp.sum(squares) / jnp.sum(weights[scored])

    def correction(params: Any, last: jax.Array) -> jax.Array:
        """After the whole window, in °F, `[B, K, A]`."""
        told = nnx.merge(graph, params, rest)(inputs[window(last)])[:, -1]
        return told.reshape(-1, *missing.shape[1:]) * scale

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


def gain(task: Task, network: np.ndarray, rival: np.ndarray, *, seed: int) -> dict[str, float]:
    """By how many percent the network's mean square error is below the rival's, over the test.

    With the middle 95 % of what the mean difference would be in other weather.
    """
    hours = task.split.test
    known = task.known[hours]
    found = {}
    for k, horizon in enumerate(HORIZONS):
        squares = [
            np.sum((forecast - task.truth)[hours, k] ** 2, axis=1, where=known[:, k])
            for forecast in (rival, network)
        ]
        counts = known[:, k].sum(axis=1)
        unit = squares[0].sum() / counts.sum() / 100
        drawn = block_bootstrap(
            np.stack([squares[0] - squares[1], counts], axis=1),
            hours,
            block=BLOCK,
            draws=RESAMPLES,
            seed=seed,
        )
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]) / unit
        found[f"gain_{horizon}"] = float((squares[0] - squares[1]).sum() / counts.sum() / unit)
        found[f"gain_low_{horizon}"], found[f"gain_high_{horizon}"] = float(low), float(high)
    return found


def half_widths(task: Task, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the intervals at the test hours, for each horizon: `[n, K]` fixed, and keeping up.

    The fixed ones are those of the validation part. The others are made anew every hour, of
    the RECENT errors that can be known by then.
    """
    error = forecast - task.truth
    at = np.concatenate([task.split.validation, task.split.test])
    at.sort()
    fixed, recent = np.empty((2, len(task.split.test), len(HORIZONS)))
    for k, horizon in enumerate(HORIZONS):

        def of(hours: np.ndarray, k: int = k) -> float:
            return conformal(error[hours, k][task.known[hours, k]], LEVEL)

        fixed[:, k] = of(task.split.validation)
        for i, hour in enumerate(task.split.test):
            last = hour - horizon
            begin, end = np.searchsorted(at, [last - RECENT + 1, last + 1])
            recent[i, k] = of(at[begin:end])
    return fixed, recent


def scores(task: Task, forecast: np.ndarray) -> dict[str, float]:
    """RMSE at every horizon."""
    validation = task.rmse(forecast, task.split.validation)
    test = task.rmse(forecast, task.split.test)
    named = {f"rmse_validation_{h}": float(x) for h, x in zip(HORIZONS, validation, strict=True)}
    return named | {f"rmse_{h}": float(x) for h, x in zip(HORIZONS, test, strict=True)}


def row(task: Task, forecast: np.ndarray, rival: np.ndarray, *, seed: int) -> dict[str, float]:
    """The numbers of one network and seed."""
    error = np.abs(forecast - task.truth)[task.split.test]
    found = scores(task, forecast) | gain(task, forecast, rival, seed=seed)
    for name, half in zip(("fixed", "recent"), half_widths(task, forecast), strict=True):
        covered = 100 * np.mean(
            error <= half[:, :, None], axis=(0, 2), where=task.known[task.split.test]
        )
        for k, horizon in enumerate(HORIZONS):
            found[f"coverage_{name}_{horizon}"] = float(covered[k])
            found[f"width_{name}_{horizon}"] = float(2 * half[:, k].mean())
    return found


def verdict(low: float, high: float) -> str:
    """What a 95 % interval of the gain says."""
    return "better" if low > 0 else "worse" if high < 0 else "no difference found"


def is_below(network: Found, simple: Found) -> bool:
    """Whether the network's error is below that of every simple model, at every horizon."""
    return all(network[name] < simple[model][name] for model in SIMPLE for name in RMSE)


def bears_out(network: Found, simple: Found) -> bool:
    """Whether it is so, and at no horizon surely worse than the linear model."""
    surely_worse = any(network[f"gain_high_{horizon}"] < 0 for horizon in HORIZONS)
    return is_below(network, simple) and not surely_worse


def in_words(network: Found, simple: Found) -> str:
    """The finding on one split; numbers are means over the seeds."""
    found = []
    for horizon, rmse in zip(HORIZONS, RMSE, strict=True):
        best = min(SIMPLE, key=lambda name, rmse=rmse: simple[name][rmse])
        against = verdict(network[f"gain_low_{horizon}"], network[f"gain_high_{horizon}"])
        found.append(
            f"{horizon} h {network[rmse]:.2f} °F ({best} {simple[best][rmse]:.2f}; against the "
            f"linear model: {against})"
        )
    return f"{', '.join(found)}."


class Compared(NamedTuple):
    """All models on one split.

    Attributes:
      task: what was to be forecast.
      network: forecast of the network with the first seed.
      rival: forecast of the linear model.
      rows: numbers of the networks, a seed each.
      baselines: numbers of the others.
      means: of `rows` over the seeds.
    """

    task: Task
    network: np.ndarray
    rival: np.ndarray
    rows: dict[str, list[dict[str, float]]]
    baselines: dict[str, dict[str, float]]
    means: dict[str, dict[str, float]]


def draw(found: Compared, cycles: int) -> Figure:
    """Errors of all models; gain and coverage; a forecast over the truth."""
    figure = Figure(figsize=(12, 11), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3, 2.6, 3.4])
    errors(top, found.means, found.baselines)
    left, right = middle.subplots(1, 2)
    gains(left, found.means[NETWORK])
    coverage(right, found.means[NETWORK])
    stretch(bottom.subplots(), found.task, found.network, found.rival)
    tested = "the last sixth" if cycles == 1 else f"the last sixth of each of {cycles} pieces"
    figure.suptitle(f"Temperature at New York's airports, tested on {tested} of 2013", fontsize=13)
    return figure


def errors(
    figure: SubFigure, rows: dict[str, dict[str, float]], baselines: dict[str, dict[str, float]]
) -> None:
    """A panel a horizon, a row a model; networks filled and green, the others open."""
    models = {**baselines, **rows}
    for ax, horizon in zip(figure.subplots(1, len(HORIZONS), sharey=True), HORIZONS, strict=True):
        largest = max(model[f"rmse_{horizon}"] for model in models.values())
        for place, (name, model) in enumerate(models.items()):
            error = model[f"rmse_{horizon}"]
            colour, marker = (GREEN, "o") if name in rows else (GREY, "D")
            ax.plot([0, error], [place, place], ":", color=colour, linewidth=1)
            ax.plot(
                error,
                place,
                marker,
                color=colour,
                markerfacecolor=colour if name in rows else "white",
            )
            ax.text(error + 0.03 * largest, place, f"{error:#.4g}", va="center", color=colour)
        ax.set_yticks(range(len(models)), list(models))
        ax.set(xlim=(0, 1.2 * largest), ylim=(len(models) - 0.5, -0.5))
        ax.set(xlabel="RMSE (°F), test", title=f"{horizon} h ahead")


def gains(ax: Axes, network: dict[str, float]) -> None:
    """The network against the linear model, with the bootstrap's interval."""
    for place, horizon in enumerate(HORIZONS):
        value, low, high = (network[f"gain_{end}{horizon}"] for end in ("", "low_", "high_"))
        ax.plot([low, high], [place, place], "-", color=GREEN, linewidth=2)
        ax.plot([low, high], [place, place], "|", color=GREEN, markersize=12)
        ax.plot(value, place, "o", color=GREEN)
        ax.text(value, place - 0.16, f"{value:+.1f} %: {verdict(low, high)}", ha="center")
    ax.axvline(0, color="0.3", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(HORIZONS)), [f"{horizon} h" for horizon in HORIZONS])
    ax.set_ylim(len(HORIZONS) - 0.5, -0.6)
    ax.set_xlabel("mean square error saved (%): left of the line, the linear model is better")
    ax.set_title(f"{NETWORK} against {RIVAL}:\n95 % by resampling {BLOCK // 24}-day blocks")


def coverage(ax: Axes, network: dict[str, float]) -> None:
    """What share of the truths the network's intervals cover, and how wide they are."""
    kinds = (
        ("fixed", "of the validation part", BLUE, "s", -0.12),
        ("recent", f"of the last {RECENT // 24} days", RED, "^", 0.12),
    )
    for kind, label, colour, marker, shift in kinds:
        for place, horizon in enumerate(HORIZONS):
            covered, width = (network[f"{x}_{kind}_{horizon}"] for x in ("coverage", "width"))
            ax.plot(
                covered, place + shift, marker, color=colour, label=None if place else label,
                linestyle="",
            )  # fmt: skip
            ax.text(
                covered - 0.8,
                place + shift,
                f"{covered:.0f} %, {width:.1f} °F wide",
                va="center",
                ha="right",
                color=colour,
            )
    ax.axvline(100 * LEVEL, color="0.3", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(HORIZONS)), [f"{horizon} h" for horizon in HORIZONS])
    ax.set(xlim=(50, 100), ylim=(len(HORIZONS) - 0.5, -0.6))
    ax.set_xlabel(f"truths inside the interval (%); dashed: the {100 * LEVEL:.0f} % promised")
    ax.set_title("Conformal intervals of the network,\nas wide as the errors ...")
    ax.legend(loc="upper left")


def stretch(ax: Axes, task: Task, forecast: np.ndarray, rival: np.ndarray) -> None:
    """The day-ahead forecasts in the middle of the test part, over what came."""
    k, airport = len(HORIZONS) - 1, len(task.airports) - 1
    middle = (len(task.split.test) - STRETCH) // 2
    shown = slice(max(middle, 0), middle + STRETCH)
    hours = task.split.test[shown]
    half = half_widths(task, forecast)[1][shown, k]
    when = task.hours[hours] + np.timedelta64(HORIZONS[k], "h")
    centre = forecast[hours, k, airport]
    ax.fill_between(
        when, centre - half, centre + half, color=GREEN, alpha=0.15, linewidth=0,
        label=f"{100 * LEVEL:.0f} % interval, of the last {RECENT // 24} days' errors",
    )  # fmt: skip
    came = np.where(task.known[hours, k, airport], task.truth[hours, k, airport], np.nan)
    ax.plot(when, came, color="black", linewidth=1.6, label="what came")
    ax.plot(when, centre, color=GREEN, linestyle=(0, (6, 1.5)), label=NETWORK)
    ax.plot(when, rival[hours, k, airport], color=BLUE, linestyle=(0, (1, 1)), label=RIVAL)
    ax.xaxis.set_major_formatter(DateFormatter("%d %b"))
    ax.set(ylabel=f"°F at {task.airports[airport]}", xlim=(when[0], when[-1]))
    ax.set_title(f"Forecast {HORIZONS[k]} h before, in the middle of the test part")
    ax.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, -0.08), frameon=False)


def mean_over(seeds: list[dict[str, float]]) -> dict[str, float]:
    """Of every number of a row."""
    return {name: float(np.mean([seed[name] for seed in seeds])) for name in seeds[0]}


def paragraphs(found: Found) -> list[str]:
    """The section on the page."""
    first, *others = found["cycles"]
    network, other = (found["results"][name]["mean"] for name in (NETWORK, ROUGH))
    baselines = found["baselines"]
    cut = (
        "January to August train, September and October choose, November and December test"
        if first == 1
        else f"each of {first} pieces of the year is cut into four sixths that train, one that "
        "chooses and one that tests"
    )
    ahead = [f"{horizon} {'hour' if horizon == 1 else 'hours'}" for horizon in HORIZONS]

    def listed(model: Found, form: str, name: str) -> str:
        each = [format(model[f"{name}_{horizon}"], form) for horizon in HORIZONS]
        return f"{', '.join(each[:-1])} and {each[-1]}"

    verdicts = []
    for when, h in zip(ahead, HORIZONS, strict=True):
        gain, low, high = (network[f"gain_{end}{h}"] for end in ("", "low_", "high_"))
        verdicts.append(
            f"{when} ahead {verdict(low, high)} ({gain:+.1f} %, {low:+.1f} to {high:+.1f})"
        )
    below = "below" if is_below(network, baselines) else "not below"
    again = "".join(
        f" With the year cut into {cycles} pieces, each with its own test, the errors are "
        f"{listed(found['results'][in_pieces(NETWORK, cycles)]['mean'], '.2f', 'rmse')} °F, those "
        "of the autoregression "
        f"{listed(baselines[in_pieces(OWN, cycles)], '.2f', 'rmse')}, of the linear model "
        f"{listed(baselines[in_pieces(RIVAL, cycles)], '.2f', 'rmse')}."
        for cycles in others
    )
    return [
        f"A network has read the last {PAST} hours at three airports (temperature, dew point, "
        f"humidity, rain, pressure, sight, wind, and the clock) and tells the temperature "
        f"{', '.join(ahead[:-1])} and {ahead[-1]} ahead. In this run {cut}. A window "
        "that would reach over a border is left out, or the last hours trained on would be the "
        "first ones tested on. What no instrument observed is never scored.",
        "First what costs little: it stays as it is (persistence); it is as at the same hour of "
        "the day before (seasonal naive); or it is a weighted sum of its own last "
        f"{PAST} hours and of the clock (autoregression). The figure has the errors of all three; "
        f"those of the autoregression are {listed(baselines[OWN], '.2f', 'rmse')} °F (root of the "
        f"mean square). The network's forecast is the mean of {found['members']} trainings; with "
        f"{listed(network, '.2f', 'rmse')} °F it is {below} all three at every horizon. But it "
        "does not start from nothing: it corrects a linear model that is told the same, as far as "
        "that serves in validation, and the linear model alone reaches "
        f"{listed(baselines[RIVAL], '.2f', 'rmse')} °F. A network that must correct persistence "
        f"instead reaches {listed(other, '.2f', 'rmse')} °F: it must first find what the linear "
        "model says.",
        "Is the network better than its linear model? To answer, days in a row of the test are "
        "drawn anew, thousands of times, always the same days for both. By the mean square error "
        f"saved, with its 95 % interval, it is {'; '.join(verdicts)}. Weather a few hours ahead is "
        f"close to linear in what is seen now, so that little is left to find.{again} One year is "
        "one draw of the weather. And how the models are made was settled after looking at tests "
        "like these, so that only another year would be a new one.",
        "How sure is a forecast? Take the errors in the validation part, and an interval so wide "
        f"that {100 * LEVEL:.0f} % of them lie inside it: it would cover as large a share of the "
        "truths to come, if what comes "
        f"is like what was. It covered {listed(network, '.0f', 'coverage_fixed')} %. Where that "
        "is too few, the weather was more changeable than when the width was chosen, or the "
        "choices made on those very errors had made them small. Widths of "
        f"the errors of the last {RECENT // 24} days, chosen anew every hour, covered "
        f"{listed(network, '.0f', 'coverage_recent')} %.",
    ]


def in_a_picture(found: Found) -> str:
    """The figure in words."""
    networks = {name: found["results"][name]["mean"] for name in (NETWORK, ROUGH)}
    network = networks[NETWORK]
    models = {name: found["baselines"][name] for name in (*SIMPLE, RIVAL)} | networks
    errors = "; ".join(
        f"{name} {', '.join(format(model[f'rmse_{horizon}'], '.2f') for horizon in HORIZONS)}"
        for name, model in models.items()
    )
    intervals = "; ".join(
        f"{h} h {network[f'gain_{h}']:+.1f} %, {network[f'gain_low_{h}']:+.1f} to "
        f"{network[f'gain_high_{h}']:+.1f}, covered {network[f'coverage_fixed_{h}']:.0f} %"
        for h in HORIZONS
    )
    return (
        f"Errors in °F {', '.join(map(str, HORIZONS))} hours ahead: {errors}. Below, what the "
        f"network saves over the linear model, and how many truths its intervals cover: "
        f"{intervals}. At the bottom {STRETCH // 24} days of day-ahead forecasts over what came: "
        "both models follow the course of the day, and miss the sudden changes."
    )


def compare(weather: HourlyWeather, cycles: int, options: Options, out: Output) -> Compared:
    """The baselines, and the networks with every seed."""
    task = prepare(weather, cycles)
    own = autoregression(task)
    rival = blend(task, linear(task), own)
    simple = {**naive(task), OWN: own}
    bases = {NETWORK: rival, ROUGH: simple["persistence"]}
    forecasts: dict[str, list[np.ndarray]] = {name: [] for name in bases}
    for (name, base), seed in ((pair, s) for pair in bases.items() for s in options.all_seeds):
        parts = [
            out.part(
                f"cycles{cycles}-{name.split()[-1]}-seed{seed}-{member}",
                partial(study, task, base, options, seed * options.members + member),
            )
            for member in range(options.members)
        ]
        mean = np.mean([part["forecast"] for part in parts], axis=0)
        forecasts[name].append(blend(task, base, mean))
    rows = {
        name: [
            row(task, forecast, rival, seed=seed)
            for seed, forecast in zip(options.all_seeds, each, strict=True)
        ]
        for name, each in forecasts.items()
    }
    baselines = {name: scores(task, found) for name, found in {**simple, RIVAL: rival}.items()}
    means = {name: mean_over(seeds) for name, seeds in rows.items()}
    return Compared(task, forecasts[NETWORK][0], rival, rows, baselines, means)


def in_pieces(name: str, cycles: int) -> str:
    """A model on another split than the first, in the table."""
    return f"{name}, {cycles} pieces"


def run(options: Options, out: Output) -> harness.Result:
    """Every split; the figure of the first, and one table."""
    weather = new_york_weather()
    splits = {cycles: compare(weather, cycles, options, out) for cycles in options.cycles}
    first, *others = splits.values()
    rows, baselines = dict(first.rows), dict(first.baselines)
    finding = f"Errors ahead: {in_words(first.means[NETWORK], baselines)}"
    for cycles, split in zip(options.cycles[1:], others, strict=True):
        rows |= {in_pieces(name, cycles): each for name, each in split.rows.items()}
        baselines |= {in_pieces(name, cycles): each for name, each in split.baselines.items()}
        finding += f" In {cycles} pieces: {in_words(split.means[NETWORK], split.baselines)}"
    out.figure(draw(first, options.cycles[0]))
    return harness.Result(
        finding=finding,
        rows=rows,
        baselines=baselines,
        columns=[
            harness.Column("rmse_1", "RMSE\n(°F)\n1 h", ".3f"),
            harness.Column("rmse_6", "\n\n6 h", ".2f"),
            harness.Column("rmse_24", "\n\n24 h", ".2f"),
            harness.Column("rmse_validation_1", "in\nvalidation\n1 h", ".3f"),
            harness.Column("rmse_validation_6", "\n\n6 h", ".2f"),
            harness.Column("rmse_validation_24", "\n\n24 h", ".2f"),
            harness.Column("gain_1", "saved over\nlinear (%)\n1 h", ".1f"),
            harness.Column("gain_6", "\n\n6 h", ".1f"),
            harness.Column("gain_24", "\n\n24 h", ".1f"),
            harness.Column("coverage_fixed_1", "covered\n(%)\n1 h", ".0f"),
            harness.Column("coverage_fixed_6", "\n\n6 h", ".0f"),
            harness.Column("coverage_fixed_24", "\n\n24 h", ".0f"),
        ],
        borne_out=all(
            bears_out(split.means[NETWORK], split.baselines) for split in splits.values()
        ),
        data=weather.provenance,
    )


SECTION = Section(
    place=13,
    title="Temperature: a use where a straight line is hard to beat",
    text=paragraphs,
    alt=in_a_picture,
    code=[block_bootstrap, conformal],
    exercise=Exercise(
        question=(
            "A validation part gave 19 errors, sorted by size. Which of them, counted from the "
            "smallest, is the half-width of an interval that covers the next truth with a "
            "probability of 90 %? And in the table, compare the coverage with the year in one "
            "piece and in several: what makes the difference, and what is its price?"
        ),
        answer=(
            "The 18th: the next error is as likely to come at any of 20 places among the sorted "
            "ones, and ⌈(19 + 1) · 0.9⌉ = 18 of those places are at or below the 18th. In "
            "several pieces every season is in every part, so that what comes is more like what "
            "was. The price: hours that train lie after hours that test, which in use they never "
            "do."
        ),
        number=18,
    ),
)
