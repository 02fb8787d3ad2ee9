"""Timing: contenders run in random order, and only ratios within a round are compared.

The speed of a machine drifts by a third from minute to minute. What runs in the same
round shares that drift, so it cancels in the ratio of two times of one round.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Times = dict[str, list[float]]


class Spread(NamedTuple):
    """A median and the quartiles about it."""

    median: float
    low: float
    high: float


def take_turns(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int = 7, seconds: float = 3.0
) -> Times:
    """Times every contender once a round, each until its result is ready.

    Args:
      calls: what to time, compiled and run once before.
      rounds: the least number of rounds.
      seconds: of time per contender, on average, before stopping; at most 50 rounds.

    Returns:
      The seconds of every round, by contender.
    """
    times: Times = {name: [] for name in calls}
    began = time.perf_counter()
    order = random.Random(0)
    for done in range(50):
        if done >= rounds and time.perf_counter() - began > seconds * len(calls):
            break
        # The order changes from round to round, so that no contender always runs with the
        # cache contents that the same neighbour left.
        for name in order.sample(list(calls), len(calls)):
            start = time.perf_counter()
            jax.block_until_ready(calls[name]())
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Times, name: str, to: str) -> Spread:
    """Of one contender's time to another's, round by round."""
    return spread([a / b for a, b in zip(times[name], times[to], strict=True)])


def spread(values: list[float]) -> Spread:
    """The median and the quartiles of some values."""
    if len(values) == 1:
        return Spread(*values * 3)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the seconds it took, once: for compilation."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start
