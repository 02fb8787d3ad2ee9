"""The cells, one per file."""

from rnnjax.cells._elman import ElmanParams, elman
from rnnjax.cells._gru import GRUParams, gru
from rnnjax.cells._lru import LRUParams, lru
from rnnjax.cells._lstm import LSTMParams, LSTMState, lstm
from rnnjax.cells._min_gru import MinGRUParams, min_gru

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
