"""How long does the full spectrum of a trajectory's Jacobians take, compared with numpy?

Run time: about 20 s on two cores; 3 s with --quick.

Both run a tanh network, build every step's Jacobian, multiply it onto an orthogonal
basis and take a QR decomposition at every step; the means of ln |R_ii| are the Lyapunov
exponents. `jacobian_product_spectrum` does more: it refines the basis at every step, and takes
an SVD of the whole product, or of every one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from benchmarks.models import build
from benchmarks.report import Report, Row, by_point, lowest
from benchmarks.timing import ratio, spread, take_turns
from rnnjax import cells

SIZES = {64: 200, 256: 50}  # N, and T such that no call takes more than seconds
RNNJAX, NUMPY = "step_jacobians, QR", "numpy"
WHOLE, EVERY = "jacobian_product_spectrum()[0]", "jacobian_product_spectrum()"


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each N."""
    for N, T in ({16: 20} if quick else SIZES).items():
        cell = cells.elman(1, N)
        params = cell.init(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), (T, 1))
        W_xh, W_hh, b_h = (np.asarray(weights) for weights in params)
        given = np.asarray(x)
        by_qr = build(exponents(cell), params, x)
        whole = build(partial(whole_spectrum, cell), params, x)
        every = build(partial(rnnjax.jacobian_product_spectrum, cell), params, x)
        calls = {
            RNNJAX: by_qr.call,
            NUMPY: lambda args=(W_xh, W_hh, b_h, given): numpy_exponents(*args),
            WHOLE: whole.call,
            EVERY: every.call,
        }
        found = {name: np.asarray(call()).reshape(-1, N)[0] for name, call in calls.items()}
        largest = {name: float(values.max()) for name, values in found.items()}
        largest |= {name: largest[name] / T for name in (WHOLE, EVERY)}
        times = take_turns(calls, rounds=5, seconds=1.0)
        for name in calls:
            yield {
                "N": N,
                "T": T,
                "contender": name,
                "rounds": len(times[name]),
                "seconds": spread(times[name])._asdict(),
                "to_rnnjax": ratio(times, name, RNNJAX)._asdict(),
                "largest_exponent": largest[name],
            }


def exponents(cell: rnnjax.Cell) -> Any:
    """`(params, x) -> [N]`, the mean of ln |R_ii| over the steps."""

    def run(params: Any, x: jax.Array) -> jax.Array:
        def body(Q: jax.Array, J: jax.Array) -> tuple[jax.Array, jax.Array]:
            Q, R = jnp.linalg.qr(J @ Q)
            return Q, jnp.log(jnp.abs(jnp.diagonal(R)))

        J = rnnjax.step_jacobians(cell, params, x)
        _, logs = jax.lax.scan(body, jnp.eye(J.shape[-1]), J)
        return logs.mean(axis=0)

    return run


def whole_spectrum(cell: rnnjax.Cell, params: Any, x: jax.Array) -> jax.Array:
    """`[N]`, the log singular values of the product of all Jacobians."""
    return rnnjax.jacobian_product_spectrum(cell, params, x)[0]


def numpy_exponents(
    W_xh: np.ndarray, W_hh: np.ndarray, b_h: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """As `exponents`, in numpy."""
    h = np.zeros_like(b_h)
    Q = np.eye(len(h), dtype=h.dtype)
    logs = np.zeros_like(h)
    for x_t in x:
        h = np.tanh(x_t @ W_xh + h @ W_hh + b_h)
        Q, R = np.linalg.qr(((1 - h**2)[:, None] * W_hh.T) @ Q)
        logs += np.log(np.abs(np.diagonal(R)))
    return logs / len(x)


def report(rows: Sequence[Row]) -> Report:
    """In milliseconds per step."""
    by_size = by_point(rows)
    contenders = list(dict.fromkeys(row["contender"] for row in rows))

    def shown(own: Mapping[str, Row], name: str) -> str:
        return f"{1e3 * own[name]['seconds']['median'] / own[name]['T']:.3g}" if name in own else ""

    ratios = {
        place: own[NUMPY]["to_rnnjax"]["median"] for place, own in by_size.items() if NUMPY in own
    }
    return Report(
        headers=["ms per step", *contenders, "largest exponent"],
        lines=[
            [
                place,
                *(shown(own, name) for name in contenders),
                f"{next(iter(own.values()))['largest_exponent']:.4f}",
            ]
            for place, own in by_size.items()
        ],
        findings=lowest("time of numpy over ours", ratios),
    )
