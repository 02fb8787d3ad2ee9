"""How fast the gradient vanishes or explodes, in one call."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax._cell import Cell, Inputs, Params, State
from rnnjax._checks import as_count
from rnnjax._observation import observe, see
from rnnjax._once import once
from rnnjax._programs import compiled_call
from rnnjax._unroll import Options, Run, running
from rnnjax._values import by_value
from rnnjax._vectors import for_every_member, to_vectors
from rnnjax.diagnostics._adjoints import check_call, distinct
from rnnjax.diagnostics._steps import states_before, step_pullback, vector_pullback

_ONE_PER_CENT = math.log(0.01)


class GradientReport(NamedTuple):
    """The gradient of the last output against lag. Printing it gives a short table.

    Attributes:
      rate: `[B]`, nats per step: the logarithm of the norm over the whole sequence,
        divided by its valid steps. Negative where the gradient vanishes; zero for a
        sequence without valid steps.
      horizon: `[B]`, in steps: the first lag at which the norm has fallen to 1 % of
        that at lag 0; if the sequence ends before, the lag that the rate predicts; inf if
        the rate is not negative, and NaN if the gradient is.
      reached: `[B]`, whether the horizon lies within the sequence.
      gain: `[B]`, nats: ln of the norm at the longest lag over that at lag 0.
      log_norms: `[T + 1, B]`; entry t is ln ‖∂h_T/∂s_t‖_F, h_T the last output.
      lags: `[T + 1, B]`, integers: valid steps from s_t to s_T.
    """

    rate: jax.Array
    horizon: jax.Array
    reached: jax.Array
    gain: jax.Array
    log_norms: jax.Array
    lags: jax.Array

    @property
    def verdict(self) -> str:
        """Whether the median member fell to 1 %, grew a hundredfold, or neither.

        "not finite" if the gradient of any member is NaN.
        """
        if np.isnan(np.asarray(self.gain)).any():
            return "not finite"
        if np.median(np.asarray(self.reached)) >= 0.5:
            return "vanishing"
        if np.median(np.asarray(self.gain)) >= -_ONE_PER_CENT:
            return "exploding"
        return "stable"

    def __str__(self) -> str:
        if self.rate.size == 0:
            return "verdict   none: no sequences"
        lags = np.asarray(self.lags)
        gain, rate, horizon = (np.asarray(x).ravel() for x in (self.gain, self.rate, self.horizon))
        longest = int(lags.max(initial=0))
        lines = [
            ("verdict", f"{self.verdict} over {longest} steps"),
            ("rate", f"{_spread(rate, '{:+.4f}')} nats a step, a factor of "
                     f"{math.exp(min(np.median(rate), 700.0)):.4g}"),
            ("horizon", f"{_spread(horizon, '{:.4g}')} steps until 1 % is left"
                        + ("" if np.all(self.reached) else
                           f" (beyond the sequence for {np.mean(~np.asarray(self.reached)):.0%},"
                           " by the rate)")),
            ("left", f"{_spread(gain / math.log(10), '10^{:+.2f}')} of it at the longest lag"),
        ]  # fmt: skip
        return "\n".join(f"{name:<10}{text}" for name, text in lines)


@once("reverse", "directions")
def gradient_report(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State | None = None,
    *,
    directions: int = 16,
    **options: Unpack[Options],
) -> GradientReport:
    """Measures the gradient of the last output with respect to every earlier state.

        log_norms[t] = ln ‖∂h_T/∂s_t‖_F,   ∂h_T/∂s_t = ∂h_T/∂s_T J_T ... J_{t+1}

    The cotangents are rescaled at every step and their norm kept as a logarithm, so that
    sequences of any length neither overflow nor underflow. It is the gradient that a loss on
    the last output backpropagates, averaged over all directions of ∂L/∂h_T.

    Args:
      cell: any recurrence, `from_step` of a bare function included.
      params: its parameters.
      inputs: leaves `[T, B, ...]`.
      state: s before the first step; by default `cell.start`.
      directions: number of rows of ∂h_T/∂s_t computed: all of them, if the output has no
        more, else this many orthonormal combinations, drawn with a fixed key, with the same
        mean square.
      **options: mask, resets, reverse, probes, fold and name, as in `unroll`. Lags count
        valid steps. Beyond a reset the gradient is zero, its logarithm -inf, and so are rate
        and gain of a sequence with a reset; for the report of one episode, pass only its
        steps, `inputs[begin:end]`. In reverse the last output is that of the first step,
        and t counts from the end of the sequence.

    Returns:
      `GradientReport`.

    Raises:
      As `step_jacobians`, and
      TypeError: `directions` is not a whole number.
      ValueError: `directions` is below one.
    """
    directions = as_count("directions", directions)
    with running(cell, params, inputs, state, **options) as run:
        return _report(run, directions)[0]


def _report(run: Run, directions: int) -> tuple[GradientReport, tuple[State, State]]:
    """The report, and `(final state, all states)` of the run."""
    final, states = run.carry()
    before = states_before(run, states)
    outputs = to_vectors(run.cell.output(final), run.batch)

    H = outputs.shape[-1]
    rows = jnp.eye(H, dtype=outputs.dtype)
    if directions < H:
        noise = jax.random.normal(jax.random.key(0), (H, directions), outputs.dtype)
        rows = jnp.linalg.qr(noise)[0].T * math.sqrt(H / directions)
    rows = for_every_member(rows, outputs)

    def rescaled(rows: jax.Array, log_norm: jax.Array) -> tuple[jax.Array, jax.Array]:
        largest = jnp.abs(rows).max(axis=(0, -1))
        rows = rows / jnp.where(largest == 0, 1.0, largest)[None, ..., None]
        # Between one and the number of entries, so that squares are safe.
        norm = jnp.sqrt(jnp.sum(rows**2, axis=(0, -1)))
        rows = rows / jnp.where(norm == 0, 1.0, norm)[None, ..., None]
        return rows, log_norm + jnp.log(largest) + jnp.log(jnp.where(norm == 0, 1.0, norm))

    def body(
        carry: tuple[jax.Array, jax.Array], step_of: tuple[State, Inputs]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        pullback = step_pullback(run, *step_of)
        carry = rescaled(jax.vmap(pullback)(carry[0]), carry[1])
        return carry, carry[1]

    last = rescaled(
        jax.vmap(vector_pullback(run.cell.output, final, run.batch))(rows),
        jnp.zeros(run.batch, outputs.dtype),
    )
    _, earlier = lax.scan(body, last, (before, run.inputs), reverse=True)
    log_norms = jnp.concatenate([earlier, last[1][None]])

    length = log_norms.shape[0] - 1
    valid = jnp.ones((length, *run.batch), jnp.int32) if run.mask is None else run.mask
    after = jnp.cumsum(valid[::-1], axis=0, dtype=jnp.int32)[::-1]
    lags = jnp.concatenate([after, jnp.zeros_like(after, shape=(1, *run.batch))])
    return _summary(log_norms, lags), (final, states)


def gradient_reports(
    model: Callable[..., Any],
    params: Params,
    *args: Any,
    directions: int = 16,
    **options: Any,
) -> dict[str, GradientReport]:
    """The `gradient_report` of every recurrence in a model, on its inputs in the model.

    Each report covers the gradient of a recurrence's last output through that recurrence's
    own states; for the gradient of the whole model's loss, see `adjoints`, which also says
    which recurrences are covered, and which axes those inside `lax.scan` and `vmap` have.

    Args:
      model: `model(params, *args, **options)`: `Layer.apply`, a loss, or any other pure
        function that runs recurrences.
      params: its parameters.
      *args: its other arguments; arrays in them are traced, as by `jit`.
      directions: as in `gradient_report`.
      **options: its keyword arguments, such as `mask`; arrays in them are traced, too.

    Returns:
      One report per recurrence, in the order of the computation. Each key is the
      `jax.named_scope` it runs in ("1/forward" in a `rnnjax.layers.stack`, the path of a
      linen module), which `unroll(name=...)` opens; else "unroll 0" and so on.

    Raises:
      As `gradient_report` and `adjoints`.
    """
    check_call("model", model, params, args, options)
    directions = as_count("directions", directions)

    def run(params: Params, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        observation = observe(
            "model", _reporting(directions), lambda params: model(params, *args, **options), params
        )
        _, reports = observation.run(params, probes=[()] * len(observation.places))
        return distinct(observation.places), reports

    return dict(zip(*compiled_call(model, run, params, args, options), strict=True))


@by_value
def _reporting(directions: int) -> Callable[..., tuple[State, State]]:
    """An observer that marks the report of each recurrence as observed."""

    def report(run: Run) -> tuple[State, State]:
        through: tuple[State, State] = see(*_report(run, directions))
        return through

    return report


def _summary(log_norms: jax.Array, lags: jax.Array) -> GradientReport:
    fallen = log_norms - log_norms[-1:] <= _ONE_PER_CENT
    reached = fallen.any(axis=0)
    steps = lags[0].astype(log_norms.dtype)
    gain = log_norms[0] - log_norms[-1]
    rate = jnp.where(lags[0] == 0, jnp.zeros_like(gain), gain / jnp.maximum(steps, 1.0))
    observed = jnp.where(fallen, lags, jnp.iinfo(lags.dtype).max).min(axis=0)
    predicted = jnp.where(rate < 0, _ONE_PER_CENT / jnp.where(rate < 0, rate, -1.0), jnp.inf)
    horizon = jnp.where(reached, observed.astype(log_norms.dtype), predicted)
    horizon = jnp.where(jnp.isnan(gain), jnp.nan, horizon)
    return GradientReport(rate, horizon, reached, gain, log_norms, lags)


def _spread(values: np.ndarray, form: str) -> str:
    """The median, and the range where there is one."""
    if values.size == 1:
        return form.format(values[0])
    low, high = form.format(values.min()), form.format(values.max())
    return f"{form.format(np.median(values))} (from {low} to {high})"
