"""The recurrences, one a file."""

from rnnjax.cells.elman import ElmanParams, elman
from rnnjax.cells.gru import GRUParams, gru
from rnnjax.cells.lstm import LSTMParams, LSTMState, lstm

__all__ = ["ElmanParams", "GRUParams", "LSTMParams", "LSTMState", "elman", "gru", "lstm"]
