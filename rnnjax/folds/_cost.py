"""The cost model of the folds: sizes of blocks and segments, memory and time.

All constants are here; they were measured on two CPU cores, except those marked as a
choice. The folds use them on every platform, and the default fold on a CPU.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
from jax.export import is_symbolic_dim

from rnnjax._cell import Batch, Cell, Inputs, Params, State
from rnnjax._tree import count_bytes
from rnnjax.folds._sequence import element, types_of_step

# Starting an operation on both cores costs as much as 20 MFLOP: blocks whose drives fill this
# many bytes are large enough to hide it, and stay in cache.
_BLOCK_BYTES = 1 << 20
# Steps in the smallest default block, and in the block that `checkpointed` holds besides the
# states.
SMALL_BLOCK = 16
# Steps in a block of a cell without a kernel.
_PLAIN_BLOCK = 32
# From this batch on, a step in the loop is large: blocks may be as short as one step.
_WIDE_BATCH = 256
# From this batch on, adding to the weights' gradients at every step costs less than what is
# recomputed and written once more where that is done block by block.
_STORED_BATCH = 32
# A choice: the most memory that the default spends to save time.
_STORED_BYTES = 192 << 20
# A choice: the largest prime factor that is searched for.
_FACTORS = 1024


class Cost(NamedTuple):
    """The memory of one step besides its state.

    Attributes:
      drive_bytes: of the drive.
      mixed_bytes: of the product with the kernel.
      width: K; 0 without a kernel.
      batch: B; 0 without a kernel.
    """

    drive_bytes: int
    mixed_bytes: int
    width: int
    batch: int


def step_cost(cell: Cell, params: Params, batch: Batch, drive_bytes: int) -> Cost:
    """The cost of one step of a batch, given the size of its drive."""
    if cell.kernel is None:
        return Cost(drive_bytes, 0, 0, 0)
    kernel = jax.eval_shape(cell.kernel, params)
    K, M = kernel.shape
    return Cost(drive_bytes, math.prod(batch) * M * kernel.dtype.itemsize, K, math.prod(batch))


def cost_of(cell: Cell, params: Params, inputs: Inputs, state: State) -> Cost:
    """`step_cost`, from the arguments of a fold."""
    drive, mixed = types_of_step(cell, params, element(inputs), state)
    batch = () if mixed is None else mixed.shape[:-1]
    return step_cost(cell, params, batch, count_bytes(drive))


def block_size(cost: Cost, length: int) -> int:
    """Steps in a block, a divisor of T if there is one close enough."""
    unknown: bool = is_symbolic_dim(length)
    if unknown:
        return length
    if cost.width == 0:
        return min(length, _PLAIN_BLOCK)
    if is_symbolic_dim(cost.drive_bytes):
        most = SMALL_BLOCK
    else:
        least = 1 if cost.batch >= _WIDE_BATCH else SMALL_BLOCK
        most = max(least, _BLOCK_BYTES // max(cost.drive_bytes, 1))
    if length <= 2 * most:
        return length  # One block needs no loop over blocks.
    # A last block of another size would have to be compiled separately.
    divisors = (n for n in range(most, most // 2, -1) if length % n == 0)
    return next(divisors, most)


def worth_storing(
    device: jax.Device | None, cost: Cost, length: int, stored: Callable[[], int]
) -> bool:
    """Whether to store more than the states for the backward pass.

    Args:
      device: the program will run on; None for JAX's default.
      cost: of a step.
      length: T.
      stored: bytes stored of one step; called only if the answer depends on it.
    """
    known = not is_symbolic_dim(cost.batch) and not is_symbolic_dim(cost.drive_bytes * length)
    large = cost.width == 0 or (known and cost.batch >= _STORED_BATCH)
    platform = jax.default_backend() if device is None else device.platform
    # With the batch sharded over several devices, XLA would sum a gradient that is carried from
    # step to step over the devices at every step; whether it is sharded is not known here.
    alone = platform == "cpu" and jax.device_count() == 1
    return bool(alone and known and large and stored() * length <= _STORED_BYTES)


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


def kept_bytes(cost: Cost, state_bytes: int) -> int:
    """About what `stored` stores of one step besides the state.

    The GRU stores four thirds of its product, the LSTM five quarters, tanh nothing; a cell
    without a kernel is taken for a GRU.
    """
    return cost.mixed_bytes * 4 // 3 or 4 * state_bytes


def blocked_bytes(cost: Cost, state_bytes: int, length: int) -> int:
    """Bytes for the gradient of `blocked`: states, and one block."""
    return length * state_bytes + _block_bytes(cost, block_size(cost, length))


def checkpointed_bytes(cost: Cost, state_bytes: int, length: int, sizes: Sequence[int]) -> int:
    """Bytes for the gradient: states, inputs as large as they are, and one small block."""
    # Each loop over segments holds a copy of one segment's inputs.
    steps = states_held(length, sizes) + sum(sizes)
    return steps * state_bytes + _block_bytes(cost, min(SMALL_BLOCK, length))


def relative_time(recomputed: int) -> float:
    """Of a training step, in units of its products: forward, backward and weight gradient.

    Args:
      recomputed: how many times the forward pass is repeated, a third of a step each.
    """
    return 1 + recomputed / 3


def _block_bytes(cost: Cost, size: int) -> int:
    """Drives and products of a block, and its linearisation, which takes about as much."""
    return 2 * size * (cost.drive_bytes + cost.mixed_bytes)


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
