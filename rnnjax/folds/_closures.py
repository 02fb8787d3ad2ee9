"""Closure conversion: closed-over values become arguments."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun


def hoist(function: Callable[..., Any], *examples: Any) -> tuple[Callable[..., Any], Any]:
    """The function with its closed-over values as extra arguments, and those values.

    Args:
      function: pure, of pytrees.
      *examples: its arguments, or arrays of the same types.

    Returns:
      `(converted, constants)`, such that `converted(*args, *constants)` is `function(*args)`.
    """
    # jax.closure_convert leaves integers and values mapped only by vmap in the closure, where
    # they are leaked tracers by the time a backward pass runs.
    closed, result = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*examples)
    constants = tuple(closed.consts)
    # Traced again with the constants as arguments, so that the result holds no tracer.
    explicit = jax.make_jaxpr(
        lambda args, constants: jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, constants))(*args)
    )(jax.tree.leaves(examples), constants)
    structure = jax.tree.structure(result)

    def converted(*args: Any) -> Any:
        return jax.tree.unflatten(structure, jaxpr_as_fun(explicit)(*jax.tree.leaves(args)))

    return converted, constants
