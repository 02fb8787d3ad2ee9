"""The fold of everything that is not given another."""

from rnnjax.folds.blocked import blocked
from rnnjax.folds.sequence import Fold


def default() -> Fold:
    """The default fold, `blocked()`: exact, and of moderate memory, for any cell."""
    return blocked()
