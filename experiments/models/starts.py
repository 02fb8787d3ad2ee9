"""Starts of recurrent weights that other libraries use."""

import math
from typing import Any

import jax


def as_torch(key: jax.Array, shape: Any, dtype: Any = float, out_sharding: Any = None) -> jax.Array:
    """Uniform between -1/√H and 1/√H for `[H, H]`, as torch starts W_hh of every network."""
    return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(shape[0])
