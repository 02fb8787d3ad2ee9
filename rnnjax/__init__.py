"""Recurrent networks as pure functions folded over time."""

from rnnjax import cells, folds, initializers
from rnnjax.cell import Cell, from_step, step
from rnnjax.unroll import lengths_to_mask, states, unroll

__all__ = [
    "Cell",
    "cells",
    "folds",
    "from_step",
    "initializers",
    "lengths_to_mask",
    "states",
    "step",
    "unroll",
]
