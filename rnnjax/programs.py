"""Programs that JAX has traced, told apart by what they compute.

Written out, two may look alike that are not: JAX prints no values of arrays, no functions
and no devices.
"""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from rnnjax.values import Same, fixed, snapshot

# Of these only the function itself is run, and its rules are made anew by every trace.
_WITH_RULES = ("custom_jvp_call", "custom_vjp_call")


class Fingerprint:
    """Equal for two programs that surely compute the same.

    Attributes:
      written: arrays of numpy that the program holds, and what was in them when it was
        traced; they may be written into.
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
        """Whether an array of numpy that both hold was written into in between."""
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
    """Equal to one of the same numbers, to the bit, in the same place."""

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
        return one.sharding == two.sharding and _bits(one) == _bits(two)

    def __hash__(self) -> int:
        return hash(self.value.aval)


def _bits(value: jax.Array) -> bytes:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return np.asarray(value).tobytes()
