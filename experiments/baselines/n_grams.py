"""Kneser-Ney n-grams of words or characters, and a cache of the latest ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Level(NamedTuple):
    """What n-grams of one length say.

    A gram is a context, itself a gram of the level below, and a word.

    Attributes:
      grams: `[G]`, context · V + word, sorted.
      share: `[G]`, probability of the word that its own count leaves it.
      rest: `[C]`, for each context, the probability left for the level below.
    """

    grams: np.ndarray
    share: np.ndarray
    rest: np.ndarray

    def find(self, grams: np.ndarray) -> np.ndarray:
        """Their numbers, or -1."""
        places = np.searchsorted(self.grams, grams)
        found = self.grams[np.minimum(places, len(self.grams) - 1)] == grams
        return np.where(found, places, -1)


class KneserNey(NamedTuple):
    """Interpolated Kneser-Ney with modified discounts (Chen and Goodman 1998, section 3).

        p_k(w | c) = max(a(c w) - D(a), 0) / Σ_v a(c v) + rest(c) p_{k-1}(w | c')

    c' is the context c without its first word, and p_0 = 1 / V. a counts how often a gram
    occurs at the highest order, and below it how many different words come before it.
    The discounts D(1), D(2) and D(3 and more) are those that leaving one out would choose.

    Attributes:
      size: V, the words of the closed vocabulary.
      levels: from single words on.
    """

    size: int
    levels: tuple[Level, ...]

    def probabilities(self, stream: np.ndarray) -> np.ndarray:
        """Of every token of a stream after those before it, `[N]`."""
        p = np.full(len(stream), 1 / self.size)
        context = np.zeros(len(stream), int)
        for level in self.levels:
            gram = np.where(context >= 0, level.find(context * self.size + stream), -1)
            own = np.where(gram >= 0, level.share[gram], 0)
            p = np.where(context >= 0, own + level.rest[context] * p, p)
            context = np.concatenate([[-1], gram[:-1]])
        return p

    def distribution(self, before: Sequence[int] | np.ndarray) -> np.ndarray:
        """Of the token that comes after those, `[V]`."""
        vocabulary = np.arange(self.size)
        context = 0
        p = np.full(self.size, 1 / self.size)
        for k, level in enumerate(self.levels):
            if k > 0:
                context = self._context(before[len(before) - k :]) if k <= len(before) else -1
            if context < 0:
                break
            gram = level.find(context * self.size + vocabulary)
            p = np.where(gram >= 0, level.share[gram], 0) + level.rest[context] * p
        return p

    def _context(self, tokens: Sequence[int] | np.ndarray) -> int:
        gram = 0
        for level, token in zip(self.levels, tokens, strict=False):
            gram = int(level.find(np.array([gram * self.size + int(token)]))[0])
            if gram < 0:
                break
        return gram


def kneser_ney(stream: np.ndarray, *, order: int, size: int) -> KneserNey:
    """Counts the grams of a stream up to a length.

    Args:
      stream: `[N]`, numbers below V. Its end is joined to its beginning, so that every
        gram has a word before it and one after it.
      order: words in the longest gram.
      size: V.
    """
    counted = []
    context = np.zeros(len(stream), int)
    for _ in range(order):
        grams, first, gram = np.unique(
            context * size + stream, return_index=True, return_inverse=True
        )
        counted.append((grams, first, gram))
        context = np.roll(gram, 1)

    levels = []
    for k, (grams, _, gram) in enumerate(counted):
        ends = gram if k + 1 == order else gram[counted[k + 1][1]]
        counts = np.bincount(ends, minlength=len(grams))
        contexts = grams // size
        total = np.bincount(contexts, weights=counts)
        discount = _discounts(counts)[np.minimum(counts, 3)]
        levels.append(
            Level(
                grams,
                (counts - discount) / total[contexts],
                np.bincount(contexts, weights=discount) / total,
            )
        )
    return KneserNey(size, tuple(levels))


def with_cache(p: np.ndarray, stream: np.ndarray, *, length: int, weight: float) -> np.ndarray:
    """A model mixed with the frequencies of the latest tokens (Kuhn and De Mori 1990), `[N]`.

        (1 - weight) p(w) + weight · (how often w occurs among the latest) / (how many those are)

    The first token has none before it, and keeps its probability.

    Args:
      p: `[N]`, what the model gives to each token of the stream.
      stream: `[N]`, numbers of the tokens.
      length: of the cache: how many tokens before the present one are the latest.
      weight: of the cache.
    """
    place = np.arange(len(stream))
    latest = np.minimum(place, length)
    # Every token with its place, sorted: those of one word stand together, in their order.
    here = stream.astype(np.int64) * len(stream) + place
    ordered = np.sort(here)
    count = np.searchsorted(ordered, here) - np.searchsorted(ordered, here - latest)
    mixed: np.ndarray = (1 - weight) * p + weight * count / np.maximum(latest, 1)
    return np.where(place > 0, mixed, p)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off a count of 0, 1, 2, 3 and more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5]
    if not n[1:].all():
        return np.array([0, 0.5, 0.5, 0.5])  # too few grams to tell
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0, *(r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3))]).clip(0)
