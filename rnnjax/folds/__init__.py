"""Algorithms that run a recurrence over time, one per file.

A fold is `fold(cell, params, inputs, state) -> (final_state, states)`: inputs'
leaves `[T, B, ...]`, state `[B, ...]`, states `[T, B, ...]`.
"""

from rnnjax._jacobians import Jacobians, Linearise, dense, diagonal
from rnnjax.folds._blocked import blocked
from rnnjax.folds._checkpointed import checkpointed
from rnnjax.folds._default import default
from rnnjax.folds._parallel import Solution, newton, parallel
from rnnjax.folds._scan import scan
from rnnjax.folds._sequence import Fold
from rnnjax.folds._stored import stored
from rnnjax.folds._truncated import truncated

__all__ = [
    "Fold",
    "Jacobians",
    "Linearise",
    "Solution",
    "blocked",
    "checkpointed",
    "default",
    "dense",
    "diagonal",
    "newton",
    "parallel",
    "scan",
    "stored",
    "truncated",
]
