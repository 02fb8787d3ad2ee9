"""All steps at once: Newton's method on the whole trajectory.

    s_t = step(params, s_{t-1}, x_t) for every t     is one equation in the trajectory

Each iteration of Newton's method solves a linear recurrence, which `lax.associative_scan`
does in O(log T) stages (Lim, Zhu, Selfridge and Kasim 2024, section 3; Gonzalez,
Warrington, Smith and Linderman 2024 with diagonal Jacobians). An iteration costs more work
than a plain scan, T products of two `[S, S]` matrices with `dense`; it pays if T is large,
the state small or its Jacobian diagonal, and the hardware highly parallel. The number of
iterations grows with the Lyapunov exponent: a few if the recurrence forgets its initial
state, up to T if it is chaotic (Gonzalez and others 2025).

A recurrence that is linear in its state, entry by entry, needs neither Jacobians nor a second
iteration: `_linear` sees it in the step's operations, and one associative scan solves it, or a
sequential one where the state is multiplied by more than one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from rnnjax._cell import (
    Batch,
    Cell,
    Inputs,
    Params,
    State,
    advance,
    batch_of_state,
    batched_axes,
    blamed_on_params,
    build_kernel,
    check_cell,
    check_state,
)
from rnnjax._checks import as_count, as_number, check_arrays, check_function
from rnnjax._jacobians import Jacobians, Linear, Linearise, Path, dense
from rnnjax._once import once, when_known
from rnnjax._tree import carries_gradient, describe, precision
from rnnjax._values import by_value
from rnnjax._vectors import all_finite, largest_entry
from rnnjax._wrappers import select
from rnnjax.folds._linear import as_linear, grows, solve_linear
from rnnjax.folds._sequence import Fold, length_of, vary_together


class Solution(NamedTuple):
    """The result of Newton's method.

    Attributes:
      final: the state after the last step, leaves `[B, ...]`.
      states: leaves `[T, B, ...]`; NaN from the first unsolved step on.
      iterations: `[B]`, number until each sequence was solved. A linear cell takes at most one;
        one that is linear entry by entry and multiplies its state by more than one takes T.
      residual: `[B]`, the largest |s_t - step(params, s_{t-1}, x_t)| after the last
        iteration, relative to the largest entry of the states up to t; NaN if one is not
        finite.
      solved: `[B]`, number of leading steps that are solved; T if all are.
      converged: `[B]`, whether all are.
      finite: `[B]`, False if the step after the solved ones is not finite: the recurrence
        itself diverges there, and the iteration stops.
    """

    final: State
    states: State
    iterations: jax.Array
    residual: jax.Array
    solved: jax.Array
    converged: jax.Array
    finite: jax.Array


@by_value
def parallel(
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    linearise: Linearise = dense,
) -> Fold:
    """Folds all steps at once by `newton`, with exact derivatives of every kind and order.

        s = f(s):   s ← f(s) + J shift(δ),   δ_t = J_t δ_{t-1} + f(s)_t - s_t
        g_t = ∂L/∂s_t + J_{t+1}' g_{t+1}          (backward, J at the solution)

    The gradient repeats none of the iterations: it is one reverse associative scan, or
    several until it is exact if `diagonal` is not the full Jacobian. A cell that is linear in
    its state entry by entry, such as `lru` and `min_gru`, is solved by one associative scan
    each way, whatever `linearise` is; but step by step if it ever multiplies an entry by more
    than one, since products of such factors lose digits and overflow. Unsolved states are
    never returned: it is an error where values are known; under `jit` or `vmap`, which
    cannot raise it, states are NaN from the first unsolved step on, and `newton` reports
    the details. The same holds from a step that is not finite on, even beyond a reset.

    Args:
      tolerance: as `newton`.
      max_iterations: as `newton`.
      linearise: as `newton`.

    Returns:
      `(cell, params, inputs, state) -> (final_state, states)`.

    Raises:
      ValueError: `tolerance` is not positive, or `max_iterations` below one.
      TypeError: `tolerance` is not a number, `max_iterations` not a whole one, or
        `linearise` not a function; from the fold, for a state that `newton` does not take.
      FloatingPointError: from the fold, if it did not converge.
    """
    max_iterations = _check_options(tolerance, max_iterations, linearise)

    def fold(cell: Cell, params: Params, inputs: Inputs, state: State) -> tuple[State, State]:
        solution = newton(
            cell, params, inputs, state,
            tolerance=tolerance, max_iterations=max_iterations, linearise=linearise,
        )  # fmt: skip
        when_known(_check_solved, solution)
        return solution.final, solution.states

    return fold


@once("tolerance", "max_iterations")
def newton(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    state: State,
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    linearise: Linearise = dense,
) -> Solution:
    """Solves for the trajectory by Newton's method, and reports convergence.

    Each iteration solves at least one more step, exactly: solved steps are held fixed, and
    non-finite entries are replaced by one plain step, so that T iterations always suffice
    if the recurrence itself is finite.

    Args:
      cell: the recurrence; its state has only floating or complex leaves `[B, ...]`.
      params: its parameters.
      inputs: leaves `[T, B, ...]`.
      state: s before the first step.
      tolerance: a step is solved if |s_t - step(params, s_{t-1}, x_t)| is at most this
        times the largest entry of the states up to t; by default 16 machine epsilons, which
        a linear cell reaches in one iteration.
      max_iterations: T by default.
      linearise: the Jacobian of a step, or an approximation: `dense`, `diagonal`, or another
        function of `(push, path, axes)` that returns `Jacobians`. Like the other options it is
        not used where the step is seen to be linear in its state entry by entry: then every
        finite state is solved.

    Returns:
      A `Solution`, differentiable in forward and reverse mode.

    Raises:
      ValueError: `tolerance` is not positive, `max_iterations` below one, or T symbolic.
      TypeError: `cell` is not a cell, the parameters are those of another, options are as
        in `parallel`, or a leaf of the state carries no gradient or has no batch axes.
    """
    max_iterations = _check_options(tolerance, max_iterations, linearise)
    check_cell(cell)
    for name, tree in {"params": params, "inputs": inputs, "state": state}.items():
        check_arrays(name, tree)
    length = length_of(inputs)
    if is_symbolic_dim(length):
        raise ValueError(
            f"inputs: expected a T that is known, got {length}: an associative scan depends on "
            "it; export with another fold, which gives the same states"
        )
    params, inputs, state = vary_together(params, inputs, state)
    with blamed_on_params(cell, params):
        axes = (length, *_batch_of(cell, params, state))
        kernel, drives = build_kernel(cell, params), cell.project(params, inputs)
    tolerance = _default_tolerance(state) if tolerance is None else tolerance

    step = partial(advance, cell, params, kernel)

    def follow(states: Path) -> Path:
        return jax.vmap(step)(_later(states, state), drives)

    def jacobians(states: Path, held: jax.Array) -> Jacobians:
        return _jacobians(linearise, jax.linearize(follow, states)[1], states, axes, held)

    def solve(_: Linear, guess: Path) -> tuple[Path, _Report]:
        limit = length if max_iterations is None else max_iterations
        states, report = _iterate(follow, jacobians, guess, axes, tolerance, limit)
        # custom_root gives its auxiliary results tangents, which only floats have.
        return states, _Report(*(leaf.astype(report.residual.dtype) for leaf in report))

    guess = jax.tree.map(
        lambda s: jnp.zeros_like(jnp.broadcast_to(s[None], (length, *s.shape))), state
    )
    guess = vary_together(guess, state)[0]
    linear = jax.vmap(partial(as_linear, step))(guess, drives) if length else None
    if linear is not None:
        states = jax.tree.map(_solve_at_once, *linear, state)
        report = _report(states, follow(states), axes, tolerance)
        factors = jax.tree.leaves(lax.stop_gradient(linear[0]))
        grown = jnp.stack([grows(a) for a in factors]).any()
        solved = _count_finite(states, axes)
        report = report._replace(
            solved=solved,
            finite=solved == length,
            iterations=jnp.full_like(solved, jnp.where(grown, length, 1)),
        )
    else:
        states, report = lax.custom_root(
            lambda states: _minus(states, follow(states)),
            guess,
            solve,
            lambda gap, rhs: _solve_linear(gap, rhs, axes, linearise),
            has_aux=True,
        )
    solved = report.solved.astype(jnp.int32)
    states = _only_solved(states, solved)
    return Solution(
        final=jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss])[-1], state, states),
        states=states,
        iterations=report.iterations.astype(jnp.int32),
        residual=report.residual,
        solved=solved,
        converged=solved == length,
        finite=report.finite.astype(bool),
    )


class _Report(NamedTuple):
    """Convergence of an iteration; fields as in `Solution`."""

    solved: jax.Array
    finite: jax.Array
    residual: jax.Array
    iterations: jax.Array


def _solve_at_once(a: jax.Array, b: jax.Array, state: jax.Array) -> jax.Array:
    """s_t = a_t s_{t-1} + b_t, `[T, ...]`, from `state`."""
    return solve_linear(a, b.at[0].add(a[0] * state))


def _count_finite(states: Path, axes: Batch) -> jax.Array:
    """The number of steps before the first that is not finite, `[B]`."""
    finite = all_finite(states, axes)
    first = jnp.argmin(finite, axis=0).astype(jnp.int32)
    return jnp.where(finite.all(0), len(finite), first)


def _report(states: Path, after: Path, axes: Batch, tolerance: float) -> _Report:
    """How far states are from follow(states), which is `after`; before any iteration."""
    error = largest_entry(_minus(after, states), axes)
    finite = jnp.isfinite(error)
    # Over earlier steps only: large later states must not loosen the tolerance here.
    scale = lax.cummax(largest_entry(after, axes), axis=0)
    met = (finite & (error <= tolerance * scale)).astype(jnp.int32)
    solved = lax.cumprod(met, axis=0)
    count = solved.sum(0, dtype=jnp.int32)
    following = _later(solved, jnp.ones_like(count)) > solved
    relative = jnp.where(error == 0, error, error / scale)
    return _Report(
        solved=count,
        finite=jnp.all(finite | ~following, axis=0),
        residual=jnp.where(finite.all(0), relative.max(0, initial=0), jnp.nan),
        iterations=jnp.zeros_like(count),
    )


def _iterate(
    follow: Linear,
    jacobians: Callable[[Path, jax.Array], Jacobians],
    guess: Path,
    axes: Batch,
    tolerance: float,
    limit: int,
) -> tuple[Path, _Report]:
    """Solves s = follow(s), where follow(s)_t depends only on s_{t-1}.

    Args:
      follow: all steps, each applied once.
      jacobians: `(s, held)`, the Jacobians of `follow` at s; held `[T, B]`, True where s is
        held fixed.
      guess: the initial s.
      axes: `(T, *B)`.
      tolerance: on the relative residual.
      limit: on the number of iterations.
    """
    length, zero = axes[0], jax.tree.map(jnp.zeros_like, guess)

    def going(now: _Report) -> jax.Array:
        return (now.solved < length) & now.finite & (now.iterations < limit)

    def iterate(carry: tuple[Path, Path, _Report]) -> tuple[Path, Path, _Report]:
        states, after, now = carry
        held = _first(now.solved, length)
        J = jacobians(states, held)
        delta = _choose(held, zero, _scan_linear(J, _choose(held, zero, _minus(after, states))))
        moved = J(_later(delta, jax.tree.map(lambda d: jnp.zeros_like(d.sum(0)), delta)))
        better = jax.tree.map(jnp.add, after, moved)
        for plain in (after, states):
            better = jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(a), a, b), better, plain)
        states = _choose(held, states, better)
        after = follow(states)
        count = now.iterations + going(now).astype(jnp.int32)
        report = _report(states, after, axes, tolerance)
        return states, after, report._replace(iterations=count)

    first = follow(guess)
    begin = guess, first, _report(guess, first, axes, tolerance)
    states, _, reached = lax.while_loop(lambda carry: jnp.any(going(carry[2])), iterate, begin)
    return states, reached


def _solve_linear(gap: Linear, rhs: Path, axes: Batch, linearise: Linearise) -> Path:
    """Solves gap(v) = rhs for gap(v)_t = v_t - J_t v_{t-1}, differentiably.

    It takes one iteration if `linearise` is exact.
    """
    even = jnp.arange(axes[0]) % 2 == 0
    nothing = jnp.zeros_like(largest_entry(rhs, axes), bool)
    J = _jacobians(linearise, lambda v: _minus(v, gap(v)), rhs, axes, nothing)
    J = lax.stop_gradient(J)

    def solve(J: Jacobians, gap: Linear, rhs: Path) -> Path:
        zero = jax.tree.map(jnp.zeros_like, rhs)

        def follow(v: Path) -> Path:
            # v - gap(v), but without subtracting v_t from v_t - J_t v_{t-1}: where v is far
            # from the solution, the difference would be mostly rounding error.
            by_odd, by_even = gap(_choose(even, zero, v)), gap(_choose(even, v, zero))
            return _minus(rhs, _choose(even, by_odd, by_even))

        tolerance = _default_tolerance(rhs)
        v, report = _iterate(follow, lambda v, held: J, zero, axes, tolerance, axes[0])
        return _only_solved(v, report.solved)

    def flipped(path: Path) -> Path:
        # JAX transposes without conjugating; the adjoint of complex numbers conjugates.
        return jax.tree.map(lambda v: jnp.conj(v[::-1]), path)

    def solve_back(transposed: Linear, rhs: Path) -> Path:
        # g_t = J_{t+1}' g_{t+1} + rhs_t is the same recurrence with time reversed.
        back = jax.tree.map(lambda j: _earlier(j)[::-1], J.adjoint())
        return flipped(solve(back, lambda v: flipped(transposed(flipped(v))), flipped(rhs)))

    return lax.custom_linear_solve(gap, _linear_together(rhs), partial(solve, J), solve_back)


def _linear_together(path: Path) -> Path:
    """The same numbers, every leaf linear if one is, as the transpose of a solve requires.

    A leaf that does not depend on the differentiated variable is a constant zero, not linear.
    Adding a zero that depends on every leaf, an empty sum, makes it so.
    """
    sums = [jnp.real(v[:0]).astype(jnp.float32).sum() for v in jax.tree.leaves(path)]
    nothing = jnp.stack(sums).sum()
    return jax.tree.map(lambda v: v + nothing.astype(v.dtype), path)


def _jacobians(
    linearise: Linearise, linear: Linear, like: Path, axes: Batch, held: jax.Array
) -> Jacobians:
    """The J_t of linear(v)_t = J_t v_{t-1}; zero where `held` and where not finite."""

    def push(v: Path) -> Path:
        v = vary_together(v, like)[0]  # Made by `linearise`, it does not vary over devices.
        moved = linear(jax.tree.map(_earlier, v))
        zero = jax.tree.map(jnp.zeros_like, moved)
        moved = jax.tree.map(lambda m, z: jnp.where(jnp.isfinite(m), m, z), moved, zero)
        return _choose(held, zero, moved)

    return linearise(push, like, axes)


def _scan_linear(J: Jacobians, b: Path) -> Path:
    """v_t = J_t v_{t-1} + b_t, from v = 0."""

    def join(first: Any, second: Any) -> Any:
        (A, a), (B, b) = first, second
        return B.after(A), jax.tree.map(jnp.add, B(a), b)

    return lax.associative_scan(join, (J, b))[1]


def _later(path: Path, first: Path) -> Path:
    """The value at t-1, for every t."""
    return jax.tree.map(lambda s, ss: jnp.concatenate([s[None], ss])[:-1], first, path)


def _earlier(leaf: jax.Array) -> jax.Array:
    """The value at t+1, for every t."""
    return jnp.concatenate([leaf, jnp.zeros_like(leaf[:1])])[1:]


def _minus(first: Path, second: Path) -> Path:
    return jax.tree.map(jnp.subtract, first, second)


def _choose(where: jax.Array, this: Path, that: Path) -> Path:
    return jax.tree.map(partial(select, where), this, that)


def _only_solved(path: Path, solved: jax.Array) -> Path:
    """NaN from the first unsolved step on."""
    known = _first(solved, jax.tree.leaves(path)[0].shape[0])
    nan = float("nan")

    def unknown(s: jax.Array) -> jax.Array:
        return jnp.full_like(s, complex(nan, nan) if jnp.iscomplexobj(s) else nan)

    return _choose(known, path, jax.tree.map(unknown, path))


def _first(count: jax.Array, length: int) -> jax.Array:
    """`[T, B]`, True at the first `count` steps, `[B]`."""
    times = jnp.arange(length, dtype=count.dtype).reshape(length, *(1,) * count.ndim)
    return times < count[None]


def _default_tolerance(path: Path) -> float:
    return 16 * precision(path)


def _batch_of(cell: Cell, params: Params, state: State) -> Batch:
    """B, of a state whose every leaf begins with it and has a derivative."""
    batched = batched_axes(cell, params)
    batch = batch_of_state(batched, state) or ()
    check_state(state, jax.eval_shape(lambda p: cell.start(p, batch), params), batch)
    leaves, own = jax.tree.leaves(state), jax.tree.leaves(batched)
    pairs = list(zip(leaves, own, strict=True))
    batches = {jnp.shape(leaf)[: jnp.ndim(leaf) - axes] for leaf, axes in pairs}
    fit = all(axes >= 0 and carries_gradient(leaf) for leaf, axes in pairs)
    if not fit or len(batches) != 1:
        raise TypeError(
            "state: expected floating or complex leaves that all begin with the batch axes, got "
            f"{describe(state)}; counters, keys and leaves shared by the batch have no Jacobian "
            "of one member: use `fold=rnnjax.folds.scan()`"
        )
    return batches.pop()


def _check_options(
    tolerance: float | None, max_iterations: int | None, linearise: Linearise
) -> int | None:
    """`max_iterations` as an integer, after checks of all options."""
    check_function("linearise", linearise, "push, path, axes", "pass one such as folds.dense")
    if tolerance is not None and not as_number("tolerance", tolerance) > 0:
        raise ValueError(
            f"tolerance: expected a positive number, got {tolerance}; leave it out for 16 machine "
            "epsilons"
        )
    if max_iterations is None:
        return None
    return as_count("max_iterations", max_iterations, "leave it out for T, which is always enough")


def _check_solved(solution: Solution) -> None:
    converged = bool(jnp.all(solution.converged))
    if converged:
        return
    worst = int(jnp.argmin(solution.solved))
    solved, iterations, residual, finite = (
        leaf.reshape(-1)[worst].item()
        for leaf in (solution.solved, solution.iterations, solution.residual, solution.finite)
    )
    cause = (
        f"the residual after {iterations} iterations is {residual:.1e}; raise `tolerance`, or "
        "`max_iterations` if they were that many"
        if finite
        else f"step {solved} gives a number that is not finite; look at the recurrence there"
    )
    raise FloatingPointError(
        f"states: expected {length_of(solution.states)} steps solved, got {solved} in the worst "
        f"sequence: {cause}, or use `fold=rnnjax.folds.scan()`"
    )
