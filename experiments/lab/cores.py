"""Trainings too small to fill more than one core, two at a time."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.lab.output import Part


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
      numbers: by name.
      records: of `rnnjax.training.fit`.
    """

    numbers: Mapping[str, float]
    records: list[dict[str, float]]


def side_by_side(trainings: Mapping[str, Callable[[], Trained]], metrics: Path) -> Part:
    """Runs trainings two at a time, a core each.

    Args:
      trainings: by name, the longest last.
      metrics: gets the records, each with its training's name.

    Returns:
      For each number an array with an entry a training.
    """
    with ThreadPoolExecutor(2) as cores:
        # The longest first, so that neither core waits long for the other.
        found = list(cores.map(lambda training: training(), reversed(trainings.values())))[::-1]
    with metrics.open("a", encoding="utf-8") as lines:
        for name, trained in zip(trainings, found, strict=True):
            lines.writelines(
                json.dumps({"training": name, **record}, allow_nan=False) + "\n"
                for record in trained.records
            )
    return {
        name: np.array([trained.numbers[name] for trained in found]) for name in found[0].numbers
    }
