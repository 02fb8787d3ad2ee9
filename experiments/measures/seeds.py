"""Results of several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


def mean_over_seeds(seeds: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Of one result, an array or a number, of every seed."""
    mean: np.ndarray = np.mean([seed[name] for seed in seeds], axis=0)
    return mean


class Spread(NamedTuple):
    """The mean over the seeds, and their standard deviation, 0 for one."""

    mean: float
    deviation: float


def spread(each: Sequence[float]) -> Spread:
    """Of one number of every seed."""
    return Spread(float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else 0.0)


def exceeds(one: Spread, other: Spread) -> bool:
    """Whether the mean of one is larger by more than the sum of the deviations."""
    return one.mean - other.mean > one.deviation + other.deviation
