"""What the network is compared with, and how: n-grams, a cache, mixtures, and their intervals."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from experiments.baselines.n_grams import KneserNey, with_cache
from experiments.data.shakespeare import Words
from experiments.measures.intervals import mean_interval
from experiments.next_word.options import ORDERS

SIZES = (100, 200, 400, 800, 1600)  # of the cache, in tokens
WEIGHTS = np.arange(0.04, 0.33, 0.04)  # of the cache
SHARES = np.linspace(0.05, 0.95, 19)  # of the network, mixed with the 5-gram
BLOCK, GROUP, DRAWS = 500, 25, 2000  # tokens drawn together, and averaged before; resamplings


def gram_label(order: int) -> str:
    """How the model is called in tables."""
    return f"Kneser-Ney {order}-gram" if order > 1 else "word frequencies"


CACHE, LONGEST = "5-gram with a cache", gram_label(max(ORDERS))
RIVALS = (gram_label(3), LONGEST, CACHE)  # of the claim


class Scores(NamedTuple):
    """Log probabilities that a model gave to the tokens of the plays held out, in nats."""

    validation: np.ndarray
    test: np.ndarray


def perplexity(log_p: np.ndarray) -> float:
    """How many equally likely words would leave one as unsure; from nats."""
    return float(np.exp(-np.mean(log_p)))


def scored(model: KneserNey, data: Words) -> Scores:
    """What an n-gram model gives to the plays held out."""
    return Scores(*(np.log(model.probabilities(part)) for part in (data.validation, data.test)))


class Cached(NamedTuple):
    """The best cache: its tokens, its weight, and the scores of the 5-gram with it."""

    length: int
    weight: float
    scores: Scores


def cached(grams: Scores, data: Words) -> Cached:
    """The 5-gram with the cache whose size and weight are best on the validation plays."""

    def score(part: str, length: int, weight: float) -> np.ndarray:
        p = np.exp(getattr(grams, part))
        log_p: np.ndarray = np.log(with_cache(p, getattr(data, part), length=length, weight=weight))
        return log_p

    best = max(product(SIZES, WEIGHTS), key=lambda pair: score("validation", *pair).mean())
    return Cached(best[0], float(best[1]), Scores(*(score(part, *best) for part in Scores._fields)))


def mixed(network: Scores, grams: Scores) -> Scores:
    """The weighted mean of both probabilities, its weight the best on the validation plays."""

    def mix(part: str, share: float) -> np.ndarray:
        one, other = getattr(network, part), getattr(grams, part)
        log_p: np.ndarray = np.logaddexp(np.log(share) + one, np.log1p(-share) + other)
        return log_p

    best = max(SHARES, key=lambda share: mix("validation", share).mean())
    return Scores(*(mix(part, best) for part in Scores._fields))


class Advantage(NamedTuple):
    """Bits a token that the network saves against a rival.

    Attributes:
      mean: over the test plays and the seeds.
      low: of the 95 % interval.
      high: likewise.
      each: of every seed.
      deviation: of a single token, seeds averaged.
    """

    mean: float
    low: float
    high: float
    each: list[float]
    deviation: float


def advantage(networks: Sequence[Scores], rival: Scores) -> Advantage:
    """Token by token, in blocks: what is hard to predict is hard for both, and for a while."""
    saved = np.stack([network.test - rival.test for network in networks]) / np.log(2)
    of_token = saved.mean(axis=0)
    low, high = mean_interval(of_token, block=BLOCK, group=GROUP, draws=DRAWS, seed=0)
    each = saved.mean(axis=1).tolist()
    return Advantage(float(of_token.mean()), low, high, each, float(of_token.std(ddof=1)))


def distances(p: np.ndarray) -> np.ndarray:
    """Share of the probability that moves to other words between predictions `[S, V]`, `[S, S]`.

    Half the sum of the absolute differences.
    """
    return np.stack([np.abs(p - one).sum(axis=1) / 2 for one in p])


def moved(p: np.ndarray, shape: Sequence[int]) -> list[float]:
    """What changing the word in each place of a sentence moves, on average.

    The mean over all pairs of sentences that differ in that place only.

    Args:
      p: `[S, V]`, a prediction for every combination of words, the last place changing fastest.
      shape: how many words there are to choose from in each place.
    """
    words = np.stack(np.unravel_index(np.arange(len(p)), tuple(shape)))
    differ = words[:, :, None] != words[:, None, :]
    alone = differ.sum(axis=0) == 1
    between = distances(p)
    return [float(between[place & alone].mean()) for place in differ]
