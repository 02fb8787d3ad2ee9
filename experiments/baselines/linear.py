"""Linear models, fitted by least squares."""

from collections.abc import Sequence

import numpy as np


def least_squares(past: np.ndarray, wanted: np.ndarray, penalty: float = 0.0) -> np.ndarray:
    """Weights `W` that minimise ‖past W - wanted‖² + penalty ‖W‖².

    There is no intercept: give `past` a column of ones, which is penalised like the others, or
    centre both. Without a penalty, the shortest of several equally good solutions is returned.

    Args:
      past: `[N, D]`, what is known.
      wanted: `[N]` or `[N, K]`, what is to be predicted.
      penalty: how strongly the weights are drawn to zero.

    Returns:
      `[D]` or `[D, K]`.
    """
    if penalty:
        # A row for each weight that asks for zero.
        past = np.concatenate([past, np.sqrt(penalty) * np.eye(past.shape[1])])
        wanted = np.concatenate([wanted, np.zeros((past.shape[1], *wanted.shape[1:]))])
    weights: np.ndarray = np.linalg.lstsq(past, wanted, rcond=None)[0]
    return weights


def ridge_path(
    past: np.ndarray, wanted: np.ndarray, penalties: Sequence[float]
) -> list[np.ndarray]:
    """`least_squares` for several penalties, all above zero, at little more than the cost of one.

    The normal equations are solved through one eigendecomposition of `past.T @ past`.
    """
    values, vectors = np.linalg.eigh(past.T @ past)
    turned = vectors.T @ (past.T @ wanted)
    return [vectors @ (turned.T / (values + penalty)).T for penalty in penalties]


def lagged(values: np.ndarray, order: int) -> np.ndarray:
    """`[N, D]` to `[N, order * D]`: each row followed by the `order - 1` rows before it.

    Before the first row there is nothing: it is repeated.
    """
    back = np.maximum(np.arange(len(values))[:, None] - np.arange(order), 0)
    rows: np.ndarray = values[back].reshape(len(values), -1)
    return rows
