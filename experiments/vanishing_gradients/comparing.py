"""Errors and reaches compared, and whether they bear the claim out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.lab.output import Part
from experiments.measures.intervals import mean_interval
from experiments.measures.seeds import mean_over_seeds, spread
from experiments.vanishing_gradients.tasks import MOMENTS, TASKS

BLOCK = 10  # days that are resampled together
GATED = ("gru", "lstm")


class Error(NamedTuple):
    """The error of a network on a task, over the seeds that did not diverge.

    Attributes:
      mean: in °C; not a number where all diverged.
      deviation: of the seeds, 0 for one.
      diverged: how many did.
    """

    mean: float
    deviation: float
    diverged: int


def error_of(seeds: Sequence[Mapping[str, Any]], task: str) -> Error:
    """Of one network on one task."""
    every = np.sqrt([part["squared"][list(TASKS).index(task)].mean() for part in seeds])
    kept = every[np.isfinite(every)]
    mean, deviation = spread(kept) if len(kept) else (math.nan, 0.0)
    return Error(mean, deviation, len(every) - len(kept))


def difference(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], task: str
) -> tuple[float, float]:
    """95 % interval of the mean squared error of one network less that of another, in °C².

    The days of the test year are resampled in blocks; seeds that diverged are left out.
    """
    place = list(TASKS).index(task)

    def squared(seeds: Sequence[Mapping[str, Any]]) -> np.ndarray:
        every = np.stack([part["squared"][place] for part in seeds])
        mean: np.ndarray = every[np.isfinite(every).all(axis=1)].mean(axis=0)
        return mean

    return mean_interval(squared(one) - squared(other), block=BLOCK, draws=2000, seed=0)


def reach(seeds: Sequence[Mapping[str, Any]], moment: str = "before") -> float:
    """Days until 1 % of the gradient is left, mean over the seeds."""
    return float(mean_over_seeds(seeds, "horizon")[MOMENTS.index(moment)])


def near_and_far(parts: Mapping[str, Any]) -> tuple[str, str] | None:
    """The two tanh networks to compare: from small or random weights, and from orthogonal ones."""
    near = next((name for name in ("tanh-small", "tanh") if name in parts), None)
    return (near, "tanh-orthogonal") if near and "tanh-orthogonal" in parts else None


def bears_out(parts: Mapping[str, Sequence[Part]]) -> bool:
    """Whether the bound holds, the start decides, and a far gradient helps to recall most.

    Without the orthogonal start and another tanh network nothing is shown.
    """
    if (pair := near_and_far(parts)) is None:
        return False
    near, far = (parts[name] for name in pair)
    gated = [reach(parts[name]) for name in GATED if name in parts]
    starts = [(part["rate"][0], part["bound"][0]) for seeds in parts.values() for part in seeds]
    return (
        all(rate <= np.log(bound) for rate, bound in starts if bound < 1)
        and reach(near) < min(gated, default=reach(far))
        and max(gated, default=reach(near)) < reach(far)
        and difference(far, near, "recall")[1] < min(0, difference(far, near, "tomorrow")[0])
    )


def differences(parts: Mapping[str, Sequence[Part]]) -> dict[str, tuple[float, float]]:
    """On either task, the `difference` of the far tanh network and the near one."""
    if (pair := near_and_far(parts)) is None:
        return {}
    near, far = (parts[name] for name in pair)
    return {task: difference(far, near, task) for task in TASKS}
