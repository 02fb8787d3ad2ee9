"""The task, the reach and the claim, without a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from experiments.cures import comparing, experiment, section
from experiments.measures.seeds import Spread, spread
from rnnjax import cells


def test_a_bit_is_shown_once_and_each_as_often() -> None:
    inputs, bit = experiment.recall(jax.random.key(0), 9, 20)
    assert inputs.shape == (10, 20, 2)
    assert bit.sum() == 0
    np.testing.assert_array_equal(inputs[0, :, 0], bit)
    assert not inputs[1:, :, 0].any()


def test_without_the_first_step_nothing_tells_the_bit() -> None:
    inputs, bit = experiment.recall(jax.random.key(0), 5, 20000)
    correlation = np.corrcoef(np.asarray(inputs[..., 1]), np.asarray(bit)[None])[-1, :-1]
    assert np.abs(correlation).max() < 4 / np.sqrt(20000)


def test_baselines_are_chance_and_certainty() -> None:
    found = experiment.baselines((3, 8), 0)
    assert found["always the same answer"] == {"accuracy_3": 0.5, "accuracy_8": 0.5}
    assert found["sum of the signal"] == {"accuracy_3": 1.0, "accuracy_8": 1.0}


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [([1.0, 0.95, 0.5], 20), ([0.5, 1.0, 1.0], 0), ([1.0, 0.6, 1.0], 10), ([1.0, 1.0, 1.0], 40)],
)
def test_reach_ends_at_the_first_lag_that_is_not_recalled(
    accuracy: list[float], expected: int
) -> None:
    assert comparing.reach({"accuracy": np.array(accuracy)}, (10, 20, 40)) == expected


def test_threshold_tells_apart_what_can_be_told() -> None:
    parts = [
        {"left": np.array([-1.0, -9.0]), "accuracy": np.array([1.0, 0.5])},
        {"left": np.array([-3.0, -5.0]), "accuracy": np.array([1.0, 0.5])},
    ]
    told = comparing.threshold(parts)
    assert (told.left, told.right, told.trainings) == (-4.0, 4, 4)
    parts[0]["accuracy"] = np.array([1.0, 1.0])
    assert comparing.threshold(parts).right == 3


REACHED = {"tanh": 10.0, "gru": 20.0, "lstm-0": 20.0, "lstm-1": 40.0, "lstm-chrono": 80.0}


@pytest.mark.parametrize(
    ("changed", "clipped", "expected"),
    [
        ({}, 5, True),
        ({"tanh": 20}, 5, False),
        ({"lstm-1": 15}, 5, False),
        ({"lstm-chrono": 20, "lstm-1": 20}, 5, False),
        ({}, 2, False),
    ],
)
def test_the_claim_can_fail(changed: dict[str, float], clipped: int, expected: bool) -> None:
    reached = {name: Spread(mean, 0.0) for name, mean in (REACHED | changed).items()}
    learned = {"not clipped": 2, "clipped": clipped}
    assert comparing.bears_out(reached, learned) is expected


def test_seeds_that_overlap_bear_nothing_out() -> None:
    learned = {"not clipped": 0, "clipped": 1}
    tanh = spread([10, 10, 10])
    for each, expected in (([20, 20, 40], True), ([10, 10, 40], False)):
        reached = {"tanh": tanh, "gru": spread(each)}
        assert comparing.bears_out(reached, learned) is expected


def test_without_tanh_or_a_rival_nothing_is_shown() -> None:
    learned = {"not clipped": 0, "clipped": 1}
    for name in ("gru", "tanh"):
        assert not comparing.bears_out({name: Spread(20, 0)}, learned)


def test_the_exercise_measures_what_its_formula_gives() -> None:
    assert f"forget_bias={section.BIAS}" in section.COMMAND
    for bias in (1, section.BIAS):
        cell = cells.lstm(1, 8, kernel_init=jax.nn.initializers.zeros, forget_bias=bias)
        params = cell.init(jax.random.key(0))
        report = rnnjax.gradient_report(cell, params, jnp.zeros((1000, 1, 1)))
        assert int(report.horizon[0]) == section._horizon(bias)
