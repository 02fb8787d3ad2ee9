"""Baselines: linear models."""

import numpy as np
import pytest

from experiments.baselines.linear import lagged, least_squares, ridge_path


def data(outputs: tuple[int, ...] = (3,)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 6)), rng.normal(size=(50, *outputs))


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_least_squares_without_a_penalty_is_that_of_numpy(outputs: tuple[int, ...]) -> None:
    past, wanted = data(outputs)
    expected = np.linalg.lstsq(past, wanted, rcond=None)[0]
    np.testing.assert_allclose(least_squares(past, wanted), expected)


@pytest.mark.parametrize("outputs", [(), (3,)])
@pytest.mark.parametrize("penalty", [0.5, 30.0])
def test_a_penalty_solves_the_normal_equations(outputs: tuple[int, ...], penalty: float) -> None:
    past, wanted = data(outputs)
    found = least_squares(past, wanted, penalty)
    expected = np.linalg.solve(past.T @ past + penalty * np.eye(6), past.T @ wanted)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_a_path_is_one_solution_after_the_other(outputs: tuple[int, ...]) -> None:
    past, wanted = data(outputs)
    penalties = (1e-6, 1.0, 100.0)
    for penalty, found in zip(penalties, ridge_path(past, wanted, penalties), strict=True):
        np.testing.assert_allclose(found, least_squares(past, wanted, penalty), atol=1e-9)


def test_more_weights_than_rows_give_the_shortest_solution() -> None:
    found = least_squares(np.array([[1.0, 1.0]]), np.array([2.0]))
    np.testing.assert_allclose(found, [1.0, 1.0])


def test_lags_run_backwards_and_the_first_row_repeats() -> None:
    values = np.array([[1, 10], [2, 20], [3, 30]])
    expected = [[1, 10, 1, 10, 1, 10], [2, 20, 1, 10, 1, 10], [3, 30, 2, 20, 1, 10]]
    np.testing.assert_array_equal(lagged(values, 3), expected)
