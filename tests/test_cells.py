"""The cells themselves: their equations, their layouts, their precision."""

import itertools
import math
import re
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import laws
import numpy as np
import optax
import pytest
from flax import linen, nnx
from laws import CELLS, FOLDS, LIBRARY, PAIRS

import rnnjax
from rnnjax import cells, folds, from_step, training
from rnnjax.folds import Fold

KEY = jax.random.key(0)
T, B, D, H = 12, 2, 5, 6


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Laws of the table ------------------------------------------------------------------


def test_every_cell_of_the_library_is_in_the_table() -> None:
    """By its name in `cells.__all__`; nothing else tells the tests of it."""
    missing = [make.__name__ for make in laws.FACTORIES if make not in LIBRARY.values()]
    assert not missing, f"give each of {missing} a row in CELLS of tests/laws.py"


@pytest.mark.parametrize("cell", CELLS)
def test_project_commutes_with_slicing_time(cell: str) -> None:
    """A drive of many steps is the drives of the steps."""
    made, args = CELLS[cell].make(jnp.asarray(laws.CLOSED)), laws.draw(cell, 7, (2, 3))
    project = jax.jit(made.project)
    every = project(args.params, args.inputs)
    for t in (0, 6):
        one = project(args.params, jax.tree.map(lambda x: x[t], args.inputs))  # noqa: B023
        laws.assert_close(one, jax.tree.map(lambda d: d[t], every))  # noqa: B023
    some = project(args.params, jax.tree.map(lambda x: x[2:5], args.inputs))
    laws.assert_close(some, jax.tree.map(lambda d: d[2:5], every))


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_the_cells_parts_put_together(cell: str) -> None:
    """mixed = hidden @ kernel, drive = project, state = update, and the state keeps its kind."""
    made, args = CELLS[cell].make(jnp.asarray(laws.CLOSED)), laws.draw(cell, 1, (3,))
    params, state, x = args.params, args.state, jax.tree.map(lambda x: x[0], args.inputs)
    drive = made.project(params, x)
    mixed = made.hidden(state, drive) @ made.kernel(params) if made.kernel else None
    after = rnnjax.step(made, params, state, x)
    laws.assert_close(after, made.update(params, state, drive, mixed))
    start = made.start(params, (3,))
    assert jax.tree.structure(after) == jax.tree.structure(start)
    for a, s in zip(jax.tree.leaves(after), jax.tree.leaves(start), strict=True):
        assert (a.shape, a.dtype) == (s.shape, s.dtype)


# Equations --------------------------------------------------------------------------


def test_elman_equation() -> None:
    """h_t = relu(h_{t-1} W_hh + x_t W_xh + b_h)."""
    cell = cells.elman(D, H, activation=jax.nn.relu, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda w: laws.like(w, rng), cell.init(KEY))
    h, x = rng.normal(size=(B, H)), rng.normal(size=(B, D))
    wanted = np.maximum(h @ p.W_hh + x @ p.W_xh + p.b_h, 0)
    laws.assert_close(rnnjax.step(cell, p, h, x), wanted)


def test_lstm_equation() -> None:
    """Gates i f g o, in this order of columns."""
    cell = cells.lstm(D, H, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda w: laws.like(w, rng), cell.init(KEY))
    state = cells.LSTMState(rng.normal(size=(B, H)), rng.normal(size=(B, H)))
    x = rng.normal(size=(B, D))
    i, f, g, o = np.split(state.h @ p.W_hh + x @ p.W_xh + p.b_h, 4, axis=-1)
    c = sigmoid(f) * state.c + sigmoid(i) * np.tanh(g)
    wanted = cells.LSTMState(c, sigmoid(o) * np.tanh(c))
    laws.assert_close(rnnjax.step(cell, p, state, x), wanted)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_equation(reset_after: bool) -> None:
    """Gates r z n, in this order of columns; n's reset after the product or before it."""
    cell = cells.gru(D, H, reset_after=reset_after, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda w: laws.like(w, rng), cell.init(KEY))
    h, x = rng.normal(size=(B, H)), rng.normal(size=(B, D))
    W_r, W_z, W_n = np.split(p.W_hh, 3, axis=-1)
    x_r, x_z, x_n = np.split(x @ p.W_xh + p.b_h, 3, axis=-1)
    r, z = sigmoid(x_r + h @ W_r), sigmoid(x_z + h @ W_z)
    n = np.tanh(x_n + (r * (h @ W_n + p.b_hn) if reset_after else (r * h) @ W_n))
    laws.assert_close(rnnjax.step(cell, p, h, x), (1 - z) * n + z * h)


def test_min_gru_equation() -> None:
    """Columns z n, neither of which reads h."""
    cell = cells.min_gru(D, H, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda w: laws.like(w, rng), cell.init(KEY))
    h, x = rng.normal(size=(B, H)), rng.normal(size=(B, D))
    z, n = np.split(x @ p.W_xh + p.b_h, 2, axis=-1)
    laws.assert_close(rnnjax.step(cell, p, h, x), (1 - sigmoid(z)) * h + sigmoid(z) * n)


def test_lru_equation() -> None:
    """Real columns, then imaginary ones; so is what it shows."""
    cell = cells.lru(D, H, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda w: laws.like(w, rng), cell.init(KEY))
    h, x = rng.normal(size=(B, H)) + 1j * rng.normal(size=(B, H)), rng.normal(size=(B, D))
    real, imaginary = np.split(x @ p.W_xh + p.b_h, 2, axis=-1)
    wanted = np.exp(-np.exp(p.nu) + 1j * np.exp(p.theta)) * h
    wanted = wanted + np.exp(p.gamma) * (real + 1j * imaginary)
    laws.assert_close(rnnjax.step(cell, p, h, x), wanted)
    laws.assert_close(cell.output(wanted), np.concatenate([wanted.real, wanted.imag], axis=-1))


def test_lru_begins_on_a_ring() -> None:
    """|λ|² and the phase are uniform, and the state is as large as a white input."""
    size, low, high, phase = 2000, 0.8, 0.95, 1.5
    cell = cells.lru(D, size, r_min=low, r_max=high, max_phase=phase, dtype=jnp.float64)
    p = cell.init(KEY)
    square = np.exp(-2 * np.exp(p.nu))
    for drawn, a, b in ((square, low**2, high**2), (np.exp(p.theta), 0.0, phase)):
        quantiles = np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quantiles, np.linspace(a, b, 5), atol=0.05 * b)
    np.testing.assert_allclose(np.exp(2 * p.gamma), 1 - square, atol=1e-12)
    h, _ = jax.jit(partial(rnnjax.unroll, cell))(
        p, jax.random.normal(KEY, (100, 20, D), jnp.float64)
    )
    assert 0.9 < np.mean(np.abs(h) ** 2) < 1.1


def test_lru_near_the_unit_circle() -> None:
    """Where |λ|² is 1 to rounding for some of a million, all weights are finite."""
    params = cells.lru(1, 10**6, r_min=0.9999).init(jax.random.key(0))
    assert np.isfinite(params.nu).all()
    assert np.isfinite(params.gamma).all()
    assert np.isfinite(params.theta).all()


def test_lru_precision_and_radii() -> None:
    """A complex state of the parameters' precision, float32 at least; a ring within 1."""
    for dtype, state in ((jnp.bfloat16, jnp.complex64), (jnp.float64, jnp.complex128)):
        cell = cells.lru(D, H, dtype=dtype)
        p = cell.init(KEY)
        final, outputs = rnnjax.unroll(cell, p, jnp.ones((3, B, D), dtype))
        assert {p.W_xh.dtype, p.b_h.dtype} == {np.dtype(dtype)}
        assert {p.nu.dtype, p.theta.dtype, p.gamma.dtype} == {final.real.dtype}
        assert final.dtype == state and outputs.dtype == final.real.dtype
    for wrong in ({"r_min": 0.9, "r_max": 0.9}, {"r_max": 1.1}, {"max_phase": 0.0}):
        with pytest.raises(ValueError, match="r_min, r_max, max_phase: expected 0 <= r_min <"):
            cells.lru(D, H, **wrong)


@pytest.mark.parametrize("make", laws.FACTORIES)
def test_initialisers_are_used(make: Any) -> None:
    """The kernel's for each `[H, H]`, the input's for each `[D, H]`, the bias's for `[G, H]`."""
    asked: list[tuple[str, tuple[int, ...]]] = []

    def constant(name: str, value: float) -> Any:
        def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            asked.append((name, shape))
            return jnp.full(shape, value, dtype)

        return draw

    values = {"kernel_init": 2.0, "input_init": 3.0, "bias_init": 4.0}
    values = {name: values[name] for name in values.keys() & laws.initialisers_of(make)}
    params = make(D, H, **{name: constant(name, value) for name, value in values.items()}).init(KEY)
    rows = params.b_h.size // H
    shapes = {"kernel_init": (H, H), "input_init": (D, H), "bias_init": (rows, H)}
    assert set(asked) == {(name, shapes[name]) for name in values}
    if "kernel_init" in values:
        np.testing.assert_array_equal(params.W_hh, np.full((H, rows * H), 2.0))
    scale = math.sqrt(2) if make is cells.lru else 1
    np.testing.assert_allclose(params.W_xh, np.full((D, rows * H), 3.0 / scale), rtol=1e-6)
    wanted = np.full((rows, H), 4.0)
    if make is cells.lstm:
        wanted[1] += 1.0
    np.testing.assert_array_equal(params.b_h, wanted.reshape(-1))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


def test_forget_bias_and_second_bias() -> None:
    """The LSTM's forget gate begins open; the GRU has a second bias of n only where it serves."""
    assert cells.lstm(D, H, forget_bias=2.5).init(KEY).b_h.reshape(4, H)[1].tolist() == [2.5] * H
    np.testing.assert_array_equal(cells.gru(D, H).init(KEY).b_hn, np.zeros(H))
    assert cells.gru(D, H, reset_after=False).init(KEY).b_hn is None


@pytest.mark.parametrize("sizes", [(D, H + 1), (D + 1, H)])
def test_parameters_of_other_sizes_are_named(sizes: tuple[int, int]) -> None:
    """Whatever they make fail first."""
    with pytest.raises((TypeError, ValueError)) as caught:
        rnnjax.unroll(cells.gru(D, H), cells.gru(*sizes).init(KEY), jnp.ones((2, 1, D)))
    assert "params: this cell's `init` gives GRUParams" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("cell", "other", "message"),
    [
        (cells.gru(D, H), cells.gru(D, H, reset_after=False), r"b_hn \[H\] for reset_after=True"),
        (cells.gru(D, H, reset_after=False), cells.gru(D, H), "b_hn None for reset_after=False"),
        (cells.lstm(D, H), cells.lstm(D, H, projection_size=H), "W_hr None for projection_size=N"),
        (cells.lstm(D, H, projection_size=H), cells.lstm(D, H), r"W_hr \[H, P\] for projection"),
    ],
)
def test_parameters_of_another_variant_are_refused(cell, other, message):
    """They fit, and would be another cell."""
    with pytest.raises(TypeError, match=f"params: expected {message}"):
        rnnjax.unroll(cell, other.init(KEY), jnp.ones((2, 1, D)))


def test_a_bare_step_is_a_cell() -> None:
    """Three lines; the output is the state unless told."""

    def step(params: Any, h: Any, x: Any) -> Any:
        return jnp.tanh(h @ params["W"] + x @ params["U"])

    args = laws.draw("bare", 7, (3,))
    parts = {
        "init": lambda key: args.params,
        "start": lambda params, batch: jnp.zeros((*batch, laws.H)),
    }
    final, outputs = rnnjax.unroll(from_step(step, **parts), args.params, args.inputs)
    h = np.zeros((3, laws.H))
    for t in range(7):
        h = np.tanh(h @ args.params["W"] + args.inputs[t] @ args.params["U"])
        np.testing.assert_allclose(outputs[t], h, atol=1e-12)
    np.testing.assert_array_equal(final, outputs[-1])
    shown = from_step(step, **parts, output=lambda h: h[..., 0])
    laws.assert_close(rnnjax.unroll(shown, args.params, args.inputs)[1], outputs[..., 0])


def test_a_cell_without_input() -> None:
    """Inputs of no features carry the time."""
    cell = cells.elman(0, H, dtype=jnp.float64)
    params = cell.init(KEY)
    final, outputs = rnnjax.unroll(cell, params, jnp.zeros((T, B, 0)), jnp.ones((B, H)))
    h = np.ones((B, H))
    for _ in range(T):
        h = np.tanh(h @ params.W_hh)
    np.testing.assert_allclose(final, h, atol=1e-12)
    assert outputs.shape == (T, B, H)


# Flax -------------------------------------------------------------------------------


def run_linen(cell: Any, inputs: jax.Array) -> tuple[Any, Any]:
    """Outputs of a linen cell with random weights and biases, and these."""
    carry = cell.initialize_carry(KEY, inputs.shape[1:])
    params = jiggled(cell.init(KEY, carry, inputs[0])["params"])
    return over_time(
        lambda carry, x: cell.apply({"params": params}, carry, x), carry, inputs
    ), params


def run_nnx(make: Any, inputs: jax.Array) -> tuple[Any, Any]:
    """The same of an nnx cell."""
    graph, weights, others = nnx.split(make(D, H, rngs=nnx.Rngs(0)), nnx.Param, ...)
    params = jiggled(nnx.to_pure_dict(weights))
    nnx.replace_by_pure_dict(weights, params)
    cell = nnx.merge(graph, weights, others)
    carry = cell.initialize_carry(inputs.shape[1:], nnx.Rngs(0))
    return over_time(cell, carry, inputs), params


def over_time(step: Any, carry: Any, inputs: jax.Array) -> jax.Array:
    outputs = []
    for x in inputs:
        carry, y = step(carry, x)
        outputs.append(y)
    return jnp.stack(outputs)


def jiggled(params: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda w: w + 0.3 * laws.like(w, rng).astype(w.dtype), params)


def gates(params: Any, side: str, what: str, names: str) -> jax.Array:
    """Flax's gates, named `hi` or `if_`, side by side."""
    found = {name.rstrip("_"): leaf for name, leaf in params.items()}
    return jnp.concatenate([found[side + gate][what] for gate in names], axis=-1)


def lstm_by_gate(p: Any) -> cells.LSTMParams:
    kernels = (gates(p, side, "kernel", "ifgo") for side in "ih")
    return cells.LSTMParams(*kernels, gates(p, "h", "bias", "ifgo"))


def gru_by_gate(p: Any) -> cells.GRUParams:
    kernels = (gates(p, side, "kernel", "rzn") for side in "ih")
    return cells.GRUParams(*kernels, gates(p, "i", "bias", "rzn"), p["hn"]["bias"])


# How to run Flax's cell, ours, and Flax's weights as ours.
FLAX = {
    "linen-simple": (
        partial(run_linen, linen.SimpleCell(H)),
        cells.elman,
        lambda p: cells.ElmanParams(p["i"]["kernel"], p["h"]["kernel"], p["i"]["bias"]),
    ),
    "linen-lstm": (partial(run_linen, linen.LSTMCell(H)), cells.lstm, lstm_by_gate),
    "linen-lstm-optimized": (
        partial(run_linen, linen.OptimizedLSTMCell(H)),
        cells.lstm,
        lstm_by_gate,
    ),
    "linen-gru": (partial(run_linen, linen.GRUCell(H)), cells.gru, gru_by_gate),
    "nnx-simple": (
        partial(run_nnx, nnx.SimpleCell),
        cells.elman,
        lambda p: cells.ElmanParams(
            p["dense_i"]["kernel"], p["dense_h"]["kernel"], p["dense_i"]["bias"]
        ),
    ),
    "nnx-lstm": (partial(run_nnx, nnx.LSTMCell), cells.lstm, lstm_by_gate),
    "nnx-lstm-optimized": (
        partial(run_nnx, nnx.OptimizedLSTMCell),
        cells.lstm,
        lambda p: cells.LSTMParams(
            p["dense_i"]["kernel"], p["dense_h"]["kernel"], p["dense_h"]["bias"]
        ),
    ),
    "nnx-gru": (
        partial(run_nnx, nnx.GRUCell),
        cells.gru,
        lambda p: cells.GRUParams(
            p["dense_i"]["kernel"],
            p["dense_h"]["kernel"],
            p["dense_i"]["bias"],
            jnp.zeros(H, jnp.float32),
        ),
    ),
}


@pytest.mark.parametrize("name", FLAX)
def test_agrees_with_flax(name: str) -> None:
    """The outputs of a sequence, float32, with the same weights."""
    run, make, ours = FLAX[name]
    inputs = jax.random.normal(KEY, (T, B, D), jnp.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wanted, params = run(inputs)
    _, got = jax.jit(partial(rnnjax.unroll, make(D, H)))(ours(params), inputs)
    assert got.dtype == wanted.dtype == jnp.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


# Precision --------------------------------------------------------------------------

# The step from one number to the next, relative.
EPSILON = {np.dtype(d): float(jnp.finfo(d).eps) for d in (jnp.bfloat16, jnp.float32, jnp.float64)}


@lru_cache
def mixed(make: str, fold: Fold, weights: Any, inputs: Any) -> tuple[Any, Any, Any, Any]:
    """State, outputs and gradients in mixed precision, of numbers that bfloat16 can hold."""
    cell = LIBRARY[make](D, H, dtype=weights)
    rounded = jax.tree.map(lambda w: w.astype(jnp.bfloat16), LIBRARY[make](D, H).init(KEY))
    params = jax.tree.map(lambda w: w.astype(weights), rounded)
    x = jax.random.normal(KEY, (40, B, D), jnp.bfloat16).astype(inputs)

    @jax.jit
    def run(params: Any, x: jax.Array) -> Any:
        def loss(params: Any, x: jax.Array) -> Any:
            final, outputs = rnnjax.unroll(cell, params, x, fold=fold)
            return jnp.mean(outputs**2), (final, outputs)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    (_, (final, outputs)), (dL_dparams, dL_dx) = run(params, x)
    return final, outputs, dL_dparams, dL_dx


@pytest.mark.parametrize(
    ("make", "fold"), laws.cheap([pair for pair in PAIRS if pair[0] in LIBRARY])
)
@pytest.mark.parametrize(
    ("weights", "inputs"),
    [
        (jnp.bfloat16, jnp.bfloat16),
        pytest.param(jnp.float32, jnp.bfloat16, marks=pytest.mark.slow),
        pytest.param(jnp.bfloat16, jnp.float32, marks=pytest.mark.slow),
        (jnp.float32, jnp.float64),
    ],
)
def test_mixed_precision(make: str, weights: Any, inputs: Any, fold: str) -> None:
    """The state and every sum stay in float32: only what is stored is rounded."""
    final, outputs, dL_dparams, dL_dx = mixed(make, FOLDS[fold].fold, weights, inputs)
    single = mixed(make, laws.reference(fold), jnp.float32, jnp.float32)
    _, exact, dL_dexact, dL_dx_exact = single
    assert {leaf.real.dtype for leaf in jax.tree.leaves((final, outputs))} == {np.dtype("f4")}
    # Weights and inputs are exact in bfloat16, and products of two are exact in float32.
    near = 4 * 16 * EPSILON[np.dtype("f4")] if FOLDS[fold].iterates else 0.0
    np.testing.assert_allclose(outputs, exact, atol=2e-6 + near)
    pairs = zip(
        jax.tree.leaves((dL_dparams, dL_dx)), jax.tree.leaves((dL_dexact, dL_dx_exact)), strict=True
    )
    for got, wanted in pairs:
        scale = np.abs(wanted).max() + 1e-6
        tolerance = max(4 * EPSILON[got.dtype], 1e-5) * scale
        np.testing.assert_allclose(got.astype(np.float32), wanted, atol=tolerance)
    assert {leaf.dtype for leaf in jax.tree.leaves(dL_dparams)} == {np.dtype(weights)}
    assert dL_dx.dtype == np.dtype(inputs)


# Long sums --------------------------------------------------------------------------

LONG = 2000
LONG_FOLDS = [fold for fold, row in FOLDS.items() if not row.like]
DAILY_SUMS = {
    ("gru", "scan()", "bfloat16"), ("lru", "blocked(size=3)", "float16"),
}  # fmt: skip


def long_gradient(make: str, dtype: Any, fold: folds.Fold, through: Any, **options: Any) -> Any:
    """Of a sum of many steps to weights that bfloat16 and float16 can hold, as `through` does."""
    cell = LIBRARY[make](D, H, dtype=dtype)
    drawn = jax.eval_shape(LIBRARY[make](D, H, dtype=jnp.bfloat16).init, KEY)
    # What the narrow cell keeps in float32 (phases of the LRU) stays there.
    params = jax.tree.map(
        lambda w, d: w.astype(jnp.float16).astype(jnp.bfloat16).astype(w.dtype)
        if d.dtype == jnp.bfloat16 else w,
        LIBRARY[make](D, H).init(KEY), drawn,
    )  # fmt: skip
    low = jax.tree.map(lambda w, d: w.astype(d.dtype), params, jax.eval_shape(cell.init, KEY))
    x = jax.random.normal(KEY, (LONG, B, D), jnp.bfloat16).astype(jnp.float32)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        outputs = rnnjax.unroll(cell, params, x, fold=fold, **options)[1]
        return LONG * jnp.mean((outputs - 0.3) ** 2)

    return through(loss, low, x)


def by_grad(loss: Any, params: Any, x: jax.Array) -> Any:
    return jax.jit(jax.grad(loss))(params, x)


def by_devices(loss: Any, params: Any, x: jax.Array) -> Any:
    mesh = jax.make_mesh((B,), ("batch",), devices=jax.devices()[:B])
    return jax.jit(jax.grad(rnnjax.over_devices(loss, mesh)))(params, x)


def by_stream(loss: Any, params: Any, x: jax.Array) -> Any:
    """What the optimiser of a stream is given, here for one window that is the sequence."""
    seen = optax.GradientTransformation(
        lambda params: params,
        lambda updates, state, params: (jax.tree.map(jnp.zeros_like, updates), updates),
    )

    def windowed(params: Any, state: Any, x: Any) -> Any:
        return loss(params, x), state

    return next(training.stream(windowed, params, (), [x], seen)).state.optimizer_state


def assert_sums_in_float32(
    make: str, dtype: Any, fold: folds.Fold, through: Any = by_grad, **options: Any
) -> None:
    got = long_gradient(make, dtype, fold, through, **options)
    wanted = long_gradient(make, jnp.float32, fold, by_grad, **options)
    assert got._fields == wanted._fields
    for name, a, b in zip(got._fields, got, wanted, strict=True):
        if b is not None:
            error = np.abs(a.astype(jnp.float32) - b).max() / np.abs(b).max()
            assert error < 3 * float(jnp.finfo(dtype).eps), f"{name}: {error:.3f}"


@pytest.mark.parametrize(
    ("make", "fold", "dtype"),
    [
        pytest.param(*row, marks=[] if row in DAILY_SUMS else [pytest.mark.slow])
        for row in itertools.product(LIBRARY, LONG_FOLDS, ("bfloat16", "float16"))
        if row[2] == "bfloat16" or row[1] in ("scan()", laws.DEFAULT)
    ],
)
def test_gradients_of_narrow_weights_are_summed_in_float32(
    make: str, fold: str, dtype: str
) -> None:
    """However many steps there are, a gradient is rounded a few times, not once a step."""
    assert_sums_in_float32(make, jnp.dtype(dtype), FOLDS[fold].fold)


@pytest.mark.slow
@pytest.mark.parametrize("fold", ["scan()", "blocked()", "checkpointed()", "truncated(window=3)"])
@pytest.mark.parametrize("make", ["gru", "gru-before"])
def test_so_they_are_with_masks_and_resets(make: str, fold: str) -> None:
    rng = np.random.default_rng(0)
    mask, resets = rng.random((LONG, B)) < 0.7, rng.random((LONG, B)) < 0.05
    assert_sums_in_float32(make, jnp.bfloat16, FOLDS[fold].fold, mask=mask, resets=resets)


@pytest.mark.slow
@pytest.mark.parametrize("through", [by_devices, by_stream])
def test_so_they_are_over_devices_and_in_a_stream(through: Any) -> None:
    assert_sums_in_float32("gru-before", jnp.bfloat16, folds.scan(), through)


@pytest.mark.parametrize("fold", ["scan()", "blocked()", "checkpointed()"])
def test_so_they_are_for_what_a_step_closes_over(fold: str) -> None:
    """Counted one by one in bfloat16, ones are never more than 256."""

    def total(weight: jax.Array) -> jax.Array:
        cell = rnnjax.from_step(
            lambda params, state, x: state + weight.astype(x.dtype) * x,
            init=lambda key: (),
            start=lambda params, batch: jnp.zeros(batch, jnp.float32),
            feature_axes=0,
        )
        return rnnjax.unroll(cell, (), jnp.ones(600, jnp.float32), fold=FOLDS[fold].fold)[0]

    assert jax.grad(total)(jnp.ones((), jnp.bfloat16)) == 600


@pytest.mark.parametrize("make", LIBRARY)
def test_bfloat16_stays_near_float32(make: str) -> None:
    """Rounding weights and inputs moves the outputs by a few parts in 2^8 of the largest."""
    x = jax.random.normal(KEY, (40, B, D), jnp.float32)
    params = LIBRARY[make](D, H).init(KEY)

    @jax.jit
    def both(params: Any, x: jax.Array) -> Any:
        small = LIBRARY[make](D, H, dtype=jnp.bfloat16)
        drawn = jax.eval_shape(small.init, KEY)
        low = jax.tree.map(lambda w, d: w.astype(d.dtype), params, drawn)
        return (
            rnnjax.unroll(LIBRARY[make](D, H), params, x)[1],
            rnnjax.unroll(small, low, x.astype(jnp.bfloat16))[1],
        )

    exact, rounded = both(params, x)
    difference = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert 0 < difference < 4 * 2**-8


# Bad input --------------------------------------------------------------------------


@pytest.mark.parametrize("make", laws.FACTORIES)
def test_sizes_and_dtypes_that_no_cell_can_have(make: Any) -> None:
    """Refused where the cell is made, before any weight is drawn."""
    told = "input_size, hidden_size: expected at least 0 and at least 1, got {} and {}"
    with pytest.raises(ValueError, match=told.format(-1, 4)):
        make(-1, 4)
    with pytest.raises(ValueError, match=told.format(3, 0)):
        make(3, 0)
    with pytest.raises(TypeError, match="dtype: expected a floating dtype, got int32"):
        make(3, 4, dtype=jnp.int32)


def test_a_step_refuses_inputs_that_do_not_fit() -> None:
    """As `unroll` does, with the shape of the one step."""
    cell = cells.lstm(D, H)
    params, state = cell.init(KEY), cell.start(cell.init(KEY), (B,))
    told = f"inputs: expected [T, B, {D}] to match input_size={D}, got steps x_t of shape (2, 6)"
    with pytest.raises(ValueError, match=re.escape(told)):
        rnnjax.step(cell, params, state, jnp.zeros((B, 6), jnp.float32))
    with pytest.raises(TypeError, match="inputs: expected a floating dtype, got int64"):
        rnnjax.step(cell, params, state, jnp.zeros((B, D), jnp.int64))
    grown = cell._replace(update=lambda params, state, drive, mixed: (*state, state.h))
    with pytest.raises(TypeError, match="state: expected a step to keep LSTMState"):
        rnnjax.step(grown, params, state, jnp.zeros((B, D), jnp.float32))
