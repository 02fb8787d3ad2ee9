"""A classifier that counts which symbols are neighbours: the rival that needs no network."""

import numpy as np

from experiments.order_matters.tasks import Sequences, Task


def neighbours(task: Task) -> dict[str, float]:
    """A classifier that knows pairs of neighbours alone: the sum of their log-odds.

        score = Σ ln (n_1(v, w) + α) / (n_0(v, w) + α)

    n_1 and n_0 count the pair v w in the training sequences of either label, both ends of a
    sequence being a symbol; α is the one best in validation.
    """
    end = len(task.vocabulary)

    def pairs(sequences: Sequences) -> np.ndarray:
        """`[2P, T + 1]`, a number for each pair, -1 past the end."""
        symbols, lengths = np.asarray(sequences.symbols), np.asarray(sequences.lengths)
        padded = np.pad(symbols, ((0, 0), (1, 1)), constant_values=end)
        padded[np.arange(len(padded)), lengths + 1] = end
        found = padded[:, :-1] * (end + 1) + padded[:, 1:]
        return np.where(np.arange(found.shape[1]) > lengths[:, None], -1, found)

    known, place = np.unique(pairs(task.many), return_inverse=True)
    n_1, n_0 = (
        np.bincount(part.ravel(), minlength=len(known))
        for part in np.split(place.reshape(len(task.many.label), -1), 2)
    )

    def accuracy(alpha: float, sequences: Sequences) -> float:
        each = pairs(sequences)
        place = np.minimum(np.searchsorted(known, each), len(known) - 1)
        odds = np.where((each >= 0) & (known[place] == each), odds_of(alpha)[place], 0.0)
        return float(np.mean((odds.sum(axis=1) > 0) == (np.asarray(sequences.label) > 0)))

    def odds_of(alpha: float) -> np.ndarray:
        return np.log(n_1 + alpha) - np.log(n_0 + alpha)

    best = max((0.1, 0.3, 1.0, 3.0, 10.0), key=lambda alpha: accuracy(alpha, task.validation))
    return {
        "accuracy_validation": accuracy(best, task.validation),
        "accuracy": accuracy(best, task.test),
    }
