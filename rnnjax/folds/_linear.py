"""Recurrences whose state is multiplied entry by entry: one associative scan solves them.

    s_t = a_t s_{t-1} + b_t,   a_t and b_t independent of s

No cell declares it: it is read off the operations of a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from rnnjax._cell import Drive, State
from rnnjax._programs import apply_equation
from rnnjax._tree import precision

# Their only equation is a call of another jaxpr.
_CALLS = frozenset({"jit", "pjit", "closed_call"})


def as_linear(
    step: Callable[[State, Drive], State], state: State, drive: Drive
) -> tuple[State, State] | None:
    """Coefficients of a step that is seen to be `a * state + b`, entry by entry.

    Args:
      step: `(state, drive) -> state`.
      state: leaves `[B, ...]`, of which only the types count.
      drive: of one step.

    Returns:
      a and b, leaves `[B, ...]`; None if the operations of the step do not show them.
    """
    closed, after = jax.make_jaxpr(step, return_shape=True)(state, drive)
    ones = jax.tree.leaves(jax.tree.map(jnp.ones_like, state))
    args = [*(_Term(place, one, None) for place, one in enumerate(ones)), *jax.tree.leaves(drive)]
    try:
        results = _evaluate(closed, args)
        terms = [_of_leaf(place, result) for place, result in enumerate(results)]
    except _NotLinearError:
        return None
    structure = jax.tree.structure(after)
    a, b = (jax.tree.unflatten(structure, leaves) for leaves in zip(*terms, strict=True))
    return a, b


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


@jax.custom_batching.custom_vmap
def grows(a: jax.Array) -> jax.Array:
    """Whether a factor is above one in absolute value, or NaN; under `vmap`, one of any member.

    Where none is, every partial sum of the associative scan is at most twice the largest state so
    far, as the difference of a state and a multiple of an earlier one by at most one: no digits
    are lost. Else they may be, and the products of the factors overflow before the states do.
    """
    # The rounding of float32 and not of narrower types, of which a thousand would be growth.
    rounding = 4 * min(precision(a), float(jnp.finfo(jnp.float32).eps))
    return ~jnp.all(jnp.square(a.real) + jnp.square(a.imag) <= 1 + rounding)


@grows.def_vmap
def _any_grows(_: int, __: Any, a: jax.Array) -> tuple[jax.Array, bool]:
    return grows(a), False


def _scan(a: jax.Array, b: jax.Array, *, reverse: bool = False) -> jax.Array:
    def join(first: Any, second: Any) -> Any:
        (a, b), (c, d) = first, second
        return c * a, c * b + d

    def at_once(a: jax.Array, b: jax.Array) -> jax.Array:
        _, s = lax.associative_scan(join, (a, b), reverse=reverse)
        return cast(jax.Array, s)

    def in_turn(a: jax.Array, b: jax.Array) -> jax.Array:
        def step(s: jax.Array, terms: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            s = terms[0] * s + terms[1]
            return s, s

        return lax.scan(step, jnp.zeros_like(b[0]), (a, b), reverse=reverse)[1]

    s: jax.Array = lax.cond(grows(a), in_turn, at_once, a, b)
    return s


class _Term(NamedTuple):
    """A value a s + b, entry by entry, of one leaf s of the state.

    Attributes:
      source: the place of the leaf.
      a: of the leaf's shape.
      b: the same; None for zero, as XLA leaves no product with zero out.
    """

    source: int
    a: Any
    b: Any


class _NotLinearError(Exception):
    """An operation is not linear in the state, or mixes its entries."""


def _evaluate(closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """The results of operations, each a `_Term` if it depends on the state.

    Args:
      closed: the operations.
      args: their arguments, terms among them.

    Raises:
      _NotLinearError: one that depends on the state is not a term.
    """
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    known |= zip(jaxpr.invars, args, strict=True)

    def value(variable: Any) -> Any:
        if not isinstance(variable, Literal):
            return known[variable]
        kind: Any = variable.aval
        return jnp.asarray(variable.val, kind.dtype)

    for equation in jaxpr.eqns:
        operands = [value(variable) for variable in equation.invars]
        if not any(isinstance(operand, _Term) for operand in operands):
            results = apply_equation(jaxpr, equation, operands)
        elif equation.primitive.name in _CALLS:
            results = _evaluate(equation.params["jaxpr"], operands)
        else:
            results = [_combine(equation, operands)]
        known |= zip(equation.outvars, results, strict=True)
    return [value(variable) for variable in jaxpr.outvars]


def _combine(equation: JaxprEqn, operands: Sequence[Any]) -> _Term:
    """The result of an operation on terms and constants; errors as `_evaluate`."""
    pairs = list(zip(operands, _linear_operands(equation, operands), strict=True))
    terms = [operand for operand in operands if isinstance(operand, _Term)]
    if len({term.source for term in terms}) > 1 or not all(
        linear for operand, linear in pairs if isinstance(operand, _Term)
    ):
        raise _NotLinearError

    def apply(of_term: Callable[[_Term], Any], of_constant: Callable[[Any], Any]) -> Any:
        values = [
            of_term(operand)
            if isinstance(operand, _Term)
            else of_constant(operand)
            if linear
            else operand
            for operand, linear in pairs
        ]
        # Not by `apply_equation`, which would keep constants that are literals of the equation.
        return equation.primitive.bind(*values, **equation.params)

    def b_of(term: _Term) -> Any:
        return jnp.zeros_like(term.a) if term.b is None else term.b

    constants = any(linear and not isinstance(operand, _Term) for operand, linear in pairs)
    return _Term(
        source=terms[0].source,
        a=apply(lambda term: term.a, jnp.zeros_like),
        b=apply(b_of, lambda constant: constant)
        if constants or any(term.b is not None for term in terms)
        else None,
    )


def _linear_operands(equation: JaxprEqn, operands: Sequence[Any]) -> Sequence[bool]:
    """In which operands, taken together, an operation is linear entry by entry."""
    match equation.primitive.name:
        case "add" | "add_any" | "sub":
            return True, True
        case "neg" | "copy":
            return (True,)
        case "mul":
            first = isinstance(operands[0], _Term)
            return first, not first
        case "div":
            return True, False
        case "select_n":
            return False, *(True for _ in operands[1:])
        case "convert_element_type":
            return (_only_widens(equation),)
        case _:
            return [False for _ in operands]


def _only_widens(equation: JaxprEqn) -> bool:
    """Whether a conversion of a state's numbers rounds none of them."""
    variables: Any = *equation.invars, *equation.outvars
    before, after = (variable.aval.dtype for variable in variables)
    kind = jnp.complexfloating if jnp.issubdtype(before, jnp.complexfloating) else jnp.floating
    return jnp.issubdtype(after, kind) and bool(jnp.finfo(after).eps <= jnp.finfo(before).eps)


def _of_leaf(place: int, result: Any) -> tuple[jax.Array, jax.Array]:
    """A and b of a leaf of the state.

    Raises:
      _NotLinearError: it depends on another leaf.
    """
    if not isinstance(result, _Term):
        return jnp.zeros_like(result), result
    if result.source != place:
        raise _NotLinearError
    return result.a, jnp.zeros_like(result.a) if result.b is None else result.b
