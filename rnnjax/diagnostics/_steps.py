"""The derivative of one step, for every member of a batch at once.

The state of each member is laid out as one real vector `[S]` (`_vectors`).
Integers and keys are carried, not differentiated.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Batch, Inputs, State, step
from rnnjax._unroll import Run
from rnnjax._vectors import from_vectors, to_vectors


def vector_pullback(
    function: Callable[[Any], Any], point: Any, batch: Batch
) -> Callable[[jax.Array], jax.Array]:
    """The transposed Jacobian of a function of a state, as `[B, R] -> [B, S]`."""
    vectors = to_vectors(point, batch)
    _, pullback = jax.vjp(
        lambda v: to_vectors(function(from_vectors(v, point, batch)), batch), vectors
    )
    return lambda cotangent: pullback(cotangent)[0]


def step_pullback(run: Run, state: State, x: Inputs) -> Callable[[jax.Array], jax.Array]:
    """J_t' = (∂s_t/∂s_{t-1})' as a function of vectors `[B, S]`."""
    return vector_pullback(lambda s: step(run.cell, run.params, s, x), state, run.batch)


def states_before(run: Run, states: State) -> State:
    """s_{t-1} for every t, leaves `[T, B, ...]`."""
    return jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss])[:-1], run.state, states)
