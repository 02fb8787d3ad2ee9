"""What is called without `jit`, compiled once.

A loop of JAX that is not inside `jit` is compiled at every call, since its body is a new
closure each time, and what was compiled is kept. `jit` belongs to the caller; but a call
that was made before, with cells and folds that are equal, need not be compiled again.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state
from jax.tree_util import Partial

from rnnjax._forward_mode import told_the_remedy
from rnnjax._programs import is_array
from rnnjax._reading import contents
from rnnjax._values import fixed

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Programs that each function keeps, the ones last used.
_KEPT = 128

# The checks that wait for values, and the trace in which they wait.
_waiting: ContextVar[tuple[list[Partial], Any] | None] = ContextVar("waiting", default=None)


def once(*options: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Of a function, the same compiled once for arguments of the same shapes.

    Inside the caller's `jit` it is part of that. The function is pure, takes pytrees and gives
    a pytree of arrays. Arrays among its arguments are traced; all else, cells and folds among
    it, is compared by value, and so is what functions among it read from outside. Where that
    cannot be told, or is being traced, the function is called as it is.

    Args:
      *options: names of arguments that are never to be traced; an array there is the
        function's own to refuse.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.lru_cache(_KEPT)
        def compiled(told: _Told) -> Callable[[list[Any]], tuple[Result, list[Partial]]]:
            def run(arrays: list[Any]) -> tuple[Result, list[Partial]]:
                pairs = zip(arrays, told.values, strict=True)
                args, kwargs = jax.tree.unflatten(
                    told.structure, [v if a is None else a for a, v in pairs]
                )
                with _waiters() as checks:
                    return function(*args, **kwargs), checks

            run.__name__ = function.__name__  # which profiles show
            return jax.jit(run)

        @functools.wraps(function)
        @told_the_remedy()
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if any(name in kwargs and is_array(kwargs[name]) for name in options):
                return function(*args, **kwargs)
            leaves, structure = jax.tree.flatten((args, kwargs))
            arrays = [leaf if is_array(leaf) else None for leaf in leaves]
            try:
                told = _Told(structure, [None if is_array(leaf) else leaf for leaf in leaves])
            except TypeError:
                return function(*args, **kwargs)
            result, checks = compiled(told)(arrays)
            for check in checks:
                when_known(check.func, *check.args)
            return result

        return call

    return decorate


class _Told:
    """What a call is told besides arrays; equal to another that is told the same.

    Raises:
      TypeError: it may change unseen.
    """

    def __init__(self, structure: Any, values: list[Any]) -> None:
        self.structure, self.values = structure, values
        self.key = structure, fixed(values), contents(values)
        self.hash = hash(self.key)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Told) and self.key == other.key

    def __hash__(self) -> int:
        return self.hash


def when_known(check: Callable[..., None], *values: Any) -> None:
    """Calls `check(*values)` once the values are known, which inside the caller's `jit` is never.

    Args:
      check: a function at the top of a module; raises what is to be raised.
      *values: pytrees of arrays.
    """
    try:
        check(*values)
    except jax.errors.ConcretizationTypeError:
        waiting = _waiting.get()
        if waiting is not None and waiting[1] == get_opaque_trace_state():
            waiting[0].append(Partial(check, *values))


@contextlib.contextmanager
def _waiters() -> Iterator[list[Partial]]:
    checks: list[Partial] = []
    token = _waiting.set((checks, get_opaque_trace_state()))
    try:
        yield checks
    finally:
        _waiting.reset(token)
