"""What the folds cost: the sizes of blocks and segments, their memory and their time.

Every constant is here, and was measured on two CPU cores, or chosen where it says so. No
other platform has numbers of its own yet: these serve for all.
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
# Steps: the fewest that a block has by default, and those of the one that `checkpointed`
# holds besides the states.
SMALL_BLOCK = 16
# Steps in a block of a cell without a kernel.
_PLAIN_BLOCK = 32
# Below this width of the kernel, reading products back takes longer than computing them.
_STORED_WIDTH = 128
# A choice: as much as the default spends to save time. Above, storing was still faster at
# K = 256, by a twentieth to a fifth, and took more than three times the memory.
_STORED_BYTES = 256 << 20
# A choice: how far a length is searched for factors.
_FACTORS = 1024


class Cost(NamedTuple):
    """What a step brings with it besides its state.

    Attributes:
      drive_bytes: of its drive.
      mixed_bytes: of its product with the kernel.
      width: K; 0 without a kernel.
    """

    drive_bytes: int
    mixed_bytes: int
    width: int


def step_cost(cell: Cell, params: Params, batch: Batch, drive_bytes: int) -> Cost:
    """Of a step of a batch whose drive takes so many bytes."""
    if cell.kernel is None:
        return Cost(drive_bytes, 0, 0)
    kernel = jax.eval_shape(cell.kernel, params)
    K, M = kernel.shape
    return Cost(drive_bytes, math.prod(batch) * M * kernel.dtype.itemsize, K)


def block_size(cost: Cost, length: int) -> int:
    """Steps in a block, a divisor of T if there is a near one."""
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
    # A last block of another size would have to be compiled apart.
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
    """At once: before each segment at every level, and within the innermost."""
    lengths = [length, *sizes]
    return sum(math.ceil(a / b) for a, b in zip(lengths, sizes, strict=False)) + lengths[-1]


def blocked_bytes(cost: Cost, state_bytes: int, length: int, store: bool) -> int:
    """Held for the gradient: states, drives and products if they are stored, and one block."""
    stored = _step_bytes(cost) * length if store else 0
    return length * state_bytes + stored + _block_bytes(cost, block_size(cost, length))


def checkpointed_bytes(cost: Cost, state_bytes: int, length: int, sizes: Sequence[int]) -> int:
    """Held for the gradient: states, inputs as large as they, and one small block."""
    # Each loop over segments copies the inputs of one, and drops them.
    steps = states_held(length, sizes) + sum(sizes)
    return steps * state_bytes + _block_bytes(cost, min(SMALL_BLOCK, length))


def relative_time(cost: Cost, *, store: bool, levels: int = 0) -> float:
    """Of a training step, in units of its products: forward, backward, and to the weights.

    Computed again, products take a third more; stored, as long where K is `_STORED_WIDTH`.
    Every level of segments is one more forward pass.
    """
    return 1 + (_STORED_WIDTH / cost.width if store else 1) / 3 + levels / 3


def _step_bytes(cost: Cost) -> int:
    return cost.drive_bytes + cost.mixed_bytes


def _block_bytes(cost: Cost, size: int) -> int:
    """Drives and products of a block, and its linearisation, about as much again."""
    return 2 * size * _step_bytes(cost)


def _near(length: int, wanted: float) -> int:
    """The divisor of `length` nearest to `wanted` up to a factor of two, else `wanted`.

    What is left over after the last whole segment is compiled as a program of its own.
    """
    divisors = _divisors(length)
    place = bisect.bisect(divisors, wanted)
    near = [d for d in divisors[max(place - 1, 0) : place + 1] if wanted / 2 <= d <= 2 * wanted]
    near = [d for d in near if d < length]
    return min(near, key=lambda d: abs(math.log(d / wanted)), default=max(1, round(wanted)))


@lru_cache(maxsize=64)
def _divisors(number: int) -> list[int]:
    """All divisors up to `_FACTORS`², ascending; beyond, those that its small factors tell.

    A large number may be the product of two primes that would take for ever to find.
    """
    found, left = [1], number
    for factor in range(2, _FACTORS + 1):
        if factor * factor > left:
            break
        one = found
        while left % factor == 0:
            left //= factor
            one = [factor * d for d in one]
            found = found + one
    if left > 1:
        found = found + [left * d for d in found]
    return sorted(found)
