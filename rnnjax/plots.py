"""Plots of the diagnostics, drawn on axes that the caller provides.

Curves are medians over the batch; the shaded band is the range over its members. Logarithms
are to base 10; the logarithm of zero is a gap.
"""

import math
import warnings
from typing import Any

import jax
import numpy as np

try:
    from matplotlib.axes import Axes
except ImportError as error:
    raise ImportError(
        "rnnjax.plots needs matplotlib; install it with: pip install 'rnnjax[experiments]'"
    ) from error

from rnnjax._checks import as_count, as_int, as_number, check_arrays, kind_of
from rnnjax._tree import describe, floating
from rnnjax.diagnostics import GradientReport

__all__ = ["gradient_norms", "adjoint_norms", "spectrum", "jacobian_norms", "bound"]


def gradient_norms(ax: Axes, report: GradientReport, **line: Any) -> None:
    """‖∂h_T/∂s_t‖ relative to lag 0, against lag, with a line at 1 %.

    Args:
      ax: axes to draw on.
      report: of one network, batched or not.
      **line: passed on to `Axes.plot`.

    Raises:
      TypeError: `ax` is not axes, or `report` not a report.
    """
    _check_axes(ax)
    if not isinstance(report, GradientReport):
        raise TypeError(
            f"report: expected a GradientReport, got {kind_of(report)}; pass what "
            "`rnnjax.gradient_report` gives"
        )
    norms, lags = (np.asarray(x) for x in (report.log_norms, report.lags))
    norms = (norms - norms[-1:]).reshape(len(norms), -1)
    by_lag = np.full_like(norms, np.nan)
    for member, steps in enumerate(lags.reshape(norms.shape).T):
        # Where a masked step repeats a lag, the earliest state counts.
        by_lag[steps[::-1], member] = norms[::-1, member]
    _curve(ax, by_lag / math.log(10), **line)
    ax.axhline(-2, color="0.6", linewidth=0.8)
    ax.set(xlabel="lag (steps)", ylabel="gradient left, log10 ‖∂h_T/∂s_t‖")


def adjoint_norms(ax: Axes, adjoint: Any, *, batch_axes: int | None = None, **line: Any) -> None:
    """‖∂L/∂s_t‖ of each member of the batch against lag.

    Args:
      ax: axes to draw on.
      adjoint: one entry of `Adjoints.adjoints`, leaves `[T, B, ...]`.
      batch_axes: number of axes in B, 0 for a single sequence; the norm is taken over the
        axes after them. 1 by default, and then every leaf must be `[T, B, H]`.
      **line: passed on to `Axes.plot`.

    Raises:
      TypeError: `ax` is not axes, or a leaf not an array.
      ValueError: the batch axes are not given and cannot be inferred, or differ between the
        leaves.
    """
    _check_axes(ax)
    check_arrays("adjoint", adjoint)
    leaves = [np.abs(np.asarray(leaf)) for leaf in jax.tree.leaves(floating(adjoint))]
    if batch_axes is None and any(leaf.ndim != 3 for leaf in leaves):
        raise ValueError(
            "batch_axes: expected the number of batch axes, since not every leaf is [T, B, H], "
            f"got None for {describe(adjoint)}; pass batch_axes=1 for leaves [T, B, ...], 0 for "
            "[T, ...]"
        )
    axes = 2 if batch_axes is None else 1 + as_int("batch_axes", batch_axes)
    if axes < 1:
        raise ValueError(f"batch_axes: expected at least 0, got {batch_axes}; B has so many axes")
    begins = {leaf.shape[:axes] for leaf in leaves}
    if {len(begin) for begin in begins} != {axes} or len(begins) > 1:
        raise ValueError(
            f"adjoint: expected leaves that begin with time and the same {axes - 1} axes of the "
            f"batch, got {describe(adjoint)}; pass one entry of `Adjoints.adjoints`, and its "
            "number of batch axes as `batch_axes`"
        )
    squares = sum(
        np.sum(leaf.astype(np.float64) ** 2, axis=tuple(range(axes, leaf.ndim))) for leaf in leaves
    )
    with np.errstate(divide="ignore"):
        norms = 0.5 * np.log10(squares)
    _curve(ax, norms.reshape(len(norms), -1)[::-1], **line)
    ax.set(xlabel="lag (steps)", ylabel="log10 ‖∂L/∂s_t‖")


def spectrum(ax: Axes, log_singular_values: jax.Array, *, most: int = 8, **line: Any) -> None:
    """The largest singular values of ∂s_T/∂s_t against lag, medians over the batch.

    Args:
      ax: axes to draw on.
      log_singular_values: `[T + 1, B, S]`, of `jacobian_product_spectrum`.
      most: how many to draw.
      **line: passed on to `Axes.plot`.

    Raises:
      TypeError: `ax` is not axes, `log_singular_values` not an array, or `most` not a whole
        number.
      ValueError: the array has too few axes, or `most` is below one.
    """
    _check_axes(ax)
    most = as_count("most", most)
    values = _array("log_singular_values", log_singular_values, "[T + 1, B, S]", 2)
    values = np.median(values.reshape(len(values), -1, values.shape[-1])[::-1, :, :most], axis=1)
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

    Raises:
      TypeError: `ax` is not axes, or `jacobians` not an array.
      ValueError: the array has too few axes.
    """
    _check_axes(ax)
    norms = np.linalg.norm(_array("jacobians", jacobians, "[T, B, S, S]", 3), 2, axis=(-2, -1))
    _curve(ax, norms.reshape(len(norms), math.prod(norms.shape[1:])), **line)
    ax.set(xlabel="time (steps)", ylabel="‖J_t‖₂")


def bound(ax: Axes, norm_bound: jax.Array, longest: int, **line: Any) -> None:
    """The bound (γ‖W_hh‖₂)^lag as a line from lag 0 to `longest`.

    Args:
      ax: axes to draw on.
      norm_bound: of `rnnjax.norm_bound`.
      longest: the last lag.
      **line: passed on to `Axes.plot`.

    Raises:
      TypeError: `ax` is not axes, `norm_bound` not a number, or `longest` not a whole number.
    """
    _check_axes(ax)
    number, longest = as_number("norm_bound", norm_bound), as_int("longest", longest)
    slope = math.log10(number) if number > 0 else -math.inf
    ax.plot([0, longest], [0, longest * slope], **{"linestyle": ":", "color": "0.3", **line})


def _check_axes(ax: Any) -> None:
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax: expected axes of matplotlib, got {kind_of(ax)}; make them by "
            "`figure, ax = plt.subplots()`, and of several pass one"
        )


def _array(name: str, value: Any, shape: str, least: int) -> np.ndarray:
    """`value` as an array of at least `least` axes; B may have none."""
    if not jax.tree_util.all_leaves([value]):
        raise TypeError(f"{name}: expected one array {shape}, got {describe(value)}; pass it alone")
    check_arrays(name, value)
    array = np.asarray(value)
    if array.ndim < least:
        raise ValueError(f"{name}: expected {shape}, got {array.shape}; time comes first")
    return array


def _curve(ax: Axes, members: np.ndarray, **line: Any) -> None:
    """Median and range of `[N, members]`, against 0 to N - 1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, middle, high = (
            _finite(curve(members, axis=1)) for curve in (np.nanmin, np.nanmedian, np.nanmax)
        )
    (drawn,) = ax.plot(middle, **line)
    ax.fill_between(
        np.arange(len(members)), low, high, color=drawn.get_color(), alpha=0.15, linewidth=0
    )


def _finite(values: np.ndarray) -> np.ndarray:
    """A gap where a value is not finite."""
    return np.where(np.isfinite(values), values, np.nan)
