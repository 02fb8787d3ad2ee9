"""How far a network reaches, what the gradient predicts, and whether the claim is borne out."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.cures.options import LEARNED
from experiments.lab.output import Part
from experiments.measures.seeds import Spread, exceeds


def reach(part: Part, lags: tuple[int, ...]) -> int:
    """The longest lag recalled, all shorter ones too; 0 for none."""
    recalled = part["accuracy"] >= LEARNED
    return int(max([0, *(lag for i, lag in enumerate(lags) if recalled[: i + 1].all())]))


class Threshold(NamedTuple):
    """The amount of gradient that best separates trainings that learn from those that do not.

    Attributes:
      left: log10 of it.
      right: how many trainings it predicts.
      trainings: of how many.
      stuck: how many had more of it and did not learn.
    """

    left: float
    right: int
    trainings: int
    stuck: int


def threshold(parts: list[Part]) -> Threshold:
    """Chosen on the trainings that it is counted on."""
    left = np.concatenate([part["left"] for part in parts])
    learned = np.concatenate([part["accuracy"] >= LEARNED for part in parts])
    ordered = np.sort(left)
    places = [ordered[0] - 1, *(ordered[:-1] + ordered[1:]) / 2]
    right = [int(((left > place) == learned).sum()) for place in places]
    best = int(np.argmax(right))
    stuck = int(((left > places[best]) & ~learned).sum())
    return Threshold(float(places[best]), right[best], len(left), stuck)


def bears_out(reached: Mapping[str, Spread], learned: Mapping[str, float]) -> bool:
    """Whether all others reach further than tanh, the LSTM the further the larger its bias.

    Args:
      reached: by name, the networks that ran.
      learned: at how many rates the exploding one learned, by name in `CLIPS`; more of them
        must be clipped.
    """
    others = [value for name, value in reached.items() if name != "tanh"]
    biases = [reached[name] for name in ("lstm-0", "lstm-1", "lstm-chrono") if name in reached]
    means = [value.mean for value in biases]
    return (
        "tanh" in reached
        and bool(others)
        and all(exceeds(other, reached["tanh"]) for other in others)
        and means == sorted(means)
        and (len(biases) < 2 or exceeds(biases[-1], biases[0]))
        and learned["not clipped"] < learned["clipped"]
    )


def share_of(power: float) -> str:
    """10 to this power, as one writes it."""
    whole = math.floor(power)
    raised = str(whole).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10 ** (power - whole):.1f} · 10{raised}"


def in_words(
    reached: Mapping[str, Spread], learned: Mapping[str, float], told: Threshold, rates: int
) -> str:
    """The findings on lags, on the gradient and on clipping; means over seeds, reach by label."""
    reaches = ", ".join(f"{label} {value.mean:.0f}" for label, value in reached.items())
    return (
        f"Longest lag recalled: {reaches}. Whether more or less than {share_of(told.left)} of the "
        f"gradient was left before training predicts {told.right} of {told.trainings} outcomes. "
        "Where the gradient explodes, plain gradient descent learned at "
        f"{learned['not clipped']:.2g} of {rates} learning rates, and clipped at "
        f"{learned['clipped']:.2g}."
    )
