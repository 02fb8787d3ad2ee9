"""The default fold."""

from rnnjax.folds._blocked import blocked
from rnnjax.folds._sequence import Fold


def default() -> Fold:
    """The default fold, `blocked()`: exact, with moderate memory, for any cell."""
    return blocked()
