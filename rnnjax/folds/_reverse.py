"""Shared by the folds with a reverse rule of their own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from rnnjax._cell import Cell, Drive, Inputs, Params, State
from rnnjax._tree import at_least_float32, combine, floating, rest
from rnnjax.folds._closures import hoist
from rnnjax.folds._sequence import types_of_step, vary_together


class Explicit(NamedTuple):
    """The functions of a cell, of `theta = (params, what they close over)`.

    Attributes:
      project: `(theta, inputs) -> drive`.
      kernel: `theta -> [K, M]`.
      hidden: `(theta, state, drive) -> [B, K]`.
      update: `(theta, state, drive, mixed) -> state`.
    """

    project: Callable[..., Drive]
    kernel: Callable[..., jax.Array]
    hidden: Callable[..., jax.Array]
    update: Callable[..., State]


def make_explicit(cell: Cell, params: Params, x: Inputs, state: State) -> tuple[Explicit, Any]:
    """Hoists the values that the cell's functions close over, so that they get gradients.

    Args:
      cell: a recurrence with a kernel.
      params: its parameters.
      x: leaves `[B, ...]`, or arrays of their types.
      state: leaves `[B, ...]`.

    Returns:
      The functions, and the values.
    """
    kernel, hidden = cell.kernel, cell.hidden
    assert kernel is not None and hidden is not None
    drive, mixed = types_of_step(cell, params, x, state)
    functions, constants = zip(
        hoist(cell.project, params, x),
        hoist(kernel, params),
        hoist(lambda _, s, d: hidden(s, d), params, state, drive),
        hoist(cell.update, params, state, drive, mixed),
        strict=True,
    )
    return Explicit(*(partial(_call, f, i) for i, f in enumerate(functions))), constants


def _call(function: Callable[..., Any], which: int, theta: Any, *args: Any) -> Any:
    params, constants = theta
    return function(params, *args, *constants[which])


def primals(tree: Any) -> Any:
    """The values of the arguments of a forward rule with symbolic zeros."""
    return jax.tree.map(
        lambda primal: primal.value, tree, is_leaf=lambda leaf: isinstance(leaf, CustomVJPPrimal)
    )


def cotangents(given: Any, final: State, states: State) -> tuple[Any, Any]:
    """∂L/∂s_T and ∂L/∂s_t, None for leaves that carry no gradient.

    A leaf of the states that the loss does not read has None as well, which is not instantiated.
    """
    dL_dfinal = jax.tree.map(_instantiate, _drop_float0(given[0], final), floating(final))
    dL_dstates = jax.tree.map(
        lambda d: None if isinstance(d, SymbolicZero) else d, _drop_float0(given[1], states)
    )
    return dL_dfinal, dL_dstates


def transposed_kernel(
    functions: Explicit, theta: Any
) -> tuple[jax.Array, jax.Array, Callable[[Any, jax.Array], Any]]:
    """The kernel, its transpose, and what adds the gradient through it to that of theta."""
    fixed = rest(theta)
    kernel, pullback = jax.vjp(lambda t: functions.kernel(combine(t, fixed)), floating(theta))

    def add_gradient(dL_dtheta: Any, dL_dkernel: jax.Array) -> Any:
        (by_kernel,) = pullback(dL_dkernel)
        return jax.tree.map(lambda a, b: a.astype(b.dtype) + b, dL_dtheta, by_kernel)

    # The barrier keeps XLA from moving the transpose into the loop over steps.
    return kernel, lax.optimization_barrier(kernel.T), add_gradient


def zeros_wide(tree: Any) -> Any:
    """Accumulators: summed over many steps, so not in the precision of bfloat16 weights."""

    def zeros(t: jax.Array) -> jax.Array:
        total = jnp.zeros_like(t, at_least_float32(t.dtype))
        # A value that does not vary over a mesh has a gradient that does not: it is summed
        # over the devices where the value is cast to varying.
        varying: jax.Array = vary_together(total, t)[0]
        return varying

    return jax.tree.map(zeros, tree)


def accumulate(total: Any, *terms: Any) -> Any:
    """The total and all terms, in the precision of the total."""
    return jax.tree.map(
        lambda total, *terms: sum((t.astype(total.dtype) for t in terms), total), total, *terms
    )


def kernel_gradient(hs: jax.Array, dL_dmixed: jax.Array, kernel: jax.Array) -> jax.Array:
    """One contraction over all axes but the last, without merging them.

    So that a sharded batch is not gathered.
    """
    axes = list(range(hs.ndim - 1))
    sharding = jax.typeof(kernel).sharding
    gradient: jax.Array = jnp.tensordot(hs, dL_dmixed, (axes, axes), out_sharding=sharding)
    return gradient


def over_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Applies a function of one step to the leading axis of all but its first argument."""
    return lambda theta, *args: jax.vmap(partial(function, theta))(*args)


def in_blocks(functions: Explicit, theta: Any, state: State, blocks: Inputs) -> tuple[State, State]:
    """The forward pass, the drives of one block at a time.

    Args:
      functions: of the cell.
      theta: what they take.
      state: leaves `[B, ...]`.
      blocks: leaves `[blocks, steps, B, ...]`.

    Returns:
      `(final_state, states)`.
    """
    kernel = functions.kernel(theta)

    def step(state: State, drive: Drive) -> tuple[State, State]:
        mixed = functions.hidden(theta, state, drive) @ kernel
        state = functions.update(theta, state, drive, mixed)
        return state, state

    def body(state: State, block: Inputs) -> tuple[State, State]:
        return lax.scan(step, state, over_steps(functions.project)(theta, block))

    return lax.scan(body, state, blocks)


def pull_back(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """`jax.vjp` between the parts of the arguments and results that carry a gradient."""
    fixed = rest(args)

    def of_floating(*moving: Any) -> tuple[Any, Any]:
        result = function(*combine(moving, fixed))
        return floating(result), rest(result)

    moving, pullback, still = jax.vjp(of_floating, *floating(args), has_aux=True)
    return combine(moving, still), pullback


def add(total: Any, terms: Any) -> Any:
    """Their sum, leaf by leaf; a term of None counts as zero."""
    return jax.tree.map(
        lambda t, term: t if term is None else t + term, total, terms,
        is_leaf=lambda leaf: leaf is None,
    )  # fmt: skip


def _instantiate(cotangent: Any, primal: jax.Array) -> Any:
    zero = isinstance(cotangent, SymbolicZero)
    return vary_together(jnp.zeros_like(primal), primal)[0] if zero else cotangent


def _drop_float0(cotangents: Any, primals: Any) -> Any:
    """None in place of the cotangents of leaves that carry no gradient."""
    return jax.tree.map(lambda d, p: d if floating(p) is not None else None, cotangents, primals)
