"""The fold of everything that is not given another."""

from rnnjax.folds._blocked import blocked
from rnnjax.folds._sequence import Fold


def default() -> Fold:
    """The default fold, `blocked()`: exact, and of moderate memory, for any cell."""
    return blocked()
