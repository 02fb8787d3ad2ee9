"""Calls outside `jit`, compiled once.

Outside `jit`, JAX compiles a loop again at every call, since its body is a new closure each
time, and keeps every compiled version. `jit` belongs to the caller, but a call repeated with
equal cells and folds need not be compiled again.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state
from jax.tree_util import Partial

from rnnjax._forward_mode import with_remedy
from rnnjax._programs import is_array
from rnnjax._reading import contents
from rnnjax._values import fixed

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Size of each function's least-recently-used cache of compiled programs.
_KEPT = 128

# The checks deferred until values are known, and the trace in which they were made.
_waiting: ContextVar[tuple[list[Partial], Any] | None] = ContextVar("waiting", default=None)


def once(*options: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A decorator that compiles a function once for arguments of the same shapes.

    Inside the caller's `jit` the function is part of that program. It is pure, takes pytrees
    and returns a pytree of arrays. Array arguments are traced; all others, such as cells and
    folds, are static and compared by value, as are the globals and closures that functions
    among them read. If these cannot be compared, or are tracers, the function runs uncompiled.

    Args:
      *options: names of arguments that are never traced; the function itself raises if one
        of them is an array.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.lru_cache(_KEPT)
        def compiled(static: _Static) -> Callable[[list[Any]], tuple[Result, list[Partial]]]:
            def run(arrays: list[Any]) -> tuple[Result, list[Partial]]:
                pairs = zip(arrays, static.values, strict=True)
                args, kwargs = jax.tree.unflatten(
                    static.structure, [v if a is None else a for a, v in pairs]
                )
                with _deferred_checks() as checks:
                    return function(*args, **kwargs), checks

            run.__name__ = function.__name__  # shown by profilers
            return jax.jit(run)

        @functools.wraps(function)
        @with_remedy()
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if any(name in kwargs and is_array(kwargs[name]) for name in options):
                return function(*args, **kwargs)
            leaves, structure = jax.tree.flatten((args, kwargs))
            arrays = [leaf if is_array(leaf) else None for leaf in leaves]
            try:
                static = _Static(structure, [None if is_array(leaf) else leaf for leaf in leaves])
            except TypeError:
                return function(*args, **kwargs)
            result, checks = compiled(static)(arrays)
            for check in checks:
                when_known(check.func, *check.args)
            return result

        return call

    return decorate


class _Static:
    """The static part of a call's arguments, compared by value.

    Raises:
      TypeError: it may be mutated without notice.
    """

    def __init__(self, structure: Any, values: list[Any]) -> None:
        self.structure, self.values = structure, values
        self.key = structure, fixed(values), contents(values)
        self.hash = hash(self.key)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Static) and self.key == other.key

    def __hash__(self) -> int:
        return self.hash


def when_known(check: Callable[..., None], *values: Any) -> None:
    """Calls `check(*values)` once the values are known, which inside the caller's `jit` is never.

    Args:
      check: a module-level function that raises the error.
      *values: pytrees of arrays.
    """
    try:
        check(*values)
    except jax.errors.ConcretizationTypeError:
        waiting = _waiting.get()
        if waiting is not None and waiting[1] == get_opaque_trace_state():
            waiting[0].append(Partial(check, *values))


@contextlib.contextmanager
def _deferred_checks() -> Iterator[list[Partial]]:
    checks: list[Partial] = []
    token = _waiting.set((checks, get_opaque_trace_state()))
    try:
        yield checks
    finally:
        _waiting.reset(token)
