"""Makes forward-mode differentiation raise an error that names the remedy.

The identity below passes its tangent through a primitive that can be transposed, which is
all that reverse mode needs, but cannot be evaluated, which is what forward mode does first.
"""

from typing import Any, NoReturn

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax._forward_mode import REFUSED
from rnnjax._tree import combine, floating, rest

_tangent_p = Primitive("reverse_only_tangent")


def reverse_only(tree: Any) -> Any:
    """The identity, whose forward-mode derivative raises a TypeError."""
    return combine(jax.tree.map(_mark, floating(tree)), rest(tree))


@jax.custom_jvp
def _mark(x: jax.Array) -> jax.Array:
    return x


@_mark.defjvp
def _mark_jvp(primals: Any, tangents: Any) -> Any:
    return primals[0], _tangent_p.bind(tangents[0])


def _raise(*args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(REFUSED)


def _batch(args: Any, dims: Any) -> Any:
    return _tangent_p.bind(*args), dims[0]


_tangent_p.def_impl(_raise)
_tangent_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(_tangent_p, _raise)
ad.deflinear2(_tangent_p, lambda cotangent, x: [cotangent])
batching.primitive_batchers[_tangent_p] = _batch
