"""Intervals for shares, for means of dependent observations, and for what comes next."""

import math

import numpy as np


def binomial_interval(share: float, count: int) -> tuple[float, float]:
    """Of a share of `count` answers, at 95 % (Wilson 1927)."""
    z2 = 1.959964**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return middle - half, middle + half


def block_bootstrap(
    values: np.ndarray, times: np.ndarray, *, block: int, draws: int, seed: int
) -> np.ndarray:
    """Means over resampled times, whole blocks at a time.

    Neighbouring errors are alike, so that times drawn one by one would make a much too narrow
    interval. A block that would reach over a gap in the times, or over their end, goes on at the
    beginning of its stretch, so that every time is as likely to be drawn as any other (Politis
    and Romano 1992).

    Args:
      values: `[n, M]`.
      times: `[n]`, rising whole numbers; neighbours differ by one.
      block: times in a block.
      draws: number of means.
      seed: of the resampling.

    Returns:
      `[draws, M]`.
    """
    stretch = np.cumsum(np.diff(times, prepend=times[0]) > 1)
    begin, length = np.searchsorted(stretch, stretch), np.bincount(stretch)[stretch]
    place = np.arange(len(times)) - begin
    block_of = begin[:, None] + (place[:, None] + np.arange(block)) % length[:, None]
    sums = values[block_of].sum(axis=1)
    drawn = np.random.default_rng(seed).integers(
        len(times), size=(draws, math.ceil(len(times) / block))
    )
    means: np.ndarray = sums[drawn].mean(axis=1) / block
    return means


def mean_interval(
    values: np.ndarray, *, block: int, group: int = 1, draws: int, seed: int
) -> tuple[float, float]:
    """Of the mean of a row of dependent values `[N]`, at 95 %.

    Args:
      values: one after the other in time.
      block: values that are resampled together, a multiple of `group`.
      group: neighbours averaged before, so that there is less to resample; a rest is left out.
      draws: number of resamplings.
      seed: of the resampling.
    """
    groups = values[: len(values) // group * group].reshape(-1, group).mean(axis=1)
    means = block_bootstrap(
        groups[:, None], np.arange(len(groups)), block=block // group, draws=draws, seed=seed
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def conformal(errors: np.ndarray, level: float) -> float:
    """The half-width that covers a share `level` of what comes, if it is like these errors.

    The ⌈(n + 1) level⌉-th smallest of n absolute errors: the next one is no larger with a
    probability of at least `level`, where all n + 1 could as well have come in any order.
    """
    rank = math.ceil((len(errors) + 1) * level)
    return float(np.sort(np.abs(errors))[rank - 1]) if rank <= len(errors) else math.inf
