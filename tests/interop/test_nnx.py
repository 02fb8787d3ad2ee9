"""`rnnjax.interop.nnx` beside `flax.nnx`, and where it is right and Flax is not."""

import inspect
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax import cells, folds, layers
from rnnjax.interop import nnx as rnn

B, T, D, H = 3, 5, 2, 4
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
LENGTHS = np.array([5, 2, 3])


class Mine(nnx.Module):
    """A cell of a user's, which shows another thing than it carries."""

    num_feature_axes = 1

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(inputs + hidden, hidden, rngs=rngs)
        self.hidden = hidden

    def __call__(self, carry: Any, x: Any) -> Any:
        carry = jnp.tanh(self.dense(jnp.concatenate([x, carry], axis=-1)))
        return carry, carry**2

    def initialize_carry(self, shape: Any, rngs: Any) -> Any:
        return jnp.zeros((*shape[:-1], self.hidden), jnp.float32)


CELLS = [
    nnx.LSTMCell,
    nnx.GRUCell,
    Mine,
    pytest.param(nnx.OptimizedLSTMCell, marks=pytest.mark.slow),
    pytest.param(nnx.SimpleCell, marks=pytest.mark.slow),
]


def drawn(make: Any, **options: Any) -> Any:
    """With biases that are not zero, which would hide a bias in the wrong place."""
    module = make(D, H, rngs=nnx.Rngs(1), **options)
    noise = np.random.default_rng(2)
    state = nnx.state(module, nnx.Param)
    nnx.update(
        module, jax.tree.map(lambda p: p + 0.1 * noise.normal(size=p.shape).astype(p.dtype), state)
    )
    return module


def both(cell: Any, **options: Any) -> list[Any]:
    return [module.RNN(cell, **options) for module in (nnx, rnn)]


def run(module: Any, x: Any, lengths: Any) -> Any:
    """Carry, outputs within the lengths, and the gradient of both to the parameters."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params: Any) -> Any:
        carry, outputs = nnx.merge(graph, params, rest)(
            x, seq_lengths=lengths, return_carry=True, rngs=nnx.Rngs(0)
        )
        if lengths is not None:
            valid = np.arange(T) < np.asarray(lengths)[:, None]
            outputs = jnp.where(valid[..., None], outputs, jnp.zeros_like(outputs))
        found = (carry, outputs)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(found)), found

    (_, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return found, jax.tree.leaves(gradient)


@pytest.mark.parametrize("make", CELLS)
def test_as_flax(make: Any) -> None:
    """From back to front, within lengths: carry, outputs and gradients."""
    theirs, ours = (run(module, X, LENGTHS) for module in both(drawn(make), reverse=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), theirs, ours)
    assert jax.tree.structure(theirs) == jax.tree.structure(ours)


@pytest.mark.parametrize(
    "options", [{}, {"reverse": True, "keep_order": True}, {"reverse": True, "time_major": True}]
)
def test_orders_and_layouts_as_flax(options: Any) -> None:
    x = X.swapaxes(0, 1) if "time_major" in options else X
    theirs, ours = (module(x) for module in both(drawn(nnx.GRUCell), **options))
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_a_known_cell_is_not_called_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """This library's own runs in its place, where it gives the same numbers."""

    def called(*_: Any) -> None:
        raise RuntimeError("called")

    x = jnp.zeros((B, T, D), jnp.float32)
    for make in (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell):
        monkeypatch.setattr(make, "__call__", called)
        assert jax.eval_shape(rnn.RNN(make(D, H, rngs=nnx.Rngs(0))), x).shape == (B, T, H)
        zeros = nnx.initializers.zeros  # Flax draws no orthogonal matrix in bfloat16
        half = {"param_dtype": jnp.bfloat16, "recurrent_kernel_init": zeros}
        for other in (half, {"dtype": jnp.bfloat16}, {"activation_fn": nnx.relu}):
            with pytest.raises(RuntimeError, match="called"):
                rnn.RNN(make(D, H, rngs=nnx.Rngs(0), **other))(x)
    residual = rnn.RNN(nnx.SimpleCell(D, H, rngs=nnx.Rngs(0), residual=True))
    with pytest.raises(RuntimeError, match="called"):
        residual(x)


def test_what_was_saved_of_flax_fits() -> None:
    cell = drawn(nnx.LSTMCell)
    theirs, ours = (
        nnx.to_pure_dict(nnx.state(m.Bidirectional(m.RNN(cell), m.RNN(drawn(nnx.GRUCell)))))
        for m in (nnx, rnn)
    )
    assert jax.tree.structure(theirs) == jax.tree.structure(ours)


def test_length_zero_gives_the_initial_carry() -> None:
    start = jnp.full((B, H), 0.5, jnp.float32)
    module = rnn.RNN(drawn(nnx.GRUCell), return_carry=True)
    carry, outputs = module(X, initial_carry=start, seq_lengths=jnp.array([0, 5, 1]))
    np.testing.assert_array_equal(carry[0], start[0])
    np.testing.assert_array_equal(outputs[0], 0)
    assert (carry[1:] != start[1:]).all()


@pytest.mark.parametrize("make", [nnx.GRUCell, Mine])
def test_padding_gives_zeros_and_takes_no_gradient(make: Any) -> None:
    module = rnn.RNN(drawn(make), reverse=True)
    padding = np.arange(T) >= LENGTHS[:, None]
    x = np.where(padding[..., None], np.nan, X)
    outputs, pull = jax.vjp(lambda x: module(x, seq_lengths=LENGTHS), x)
    (gradient,) = pull(jnp.ones_like(outputs))
    for found in (outputs, gradient):
        np.testing.assert_array_equal(found[padding], 0)
        assert np.isfinite(found).all() and (found[~padding] != 0).any(-1).all()


def test_nothing_is_mutated_inside_jit() -> None:
    """A module that a compiled function closes over may not be changed there."""
    theirs, ours = both(drawn(nnx.GRUCell))
    before = jax.tree.leaves(nnx.state(ours, nnx.RngCount))
    assert jax.jit(lambda x: ours(x))(X).shape == (B, T, H)
    assert jax.tree.leaves(nnx.state(ours, nnx.RngCount)) == before
    with pytest.raises(flax.errors.TraceContextError):
        jax.jit(lambda x: theirs(x))(X)


def test_a_random_carry() -> None:
    """The same at every call, unless the call is given a stream."""
    with pytest.warns(UserWarning, match="carry_init"):
        module = rnn.RNN(drawn(nnx.GRUCell, carry_init=nnx.initializers.normal()))
    nothing = jnp.zeros(B, int)
    streams = nnx.Rngs(3)
    draws = [
        module(X, seq_lengths=nothing, return_carry=True, rngs=rngs)[0]
        for rngs in (None, None, streams, streams)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[1] != draws[2]).all() and (draws[2] != draws[3]).all()


class Given(nnx.Module):
    """A cell of a user's that is always given its carry."""

    num_feature_axes = 1

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(D, H, rngs=rngs)

    def __call__(self, carry: Any, x: Any) -> Any:
        h, steps = carry
        h = jnp.tanh(self.dense(x) + h)
        return (h, steps + 1), h


class Based(Given, nnx.RNNCellBase):
    """So with the `initialize_carry` of Flax's base class."""


class Inherited(Given, Mine):
    """So with that of a cell that carries less."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        Mine.__init__(self, D, H, rngs)
        Given.__init__(self, rngs)


@pytest.mark.parametrize("make", [Given, Based, Inherited])
def test_a_given_carry_needs_no_other(make: Any) -> None:
    cell = make(nnx.Rngs(0))
    h = jnp.full((B, H), 0.5, jnp.float32)
    for carry in [(h, jnp.zeros((), jnp.int32)), (h, jnp.zeros((B, 1), jnp.int32))]:
        theirs, ours = (m(X, initial_carry=carry) for m in both(cell, return_carry=True))
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), theirs, ours)
    with pytest.raises(TypeError, match=r"initial_carry: expected .*, got .float32\[1,4\]"):
        rnn.RNN(cell)(X, initial_carry=(h[:1], 0))


# Cells and layers of this library ---------------------------------------------------


def test_a_cell_of_ours() -> None:
    cell = cells.lstm(D, H)
    module = rnn.RNN(cell, rngs=nnx.Rngs(0), fold=folds.scan(), return_carry=True)
    params = jax.tree.map(
        lambda p: p[...], module.params, is_leaf=lambda p: isinstance(p, nnx.Param)
    )
    mask, resets = np.random.default_rng(1).random((2, B, T)) < 0.7
    carry, outputs = module(X, mask=mask, resets=resets, seq_lengths=LENGTHS)
    valid = mask & (np.arange(T) < LENGTHS[:, None])
    expected = rnnjax.unroll(cell, params, X.swapaxes(0, 1), mask=valid.T, resets=resets.T)
    jax.tree.map(np.testing.assert_array_equal, carry, expected[0])
    np.testing.assert_allclose(outputs, expected[1].swapaxes(0, 1), atol=1e-6)
    again = rnn.RNN(cell, params=params)(X, initial_carry=carry)
    assert again.shape == (B, T, H)


def test_a_layer_trains_in_place_of_a_cell() -> None:
    one, two = layers.recurrent(cells.gru(D, H)), layers.recurrent(cells.gru(2 * H, H))
    layer = layers.stack(layers.bidirectional(one, one), two, dropout=0.5)
    module = rnn.RNN(layer, rngs=nnx.Rngs(0))

    @nnx.jit
    def step(module: Any, rngs: nnx.Rngs) -> Any:
        return nnx.value_and_grad(lambda m, r: jnp.sum(m(X, rngs=r) ** 2))(module, rngs)

    rngs = nnx.Rngs(1)
    (first, gradient), (second, _) = step(module, rngs), step(module, rngs)
    assert first != second, "dropout draws anew"
    assert all((g != 0).any() for g in jax.tree.leaves(gradient))
    np.testing.assert_array_equal(module(X), module(X))
    with pytest.raises(TypeError, match=r"rngs: expected a stream to draw dropout with.*'params'"):
        module(X, rngs=nnx.Rngs(params=0))
    assert (module(X, rngs=nnx.Rngs(dropout=jax.random.key(2))) != module(X)).any()


# Bidirectional ----------------------------------------------------------------------


def test_bidirectional_as_flax() -> None:
    parts = drawn(nnx.GRUCell), drawn(nnx.LSTMCell)
    theirs, ours = (
        m.Bidirectional(*map(m.RNN, parts), merge_fn=jnp.add, return_carry=True)(
            X, seq_lengths=jnp.array(LENGTHS), rngs=nnx.Rngs(0)
        )
        for m in (nnx, rnn)
    )
    valid = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_allclose(theirs[1][valid], ours[1][valid], atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), theirs[0], ours[0])


def test_bidirectional_blanks_what_merge_makes_of_padding() -> None:
    merged = rnn.Bidirectional(
        rnn.RNN(drawn(nnx.GRUCell)),
        rnn.RNN(drawn(nnx.GRUCell)),
        merge_fn=lambda a, b: jnp.exp(a + b),
    )
    outputs = merged(X, seq_lengths=LENGTHS, mask=np.ones((B, T), bool).tolist())
    np.testing.assert_array_equal(outputs[np.arange(T) >= LENGTHS[:, None]], 0)
    assert (outputs[np.arange(T) < LENGTHS[:, None]] > 0).all()


# Random streams of a cell -----------------------------------------------------------


class Dropped(Mine):
    """Shows its mask: 0 or 2."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(D, H, rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, carry: Any, x: Any) -> Any:
        return carry, self.drop(jnp.ones_like(carry))


@pytest.mark.parametrize("same", [False, True])
def test_dropout_at_every_step_or_once_a_sequence(same: bool) -> None:
    module = rnn.RNN(Dropped(nnx.Rngs(0, dropout=1)), broadcast_rngs="dropout" if same else None)
    theirs = nnx.RNN(Dropped(nnx.Rngs(0, dropout=1)), broadcast_rngs=module.broadcast_rngs)
    call = nnx.jit(lambda module, x: module(x))
    np.testing.assert_array_equal(call(module, X), call(theirs, X))
    first, second = call(module, X), call(module, X)
    assert (first == first[:, :1]).all() == same
    assert (first != second).any()
    assert module.cell.drop.rngs.count[...] == (3 if same else 3 * T)


# Bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ({"seq_lengths": [1, 2, 6]}, ValueError, "seq_lengths: expected values from 0 to T = 5"),
        ({"seq_lengths": [1, -2, 5]}, ValueError, "seq_lengths: expected values from 0 to T = 5"),
        ({"seq_lengths": [1.0, 2, 3]}, TypeError, "seq_lengths: expected integers"),
        ({"seq_lengths": [1, 2]}, ValueError, r"seq_lengths: expected one for each .* \(3,\)"),
        ({"seq_lengths": np.array([2**40, 1, 1])}, ValueError, "got 1 to 1099511627776"),
        ({"reverse": "no"}, TypeError, "reverse: expected True or False, got 'no'"),
        ({"time_major": 0}, TypeError, "time_major: expected True or False, got 0"),
        ({"return_carry": "no"}, TypeError, "return_carry: expected True or False"),
        ({"keep_order": "no"}, TypeError, "keep_order: expected True or False"),
        ({"mask": np.ones((T, B), bool)}, ValueError, r"mask: expected .* \(3, 5\), got \(5, 3\)"),
        ({"resets": np.ones((B, T))}, TypeError, "resets: expected booleans"),
        ({"initial_carry": np.zeros((B, H))}, TypeError, "initial_carry: expected float32"),
        ({"initial_carry": (0.0, 0.0)}, TypeError, "initial_carry: expected"),
    ],
)  # fmt: skip
def test_bad_calls(call: Any, kind: type[Exception], message: str) -> None:
    for cell in (nnx.GRUCell(D, H, rngs=nnx.Rngs(0)), cells.gru(D, H), Mine(D, H, nnx.Rngs(0))):
        module = rnn.RNN(cell, rngs=nnx.Rngs(0))
        with pytest.raises(kind, match=message):
            module(X, **call)


def test_bad_modules_and_inputs() -> None:
    good = nnx.GRUCell(D, H, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"cell: expected a cell of flax.nnx.*got Linear"):
        rnn.RNN(nnx.Linear(D, H, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"cell: expected .*; pass an instance, as GRUCell\("):
        rnn.RNN(nnx.GRUCell)
    with pytest.raises(TypeError, match=r"rngs: expected nnx\.Rngs .* got none; .*`params=`"):
        rnn.RNN(cells.gru(D, H))
    with pytest.raises(TypeError, match=r"rngs: expected nnx\.Rngs or a stream .* got 0; pass"):
        rnn.RNN(cells.gru(D, H), rngs=0)
    with pytest.raises(TypeError, match=r"cell: expected .* `num_feature_axes`"):
        rnn.RNN(nnx.RNNCellBase())
    for cell in (Given(nnx.Rngs(0)), Based(nnx.Rngs(0))):
        with pytest.raises(TypeError, match=r"initialize_carry: expected one of .*`initial_carry`"):
            rnn.RNN(cell)(X)
    with pytest.raises(ValueError, match="params: expected None for a Flax cell"):
        rnn.RNN(good, params={})
    with pytest.raises(ValueError, match=r"state_axes: expected None or nnx\.Carry"):
        rnn.RNN(good, state_axes={nnx.BatchStat: 0})
    with pytest.raises(ValueError, match="fold: expected None for a Layer"):
        rnn.RNN(layers.recurrent(cells.gru(D, H)), rngs=nnx.Rngs(0), fold=folds.scan())(X)
    with pytest.raises(
        ValueError, match=r"inputs: expected axes of time and batch .* feature_axes=1"
    ):
        rnn.RNN(good)(X[0, 0])
    pair = rnn.Bidirectional(rnn.RNN(good), rnn.RNN(good))
    with pytest.raises(TypeError, match="initial_carry: expected a pair"):
        pair(X, initial_carry=jnp.zeros((B, H)))
    with pytest.raises(ValueError, match="reverse: expected nothing"):
        pair(X, reverse=True)
    for flag in ("reverse", "time_major", "return_carry"):
        with pytest.raises(TypeError, match=f"{flag}: expected True or False, got 'no'"):
            pair(X, **{flag: "no"})
    with pytest.raises(TypeError, match="keep_order: expected True or False, got 'no'"):
        rnn.RNN(good, keep_order="no")(X)


def test_a_cell_over_tokens_takes_a_carry() -> None:
    """Inputs without feature axes have batch axes to the last."""
    cell = rnnjax.from_step(
        lambda params, state, x: state + params[x],
        init=lambda key: jnp.eye(3),
        start=lambda params, batch: jnp.zeros((*batch, 3)),
        feature_axes=0,
    )
    tokens, start = np.arange(10).reshape(2, 5) % 3, np.full((2, 3), 0.5)
    carry, _ = rnn.RNN(cell, rngs=nnx.Rngs(0), return_carry=True)(tokens, initial_carry=start)
    np.testing.assert_array_equal(carry, start + np.eye(3)[tokens].sum(1))


def test_the_constructors_show_their_arguments() -> None:
    """Which Flax's metaclass hides. A subclass shows its own, a module those of its call."""

    class Tall(rnn.RNN):
        def __init__(self, height: int) -> None:
            super().__init__(cells.gru(D, height), rngs=nnx.Rngs(0))

    def named(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert named(rnn.RNN)[:2] == ["cell", "time_major"]
    assert named(rnn.Bidirectional)[:2] == ["forward_rnn", "backward_rnn"]
    assert named(Tall) == ["height"]
    assert named(Tall(H))[:2] == ["inputs", "initial_carry"]


@pytest.mark.slow
def test_a_cell_says_where_the_batch_ends() -> None:
    """As many members as columns: Flax's batch axes and time come before the features."""
    cell = rnnjax.from_step(
        lambda params, state, x: jnp.tanh(state + x @ params),
        init=lambda key: jnp.ones((2, 3)),
        start=lambda params, batch: jnp.zeros((*batch, 5, 3)),
        feature_axes=2,
    )
    x = np.random.default_rng(0).normal(size=(5, 4, 5, 2))
    outputs = rnn.RNN(layers.recurrent(cell), rngs=nnx.Rngs(0))(x, seq_lengths=np.full(5, 4))
    want = rnnjax.unroll(cell, jnp.ones((2, 3)), jnp.swapaxes(x, 0, 1))[1]
    np.testing.assert_allclose(outputs, jnp.swapaxes(want, 0, 1), atol=1e-12)
