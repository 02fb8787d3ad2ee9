"""A recurrence as a handful of pure functions.

Shapes are written in these letters everywhere: `T` time, `B` batch (any number
of axes, none included), `D` input features, `H` hidden units, `G` gates, `K` and
`M` the kernel's rows and columns. Time comes first.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rnnjax.tree import describe

Params = Any
State = Any
Inputs = Any
Drive = Any
Batch = tuple[int, ...]


class Cell(NamedTuple):
    """h_t = f(W_hh h_{t-1} + W_xh x_t + b_h), taken apart.

    One step is

        drive = project(params, x_t)
        mixed = hidden(state, drive) @ kernel(params)
        state = update(params, state, drive, mixed)

    What can be done for all steps at once (`project`), once per sequence
    (`kernel`) and only in turn (`update`) are different functions, so that a fold
    can give each its place. Vectors are rows: the kernel is `W_hh` transposed.

    Attributes:
      init: `key -> params`; draws the weights.
      start: `(params, batch_shape) -> state`; h_0, zeros or learned. Every leaf
        begins with the batch axes; a leaf that does not (a counter) is carried
        along but never masked or reset. `start` fixes the dtype of every leaf, and
        `update` keeps it.
      project: `(params, inputs) -> drive`; `W_xh x_t + b_h` for any number of
        steps at once: inputs `[..., D]`, drive leaves `[..., M]`. The drive may be
        any pytree.
      kernel: `params -> [K, M]` in the state's precision; built once per fold.
        None for a recurrence without one dense recurrent product, which then does
        everything in `update`, with `mixed = None`.
      hidden: `(state, drive) -> [B, K]`; what the kernel multiplies. None where
        `kernel` is None.
      update: `(params, state, drive, mixed) -> state`; f, with mixed `[B, M]`.
      output: `state -> [B, H]`; what the cell shows of its state.
    """

    init: Callable[[chex.PRNGKey], Params]
    start: Callable[[Params, Batch], State]
    project: Callable[[Params, Inputs], Drive]
    kernel: Callable[[Params], jax.Array] | None
    hidden: Callable[[State, Drive], jax.Array] | None
    update: Callable[[Params, State, Drive, Any], State]
    output: Callable[[State], Any]


def step(cell: Cell, params: Params, state: State, x: Inputs) -> State:
    """One step of the recurrence: the law that every fold obeys.

    Args:
      cell: the recurrence.
      params: its parameters.
      state: leaves `[B, ...]`, s_{t-1}.
      x: leaves `[B, ...]`, x_t.

    Returns:
      s_t, with the structure, shapes and dtypes of `state`.

    Raises:
      TypeError: the cell changed the state's structure, shapes or dtypes.
    """
    return advance(cell, params, build_kernel(cell, params), state, cell.project(params, x))


def build_kernel(cell: Cell, params: Params) -> jax.Array | None:
    """`[K, M]`, or None for a cell without a kernel."""
    return None if cell.kernel is None else cell.kernel(params)


def advance(
    cell: Cell, params: Params, kernel: jax.Array | None, state: State, drive: Drive
) -> State:
    """`step` with the kernel and the drive already at hand, as folds have them.

    Raises:
      TypeError: as `step`.
    """
    mixed = None
    if kernel is not None:
        assert cell.hidden is not None
        h = cell.hidden(state, drive)
        if h.dtype != kernel.dtype or h.shape[-1:] != kernel.shape[:1]:
            raise TypeError(
                "kernel: expected [K, M] in the precision of hidden(state, drive), "
                f"{describe(h)}, got {describe(kernel)}; cast it where the cell builds it, and "
                "pass the parameters that this cell's `init` gives"
            )
        mixed = h @ kernel
    after = cell.update(params, state, drive, mixed)
    if signature(after) != signature(state):
        raise TypeError(
            f"state: expected a step to keep {describe(state)}, got {describe(after)} after "
            "one step; make `update` (or the bare step) return the structure, shapes and "
            "dtypes that `start` gives, with the batch axes of the inputs"
        )
    return after


def signature(state: State) -> Any:
    """What two states must have in common: structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(state)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def from_step(
    step: Callable[[Params, State, Inputs], State],
    *,
    init: Callable[[chex.PRNGKey], Params],
    start: Callable[[Params, Batch], State],
    output: Callable[[State], Any] | None = None,
) -> Cell:
    """Makes a cell of a bare recurrence s_t = step(params, s_{t-1}, x_t).

    Args:
      step: `(params, state, x) -> state`, state and x with the batch axes first.
      init: `key -> params`.
      start: `(params, batch_shape) -> state`.
      output: `state -> [B, H]`; the state itself unless told.

    Returns:
      A cell without a kernel: all its work is done in `update`.
    """
    return Cell(
        init=init,
        start=start,
        project=lambda params, inputs: inputs,
        kernel=None,
        hidden=None,
        update=lambda params, state, drive, mixed: step(params, state, drive),
        output=output if output is not None else lambda state: state,
    )
