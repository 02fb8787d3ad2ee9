"""Choosing a fold for given shapes and memory, before anything is compiled."""

from typing import NamedTuple

import jax

from rnnjax._cell import Batch, Cell, check_cell
from rnnjax._checks import as_count, as_int, as_number, check_batch_shape, kind_of
from rnnjax._tree import count_bytes
from rnnjax.folds import _cost as cost
from rnnjax.folds._blocked import blocked
from rnnjax.folds._checkpointed import checkpointed
from rnnjax.folds._sequence import Fold
from rnnjax.folds._stored import stored


class Plan(NamedTuple):
    """A fold, and the predicted cost of a training step with it.

    Attributes:
      fold: an argument of `unroll`.
      description: the fold as Python source.
      bytes: held for the gradient: states, and what is stored besides, or one block. The
        outputs that the loss reads, and the gradients of weights and inputs, come on top.
      relative_time: in units of a training step that does each of its products once, and
        nothing else.
    """

    fold: Fold
    description: str
    bytes: int
    relative_time: float


def plan(
    cell: Cell,
    batch_shape: Batch,
    length: int,
    *,
    budget_bytes: float | None = None,
    device: jax.Device | None = None,
) -> Plan:
    """The fastest fold whose gradient fits into memory.

    In this order: `stored` where that is faster, then only states, then a few of the states. The
    cost model, measured on two CPU cores, sees no inputs: it assumes a step's drive as large as
    its product with the kernel, its inputs as large as its state, and what `stored` stores as for
    a GRU, which is more than for the LSTM or tanh. Without a budget the plan is what
    `folds.default()` does, as far as it sees.

    Args:
      cell: the recurrence.
      batch_shape: B.
      length: T.
      budget_bytes: the most bytes held for the gradient; by default the memory of `device`,
        unlimited if the device does not report it.
      device: the device it will run on; by default JAX's first.

    Returns:
      A `Plan`.

    Raises:
      TypeError: `cell` is not a cell, `length` or a batch axis not a whole number,
        `budget_bytes` not a number, or `device` not a device.
      ValueError: `length` is below one, or no fold fits the budget.
    """
    check_cell(cell)
    length = as_count("length", length)
    check_batch_shape(batch_shape)
    batch_shape = tuple(as_int("batch_shape", size) for size in batch_shape)
    if device is not None and not hasattr(device, "memory_stats"):
        raise TypeError(
            f"device: expected a device, got {kind_of(device)}; pass one of jax.devices()"
        )
    device = device or jax.devices()[0]
    if budget_bytes is not None:
        as_number("budget_bytes", budget_bytes)
    else:
        stats = device.memory_stats() or {}
        budget_bytes = stats.get("bytes_limit")
    params = jax.eval_shape(cell.init, jax.random.key(0))
    state = count_bytes(jax.eval_shape(lambda p: cell.start(p, batch_shape), params))
    step = cost.step_cost(cell, params, batch_shape, drive_bytes=state)
    step = step._replace(drive_bytes=step.mixed_bytes or state)

    def recompute(levels: int) -> Plan:
        sizes = cost.segment_sizes(length, levels)
        states = cost.states_held(length, sizes) * state
        return Plan(
            checkpointed(budget_bytes=states),
            f"checkpointed(budget_bytes={states})",
            cost.checkpointed_bytes(step, state, length, sizes),
            cost.relative_time(1 + levels),
        )

    of_blocked = cost.blocked_bytes(step, state, length)
    options = [Plan(blocked(), "blocked()", of_blocked, cost.relative_time(1))]
    kept = cost.kept_bytes(step, state)
    if cost.worth_storing(device, step, length, lambda: kept):
        of_stored = length * (state + kept)
        options.insert(0, Plan(stored(), "stored()", of_stored, cost.relative_time(0)))
    if budget_bytes is None:
        return options[0]
    options += [recompute(levels) for levels in range(1, length.bit_length())]
    for option in options:
        if option.bytes <= budget_bytes:
            return option
    least = min(option.bytes for option in options)
    raise ValueError(
        f"budget_bytes: expected at least {least} for {length} steps of batch {batch_shape}, got "
        f"{budget_bytes}; raise it, or take a smaller batch"
    )
