"""Checks of the kind of an argument.

They convert nothing silently: a float that is almost whole, or a non-empty string where a
boolean is expected, is likely a mistake.
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
    """A whole number, from any type with `__index__`, numpy's included.

    Raises:
      TypeError: it is not one, or a tracer; a boolean is not one.
    """
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name}: expected a whole number, got {value!r}; {_remedy(value, 'an int')}")


def as_count(name: str, value: Any, remedy: str = "pass 1 or more") -> int:
    """A whole number of at least one.

    Raises:
      TypeError: it is not a whole number.
      ValueError: it is below one.
    """
    count = as_int(name, value)
    if count < 1:
        raise ValueError(f"{name}: expected at least 1, got {count}; {remedy}")
    return count


def as_bool(name: str, value: Any) -> bool:
    """True or False, numpy's included.

    Raises:
      TypeError: it is neither, or a tracer.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {value!r}; {_remedy(value, 'a bool')}")


def as_number(name: str, value: Any) -> float:
    """A real number, numpy's and JAX's included.

    Raises:
      TypeError: it is not one, or a tracer; a boolean is not one.
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
      TypeError: it is not one.
    """
    if isinstance(value, str):
        return value
    raise TypeError(f"{name}: expected a string, got {kind_of(value)}; {_remedy(value, 'a str')}")


def as_path(name: str, value: Any) -> str:
    """The path of a file.

    Raises:
      TypeError: it is neither a string nor a path; `open` takes a number for a file
        descriptor.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(path, str):
        return path
    raise TypeError(f"{name}: expected a path, got {value!r}; pass a str or a pathlib.Path")


def check_function(name: str, value: Any, arguments: str, remedy: str) -> None:
    """Raises if a value cannot be called with exactly these arguments.

    Args:
      name: of the argument.
      value: the given value.
      arguments: as in a signature, "key, shape, dtype"; keyword arguments last, "x, key=";
        "" for none.
      remedy: what to pass instead.

    Raises:
      TypeError: it is not a function, or takes fewer or more arguments.
    """
    try:
        names = list(filter(None, arguments.split(", ")))
        options = {name.rstrip("="): None for name in names if name.endswith("=")}
        inspect.signature(value).bind(*names[: len(names) - len(options)], **options)
        return
    except TypeError:
        pass
    except ValueError:  # Functions written in C need not have a signature.
        if not isinstance(value, type):
            return
    raise TypeError(f"{name}: expected a function of ({arguments}), got {kind_of(value)}; {remedy}")


def check_arrays(name: str, tree: Any) -> None:
    """Raises if a pytree holds anything but arrays and numbers.

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
    """Raises if `batch_shape` is not a tuple; its sizes may be symbolic.

    Raises:
      TypeError: it is not one.
    """
    if not isinstance(batch_shape, tuple | list):
        raise TypeError(
            f"batch_shape: expected the sizes of the batch axes, got {batch_shape!r}; pass a tuple "
            "as (16,), or () for one sequence"
        )


def check_key(name: str, key: Any) -> None:
    """Raises if a value is not a single random key.

    Raises:
      TypeError: it is not a key of `jax.random`.
      ValueError: it is several.
    """
    # A key of an older kind is a vector.
    for kind, axes in ((jax.dtypes.prng_key, 0), (jnp.uint32, 1)):
        if _is_array(key) and jnp.issubdtype(jnp.result_type(key), kind):
            if jnp.ndim(key) == axes:
                return
            raise ValueError(
                f"{name}: expected one key, got an array of shape {jnp.shape(key)}; pass one of "
                "them, or use `jax.vmap`"
            )
    raise TypeError(f"{name}: expected a key, got {kind_of(key)}; pass jax.random.key(seed)")


def split_key(key: jax.Array, count: int) -> jax.Array:
    """`jax.random.split` of a key that the caller passed.

    Raises:
      TypeError: it is not a key.
      ValueError: it is several.
    """
    check_key("key", key)
    return jax.random.split(key, count)


def check_floating_dtype(name: str, dtype: DTypeLike) -> None:
    """Raises if a dtype is not a real floating one.

    Raises:
      TypeError: naming the given value.
    """
    given = kind_of(dtype)
    if dtype is not None:  # which numpy takes for float64
        try:
            given = str(jnp.dtype(dtype))
            if jnp.issubdtype(dtype, jnp.floating):
                return
        except TypeError:
            pass
    raise TypeError(f"{name}: expected a floating dtype, got {given}; pass one such as jnp.float32")


def kind_of(value: Any) -> str:
    """A short description for errors: functions and types by name, scalars and strings by repr."""
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
    """Whether JAX accepts it as an array of numbers."""
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
