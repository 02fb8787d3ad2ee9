"""Arrays by name, as other libraries hand them over, checked before they are used."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


class Loaded(NamedTuple):
    """Weights of another library, and the layer that runs on them.

    Attributes:
      layer: a `rnnjax.layers.Layer`.
      params: its parameters, as `layer.init` would give them.
    """

    layer: Any
    params: Any


def to_numpy(name: str, array: Any) -> np.ndarray:
    """An array of any library on the host, in its own dtype.

    Tensors of torch are taken as they are, on any device, with or without a gradient;
    torch itself is not imported.

    Raises:
      TypeError: it is no array of numbers, or numpy has no such dtype.
    """
    bfloat16 = False
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        # numpy knows no bfloat16 of torch's; float32 holds every such number.
        bfloat16 = str(array.dtype) == "torch.bfloat16"
        array = array.float() if bfloat16 else array
    try:
        found = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array, got {type(array).__name__}: {error}") from None
    found = found.astype(jnp.bfloat16) if bfloat16 else found
    if not jnp.issubdtype(found.dtype, jnp.number):
        raise TypeError(f"{name}: expected an array of numbers, got {found.dtype}")
    return found


def check_entries(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape | None], *, what: str, remedy: str
) -> None:
    """Checks that all arrays are there, no others, of these shapes and of one floating dtype.

    Args:
      arrays: what came.
      shapes: what is expected of each name; None where any shape will do.
      what: what the arrays should be, for the error: "a GRU of torch".
      remedy: what to do if they are not.

    Raises:
      ValueError: an entry is missing, too much, of another shape or dtype; the message
        names them all.
    """
    wrong = [f"{name} is missing" for name in shapes if name not in arrays]
    wrong += [
        f"{name} {array.shape} is one too many"
        for name, array in arrays.items()
        if name not in shapes
    ]
    for name, shape in shapes.items():
        if shape is None or name not in arrays or arrays[name].shape == shape:
            continue
        hint = ", its transpose" if arrays[name].shape == shape[::-1] else ""
        wrong.append(f"{name} is {arrays[name].shape}, expected {shape}{hint}")
    # The first entry of each dtype.
    dtypes = {arrays[name].dtype: name for name in reversed(list(shapes)) if name in arrays}
    if len(dtypes) > 1 or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        found = ", ".join(f"{name} has {dtype}" for dtype, name in dtypes.items())
        wrong.append(f"one floating dtype is expected where {found}")
    if wrong:
        raise ValueError(f"arrays: expected {what}, but {'; '.join(wrong)}; {remedy}")


def reorder_gates(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """`[..., GH]` with its G blocks of columns in another order; block i is `order[i]` of old."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)
