"""Jacobians of the steps, and the singular values of their products."""

from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._checks import check_function
from rnnjax._jacobians import dense
from rnnjax._once import once
from rnnjax._refused import undifferentiable
from rnnjax._unroll import Options, Run, running, turned
from rnnjax._vectors import for_every_member, from_vectors, to_vectors
from rnnjax.diagnostics._graded import Graded, graded, log_singular_values
from rnnjax.diagnostics._steps import states_before, step_pullback, vector_pullback

_MEASURED = (
    "jacobian_product_spectrum: expected no derivative of a measurement, got one; pass "
    "`jax.lax.stop_gradient` of params, inputs and state, or differentiate `step_jacobians` or "
    "`gradient_report`"
)


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
            # By pullbacks, since a step may have no forward mode.
            rows = dense(step_pullback(run, state, x), to_vectors(state, run.batch), run.batch)
            return rows.adjoint().matrices

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

    The product is kept as diag(exp(logs)) U Q with orthonormal rows Q, logarithms `logs`
    and a well-scaled triangle U, so that no length over- or underflows. Each step
    multiplies it by J_t and takes one step of the QLP iteration (Stewart 1999, section 3),
    which draws U towards the identity. The values are those of an SVD of the graded
    triangle diag(exp(logs)) U. Values above the square root of the precision times the
    largest have at most that root as relative error. So have the smaller ones in practice,
    though no bound guarantees it; those that underflow next to the largest, or that the SVD
    has lost, are read off the diagonal: exact where neighbours differ by a large factor, as
    they come to do with growing T, and within the spread of a cluster of near-equal ones.

    It is a measurement, and has no derivative.

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
      As `step_jacobians`, and TypeError where it is differentiated.
    """
    check_function("block", block, "state", "pass one such as `lambda state: state.h`")
    with running(cell, params, inputs, state, **options) as run:
        given = run.params, run.inputs, run.state
        params, inputs, state = lax.stop_gradient(given)
        held = run._replace(params=params, inputs=inputs, state=state)
        return undifferentiable(_spectrum(held, block), given, _MEASURED)


def _spectrum(run: Run, block: Callable[[State], Any]) -> jax.Array:
    final, states = run.carry()
    before = states_before(run, states)
    rows = to_vectors(block(final), run.batch)
    eye = for_every_member(jnp.eye(rows.shape[-1], dtype=rows.dtype), rows)

    def values(product: Graded) -> jax.Array:
        """Of the columns of the product that `block` selects."""
        if rows.shape[-1] == product.Q.shape[-1]:
            return log_singular_values(product)  # All of them, in any order.

        def row(q: jax.Array) -> jax.Array:
            return to_vectors(block(from_vectors(q, final, run.batch)), run.batch)

        selected = jax.vmap(row, in_axes=-2, out_axes=-2)(product.U @ product.Q)
        return log_singular_values(graded(product.logs, selected))

    def body(product: Graded, step_of: Any) -> tuple[Graded, jax.Array]:
        moved = jax.vmap(step_pullback(run, *step_of), in_axes=-2, out_axes=-2)(
            product.U @ product.Q
        )
        return graded(product.logs, moved), values(product)

    pullback = vector_pullback(block, final, run.batch)
    chosen = jax.vmap(pullback, out_axes=-2)(eye)
    start = Graded(jnp.zeros_like(rows), jnp.moveaxis(eye, 0, -2), chosen)
    # The values of the whole product are computed outside: a caller that reads no others
    # computes no others.
    whole, logs = lax.scan(body, start, (before, run.inputs), reverse=True)
    return jnp.concatenate([values(whole)[None], logs])
