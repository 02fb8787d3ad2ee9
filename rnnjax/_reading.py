"""What functions read besides their arguments: constants, globals and closed-over values.

JAX compiles a function with the values it read when it was traced. A caller who calls it
again without `jit` expects it to read the current ones.
"""

import functools
import sys
import types
from collections.abc import Hashable, Iterator
from typing import Any

import jax
import numpy as np

from rnnjax._values import Made, Same, fixed, snapshot

# Functions in these packages depend only on their arguments.
_LIBRARIES = sys.stdlib_module_names.union(
    ("rnnjax", "jax", "jaxlib", "ml_dtypes", "numpy", "scipy"),
    ("optax", "chex", "flax", "haiku", "equinox", "keras"),
)


def contents(value: Any) -> Hashable:
    """A key that changes whenever a function in `value` would read something else.

    Args:
      value: a function, or a tuple, list or dict that holds functions.

    Raises:
      TypeError: they read a tracer, or an object that may be mutated without notice.
    """
    return _contents(value, {})


def _contents(value: Any, seen: dict[int, Any]) -> Hashable:
    if isinstance(value, jax.core.Tracer):
        raise TypeError("what is being traced must not be kept: it would outlive its trace")
    if isinstance(value, jax.Array | np.ufunc | type | types.ModuleType):
        return Same(value)
    if isinstance(value, np.generic):
        return fixed(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of objects may change unseen")
        return snapshot(value)
    parts = _parts(value)
    if parts is None:
        own: Any = type(value).__hash__
        array = hasattr(value, "__array__") or hasattr(value, "__jax_array__")
        if value is not None and (array or own in (None, object.__hash__)):
            raise TypeError(f"a {type(value).__name__} may change unseen")
        return fixed(value)
    # All fields of one factory's result read the same values.
    place = id(value.recipe) if isinstance(value, Made) else id(value)
    if place in seen:
        return None
    seen[place] = value  # Kept alive: no other object may get the same id.
    return type(value), *(_contents(part, seen) for part in parts)


def _parts(value: Any) -> Any:
    """What a function or a collection consists of; None for anything else."""
    if isinstance(value, tuple | list):
        return value
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, Made):
        return value.recipe.bound
    if isinstance(value, types.FunctionType):
        if _is_library(value.__globals__.get("__name__", "")):
            # It always reads the same values, except functions that it wraps, as `vmap` does.
            return [Same(value), *filter(callable, _closed_over(value))]
        return [value.__code__, *_read_by(value)]
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if callable(value) and hasattr(value, "__wrapped__"):
        # Wrapped by `jax.jit`, or with custom derivatives.
        names = ("__wrapped__", "fwd", "bwd", "jvp")
        return [getattr(value, name) for name in names if hasattr(value, name)]
    return None


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # Not assigned yet.
            yield None


def _read_by(function: types.FunctionType) -> Iterator[Any]:
    """Defaults, closed-over values and globals, and attributes of modules and classes there."""
    names = _names(function.__code__)
    pending = [function.__defaults__, function.__kwdefaults__, *_closed_over(function)]
    pending += map(function.__globals__.get, names)
    seen = set()
    while pending:
        value = pending.pop()
        yield value
        if isinstance(value, types.ModuleType | type) and value not in seen:
            seen.add(value)
            pending += _attributes(value, names)


def _attributes(holder: Any, names: tuple[str, ...]) -> Iterator[Any]:
    if _is_library(getattr(holder, "__module__", None) or holder.__name__):
        return
    scopes = [vars(each) for each in getattr(holder, "__mro__", (holder,))]
    for name in names:
        value = next((scope[name] for scope in scopes if name in scope), None)
        # A field is read from an instance.
        if isinstance(value, types.FunctionType | staticmethod | classmethod) or not hasattr(
            value, "__get__"
        ):
            yield value


@functools.cache
def _names(code: types.CodeType) -> tuple[str, ...]:
    """The names of globals and attributes that a function and those defined in it use."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES
