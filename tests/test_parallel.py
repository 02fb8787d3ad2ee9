"""The Newton fold: how many iterations it takes, what it reports, and what it refuses."""

import re
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from laws import CELLS

import rnnjax
from rnnjax import Cell, cells, folds, from_step

F64 = jnp.float64
DIAGONAL = folds.parallel(linearise=folds.diagonal)


def tanh_network(gain: float, seed: int, length: int = 256, size: int = 32) -> Any:
    """W_hh ~ gain N(0, 1/N), inputs ~ N(0, .3²), start ~ N(0, 1)."""
    rng = np.random.default_rng(seed)
    W_hh = gain * rng.normal(size=(size, size)) / np.sqrt(size)
    params = cells.ElmanParams(np.eye(size), W_hh, np.zeros(size))
    return params, 0.3 * rng.normal(size=(length, size)), rng.normal(size=size)


def identity(h: jax.Array) -> jax.Array:
    return h


# Iterations -------------------------------------------------------------------------


def test_iterations_of_random_tanh_networks() -> None:
    """N = 32, T = 256, to 1e-8: more as the gain, and with it the Lyapunov exponent, grows."""
    cell = cells.elman(32, 32, dtype=F64)

    @partial(jax.jit, static_argnames="linearise")
    def solve(args: Any, linearise: Any = folds.dense) -> Any:
        return folds.newton(cell, *args, tolerance=1e-8, linearise=linearise)

    def median(gain: float) -> float:
        found = [solve(tanh_network(gain, seed)) for seed in range(8)]
        assert all(s.converged for s in found)
        return float(np.median([s.iterations for s in found]))

    assert median(0.5) == 3
    assert median(0.9) == 5
    assert 17 <= median(1.5) <= 25
    args = tanh_network(0.5, 0)
    exact, estimated = solve(args), solve(args, folds.diagonal)
    assert exact.iterations < estimated.iterations < 64 and estimated.converged
    laws.assert_close(estimated.states, exact.states, 1e-7)


LINEAR = {
    **{name: row.factory(3, 8, dtype=F64) for name, row in CELLS.items() if row.linear},
    "lru-float32": cells.lru(3, 8),
    "lru-slow": cells.lru(3, 8, r_min=0.999, dtype=F64),
    "identity": cells.elman(3, 8, activation=identity),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n == "lru-slow" else []) for n in LINEAR],
)
def test_a_linear_cell_takes_one_iteration(name: str) -> None:
    """Of three sequences with a start of their own; at most one where zeros are the solution."""
    cell = LINEAR[name]
    params = cell.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2000, 3, 3), params.W_xh.dtype).at[:, 0].set(0)
    state = cell.start(params, (3,))
    found = jax.jit(partial(folds.newton, cell))(params, x, state)
    np.testing.assert_array_equal(found.iterations[1:], 1)
    assert found.iterations[0] <= 1
    assert found.converged.all() and found.finite.all() and (found.solved == 2000).all()
    precision = jnp.finfo(params.W_xh.dtype).eps
    assert (found.residual <= 16 * precision).all()
    wanted = folds.scan()(cell, params, x, state)
    laws.assert_close((found.final, found.states), wanted, 2000 * float(precision))


def test_lengths_none_and_one() -> None:
    """The start state, and one step."""
    cell, args = CELLS["lstm"].make(None), laws.draw("lstm", 1, (2, 3))
    for length in (0, 1):
        given = args.params, args.inputs[:length], args.state
        found = jax.jit(partial(folds.newton, cell))(*given)
        laws.assert_close((found.final, found.states), folds.scan()(cell, *given))
        assert (found.iterations == length).all() and found.converged.all()


# Derivatives ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["complex", "lstm"])
def test_gradient_where_the_diagonal_is_not_all(name: str) -> None:
    """Exact all the same, and without jit."""
    args = laws.draw(name, 7, (3,))
    cell = CELLS[name].make(jnp.asarray(laws.CLOSED))

    def run(fold: folds.Fold, params: Any, inputs: Any, state: Any) -> Any:
        return fold(cell, params, inputs, state)

    weights = laws.weights_like(run(folds.scan(), *args[1:]))
    got, wanted = (
        laws.value_and_pullback(partial(run, fold), args[1:], weights)
        for fold in (DIAGONAL, folds.scan())
    )
    laws.assert_close(got, wanted)


def test_gradient_is_one_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no second iteration allowed in the backward pass."""
    name, module, length = "complex", sys.modules["rnnjax.folds._parallel"], 7
    iterate = module._iterate

    def at_most_one(*args: Any) -> Any:
        *given, limit = args
        return iterate(*given, 1 if limit == length else limit)

    monkeypatch.setattr(module, "_iterate", at_most_one)
    args = laws.draw(name, length, (3,))
    cell = CELLS[name].make(jnp.asarray(laws.CLOSED))
    fold = folds.parallel(max_iterations=100)
    weights = laws.weights_like(folds.scan()(cell, *args[1:]))
    got, wanted = (
        jax.jit(partial(laws.value_and_pullback, partial(fold, cell)))(args[1:], weights)
        for fold in (fold, folds.scan())
    )
    laws.assert_close(got, wanted)


# Linear entry by entry --------------------------------------------------------------


class _JacobianError(Exception):
    """A Jacobian was asked for."""


def no_jacobians(push: Any, path: Any, axes: Any) -> Any:
    raise _JacobianError


ONE_SCAN = folds.parallel(linearise=no_jacobians)


def by_one_scan_and_by_scan(run: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
    """Results of `run(fold, *args)` and pullbacks, with no Jacobian, and as they should be."""
    weights = laws.weights_like(run(folds.scan(), *args))
    got, wanted = (
        jax.jit(partial(laws.value_and_pullback, partial(run, fold)))(args, weights)
        for fold in (ONE_SCAN, folds.scan())
    )
    return got, wanted


@pytest.mark.parametrize("options", [(), ("mask", "resets")], ids=["plain", "masked"])
@pytest.mark.parametrize("name", [n for n in CELLS if laws.carries("parallel()", n)])
def test_linear_cells_need_no_jacobian(name: str, options: tuple[str, ...]) -> None:
    """Of each that the table calls linear, with masks and resets too, and of no other."""
    args, cell = laws.draw(name, 7, (3,)), CELLS[name].make(jnp.asarray(laws.CLOSED))
    chosen = {option: np.arange(21).reshape(7, 3) % 4 > 0 for option in options}

    def run(fold: folds.Fold, params: Any, inputs: Any, state: Any) -> Any:
        return rnnjax.unroll(cell, params, inputs, state, fold=fold, **chosen)

    if not CELLS[name].linear:
        with pytest.raises(_JacobianError):
            run(ONE_SCAN, *args[1:])
        return
    laws.assert_close(*by_one_scan_and_by_scan(run, args[1:]))


def by_step(step: Any, dtype: Any = F64) -> tuple[Any, ...]:
    """A cell of this step with two leaves of state, and arguments."""
    cell = from_step(
        step,
        init=lambda key: jnp.full((), 0.5, dtype),
        start=lambda params, batch: (jnp.ones((*batch, 4), dtype), jnp.ones((*batch, 4), dtype)),
        output=lambda state: state[0],
        feature_axes=1,
    )
    params = cell.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (9, 2, 4)).astype(params.dtype)
    return cell, params, x, cell.start(params, (2,))


SEEN = {
    "constant": lambda p, s, x: (p * x, jnp.tanh(x)),
    "sum": lambda p, s, x: (s[0] + x - p * s[0], -s[1] / (1 + x**2)),
    "called": lambda p, s, x: jax.jit(lambda s: (p * s[0], s[1] * x))(s),
    "chosen": lambda p, s, x: (jnp.where(x > 0, s[0], p), jnp.where(x > 0, x, s[1] + x)),
    "wider": lambda p, s, x: ((s[0].astype(F64) * p).astype(F64), s[1]),
}
UNSEEN = {
    "square": lambda p, s, x: (p * s[0] * s[0], s[1]),
    "inverse": lambda p, s, x: (p / s[0], s[1]),
    "both": lambda p, s, x: (s[0] + s[1], p * s[1]),
    "swapped": lambda p, s, x: (s[1], p * s[0]),
    "neighbour": lambda p, s, x: (jnp.roll(s[0], 1, axis=-1) * p, s[1]),
    "mean": lambda p, s, x: (s[0].mean(-1, keepdims=True) * p + x, s[1]),
    "reversed": lambda p, s, x: (s[0][..., ::-1], p * s[1]),
    "its sign": lambda p, s, x: (jnp.where(s[0] > 0, s[0], p), s[1]),
    "held": lambda p, s, x: (p * jax.lax.stop_gradient(s[0]), s[1]),
    "rounded": lambda p, s, x: (s[0].astype(jnp.float32).astype(F64) * p, s[1]),
    "within": lambda p, s, x: jax.jit(lambda s: (jnp.sin(s[0]), p * s[1]))(s),
}


@pytest.mark.parametrize("name", SEEN)
def test_steps_that_are_seen_to_be_linear(name: str) -> None:
    """They need no Jacobian, and the states are those of the scan."""
    args = by_step(SEEN[name])
    laws.assert_close(ONE_SCAN(*args), folds.scan()(*args))


@pytest.mark.parametrize("name", UNSEEN)
def test_steps_that_are_not(name: str) -> None:
    """Iterated upon, as any other."""
    args = by_step(UNSEEN[name])
    with pytest.raises(_JacobianError):
        ONE_SCAN(*args)
    laws.assert_close(folds.parallel()(*args), folds.scan()(*args))


def random_step(rng: np.random.Generator) -> Any:
    """Linear in each leaf, of a few operations that keep it so, with constants in all places."""

    def deeper(inner: Any) -> Any:
        constant = float(rng.choice([-0.5, 0.25, 1.0, 2.0]))
        return [
            lambda p, s, x: inner(p, s, x) + constant,
            lambda p, s, x: constant - inner(p, s, x),
            lambda p, s, x: inner(p, s, x) * constant,
            lambda p, s, x: inner(p, s, x) / (1 + x**2),
            lambda p, s, x: p * (inner(p, s, x) - x),
            lambda p, s, x: -jnp.where(x > 0, inner(p, s, x), constant),
            lambda p, s, x: jnp.where(x > constant, s, inner(p, s, x) + s),
            lambda p, s, x: jax.jit(lambda s: inner(p, s, x) + constant)(s),
        ][rng.integers(8)]

    def unchanged(p: Any, s: Any, x: Any) -> Any:
        return s

    def one() -> Any:
        step: Any = unchanged
        for _ in range(4):
            step = deeper(step)
        return step

    steps = one(), one()
    return lambda p, s, x: tuple(step(p, leaf, x) for step, leaf in zip(steps, s, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_random_linear_steps(seed: int) -> None:
    """States and gradients are those of the scan, growing or not."""
    cell, *args = by_step(random_step(np.random.default_rng(seed)))

    def run(fold: folds.Fold, *args: Any) -> Any:
        return fold(cell, *args)

    laws.assert_close(*by_one_scan_and_by_scan(run, tuple(args)), 1e-9)


@pytest.mark.parametrize(("factor", "start"), [(1e3, 1.0), (10.0, 0.0), (-1.5, 1e-30)])
def test_growth_is_folded_step_by_step(factor: float, start: float) -> None:
    """Where products of the factors overflow, or states are small differences of large ones."""
    cell = from_step(
        lambda params, h, x: x * h + params * (1 - x),
        init=lambda key: jnp.ones(()),
        start=lambda params, batch: jnp.full(batch, start),
    )
    x = jnp.full((400, 1), factor).at[200:].set(1 / factor)
    params, state = jnp.asarray(start), jnp.full(1, start)

    def run(fold: folds.Fold, *args: Any) -> Any:
        return fold(cell, *args)

    args = params, x, state
    got, wanted = by_one_scan_and_by_scan(run, args)
    laws.assert_close(got[0], wanted[0])
    assert all(map(np.array_equal, jax.tree.leaves(got[0]), jax.tree.leaves(wanted[0])))
    found = folds.newton(cell, *args, linearise=no_jacobians)
    assert found.converged.all() and (found.iterations == 400).all()


@pytest.mark.parametrize("name", ["lru", "min-gru"])
def test_vmap_on_a_mesh_with_explicit_axes(name: str) -> None:
    """Of parameters, so that the factors are mapped while the batch is sharded."""
    cell, args = CELLS[name].make(None), laws.draw(name, 7, (4,))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), args.params)

    def gradient(inputs: jax.Array, fold: folds.Fold) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.sum(rnnjax.unroll(cell, params, inputs, fold=fold)[1] ** 2)

        return jax.jit(jax.vmap(jax.grad(loss)))(params)

    wanted = gradient(args.inputs, folds.scan())
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        spec = jax.sharding.PartitionSpec(None, "batch")
        inputs = jax.device_put(args.inputs, jax.NamedSharding(mesh, spec))
        laws.assert_close(gradient(inputs, ONE_SCAN), wanted)


def test_rotations_are_no_growth() -> None:
    """Factors of modulus one, up to rounding; but a half-precision one above one is."""
    phases = jnp.linspace(0, 6, 64)
    rotations = jax.lax.complex(jnp.cos(phases), jnp.sin(phases))

    def iterations(factor: jax.Array) -> Any:
        cell = from_step(
            lambda p, h, x: p * h,
            init=lambda key: factor,
            start=lambda p, batch: jnp.ones((*batch, *factor.shape), factor.dtype),
            feature_axes=1,
        )
        x, state = jnp.zeros((30, 64)), jnp.ones(64, factor.dtype)
        return folds.newton(cell, factor, x, state).iterations

    assert iterations(rotations) == 1
    assert iterations(rotations.astype(jnp.complex64)) == 1
    assert iterations(jnp.full(64, 1.0078125, jnp.bfloat16)) == 30


def test_complex_states_that_are_not_finite() -> None:
    """NaN in both parts."""
    cell = cells.lru(3, 2, dtype=F64)
    params = cell.init(jax.random.key(0))
    x = jnp.ones((6, 1, 3)).at[3].set(jnp.nan)
    run = partial(rnnjax.unroll, cell, fold=folds.parallel())
    _, outputs = jax.jit(run)(params, x)
    np.testing.assert_array_equal(np.isnan(outputs[:, 0]).all(-1), np.arange(6) >= 3)


def test_a_linear_recurrence_that_is_infinite() -> None:
    """NaN from there on, also beyond the reset that ends it, and the error names the step."""
    x = jnp.ones((9, 1)).at[4].set(jnp.inf)
    cell = from_step(
        lambda params, h, x: 0.5 * h + x,
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros(batch),
    )
    resets = np.arange(9)[:, None] == 6
    run = partial(rnnjax.unroll, cell, (), x, resets=resets, fold=ONE_SCAN)
    np.testing.assert_array_equal(np.isfinite(jax.jit(run)()[1][:, 0]), np.arange(9) < 4)
    with pytest.raises(FloatingPointError, match="step 4 gives a number that is not finite"):
        run()


@pytest.mark.parametrize("step", [lambda p, h, x: p * h + x, lambda p, h, x: p * jnp.sinh(h) + x])
def test_one_unit_of_many_that_overflows(step: Any) -> None:
    """XLA's maximum over a large array misses a NaN among finite numbers."""
    factors = jnp.full(16, 0.1).at[3].set(30.0)
    cell = from_step(
        lambda p, h, x: step(jnp.broadcast_to(p, h.shape), h, x),
        init=lambda key: factors,
        start=lambda params, batch: jnp.zeros((*batch, 16)),
        feature_axes=1,
    )
    args = cell, factors, jnp.ones((1024, 2, 16)), jnp.zeros((2, 16))
    found = jax.jit(partial(folds.newton, cell, linearise=folds.diagonal))(*args[1:])
    assert not found.converged.any() and not found.finite.any()
    states = folds.scan()(*args)[1]
    assert (np.asarray(found.solved) <= np.isfinite(states).all(-1).sum(0)).all()
    np.testing.assert_array_equal(np.isfinite(found.states).all(-1).sum(0), found.solved)
    with pytest.raises(FloatingPointError, match="gives a number that is not finite"):
        folds.parallel(linearise=folds.diagonal)(*args)


# Derivatives of states whose leaves do not all read the parameters ------------------


def _fast_weights(p: Any, state: Any, x: jax.Array) -> Any:
    A, h = state
    read = jnp.einsum("...ij,...j->...i", A, h)
    return 0.9 * A + h[..., :, None] * h[..., None, :], jnp.tanh(p["w"] * x + read)


def _moving(p: Any, state: Any, x: jax.Array) -> Any:
    position, velocity = state
    return position + velocity, 0.9 * velocity + p["w"] * x


def _two(step: Any, *shapes: tuple[int, ...]) -> Cell:
    """A state of two leaves, of which the first does not read the weights."""
    return from_step(
        step,
        init=lambda key: {"w": jnp.ones(())},
        start=lambda params, batch: tuple(jnp.zeros((*batch, *shape)) for shape in shapes),
        output=lambda state: state[1] + state[0].reshape(*state[1].shape, -1).sum(-1),
        feature_axes=1,
    )


UNREAD = {
    "lstm-projected": (cells.lstm(3, 4, projection_size=3, dtype=jnp.float64), "W_hr"),
    "fast-weights": (_two(_fast_weights, (3, 3), (3,)), "w"),
    "position": (_two(_moving, (3,), (3,)), "w"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_leaf_that_does_not_read_what_is_differentiated(name: str) -> None:
    """Its own tangent is zero, and it passes the gradient on all the same."""
    cell, field = UNREAD[name]
    params = cell.init(jax.random.key(0))
    params = params._asdict() if hasattr(params, "_asdict") else params
    x = 0.3 * jax.random.normal(jax.random.key(1), (6, 2, 3))

    def gradient(fold: folds.Fold) -> jax.Array:
        def loss(weight: jax.Array) -> jax.Array:
            given = params | {field: weight}
            given = cells.LSTMParams(**given) if name == "lstm-projected" else given
            return jnp.sum(rnnjax.unroll(cell, given, x, fold=fold)[1] ** 2)

        return jax.jit(jax.grad(loss))(params[field])

    laws.assert_close(gradient(folds.parallel()), gradient(folds.scan()))


def test_jacobians_are_those_at_the_solution() -> None:
    """Stopped early, the gradient differs by the states' error alone, not by an iteration's."""
    cell = cells.elman(32, 32, dtype=F64)
    params, x, h = tanh_network(0.9, 0)

    @jax.jit
    def gradient_and_solution(params: Any) -> Any:
        def loss(params: Any) -> Any:
            found = folds.newton(cell, params, x, h, tolerance=1e-4)
            return jnp.sum(found.states**2), found.states

        return jax.grad(loss, has_aux=True)(params)

    got, states = gradient_and_solution(params)
    # The chain of pull-backs through the steps at the states that were found.
    before = jnp.concatenate([h[None], states])[:-1]
    _, pullbacks = jax.vmap(lambda h, x: jax.vjp(lambda h: rnnjax.step(cell, params, h, x), h))(
        before, x
    )

    def back(g: jax.Array, step_of: Any) -> tuple[jax.Array, jax.Array]:
        pullback, dL_dh = step_of
        g = g + dL_dh
        return pullback(g)[0], g

    _, g = jax.lax.scan(back, jnp.zeros(32), (pullbacks, 2 * states), reverse=True)
    _, by_params = jax.vjp(lambda p: jax.vmap(partial(rnnjax.step, cell, p))(before, x), params)
    laws.assert_close(got, by_params(g)[0])


# What is not solved -----------------------------------------------------------------


def squaring() -> Any:
    """h_t = h_{t-1}² + x_t: beyond 1 it doubles its logarithm at every step."""
    return from_step(
        lambda params, h, x: params * h * h + x,
        init=lambda key: jnp.ones((), F64),
        start=lambda params, batch: jnp.zeros(batch),
    )


@pytest.mark.slow
def test_a_recurrence_that_overflows() -> None:
    """Refused where it ends; under jit, NaN from there, and the other sequence is whole."""
    x = jnp.zeros((40, 2)).at[3, 1].set(10.0)
    args = squaring(), jnp.ones(()), x, jnp.zeros(2)
    with np.errstate(over="ignore"):
        ends = int(np.argmin(np.isfinite(folds.scan()(*args)[1][:, 1])))
    told = f"expected 40 steps solved, got {ends} in the worst sequence: step {ends} gives a number"
    with pytest.raises(FloatingPointError, match=re.escape(told)):
        folds.parallel()(*args)
    final, states = jax.jit(lambda x: folds.parallel()(*args[:2], x, args[3]))(x)
    assert np.isnan(states[ends:, 1]).all() and np.isnan(final[1])
    laws.assert_close(states[:ends], folds.scan()(*args)[1][:ends])
    assert not states[:, 0].any() and final[0] == 0
    found = folds.newton(*args)
    assert found.finite.tolist() == found.converged.tolist() == [True, False]


@pytest.mark.slow
def test_too_few_iterations() -> None:
    """Refused, in a gradient too; under jit the first steps, and NaN after them."""
    cell = cells.elman(32, 32, dtype=F64)
    args = tanh_network(1.5, 0)
    fold = folds.parallel(max_iterations=2)
    told = r"expected 256 steps solved, got \d+ .* after 2 iterations is .*`max_iterations` if"
    with pytest.raises(FloatingPointError, match=told):
        jax.grad(lambda params: jnp.sum(fold(cell, params, *args[1:])[0]))(args[0])
    final, states = jax.jit(partial(fold, cell))(*args)
    known = int(np.isfinite(states).all(axis=1).sum())
    assert 2 <= known < 256
    assert np.isnan(states[known:]).all() and np.isnan(final).all()
    laws.assert_close(states[:known], folds.scan()(cell, *args)[1][:known], 1e-10)


def test_each_iteration_solves_a_step() -> None:
    """Even from Jacobians that are all wrong, and T iterations are enough."""
    cell = cells.elman(32, 32, dtype=F64)
    args = tanh_network(1.5, 0, length=40)

    def wrong(push: Any, path: Any, axes: Any) -> Any:
        exact = folds.dense(push, path, axes)
        return exact._replace(matrices=-3e200 * exact.matrices)

    found = jax.jit(partial(folds.newton, cell, linearise=wrong))(*args)
    assert found.converged and 30 < found.iterations <= 40
    laws.assert_close(found.states, folds.scan()(cell, *args)[1])


def test_what_is_not_finite_makes_way_for_a_plain_step() -> None:
    """Past a product that overflows the iterations go on, faster than step by step."""
    cell = cells.elman(32, 32, dtype=F64)
    args = tanh_network(0.5, 0)

    def broken(push: Any, path: Any, axes: Any) -> Any:
        exact = folds.dense(push, path, axes)
        return exact._replace(matrices=exact.matrices.at[5].set(jnp.inf))

    found = jax.jit(partial(folds.newton, cell, linearise=broken))(*args)
    assert found.converged and found.iterations < 80
    laws.assert_close(found.states, folds.scan()(cell, *args)[1])


def test_states_without_a_jacobian() -> None:
    """Counters, keys and what the batch shares: the remedy is named."""
    args = laws.draw("counted", 7, (3,))
    shared = from_step(
        lambda params, state, x: state,
        init=lambda key: (),
        start=lambda params, batch: (jnp.zeros(batch), jnp.zeros(2)),
    )
    for cell, params, x, state in (
        (CELLS["counted"].make(None), *args[1:]),
        (shared, (), jnp.zeros((7, 3, 1)), (jnp.zeros(3), jnp.zeros(2))),
    ):
        with pytest.raises(TypeError, match=r"state: .* use `fold=rnnjax.folds.scan\(\)`"):
            folds.parallel()(cell, params, x, state)


def test_bad_options() -> None:
    """Where the fold is made."""
    for tolerance in (0.0, -1e-8, float("nan")):
        with pytest.raises(ValueError, match="tolerance: expected a positive number, got"):
            folds.parallel(tolerance=tolerance)
    with pytest.raises(
        ValueError, match="max_iterations: expected at least 1, got 0; leave it out"
    ):
        folds.parallel(max_iterations=0)


def test_a_step_without_a_forward_derivative() -> None:
    """Says so, and which fold needs none."""

    @jax.custom_vjp
    def tanh(x: jax.Array) -> jax.Array:
        return jnp.tanh(x)

    tanh.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g / jnp.cosh(x) ** 2,))
    cell = _two(lambda p, s, x: (tanh(s[0] + p["w"] * x), s[1]), (3,), (3,))
    x = jnp.ones((4, 2, 3))
    with pytest.raises(TypeError, match=r"or a step with a jax\.custom_vjp in it; use"):
        rnnjax.unroll(cell, {"w": jnp.ones(())}, x, fold=folds.parallel())


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_the_diagonal_is_that_of_the_jacobian(mixing: float) -> None:
    """Whether it is all of it, which two products tell, or not."""
    rng = np.random.default_rng(0)
    J = rng.normal(size=(4, 2, 3, 3)) * np.where(np.eye(3), 1.0, mixing)
    v = rng.normal(size=(4, 2, 3))
    found = folds.diagonal(lambda u: jnp.einsum("tbij,tbj->tbi", J, u), jnp.asarray(v), (4, 2))
    np.testing.assert_allclose(found(jnp.asarray(v)), np.diagonal(J, axis1=-2, axis2=-1) * v)
