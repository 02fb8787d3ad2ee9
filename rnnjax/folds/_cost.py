"""The cost model of the folds: sizes of blocks and segments, memory and time.

All constants are here; they were measured on two CPU cores, except those marked as a
choice, and are used on every platform.
"""

import bisect
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
from jax.export import is_symbolic_dim

from rnnjax._cell import Batch, Cell, Params

# Starting an operation on both cores costs as much as 20 MFLOP: blocks whose drives fill this
# many bytes are large enough to hide it, and stay in cache.
_BLOCK_BYTES = 1 << 20
# Steps in the smallest default block, and in the block that `checkpointed` holds besides the
# states.
SMALL_BLOCK = 16
# Steps in a block of a cell without a kernel.
_PLAIN_BLOCK = 32
# Below this width of the kernel, reading stored products is slower than recomputing them.
_STORED_WIDTH = 128
# A choice: the most memory that the default spends to save time. Above it, storing was still
# faster at K = 256, by 5 to 20 %, and took more than three times the memory.
_STORED_BYTES = 256 << 20
# A choice: the largest prime factor that is searched for.
_FACTORS = 1024


class Cost(NamedTuple):
    """The memory of one step besides its state.

    Attributes:
      drive_bytes: of the drive.
      mixed_bytes: of the product with the kernel.
      width: K; 0 without a kernel.
    """

    drive_bytes: int
    mixed_bytes: int
    width: int


def step_cost(cell: Cell, params: Params, batch: Batch, drive_bytes: int) -> Cost:
    """The cost of one step of a batch, given the size of its drive."""
    if cell.kernel is None:
        return Cost(drive_bytes, 0, 0)
    kernel = jax.eval_shape(cell.kernel, params)
    K, M = kernel.shape
    return Cost(drive_bytes, math.prod(batch) * M * kernel.dtype.itemsize, K)


def block_size(cost: Cost, length: int) -> int:
    """Steps in a block, a divisor of T if there is one close enough."""
    unknown: bool = is_symbolic_dim(length)
    if unknown:
        return length
    if cost.width == 0:
        return min(length, _PLAIN_BLOCK)
    known = not is_symbolic_dim(cost.drive_bytes)
    fitting = _BLOCK_BYTES // max(cost.drive_bytes, 1) if known else SMALL_BLOCK
    most = max(SMALL_BLOCK, fitting)
    if length <= 2 * most:
        return length  # One block needs no loop over blocks.
    # A last block of another size would have to be compiled separately.
    divisors = (n for n in range(most, most // 2, -1) if length % n == 0)
    return next(divisors, most)


def worth_storing(cost: Cost, length: int) -> bool:
    """Whether to keep drives and products of all steps for the backward pass."""
    stored = _step_bytes(cost) * length
    return not is_symbolic_dim(stored) and cost.width >= _STORED_WIDTH and stored <= _STORED_BYTES


def segment_sizes(length: int, levels: int) -> list[int]:
    """Steps in a segment, outermost first: about as many parts at every level."""
    sizes = []
    for level in range(levels, 0, -1):
        length = _near(length, length ** (level / (level + 1)))
        sizes.append(length)
    return sizes


def states_held(length: int, sizes: Sequence[int]) -> int:
    """States held at once: before each segment at every level, and within the innermost one."""
    lengths = [length, *sizes]
    return sum(math.ceil(a / b) for a, b in zip(lengths, sizes, strict=False)) + lengths[-1]


def blocked_bytes(cost: Cost, state_bytes: int, length: int, store: bool) -> int:
    """Bytes for the gradient: states, drives and products if they are stored, and one block."""
    stored = _step_bytes(cost) * length if store else 0
    return length * state_bytes + stored + _block_bytes(cost, block_size(cost, length))


def checkpointed_bytes(cost: Cost, state_bytes: int, length: int, sizes: Sequence[int]) -> int:
    """Bytes for the gradient: states, inputs as large as they are, and one small block."""
    # Each loop over segments holds a copy of one segment's inputs.
    steps = states_held(length, sizes) + sum(sizes)
    return steps * state_bytes + _block_bytes(cost, min(SMALL_BLOCK, length))


def relative_time(cost: Cost, *, store: bool, levels: int = 0) -> float:
    """Of a training step, in units of its products: forward, backward and weight gradient.

    Recomputing the products takes a third more; reading stored ones takes as long if K is
    `_STORED_WIDTH`. Every level of segments is one more forward pass.
    """
    return 1 + (_STORED_WIDTH / cost.width if store else 1) / 3 + levels / 3


def _step_bytes(cost: Cost) -> int:
    return cost.drive_bytes + cost.mixed_bytes


def _block_bytes(cost: Cost, size: int) -> int:
    """Drives and products of a block, and its linearisation, which takes about as much."""
    return 2 * size * _step_bytes(cost)


def _near(length: int, target: float) -> int:
    """The divisor of `length` nearest to `target` up to a factor of two, else `target`.

    A divisor avoids a shorter last segment, which would be compiled separately.
    """
    divisors = _divisors(length)
    place = bisect.bisect(divisors, target)
    near = [d for d in divisors[max(place - 1, 0) : place + 1] if target / 2 <= d <= 2 * target]
    near = [d for d in near if d < length]
    return min(near, key=lambda d: abs(math.log(d / target)), default=max(1, round(target)))


@lru_cache(maxsize=64)
def _divisors(number: int) -> list[int]:
    """All divisors up to `_FACTORS`², ascending; larger ones only from prime factors up to it.

    A large number may be the product of two primes that would take forever to find.
    """
    divisors, left = [1], number
    for factor in range(2, _FACTORS + 1):
        if factor * factor > left:
            break
        multiples = divisors
        while left % factor == 0:
            left //= factor
            multiples = [factor * d for d in multiples]
            divisors = divisors + multiples
    if left > 1:
        divisors = divisors + [left * d for d in divisors]
    return sorted(divisors)
