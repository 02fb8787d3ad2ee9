"""Backward through time the gradient of a tanh network vanishes; other networks keep it longer.

Claim: the gradient of a loss at day T to the state at day T - lag falls off exponentially
with the lag in a tanh network with small weights, as the bound (‖W_hh‖₂)^lag demands; an
identity or orthogonal kernel, or gates, carry it further. Seen on real weather: each network
reads Seattle's daily weather and tells tomorrow's highest temperature.

Source: Pascanu, Mikolov and Bengio 2013, sections 2.1 and 2.2; Hochreiter and Schmidhuber 1997;
ReLU with the identity: Le, Jaitly and Hinton 2015.

Run time: about 80 s on two cores, 10 s with --quick.

Examples:
  python -m experiments.vanishing_gradients
  python -m experiments.vanishing_gradients --cell gru --seeds 0,1,2 --out results/gru

How: the networks train on the forecasts of every day of a window. The gradient is measured
with a loss on the last day's forecast alone, so that what arrives at lag l has travelled
exactly l days. Training years 2012 and 2013, validation 2014, test 2015.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from experiments.common import harness


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: Literal["all", "tanh", "relu-identity", "tanh-orthogonal", "gru", "lstm"] = "all"
    """Which network."""
    window: int = 256
    """Days that a network reads before its last forecast."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 200
    """Training steps."""
    batch: int = 32
    """Windows in a training step."""
    learning_rate: float = 1e-3
    """Of Adam."""

    QUICK: ClassVar[dict[str, Any]] = {"window": 128, "steps": 20}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        # The windows of the test year must begin within the data, and the spectrum needs a month.
        if not 31 <= self.window <= 365:
            raise ValueError(f"--window: expected 31 to 365 days, got {self.window}")
        for name in ("hidden", "steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected a number above zero, got "
                    f"{getattr(self, name)}"
                )


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

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

MONTH = 30  # days over which the singular values are taken
TESTED = 32  # windows of the test year over which the gradient is measured


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
            "tanh, small weights",
            elman(kernel_init=normal(0.05), input_init=normal(0.1)),
            1.0, "#c1272d", "-",
        ),
        "relu-identity": Network(
            # Its units add up the whole window, so its input weights must be smaller still.
            "ReLU, identity kernel",
            elman(activation=jax.nn.relu, kernel_init=scaled_identity(), input_init=normal(0.01)),
            1.0, "#d98200", (0, (6, 2)),
        ),
        "tanh-orthogonal": Network(
            "tanh, orthogonal kernel",
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
        days = last_day - length + 1 + jnp.arange(length)[:, None]
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
    values, _, deviation = standardised(values, training=slice(0, validation))
    return Task(values, float(deviation[0]), validation, test)


def initial(cell: rnnjax.Cell, hidden: int, seed: int) -> Any:
    return {
        "cell": cell.init(harness.key(seed, "recurrence")),
        "readout": lecun_normal()(harness.key(seed, "readout"), (hidden, 1))[:, 0],
        "bias": jnp.zeros(()),
    }


def forecast(cell: rnnjax.Cell, params: Any, inputs: jax.Array, unroll: Any) -> jax.Array:
    """Tomorrow's highest temperature after every day of the window, `[T, B]`."""
    _, hidden = unroll(cell, params["cell"], inputs)
    return hidden @ params["readout"] + params["bias"]


def study(network: Network, task: Task, options: Options, seed: int, metrics: Path) -> Part:
    """Trains one network; what was measured before and after stands in rows 0 and 1."""
    cell, window = network.cell, options.window
    forecasts = partial(forecast, cell)

    def training_loss(params: Any, batch: Windows, unroll: Any = rnnjax.unroll) -> jax.Array:
        """Over every day of the window."""
        return jnp.mean((forecasts(params, batch.inputs, unroll) - batch.targets) ** 2)

    def last_loss(params: Any, batch: Windows, unroll: Any = rnnjax.unroll) -> jax.Array:
        """Over the last day alone: the gradient at lag l has travelled l days."""
        return jnp.mean((forecasts(params, batch.inputs, unroll)[-1] - batch.targets[-1]) ** 2)

    def rmse(params: Any, first: int, end: int) -> jax.Array:
        """Every target day from `first` to before `end`, forecast from the window before it."""
        year = task.windows(jnp.arange(first - 1, end - 1), window)
        return task.rmse(forecasts(params, year.inputs, rnnjax.unroll)[-1] - year.targets[-1])

    days = np.linspace(task.test - 1, len(task.values) - 2, TESTED).astype(int)
    tested = task.windows(days, window)

    @jax.jit
    def measure(params: Any) -> dict[str, jax.Array]:
        (dL_ds,) = rnnjax.adjoints(last_loss, params, tested).adjoints
        squares = sum(jnp.sum(leaf**2, axis=-1) for leaf in jax.tree.leaves(dL_ds))
        log_norms = 0.5 * jnp.log(squares[::-1])  # from lag 0 on

        some = tested.inputs[:, ::8]
        month_ago, _ = rnnjax.unroll(cell, params["cell"], some[:-MONTH])
        spectrum = rnnjax.jacobian_product_spectrum(
            cell, params["cell"], some[-MONTH:], month_ago
        )
        report = rnnjax.gradient_report(cell, params["cell"], tested.inputs)
        bound = jnp.nan
        if network.slope is not None:
            bound = rnnjax.norm_bound(params["cell"].W_hh, slope=network.slope)
        return {
            "gradient": jnp.median(log_norms - log_norms[0], axis=1),
            "spectrum": jnp.median(spectrum[0], axis=0),
            "rate": jnp.median(report.rate),
            "horizon": jnp.median(report.horizon),
            "bound": jnp.asarray(bound),
            "rmse_validation": rmse(params, task.validation, task.test),
            "rmse_test": rmse(params, task.test, len(task.values)),
        }

    watch_gradient = gradient_monitor(cell, tested.inputs, select=lambda p: p["cell"])

    def sample(key: jax.Array) -> Windows:
        last = jax.random.randint(key, (options.batch,), window - 1, task.validation - 1)
        return task.windows(last, window)

    params = initial(cell, options.hidden, seed)
    fitted = fit(
        training_loss,
        params,
        sample,
        optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
        steps=options.steps,
        key=harness.key(seed, "batches"),
        chunk=max(options.steps // 8, 1),
        clip=1.0,
        monitor=lambda p: {
            **watch_gradient(p),
            "rmse_validation": rmse(p, task.validation, task.test),
        },
        metrics=metrics,
        description=network.label,
    )
    before, after = measure(params), measure(fitted.params)
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
        f"linear, {best} days": scores[best],
    }


def row(part: Part) -> dict[str, float]:
    """The numbers of one network and seed."""
    found = {}
    for when, index in (("before", 0), ("after", 1)):
        for name in ("rate", "horizon", "bound"):
            found[f"{name}_{when}"] = float(part[name][index])
    return found | {name: float(part[name][1]) for name in ("rmse_validation", "rmse_test")}


def run(options: Options, out: Output) -> harness.Result:
    weather = seattle_weather()
    task = prepare(weather)
    chosen = networks(len(weather.features), options.hidden)
    if options.cell != "all":
        chosen = {options.cell: chosen[options.cell]}
    parts = {
        name: [
            out.part(f"{name}-seed{seed}", partial(study, network, task, options, seed))
            for seed in options.all_seeds
        ]
        for name, network in chosen.items()
    }
    naive = baselines(task)
    rows = {chosen[name].label: [row(part) for part in seeds] for name, seeds in parts.items()}
    finding = ""
    return harness.Result(
        finding=finding,
        rows=rows,
        baselines=naive,
        columns=[
            harness.Column("rate_before", "nats a day\nbefore", "+.3f"),
            harness.Column("rate_after", "\nafter", "+.3f"),
            harness.Column("horizon_before", "1 % left after\nbefore (days)", ".0f"),
            harness.Column("horizon_after", "\nafter (days)", ".0f"),
            harness.Column("bound_before", "‖W_hh‖₂\nbefore", ".2f"),
            harness.Column("bound_after", "\nafter", ".2f"),
            harness.Column("rmse_validation", "RMSE (°C)\n2014", ".2f"),
            harness.Column("rmse_test", "\n2015", ".2f"),
        ],
        data=weather.provenance,
    )
