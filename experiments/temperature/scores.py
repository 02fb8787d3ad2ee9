"""How forecasts are compared, and how wide their intervals must be."""

from collections.abc import Sequence

import numpy as np

from experiments.measures.intervals import block_bootstrap, conformal
from experiments.temperature.task import HORIZONS, Task

BLOCK = 5 * 24  # hours in a row that are resampled together: errors go with the weather
RESAMPLES = 4000
RECENT = 30 * 24  # hours whose errors make the interval that keeps up
LEVEL = 0.9  # of the truths that the intervals should cover


def gains(
    task: Task, forecasts: Sequence[np.ndarray], rival: np.ndarray, *, seed: int
) -> list[dict[str, float]]:
    """By how many percent each mean square error is below the rival's, over the test part.

    The forecasts are those of several trainings. The interval, the same for each, is the middle
    95 % of what the mean over them would be in other weather.
    """
    hours = task.split.test
    known = task.known[hours]
    counts = known.sum(axis=2)  # [n, K]

    def squares(forecast: np.ndarray) -> np.ndarray:
        return np.sum((forecast - task.truth)[hours] ** 2, axis=2, where=known)

    unit = squares(rival).sum(axis=0) / counts.sum(axis=0) / 100
    saved = [squares(rival) - squares(forecast) for forecast in forecasts]
    drawn = block_bootstrap(
        np.concatenate([np.mean(saved, axis=0), counts], axis=1),
        hours, block=BLOCK, draws=RESAMPLES, seed=seed,
    )  # fmt: skip
    means = drawn[:, : len(HORIZONS)] / drawn[:, len(HORIZONS) :]
    low, high = np.quantile(means, [0.025, 0.975], axis=0) / unit
    return [
        named("gain", each.sum(axis=0) / counts.sum(axis=0) / unit)
        | named("gain_low", low)
        | named("gain_high", high)
        for each in saved
    ]


def half_widths(task: Task, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the intervals at the test hours, for each horizon: `[n, K]` fixed, and keeping up.

    The fixed ones are those of the validation part. The others are made anew every hour, of
    the RECENT errors that can be known by then.
    """
    error = forecast - task.truth
    at = np.sort(np.concatenate([task.split.validation, task.split.test]))
    fixed, recent = np.empty((2, len(task.split.test), len(HORIZONS)))
    for k, horizon in enumerate(HORIZONS):

        def of(hours: np.ndarray, k: int = k) -> float:
            return conformal(error[hours, k][task.known[hours, k]], LEVEL)

        fixed[:, k] = of(task.split.validation)
        for i, hour in enumerate(task.split.test):
            last = hour - horizon
            begin, end = np.searchsorted(at, [last - RECENT + 1, last + 1])
            recent[i, k] = of(at[begin:end])
    return fixed, recent


def coverage(task: Task, forecast: np.ndarray) -> dict[str, float]:
    """What share of the truths the intervals cover, in percent, and how wide they are, in °C."""
    hours = task.split.test
    error = np.abs(forecast - task.truth)[hours]
    found: dict[str, float] = {}
    for kind, half in zip(("fixed", "recent"), half_widths(task, forecast), strict=True):
        inside = np.mean(error <= half[:, :, None], axis=(0, 2), where=task.known[hours])
        found |= named(f"coverage_{kind}", 100 * inside)
        found |= named(f"width_{kind}", 2 * half.mean(axis=0))
    return found


def scores(task: Task, forecast: np.ndarray) -> dict[str, float]:
    """RMSE at every horizon, in °C."""
    validation = task.rmse(forecast, task.split.validation)
    return named("rmse_validation", validation) | named(
        "rmse", task.rmse(forecast, task.split.test)
    )


def named(kind: str, values: np.ndarray) -> dict[str, float]:
    """Numbers `[K]`, one for each horizon, as entries of a row."""
    return {f"{kind}_{horizon}": float(x) for horizon, x in zip(HORIZONS, values, strict=True)}


def verdict(low: float, high: float) -> str:
    """What a 95 % interval of the gain says."""
    return "better" if low > 0 else "worse" if high < 0 else "no difference found"
