"""Values in units of their deviation over the training part."""

from typing import NamedTuple

import numpy as np


class Standardised(NamedTuple):
    """values = (original - mean) / deviation.

    Attributes:
      values: `[N, F]`.
      mean: `[F]`, of the training rows.
      deviation: `[F]`, of the training rows.
    """

    values: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def standardised(values: np.ndarray, *, training: slice) -> Standardised:
    """`values` `[N, F]` in units of their deviation over the training rows alone."""
    mean, deviation = values[training].mean(axis=0), values[training].std(axis=0)
    return Standardised((values - mean) / deviation, mean, deviation)
