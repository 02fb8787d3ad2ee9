"""An exact gradient that stores a few of the states and recomputes the others.

The sequence is cut into segments. The forward pass stores the state before each; the
backward pass recomputes one segment at a time with the inner fold and differentiates it.
With √T segments of √T steps about 2 √T states are held at once, at the cost of one more
forward pass. Nested segments hold about k T^(1/k), for k - 1 more forward passes.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax.export import is_symbolic_dim

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._checks import as_count, as_number
from rnnjax._forward_mode import with_remedy
from rnnjax._tree import count_bytes
from rnnjax._values import by_value
from rnnjax.folds._blocked import blocked
from rnnjax.folds._cost import SMALL_BLOCK, segment_sizes, states_held
from rnnjax.folds._sequence import Fold, check_fold, in_pieces, length_of, scan_wide, vary_together


@by_value
def checkpointed(
    *,
    segments: int | None = None,
    budget_bytes: float | None = None,
    fold: Fold = blocked(size=SMALL_BLOCK),
) -> Fold:
    """Folds segment by segment, with an exact gradient that keeps O(√T) states.

        s_t = step(params, s_{t-1}, x_t)
        g_t = ∂L/∂s_t + g_{t+1} ∂s_{t+1}/∂s_t,   s of one segment at a time

    The gradient holds the state before each segment, and the states and inputs of the
    current segment. Whatever the loss itself reads is stored as well: a loss on the last
    output should read `cell.output(final_state)`, since `outputs[-1]` first stores all
    outputs, and their gradient. The derivatives available are those of the inner fold.

    Args:
      segments: number of segments, at most one per step; by default about √T of equal
        length, one where `jax.export` leaves T symbolic.
      budget_bytes: the most bytes of states held at once, in place of `segments`; one block
        and the weights' gradient come on top. Segments are nested as few times as the
        budget allows: each level costs one more forward pass. The bytes are those of the
        batch that the fold is given: of one member under `vmap`, of one device under
        `shard_map`.
      fold: how a segment is folded and differentiated; by default in small blocks, which
        store only states.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      TypeError: `segments` is not a whole number, `budget_bytes` not a number, or `fold` not
        a fold.
      ValueError: both `segments` and `budget_bytes` are given, or `segments` is below one;
        when the fold is called, `budget_bytes` is too small for the sequence however it is
        cut, or one of them is given and the shapes are symbolic.

    Griewank and Walther, Algorithm 799: Revolve, 2000; the uniform segments are those of Chen,
    Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost, 2016, section 4.
    """
    if segments is not None and budget_bytes is not None:
        raise ValueError(
            f"segments, budget_bytes: expected one of them, got {segments} and {budget_bytes}; "
            "the budget finds its own segments"
        )
    if segments is not None:
        segments = as_count("segments", segments, "None takes about √T")
    # Computed from symbolic shapes it is not a number yet; the fold raises when it is called.
    budget: Any = budget_bytes
    if budget is not None and not is_symbolic_dim(budget):
        as_number("budget_bytes", budget)
    check_fold(fold)

    @with_remedy()
    def run(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        length = length_of(inputs)
        params, inputs, state = vary_together(params, inputs, state)

        def by_segments(sizes: Sequence[int], inputs: Inputs, state: State) -> tuple[State, State]:
            sizes = [size for size in sizes if size < length_of(inputs)]
            if not sizes:
                return fold(cell, params, inputs, state)

            # The enclosing loop already prevents common subexpression elimination.
            @partial(jax.checkpoint, prevent_cse=False)
            def segment(state: State, inputs: Inputs) -> tuple[State, State]:
                return by_segments(sizes[1:], inputs, state)

            return in_pieces(partial(scan_wide, segment), inputs, state, sizes[0])

        sizes: Sequence[int]
        state_bytes = count_bytes(state)
        if (segments is not None and is_symbolic_dim(length)) or (
            budget_bytes is not None and is_symbolic_dim(length * state_bytes)
        ):
            raise ValueError(
                f"segments, budget_bytes: expected to be left out where the shapes are not known, "
                f"got {segments} and {budget_bytes} for {length} steps of a state of {state_bytes} "
                "bytes; or export for the shapes that you have"
            )
        if budget_bytes is not None:
            sizes = _cut(length, state_bytes, budget_bytes)
        elif is_symbolic_dim(length):
            sizes = []  # One segment, without recomputation.
        elif segments is not None:
            sizes = [math.ceil(length / segments)]
        else:
            sizes = segment_sizes(length, 1)
        return by_segments(sizes, inputs, state)

    return run


def _cut(length: int, state_bytes: int, budget_bytes: float) -> list[int]:
    """Segment sizes of the fewest nested levels that hold no more states than the budget.

    Raises:
      ValueError: there are none.
    """
    needed = []
    # From no segments to repeated halving.
    for levels in range(max(length, 1).bit_length()):
        sizes = segment_sizes(length, levels)
        needed.append(states_held(length, sizes) * state_bytes)
        if needed[-1] <= budget_bytes:
            return sizes
    raise ValueError(
        f"budget_bytes: expected at least {min(needed)} bytes for {length} steps of a state of "
        f"{state_bytes} bytes, got {budget_bytes}; raise it, or take a smaller batch"
    )
