"""Intervals against closed forms."""

import math
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest

from experiments.measures.intervals import (
    binomial_interval,
    block_bootstrap,
    conformal,
    mean_interval,
)

LEVEL = 0.9
BLOCK = 120
bootstrap = partial(block_bootstrap, block=BLOCK, draws=4000, seed=0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 50), (0.5, 2000), (0.9, 10), (1.0, 300)])
def test_interval_solves_the_equation_of_wilson(share: float, count: int) -> None:
    # Its ends are the p at which share is 1.96 deviations away.
    z = NormalDist().inv_cdf(0.975)
    low, high = binomial_interval(share, count)
    assert 0 <= low <= share <= high <= 1
    for p in {low, high} - {0.0, 1.0}:
        if abs(p - share) > 1e-12:
            assert abs(p - share) == pytest.approx(z * math.sqrt(p * (1 - p) / count), rel=1e-4)


def test_conformal_interval_covers_what_may_come_in_any_order() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(4000):
        errors = random.uniform(size=49)
        # The next error is uniform: the interval covers it with this very probability.
        covered.append(conformal(errors * random.choice([-1, 1], 49), LEVEL))
    # (n + 1) LEVEL is whole, so that the promise is kept exactly.
    assert np.mean(covered) == pytest.approx(LEVEL, abs=0.003)
    assert conformal(np.arange(19.0), LEVEL) == 17
    assert conformal(np.arange(8.0), LEVEL) == math.inf


def test_bootstrap_of_hours_that_depend_on_each_other() -> None:
    random = np.random.default_rng(0)
    count, keeps = 24000, 0.9
    noise = random.standard_normal(count)
    series = np.zeros(count)
    for i in range(1, count):
        series[i] = keeps * series[i - 1] + noise[i]
    drawn = bootstrap(np.stack([noise, series], axis=1), np.arange(count))
    # The deviation of a mean of n: σ / √n, and for an autoregression 1 / (1 - φ) times that.
    expected = np.array([1, 1 / (1 - keeps)]) / math.sqrt(count)
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.2)
    np.testing.assert_allclose(drawn.mean(axis=0), [noise.mean(), series.mean()], atol=0.01)


def test_interval_of_a_mean_of_values_that_depend_on_each_other() -> None:
    random = np.random.default_rng(0)
    groups, group = 2000, 25
    # Neighbours are equal, so that only the groups are independent; the rest is left out.
    values = np.append(np.repeat(random.standard_normal(groups), group), [1e6] * (group - 1))
    low, high = mean_interval(values, block=4 * group, group=group, draws=4000, seed=0)
    middle = values[: groups * group].mean()
    half = NormalDist().inv_cdf(0.975) / math.sqrt(groups)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.15 * half)


def test_no_block_reaches_over_a_gap() -> None:
    hours = np.concatenate([np.arange(200), np.arange(1000, 1200)])
    values = np.repeat([[0.0], [1.0]], 200, axis=0)
    blocks = math.ceil(len(hours) / BLOCK)
    whole = bootstrap(values, hours) * blocks
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)


def test_every_hour_is_as_likely_to_be_drawn() -> None:
    hours = np.concatenate([np.arange(200), np.arange(1000, 1130)])
    each = bootstrap(np.eye(len(hours)), hours).mean(axis=0) * len(hours)
    # The edges of a stretch as often as its middle, up to the chance of 4000 draws.
    np.testing.assert_allclose(each, 1, atol=0.12)
