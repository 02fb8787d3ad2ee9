"""The default fold: time in blocks, and little more than the states stored.

A training step through `lax.scan` stores every intermediate of every step, and its backward
pass adds a weight-sized matrix to an accumulator at every step. Here the backward pass
carries only the state's cotangent. The rest is done once per block, for all of its steps at
once: the linearisation of `update` at the stored states; the kernel's gradient, one
contraction over (time, batch); the gradients of `project` and of the parameters that
`update` reads, one pullback each. The drives and the products h_{t-1} W_hh are stored by
the forward pass, or recomputed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.export import is_symbolic_dim

from rnnjax._cell import Cell, Drive, Inputs, Params, State
from rnnjax._checks import as_bool, as_count
from rnnjax._refused import reverse_only
from rnnjax._tree import at_least_float32, combine, count_bytes, floating, rest
from rnnjax._values import by_value
from rnnjax.folds._closures import hoist
from rnnjax.folds._cost import block_size, step_cost, worth_storing
from rnnjax.folds._scan import scan_drives
from rnnjax.folds._sequence import Fold, element, in_pieces, length_of, scan_wide, vary_together


@by_value
def blocked(*, size: int | None = None, store: bool | None = None) -> Fold:
    """Folds block by block, with an exact custom reverse rule.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t          (backward)

    A cell with a kernel uses the reverse rule of this module, which has no forward mode
    (`scan` has it; forward over reverse works). A cell without a kernel is folded in
    checkpointed blocks, which store one state per block besides `states` and support every
    derivative.

    Args:
      size: steps in a block. T need not be a multiple of it. By default as many as have
        about 1 MiB of drives, at least 16; 32 for a cell without a kernel. 16 where
        `jax.export` leaves B symbolic, all where it leaves T symbolic.
      store: whether the drives and products of all steps are stored for the backward
        pass, which saves a third of its operations, or recomputed block by block. By
        default they are stored if K is at least 128 and they are known to take at most
        256 MiB. A cell without a kernel has none to store.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      TypeError: `size` is not a whole number, or `store` not a boolean.
      ValueError: `size` is below one.
    """
    size = None if size is None else as_count("size", size)
    store = None if store is None else as_bool("store", store)

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        params, inputs, state = vary_together(params, inputs, state)
        if length == 0:
            return scan_drives(cell, params, inputs, state)
        drive = jax.eval_shape(cell.project, params, element(inputs))
        batch = () if cell.hidden is None else jax.eval_shape(cell.hidden, state, drive).shape[:-1]
        cost = step_cost(cell, params, batch, count_bytes(drive))
        steps = block_size(cost, length) if size is None else size
        keep = worth_storing(cost, length) if store is None else store
        run = _checkpointed_blocks if cell.kernel is None else partial(_blocks, keep)
        return in_pieces(partial(run, cell, params), inputs, state, steps)

    return fold


def _checkpointed_blocks(
    cell: Cell, params: Params, state: State, blocks: Inputs
) -> tuple[State, State]:
    @partial(jax.checkpoint, prevent_cse=False)  # The enclosing loop already prevents it.
    def body(state: State, block: Inputs) -> tuple[State, State]:
        return scan_drives(cell, params, block, state)

    return scan_wide(body, state, blocks)


class _Explicit(NamedTuple):
    """The functions of a cell, with closed-over values passed in their first argument."""

    project: Callable[..., Drive]
    kernel: Callable[..., jax.Array]
    hidden: Callable[..., jax.Array]
    update: Callable[..., State]


def _blocks(
    store: bool, cell: Cell, params: Params, state: State, blocks: Inputs
) -> tuple[State, State]:
    functions, constants = _close(cell, params, blocks, state)
    params, constants, blocks, state = reverse_only((params, constants, blocks, state))
    return _fold_blocks(functions, store, params, constants, blocks, state)


def _close(
    cell: Cell, params: Params, blocks: Inputs, state: State
) -> tuple[_Explicit, tuple[tuple[jax.Array, ...], ...]]:
    """Hoists the values that the cell's functions close over, so that they get gradients."""
    block = element(blocks)
    drive = element(jax.eval_shape(cell.project, params, block))
    kernel, hidden = cell.kernel, cell.hidden
    assert kernel is not None and hidden is not None
    mixed = jax.eval_shape(lambda p, s, d: hidden(s, d) @ kernel(p), params, state, drive)
    functions, constants = zip(
        hoist(cell.project, params, block),
        hoist(kernel, params),
        hoist(lambda _, s, d: hidden(s, d), params, state, drive),
        hoist(cell.update, params, state, drive, mixed),
        strict=True,
    )
    return _Explicit(*(partial(_call, f, i) for i, f in enumerate(functions))), constants


def _call(function: Callable[..., Any], which: int, theta: Any, *args: Any) -> Any:
    params, constants = theta
    return function(params, *args, *constants[which])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fold_blocks(
    functions: _Explicit, store: bool, params: Params, constants: Any, blocks: Inputs, state: State
) -> tuple[State, State]:
    return _run(functions, False, (params, constants), blocks, state)[:2]


def _run(
    functions: _Explicit, store: bool, theta: Any, blocks: Inputs, state: State
) -> tuple[State, State, Any]:
    """The final state, all states, and (drives, products), None unless they are kept."""
    kernel = functions.kernel(theta)

    def step(state: State, drive: Drive) -> tuple[State, Any]:
        mixed = functions.hidden(theta, state, drive) @ kernel
        state = functions.update(theta, state, drive, mixed)
        return state, (state, mixed if store else None)

    def body(state: State, block: Inputs) -> tuple[State, Any]:
        drives = functions.project(theta, block)
        state, (states, mixed) = lax.scan(step, state, drives)
        return state, (states, (drives, mixed) if store else None)

    final, (states, kept) = lax.scan(body, state, blocks)
    return final, states, kept


def _forward(
    functions: _Explicit, store: bool, params: Any, constants: Any, blocks: Any, state: Any
) -> tuple[tuple[State, State], Any]:
    params, constants, blocks, state = jax.tree.map(
        lambda primal: primal.value,
        (params, constants, blocks, state),
        is_leaf=lambda leaf: isinstance(leaf, CustomVJPPrimal),
    )
    final, states, kept = _run(functions, store, (params, constants), blocks, state)
    return (final, states), (params, constants, blocks, state, states, kept)


def _backward(functions: _Explicit, store: bool, residuals: Any, cotangents: Any) -> Any:
    params, constants, blocks, start, states, kept = residuals
    dL_dfinal, dL_dstates = cotangents
    dL_dfinal = jax.tree.map(_instantiate, _drop_float0(dL_dfinal, start), floating(start))
    # A leaf that the loss does not read has a symbolic zero, which is not instantiated.
    dL_dstates = jax.tree.map(
        lambda d: None if isinstance(d, SymbolicZero) else d, _drop_float0(dL_dstates, states)
    )
    theta = (params, constants)
    theta_fixed = rest(theta)
    kernel, kernel_pullback = jax.vjp(
        lambda t: functions.kernel(combine(t, theta_fixed)), floating(theta)
    )
    # The barrier keeps XLA from moving the transpose into the loop over steps.
    kernel_T = lax.optimization_barrier(kernel.T)
    # The state before each block.
    before = jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss[:-1, -1]]), start, states)

    def body(carry: Any, block_of: Any) -> Any:
        dL_ds, dL_dtheta, dL_dkernel = carry
        first, block, after, dL_dafter, kept = block_of
        previous = jax.tree.map(lambda f, a: jnp.concatenate([f[None], a[:-1]]), first, after)
        projected, project_pullback = _pullback(functions.project, theta, block)
        drives = projected if kept is None else kept[0]
        hs = _over_steps(functions.hidden)(theta, previous, drives)
        mixed = hs @ kernel if kept is None else kept[1]

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
            dL_ds = jax.tree.map(_add, dL_ds, dL_dafter_t, is_leaf=lambda leaf: leaf is None)
            through_update, dL_dmixed = update_pullback(dL_ds)
            (through_hidden,) = hidden_pullback(dL_dmixed @ kernel_T)
            return jax.tree.map(jnp.add, through_update, through_hidden), dL_ds

        pullbacks = jax.vmap(linearise)(previous, drives, mixed)
        # `lax.scan` needs the length where there is nothing to scan over.
        steps = None if is_symbolic_dim(length_of(after)) else length_of(after)
        dL_ds, g = lax.scan(step, dL_ds, (pullbacks, dL_dafter), steps, reverse=True)

        def update_all(theta: Any, drives: Drive, mixed: jax.Array) -> State:
            return _over_steps(functions.update)(theta, previous, drives, mixed)

        def hidden_all(theta: Any, drives: Drive) -> Any:
            return _over_steps(functions.hidden)(theta, previous, drives)

        # Recomputed for all steps at once, which costs less than storing it at every step.
        by_update, by_drives, dL_dmixed = _pullback(update_all, theta, drives, mixed)[1](g)
        by_hidden = _pullback(hidden_all, theta, drives)[1](dL_dmixed @ kernel_T)
        by_project = project_pullback(jax.tree.map(jnp.add, by_drives, by_hidden[1]))
        # One contraction over (time, batch) without merging the axes, so that a sharded batch
        # is not gathered.
        axes = list(range(hs.ndim - 1))
        dL_dkernel += jnp.tensordot(
            hs, dL_dmixed, (axes, axes), out_sharding=jax.typeof(kernel).sharding
        )
        dL_dtheta = jax.tree.map(
            lambda total, *terms: sum((t.astype(total.dtype) for t in terms), total),
            dL_dtheta, by_update, by_hidden[0], by_project[0],
        )  # fmt: skip
        return (dL_ds, dL_dtheta, dL_dkernel), by_project[1]

    def zeros(t: jax.Array) -> jax.Array:
        # Summed over many blocks, so not in the precision of bfloat16 weights.
        total = jnp.zeros_like(t, at_least_float32(t.dtype))
        # A value that does not vary over a mesh has a gradient that does not: it is summed
        # over the devices where the value is cast to varying.
        varying: jax.Array = vary_together(total, t)[0]
        return varying

    carry = dL_dfinal, jax.tree.map(zeros, floating(theta)), zeros(kernel)
    (dL_dstart, dL_dtheta, dL_dkernel), dL_dblocks = lax.scan(
        body, carry, (before, blocks, states, dL_dstates, kept), reverse=True
    )
    (by_kernel,) = kernel_pullback(dL_dkernel)
    dL_dtheta = jax.tree.map(lambda a, b: a.astype(b.dtype) + b, dL_dtheta, by_kernel)
    return (*dL_dtheta, dL_dblocks, dL_dstart)


_fold_blocks.defvjp(_forward, _backward, symbolic_zeros=True)


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


def _add(total: Any, term: Any) -> Any:
    """Their sum; a term of None counts as zero."""
    return total if term is None else total + term


def _instantiate(cotangent: Any, primal: jax.Array) -> Any:
    zero = isinstance(cotangent, SymbolicZero)
    return vary_together(jnp.zeros_like(primal), primal)[0] if zero else cotangent


def _drop_float0(cotangents: Any, primals: Any) -> Any:
    """None in place of the cotangents of leaves that carry no gradient."""
    return jax.tree.map(lambda d, p: d if floating(p) is not None else None, cotangents, primals)
