"""Cells of other libraries, held against a plain loop over the library's own module."""

import contextlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import laws
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.nn import initializers

import rnnjax
from rnnjax import folds, training
from rnnjax._cell import Cell
from rnnjax._tree import combine
from rnnjax.interop.flax import linen_cell, nnx_cell

T, B, D, H = 3, 2, 2, 4
KEY = jax.random.key(3)
X = jnp.zeros(D)

Tree = Any


class Row(NamedTuple):
    """A foreign cell, and the loop that it must be.

    Attributes:
      cell: the cell.
      step: `(params, t, carry, x) -> (carry, y, params)`, the library's own module.
      carry: of the cell's state.
      held: parameters with no gradient to those that are not to be trained.
      shape: of one input.
    """

    cell: Cell
    step: Callable[..., tuple[Tree, Tree, Tree]]
    carry: Callable[[Tree], Tree] = lambda state: state.carry
    held: Callable[[Tree], Tree] = lambda params: params
    shape: tuple[int, ...] = (D,)


class LinenNoisy(linen.RNNCellBase):
    """Dropout, running statistics, a counter, and an output that it does not carry."""

    @linen.compact
    def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = self.variable("statistics", "mean", lambda: jnp.zeros(()))
        seen = self.variable("statistics", "seen", lambda: jnp.zeros((), jnp.int32))
        mean.value = 0.9 * mean.value + 0.1 * x.mean()
        seen.value = seen.value + 1
        x = linen.Dropout(0.5, deterministic=False)(x) - jnp.broadcast_to(mean.value, x.shape)
        carry, y = linen.GRUCell(H, param_dtype=jnp.float64)(carry, x)
        return carry, y * jnp.cos(seen.value.astype(y.dtype))

    def initialize_carry(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros((*shape[:-1], H))


class NNXNoisy(nnx.Module):
    """Dropout, a counter, a scale that nothing trains, and an output it does not carry."""

    def __init__(self, rngs: nnx.Rngs):
        self.cell = nnx.GRUCell(D, H, param_dtype=jnp.float64, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.seen = nnx.Variable(jnp.zeros((), jnp.int32))
        self.scale = nnx.Variable(jnp.full((), 0.7))

    def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        self.seen[...] += 1
        carry, y = self.cell(carry, self.dropout(x))
        return carry, y * (self.scale[...] + jnp.cos(self.seen[...].astype(y.dtype)))

    def initialize_carry(self, shape: tuple[int, ...], rngs: nnx.Rngs) -> jax.Array:
        return self.cell.initialize_carry(shape, rngs)


def _of_linen(module: linen.Module, shape: tuple[int, ...] = (D,), dropout: bool = False) -> Row:
    def step(params: Tree, t: int, carry: Tree, x: jax.Array) -> Tree:
        rngs = {"dropout": jax.random.fold_in(KEY, t)} if dropout else {}
        (carry, y), changed = module.apply(params, carry, x, rngs=rngs, mutable=["statistics"])
        return carry, y, params | changed

    def held(params: Tree) -> Tree:
        return jax.lax.stop_gradient(params) | {"params": params["params"]}

    rngs = {"dropout": KEY} if dropout else None
    return Row(linen_cell(module, jnp.zeros(shape), rngs=rngs), step, held=held, shape=shape)


def _of_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Row:
    graph = nnx.graphdef(make(nnx.Rngs(0)))

    def step(params: Tree, t: int, carry: Tree, x: jax.Array) -> Tree:
        module = nnx.merge(graph, jax.tree.map(jnp.asarray, params))
        return *module(carry, x), nnx.state(module)

    def held(params: Tree) -> Tree:
        return nnx.merge_state(jax.lax.stop_gradient(params), nnx.filter_state(params, nnx.Param))

    return Row(nnx_cell(make, X), step, held=held)


def _of_haiku(noisy: bool) -> Row:
    hk = pytest.importorskip("haiku")
    from rnnjax.interop.haiku import haiku_cell

    class Noisy(hk.RNNCore):
        """Random numbers, a counter, a learned start, and an output it does not carry."""

        def initial_state(self, batch_size: int) -> jax.Array:
            h_0 = hk.get_parameter("h_0", [H], jnp.float64, init=jnp.ones)
            return jnp.broadcast_to(h_0, (batch_size, H))

        def __call__(self, x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
            seen = hk.get_state("seen", (), jnp.int32, init=jnp.zeros)
            hk.set_state("seen", seen + 1)
            noise = jax.random.normal(hk.next_rng_key(), x.shape)
            y, h = hk.GRU(H)(x + noise, h)
            return y * jnp.cos(seen.astype(y.dtype)), h

    make = Noisy if noisy else lambda: hk.LSTM(H)
    call = hk.transform_with_state(lambda x, carry: make()(x, carry))

    def step(params: Tree, t: int, carry: Tree, x: jax.Array) -> Tree:
        (y, carry), state = call.apply(*params, jax.random.fold_in(KEY, t), x, carry)
        return carry, y, (params[0], state)

    return Row(haiku_cell(make, X, key=KEY if noisy else None), step)


def _of_equinox() -> Row:
    eqx = pytest.importorskip("equinox")
    from rnnjax.interop.equinox import equinox_cell

    class Learned(eqx.Module):
        """A start that is learned, an activation among the fields, a key that is carried."""

        cell: eqx.nn.GRUCell
        h_0: jax.Array
        activation: Callable[[jax.Array], jax.Array]

        def __init__(self, key: jax.Array):
            self.cell = eqx.nn.GRUCell(D, H, key=key)
            self.h_0 = jnp.ones(H)
            self.activation = jnp.tanh

        def __call__(self, x: jax.Array, hidden: Tree) -> Tree:
            key, mine = jax.random.split(hidden[1])
            x = x * jax.random.bernoulli(mine, 0.5, x.shape).astype(x.dtype)
            return self.cell(self.activation(x), hidden[0]), key

    cell = equinox_cell(Learned, lambda module: (module.h_0, KEY), output=lambda hidden: hidden[0])
    static = eqx.filter(Learned(KEY), eqx.is_array, inverse=True)

    def step(params: Tree, t: int, carry: Tree, x: jax.Array) -> Tree:
        module = eqx.combine(params, static)
        carry = jax.vmap(module)(x, carry)
        return carry, carry[0], params

    return Row(cell, step, carry=lambda state: state)


ROWS: dict[str, Callable[[], Row]] = {
    "linen": lambda: _of_linen(linen.LSTMCell(H, param_dtype=jnp.float64)),
    "linen-noisy": lambda: _of_linen(LinenNoisy(), dropout=True),
    "linen-convolution": lambda: _of_linen(
        linen.ConvLSTMCell(2, (3, 3), param_dtype=jnp.float64), shape=(4, 4, 1)
    ),
    "nnx-noisy": lambda: _of_nnx(NNXNoisy),
    "haiku": lambda: _of_haiku(noisy=False),
    "haiku-noisy": lambda: _of_haiku(noisy=True),
    "equinox": _of_equinox,
}


@lru_cache
def row_of(name: str) -> tuple[Row, Tree, jax.Array]:
    row = ROWS[name]()
    params = row.cell.init(jax.random.key(0))
    return row, params, jax.random.normal(jax.random.key(1), (T, B, *row.shape))


@lru_cache
def expected(name: str) -> tuple[tuple[Tree, Tree], laws.Leaves, laws.Leaves]:
    """What the loop gives, a loss's weights, and its gradient to parameters and inputs."""
    row, params, inputs = row_of(name)

    def loop(params: Tree, inputs: jax.Array) -> tuple[Tree, Tree]:
        carry, ys = row.carry(row.cell.start(params, (B,))), []
        params = row.held(params)
        for t in range(T):
            carry, y, params = row.step(params, t, carry, inputs[t])
            ys.append(y)
        return carry, jnp.stack(ys)

    weights = laws.weights_like(jax.eval_shape(loop, params, inputs))
    run = jax.jit(lambda *args: laws.value_and_pullback(loop, args, weights))
    value, gradient = run(params, inputs)
    return value, weights, gradient


def held_against_loop(name: str, fold: folds.Fold) -> None:
    row, params, inputs = row_of(name)
    value, weights, gradient = expected(name)

    def unroll(params: Tree, inputs: jax.Array) -> tuple[Tree, Tree]:
        start = row.cell.start(params, (B,))
        final, outputs = rnnjax.unroll(row.cell, params, inputs, start, fold=fold)
        return row.carry(final), outputs

    run = jax.jit(lambda *args: laws.value_and_pullback(unroll, args, weights))
    got, got_gradient = run(params, inputs)
    laws.assert_close(got, value)
    laws.assert_close(got_gradient, gradient)


QUICK = ("linen-noisy", "nnx-noisy", "equinox")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ROWS]
)
def test_a_foreign_cell_is_the_loop_over_its_module(name: str) -> None:
    held_against_loop(name, folds.blocked())


@pytest.mark.parametrize(
    "fold",
    [
        pytest.param(folds.scan(), marks=pytest.mark.slow),
        # Computes every step twice: random streams and counters must repeat themselves.
        folds.checkpointed(segments=2),
        pytest.param(folds.truncated(window=T), marks=pytest.mark.slow),
    ],
    ids=["scan", "checkpointed", "truncated"],
)
def test_every_fold_of_it_is_that_loop(fold: folds.Fold) -> None:
    held_against_loop("nnx-noisy", fold)


def test_solving_all_steps_at_once_refuses_counters() -> None:
    row, params, inputs = row_of("nnx-noisy")
    with pytest.raises(TypeError, match="int32"):
        rnnjax.unroll(row.cell, params, inputs, fold=folds.parallel())


def test_masks_and_resets_hold_for_the_carry_and_not_for_the_streams() -> None:
    row, params, inputs = row_of("nnx-noisy")
    mask = np.array([[1, 0], [0, 0], [1, 0]], bool)
    resets = np.array([[0, 0], [0, 0], [1, 0]], bool)
    final, outputs = rnnjax.unroll(row.cell, params, inputs, mask=mask, resets=resets)
    # What stands in the padding is not seen.
    again = rnnjax.unroll(
        row.cell, params, jnp.where(mask[..., None], inputs, np.nan), mask=mask, resets=resets
    )
    laws.assert_close((final, outputs), again)
    start = row.cell.start(params, (B,))
    # The loop over the module: streams and counters run on through the masked step.
    carry, variables, shown = start.carry, params, []
    for t in range(T):
        carry, y, variables = row.step(variables, t, start.carry if t == 2 else carry, inputs[t])
        shown.append(y)
    laws.assert_close(final.carry[0], carry[0])
    laws.assert_close(outputs[:, 0], jnp.where(mask[:, :1], jnp.stack(shown)[:, 0], 0.0))
    laws.assert_close(combine(final.params, params), variables)
    # Length zero gives the start.
    laws.assert_close((final.carry[1], final.y[1]), (start.carry[1], start.y[1]))
    assert not outputs[:, 1].any()


def as_data(tree: Tree) -> Tree:
    return jax.tree.map(laws.plain, tree)


def test_streaming_is_the_same_computation_and_leaves_the_module_alone() -> None:
    module = NNXNoisy(nnx.Rngs(0))
    kept = jax.tree.map(np.array, as_data(nnx.state(module)))
    cell = nnx_cell(lambda rngs: module, X)
    params, inputs = nnx.state(module), row_of("nnx-noisy")[2]
    final, outputs = rnnjax.unroll(cell, params, inputs)
    state = cell.start(params, (B,))
    for t in range(T):
        # Neither compiled nor traced: here nnx would write into what it is given.
        state = rnnjax.step(cell, params, state, inputs[t])
        laws.assert_close(cell.output(state), outputs[t])
    laws.assert_close(state, final)
    laws.assert_close(as_data(nnx.state(module)), kept)


def test_an_output_that_is_carried_is_kept_once_and_the_rest_beside_it() -> None:
    plain, _, _ = row_of("linen")
    noisy, _, _ = row_of("nnx-noisy")
    states = [
        jax.eval_shape(lambda row=row: row.cell.start(row.cell.init(KEY), (B,)))
        for row in (plain, noisy)
    ]
    assert jax.tree.leaves((states[0].y, states[0].params, states[0].clock)) == []
    # The counters of the step and of the dropout; the key and the scale stay what they are.
    assert [leaf.shape for leaf in jax.tree.leaves(states[1].params)] == [(), ()]
    assert states[1].y.shape == (B, H)


def test_fresh_weights_are_drawn_from_the_key() -> None:
    for name in QUICK:
        row, params, _ = row_of(name)
        one, other = (jax.jit(row.cell.init)(jax.random.key(n)) for n in (0, 1))
        laws.assert_close(one, params)
        pairs = zip(laws.floats(one), laws.floats(other), strict=True)
        assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("library", ["linen", "nnx"])
def test_a_random_carry_is_drawn_from_the_key_that_was_given(library: str) -> None:
    def make(key: jax.Array | None) -> Cell:
        draw = initializers.normal()
        if library == "linen":
            return linen_cell(
                linen.GRUCell(H, param_dtype=jnp.float64, carry_init=draw), X, carry_key=key
            )
        cell = partial(nnx.GRUCell, D, H, param_dtype=jnp.float64, carry_init=draw)
        return nnx_cell(lambda rngs: cell(rngs=rngs), X, carry_key=key)

    with pytest.warns(match="carry_init") if library == "nnx" else contextlib.nullcontext():
        one, other = make(None), make(jax.random.key(7))
        params = one.init(KEY)
    first, again, third = (c.start(params, (B,)).carry for c in (one, one, other))
    laws.assert_close(first, again)
    assert (first != 0).all() and (first != third).all()


def test_reports_adjoints_and_training_work_on_it() -> None:
    row, params, inputs = row_of("nnx-noisy")
    report = jax.jit(partial(rnnjax.gradient_report, row.cell))(params, inputs)
    assert np.isfinite(report.log_norms).all()

    def loss(params: Tree, batch: jax.Array, unroll: Any = rnnjax.unroll) -> jax.Array:
        return jnp.mean((unroll(row.cell, params, batch)[1] - 0.3) ** 2)

    seen = jax.jit(lambda *args: rnnjax.adjoints(loss, *args)._replace(names=()))(params, inputs)
    assert seen.adjoints[0].carry.shape == (T, B, H)

    fitted = training.fit(
        loss, params, lambda key: inputs, optax.sgd(0.5), steps=40, key=KEY, quiet=True
    )
    laws.assert_close(seen.value, fitted.losses[0])
    assert fitted.losses[-1] < 0.8 * fitted.losses[0]
    # What is no nnx.Param has not been trained.
    kept = [nnx.split_state(p, nnx.Param, ...)[1] for p in (fitted.params, params)]
    laws.assert_close(*kept)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(TypeError, match=r"expected a cell of flax.nnx"):
        nnx_cell(lambda rngs: nnx.Linear(D, H, rngs=rngs), X)
    with pytest.raises(TypeError, match=r"expected a cell of flax.linen"):
        linen_cell(nnx.GRUCell(D, H, rngs=nnx.Rngs(0)), X)
    for make in (
        lambda: linen_cell(linen.RNNCellBase(), X),
        lambda: nnx_cell(lambda rngs: nnx.RNNCellBase(), X),
    ):
        with pytest.raises(TypeError, match="initialize_carry: expected one of RNNCellBase"):
            make()
    # Weights in float32, inputs in float64: the carry would change its dtype.
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(TypeError, match=r"carry: expected a step to keep float32.*example"),
    ):
        linen_cell(linen.GRUCell(H), X)
    for of in (linen.GRUCell, linen.Dense):
        with pytest.raises(TypeError, match=r"module: expected .* `nn\.LSTMCell\(features="):
            linen_cell(of, X)
    with pytest.raises(TypeError, match=r"make: expected a cell of flax.nnx, .* `nnx\.LSTMCell\("):
        nnx_cell(lambda rngs: nnx.GRUCell, X)
    row, params, inputs = row_of("linen-noisy")
    with pytest.raises(TypeError, match=r"params: expected every variable.*statistics"):
        rnnjax.unroll(row.cell, {"params": params["params"]}, inputs)

    class Growing(NNXNoisy):
        def __call__(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            self.last = nnx.Variable(x)
            return super().__call__(carry, x)

    with pytest.raises(TypeError, match=r"variables: expected a step to keep"):
        nnx_cell(Growing, X)


def test_a_carry_in_place_of_the_state_is_told_where_it_goes() -> None:
    row, params, inputs = row_of("linen")
    state = row.cell.start(params, (B,))
    for call in (
        lambda: rnnjax.unroll(row.cell, params, inputs, state.carry),
        lambda: rnnjax.step(row.cell, params, state.carry, inputs[0]),
    ):
        with pytest.raises(TypeError, match="state: expected ForeignState") as caught:
            call()
        assert "`cell.start(params, (2,))._replace(carry=state)`" in str(caught.value)
        assert "torch" not in str(caught.value)
    with pytest.raises(TypeError, match="got None; begin with"):
        rnnjax.step(row.cell, params, None, inputs[0])


@pytest.mark.parametrize("name", ["linen-noisy", "nnx-noisy", "haiku"])
def test_inputs_that_are_not_like_the_example_are_named(name: str) -> None:
    row, params, inputs = row_of(name)
    wide = jnp.concatenate([inputs, inputs], axis=-1)
    state = row.cell.start(params, (B,))
    for call in (
        lambda: rnnjax.unroll(row.cell, params, wide),
        lambda: rnnjax.step(row.cell, params, state, wide[0]),
    ):
        with pytest.raises(ValueError, match=r"inputs: expected .* float64\[2\], .*\[2,4\]; make"):
            call()
