"""What the networks are compared with, and how: n-grams, and the interval of a difference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.baselines.n_grams import KneserNey, kneser_ney
from experiments.characters.options import BEFORE, CLAIMED, ORDERS
from experiments.data.shakespeare import ALPHABET
from experiments.lab.output import Part
from experiments.measures.intervals import mean_interval

BLOCK, GROUP, DRAWS = 2000, 50, 2000  # characters drawn together, averaged before; resamplings


class Data(NamedTuple):
    """The works as numbers of the ALPHABET: to train on, and held out."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def gram_label(order: int) -> str:
    """What the model is called in tables."""
    return f"Kneser-Ney {order}-gram" if order > 1 else "letter frequencies"


def bits(model: KneserNey, text: np.ndarray) -> np.ndarray:
    """Of each character of a text, `[N]`."""
    of_each: np.ndarray = -np.log2(model.probabilities(text))
    return of_each


def count_grams(data: Data, places: np.ndarray, metrics: Path) -> Part:
    """Every n-gram model, counted on the training works and tested on the plays held out.

    Args:
      data: the works.
      places: of the test plays, `[K]`, where the best model's predictions are wanted.
      metrics: nothing is written there.

    Returns:
      For each of the ORDERS the bits per character and the number of `grams` that it keeps. For
      the best order up to CLAIMED and for the best of all, both chosen on the validation plays,
      the bits of each character of the test plays: `claimed` and `test`. Of the latter, the
      probabilities `p` `[K, V]`.
    """
    models = {order: kneser_ney(data.training, order=order, size=len(ALPHABET)) for order in ORDERS}
    validation = {order: bits(model, data.validation).mean() for order, model in models.items()}
    of_test = {order: bits(model, data.test) for order, model in models.items()}
    claimed = min(ORDERS[:CLAIMED], key=validation.__getitem__)
    best = min(ORDERS, key=validation.__getitem__)
    p = [models[best].distribution(data.test[place - BEFORE : place].tolist()) for place in places]
    return {
        "bits_validation": np.array(list(validation.values())),
        "bits_test": np.array([each.mean() for each in of_test.values()]),
        "grams": np.array([sum(len(k.grams) for k in m.levels) for m in models.values()]),
        "orders": np.array([claimed, best]),
        "claimed": of_test[claimed],
        "test": of_test[best],
        "p": np.stack(p),
    }


def gram_rows(grams: Part) -> dict[str, Mapping[str, float]]:
    """The numbers of each n-gram model, from what `count_grams` found."""
    columns = {"weights": "grams", "bits_validation": "bits_validation", "bits_test": "bits_test"}
    return {
        gram_label(order): {name: float(grams[found][i]) for name, found in columns.items()}
        for i, order in enumerate(ORDERS)
    }


class Difference(NamedTuple):
    """Bits per character of the test plays that one model saves against another.

    Attributes:
      one: its label.
      other: likewise.
      saved: the mean over the plays and the seeds.
      low: of the 95 % interval.
      high: likewise.
      found: whether zero is outside the interval, and the seeds of the two models do not overlap.
    """

    one: str
    other: str
    saved: float
    low: float
    high: float
    found: bool


def difference(one: str, bits_one: np.ndarray, other: str, bits_other: np.ndarray) -> Difference:
    """Character by character, in blocks: what is hard to predict is hard for both, and for a while.

    Args:
      one: label of the first model.
      bits_one: `[S, N]`, what each character cost it with each seed.
      other: label of the second model.
      bits_other: likewise; `[1, N]` without seeds.
    """
    saved = bits_other.mean(axis=0) - bits_one.mean(axis=0)
    low, high = mean_interval(saved, block=BLOCK, group=GROUP, draws=DRAWS, seed=0)
    of_one, of_other = bits_one.mean(axis=1), bits_other.mean(axis=1)
    apart = of_one.max() < of_other.min() or of_other.max() < of_one.min()
    found = bool(apart) and not low <= 0 <= high
    return Difference(one, other, float(saved.mean()), low, high, found)


def in_words(differences: Sequence[Difference]) -> str:
    """Each difference with its interval."""
    return "; ".join(
        f"{d.one} against {d.other}: {d.saved:+.3f} bits per character saved "
        f"({d.low:+.3f} to {d.high:+.3f}{'' if d.found else ', no difference found'})"
        for d in differences
    )
