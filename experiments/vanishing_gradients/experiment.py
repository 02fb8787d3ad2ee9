"""Networks that differ in how W_hh starts: the gradient that is left, and what each one learns."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import lecun_normal, normal

import rnnjax
from experiments.data.seattle import seattle_weather
from experiments.lab import harness
from experiments.lab.cores import Trained, side_by_side
from experiments.lab.output import Output, Part
from experiments.models.starts import as_torch
from experiments.style import BROWN, STYLES, Style
from experiments.vanishing_gradients.comparing import bears_out, differences, error_of, reach
from experiments.vanishing_gradients.options import Options
from experiments.vanishing_gradients.tasks import (
    MOMENTS,
    TASKS,
    Batch,
    Days,
    Task,
    baselines,
    prepare,
)
from rnnjax import cells
from rnnjax.initializers import orthogonal, scaled_identity
from rnnjax.training import NonFiniteError, fit

TESTED = 32  # windows of the test year over which the gradient is measured


class Network(NamedTuple):
    """A recurrence and how it is drawn.

    `bounded`: whether one kernel and one function f with |f'| <= 1 are the whole recurrence.
    """

    style: Style
    cell: rnnjax.Cell
    bounded: bool


def networks(features: int, hidden: int, names: Sequence[str]) -> dict[str, Network]:
    """Those of these names, in the order of the figure."""
    elman = partial(cells.elman, features, hidden, input_init=normal(0.1))
    torch = STYLES["tanh"]._replace(label="tanh (torch's default)")
    small = STYLES["tanh"]._replace(
        label="tanh (small weights)", colour=BROWN, line=(0, (1, 1)), marker="X"
    )
    every = {
        "tanh-small": Network(small, elman(kernel_init=normal(0.05)), True),
        "tanh": Network(torch, elman(kernel_init=as_torch), True),
        "tanh-orthogonal": Network(
            STYLES["tanh-orthogonal"], elman(kernel_init=orthogonal()), True
        ),
        "relu-identity": Network(
            STYLES["relu-identity"],
            # Its units add up the whole window, so its input weights must be smaller.
            elman(activation=jax.nn.relu, kernel_init=scaled_identity(), input_init=normal(0.01)),
            True,
        ),
        "gru": Network(STYLES["gru"], cells.gru(features, hidden), False),
        "lstm": Network(STYLES["lstm"], cells.lstm(features, hidden), False),
    }
    return {name: network for name, network in every.items() if name in names}


@partial(jax.jit, static_argnames=("cell", "bounded"))
def gradient(
    params: Any, inputs: jax.Array, *, cell: rnnjax.Cell, bounded: bool
) -> dict[str, jax.Array]:
    """What is left of the gradient of the last output, medians over the windows.

    Returns:
      left: ln ‖∂h_T/∂h_{T-lag}‖ - ln ‖∂h_T/∂h_T‖, `[T + 1]`, from lag 0 on.
      horizon: the lag at which 1 % is left.
      rate: nats a day.
      bound: ‖W_hh‖₂, where it bounds the gradient.
    """
    report = rnnjax.gradient_report(cell, params, inputs, fold=rnnjax.folds.scan())
    return {
        "left": jnp.median((report.log_norms - report.log_norms[-1:])[::-1], axis=1),
        "horizon": jnp.median(report.horizon),
        "rate": jnp.median(report.rate),
        "bound": rnnjax.norm_bound(params.W_hh) if bounded else jnp.asarray(jnp.nan),
    }


def output(cell: rnnjax.Cell, params: Any, inputs: jax.Array, **options: Any) -> jax.Array:
    """One number for every step, `[T, B]`."""
    _, hidden = rnnjax.unroll(cell, params["cell"], inputs, **options)
    told: jax.Array = hidden @ params["readout"] + params["bias"]
    return told


def learn(
    task: Task, network: Network, params: Any, days: Days, options: Options, seed: int
) -> Trained:
    """Trains one network on one task; its numbers are of the test year.

    `squared`: the squared error of each day, in °C², not a number if training diverged;
    `diverged`, 0 or 1; and the gradient after training.
    """

    def loss(params: Any, batch: Batch) -> jax.Array:
        """Mean square, over the steps for which there is a target."""
        told = output(network.cell, params, batch.inputs)[-len(batch.targets) :]
        return jnp.mean((told - batch.targets) ** 2)

    def sample(key: jax.Array) -> Batch:
        first, end = options.window - 1, days.validation - 1
        return task(days, options, jax.random.randint(key, (options.batch,), first, end))

    diverged = False
    try:
        fitted = fit(
            loss,
            params,
            sample,
            optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
            steps=options.steps,
            key=harness.key(seed, "batches"),
            chunk=50,
            clip=1.0,
            quiet=True,  # two trainings run at a time
        )
        params, records = fitted.params, fitted.records
    except NonFiniteError as stopped:
        params, records, diverged = stopped.params, [], True

    year = task(days, options, np.arange(days.test - 1, len(days.values) - 1))
    told = output(network.cell, params, year.inputs, fold=rnnjax.folds.scan())[-1]
    error = np.asarray(told - year.targets[-1])
    numbers: dict[str, Any] = {
        "squared": math.nan * error if diverged else np.square(days.degrees * error),
        "diverged": float(diverged),
        **after(network, params, days, options),
    }
    return Trained(numbers, records)


def after(network: Network, params: Any, days: Days, options: Options) -> Any:
    """`gradient`, on windows that end all over the test year."""
    last = np.linspace(days.test - 1, len(days.values) - 2, TESTED, dtype=int)
    return gradient(
        params["cell"],
        days.window(last, options.window),
        cell=network.cell,
        bounded=network.bounded,
    )


def study(network: Network, days: Days, options: Options, seed: int, metrics: Path) -> Part:
    """One network on both tasks from one start; its gradient has a row for each of `MOMENTS`."""
    readout = lecun_normal()(harness.key(seed, "readout"), (options.hidden, 1), jnp.float32)
    params = {
        "cell": network.cell.init(harness.key(seed, "recurrence")),
        "readout": readout[:, 0],
        "bias": jnp.zeros((), jnp.float32),
    }
    before = after(network, params, days, options)
    trained = side_by_side(
        {
            name: partial(learn, task, network, params, days, options, seed)
            for name, task in TASKS.items()
        },
        metrics,
    )
    return trained | {
        name: np.concatenate([np.asarray(value)[None], trained[name]])
        for name, value in before.items()
    }


def in_words(
    chosen: Mapping[str, Network], parts: Mapping[str, Sequence[Part]], options: Options
) -> str:
    """How far each gradient reaches before training, and each error in recall."""

    def days(name: str) -> str:
        value = reach(parts[name])
        return f"{value:.0f} days" if value <= options.window else f"over {options.window} days"

    def error(name: str) -> str:
        mean, _, diverged = error_of(parts[name], "recall")
        return f"{mean:.2f} °C" if math.isfinite(mean) else f"diverged ({diverged} seeds)"

    far = ", ".join(f"{network.style.label} {days(name)}" for name, network in chosen.items())
    errors = ", ".join(f"{network.style.label} {error(name)}" for name, network in chosen.items())
    return (
        f"Lag at which 1 % of the gradient is left before training: {far}. Error in recalling the "
        f"temperature of {options.lag} days ago: {errors}."
    )


def row(part: Part, lag: int) -> dict[str, float]:
    """The numbers of one network and seed."""
    found = {
        f"{name}_{moment}": float(part[name][place])
        for name in ("horizon", "bound")
        for place, moment in enumerate(MOMENTS)
        if not np.isnan(part["bound"][0]) or name != "bound"
    }
    found["left"] = float(part["left"][0][lag]) / math.log(10)
    found |= {task: error_of([part], task).mean for task in TASKS}
    return found | {"diverged": float(part["diverged"].sum())}


COLUMNS = [
    harness.Column("horizon_before", "days until 1 % is left\nbefore training", ".0f"),
    harness.Column("horizon_tomorrow", "\nafter: tomorrow", ".0f"),
    harness.Column("horizon_recall", "\nafter: recall", ".0f"),
    harness.Column("left", "log₁₀ of gradient left\nacross the lag, before", ".1f"),
    harness.Column("bound_before", "‖W_hh‖₂\nbefore", ".2f"),
    harness.Column("bound_recall", "\nafter: recall", ".2f"),
    harness.Column("tomorrow", "RMSE 2015 (°C)\ntomorrow", ".2f"),
    harness.Column("recall", "\nrecall", ".2f"),
    harness.Column("diverged", "trainings\ndiverged", ".1f"),
]


class Shown(NamedTuple):
    """What the figure and the widget are made from.

    Attributes:
      networks: by name.
      parts: of every network, a seed each.
      baselines: errors by task, of each naive method.
      options: of the run.
    """

    networks: dict[str, Network]
    parts: dict[str, list[Part]]
    baselines: dict[str, Mapping[str, float]]
    options: Options


def run(options: Options, out: Output) -> harness.Result:
    """Every network with every seed, on both tasks."""
    weather = seattle_weather()
    days = prepare(weather)
    chosen = networks(len(weather.features), options.hidden, options.cell)
    parts = {
        name: out.each_seed(name, options.all_seeds, partial(study, network, days, options))
        for name, network in chosen.items()
    }
    naive = baselines(days, options)
    return harness.Result(
        finding=in_words(chosen, parts, options),
        rows={name: [row(part, options.lag) for part in seeds] for name, seeds in parts.items()},
        baselines=naive,
        columns=COLUMNS,
        borne_out=bears_out(parts),
        shown=Shown(chosen, parts, naive, options),
        data=weather.provenance,
        extra={
            "errors": {
                name: {task: error_of(seeds, task)._asdict() for task in TASKS}
                for name, seeds in parts.items()
            },
            "differences": differences(parts),
        },
    )  # fmt: skip
