"""The tasks, the measurement, a divergence and the claim."""

import math
from datetime import date, timedelta
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from experiments.data.packages import Provenance
from experiments.data.seattle import Weather
from experiments.lab.output import Part
from experiments.vanishing_gradients import comparing, experiment, section, tasks
from experiments.vanishing_gradients.options import Options
from rnnjax import cells
from rnnjax.initializers import scaled_identity

COUNT = 1461
OPTIONS = Options(window=31, lag=5, steps=2, hidden=4, batch=4)


def weather(values: np.ndarray) -> Weather:
    first = date(2012, 1, 1)
    return Weather(
        [first + timedelta(days) for days in range(COUNT)],
        ("temp_max", "temp_min", "precipitation", "wind"),
        values,
        Provenance("made up", "none", "none", "none", COUNT),
    )


@pytest.fixture(scope="module")
def days() -> tasks.Days:
    """White noise as temperature: no day says anything about another."""
    return tasks.prepare(weather(np.abs(np.random.default_rng(0).normal(size=(COUNT, 4)))))


def test_what_is_asked_of_a_network(days: tasks.Days) -> None:
    last = np.array([100, 200])
    read = np.asarray(days.values)
    batch = tasks.tomorrow(days, OPTIONS, last)
    assert batch.inputs.shape == (31, 2, 4)
    np.testing.assert_array_equal(batch.inputs[-1], read[last])
    np.testing.assert_array_equal(batch.targets[-1], read[last + 1, 0])
    np.testing.assert_array_equal(batch.targets[:-1], batch.inputs[1:, :, 0])
    batch = tasks.recall(days, OPTIONS, last)
    assert batch.inputs.shape == (6, 2, 4)
    np.testing.assert_array_equal(batch.targets, read[last - 5, 0][None])


def test_scaled_by_the_training_years_alone(days: tasks.Days) -> None:
    values = np.asarray(days.values)
    np.testing.assert_allclose(values[: days.validation].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(values[: days.validation].std(axis=0), 1, atol=1e-5)
    assert (days.validation, days.test) == (731, 1096)


def test_baselines_cannot_recall_what_they_do_not_read(days: tasks.Days) -> None:
    scores = tasks.baselines(days, OPTIONS)
    spread = days.rmse(days.values[days.test :, 0] - jnp.mean(days.values[:, 0]))
    assert scores["linear"]["recall"] == pytest.approx(spread, rel=0.1)
    repeated = np.repeat(np.arange(COUNT)[:, None] % 3, 4, axis=1).astype(float)
    scores = tasks.baselines(tasks.prepare(weather(repeated)), OPTIONS)
    assert scores["linear"]["tomorrow"] < 0.8 * scores["last day's temperature"]["tomorrow"]


def test_the_gradient_of_a_known_recurrence(days: tasks.Days) -> None:
    cell = cells.elman(4, 3, activation=lambda a: a, kernel_init=scaled_identity(0.9))
    params = cell.init(jax.random.key(0))
    found = experiment.gradient(params, days.window(np.array([50]), 31), cell=cell, bounded=True)
    np.testing.assert_allclose(found["left"], np.arange(32) * math.log(0.9), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["bound"], 0.9, rtol=1e-4)
    assert float(found["horizon"]) == pytest.approx(43.7, abs=0.1)


def test_starts_differ_in_scale_alone() -> None:
    hidden = 32
    made = experiment.networks(4, hidden, ["tanh", "tanh-small", "tanh-orthogonal"])
    kernels = {n: made[n].cell.init(jax.random.key(0)).W_hh for n in made}
    assert np.std(kernels["tanh-small"]) == pytest.approx(0.05, rel=0.1)
    assert np.std(kernels["tanh"]) == pytest.approx(1 / math.sqrt(3 * hidden), rel=0.1)
    assert np.abs(kernels["tanh"]).max() <= 1 / math.sqrt(hidden)
    assert float(rnnjax.norm_bound(kernels["tanh-orthogonal"])) == pytest.approx(1, abs=1e-4)


def test_a_divergence_is_a_result(days: tasks.Days) -> None:
    network = experiment.networks(4, 4, ["relu-identity"])["relu-identity"]
    weights = network.cell.init(jax.random.key(0))
    params = {
        "cell": weights._replace(W_hh=1e20 * weights.W_hh),
        "readout": jnp.ones(4, jnp.float32),
        "bias": jnp.zeros((), jnp.float32),
    }
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules need it
        found = experiment.learn(tasks.tomorrow, network, params, days, OPTIONS, seed=0).numbers
    assert found["diverged"] == 1
    assert np.isnan(found["squared"]).all()
    assert np.asarray(found["left"]).size == 32


def part(horizon: float, tomorrow: float, recall: float, bound: float = 2.0) -> Part:
    """With errors that vary a little from day to day."""
    wave = 1 + 0.1 * np.sin(np.arange(365))
    return {
        "horizon": np.full(3, horizon),
        "rate": np.full(3, math.log(0.01) / horizon),
        "bound": np.full(3, bound),
        "squared": np.stack([tomorrow**2 * wave, recall**2 * wave]),
    }


GOOD = {
    "tanh-small": part(4, 2.8, 4.0, bound=0.5),
    "tanh-orthogonal": part(60, 2.9, 1.5),
    "gru": part(20, 2.8, 4.0),
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"tanh-small": part(4, 2.8, 4.0, bound=0.1)}, False),  # the bound is broken
        ({"gru": part(90, 2.8, 4.0)}, False),
        ({"gru": part(3, 2.8, 4.0)}, False),
        ({"tanh-orthogonal": part(60, 2.9, 4.0)}, False),  # recalls no better
        ({"tanh-orthogonal": part(60, 1.5, 3.9)}, False),  # gains more tomorrow
    ],
)
def test_the_claim_can_fail(changed: dict[str, Part], expected: bool) -> None:
    parts = {name: [each] for name, each in (GOOD | changed).items()}
    assert comparing.bears_out(parts) is expected


def test_without_two_starts_nothing_is_shown() -> None:
    assert not comparing.bears_out({"tanh-small": [GOOD["tanh-small"]]})
    assert not comparing.bears_out({"tanh-orthogonal": [GOOD["tanh-orthogonal"]]})
    assert comparing.differences({"gru": [GOOD["gru"]]}) == {}


def test_errors_over_seeds_leave_out_what_diverged() -> None:
    lost = {"squared": np.full((2, 365), np.nan)}
    seeds: list[Any] = [part(4, 2.0, 4.0), part(4, 2.0, 4.0), lost]
    error = comparing.error_of(seeds, "recall")
    assert error.diverged == 1
    assert error.mean == pytest.approx(4.0, rel=1e-3)
    low, high = comparing.difference(seeds, seeds, "recall")
    assert low == high == 0


def test_the_exercise_measures_what_its_formula_gives() -> None:
    assert f"scaled_identity({section.FACTOR})" in section.COMMAND
    cell = cells.elman(1, 8, kernel_init=scaled_identity(section.FACTOR))
    params = cell.init(jax.random.key(0))
    report = rnnjax.gradient_report(cell, params, jnp.zeros((100, 1, 1)))
    assert int(report.horizon[0]) == section._horizon(section.FACTOR)
