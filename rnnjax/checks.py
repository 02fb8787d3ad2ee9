"""Options of any function, refused where they are not of the kind asked for.

A number that is nearly whole, or a word that is merely not empty, would be taken for an
answer that was never given.
"""

import operator
import os
from typing import Any

import jax
import numpy as np


def as_int(name: str, value: Any) -> int:
    """A whole number, of numpy or anything else with `__index__` as well.

    Raises:
      TypeError: it is none, or not known yet; a boolean is none.
    """
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name}: expected a whole number, got {value!r}; {_remedy(value, 'an int')}")


def as_bool(name: str, value: Any) -> bool:
    """True or False, of numpy as well.

    Raises:
      TypeError: it is neither, or not known yet.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {value!r}; {_remedy(value, 'a bool')}")


def as_path(name: str, value: Any) -> str:
    """The path of a file.

    Raises:
      TypeError: it is neither a string nor a path; `open` would take a number for a file
        that is open already.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(path, str):
        return path
    raise TypeError(f"{name}: expected a path, got {value!r}; pass a str or a pathlib.Path")


def kind_of(value: Any) -> str:
    """What came, in a few words: a function by its name, a type by its own, else as it prints."""
    if isinstance(value, type):
        return f"the type {value.__name__}"
    name = getattr(value, "__qualname__", None)
    if callable(value) and name is not None:
        return f"the function {name}"
    if isinstance(value, str | int | float | None):
        return repr(value)
    return f"a {type(value).__name__}"


def _remedy(value: Any, kind: str) -> str:
    if isinstance(value, jax.core.Tracer):
        return "it decides what is compiled: make it static, as by `jax.jit(..., static_argnames=)`"
    return f"pass {kind}"
