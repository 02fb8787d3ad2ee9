"""Shapes and checks of one cell's parameters, for conversion to and from other libraries."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from rnnjax._cell import Params
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.interop._arrays import Shape, check_entries, to_numpy

GATES = {ElmanParams: 1, GRUParams: 3, LSTMParams: 4}


def expected_shapes(kind: Any, inputs: int, hidden: int) -> dict[str, Shape]:
    """The shapes of the fields common to all kinds of parameters."""
    columns = GATES[kind] * hidden
    return {"W_xh": (inputs, columns), "W_hh": (hidden, columns), "b_h": (columns,)}


def check_params(
    params: Params,
    kind: Any,
    what: str,
    *,
    inputs: int | None = None,
    hidden: int | None = None,
    reset_after: bool = True,
) -> dict[str, np.ndarray]:
    """The fields of the parameters of one cell, as numpy arrays.

    Args:
      params: the given value.
      kind: the class of parameters that fits the other library's cell.
      what: that cell, for the error.
      inputs: its D, if it is known.
      hidden: its H, if it is known.
      reset_after: for a GRU, where its reset gate acts.

    Raises:
      TypeError: they are those of another cell.
      ValueError: an array is missing, unexpected, or of a wrong shape or dtype.
    """
    if not isinstance(params, kind):
        raise TypeError(
            f"params: expected {kind.__name__} for {what}, got {type(params).__name__}; convert "
            "cells one by one"
        )
    fields = {
        name: to_numpy(name, array) for name, array in params._asdict().items() if array is not None
    }
    hidden = min(matrix_shape(fields.get("W_hh"))) if hidden is None else hidden
    if inputs is None:
        inputs = other_size(fields.get("W_xh"), GATES[kind] * hidden, axis=0)
    shapes = expected_shapes(kind, inputs, hidden)
    if kind is GRUParams and reset_after:
        shapes["b_hn"] = (hidden,)
    check_entries(
        fields,
        shapes,
        what=f"the parameters of {what}",
        remedy="it has no projection, and its GRU resets "
        + ("after" if reset_after else "before")
        + " the product",
    )
    return fields


def matrix_shape(array: np.ndarray | None) -> tuple[int, int]:
    """(0, 0) if it is missing or not a matrix, which `check_entries` then reports."""
    return (0, 0) if array is None or array.ndim != 2 else (array.shape[0], array.shape[1])


def other_size(array: np.ndarray | None, known: int, *, axis: int) -> int:
    """The size along an axis of a matrix, transposed or not, whose other size is known."""
    shape = matrix_shape(array)
    transposed = shape[1 - axis] != known and shape[axis] == known
    return shape[1 - axis if transposed else axis]


def count_gates(kernel: Shape, kinds: Collection[int]) -> int:
    """G of a recurrent kernel `[H, GH]`; 0 if it is none with one of these numbers of gates."""
    hidden, columns = kernel if len(kernel) == 2 else (0, 0)
    gates = columns // max(hidden, 1)
    return gates if gates in kinds and columns == gates * hidden else 0


def transposed_hint(kernel: Shape, kinds: Mapping[int, str]) -> str:
    """For the error that this is no recurrent kernel: the kind whose transpose it is, if any."""
    gates = count_gates(kernel[::-1], kinds)
    return f", which transposed is that of {kinds[gates]}" if gates else ""


def join_biases(of_inputs: Any, of_product: Any) -> tuple[Any, Any]:
    """b_h and b_hn of a GRU that has two biases `[3H]`, its gates in the order r z n."""
    rz = 2 * len(of_product) // 3
    return np.concatenate([of_inputs[:rz] + of_product[:rz], of_inputs[rz:]]), of_product[rz:]


def split_biases(b_h: Any, b_hn: Any) -> tuple[Any, Any]:
    """The inverse of `join_biases`, with nothing but b_hn in the second."""
    return b_h, np.concatenate([np.zeros_like(b_h[: -len(b_hn)]), b_hn])
