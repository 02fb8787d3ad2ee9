"""Jacobians, spectra, adjoints, bounds and the report, against closed forms and the laws."""

import inspect
import math
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws import CELLS, CLOSED, draw, floats

import rnnjax
from rnnjax import cells, folds, from_step, training
from rnnjax._vectors import from_vectors, to_vectors

F64 = jnp.float64


def linear(kernel: np.ndarray, activation=lambda a: a):
    """An Elman cell with a given W_hh in the equation's own sense (columns from units)."""
    H = len(kernel)
    cell = cells.elman(1, H, activation=activation, dtype=F64)
    params = cell.init(jax.random.key(0))
    return cell, params._replace(W_hh=jnp.asarray(kernel, F64).T)


def spectrum(cell, params, inputs, **options):
    return np.asarray(
        jax.jit(lambda p, x: rnnjax.jacobian_product_spectrum(cell, p, x, **options))(
            params, inputs
        )
    )


def random_kernel(seed: int, H: int, gain: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(H, H)) * gain / math.sqrt(H)


def product_from(jacobians: np.ndarray, t: int) -> np.ndarray:
    """J_T ... J_{t+1} of one member, multiplied out."""
    product = np.eye(jacobians.shape[-1])
    for J in jacobians[t:]:
        product = J @ product
    return product


# Facts ------------------------------------------------------------------------------


def test_a_linear_cell_has_the_power_of_its_kernel():
    W, T = random_kernel(1, 4), 9
    cell, params = linear(W)
    J = rnnjax.step_jacobians(cell, params, jnp.zeros((T, 1)))
    np.testing.assert_allclose(J, np.broadcast_to(W, (T, 4, 4)), atol=1e-14)
    want = np.log(np.linalg.svd(np.linalg.matrix_power(W, T), compute_uv=False))
    np.testing.assert_allclose(spectrum(cell, params, jnp.zeros((T, 1)))[0], want, atol=1e-9)


def test_an_orthogonal_kernel_keeps_every_singular_value_at_one():
    Q = np.linalg.qr(random_kernel(2, 5))[0]
    cell, params = linear(Q)
    logs = spectrum(cell, params, jnp.zeros((10_000, 1)))
    np.testing.assert_allclose(logs, 0, atol=1e-9)


@pytest.mark.parametrize("c", [0.5, 3.0])
@pytest.mark.parametrize("activation", [lambda a: a, jax.nn.relu])
def test_a_scaled_identity_gives_c_to_the_t_and_neither_over_nor_underflows(c, activation):
    T = 10_000
    cell, params = linear(c * np.eye(3), activation)
    # Held at one from outside, so that every unit is active and none grows.
    cell = cell._replace(update=lambda p, s, d, m: activation(d + m - jax.lax.stop_gradient(m) + 1))
    logs = spectrum(cell, params, jnp.zeros((T, 1)))
    assert logs.shape == (T + 1, 3)
    lags = np.arange(T + 1)[::-1, None]
    np.testing.assert_allclose(logs, np.broadcast_to(lags * math.log(c), logs.shape), rtol=1e-12)
    report = rnnjax.gradient_report(cell, params, jnp.zeros((T, 1)))
    assert report.rate == pytest.approx(math.log(c))
    assert report.verdict == ("vanishing" if c < 1 else "exploding")
    assert report.horizon == (math.ceil(math.log(100) / math.log(2)) if c < 1 else math.inf)


def test_a_tanh_cell_has_one_minus_h_squared_times_the_kernel():
    W, x = random_kernel(3, 4), jax.random.normal(jax.random.key(1), (6, 2, 1), F64)
    cell, params = linear(W, jnp.tanh)
    J = rnnjax.step_jacobians(cell, params, x)
    h = np.asarray(rnnjax.states(cell, params, x))
    np.testing.assert_allclose(J, (1 - h[..., None] ** 2) * W, atol=1e-14)


def test_dead_relus_give_minus_infinity_and_no_nan():
    cell, params = linear(random_kernel(4, 3), jax.nn.relu)
    params = params._replace(b_h=jnp.full(3, -100.0))
    logs = spectrum(cell, params, jnp.zeros((5, 1)))
    assert np.all(logs[:5] == -np.inf)
    assert np.all(logs[5] == 0)
    report = rnnjax.gradient_report(cell, params, jnp.zeros((5, 1)))
    assert report.rate == -np.inf
    assert report.horizon == 1
    assert report.verdict == "vanishing"
    assert "nan" not in str(report)


@pytest.mark.parametrize(("activation", "slope"), [(jnp.tanh, 1.0), (jax.nn.sigmoid, 0.25)])
def test_the_bound_holds_and_is_about_the_singular_value(activation, slope):
    cell, params = linear(random_kernel(5, 8, gain=1.3), activation)
    x = jax.random.normal(jax.random.key(2), (30, 3, 1), F64)
    logs = spectrum(cell, params, x)[..., 0]
    bound = rnnjax.norm_bound(params.W_hh, slope=slope)
    lags = np.arange(31)[::-1, None]
    assert np.all(logs <= lags * np.log(bound) + 1e-12)
    assert bound == pytest.approx(slope * np.linalg.svd(params.W_hh, compute_uv=False)[0])


def test_a_matrix_that_decays_may_grow_first():
    W = np.array([[0.9, 10.0], [0.0, 0.9]])
    cell, params = linear(W)
    logs = spectrum(cell, params, jnp.zeros((2000, 1)))[::-1, 0]
    assert logs[1] > 2
    assert logs[200] - logs[199] == pytest.approx(math.log(0.9), abs=0.01)
    # Two values further apart than the precision: their sum is the determinant's.
    both = spectrum(cell, params, jnp.zeros((2000, 1)))[0]
    assert both.sum() == pytest.approx(2000 * 2 * math.log(0.9), rel=1e-12)


def test_an_lstm_without_recurrent_weights_remembers_by_its_forget_gate():
    T, b_f = 50, math.log(49)
    cell = cells.lstm(1, 3, forget_bias=b_f, kernel_init=jax.nn.initializers.zeros, dtype=F64)
    params = cell.init(jax.random.key(0))
    logs = spectrum(cell, params, jnp.zeros((T, 1)), block=lambda s: s.c)
    np.testing.assert_allclose(logs[0], T * math.log(1 - 1 / T), rtol=1e-12)


# Laws -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CELLS))
def test_the_product_of_step_jacobians_is_the_jacobian_of_the_run(name):
    args = draw(name, 6, (2,))
    cell = CELLS[name].make(jnp.asarray(CLOSED))
    params, inputs = jax.tree.map(jnp.asarray, (args.params, args.inputs))
    jacobians = jax.jit(lambda p, x, s: rnnjax.step_jacobians(cell, p, x, s))(
        params, inputs, args.state
    )

    def final(vectors):
        state = from_vectors(vectors, args.state, (2,))
        return to_vectors(rnnjax.unroll(cell, params, inputs, state)[0], (2,))

    whole = jax.jit(jax.jacrev(final))(to_vectors(args.state, (2,)))
    for b in range(2):
        np.testing.assert_allclose(
            product_from(np.asarray(jacobians)[:, b], 0), whole[b, :, b], atol=1e-12
        )
    logs = jax.jit(lambda p, x, s: rnnjax.jacobian_product_spectrum(cell, p, x, s))(
        params, inputs, args.state
    )
    for t in range(7):
        for b in range(2):
            values = np.linalg.svd(product_from(np.asarray(jacobians)[:, b], t), compute_uv=False)
            np.testing.assert_allclose(np.exp(logs[t, b]), values, atol=1e-10 * values[0])


@pytest.mark.slow
def test_a_block_is_a_block_of_the_product():
    cell = cells.lstm(3, 4, dtype=F64)
    params, x = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, 2, 3), F64)
    J = np.asarray(rnnjax.step_jacobians(cell, params, x))
    for part, cut in ((lambda s: s.c, slice(0, 4)), (lambda s: s.h, slice(4, 8))):
        logs = spectrum(cell, params, x, block=part)
        want = np.linalg.svd(product_from(J[:, 1], 0)[cut, cut], compute_uv=False)
        np.testing.assert_allclose(np.exp(logs[0, 1]), want, rtol=1e-8)


def test_small_singular_values_are_right_where_a_plain_product_has_lost_them():
    """Against the determinant: Σ ln σ = Σ_t ln |det J_t|, far below the precision."""
    cell, params = linear(random_kernel(6, 6, gain=1.5), jnp.tanh)
    x = jax.random.normal(jax.random.key(3), (400, 2, 1), F64)
    logs = spectrum(cell, params, x)
    J = np.asarray(rnnjax.step_jacobians(cell, params, x))
    want = np.linalg.slogdet(J)[1].sum(axis=0)
    np.testing.assert_allclose(logs[0].sum(axis=-1), want, rtol=1e-10)
    assert np.all(np.diff(logs, axis=-1) <= 0)
    assert np.all(logs[0, :, 0] - logs[0, :, -1] > 100)


@pytest.mark.parametrize(
    ("gaps", "precision"),
    [
        (np.linspace(0, 5, 16), 1e-11),  # e^-300 apart after 60 steps
        (np.repeat(np.linspace(0, 5, 8), 2) + np.tile([0, 1e-3], 8), 1e-11),  # in close pairs
        (np.repeat([0, 0.5, 1], [5, 5, 6]), 1e-11),  # in clusters of equal ones
        (np.repeat([0, 2, 4], [5, 5, 6]), 1e-8),  # whose rows an SVD of small ones mixes up
    ],
)
def test_small_singular_values_are_known_one_by_one(gaps, precision):
    """J_t = P_t diag(exp(-gaps)) P_{t-1}' with orthogonal P, so those of the product are known."""
    T, B, N = 60, 2, len(gaps)
    P = np.linalg.qr(np.random.default_rng(7).normal(size=(T + 1, B, N, N)))[0]
    J = (P[1:] * np.exp(-gaps)) @ np.swapaxes(P[:-1], -1, -2)
    given = from_step(
        lambda params, h, J: (J @ h[..., None])[..., 0],
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, N), F64),
        feature_axes=2,
    )
    want = np.arange(T, -1, -1)[:, None, None] * -np.sort(gaps)
    np.testing.assert_allclose(spectrum(given, (), jnp.asarray(J)), want + np.zeros((B, N)),
                               rtol=0, atol=precision)  # fmt: skip


@pytest.mark.parametrize("diagnostic", ["jacobians", "spectrum", "report"])
def test_masks_and_resets_are_honoured(diagnostic):
    cell = cells.gru(2, 3, dtype=F64)
    params = cell.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (7, 2, 2), F64)
    mask = jnp.ones((7, 2), bool).at[2, 0].set(False).at[5, 0].set(False)
    resets = jnp.zeros((7, 2), bool).at[3, 1].set(True)
    x = jnp.where(mask[..., None], x, jnp.nan)
    kept = x[np.array([0, 1, 3, 4, 6]), 0]
    if diagnostic == "jacobians":
        J = rnnjax.step_jacobians(cell, params, x, mask=mask, resets=resets)
        np.testing.assert_array_equal(J[2, 0], np.eye(3))
        np.testing.assert_array_equal(J[3, 1], np.zeros((3, 3)))
        alone = rnnjax.step_jacobians(cell, params, kept)
        np.testing.assert_allclose(J[np.array([0, 1, 3, 4, 6]), 0], alone, atol=1e-14)
    elif diagnostic == "spectrum":
        logs = spectrum(cell, params, x, mask=mask, resets=resets)
        np.testing.assert_allclose(logs[0, 0], spectrum(cell, params, kept)[0], atol=1e-9)
        assert np.all(logs[:4, 1] == -np.inf)
        assert np.all(np.isfinite(logs[4:, 1]))
    else:
        report = rnnjax.gradient_report(cell, params, x, mask=mask, resets=resets)
        alone = rnnjax.gradient_report(cell, params, kept)
        assert report.rate[0] == pytest.approx(float(alone.rate))
        assert report.lags[0].tolist() == [5, 7]
        assert report.rate[1] == -np.inf
        assert report.horizon[1] == 4


def measured(moved: jax.Array, what: str, fold: folds.Fold) -> jax.Array:
    """The largest value of a spectrum that depends on this number in one way."""
    cell, params = linear(random_kernel(8, 2), jnp.tanh)
    given = {"inputs": jnp.ones((3, 1)), "state": jnp.ones(2), "probes": jnp.zeros((3, 2))}
    if what == "params":
        params = params._replace(W_hh=moved * params.W_hh)
    elif what == "cell":
        cell = cell._replace(output=lambda h: h, update=lambda p, h, d, m: jnp.tanh(d + moved * m))
    else:
        given[what] = given[what] + moved
    return rnnjax.jacobian_product_spectrum(cell, params, **given, fold=fold)[0, 0]


@pytest.mark.parametrize(
    "fold",
    [folds.blocked(), pytest.param(folds.scan(), marks=pytest.mark.slow)],
    ids=["blocked", "scan"],
)
@pytest.mark.parametrize("what", ["params", "inputs", "state", "probes", "cell"])
def test_a_derivative_of_the_spectrum_is_refused(what, fold):
    """In either mode, compiled or not; where it was NaN, it is an error."""

    def spectrum(moved):
        return measured(moved, what, fold)

    one = jnp.ones(())
    ways = [jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: jax.grad(jax.jit(f))]
    if what != "cell" or fold == folds.scan():  # By what a cell closes over, the fold refuses.
        ways += [jax.jacfwd, lambda f: jax.jit(jax.jacfwd(f)), lambda f: jax.linearize(f, one)[1]]
    for way in ways:
        with pytest.raises(TypeError, match=r"spectrum: expected no derivative .*stop_gradient"):
            way(spectrum)(one)
    with pytest.raises(TypeError, match="spectrum: expected no derivative"):
        jax.vmap(jax.grad(spectrum))(jnp.ones(2))
    assert jax.vmap(spectrum)(jnp.ones(2)).shape == (2,)


def test_a_spectrum_that_is_only_shown_is_no_derivative():
    """Beside a loss, held constant, or in a loss that is observed."""
    cell, params = linear(random_kernel(9, 2), jnp.tanh)
    x = jnp.ones((3, 1))

    def loss(params, x):
        shown = rnnjax.jacobian_product_spectrum(cell, params, x)[0]
        held = jax.lax.stop_gradient(shown).sum()
        return jnp.mean(rnnjax.unroll(cell, params, x)[1] ** 2) + held, shown

    def alone(params):
        return jnp.mean(rnnjax.unroll(cell, params, x)[1] ** 2)

    want = jax.grad(alone)(params)
    every = [
        jax.grad(loss, has_aux=True)(params, x)[0],
        jax.jit(jax.grad(loss, has_aux=True))(params, x)[0],
        jax.grad(jax.checkpoint(lambda p: loss(p, x)[0]))(params),
        rnnjax.adjoints(lambda p: loss(p, x)[0], params).gradient,
    ]
    for found in every:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, want)

    def tangent(params):
        constant = jax.lax.stop_gradient(params)
        return rnnjax.jacobian_product_spectrum(cell, constant, x)[0].sum() + params.b_h.sum()

    assert jax.jvp(tangent, (params,), (params,))[1] == params.b_h.sum()

    def monitor(params):
        return {"top": rnnjax.jacobian_product_spectrum(cell, params, x)[0, 0]}

    fitted = training.fit(
        lambda params, x: loss(params, x)[0], params, lambda key: x, optax.sgd(0.1),
        steps=2, key=jax.random.key(0), monitor=monitor, quiet=True,
    )  # fmt: skip
    assert np.isfinite(fitted.losses).all()


# The report -------------------------------------------------------------------------


def test_the_report_takes_any_recurrence():
    """A bare function of three lines, with everything else from the library."""

    def leaky(params, h, x):
        return params["a"] * h + x[..., 0]

    cell = from_step(
        leaky,
        init=lambda key: {"a": jnp.asarray(0.9, F64)},
        start=lambda p, batch: jnp.zeros(batch),
    )
    report = rnnjax.gradient_report(cell, {"a": jnp.asarray(0.9)}, jnp.ones((100, 4, 1)))
    np.testing.assert_allclose(report.rate, math.log(0.9))
    assert report.horizon.tolist() == [44] * 4
    assert str(report).splitlines()[0] == "verdict   vanishing over 100 steps"


@pytest.mark.slow
def test_the_report_agrees_with_the_products_and_with_fewer_directions():
    cell = cells.lstm(2, 8, dtype=F64)
    params = cell.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (12, 3, 2), F64)
    report = jax.jit(lambda p, x: rnnjax.gradient_report(cell, p, x, directions=8))(params, x)
    J = np.asarray(rnnjax.step_jacobians(cell, params, x))
    for t in (0, 5, 11):
        rows = product_from(J[:, 2], t)[8:]  # h stands second in the state
        assert report.log_norms[t, 2] == pytest.approx(math.log(np.linalg.norm(rows)), abs=1e-12)
    few = rnnjax.gradient_report(cell, params, x, directions=4)
    np.testing.assert_allclose(few.log_norms[-1], report.log_norms[-1], atol=1e-12)
    # A part of the rows, scaled up for those left out.
    assert np.all(few.log_norms <= report.log_norms + math.log(2) / 2 + 1e-12)
    assert np.all(few.log_norms >= report.log_norms - 1.5)


@pytest.mark.parametrize(
    ("a", "verdict", "horizon"),
    [
        (0.99, "stable", math.log(100) / -math.log(0.99)),
        (0.5, "vanishing", 7),
        (1.0, "stable", math.inf),
        (1.5, "exploding", math.inf),
    ],
)
def test_the_verdict_rests_on_what_happens_within_the_sequence(a, verdict, horizon):
    cell, params = linear(np.eye(1) * a)
    report = rnnjax.gradient_report(cell, params, jnp.zeros((20, 1)))
    assert report.verdict == verdict
    assert report.horizon == pytest.approx(horizon)
    assert bool(report.reached) == (verdict == "vanishing")
    assert ("by the rate" in str(report)) == (verdict != "vanishing")


def test_the_verdict_is_that_of_the_median_member():
    """A hundredfold is reached where it is just reached; so is half of the members."""
    cell, params = linear(np.eye(1))
    report = rnnjax.gradient_report(cell, params, jnp.zeros((3, 2, 1)))
    assert report.verdict == "stable"
    assert report._replace(reached=jnp.array([True, False])).verdict == "vanishing"
    assert report._replace(gain=jnp.full(2, -math.log(0.01))).verdict == "exploding"


def test_sequences_without_valid_steps_have_no_rate():
    cell, params = linear(np.eye(2) * 0.5)
    mask = rnnjax.lengths_to_mask(jnp.array([0, 9]), 9)
    report = rnnjax.gradient_report(cell, params, jnp.zeros((9, 2, 1)), mask=mask)
    assert report.rate[0] == 0
    assert report.rate[1] == pytest.approx(math.log(0.5))
    empty = rnnjax.gradient_report(cell, params, jnp.zeros((0, 2, 1)))
    assert empty.rate.tolist() == [0, 0]


def test_a_report_that_is_not_finite_says_so():
    cell, params = linear(np.eye(2) * 0.5, jnp.tanh)
    report = rnnjax.gradient_report(cell, params, jnp.ones((5, 1)).at[2].set(jnp.nan))
    assert report.verdict == "not finite"
    assert np.isnan(report.horizon)


@pytest.mark.slow
def test_a_vmapped_report_is_the_report_of_a_batch():
    cell, params = linear(np.eye(2) * 3)
    x = jnp.zeros((9, 4, 1))
    batched = rnnjax.gradient_report(cell, params, x)
    mapped = jax.vmap(lambda x: rnnjax.gradient_report(cell, params, x), 1)(x)
    assert mapped.verdict == batched.verdict == "exploding"
    np.testing.assert_allclose(mapped.gain, batched.gain)
    assert str(mapped).splitlines()[1:] == str(batched).splitlines()[1:]


@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_one_step_may_leave_the_range_of_float32(scale):
    cell = cells.elman(1, 4, activation=lambda a: a)
    params = cell.init(jax.random.key(0))._replace(W_hh=scale * jnp.eye(4, dtype=jnp.float32))
    report = rnnjax.gradient_report(cell, params, jnp.zeros((3, 1), jnp.float32))
    assert report.rate == pytest.approx(math.log(scale), rel=1e-5)


def test_a_state_in_half_precision_is_measured_in_float32():
    cell = from_step(
        lambda params, h, x: (0.9 * h + x).astype(jnp.bfloat16),
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, 20), jnp.bfloat16),
    )
    x = jnp.zeros((300, 20), jnp.bfloat16)
    report = rnnjax.gradient_report(cell, (), x)
    assert report.log_norms.dtype == jnp.float32
    assert report.rate == pytest.approx(math.log(0.9), abs=0.01)
    assert report.lags[0] == 300
    logs = rnnjax.jacobian_product_spectrum(cell, (), x)
    assert logs[0, 0] == pytest.approx(300 * math.log(0.9), rel=0.02)
    assert rnnjax.norm_bound(jnp.eye(2, dtype=jnp.bfloat16), slope=1.0) == pytest.approx(1)


def test_no_sequences_have_no_gradient():
    cell, params = linear(np.eye(2))
    report = rnnjax.gradient_report(cell, params, jnp.zeros((4, 0, 1)))
    assert str(report) == "verdict   none: no sequences"
    assert rnnjax.step_jacobians(cell, params, jnp.zeros((4, 0, 1))).shape == (4, 0, 2, 2)
    assert rnnjax.jacobian_product_spectrum(cell, params, jnp.zeros((4, 0, 1))).shape == (5, 0, 2)


# One signature ----------------------------------------------------------------------

OVER = [
    rnnjax.states,
    rnnjax.step_jacobians,
    rnnjax.jacobian_product_spectrum,
    rnnjax.gradient_report,
    training.gradient_monitor,
]


def test_what_runs_a_cell_takes_what_unroll_takes():
    """A function of the public names that takes a cell and inputs, and does not, is found."""
    every = {
        function
        for module in (rnnjax, training)
        for function in map(module.__dict__.get, module.__all__)
        if inspect.isfunction(function) and {"cell", "inputs"} <= set(parameters(function))
    }
    assert every == {rnnjax.unroll, *OVER}
    of_unroll = parameters(rnnjax.unroll)
    by_name = {n: p.annotation for n, p in of_unroll.items() if p.kind is p.KEYWORD_ONLY}
    assert by_name == rnnjax.Options.__annotations__
    for function in OVER:
        own = parameters(function)
        positional = [n for n, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == [n for n in ("cell", "params", "inputs", "state") if n in own]
        assert "state" in own and ("params" in own) == (function is not training.gradient_monitor)
        assert own["options"].annotation == Unpack[rnnjax.Options]
        assert not by_name.keys() & own.keys()


def parameters(function):
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("function", OVER[:-1], ids=lambda function: function.__name__)
def test_options_are_told_by_name(function):
    cell, params = linear(np.eye(2))
    with pytest.raises(TypeError, match=r"options: expected any of mask, .* got masks; see"):
        function(cell, params, jnp.ones((3, 1)), masks=None)
    with pytest.raises(TypeError, match="mask: expected booleans") as caught:
        function(cell, params, jnp.ones((3, 1)), mask=jnp.ones(3), name="encoder")
    assert "name: this is the recurrence 'encoder'" in caught.value.__notes__


def test_in_reverse_diagnostics_are_those_of_the_turned_sequence():
    cell = cells.gru(2, 3, dtype=F64)
    params, x = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 2, 2), F64)
    mask = rnnjax.lengths_to_mask(jnp.array([4, 6]), 6)
    options = {"mask": mask[::-1], "reverse": True}
    J = rnnjax.step_jacobians(cell, params, x[::-1], **options)
    np.testing.assert_allclose(J, rnnjax.step_jacobians(cell, params, x, mask=mask)[::-1])
    logs = spectrum(cell, params, x[::-1], **options)
    np.testing.assert_allclose(logs, spectrum(cell, params, x, mask=mask))


# Adjoints ---------------------------------------------------------------------------


def mean_square(cell):
    def loss(params, x, y):
        _, outputs = rnnjax.unroll(cell, params, x)
        return jnp.mean((outputs - y) ** 2)

    return loss


def test_adjoints_are_the_chain_of_pull_backs_and_the_gradient_that_trains():
    cell = cells.gru(2, 3, dtype=F64)
    params = cell.init(jax.random.key(0))
    x, y = jax.random.normal(jax.random.key(1), (2, 6, 2, 3), F64)
    x = x[..., :2]
    loss = mean_square(cell)
    found = jax.jit(lambda p: rnnjax.adjoints(loss, p, x, y))(params)
    value, gradient = jax.value_and_grad(loss)(params, x, y)
    assert found.value == pytest.approx(float(value))
    for a, b in zip(floats(found.gradient), floats(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)

    J = np.asarray(rnnjax.step_jacobians(cell, params, x))
    outputs = np.asarray(rnnjax.unroll(cell, params, x)[1])
    direct = 2 * (outputs - y) / outputs.size
    g = np.zeros((2, 3))
    for t in range(5, -1, -1):
        g = direct[t] + (np.einsum("bij,bi->bj", J[t + 1], g) if t < 5 else 0)
        np.testing.assert_allclose(found.adjoints[0][t], g, atol=1e-14)
    np.testing.assert_allclose(found.states[0], outputs, atol=1e-14)


def test_adjoints_name_every_run_of_a_loss_with_readout_and_integers():
    first, second = cells.lstm(2, 3, dtype=F64), cells.elman(3, 4, dtype=F64)
    params = {
        "first": first.init(jax.random.key(0)),
        "second": second.init(jax.random.key(1)),
        "readout": jnp.ones(4),
        "steps": jnp.asarray(3),
    }

    def loss(params, x):
        _, h = rnnjax.unroll(first, params["first"], x)
        final, _ = rnnjax.unroll(second, params["second"], h, reverse=True)
        return jnp.sum(final @ params["readout"]) * params["steps"].astype(F64)

    found = rnnjax.adjoints(loss, params, jnp.ones((5, 2, 2)))
    assert jax.tree.map(jnp.shape, found.adjoints) == (
        cells.LSTMState(c=(5, 2, 3), h=(5, 2, 3)),
        (5, 2, 4),
    )
    assert found.gradient["steps"] is None
    assert found.names == ("unroll 0", "unroll 1")
    # The second run ends at time 0, where the loss reads it.
    np.testing.assert_allclose(found.adjoints[1][0], np.full((2, 4), 3.0))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_step_that_is_not_finite_is_named(reverse):
    cell = cells.elman(2, 3, dtype=F64)
    params = cell.init(jax.random.key(0))

    def loss(params, x, y):
        return jnp.mean((rnnjax.unroll(cell, params, x, reverse=reverse)[1] - y) ** 2)

    x, y = jnp.ones((8, 2, 2)), jnp.zeros((8, 2, 3))
    (fine,) = rnnjax.adjoints(loss, params, x, y).nonfinite
    assert (int(fine.forward), int(fine.backward)) == (-1, -1)
    (forward,) = rnnjax.adjoints(loss, params, x.at[5, 1, 0].set(jnp.nan), y).nonfinite
    assert int(forward.forward) == 5
    (backward,) = rnnjax.adjoints(loss, params, x, y.at[3, 0, 0].set(jnp.inf)).nonfinite
    assert int(backward.forward) == -1
    # A backward pass comes from the end of the run.
    assert int(backward.backward) == 3


# Bad input --------------------------------------------------------------------------


def test_errors_say_what_was_expected():
    cell, params = linear(np.eye(2))
    x = jnp.ones((3, 1))
    with pytest.raises(ValueError, match=r"kernel: expected W_hh \[H, H\], got \(2, 6\)"):
        rnnjax.norm_bound(jnp.ones((2, 6)), slope=1.0)
    with pytest.raises(ValueError, match=r"slope: expected the supremum of .*, got -1"):
        rnnjax.norm_bound(jnp.ones((2, 2)), slope=-1.0)
    with pytest.raises(ValueError, match="directions: expected at least 1, got 0"):
        rnnjax.gradient_report(cell, params, x, directions=0)
    with pytest.raises(TypeError, match=r"kernel: expected W_hh .*, got ElmanParams.*params\.W_hh"):
        rnnjax.norm_bound(params, slope=1.0)
    with pytest.raises(TypeError, match="state: expected a floating leaf to differentiate"):
        rnnjax.jacobian_product_spectrum(cell, params, x, block=lambda s: s > 0)
    with pytest.raises(TypeError, match=r"loss: expected a floating scalar, got float64\[3,2\]"):
        rnnjax.adjoints(lambda p: rnnjax.unroll(cell, p, x)[1], params)
    with pytest.raises(TypeError, match=r"loss: expected a floating scalar, got int64\[\]"):
        rnnjax.adjoints(lambda p: jnp.argmax(rnnjax.unroll(cell, p, x)[1]), params)
    with pytest.raises(
        ValueError, match=r"loss: expected it to run a recurrence by `rnnjax\.unroll`, a layer"
    ):
        rnnjax.adjoints(lambda p: jnp.sum(p.W_hh), params)
    shared = from_step(
        lambda p, s, x: (s[0] + x, s[1] * 0.9),
        init=lambda key: (),
        start=lambda p, batch: (jnp.zeros((*batch, 1)), jnp.zeros(7)),
    )
    with pytest.raises(TypeError, match="state: expected every floating leaf to begin with the"):
        rnnjax.step_jacobians(shared, (), jnp.ones((3, 2, 1)))
