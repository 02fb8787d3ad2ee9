"""Recurrences whose state is multiplied entry by entry: one associative scan solves them.

    s_t = a_t s_{t-1} + b_t,   a_t and b_t independent of s

No cell declares it: it is read off the operations of a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal

from rnnjax._cell import Drive, State

# Linear in all their operands together.
_SUMS = frozenset({"add", "add_any", "sub", "neg", "copy"})
# Their only equation is a call of another jaxpr.
_CALLS = frozenset({"jit", "pjit", "closed_call"})


def is_elementwise_linear(
    step: Callable[[State, Drive], State], state: State, drive: Drive
) -> bool:
    """Whether a step is seen to be `a * state + b`, with a and b independent of the state.

    Args:
      step: `(state, drive) -> state`.
      state: leaves `[B, ...]`, or arrays of their types; as all that follow.
      drive: of one step.

    Returns:
      False also where the operations that compute it do not show it.
    """
    jaxpr = jax.make_jaxpr(step)(state, drive).jaxpr
    entries = range(len(jax.tree.leaves(state)))
    given = [*entries, *(None for _ in jaxpr.invars[len(entries) :])]
    try:
        sources = _sources(jaxpr, given)
    except _NotLinearError:
        return False
    return all(source in (None, place) for place, source in enumerate(sources))


def solve_linear(a: jax.Array, b: jax.Array) -> jax.Array:
    """s_t = a_t s_{t-1} + b_t for every t, from s = 0, with derivatives of every kind and order.

    Args:
      a: `[T, ...]`.
      b: `[T, ...]`.

    Returns:
      s, `[T, ...]`.
    """
    held = lax.stop_gradient(a)

    def shifted(s: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.zeros_like(s[:1]), s[:-1]])

    def backward(_: Any, g: jax.Array) -> jax.Array:
        # JAX transposes without conjugating.
        following = jnp.concatenate([held[1:], jnp.zeros_like(held[:1])])
        return _scan(following, g, reverse=True)

    s = lax.custom_linear_solve(
        lambda s: s - a * shifted(s), b, lambda _, b: _scan(held, b), backward
    )
    return cast(jax.Array, s)


def _scan(a: jax.Array, b: jax.Array, *, reverse: bool = False) -> jax.Array:
    def join(first: Any, second: Any) -> Any:
        (a, b), (c, d) = first, second
        # The product of many large factors is infinite, and its product with zero is zero.
        return c * a, jnp.where(b == 0, d, c * b + d)

    _, s = lax.associative_scan(join, (a, b), reverse=reverse)
    return cast(jax.Array, s)


class _NotLinearError(Exception):
    """An operation is not linear in the state, or mixes its entries."""


def _sources(jaxpr: Jaxpr, given: Sequence[int | None]) -> list[int | None]:
    """The leaf of the state in which each result is linear entry by entry; None if in none.

    Args:
      jaxpr: of some operations.
      given: the same for their arguments.
    """
    known = dict(zip(jaxpr.invars, given, strict=True))

    def source(variable: Any) -> int | None:
        return None if isinstance(variable, Literal) else known.get(variable)

    for equation in jaxpr.eqns:
        sources = [source(variable) for variable in equation.invars]
        found = {each for each in sources if each is not None}
        if not found:
            continue
        results: Sequence[int | None]
        if equation.primitive.name in _CALLS:
            results = _sources(equation.params["jaxpr"].jaxpr, sources)
        elif len(found) == 1 and _is_linear(equation, sources):
            results = [*found]
        else:
            raise _NotLinearError
        known.update(zip(equation.outvars, results, strict=True))
    return [source(variable) for variable in jaxpr.outvars]


def _is_linear(equation: Any, sources: Sequence[int | None]) -> bool:
    """Whether an operation is linear, entry by entry, in the operands that have a source."""
    match equation.primitive.name:
        case "mul":
            return None in sources
        case "div":
            return sources[1] is None
        case "select_n":
            return sources[0] is None
        case "convert_element_type":
            (before,), (after,) = equation.invars, equation.outvars
            return _only_widens(before.aval.dtype, after.aval.dtype)
        case name:
            return name in _SUMS


def _only_widens(before: Any, after: Any) -> bool:
    """Whether a conversion of a state's numbers rounds none of them."""
    kind = jnp.complexfloating if jnp.issubdtype(before, jnp.complexfloating) else jnp.floating
    return jnp.issubdtype(after, kind) and bool(jnp.finfo(after).eps <= jnp.finfo(before).eps)
