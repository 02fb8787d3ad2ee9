"""Parameters of one cell on their way from or to another library."""

from typing import Any

import numpy as np

from rnnjax.cell import Params
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.interop.arrays import Shape, check_entries, to_numpy

GATES = {ElmanParams: 1, GRUParams: 3, LSTMParams: 4}


def expected_shapes(kind: Any, inputs: int | None, hidden: int) -> dict[str, Shape | None]:
    """The shape of each field that any cell has, None for that of W_xh where D is not known."""
    columns = GATES[kind] * hidden
    return {
        "W_xh": None if inputs is None else (inputs, columns),
        "W_hh": (hidden, columns),
        "b_h": (columns,),
    }


def check_params(
    params: Params,
    kind: Any,
    what: str,
    *,
    inputs: int | None = None,
    hidden: int | None = None,
    reset_after: bool = True,
) -> dict[str, np.ndarray]:
    """The fields of the parameters of one cell, as arrays of numpy.

    Args:
      params: what came.
      kind: what the other library's cell has a place for.
      what: that cell, for the error.
      inputs: its D, if it is known.
      hidden: its H, if it is known.
      reset_after: for a GRU, where its reset gate acts.

    Raises:
      TypeError: they are those of another cell.
      ValueError: an array is missing, too much, or of a shape or dtype that does not fit.
    """
    if not isinstance(params, kind):
        raise TypeError(
            f"params: expected {kind.__name__} for {what}, got {type(params).__name__}; convert "
            "cells one by one"
        )
    fields = {
        name: to_numpy(name, array) for name, array in params._asdict().items() if array is not None
    }
    columns = fields["b_h"].shape[-1] if fields["b_h"].ndim else 0
    hidden = columns // GATES[kind] if hidden is None else hidden
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
    """Zeros for what is missing or no matrix: a check of all entries is to name it."""
    return (0, 0) if array is None or array.ndim != 2 else (array.shape[0], array.shape[1])
