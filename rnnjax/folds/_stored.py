"""A scan that stores little for its backward pass: the fastest fold for large batches.

A training step through `lax.scan` stores every intermediate that a derivative reads, and
transposes the kernel at every step. Here the forward pass stores the states and the few arrays
that `rnnjax.folds._linearised` chooses. The input product and the weights' gradients stay in the
loop: for large batches, writing the drives of many steps to memory and reading them back takes
longer than one large product saves.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax._cell import Cell, Inputs, Params, State, advance
from rnnjax._refused import reverse_only
from rnnjax._tree import count_bytes, floating
from rnnjax._values import by_value
from rnnjax.folds._cost import block_size, cost_of
from rnnjax.folds._linearised import is_kept, linearise
from rnnjax.folds._reverse import (
    Explicit,
    accumulate,
    add,
    cotangents,
    in_blocks,
    kernel_gradient,
    make_explicit,
    primals,
    pull_back,
    transposed_kernel,
    zeros_wide,
)
from rnnjax.folds._scan import scan_drives
from rnnjax.folds._sequence import (
    Fold,
    element,
    in_pieces,
    length_of,
    scan_wide,
    types_of_step,
    vary_together,
)


@by_value
def stored() -> Fold:
    """Folds step by step, with an exact gradient that stores little.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t          (backward)

    Besides the states it stores, of the intermediates that the derivative of `update` reads, the
    results of products, transcendental functions and comparisons: r, z, n and one product for
    the GRU; i, f, g, o and tanh(c) for the LSTM; none for tanh.

    A cell with a kernel uses the reverse rule of this module, which has no forward mode
    (`scan` has it; forward over reverse works). A cell without a kernel supports every
    derivative, and its drives are computed at once.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.
    """

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        params, inputs, state = vary_together(params, inputs, state)
        if length_of(inputs) == 0:
            return scan_drives(cell, params, inputs, state)
        run = _checkpointed_steps if cell.kernel is None else _steps
        return run(cell, params, inputs, state)

    return fold


def step_bytes(cell: Cell, params: Params, inputs: Inputs, state: State) -> int:
    """What `stored` stores for one step besides the state."""
    drive, mixed = types_of_step(cell, params, element(inputs), state)
    kept = linearise(cell.update, params, state, drive, mixed).kept_bytes
    return kept + (count_bytes(drive) if cell.kernel is None else 0)


def _checkpointed_steps(
    cell: Cell, params: Params, inputs: Inputs, state: State
) -> tuple[State, State]:
    # The loop over steps already prevents common subexpression elimination.
    @partial(jax.checkpoint, policy=is_kept, prevent_cse=False)
    def body(state: State, drive: Any) -> tuple[State, State]:
        state = advance(cell, params, None, state, drive)
        return state, state

    return scan_wide(body, state, cell.project(params, inputs))


def _steps(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
    functions, constants = make_explicit(cell, params, element(inputs), state)
    size = block_size(cost_of(cell, params, inputs, state), length_of(inputs))
    params, constants, inputs, state = reverse_only((params, constants, inputs, state))
    return _fold_steps(functions, size, params, constants, inputs, state)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fold_steps(
    functions: Explicit, size: int, params: Params, constants: Any, inputs: Inputs, state: State
) -> tuple[State, State]:
    """Without a gradient nothing is stored, and blocks of drives are the faster."""
    run = partial(in_blocks, functions, (params, constants))
    return in_pieces(run, inputs, state, size)


def _arguments(
    functions: Explicit, theta: Any, x: Inputs, state: State
) -> tuple[Any, State, Any, Any]:
    """The arguments of `update` at one step."""
    drive = functions.project(theta, x)
    return theta, state, drive, functions.hidden(theta, state, drive) @ functions.kernel(theta)


def _forward(
    functions: Explicit, size: int, params: Any, constants: Any, inputs: Any, state: Any
) -> tuple[tuple[State, State], Any]:
    params, constants, inputs, state = primals((params, constants, inputs, state))
    theta = (params, constants)
    types = jax.eval_shape(partial(_arguments, functions), theta, element(inputs), state)
    linearised = linearise(functions.update, *types)
    kernel = functions.kernel(theta)

    def step(state: State, x: Inputs) -> tuple[State, tuple[State, Any]]:
        drive = functions.project(theta, x)
        mixed = functions.hidden(theta, state, drive) @ kernel
        state, kept = linearised.run(theta, state, drive, mixed)
        return state, (state, kept)

    final, (states, kept) = lax.scan(step, state, inputs)
    return (final, states), (params, constants, inputs, state, states, kept, linearised)


def _backward(functions: Explicit, size: int, residuals: Any, given: Any) -> Any:
    params, constants, inputs, start, states, kept, linearised = residuals
    theta = (params, constants)
    dL_dfinal, dL_dstates = cotangents(given, start, states)
    kernel, kernel_T, add_by_kernel = transposed_kernel(functions, theta)
    shared: list[jax.Array] = []
    if linearised.shared:
        first = jax.tree.map(lambda x: x[0], inputs)
        shared = linearised.from_theta(*_arguments(functions, theta, first, start))

    def step(carry: Any, step_of: Any) -> Any:
        dL_ds, dL_dtheta, dL_dkernel = carry
        t, x, after, kept, dL_dafter = step_of
        # Gathered here: an array of the states before all steps would be a copy of all of them.
        before = jax.tree.map(
            lambda s, ss: jnp.where(t > 0, ss[jnp.maximum(t - 1, 0)], s), start, states
        )
        drive, project_pullback = pull_back(functions.project, theta, x)
        update_pullback = linearised.pull_back(
            theta=theta, before=before, after=after, kept=kept, shared=shared
        )
        by_update, dL_dmixed = update_pullback(add(dL_ds, dL_dafter))
        h, hidden_pullback = pull_back(functions.hidden, theta, before, drive)
        by_hidden = hidden_pullback(dL_dmixed @ kernel_T)
        dL_ds, dL_ddrive = jax.tree.map(jnp.add, by_update[1:], by_hidden[1:])
        by_project, dL_dx = project_pullback(dL_ddrive)
        dL_dtheta = accumulate(dL_dtheta, by_update[0], by_hidden[0], by_project)
        dL_dkernel = accumulate(dL_dkernel, kernel_gradient(h, dL_dmixed, kernel))
        return (dL_ds, dL_dtheta, dL_dkernel), dL_dx

    carry = dL_dfinal, zeros_wide(floating(theta)), zeros_wide(kernel)
    times = jnp.arange(length_of(inputs))
    (dL_dstart, dL_dtheta, dL_dkernel), dL_dinputs = lax.scan(
        step, carry, (times, inputs, states, kept, dL_dstates), reverse=True
    )
    return (*add_by_kernel(dL_dtheta, dL_dkernel), dL_dinputs, dL_dstart)


_fold_steps.defvjp(_forward, _backward, symbolic_zeros=True)
