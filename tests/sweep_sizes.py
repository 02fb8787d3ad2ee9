"""Whether XLA compiles the gradient of a cell to right code, over sizes; a script, and a test.

The XLA of jaxlib 0.10.2, the newest for Python 3.11, miscompiles some fused loops on CPUs with
AVX-512: one that reads four arrays [4, 5] of float64 and writes its results apart from each
other. Each program is compiled as it is and with vectors of 128 bits alone, in which that does
not happen, and run on the same arguments.

    python tests/sweep_sizes.py                         every cell and size; about an hour
    python tests/sweep_sizes.py --cell gru --most 8     B and H from 1 to 8
    python tests/sweep_sizes.py --least 9               sizes of which one is 9 or more
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from laws import LIBRARY

import rnnjax
from rnnjax import folds

T, D = 2, 3
# Said in words, since the daily tests compile in another way.
AS_USERS = {"xla_backend_optimization_level": 3}
if jax.__version__.startswith("0.10."):
    AS_USERS |= {"xla_cpu_use_fusion_emitters": True}
FOLDS = {"blocked": folds.blocked(), "scan": folds.scan(), "checkpointed": folds.checkpointed()}


class Case(NamedTuple):
    """A cell, a fold, a precision and the sizes."""

    cell: str
    fold: str
    dtype: str
    B: int
    H: int


def difference(case: Case) -> float:
    """Between the gradients with long vectors and with short ones, in units of the precision."""
    dtype = jnp.dtype(case.dtype)
    cell = LIBRARY[case.cell](D, case.H, dtype=dtype)
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    params = jax.tree.map(lambda p: normal(*p.shape), jax.eval_shape(cell.init, jax.random.key(0)))
    x = normal(T, case.B, D)
    weights = normal(*jax.eval_shape(partial(rnnjax.unroll, cell), params, x)[1].shape)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        outputs = rnnjax.unroll(cell, params, x, fold=FOLDS[case.fold])[1]
        return jnp.sum(jnp.asarray(weights) * outputs)

    lowered = jax.jit(jax.grad(loss, (0, 1))).lower(params, x)
    got, wanted = (
        jax.tree.leaves(lowered.compile(options)(params, x))
        for options in (AS_USERS, AS_USERS | {"xla_cpu_prefer_vector_width": 128})
    )
    largest = max(float(np.abs(a - b).max()) for a, b in zip(got, wanted, strict=True))
    scale = max(1.0, *(float(np.abs(b).max()) for b in wanted))
    return largest / scale / float(jnp.finfo(dtype).eps)


def cases(chosen: argparse.Namespace) -> Iterator[Case]:
    """In the order of the sizes."""
    every = itertools.product(range(1, chosen.most + 1), repeat=2)
    sizes = sorted((size for size in every if max(size) >= chosen.least), key=max)
    for (B, H), *rest in itertools.product(sizes, chosen.dtype, chosen.fold, chosen.cell):
        dtype, fold, cell = rest
        yield Case(cell, fold, dtype, B, H)


def main() -> int:
    """Prints what is compiled wrongly; 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", nargs="+", default=list(LIBRARY), choices=LIBRARY)
    parser.add_argument("--fold", nargs="+", default=["blocked"], choices=FOLDS)
    parser.add_argument("--dtype", nargs="+", default=["float64", "float32"])
    parser.add_argument("--least", type=int, default=1, help="of the larger of B and H")
    parser.add_argument("--most", type=int, default=16, help="of both")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    began, count, wrong = time.monotonic(), 0, 0
    for count, case in enumerate(cases(chosen), 1):
        found = difference(case)
        if not found < 1000:
            wrong += 1
            print(f"{case}: gradients differ by {found:.1e} units in the last place", flush=True)
        if count % 100 == 0:
            print(f"{count} programs, {wrong} wrong, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{count} programs, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
