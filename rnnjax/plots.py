"""Figures of the diagnostics, each drawn on axes that the caller owns.

Needs matplotlib (`pip install "rnnjax[experiments]"`). Curves are averages over the
batch; the shaded band runs from the lowest member to the highest. Logarithms are
drawn in powers of ten.
"""

import math
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from rnnjax.diagnostics import GradientReport
from rnnjax.tree import floating


def gradient_norms(ax: Axes, report: GradientReport, **line: Any) -> None:
    """‖∂h_T/∂s_t‖ over that at lag 0, against lag, with the mark of 1 %.

    Args:
      ax: axes to draw on.
      report: of one network, batched or not.
      **line: passed on to `Axes.plot`.
    """
    norms = np.asarray(report.log_norms - report.log_norms[-1:])
    _against_lag(ax, norms, **line)
    ax.axhline(-2, color="0.6", linewidth=0.8)
    ax.set(xlabel="lag (steps)", ylabel="gradient left, log10 ‖∂h_T/∂s_t‖")


def adjoint_norms(ax: Axes, adjoint: Any, **line: Any) -> None:
    """‖∂L/∂s_t‖ against lag.

    Args:
      ax: axes to draw on.
      adjoint: one entry of `Adjoints.adjoints`, leaves `[T, B, H]`.
      **line: passed on to `Axes.plot`.
    """
    squares: Any = 0.0
    for leaf in jax.tree.leaves(floating(adjoint)):
        squares = squares + np.sum(np.abs(np.asarray(leaf, dtype=np.float64)) ** 2, axis=-1)
    with np.errstate(divide="ignore"):
        _against_lag(ax, 0.5 * np.log(squares), **line)
    ax.set(xlabel="lag (steps)", ylabel="log10 ‖∂L/∂s_t‖")


def spectrum(ax: Axes, log_singular_values: jax.Array, *, most: int = 8, **line: Any) -> None:
    """The largest singular values of ∂s_T/∂s_t against lag, averaged over the batch.

    Args:
      ax: axes to draw on.
      log_singular_values: `[T + 1, B, S]`, of `jacobian_product_spectrum`.
      most: how many to draw.
      **line: passed on to `Axes.plot`.
    """
    values = np.asarray(log_singular_values)
    values = values.reshape(len(values), -1, values.shape[-1])[::-1, :, :most].mean(axis=1)
    shades = np.linspace(1.0, 0.25, values.shape[-1])
    for column, shade in zip(values.T, shades, strict=True):
        ax.plot(_finite(column) / math.log(10), **{"color": "C0", "alpha": shade, **line})
    ax.set(xlabel="lag (steps)", ylabel="log10 singular values of ∂s_T/∂s_t")


def jacobian_norms(ax: Axes, jacobians: jax.Array, **line: Any) -> None:
    """‖J_t‖₂ of every step against time.

    Args:
      ax: axes to draw on.
      jacobians: `[T, B, S, S]`, of `step_jacobians`.
      **line: passed on to `Axes.plot`.
    """
    norms = np.linalg.norm(np.asarray(jacobians), 2, axis=(-2, -1)).reshape(len(jacobians), -1)
    (drawn,) = ax.plot(norms.mean(axis=1), **line)
    ax.fill_between(
        np.arange(len(norms)), norms.min(axis=1), norms.max(axis=1), color=drawn.get_color(),
        alpha=0.15, linewidth=0,
    )  # fmt: skip
    ax.set(xlabel="time (steps)", ylabel="‖J_t‖₂")


def bound(ax: Axes, norm_bound: jax.Array, longest: int, **line: Any) -> None:
    """The bound (γ‖W_hh‖₂)^lag as a line from lag 0 to `longest`.

    Args:
      ax: axes to draw on.
      norm_bound: of `rnnjax.norm_bound`.
      longest: the last lag.
      **line: passed on to `Axes.plot`.
    """
    slope = math.log10(float(norm_bound)) if norm_bound > 0 else -math.inf
    ax.plot([0, longest], [0, longest * slope], **{"linestyle": ":", "color": "0.3", **line})


def _against_lag(ax: Axes, logs: np.ndarray, **line: Any) -> None:
    """Mean and range over the batch of `[T, B]`, time turned into lag."""
    logs = _finite(logs.reshape(len(logs), -1)[::-1]) / math.log(10)
    lags = np.arange(len(logs))
    (drawn,) = ax.plot(lags, logs.mean(axis=1), **line)
    ax.fill_between(
        lags, logs.min(axis=1), logs.max(axis=1), color=drawn.get_color(), alpha=0.15, linewidth=0
    )


def _finite(logs: np.ndarray) -> np.ndarray:
    """A gap in the curve where the logarithm is of zero."""
    return np.where(np.isfinite(logs), logs, np.nan)
