"""Options of any function, refused where they are not of the kind asked for.

A number that is nearly whole, or a word that is merely not empty, would be taken for an
answer that was never given.
"""

import inspect
import operator
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


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


def as_number(name: str, value: Any) -> float:
    """A real number, of numpy or JAX as well.

    Raises:
      TypeError: it is none, or not known yet; a boolean is none.
    """
    if _is_array(value) and np.ndim(value) == 0 and jnp.result_type(value) != jnp.bool_:
        try:
            return float(value)
        except (TypeError, jax.errors.ConcretizationTypeError):
            pass
    raise TypeError(f"{name}: expected a number, got {value!r}; {_remedy(value, 'a float')}")


def as_text(name: str, value: Any) -> str:
    """A string.

    Raises:
      TypeError: it is none.
    """
    if isinstance(value, str):
        return value
    raise TypeError(f"{name}: expected a string, got {kind_of(value)}; {_remedy(value, 'a str')}")


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


def check_function(name: str, value: Any, arguments: str, remedy: str) -> None:
    """Refuses what cannot be called with these arguments alone.

    Args:
      name: of the option.
      value: what came.
      arguments: as they are written, "key, shape, dtype"; those by name last, "x, key=";
        "" for none.
      remedy: what to pass instead.

    Raises:
      TypeError: it is no function, or one of fewer or more arguments.
    """
    try:
        names = list(filter(None, arguments.split(", ")))
        options = {name.rstrip("="): None for name in names if name.endswith("=")}
        inspect.signature(value).bind(*names[: len(names) - len(options)], **options)
        return
    except TypeError:
        pass
    except ValueError:  # A function of another language need not tell what it takes.
        if not isinstance(value, type):
            return
    raise TypeError(f"{name}: expected a function of ({arguments}), got {kind_of(value)}; {remedy}")


def check_arrays(name: str, tree: Any) -> None:
    """Refuses a pytree that holds anything but arrays and numbers.

    Raises:
      TypeError: naming the first leaf that is neither.
    """
    if all(map(_is_array, jax.tree.leaves(tree))):
        return
    for path, leaf in jax.tree.leaves_with_path(tree):
        if not _is_array(leaf):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)}: expected an array, got {kind_of(leaf)}; "
                "pass arrays of numbers"
            )


def check_batch_shape(batch_shape: Any) -> None:
    """Refuses what is no tuple of sizes; each of them may be symbolic.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(batch_shape, tuple | list):
        raise TypeError(
            f"batch_shape: expected the sizes of the batch axes, got {batch_shape!r}; pass a tuple "
            "as (16,), or () for one sequence"
        )


def check_key(name: str, key: Any) -> None:
    """Refuses what no random numbers are drawn from.

    Raises:
      TypeError: it is no key of `jax.random`.
    """
    kinds = (jax.dtypes.prng_key, jnp.uint32)
    if _is_array(key) and any(jnp.issubdtype(jnp.result_type(key), kind) for kind in kinds):
        return
    raise TypeError(f"{name}: expected a key, got {kind_of(key)}; pass jax.random.key(seed)")


def split_key(key: jax.Array, count: int) -> jax.Array:
    """Keys of one that a caller gave.

    Raises:
      TypeError: it is no key.
    """
    check_key("key", key)
    return jax.random.split(key, count)


def check_floating_dtype(name: str, dtype: DTypeLike) -> None:
    """Refuses what is no dtype of real numbers with a point.

    Raises:
      TypeError: naming what came.
    """
    came = kind_of(dtype)
    if dtype is not None:  # which numpy takes for float64
        try:
            came = str(jnp.dtype(dtype))
            if jnp.issubdtype(dtype, jnp.floating):
                return
        except TypeError:
            pass
    raise TypeError(f"{name}: expected a floating dtype, got {came}; pass one such as jnp.float32")


def kind_of(value: Any) -> str:
    """What came, in a few words: a function by its name, a type by its own, else as it prints."""
    if isinstance(value, type):
        return f"the type {value.__name__}"
    name = getattr(value, "__qualname__", None)
    if callable(value) and name is not None:
        return f"the function {name}"
    if isinstance(value, str | int | float | None):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def _is_array(value: Any) -> bool:
    """Whether JAX takes it for an array of numbers."""
    if isinstance(value, bool | int | float | complex | jax.Array):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is not None:
        return kind not in "OSUMm"
    return not isinstance(value, type) and (
        hasattr(value, "__jax_array__") or hasattr(value, "__array__")
    )


def _remedy(value: Any, kind: str) -> str:
    if isinstance(value, jax.core.Tracer):
        return "it decides what is compiled: make it static, as by `jax.jit(..., static_argnames=)`"
    return f"pass {kind}"
