"""Results of several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mean_over_seeds(seeds: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Of one result, an array or a number, of every seed."""
    mean: np.ndarray = np.mean([seed[name] for seed in seeds], axis=0)
    return mean
