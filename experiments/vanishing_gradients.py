"""Backward through time the gradient of a tanh network vanishes; other networks keep it longer.

Claim: the gradient of a loss at day T to the state at day T - lag falls off exponentially
with the lag in a tanh network, as the bound (‖W_hh‖₂)^lag demands where ‖W_hh‖₂ < 1; an
identity or orthogonal kernel, or gates, carry it further. Seen on real weather: each network
reads Seattle's daily weather and tells tomorrow's highest temperature.

Source: Pascanu, Mikolov and Bengio 2013, sections 2.1 and 2.2; Hochreiter and Schmidhuber 1997;
ReLU with the identity: Le, Jaitly and Hinton 2015.

Run time: about 45 s on two cores; 10 s with --quick, which takes two networks and few steps.

Examples:
  python -m experiments.vanishing_gradients
  python -m experiments.vanishing_gradients --cell gru --seeds 0,1,2 --out results/gru

How: the networks train on the forecasts of every day of a window. The gradient is measured
with a loss on the last day's forecast alone, so that what arrives at lag l has travelled
exactly l days. Training years 2012 and 2013, validation 2014, test 2015.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.common import harness

MONTH = 30  # days over which the singular values are taken
TESTED = 32  # windows of the test year over which the gradient is measured
DECOMPOSED = 4  # of these, those whose singular values are taken
Name = Literal["tanh", "relu-identity", "tanh-orthogonal", "gru", "lstm"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    window: int = 256
    """Days that a network reads before its last forecast."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 300
    """Training steps."""
    batch: int = 32
    """Windows in a training step."""
    learning_rate: float = 2e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    QUICK: ClassVar[dict[str, Any]] = {"cell": ("tanh", "relu-identity"), "window": 64, "steps": 20}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        if not self.cell or len(set(self.cell)) < len(self.cell):
            raise ValueError(f"--cell: expected each name once, got {self.cell}; drop doubles")
        # The spectrum needs a month, and training a choice of windows.
        if not MONTH < self.window <= 365:
            raise ValueError(f"--window: expected {MONTH + 1} to 365 days, got {self.window}")
        for name in ("hidden", "steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected a number above zero, got "
                    f"{getattr(self, name)}"
                )


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
from matplotlib.figure import Figure

import rnnjax
from experiments.common.data import Weather, seattle_weather, standardised
from experiments.common.output import Output, Part
from rnnjax import cells
from rnnjax.initializers import orthogonal, scaled_identity
from rnnjax.training import fit, gradient_monitor


class Network(NamedTuple):
    """A recurrence and how it is drawn.

    `slope` is sup|f'| where the whole recurrence is one kernel and one function f, so that
    (slope ‖W_hh‖₂)^lag bounds its gradient; None for gated cells.
    """

    label: str
    cell: rnnjax.Cell
    slope: float | None
    colour: str
    line: Any


def networks(features: int, hidden: int) -> dict[str, Network]:
    """The five contenders, by the name that `--cell` takes."""
    elman = partial(cells.elman, features, hidden)
    return {
        "tanh": Network(
            "tanh (small weights)",
            elman(kernel_init=normal(0.05), input_init=normal(0.1)),
            1.0, "#c1272d", "-",
        ),
        "relu-identity": Network(
            # Its units add up the whole window, so its input weights must be smaller still.
            "ReLU (identity)",
            elman(activation=jax.nn.relu, kernel_init=scaled_identity(), input_init=normal(0.01)),
            1.0, "#d98200", (0, (6, 2)),
        ),
        "tanh-orthogonal": Network(
            "tanh (orthogonal)",
            elman(kernel_init=orthogonal(), input_init=normal(0.1)),
            1.0, "#7b3fa0", (0, (4, 1.5, 1, 1.5)),
        ),
        "gru": Network("GRU", cells.gru(features, hidden), None, "#1b7837", (0, (2, 1))),
        "lstm": Network("LSTM", cells.lstm(features, hidden), None, "#1f5fa8", (0, (10, 3))),
    }  # fmt: skip


class Windows(NamedTuple):
    """What a network reads, and the next day's highest temperature after each day of it.

    Attributes:
      inputs: `[T, B, D]`.
      targets: `[T, B]`.
    """

    inputs: jax.Array
    targets: jax.Array


class Task(NamedTuple):
    """The weather as one row a day, standardised by the training years alone.

    Attributes:
      values: `[N, D]`; the first column is the highest temperature.
      degrees: °C in one unit of that column.
      validation: first day of the validation year.
      test: first day of the test year.
    """

    values: np.ndarray
    degrees: float
    validation: int
    test: int

    def windows(self, last_day: jax.Array, length: int) -> Windows:
        """The windows whose last day read is `last_day` `[B]`."""
        days = last_day - length + 1 + np.arange(length)[:, None]
        values = jnp.asarray(self.values, jnp.float32)
        return Windows(values[days], values[days + 1, 0])

    def rmse(self, error: jax.Array) -> jax.Array:
        """Root mean square of errors, in °C."""
        return self.degrees * jnp.sqrt(jnp.mean(error**2))


def prepare(weather: Weather) -> Task:
    """Trains on 2012 and 2013, validates on 2014, tests on 2015."""
    years = [day.year for day in weather.dates]
    validation, test = years.index(2014), years.index(2015)
    values = weather.values.copy()
    rain = weather.features.index("precipitation")
    values[:, rain] = np.log1p(values[:, rain])  # a few days of heavy rain must not dominate
    scaled = standardised(values, training=slice(0, validation))
    return Task(scaled.values, float(scaled.deviation[0]), validation, test)


def study(network: Network, task: Task, options: Options, seed: int, metrics: Path) -> Part:
    """Trains one network; what was measured before and after stands in rows 0 and 1."""
    cell, window = network.cell, options.window
    # For what is not trained, the plain fold: it compiles sooner.
    unroll_once = partial(rnnjax.unroll, fold=rnnjax.folds.scan())

    def forecast(params: Any, inputs: jax.Array, unroll: Any) -> jax.Array:
        """Tomorrow's highest temperature after every day of the window, `[T, B]`."""
        _, hidden = unroll(cell, params["cell"], inputs)
        return hidden @ params["readout"] + params["bias"]

    def training_loss(params: Any, batch: Windows, unroll: Any = rnnjax.unroll) -> jax.Array:
        """Over every day of the window."""
        return jnp.mean((forecast(params, batch.inputs, unroll) - batch.targets) ** 2)

    def last_loss(params: Any, batch: Windows, unroll: Any = rnnjax.unroll) -> jax.Array:
        """Over the last day alone: the gradient at lag l has travelled l days."""
        unroll = partial(unroll, fold=rnnjax.folds.scan())
        return jnp.mean((forecast(params, batch.inputs, unroll)[-1] - batch.targets[-1]) ** 2)

    def errors(params: Any, first: int, end: int) -> jax.Array:
        """Of the forecasts of the days from `first` to before `end`, each from its own window."""
        year = task.windows(np.arange(first - 1, end - 1), window)
        return forecast(params, year.inputs, unroll_once)[-1] - year.targets[-1]

    def tested() -> Windows:
        """Windows that end all over the test year."""
        last_days = np.linspace(task.test - 1, len(task.values) - 2, TESTED, dtype=int)
        return task.windows(last_days, window)

    def measure(params: Any) -> dict[str, jax.Array]:
        inputs = tested().inputs
        found = rnnjax.adjoints(last_loss, params, tested())
        squares = sum(jnp.sum(leaf**2, axis=-1) for leaf in jax.tree.leaves(found.adjoints))
        log_norms = 0.5 * jnp.log(squares[::-1])  # from lag 0 on

        some = slice(None, None, TESTED // DECOMPOSED)
        month_ago = jax.tree.map(lambda s: s[-MONTH - 1, some], found.states[0])
        month = inputs[-MONTH:, some]
        spectrum = rnnjax.jacobian_product_spectrum(cell, params["cell"], month, month_ago)

        report = rnnjax.gradient_report(cell, params["cell"], inputs)
        bound = jnp.nan
        if network.slope is not None:
            bound = rnnjax.norm_bound(params["cell"].W_hh, slope=network.slope)
        error = errors(params, task.validation, len(task.values))
        days = task.test - task.validation
        return {
            "gradient": jnp.median(log_norms - log_norms[0], axis=1),
            "spectrum": jnp.median(spectrum[0], axis=0),
            "rate": jnp.median(report.rate),
            "horizon": jnp.median(report.horizon),
            "bound": jnp.asarray(bound),
            "rmse_validation": task.rmse(error[:days]),
            "rmse_test": task.rmse(error[days:]),
        }

    def watch(params: Any) -> dict[str, jax.Array]:
        gradient = gradient_monitor(cell, tested().inputs)(params["cell"])
        error = errors(params, task.validation, task.test)
        return {**gradient, "rmse_validation": task.rmse(error)}

    def sample(key: jax.Array) -> Windows:
        last = jax.random.randint(key, (options.batch,), window - 1, task.validation - 1)
        return task.windows(last, window)

    params = {
        "cell": cell.init(harness.key(seed, "recurrence")),
        "readout": lecun_normal()(harness.key(seed, "readout"), (options.hidden, 1))[:, 0],
        "bias": np.zeros((), np.float32),
    }
    with ThreadPoolExecutor(1) as beside:
        # Compiled on the second core while the network trains.
        measuring = beside.submit(lambda: jax.jit(measure).lower(params).compile())
        fitted = fit(
            training_loss,
            params,
            sample,
            optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
            steps=options.steps,
            key=harness.key(seed, "batches"),
            chunk=25,
            clip=1.0,
            monitor=watch,
            metrics=metrics,
            description=network.label,
        )
        before, after = (measuring.result()(p) for p in (params, fitted.params))
    return {name: np.stack([before[name], after[name]]) for name in before}


def baselines(task: Task) -> dict[str, dict[str, float]]:
    """What needs no network, on the same inputs and the same days."""
    target = task.values[1:, 0]

    def score(forecasts: np.ndarray) -> dict[str, float]:
        """The forecast of day n + 1 stands at n."""
        error = forecasts - target
        validation = error[task.validation - 1 : task.test - 1]
        return {
            "rmse_validation": float(task.rmse(validation)),
            "rmse_test": float(task.rmse(error[task.test - 1 :])),
        }

    def linear(order: int) -> np.ndarray:
        """Least squares on the last `order` days, fitted on the training years."""
        days = np.arange(len(target))[:, None] - np.arange(order)
        past = task.values[np.maximum(days, 0)].reshape(len(target), -1)
        past = np.concatenate([past, np.ones((len(target), 1))], axis=1)
        fitted = slice(order - 1, task.validation - 1)
        return past @ np.linalg.lstsq(past[fitted], target[fitted], rcond=None)[0]

    scores = {order: score(linear(order)) for order in (1, 2, 3, 5, 7, 10, 14, 21)}
    best = min(scores, key=lambda order: scores[order]["rmse_validation"])
    return {
        "persistence": score(task.values[:-1, 0]),
        f"linear ({best} days)": scores[best],
    }


def row(network: Network, part: Part) -> dict[str, float]:
    """The numbers of one network and seed."""
    names = ["rate", "horizon"] + (["bound"] if network.slope is not None else [])
    found = {
        f"{name}_{when}": float(part[name][index])
        for name in names
        for index, when in enumerate(("before", "after"))
    }
    return found | {name: float(part[name][1]) for name in ("rmse_validation", "rmse_test")}


def in_words(
    found: list[tuple[Network, list[Part]]], naive: dict[str, dict[str, float]], window: int
) -> tuple[str, str]:
    """The finding on gradients, and that on forecasts; means over the seeds."""
    reach = {net.label: float(mean_over_seeds(seeds, "horizon", 1)) for net, seeds in found}
    shortest, longest = min(reach, key=reach.__getitem__), max(reach, key=reach.__getitem__)
    reaches = [
        f"more than {window} days in {label}"
        if reach[label] > window
        else f"{reach[label]:.0f} days in {label}"
        for label in dict.fromkeys([shortest, longest])
    ]

    error = {net.label: float(mean_over_seeds(seeds, "rmse_test", 1)) for net, seeds in found}
    best = min(error, key=error.__getitem__)
    rival = min(naive, key=lambda label: naive[label]["rmse_test"])
    score = naive[rival]["rmse_test"]
    better = sum(value < score for value in error.values())
    return (
        f"After training, 1 % of the gradient reaches back {', '.join(reaches)}.",
        f"Best forecast: {best}, {error[best]:.2f} °C. "
        f"{better} of {len(error)} networks beat the best baseline, {rival}, {score:.2f} °C.",
    )


def draw(
    found: list[tuple[Network, list[Part]]],
    naive: dict[str, dict[str, float]],
    finding: tuple[str, str],
) -> Figure:
    """Gradient against lag before and after; below, horizon, forecasts, singular values.

    Curves are means over the seeds.
    """
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3, 2])
    before, after = top.subplots(1, 2, sharex=True, sharey=True)
    against_lag(before, found, 0)
    against_lag(after, found, 1)
    before.set(title="Before training", ylabel="gradient left,  ‖∂L/∂h(T − lag)‖ / ‖∂L/∂h(T)‖")
    before.legend(loc="lower right", handlelength=4)
    after.set_title("After training")

    horizon, forecast, spectrum = bottom.subplots(1, 3, width_ratios=[3, 3, 4])
    window = found[0][1][0]["gradient"].shape[1]
    horizons(horizon, found, window)
    forecast_errors(forecast, found, naive)
    for ax, labels in ((horizon, [network.label for network, _ in found]), (forecast, [])):
        ax.set_yticks(range(len(found)), labels or [""] * len(found))
        ax.set_ylim(len(found) + 0.9, -0.5)
    singular_values(spectrum, found)
    figure.suptitle("\n".join(finding), fontsize=13)
    figure.supxlabel(
        "L: squared error of the forecast made on day T alone.  h: all that the network carries "
        "from day to day (c and h in the LSTM).\n"
        f"Medians over {TESTED} windows of the test year ({DECOMPOSED} for the singular values σ). "
        "A bound is known only where one kernel and tanh or ReLU are the whole recurrence.",
        fontsize=9, color="0.3",
    )  # fmt: skip
    return figure


def mean_over_seeds(seeds: list[Part], name: str, index: int) -> np.ndarray:
    """Before (0) or after (1) training."""
    return np.mean([part[name][index] for part in seeds], axis=0)


def against_lag(ax: Axes, found: list[tuple[Network, list[Part]]], index: int) -> None:
    """What is left of the gradient, and its bound."""
    for network, seeds in found:
        log_left = mean_over_seeds(seeds, "gradient", index)
        lags = np.arange(len(log_left))
        style = {"color": network.colour}
        ax.plot(lags, np.exp(log_left), linestyle=network.line, label=network.label, **style)
        if network.slope is not None:
            log_bound = lags * np.log(mean_over_seeds(seeds, "bound", index))
            # Cut far above the axes, where it would overflow.
            ax.plot(lags, np.exp(np.minimum(log_bound, 50)), linestyle=":", **style)
    ax.plot([], [], ":", color="0.3", label="bound, ‖W_hh‖₂ ^ lag")
    ax.axhline(0.01, color="0.6", linewidth=0.8)
    ax.text(lags[-1], 0.012, "1 % left ", ha="right", color="0.4")
    ax.set(xlabel="lag (days back from the forecast)", yscale="log", ylim=(1e-8, 1e2))
    ax.set_xlim(0, lags[-1])


def horizons(ax: Axes, found: list[tuple[Network, list[Part]]], window: int) -> None:
    """One row a network, before and after training; an arrow for what is out of sight."""
    sight = 10 * window
    for place, (network, seeds) in enumerate(found):
        style = {"color": network.colour, "linestyle": network.line}
        days = [float(mean_over_seeds(seeds, "horizon", index)) for index in (0, 1)]
        ax.plot(np.minimum(days, sight), [place, place], **style)
        for horizon, inside in zip(days, ("white", network.colour), strict=True):
            marker = "o" if horizon < sight else ">"
            ax.plot(min(horizon, sight), place, marker, markerfacecolor=inside, **style)
    ax.axvline(window, color="0.6", linewidth=0.8)
    ax.set_title("Reach: ○ before, ● after training")
    ax.set(
        xscale="log",
        xlabel="days until 1 % of the gradient is left\n"
        "(right of the line: past the window, by the rate)",
    )
    ax.xaxis.set_major_formatter("{x:g}")


def forecast_errors(
    ax: Axes, found: list[tuple[Network, list[Part]]], naive: dict[str, dict[str, float]]
) -> None:
    """One row a network, a dot a seed."""
    for place, (network, seeds) in enumerate(found):
        errors = [part["rmse_test"][1] for part in seeds]
        ax.plot(errors, [place] * len(errors), "o", color=network.colour)
    for (label, scores), line in zip(naive.items(), ("--", "-"), strict=True):
        ax.axvline(scores["rmse_test"], color="0.3", linewidth=1, linestyle=line, label=label)
    ax.set(xlabel="RMSE, tomorrow's maximum, 2015 (°C)", title="Forecast: further left is better")
    ax.legend(loc="lower right")


def singular_values(ax: Axes, found: list[tuple[Network, list[Part]]]) -> None:
    """Of the product of a month's Jacobians: how many directions carry anything so far."""
    for network, seeds in found:
        for index, faint in ((0, 0.35), (1, 1.0)):
            values = np.exp(mean_over_seeds(seeds, "spectrum", index))
            share = 100 * np.arange(1, len(values) + 1) / len(values)
            ax.plot(share, values, linestyle=network.line, color=network.colour, alpha=faint)
    ax.set_title(f"Left after {MONTH} days (faint: before)")
    ax.set(xlabel="directions, strongest first (%)", ylabel=f"σ of ∂h(T)/∂h(T − {MONTH})")
    ax.set(yscale="log", ylim=(1e-8, 1e2))


def run(options: Options, out: Output) -> harness.Result:
    """Every network with every seed; then the figure and the table."""
    weather = seattle_weather()
    task = prepare(weather)
    chosen = networks(len(weather.features), options.hidden)
    chosen = {name: network for name, network in chosen.items() if name in options.cell}
    parts = {
        name: [
            out.part(f"{name}-seed{seed}", partial(study, network, task, options, seed))
            for seed in options.all_seeds
        ]
        for name, network in chosen.items()
    }
    found = [(network, parts[name]) for name, network in chosen.items()]
    naive = baselines(task)
    finding = in_words(found, naive, options.window)
    out.figure(draw(found, naive, finding))
    return harness.Result(
        finding=" ".join(finding),
        rows={n: [row(network, part) for part in parts[n]] for n, network in chosen.items()},
        baselines=naive,
        columns=[
            harness.Column("rate_before", "nats\na day\nbefore", ".3f"),
            harness.Column("rate_after", "\n\nafter", ".3f"),
            harness.Column("horizon_before", "days\nto 1 %\nbefore", ".0f"),
            harness.Column("horizon_after", "\n\nafter", ".0f"),
            harness.Column("bound_before", "\n‖W_hh‖₂\nbefore", ".2f"),
            harness.Column("bound_after", "\n\nafter", ".2f"),
            harness.Column("rmse_validation", "RMSE\n(°C)\n2014", ".2f"),
            harness.Column("rmse_test", "\n\n2015", ".2f"),
        ],
        data=weather.provenance,
    )
