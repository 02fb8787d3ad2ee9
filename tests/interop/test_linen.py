"""`rnnjax.interop.linen` beside `flax.linen`, and where it is right and Flax is not."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import serialization, traverse_util

import rnnjax
from rnnjax import cells, folds, layers
from rnnjax.interop import linen as rnn
from rnnjax.interop.names import from_names

B, T, D, H = 3, 5, 2, 4
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
LENGTHS = np.array([5, 2, 3])
KEY = jax.random.key(0)


class Counting(nn.RNNCellBase):
    """A cell of a user's, with dropout and a counter; it shows another thing than it carries."""

    features: int = H
    rate: float = 0.0

    @nn.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        seen = self.variable("seen", "steps", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("seen"):
            seen.value += 1
        carry = nn.tanh(nn.Dense(self.features)(x) + carry)
        return carry, nn.Dropout(self.rate, deterministic=self.rate == 0)(carry**2)

    @nn.nowrap
    def initialize_carry(self, rng: Any, input_shape: Any) -> Any:
        return jnp.full((*input_shape[:-1], self.features), 0.1, jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        return 1


def moved(tree: Any) -> Any:
    """With biases that are not zero, which would hide a bias in the wrong place."""
    noise = np.random.default_rng(2)
    return jax.tree.map(lambda p: p + 0.1 * noise.normal(size=p.shape).astype(p.dtype), tree)


@pytest.mark.parametrize(
    "make",
    [
        nn.LSTMCell,
        nn.GRUCell,
        nn.MGUCell,
        pytest.param(nn.OptimizedLSTMCell, marks=pytest.mark.slow),
        pytest.param(nn.SimpleCell, marks=pytest.mark.slow),
    ],
)
def test_as_flax(make: Any) -> None:
    """From back to front within lengths: carry, outputs, gradients."""
    theirs, ours = (module.RNN(make(H), reverse=True) for module in (nn, rnn))
    params = moved(jax.jit(theirs.init)(KEY, X))

    def loss(params: Any, module: Any) -> Any:
        carry, outputs = module.apply(params, X, seq_lengths=LENGTHS, return_carry=True)
        valid = np.arange(T) < LENGTHS[:, None]
        outputs = jnp.where(valid[..., None], outputs, jnp.zeros_like(outputs))
        return jnp.sum(jnp.sin(outputs)), (carry, outputs)

    found = [
        jax.jit(jax.value_and_grad(partial(loss, module=m), has_aux=True))(params)
        for m in (theirs, ours)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)


def test_a_known_cell_is_not_called_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """This library's own runs in its place."""
    cells = [nn.LSTMCell, nn.OptimizedLSTMCell, nn.GRUCell, nn.SimpleCell]
    modules = [rnn.RNN(cell(H)) for cell in cells]
    shapes = [jax.eval_shape(m.init, KEY, X) for m in modules]
    for cell in cells:
        monkeypatch.setattr(cell, "__call__", None)
    for module, shape in zip(modules, shapes, strict=True):
        assert jax.eval_shape(module.apply, shape, X).shape == (B, T, H)


class Network(nn.Module):
    """RNNs in every place where linen lets a module stand."""

    module: Any

    def setup(self) -> None:
        self.first = self.module.RNN(nn.GRUCell(H), time_major=True)
        self.both = self.module.Bidirectional(
            self.module.RNN(nn.GRUCell(H)), self.module.RNN(nn.LSTMCell(H)), time_major=True
        )
        self.last = Last(self.module)

    def __call__(self, x: Any) -> Any:
        return self.last(self.both(self.first(x)))


class Last(nn.Module):
    module: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.remat(self.module.RNN)(nn.SimpleCell(H), time_major=True)(x)


@pytest.mark.slow
def test_scopes_and_lifted_transforms_as_flax() -> None:
    """What was saved of Flax's modules loads; the same under `nn.vmap` and `nn.remat`."""
    x = np.stack([X, -X]).swapaxes(1, 2)
    found = []
    for module in (nn, rnn):
        many = nn.vmap(Network, variable_axes={"params": 0}, split_rngs={"params": True})(module)
        params = jax.jit(many.init)(KEY, x)
        found.append((serialization.to_state_dict(params), jax.jit(many.apply)(params, x)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)


@pytest.mark.slow
def test_length_zero_and_padding() -> None:
    """The initial carry, and zeros without a gradient whatever stands there."""
    padding = np.arange(T) >= np.array([0, 5, 2])[:, None]
    x = np.where(padding[..., None], np.nan, X)
    for cell in (nn.GRUCell(H), Counting()):
        module = rnn.RNN(cell, return_carry=True)
        variables = jax.jit(module.init)(KEY, X)
        start = jnp.full((B, H), 0.5, jnp.float32)

        def run(
            x: Any, module: Any = module, variables: Any = variables, start: Any = start
        ) -> Any:
            return module.apply(variables, x, initial_carry=start, seq_lengths=jnp.array([0, 5, 2]))

        (carry, outputs), pull = jax.vjp(run, x)
        (gradient,) = pull((carry, outputs))
        np.testing.assert_array_equal(carry[0], 0.5)
        for each in (outputs, gradient):
            np.testing.assert_array_equal(each[padding], 0)
            assert np.isfinite(each).all() and (each[~padding] != 0).any(-1).all()


def test_random_streams_and_collections() -> None:
    """New numbers at every step unless told otherwise; what is mutable is carried on."""
    ones = jnp.ones((B, T, D), jnp.float32)
    module = rnn.RNN(Counting(rate=0.5))
    variables = module.init(KEY, ones)
    rngs = {"dropout": jax.random.key(1)}
    first, changed = module.apply(variables, ones, rngs=rngs, mutable=["seen"])
    assert changed["seen"]["cell"]["steps"] == variables["seen"]["cell"]["steps"] + T
    again = module.apply(variables, ones, rngs=rngs)
    np.testing.assert_array_equal(first, again)
    kept = np.asarray(first != 0)
    assert (kept != kept[:, :1]).any()
    held = rnn.RNN(Counting(rate=0.5), split_rngs={"params": False, "dropout": False})
    kept = np.asarray(held.apply(variables, ones, rngs=rngs) != 0)
    assert (kept == kept[:, :1]).all() and kept.any() and not kept.all()


class Speaking(nn.RNNCellBase):
    """A decoder as in Flax's seq2seq example: draws a word at each step, and may read it.

    It has no `initialize_carry`: it begins at what an encoder carries, and a first word.
    """

    words: int
    told: bool

    @nn.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        memory, said = carry
        memory, y = nn.LSTMCell(H)(memory, x if self.told else said)
        scores = nn.Dense(self.words, use_bias=False)(y)
        if not self.told:
            scores *= 1e4  # One word is all but certain.
        drawn = jax.random.categorical(self.make_rng("words"), scores)
        said = jax.nn.one_hot(drawn, self.words, dtype=jnp.float32)
        return (memory, said), (scores, said)

    @property
    def num_feature_axes(self) -> int:
        return 1


class Translator(nn.Module):
    """An encoder, and a decoder that begins at its carry at the end of each sequence."""

    module: Any
    told: bool

    @nn.compact
    def __call__(self, heard: Any, said: Any) -> Any:
        encoder = self.module.RNN(nn.LSTMCell(H), return_carry=True)
        decoder = self.module.RNN(
            Speaking(said.shape[-1], self.told), split_rngs={"params": False, "words": True}
        )
        carry, _ = encoder(heard, seq_lengths=LENGTHS)
        return decoder(said[:, :-1], initial_carry=(carry, said[:, 0]))


SAID = jax.nn.one_hot(np.arange(B * T).reshape(B, T) % 6, 6, dtype=jnp.float32)
STREAMS = {"params": KEY, "words": jax.random.key(1)}


def translators(told: bool) -> Any:
    """With Flax's RNN and with ours, and parameters of both."""
    models = [Translator(module, told) for module in (nn, rnn)]
    shapes, same = (jax.eval_shape(model.init, STREAMS, X, SAID) for model in models)
    assert shapes == same
    noise = np.random.default_rng(3)
    return models, jax.tree.map(lambda p: noise.normal(size=p.shape).astype(p.dtype), shapes)


@pytest.mark.parametrize("told", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_seq2seq_as_flax(told: bool) -> None:
    """A cell without `initialize_carry`, begun at a given carry."""
    models, params = translators(told)
    theirs, ours = (jax.jit(model.apply)(params, X, SAID, rngs=STREAMS) for model in models)
    np.testing.assert_allclose(theirs[0], ours[0], rtol=1e-5, atol=1e-5)
    # Random numbers are others than Flax's; of words that are all but certain, they draw the same.
    assert told or (theirs[1] == ours[1]).all()
    assert (ours[1] != ours[1][:, :1]).any()


@pytest.mark.slow
def test_seq2seq_trains_as_flax() -> None:
    models, params = translators(told=True)

    def loss(params: Any, model: Any) -> Any:
        return jnp.sum(jnp.sin(model.apply(params, X, SAID, rngs=STREAMS)[0]))

    theirs, ours = (jax.grad(loss)(params, model) for model in models)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), theirs, ours)


class Inherited(nn.GRUCell):
    """Carries more than the `initialize_carry` that it inherits tells."""

    @nn.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        h, steps = carry
        h = nn.tanh(nn.Dense(self.features)(x) + h)
        return (h, steps + 1), h


class Bare(nn.RNNCellBase):
    """A cell with nothing that Flax's base class leaves open."""


def test_a_given_carry_needs_no_other() -> None:
    h = jnp.full((B, H), 0.5, jnp.float32)
    for carry in [(h, jnp.zeros((), jnp.int32)), (h, jnp.zeros((B, 1), jnp.int32))]:
        theirs, ours = (
            module.RNN(Inherited(H), return_carry=True).init_with_output(
                KEY, X, initial_carry=carry
            )
            for module in (nn, rnn)
        )
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), theirs, ours)


def test_what_a_cell_lacks_is_named() -> None:
    h = jnp.zeros((B, H), jnp.float32)
    decoder, resets = rnn.RNN(Speaking(6, told=True)), np.zeros((B, T), bool)
    carry = ((h, h), SAID[:, 0])
    for module, call, message in [
        (rnn.RNN(Bare()), {}, "cell: expected .* `num_feature_axes`.*got Bare"),
        (decoder, {}, "initialize_carry: expected one of Speaking.*`initial_carry`"),
        (decoder, {"initial_carry": carry, "resets": resets}, "initialize_carry: .* no resets"),
        (
            decoder,
            {"initial_carry": ((h, h), SAID[:1, 0])},
            r"initial_carry: expected .* got .*1,6",
        ),
        (rnn.RNN(Inherited(H)), {"initial_carry": (h, h), "resets": resets}, "initial_carry: "),
    ]:
        with pytest.raises(TypeError, match=message):
            module.init(STREAMS, X, **call)


def test_a_mask_by_names_sees_every_leaf() -> None:
    """As with Flax's own cell: weights decay, biases do not."""
    module = rnn.RNN(
        layers.stack(layers.recurrent(cells.gru(D, H)), layers.recurrent(cells.lstm(H, H)))
    )
    params = jax.tree.map(jnp.ones_like, module.init(KEY, X)["params"])
    mask = traverse_util.path_aware_map(lambda path, _: path[-1].startswith("W"), params)
    decay = optax.masked(optax.add_decayed_weights(0.5), mask)
    updates, _ = decay.update(jax.tree.map(jnp.zeros_like, params), decay.init(params), params)
    for path, update in traverse_util.flatten_dict(updates).items():
        assert (np.asarray(update) == (0.5 if path[-1].startswith("W") else 0.0)).all()


def test_a_cell_and_a_layer_of_ours() -> None:
    cell = cells.lstm(D, H)
    module = rnn.RNN(cell, return_carry=True, fold=folds.scan())
    (carry, outputs), variables = module.init_with_output(KEY, X)
    mask, resets = np.random.default_rng(1).random((2, B, T)) < 0.7
    carry, outputs = module.apply(variables, X, mask=mask, resets=resets, initial_carry=carry)
    expected = rnnjax.unroll(
        cell, from_names(cell.init, variables["params"]["cell"]), X.swapaxes(0, 1),
        module.apply(variables, X)[0],
        mask=mask.T, resets=resets.T,
    )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, carry, expected[0])
    np.testing.assert_allclose(outputs, expected[1].swapaxes(0, 1), atol=1e-6)

    layer = layers.dropout(layers.recurrent(cells.gru(D, H)), 0.5)
    module = rnn.RNN(layer)
    variables = module.init(KEY, X)
    assert (module.apply(variables, X, rngs={"dropout": KEY}) == 0).any()
    assert (module.apply(variables, X) != 0).all()


def test_bad_input() -> None:
    good = rnn.RNN(nn.GRUCell(H))
    variables = good.init(KEY, X)
    for call, kind, message in [
        (
            {"seq_lengths": np.array([0, 6, 1])},
            ValueError,
            "seq_lengths: expected values from 0 to T",
        ),
        ({"seq_lengths": np.array([[1]])}, ValueError, "seq_lengths: expected one for each"),
        ({"reverse": "no"}, TypeError, "reverse: expected True or False, got 'no'"),
        ({"initial_carry": np.zeros((B, H + 1))}, TypeError, "initial_carry: expected float32"),
    ]:
        with pytest.raises(kind, match=message):
            good.apply(variables, X, **call)
    for module, kind, message in [
        (rnn.RNN(nn.Dense(H)), TypeError, "cell: expected a cell of flax.linen.*got Dense"),
        (rnn.RNN(nn.GRUCell(H), variable_axes={"seen": 0}), ValueError, "variable_axes: expected"),
        (rnn.RNN(layers.recurrent(cells.gru(D, H)), fold=folds.scan()), ValueError, "fold: expect"),
    ]:
        with pytest.raises(kind, match=message):
            module.init(KEY, X)
    with pytest.raises(
        ValueError, match=r"inputs: expected axes of time and batch .* feature_axes=1"
    ):
        good.init(KEY, X[0, 0])
    pair = rnn.Bidirectional(good, good)
    with pytest.raises(TypeError, match="initial_carry: expected a pair"):
        pair.init(KEY, X, initial_carry=jnp.zeros((B, H)))


def test_a_cell_that_says_its_axes_by_name() -> None:
    """Linen freezes the dictionary in the cell, and the inputs are one that it did not."""
    cell = rnnjax.from_step(
        lambda params, state, x: state * jnp.exp(-x["dt"][..., None]) + x["x"],
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, 2)),
        feature_axes={"dt": 0, "x": 1},
    )
    x = {"dt": np.ones((3, 4)), "x": np.ones((3, 4, 2))}
    module, start = rnn.RNN(cell), np.full((3, 2), 0.5)
    outputs, _ = module.init_with_output(jax.random.key(0), x, initial_carry=start)
    want = rnnjax.unroll(cell, (), jax.tree.map(lambda leaf: np.swapaxes(leaf, 0, 1), x), start)[1]
    np.testing.assert_array_equal(outputs, jnp.swapaxes(want, 0, 1))


def test_both_directions_draw_their_carry_from_the_key() -> None:
    """Each from a part of its own, as `RNN` does from the whole."""
    cells_of = [nn.SimpleCell(2, carry_init=nn.initializers.normal()) for _ in range(2)]
    both = rnn.Bidirectional(*(rnn.RNN(cell) for cell in cells_of))
    x = np.zeros((1, 2, 3), np.float32)
    variables = both.init(jax.random.key(0), x)
    one, other = (both.apply(variables, x, init_key=jax.random.key(n)) for n in (1, 2))
    assert (np.asarray(one) != np.asarray(other)).all()
