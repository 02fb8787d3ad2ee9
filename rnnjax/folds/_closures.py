"""What a function closes over, made an argument of it."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun


def hoist(function: Callable[..., Any], *examples: Any) -> tuple[Callable[..., Any], Any]:
    """A function of what it closes over as well, and the values that it closes over.

    Args:
      function: pure, of pytrees.
      *examples: what it takes, or arrays of the same types.

    Returns:
      `(converted, constants)`, `converted(*args, *constants)` being `function(*args)`.
    """
    # jax.closure_convert leaves integers, and what only vmap knows, in the closure, where
    # they are another trace's tracers by the time a backward pass runs.
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
