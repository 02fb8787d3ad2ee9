"""The default fold: time in blocks, and only the states stored.

A training step through `lax.scan` keeps every intermediate of every step and adds a
weight-sized matrix to an accumulator at every step on the way back. Here the way
back carries the state's cotangent alone. What can wait is done once per block: the
drives, the products h_{t-1} W_hh and the linearisation of `update` are computed
again from the stored states, for all steps of a block at once; the kernel's gradient
is one contraction over (time, batch); the gradients of `project` and of what
`update` reads of the parameters are one pull-back each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from rnnjax.cell import Cell, Drive, Inputs, Params, State
from rnnjax.folds.reverse_only import reverse_only
from rnnjax.folds.scan import scan_drives
from rnnjax.folds.sequence import Fold, join, length_of, split, vary_together
from rnnjax.tree import at_least_float32, combine, floating, rest


def blocked(*, size: int = 16) -> Fold:
    """Folds block by block, with an exact reverse mode that stores only the states.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t          (backward)

    A cell with a kernel takes the reverse rule of this module; of its derivatives,
    forward mode alone is not defined (`scan` has it; forward over reverse works). A
    cell without a kernel is folded by checkpointed blocks, which stores one state a
    block besides `states` and keeps every derivative.

    Args:
      size: steps in a block. T need not be a multiple of it.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      ValueError: `size` is below one.
    """
    if size < 1:
        raise ValueError(f"size: expected a block of at least 1 step, got {size}")

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        params, inputs, state = vary_together(params, inputs, state)
        if length == 0:
            return scan_drives(cell, params, inputs, state)
        run = _checkpointed_blocks if cell.kernel is None else _blocks
        whole = length - length % size
        pieces = []
        # The steps after the last whole block are a block of their own.
        for begin, end, steps in ((0, whole, size), (whole, length, length - whole)):
            if begin < end:
                state, states = run(cell, params, split(inputs, begin, end, steps), state)
                pieces.append(join(states))
        return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)

    return fold


def _checkpointed_blocks(
    cell: Cell, params: Params, blocks: Inputs, state: State
) -> tuple[State, State]:
    @partial(jax.checkpoint, prevent_cse=False)  # The loop around it already prevents it.
    def body(state: State, block: Inputs) -> tuple[State, State]:
        return scan_drives(cell, params, block, state)

    return lax.scan(body, state, blocks)


class _Explicit(NamedTuple):
    """The functions of a cell, reading what they closed over from their first argument."""

    project: Callable[..., Drive]
    kernel: Callable[..., jax.Array]
    hidden: Callable[..., jax.Array]
    update: Callable[..., State]


def _blocks(cell: Cell, params: Params, blocks: Inputs, state: State) -> tuple[State, State]:
    functions, constants = _close(cell, params, blocks, state)
    params, constants, blocks, state = reverse_only((params, constants, blocks, state))
    return _fold_blocks(functions, params, constants, blocks, state)


def _close(
    cell: Cell, params: Params, blocks: Inputs, state: State
) -> tuple[_Explicit, tuple[tuple[jax.Array, ...], ...]]:
    """Hoists the values that the cell's functions close over, so that they get gradients."""
    block = jax.tree.map(lambda x: x[0], blocks)
    drive = jax.eval_shape(
        lambda p, x: jax.tree.map(lambda d: d[0], cell.project(p, x)), params, block
    )
    kernel, hidden = cell.kernel, cell.hidden
    assert kernel is not None and hidden is not None
    mixed = jax.eval_shape(lambda p, s, d: hidden(s, d) @ kernel(p), params, state, drive)
    functions, constants = zip(
        _hoist(cell.project, params, block),
        _hoist(kernel, params),
        _hoist(lambda _, s, d: hidden(s, d), params, state, drive),
        _hoist(cell.update, params, state, drive, mixed),
        strict=True,
    )
    return _Explicit(*(partial(_call, f, i) for i, f in enumerate(functions))), constants


def _hoist(function: Callable[..., Any], *examples: Any) -> tuple[Callable[..., Any], Any]:
    # jax.closure_convert leaves integers, and what only vmap knows, in the closure, where
    # they are another trace's tracers by the time the backward pass runs.
    closed, result = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*examples)
    constants = tuple(closed.consts)
    # Traced once more with the constants as arguments: nothing that is kept holds a tracer.
    explicit = jax.make_jaxpr(
        lambda args, constants: jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, constants))(*args)
    )(jax.tree.leaves(examples), constants)
    structure = jax.tree.structure(result)

    def converted(*args: Any) -> Any:
        return jax.tree.unflatten(structure, jaxpr_as_fun(explicit)(*jax.tree.leaves(args)))

    return converted, constants


def _call(function: Callable[..., Any], which: int, theta: Any, *args: Any) -> Any:
    params, constants = theta
    return function(params, *args, *constants[which])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fold_blocks(
    functions: _Explicit, params: Params, constants: Any, blocks: Inputs, state: State
) -> tuple[State, State]:
    return _run(functions, (params, constants), blocks, state)


def _run(functions: _Explicit, theta: Any, blocks: Inputs, state: State) -> tuple[State, State]:
    kernel = functions.kernel(theta)

    def step(state: State, drive: Drive) -> tuple[State, State]:
        mixed = functions.hidden(theta, state, drive) @ kernel
        state = functions.update(theta, state, drive, mixed)
        return state, state

    def body(state: State, block: Inputs) -> tuple[State, State]:
        return lax.scan(step, state, functions.project(theta, block))

    return lax.scan(body, state, blocks)


def _forward(
    functions: _Explicit, params: Params, constants: Any, blocks: Inputs, state: State
) -> tuple[tuple[State, State], Any]:
    final, states = _run(functions, (params, constants), blocks, state)
    return (final, states), (params, constants, blocks, state, states)


def _backward(functions: _Explicit, residuals: Any, cotangents: Any) -> Any:
    params, constants, blocks, start, states = residuals
    dL_dfinal, dL_dstates = _drop_float0(cotangents, (start, states))
    theta = (params, constants)
    theta_fixed = rest(theta)
    kernel, kernel_pullback = jax.vjp(
        lambda t: functions.kernel(combine(t, theta_fixed)), floating(theta)
    )
    # Transposed here, behind the barrier, the kernel is not transposed again at every step.
    kernel_T = lax.optimization_barrier(kernel.T)
    # The state before each block.
    before = jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss[:-1, -1]]), start, states)

    def body(carry: Any, block_of: Any) -> Any:
        dL_ds, dL_dtheta, dL_dkernel = carry
        first, block, after, dL_dafter = block_of
        previous = jax.tree.map(lambda f, a: jnp.concatenate([f[None], a[:-1]]), first, after)
        drives, project_pullback = _pullback(functions.project, theta, block)
        hs = _over_steps(functions.hidden)(theta, previous, drives)
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
            dL_ds = jax.tree.map(jnp.add, dL_ds, dL_dafter_t)
            through_update, dL_dmixed = update_pullback(dL_ds)
            (through_hidden,) = hidden_pullback(dL_dmixed @ kernel_T)
            return jax.tree.map(jnp.add, through_update, through_hidden), (dL_ds, dL_dmixed)

        pullbacks = jax.vmap(linearise)(previous, drives, mixed)
        dL_ds, (g, dL_dmixed) = lax.scan(step, dL_ds, (pullbacks, dL_dafter), reverse=True)

        def update_all(theta: Any, drives: Drive) -> State:
            return _over_steps(functions.update)(theta, previous, drives, mixed)

        def hidden_all(theta: Any, drives: Drive) -> Any:
            return _over_steps(functions.hidden)(theta, previous, drives)

        by_update = _pullback(update_all, theta, drives)[1](g)
        by_hidden = _pullback(hidden_all, theta, drives)[1](dL_dmixed @ kernel_T)
        by_project = project_pullback(jax.tree.map(jnp.add, by_update[1], by_hidden[1]))
        # One contraction over (time, batch): no axis is merged, so none is gathered where
        # the batch is spread over devices.
        axes = list(range(hs.ndim - 1))
        dL_dkernel += jnp.tensordot(hs, dL_dmixed, (axes, axes))
        dL_dtheta = jax.tree.map(
            lambda total, *terms: sum((t.astype(total.dtype) for t in terms), total),
            dL_dtheta, by_update[0], by_hidden[0], by_project[0],
        )  # fmt: skip
        return (dL_ds, dL_dtheta, dL_dkernel), by_project[1]

    def zeros(t: jax.Array) -> jax.Array:
        # Many blocks add up: not in the precision of bfloat16 weights.
        total = jnp.zeros_like(t, at_least_float32(t.dtype))
        # What does not vary over a mesh has a gradient that does not: it is added up over
        # the devices where it meets what varies.
        varying: jax.Array = vary_together(total, t)[0]
        return varying

    carry = dL_dfinal, jax.tree.map(zeros, floating(theta)), zeros(kernel)
    (dL_dstart, dL_dtheta, dL_dkernel), dL_dblocks = lax.scan(
        body, carry, (before, blocks, states, dL_dstates), reverse=True
    )
    (by_kernel,) = kernel_pullback(dL_dkernel)
    dL_dtheta = jax.tree.map(lambda a, b: a.astype(b.dtype) + b, dL_dtheta, by_kernel)
    return (*dL_dtheta, dL_dblocks, dL_dstart)


_fold_blocks.defvjp(_forward, _backward)


def _over_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Applies a function of one step to the leading axis of all but its first argument."""
    return lambda theta, *args: jax.vmap(partial(function, theta))(*args)


def _pullback(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """`jax.vjp` between the parts of the arguments and results that carry a gradient."""
    fixed = rest(args)

    def of_floating(*moving: Any) -> tuple[Any, Any]:
        result = function(*combine(moving, fixed))
        return floating(result), rest(result)

    moving, pullback, still = jax.vjp(of_floating, *floating(args), has_aux=True)
    return combine(moving, still), pullback


def _drop_float0(cotangents: Any, primals: Any) -> Any:
    """None in place of the cotangents of leaves that carry no gradient."""
    return jax.tree.map(lambda d, p: d if floating(p) is not None else None, cotangents, primals)
