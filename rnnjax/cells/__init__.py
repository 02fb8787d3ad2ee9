"""The recurrences, one a file."""

from rnnjax.cells.elman import ElmanParams, elman
from rnnjax.cells.gru import GRUParams, gru
from rnnjax.cells.lru import LRUParams, lru
from rnnjax.cells.lstm import LSTMParams, LSTMState, lstm
from rnnjax.cells.min_gru import MinGRUParams, min_gru

__all__ = [
    "ElmanParams",
    "GRUParams",
    "LRUParams",
    "LSTMParams",
    "LSTMState",
    "MinGRUParams",
    "elman",
    "gru",
    "lru",
    "lstm",
    "min_gru",
]
