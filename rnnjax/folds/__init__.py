"""The ways of carrying a recurrence over time, one a file.

A fold is `fold(cell, params, inputs, state) -> (final_state, states)`: inputs'
leaves `[T, B, ...]`, state `[B, ...]`, states `[T, B, ...]`.
"""

from rnnjax.folds.blocked import blocked
from rnnjax.folds.checkpointed import checkpointed
from rnnjax.folds.default import default
from rnnjax.folds.parallel import Solution, newton, parallel
from rnnjax.folds.scan import scan
from rnnjax.folds.sequence import Fold
from rnnjax.folds.truncated import truncated
from rnnjax.jacobians import Linearise, dense, diagonal

__all__ = [
    "Fold",
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
    "truncated",
]
