"""Backward through time the gradient of a tanh network vanishes; other networks keep it longer.

Claim: the gradient of a loss at day T to the state at day T - lag falls off exponentially
with the lag in a tanh network, as the bound (‖W_hh‖₂)^lag demands where ‖W_hh‖₂ < 1; an
identity or orthogonal kernel, or gates, carry it further. Seen on real weather: each network
reads Seattle's daily weather and tells tomorrow's highest temperature.

Source: Pascanu, Mikolov and Bengio 2013, sections 2.1 and 2.2; Hochreiter and Schmidhuber 1997;
ReLU with the identity: Le, Jaitly and Hinton 2015.

Run time: about 75 s on two cores; 10 s with --quick, which takes two networks and few steps.

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

from experiments.lab import harness

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
        self.each_once("cell")
        # The spectrum needs a month, and training a choice of windows.
        if not MONTH < self.window <= 365:
            raise ValueError(
                f"--window: expected {MONTH + 1} to 365 days, got {self.window}; choose another"
            )
        self.above_zero("hidden", "steps", "batch", "learning_rate")


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
from experiments.data.scaling import standardised
from experiments.data.seattle import Weather, seattle_weather
from experiments.lab.output import Output, Part
from experiments.measures.seeds import mean_over_seeds
from experiments.page.section import Exercise, Found, Section
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


def left_by_lag(found: rnnjax.Adjoints) -> jax.Array:
    """What is left of the gradient of a loss at the last step, as a logarithm.

        ln ‖∂L/∂h_{T - lag}‖ - ln ‖∂L/∂h_T‖

    Args:
      found: ∂L/∂h_t from `rnnjax.adjoints`, `[T + 1, B, H]` for each array of the state.

    Returns:
      `[T + 1, B]`, from lag 0 on.
    """
    squares = sum(jnp.sum(leaf**2, axis=-1) for leaf in jax.tree.leaves(found.adjoints))
    log_norms = 0.5 * jnp.log(squares[::-1])
    return log_norms - log_norms[0]


def study(network: Network, task: Task, options: Options, seed: int, metrics: Path) -> Part:
    """Trains one network; what was measured before and after stands in rows 0 and 1."""
    cell, window = network.cell, options.window

    def forecast(params: Any, inputs: jax.Array, **options: Any) -> jax.Array:
        """Tomorrow's highest temperature after every day of the window, `[T, B]`."""
        _, hidden = rnnjax.unroll(cell, params["cell"], inputs, **options)
        return hidden @ params["readout"] + params["bias"]

    # For what is not trained, the plain fold: it compiles sooner.
    once = partial(forecast, fold=rnnjax.folds.scan())

    def training_loss(params: Any, batch: Windows) -> jax.Array:
        """Over every day of the window."""
        return jnp.mean((forecast(params, batch.inputs) - batch.targets) ** 2)

    def last_loss(params: Any, batch: Windows) -> jax.Array:
        """Over the last day alone: the gradient at lag l has travelled l days."""
        return jnp.mean((once(params, batch.inputs)[-1] - batch.targets[-1]) ** 2)

    def errors(params: Any, first: int, end: int) -> jax.Array:
        """Of the forecasts of the days from `first` to before `end`, each from its own window."""
        year = task.windows(np.arange(first - 1, end - 1), window)
        return once(params, year.inputs)[-1] - year.targets[-1]

    def tested() -> Windows:
        """Windows that end all over the test year."""
        last_days = np.linspace(task.test - 1, len(task.values) - 2, TESTED, dtype=int)
        return task.windows(last_days, window)

    def measure(params: Any) -> dict[str, jax.Array]:
        inputs = tested().inputs
        found = rnnjax.adjoints(last_loss, params, tested())
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
            "gradient": jnp.median(left_by_lag(found), axis=1),
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
    reach = {net.label: float(mean_over_seeds(seeds, "horizon")[1]) for net, seeds in found}
    shortest, longest = min(reach, key=reach.__getitem__), max(reach, key=reach.__getitem__)
    reaches = [
        f"more than {window} days in {label}"
        if reach[label] > window
        else f"{reach[label]:.0f} days in {label}"
        for label in dict.fromkeys([shortest, longest])
    ]

    error = {net.label: float(mean_over_seeds(seeds, "rmse_test")[1]) for net, seeds in found}
    best = min(error, key=error.__getitem__)
    rival = min(naive, key=lambda label: naive[label]["rmse_test"])
    score = naive[rival]["rmse_test"]
    better = sum(value < score for value in error.values())
    return (
        f"After training, 1 % of the gradient reaches back {', '.join(reaches)}.",
        f"Best forecast: {best}, {error[best]:.2f} °C. "
        f"{better} of {len(error)} networks are below the best baseline, {rival}, {score:.2f} °C.",
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


def bears_out(parts: dict[str, list[Part]]) -> bool:
    """Whether tanh keeps to its bound, where that is below 1, and all others then reach further.

    Without the tanh network nothing is shown. Reach is that after training.
    """
    reach = {name: float(mean_over_seeds(seeds, "horizon")[1]) for name, seeds in parts.items()}
    kept = all(
        part["rate"][i] <= np.log(part["bound"][i])
        for part in parts.get("tanh", [])
        for i in np.flatnonzero(part["bound"] < 1)
    )
    return kept and 0 < reach.pop("tanh", np.nan) < min(reach.values(), default=-np.inf)


def for_the_slider(found: list[tuple[Network, list[Part]]]) -> dict[str, Any]:
    """The gradient left at every lag, for the page's slider."""
    return {
        "step": "day",
        "networks": [
            {
                "label": network.label,
                "when": when,
                "left": np.round(mean_over_seeds(seeds, "gradient")[index], 2),
                "log_bound": None
                if network.slope is None
                else float(np.log(mean_over_seeds(seeds, "bound")[index])),
            }
            for network, seeds in found
            for index, when in enumerate(("before training", "after training"))
        ],
    }


def against_lag(ax: Axes, found: list[tuple[Network, list[Part]]], index: int) -> None:
    """What is left of the gradient, and its bound."""
    for network, seeds in found:
        log_left = mean_over_seeds(seeds, "gradient")[index]
        lags = np.arange(len(log_left))
        style = {"color": network.colour}
        ax.plot(lags, np.exp(log_left), linestyle=network.line, label=network.label, **style)
        if network.slope is not None:
            log_bound = lags * np.log(mean_over_seeds(seeds, "bound")[index])
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
        days = [float(mean_over_seeds(seeds, "horizon")[index]) for index in (0, 1)]
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
            values = np.exp(mean_over_seeds(seeds, "spectrum")[index])
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
    out.write_json("lesson.json", for_the_slider(found))
    return harness.Result(
        finding=" ".join(finding),
        rows={n: [row(network, part) for part in parts[n]] for n, network in chosen.items()},
        baselines=naive,
        columns=[
            harness.Column("rate_before", "nats\na day\nbefore", ".3f"),
            harness.Column("rate_after", "\n\nafter", ".3f"),
            harness.Column("horizon_before", "days\nto 1 %\nbefore", ".0f"),
            harness.Column("horizon_after", "\n\nafter", ".0f"),
            harness.Column("bound_before", "norm\n‖W_hh‖₂\nbefore", ".2f"),
            harness.Column("bound_after", "\n\nafter", ".2f"),
            harness.Column("rmse_validation", "RMSE\n(°C)\n2014", ".2f"),
            harness.Column("rmse_test", "\n\n2015", ".2f"),
        ],
        borne_out=bears_out(parts),
        data=weather.provenance,
    )


def _reach(found: Found, name: str, when: str) -> str:
    """In words, from a network's row in `result.json`."""
    days = found["results"][name]["mean"][f"horizon_{when}"]
    if days is None or days > found["window"]:
        return f"more than {found['window']} days"
    return f"{days:.0f} days"


def _labels(found: Found) -> dict[str, str]:
    """Of the networks in `result.json`."""
    known = networks(1, 1)
    return {name: known[name].label for name in found["results"]}


def _reaches(found: Found, when: str, *, but: str = "") -> str:
    """Of all networks but one."""
    return ", ".join(
        f"{_reach(found, name, when)} in {label}"
        for name, label in _labels(found).items()
        if name != but
    )


def _tanh(found: Found) -> str:
    """What was measured on the tanh network."""
    if "tanh" not in found["results"]:
        return "This run had no tanh network to compare with."
    row = found["results"]["tanh"]["mean"]
    return (
        "Before training, each day further back leaves "
        f"{np.exp(row['rate_before']):.2f} of the gradient in the tanh network with small weights; "
        f"its bound is ‖W_hh‖₂ = {row['bound_before']:.2f} a day. One per cent is left after "
        f"{_reach(found, 'tanh', 'before')}, and when training is done, after "
        f"{_reach(found, 'tanh', 'after')}."
    )


def _forecasts(found: Found) -> str:
    """Who forecasts best, and whether that is who reaches furthest."""
    error = {name: row["mean"]["rmse_test"] for name, row in found["results"].items()}
    horizon = {name: row["mean"]["horizon_after"] for name, row in found["results"].items()}
    best, label = min(error, key=error.__getitem__), _labels(found)
    furthest = max(horizon, key=lambda name: np.inf if horizon[name] is None else horizon[name])
    rival, scores = min(found["baselines"].items(), key=lambda item: item[1]["rmse_test"])
    apart = (
        f"the one that reaches furthest, {label[furthest]}, errs by {error[furthest]:.2f} °C: a "
        "gradient that reaches far is not yet a good forecast"
        if best != furthest
        else "it is also the one that reaches furthest"
    )
    return (
        f"The best forecast of the year 2015 comes from {label[best]}, {error[best]:.2f} °C off on "
        f"average (root mean square); {apart}; {rival}, without any network, by "
        f"{scores['rmse_test']:.2f} °C."
    )


SECTION = Section(
    place=9,
    title="The vanishing gradient, measured on this machine",
    text=lambda found: [
        "To learn that something long ago mattered, a network must be told so by its loss, and the "
        "message travels back the way the state came: step by step, by the chain rule. At each "
        "step it is multiplied by that step's Jacobian, `J_t = diag(f'(a_t)) W_hh`, where `a_t` is "
        "what `f` is applied to. What happens to a number below 1 that is multiplied by itself a "
        "hundred times happens to matrices too. "
        "tanh is nowhere steeper than 1, so if the most that `W_hh` can stretch any vector, its "
        "norm `‖W_hh‖₂`, is below 1, no more than `‖W_hh‖₂^lag` can be left of the message: the "
        "gradient vanishes, and the weights learn from the latest steps alone. Above 1 it may "
        "explode, or vanish all the same: the bound then promises nothing.",
        "The networks of the figure read Seattle's weather day by day and tell tomorrow's highest "
        "temperature; the gradient of the last forecast is followed back to every day before. "
        f"{_tanh(found)} The others after training: "
        f"{_reaches(found, 'after', but='tanh') or 'none ran'}. The next section asks what such "
        "cures are worth where a memory is needed.",
        "The claim that all others reach further than tanh with small weights, and that this one "
        f"keeps to its bound, is {'borne out' if found['borne_out'] else 'not borne out'} by this "
        f"run. Reaching far is a means, though, not an end. {_forecasts(found)}",
    ],
    alt=lambda found: (
        "Two graphs of the gradient left against the lag in days, on a logarithmic scale, before "
        "and after training. One per cent is left after, before training: "
        f"{_reaches(found, 'before')}; after training: {_reaches(found, 'after')}. Below them each "
        "network's reach, its forecast error beside those of the baselines, and how many "
        f"directions of the state carry anything across {MONTH} days. {_forecasts(found)}"
    ),
    code=[left_by_lag, networks],
    exercise=Exercise(
        "In a tanh network `‖W_hh‖₂` is 0.9. After how many whole steps back can no more than 1 % "
        "of the gradient be left? Try it with the second sliders above: an orthogonal kernel of "
        "spectral radius 0.9 has that norm; move the lag. Or take a logarithm.",
        "After 44: `0.9^43` is 0.0108 and `0.9^44` is 0.0097; that is `ln 0.01 / ln 0.9` = 43.7, "
        "rounded up. The network may well forget sooner, since tanh is flatter than 1 wherever "
        "its units are not at zero.",
        number=44,
    ),
    widget="gradient",
)
