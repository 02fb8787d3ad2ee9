"""Traced programs, compared by what they compute.

Two different programs may print alike: JAX prints no array values, no functions and no
devices.
"""

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from rnnjax._tree import combine
from rnnjax._values import Same, bits, fixed, snapshot

# Only the function itself is compared: every trace creates new rules for it.
_WITH_RULES = ("custom_jvp_call", "custom_vjp_call")

# For each of the caller's functions its compiled programs, the most recently used last.
_compiled_for: weakref.WeakKeyDictionary[Any, dict[Any, Callable[..., Any]]] = (
    weakref.WeakKeyDictionary()
)
_KEPT = 4


def compiled(owner: Any, function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """`function` compiled, or the program compiled for this owner at an earlier call.

    It is traced again at every call, so that globals and closures count with their current
    values, and a compiled program is reused only if it is identical. Within the caller's `jit`
    it is part of that.

    Args:
      owner: the caller's function it is built from; compiled programs live as long as it does.
      function: pure, of pytrees of arrays.
      *arguments: the arguments of the call, or arrays of the same types.
    """
    options: Any = jax.config
    if options.jax_disable_jit:
        return function
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(shapes)
    flat = jaxpr_as_fun(program)
    reads = jax.tree.leaves((arguments, program.consts))
    if not any(isinstance(x, jax.core.Tracer) for x in reads):
        try:
            # Every attribute access makes a new bound method.
            known = _compiled_for.setdefault(getattr(owner, "__func__", owner), {})
        except TypeError:  # Not hashable, or not weakly referenceable.
            known = {}
        places = [x.sharding for x in jax.tree.leaves(arguments) if isinstance(x, jax.Array)]
        key = Fingerprint(program), *places
        flat = known.pop(key, None) or jax.jit(flat)
        known[key] = flat
        for evicted in list(known)[:-_KEPT]:
            known.pop(evicted, None)
    return lambda *args: jax.tree.unflatten(structure, flat(*jax.tree.leaves(args)))


def compiled_call(owner: Any, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` by `compiled`; arguments that are not arrays are not traced."""
    arrays = jax.tree.map(lambda leaf: leaf if is_array(leaf) else None, args)
    return compiled(owner, lambda arrays: function(*combine(arrays, args)), arrays)(arrays)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is data; a Python or numpy scalar is often an option, and counts as static."""
    return isinstance(leaf, jax.Array) or (
        isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "OSUMm"
    )


def apply_equation(jaxpr: Jaxpr, equation: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The results of one equation, evaluated by JAX as a program of it alone.

    So all its parameters are handled.
    """
    pairs = [(v, x) for v, x in zip(equation.invars, operands, strict=True) if isinstance(v, Var)]
    alone = jaxpr.replace(
        constvars=(), invars=[v for v, _ in pairs], outvars=equation.outvars, eqns=[equation]
    )
    return list(jaxpr_as_fun(ClosedJaxpr(alone, ()))(*(x for _, x in pairs)))


class Fingerprint:
    """Equal only for two programs that compute the same.

    Attributes:
      written: the numpy arrays that the program holds, and their contents when it was
        traced; they are mutable.
    """

    def __init__(self, program: ClosedJaxpr) -> None:
        self.written: list[tuple[np.ndarray, Hashable]] = []
        self.key = self._value(program)
        self.hash = hash(self.key)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Fingerprint) and self.key == other.key

    def __hash__(self) -> int:
        return self.hash

    def changed_since(self, earlier: "Fingerprint") -> bool:
        """Whether a numpy array that both hold was modified in between."""
        before = {id(array): held for array, held in earlier.written}
        return any(before.get(id(array), held) != held for array, held in self.written)

    def _value(self, value: Any) -> Hashable:
        if isinstance(value, ClosedJaxpr):
            return self._jaxpr(value.jaxpr), tuple(map(self._value, value.consts))
        if isinstance(value, Jaxpr):
            return self._jaxpr(value)
        if isinstance(value, jax.Array):
            return _Array(value)
        if isinstance(value, np.ndarray):
            held = snapshot(value)
            self.written.append((value, held))
            return held
        if isinstance(value, tuple | list):
            return type(value), *map(self._value, value)
        if isinstance(value, dict):
            return dict, *((key, self._value(part)) for key, part in value.items())
        try:
            return fixed(value)
        except TypeError:
            return Same(value)

    def _jaxpr(self, jaxpr: Jaxpr) -> Hashable:
        number: dict[Var, int] = {}

        def define(variables: Any) -> Hashable:
            for variable in variables:
                number[variable] = len(number)
            return tuple(variable.aval for variable in variables)

        def read(atoms: Any) -> Hashable:
            return tuple(
                (self._value(atom.val), atom.aval) if isinstance(atom, Literal) else number[atom]
                for atom in atoms
            )

        def equation(eqn: JaxprEqn) -> Hashable:
            params = eqn.params
            if eqn.primitive.name.startswith(_WITH_RULES):
                kinds = ClosedJaxpr | Jaxpr
                params = {name: x for name, x in params.items() if isinstance(x, kinds)}
            inputs = read(eqn.invars)
            return eqn.primitive, eqn.ctx, inputs, self._value(params), define(eqn.outvars)

        inputs = define(jaxpr.constvars), define(jaxpr.invars)
        equations = tuple(map(equation, jaxpr.eqns))
        return inputs, equations, read(jaxpr.outvars), frozenset(map(str, jaxpr.effects))


class _Array:
    """Equal to an array with bitwise the same numbers on the same devices."""

    def __init__(self, value: jax.Array) -> None:
        self.value = value

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, _Array):
            return False
        one, two = self.value, other.value
        if one is two:
            return True
        if one.aval != two.aval or one.is_deleted() or two.is_deleted():
            return False
        return one.sharding == two.sharding and bits(one) == bits(two)

    def __hash__(self) -> int:
        return hash(self.value.aval)
