"""Jacobians of the steps, and the singular values of their products."""

from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._checks import check_function
from rnnjax._once import once
from rnnjax._unroll import Options, Run, running, turned
from rnnjax._vectors import for_every_member, from_vectors, to_vectors
from rnnjax.diagnostics._graded import Graded, log_singular_values, orthogonalise, refine
from rnnjax.diagnostics._steps import states_before, step_pullback, vector_pullback


@once()
def step_jacobians(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    **options: Unpack[Options],
) -> jax.Array:
    """J_t = ∂s_t/∂s_{t-1} at every step, over the whole flattened floating state.

    A masked step has the identity, a reset zero. In reverse s_{t-1} is the state before the
    step in the order of the run.

    Args:
      cell: the recurrence.
      params: its parameters.
      inputs: leaves `[T, B, ...]`.
      state: s before the first step; by default `cell.start`.
      **options: mask, resets, reverse, probes, fold and name, as in `unroll`.

    Returns:
      `[T, B, S, S]`, rows outputs, columns inputs, t in the order of the inputs. S counts the
      floating numbers of one member's state, in the order of the pytree; complex numbers
      count twice, real parts first.

    Raises:
      As `unroll`; TypeError for a floating leaf without batch axes.
    """
    with running(cell, params, inputs, state, **options) as run:
        before = states_before(run, run.carry()[1])

        def jacobian(state: State, x: Inputs) -> jax.Array:
            vectors = to_vectors(state, run.batch)
            eye = jnp.eye(vectors.shape[-1], dtype=vectors.dtype)
            rows = jax.vmap(step_pullback(run, state, x))(for_every_member(eye, vectors))
            return jnp.moveaxis(rows, 0, -2)

        jacobians: jax.Array = turned(jax.vmap(jacobian)(before, run.inputs), run.reverse)
        return jacobians


@once()
def jacobian_product_spectrum(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    *,
    block: Callable[[State], Any] = lambda state: state,
    **options: Unpack[Options],
) -> jax.Array:
    """Log singular values of ∂s_T/∂s_t = J_T ... J_{t+1} for every t.

    The product is kept as Q diag(exp(logs)) M with orthogonal columns Q, logarithms `logs`
    and a well-scaled M, so that no length over- or underflows. Each step multiplies
    it by J_t and takes one step of the QLP iteration (Stewart 1999, section 3), which
    draws M towards the identity. The values within the square root of the precision
    of the largest are then those of an SVD, exact to that root; the smaller are read
    off the graded factor, exact where neighbours differ by a large factor, as they
    come to do with growing T, and within the spread of a cluster of near-equal ones.

    It is a measurement, not to be differentiated.

    Args:
      cell: the recurrence.
      params: its parameters.
      inputs: leaves `[T, B, ...]`.
      state: s before the first step; by default `cell.start`.
      block: selects rows and columns: `lambda s: s.h` gives ∂h_T/∂h_t, a block of the
        product, not a product of blocks. By default the whole state.
      **options: mask, resets, reverse, probes, fold and name, as in `unroll`; in reverse t
        counts from the end of the sequence, in the order of the run.

    Returns:
      `[T + 1, B, R]`, natural logarithms, descending; entry t belongs to ∂s_T/∂s_t,
      the last one to the identity. -inf for a singular value of zero.

    Raises:
      As `step_jacobians`.
    """
    check_function("block", block, "state", "pass one such as `lambda state: state.h`")
    with running(cell, params, inputs, state, **options) as run:
        return _spectrum(run, block)


def _spectrum(run: Run, block: Callable[[State], Any]) -> jax.Array:
    final, states = run.carry()
    before = states_before(run, states)
    rows = to_vectors(block(final), run.batch)
    eye = jnp.broadcast_to(jnp.eye(rows.shape[-1], dtype=rows.dtype), (*rows.shape, rows.shape[-1]))

    def values(product: Graded) -> jax.Array:
        """Of the rows of the product that `block` selects."""

        def column(q: jax.Array) -> jax.Array:
            return to_vectors(block(from_vectors(q, final, run.batch)), run.batch)

        selected = jax.vmap(column, in_axes=-1, out_axes=-1)(product.Q)
        return log_singular_values(refine(orthogonalise(product._replace(Q=selected))))

    def body(product: Graded, step_of: Any) -> tuple[Graded, jax.Array]:
        state, x = step_of
        pullback = step_pullback(run, state, x)
        moved = jax.vmap(pullback, in_axes=-1, out_axes=-1)(product.Q)
        product = refine(orthogonalise(product._replace(Q=moved)))
        return product, values(product)

    pullback = vector_pullback(block, final, run.batch)
    chosen = jax.vmap(pullback, in_axes=-1, out_axes=-1)(eye)
    start = Graded(Q=chosen, logs=jnp.zeros_like(rows), M=eye)
    _, logs = lax.scan(body, start, (before, run.inputs), reverse=True)
    return jnp.concatenate([logs, jnp.zeros_like(rows)[None]])
