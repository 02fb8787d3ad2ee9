"""Derivatives that are refused, by errors that name the remedy.

The tangent passes through a primitive that cannot be evaluated, which is what forward mode does
first. Reverse mode transposes it instead, and only where what is differentiated depends on it: a
result that is only shown, or held constant, does not.
"""

from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax._forward_mode import REFUSED
from rnnjax._tree import combine, floating, rest

_tangent_p = Primitive("refused_tangent")


def reverse_only(tree: Any) -> Any:
    """The identity, whose forward-mode derivative raises a TypeError."""
    return combine(jax.tree.map(_mark, floating(tree)), rest(tree))


@jax.custom_jvp
def _mark(x: jax.Array) -> jax.Array:
    return x


@_mark.defjvp
def _mark_jvp(primals: Any, tangents: Any) -> Any:
    return primals[0], _tangent_p.bind(tangents[0], error=REFUSED, in_reverse=True)


def undifferentiable(result: jax.Array, given: Any, error: str) -> jax.Array:
    """The result, whose derivative in either mode raises a TypeError with this text.

    Args:
      result: floating.
      given: what it was computed from, held by `lax.stop_gradient`, so that nothing on the way
        is differentiated.
      error: the text.
    """
    return _measured(error, result, floating(given))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _measured(error: str, result: jax.Array, given: Any) -> jax.Array:
    return result


@_measured.defjvp
def _measured_jvp(error: str, primals: Any, tangents: Any) -> Any:
    tangent, moved = tangents
    for leaf in jax.tree.leaves(moved):  # Any linear function of them.
        tangent = tangent + jnp.sum(leaf.real).astype(tangent.dtype)
    return primals[0], _tangent_p.bind(tangent, error=error, in_reverse=False)


def _raise(*_: Any, error: str, **__: Any) -> NoReturn:
    raise TypeError(error)


def _transpose(cotangent: Any, x: Any, *, error: str, in_reverse: bool) -> Any:
    if not in_reverse:
        raise TypeError(error)
    return [cotangent]


def _batch(args: Any, dims: Any, **params: Any) -> Any:
    return _tangent_p.bind(*args, **params), dims[0]


_tangent_p.def_impl(_raise)
_tangent_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(_tangent_p, _raise)
ad.deflinear2(_tangent_p, _transpose)
batching.primitive_batchers[_tangent_p] = _batch
