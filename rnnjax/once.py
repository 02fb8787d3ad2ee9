"""What is called without `jit`, compiled once.

A loop of JAX that is not inside `jit` is compiled at every call, since its body is a new
closure each time, and what was compiled is kept. `jit` belongs to the caller; but a call
that was made before, with cells and folds that are equal, need not be compiled again.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.extend.core import get_opaque_trace_state
from jax.tree_util import Partial

from rnnjax.values import Made

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# The checks that wait for values, and the trace in which they wait.
_waiting: ContextVar[tuple[list[Partial], Any] | None] = ContextVar("waiting", default=None)


def once(*options: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Of a function, the same compiled once for arguments of the same shapes.

    Inside the caller's `jit` it is part of that. The function is pure, takes pytrees and gives
    a pytree of arrays. Arrays among its arguments are traced; all else, cells and folds among
    it, is compared by value. Where that has no hash, or closes over what is being traced, the
    function is called as it is.

    Args:
      *options: names of arguments that are never to be traced; an array there is the
        function's own to refuse.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        def run(fixed: Any, arrays: list[Any]) -> tuple[Result, list[Partial]]:
            structure, _, values = fixed
            leaves = [v if a is None else a for a, v in zip(arrays, values, strict=True)]
            args, kwargs = jax.tree.unflatten(structure, leaves)
            with _waiters() as checks:
                return function(*args, **kwargs), checks

        run.__name__ = function.__name__  # which profiles show
        compiled = jax.jit(run, static_argnums=0)

        @functools.wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            leaves, structure = jax.tree.flatten((args, kwargs))
            arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
            values = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
            fixed = structure, tuple(map(type, values)), values  # True equals 1, and is not 1.
            told = [kwargs[name] for name in options if name in kwargs]
            if not _has_hash(fixed) or any(map(_is_array, told)) or _holds_tracer(values, set()):
                return function(*args, **kwargs)
            result: Result
            result, checks = compiled(fixed, arrays)
            for check in checks:
                when_known(check.func, *check.args)
            return result

        return call

    return decorate


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


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_array(leaf: Any) -> bool:
    # A scalar of numpy is an option as often as not, as a number of Python is.
    return isinstance(leaf, jax.Array) or (
        isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "OSUMm"
    )


def _holds_tracer(value: Any, seen: set[int]) -> bool:
    """Whether a function, or any in a collection, closes over what is being traced.

    What is kept must not, for it would outlive its trace.
    """
    if isinstance(value, jax.core.Tracer):
        return True
    if id(value) in seen:
        return False
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if isinstance(value, tuple | list):
        parts = value
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
    elif isinstance(value, types.FunctionType):
        parts = (*_contents(value), value.__defaults__, value.__kwdefaults__)
    elif isinstance(value, Made):
        parts = (value.__wrapped__,)
    return any(_holds_tracer(part, seen) for part in parts)


def _contents(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # It is not filled yet.
            yield cell.cell_contents
