"""Time in blocks, and nothing stored but the states: the fastest fold for small batches.

A training step through `lax.scan` stores every intermediate of every step, and its backward
pass adds a weight-sized matrix to an accumulator at every step. Here the backward pass
carries only the state's cotangent. The rest is done once per block, for all of its steps at
once: the drives and the products h_{t-1} W_hh, recomputed; the linearisation of `update`; the
kernel's gradient, one contraction over (time, batch); the gradients of `project` and of the
parameters that `update` reads, one pullback each.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from rnnjax._cell import Cell, Drive, Inputs, Params, State
from rnnjax._checks import as_count
from rnnjax._refused import reverse_only
from rnnjax._tree import combine, floating, rest
from rnnjax._values import by_value
from rnnjax.folds._cost import block_size, cost_of
from rnnjax.folds._reverse import (
    Explicit,
    accumulate,
    add,
    cotangents,
    in_blocks,
    kernel_gradient,
    make_explicit,
    over_steps,
    primals,
    pull_back,
    transposed_kernel,
    zeros_wide,
)
from rnnjax.folds._scan import scan_drives
from rnnjax.folds._sequence import Fold, element, in_pieces, length_of, scan_wide, vary_together


@by_value
def blocked(*, size: int | None = None) -> Fold:
    """Folds block by block, with an exact custom reverse rule that stores the states alone.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t          (backward)

    A cell with a kernel uses the reverse rule of this module, which has no forward mode
    (`scan` has it; forward over reverse works). A cell without a kernel is folded in
    checkpointed blocks, which store one state per block besides `states` and support every
    derivative.

    Args:
      size: steps in a block. T need not be a multiple of it. By default as many as have
        about 1 MiB of drives, at least 16 if B is below 256; 32 for a cell without a kernel.
        16 where `jax.export` leaves B symbolic, all where it leaves T symbolic.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      TypeError: `size` is not a whole number.
      ValueError: `size` is below one.
    """
    size = None if size is None else as_count("size", size)

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        params, inputs, state = vary_together(params, inputs, state)
        if length == 0:
            return scan_drives(cell, params, inputs, state)
        steps = block_size(cost_of(cell, params, inputs, state), length) if size is None else size
        run = _checkpointed_blocks if cell.kernel is None else _blocks
        return in_pieces(partial(run, cell, params), inputs, state, steps)

    return fold


def _checkpointed_blocks(
    cell: Cell, params: Params, state: State, blocks: Inputs
) -> tuple[State, State]:
    @partial(jax.checkpoint, prevent_cse=False)  # The enclosing loop already prevents it.
    def body(state: State, block: Inputs) -> tuple[State, State]:
        return scan_drives(cell, params, block, state)

    return scan_wide(body, state, blocks)


def _blocks(cell: Cell, params: Params, state: State, blocks: Inputs) -> tuple[State, State]:
    functions, constants = make_explicit(cell, params, element(element(blocks)), state)
    params, constants, blocks, state = reverse_only((params, constants, blocks, state))
    return _fold_blocks(functions, params, constants, blocks, state)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fold_blocks(
    functions: Explicit, params: Params, constants: Any, blocks: Inputs, state: State
) -> tuple[State, State]:
    return in_blocks(functions, (params, constants), state, blocks)


def _forward(
    functions: Explicit, params: Any, constants: Any, blocks: Any, state: Any
) -> tuple[tuple[State, State], Any]:
    params, constants, blocks, state = primals((params, constants, blocks, state))
    final, states = in_blocks(functions, (params, constants), state, blocks)
    return (final, states), (params, constants, blocks, state, states)


def _backward(functions: Explicit, residuals: Any, given: Any) -> Any:
    params, constants, blocks, start, states = residuals
    theta = (params, constants)
    dL_dfinal, dL_dstates = cotangents(given, start, states)
    kernel, kernel_T, add_by_kernel = transposed_kernel(functions, theta)
    # The state before each block.
    before = jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss[:-1, -1]]), start, states)

    def body(carry: Any, block_of: Any) -> Any:
        dL_ds, dL_dtheta, dL_dkernel = carry
        first, block, after, dL_dafter = block_of
        previous = jax.tree.map(lambda f, a: jnp.concatenate([f[None], a[:-1]]), first, after)
        drives, project_pullback = pull_back(over_steps(functions.project), theta, block)
        hs = over_steps(functions.hidden)(theta, previous, drives)
        mixed = hs @ kernel

        def linearise(state: State, drive: Drive, mixed: jax.Array) -> Any:
            fixed = rest(state)

            def update(moving: State, mixed: jax.Array) -> State:
                return floating(functions.update(theta, combine(moving, fixed), drive, mixed))

            def hidden(moving: State) -> jax.Array:
                mixing: jax.Array = functions.hidden(theta, combine(moving, fixed), drive)
                return mixing

            moving = floating(state)
            return jax.vjp(update, moving, mixed)[1], jax.vjp(hidden, moving)[1]

        def step(dL_ds: Any, step_of: Any) -> Any:
            (update_pullback, hidden_pullback), dL_dafter_t = step_of
            dL_ds = add(dL_ds, dL_dafter_t)
            through_update, dL_dmixed = update_pullback(dL_ds)
            (through_hidden,) = hidden_pullback(dL_dmixed @ kernel_T)
            return jax.tree.map(jnp.add, through_update, through_hidden), dL_ds

        pullbacks = jax.vmap(linearise)(previous, drives, mixed)
        # `lax.scan` needs the length where there is nothing to scan over.
        steps = None if is_symbolic_dim(length_of(after)) else length_of(after)
        dL_ds, g = lax.scan(step, dL_ds, (pullbacks, dL_dafter), steps, reverse=True)

        def update_all(theta: Any, drives: Drive, mixed: jax.Array) -> State:
            return over_steps(functions.update)(theta, previous, drives, mixed)

        def hidden_all(theta: Any, drives: Drive) -> Any:
            return over_steps(functions.hidden)(theta, previous, drives)

        # Recomputed for all steps at once, which costs less than storing it at every step.
        by_update, by_drives, dL_dmixed = pull_back(update_all, theta, drives, mixed)[1](g)
        by_hidden = pull_back(hidden_all, theta, drives)[1](dL_dmixed @ kernel_T)
        by_project = project_pullback(jax.tree.map(jnp.add, by_drives, by_hidden[1]))
        dL_dkernel = accumulate(dL_dkernel, kernel_gradient(hs, dL_dmixed, kernel))
        dL_dtheta = accumulate(dL_dtheta, by_update, by_hidden[0], by_project[0])
        return (dL_ds, dL_dtheta, dL_dkernel), by_project[1]

    carry = dL_dfinal, zeros_wide(floating(theta)), zeros_wide(kernel)
    (dL_dstart, dL_dtheta, dL_dkernel), dL_dblocks = lax.scan(
        body, carry, (before, blocks, states, dL_dstates), reverse=True
    )
    return (*add_by_kernel(dL_dtheta, dL_dkernel), dL_dblocks, dL_dstart)


_fold_blocks.defvjp(_forward, _backward, symbolic_zeros=True)
