"""Layers: every nesting is the composition of its recurrences, and keeps their algebra."""

import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import cells, folds, layers, training
from rnnjax.layers import Directions, Layer, bidirectional, recurrent, residual, stack

D, T = 3, 7
F64 = jnp.float64
LSTM = cells.lstm(D, 5, projection_size=4, dtype=F64)
GRU = cells.gru(D, 4, dtype=F64)
TANH = cells.elman(4, 4, dtype=F64)
BEFORE = cells.gru(8, 4, reset_after=False, dtype=F64)

UPWARD = residual(
    stack(recurrent(LSTM), residual(recurrent(TANH)), recurrent(cells.elman(4, D, dtype=F64)))
)


def joined(there: jax.Array, back: jax.Array) -> jax.Array:
    """What does not make zero of zeros."""
    return there + back + 1.0


FIRST = bidirectional(recurrent(LSTM), recurrent(GRU))
SECOND = bidirectional(
    recurrent(BEFORE), stack(layers.backward(recurrent(BEFORE, fold=folds.scan()))), merge=joined
)
BOTH = stack(FIRST, SECOND)
NESTS = {"upward": UPWARD, "both": BOTH}

X = np.random.default_rng(0).normal(size=(T, 3, D))
# One sequence whole, one with holes and padding, one of length zero.
MASK = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]) > 0
# On valid steps and on masked ones.
RESETS = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]) > 0


def drawn(layer: Layer) -> Any:
    return layer.init(jax.random.key(0))


def assert_close(got: Any, want: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), got, want)


def by_hand(params: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    """`BOTH`, one `unroll` after the other."""
    first, second = params
    finals_f, there = rnnjax.unroll(LSTM, first.forward, x)
    finals_b, back = rnnjax.unroll(GRU, first.backward, x[::-1])
    h = jnp.concatenate([there, back[::-1]], -1)
    finals_2, y = rnnjax.unroll(BEFORE, second.forward, h)
    # Backward twice is forward.
    finals_3, z = rnnjax.unroll(BEFORE, second.backward[0], h)
    return (Directions(finals_f, finals_b), Directions(finals_2, (finals_3,))), joined(y, z)


def test_a_nest_is_its_recurrences_one_after_the_other() -> None:
    """States, outputs and gradients; in reverse, those of the sequence turned round."""
    params = drawn(BOTH)

    def everything(function: Callable[..., Any]) -> Any:
        def total(params: Any, x: Any) -> Any:
            results = function(params, x)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(results)), results

        return jax.jit(jax.grad(total, (0, 1), has_aux=True))

    got = everything(BOTH.apply)(params, X)
    assert_close(got, everything(by_hand)(params, X))
    final, outputs = jax.jit(partial(BOTH.apply, reverse=True))(params, X[::-1])
    assert_close((final, outputs[::-1]), got[1])


def segments(member: int) -> list[np.ndarray]:
    """The valid steps of each episode of a sequence."""
    starts = [0, *np.flatnonzero(RESETS[:, member]), T]
    return [a + np.flatnonzero(MASK[a:b, member]) for a, b in itertools.pairwise(starts)]


@pytest.mark.slow
@pytest.mark.parametrize("nest", ["both", "upward"])
def test_padding_holes_and_resets_part_a_batch_into_sequences(nest: str) -> None:
    """Each episode of each member alone, cut to its valid steps; NaN in the padding."""
    layer, params = NESTS[nest], drawn(NESTS[nest])
    weights = np.random.default_rng(1).normal(size=(T, 3, 4))
    poisoned = np.where(MASK[..., None], X, np.nan)

    @jax.jit
    def gradient(x: Any, weights: Any, mask: Any, resets: Any) -> Any:
        def total(params: Any, x: Any) -> Any:
            _, y = layer.apply(params, x, mask=mask, resets=resets)
            return jnp.sum(y * weights[..., : y.shape[-1]]), y

        return jax.grad(total, (0, 1), has_aux=True)(params, x)

    (dL_dp, dL_dx), outputs = gradient(poisoned, weights, MASK, RESETS)
    want_dp = jax.tree.map(np.zeros_like, dL_dp)
    want_dx, want = np.zeros_like(dL_dx), np.zeros_like(outputs)
    for member in range(3):
        for steps in segments(member):
            x, w = X[steps, member], weights[steps, member]
            if len(steps):
                (dp, want_dx[steps, member]), want[steps, member] = gradient(x, w, None, None)
                want_dp = jax.tree.map(np.add, want_dp, dp)
    assert_close(outputs, want)
    assert_close((dL_dp, dL_dx), (want_dp, want_dx))


def test_length_zero_gives_the_start_state() -> None:
    params = drawn(BOTH)
    final, outputs = jax.jit(BOTH.apply)(params, X * np.nan, mask=np.zeros((T, 3), bool))
    assert_close(final, BOTH.start(params, (3,)))
    assert not outputs.any()
    assert_close(BOTH.apply(params, X[:0])[0], final)


def test_a_sequence_may_be_split_and_the_state_saved(tmp_path: Any) -> None:
    params = drawn(UPWARD)
    options = {"mask": MASK, "resets": RESETS}
    run = jax.jit(UPWARD.apply)
    whole = run(params, X, **options)
    state, first = run(params, X[:4], **{k: v[:4] for k, v in options.items()})
    leaves, structure = jax.tree.flatten(state)
    np.savez(tmp_path / "state.npz", *leaves)
    with np.load(tmp_path / "state.npz") as file:
        state = jax.tree.unflatten(structure, list(file.values()))
    final, second = run(params, X[4:], state, **{k: v[4:] for k, v in options.items()})
    assert_close((final, jnp.concatenate([first, second])), whole)


def test_a_stream_gives_the_numbers_of_the_whole_sequence() -> None:
    params = drawn(UPWARD)
    stream = layers.streaming(UPWARD)
    step, state, outputs = jax.jit(stream.step), stream.start(params, (3,)), []
    for t in range(T):
        state, y = step(params, state, X[t], mask=MASK[t], resets=RESETS[t])
        outputs.append(y)
    assert step._cache_size() == 1
    assert_close((state, jnp.stack(outputs)), UPWARD.apply(params, X, mask=MASK, resets=RESETS))


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (RESETS, ValueError, "expected [B], the leading axes of inputs (3, 3), got (7, 3); give"),
        (RESETS[0] * 1.0, TypeError, "expected booleans [B], got float64[3]; write `{} != 0`"),
    ],
)
@pytest.mark.parametrize("name", ["mask", "resets"])
def test_flags_of_one_step(name: str, flags: Any, error: type[Exception], message: str) -> None:
    params, stream = drawn(UPWARD), layers.streaming(UPWARD)
    with pytest.raises(error, match=f"{name}: {re.escape(message.format(name))}"):
        stream.step(params, stream.start(params, (3,)), X[0], **{name: flags})


def test_a_stream_of_one_sequence() -> None:
    params, stream = drawn(UPWARD), layers.streaming(UPWARD)
    state = stream.step(params, stream.start(params, ()), X[0, 0])[0]
    again, y = stream.step(params, state, X[1, 0], resets=np.bool_(True))
    assert_close((again, y), stream.step(params, stream.start(params, ()), X[1, 0]))


def running_sum(params: Any, x: Any, state: Any = None, *, reverse: bool = False, **_: Any) -> Any:
    return (), jnp.cumsum(x[::-1], axis=0)[::-1] if reverse else jnp.cumsum(x, axis=0)


# A layer that takes no time to compile.
THERE = Layer(lambda key: (), lambda params, batch: (), running_sum, causal=True)
BACK = layers.backward(THERE)
NESTED = {
    "recurrent": THERE,
    "backward": BACK,
    "bidirectional": bidirectional(THERE, THERE),
    "causal stack": stack(THERE, THERE),
    "stack that ends backward": stack(THERE, BACK),
    "stack that begins backward": stack(BACK, THERE),
    "causal residual": residual(THERE),
    "backward residual": residual(BACK),
    "causal dropout": layers.dropout(THERE, 0.5),
    "backward dropout": layers.dropout(BACK, 0.5),
}


@pytest.mark.parametrize("nest", NESTED)
def test_what_depends_on_later_inputs_says_so_and_is_not_streamed(nest: str) -> None:
    layer = NESTED[nest]
    params, x = drawn(layer), np.random.default_rng(0).normal(size=(3, 4))
    changed = x + np.array([[0.0], [0.0], [1.0]])
    (_, before), (_, after) = (layer.apply(params, inputs) for inputs in (x, changed))
    assert layer.causal == np.array_equal(before[:2], after[:2])
    if layer.causal:
        layers.streaming(layer)
    else:
        with pytest.raises(ValueError, match="depend on no later input, got one with a backward"):
            layers.streaming(layer)


# Dropout ----------------------------------------------------------------------------


def test_dropout_acts_between_layers_and_only_with_a_key() -> None:
    shown = rnnjax.from_step(
        lambda params, state, x: x,
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, 4), F64),
    )
    inner = stack(recurrent(GRU), recurrent(shown), dropout=0.25)
    layer = stack(recurrent(GRU), recurrent(TANH), dropout=0.25)
    params, x = drawn(layer), np.tile(X, (20, 1, 1))
    _, plain = layer.apply(params, x)
    _, h = rnnjax.unroll(GRU, params[0], x)
    _, dropped = inner.apply((params[0], ()), x, key=jax.random.key(1))
    kept = np.asarray(dropped) != 0
    assert 0.70 < kept.mean() < 0.80
    assert kept[:, 0, 0].any() and not kept[:, 0, 0].all()
    np.testing.assert_allclose(dropped, np.where(kept, h / 0.75, 0), rtol=1e-12)
    _, outputs = layer.apply(params, x, key=jax.random.key(1))
    assert_close(outputs, rnnjax.unroll(TANH, params[1], dropped)[1])
    assert np.all(outputs != 0)
    again = layer.apply(params, x, key=jax.random.key(1))[1]
    assert_close(again, outputs)
    assert not np.allclose(layer.apply(params, x, key=jax.random.key(2))[1], outputs)
    undropped = stack(recurrent(GRU), recurrent(TANH))
    assert_close(undropped.apply(params, x, key=jax.random.key(1))[1], plain)


def test_dropout_of_one_layer_reaches_its_outputs() -> None:
    layer = layers.dropout(bidirectional(recurrent(GRU), recurrent(GRU)), 0.5)
    params = drawn(layer)
    _, plain = layer.apply(params, X, mask=MASK)
    _, dropped = layer.apply(params, X, mask=MASK, key=jax.random.key(0))
    kept = np.asarray(dropped) != 0
    assert not kept[~MASK].any()
    np.testing.assert_allclose(dropped, np.where(kept, 2 * plain, 0), rtol=1e-12)
    assert 0.3 < kept[MASK].mean() < 0.7


def test_at_rate_one_everything_is_zero_and_so_is_its_gradient() -> None:
    def total(x: jax.Array) -> Any:
        dropped = layers.drop({"x": x, "count": jnp.arange(3)}, 1, key=jax.random.key(0))
        return jnp.sum(jnp.sin(dropped["x"] + 1)), dropped

    gradient, dropped = jax.grad(total, has_aux=True)(jnp.asarray([[1.0, -2.0, jnp.inf]]))
    assert not np.any(gradient) and not np.any(dropped["x"])
    assert np.array_equal(dropped["count"], [0, 1, 2])
    above = stack(recurrent(GRU), recurrent(TANH), dropout=1.0)
    params = drawn(above)
    _, outputs = above.apply(params, X, key=jax.random.key(0))
    assert_close(outputs, rnnjax.unroll(TANH, params[1], jnp.zeros((T, 3, 4)))[1])


def test_arrays_of_no_layer_are_dropped_where_there_is_a_key() -> None:
    x = np.ones((50, 40), np.float32)
    assert layers.drop(x, 0.25, key=None) is x
    dropped = layers.drop(jnp.asarray(x), 0.25, key=jax.random.key(0))
    assert dropped.dtype == x.dtype
    np.testing.assert_array_equal(np.unique(dropped), np.float32([0, 1 / 0.75]))
    assert 0.70 < (np.asarray(dropped) != 0).mean() < 0.80


DROPPING = layers.dropout(THERE, 0.5)


@pytest.mark.parametrize(
    "layer",
    [
        stack(DROPPING, THERE),
        stack(THERE, DROPPING),
        bidirectional(DROPPING, THERE),
        bidirectional(THERE, DROPPING),
        layers.backward(DROPPING),
        residual(DROPPING),
        layers.dropout(DROPPING, 0.0),
    ],
)
def test_a_key_reaches_every_layer_within(layer: Layer) -> None:
    params, x = drawn(layer), np.random.default_rng(0).normal(size=(3, 4))
    _, plain = layer.apply(params, x)
    _, dropped = layer.apply(params, x, key=jax.random.key(0))
    assert not np.allclose(dropped, plain)


# Diagnostics ------------------------------------------------------------------------


@pytest.mark.slow
def test_reports_are_those_of_each_recurrence_under_its_name() -> None:
    params = drawn(BOTH)
    options = {"mask": MASK, "resets": RESETS}
    # What stands between t-1 and t stands, turned round, before t-1.
    turned = {
        "mask": MASK[::-1],
        "resets": np.concatenate([np.zeros((1, 3), bool), RESETS[:0:-1]]),
    }
    report = jax.jit(rnnjax.gradient_report, static_argnums=0)
    reports = jax.jit(partial(rnnjax.gradient_reports, BOTH.apply))(params, X, **options)
    assert set(reports) == {"0/forward", "0/backward", "1/forward", "1/backward/0"}
    assert_close(reports["0/forward"], report(LSTM, params[0].forward, X, **options))
    assert_close(reports["0/backward"], report(GRU, params[0].backward, X[::-1], **turned))
    _, inputs = FIRST.apply(params[0], X, **options)
    assert_close(reports["1/forward"], report(BEFORE, params[1].forward, inputs, **options))


def test_reports_follow_as_many_directions_as_told() -> None:
    layer = recurrent(TANH)
    params = drawn(layer)

    @jax.jit
    def follow(x: Any) -> Any:
        (few,) = rnnjax.gradient_reports(layer.apply, params, x, directions=1).values()
        (every,) = rnnjax.gradient_reports(layer.apply, params, x).values()
        return few, every, rnnjax.gradient_report(TANH, params, x, directions=1)

    few, every, wanted = follow(np.random.default_rng(0).normal(size=(3, 4)))
    assert_close(few, wanted)
    assert not np.allclose(few.log_norms, every.log_norms)


def loss(params: Any, x: Any) -> jax.Array:
    return jnp.mean(BOTH.apply(params, x, mask=MASK, resets=RESETS)[1] ** 2)


def test_adjoints_see_every_layer_by_name() -> None:
    """Of a layer's last state, what the layers above send back; and the gradient that trains."""
    params = drawn(BOTH)
    found = jax.jit(partial(rnnjax.adjoints, loss))(params, X)
    assert found.names == ("0/forward", "0/backward", "1/forward", "1/backward/0")
    assert_close(found.gradient, jax.jit(jax.grad(loss))(params, X))
    _, inputs = FIRST.apply(params[0], X, mask=MASK, resets=RESETS)

    @jax.jit
    @jax.grad
    def upper(inputs: Any) -> Any:
        return jnp.mean(SECOND.apply(params[1], inputs, mask=MASK, resets=RESETS)[1] ** 2)

    dL_dh = upper(inputs)
    # The first member's last step, and its first: where each direction ends.
    np.testing.assert_allclose(found.adjoints[0].h[-1, 0], dL_dh[-1, 0, :4], rtol=1e-10)
    np.testing.assert_allclose(found.adjoints[1][0, 0], dL_dh[0, 0, 4:], rtol=1e-10)


def test_training_names_the_layer_that_went_wrong() -> None:
    layer = stack(recurrent(GRU), recurrent(TANH))
    params = drawn(layer)
    params = (params[0], params[1]._replace(b_h=params[1].b_h.at[0].set(jnp.nan)))

    def loss(params: Any, x: Any) -> jax.Array:
        return jnp.mean(layer.apply(params, x)[1])

    with pytest.raises(training.NonFiniteError, match="the state of 1 is first not finite"):
        training.fit(loss, params, lambda key: X, optax.sgd(0.1), steps=1, key=jax.random.key(0))


# Precision --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stack_in_bfloat16_keeps_states_in_float32() -> None:
    """Within bfloat16's own error of the same weights in float32."""

    def made(dtype: Any) -> Layer:
        return stack(
            bidirectional(
                recurrent(cells.lstm(D, 8, dtype=dtype)), recurrent(cells.gru(D, 8, dtype=dtype))
            ),
            residual(recurrent(cells.elman(16, 16, dtype=dtype))),
        )

    def run(layer: Layer, params: Any, x: Any) -> Any:
        def total(params: Any) -> Any:
            results = layer.apply(params, x)
            return jnp.mean(results[1] ** 2), results

        return jax.grad(total, has_aux=True)(params)

    run = jax.jit(run, static_argnums=0)
    half = made(jnp.bfloat16)
    params, x = drawn(half), jnp.asarray(X, jnp.bfloat16)
    gradient, (final, outputs) = run(half, params, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((final, outputs))} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    exact, (_, want) = run(made(jnp.float32), *wide)
    np.testing.assert_allclose(outputs, want, atol=2e-2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a.astype(b.dtype), b, atol=2e-2 * np.abs(np.asarray(b)).max()
        ),
        gradient,
        exact,
    )


# Errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: stack(), ValueError, "layers: expected at least one, got none"),
        (
            lambda p: stack(UPWARD, dropout=1.5),
            ValueError, "dropout: expected a rate from 0 to 1, got 1.5; it is the share",
        ),
        (lambda p: layers.dropout(UPWARD, rate=1.5), ValueError, "rate: expected a rate from 0"),
        (
            lambda p: layers.drop(X, float("nan"), key=None),
            ValueError, "rate: expected a rate from 0 to 1, got nan",
        ),
        (lambda p: UPWARD.apply(p[:2], X), TypeError, "params: expected 3 parts, one for each"),
        (lambda p: UPWARD.apply(p[0], X), TypeError, "params: expected 3 parts"),
        (
            lambda p: UPWARD.apply(p, X, UPWARD.start(p, (3,))[:2]),
            TypeError, "state: expected 3 parts, one for each layer, got",
        ),
        (
            lambda p: UPWARD.apply(p, X, UPWARD.start(p, (3,))[::-1]),
            TypeError, "state[0]: expected LSTMState(c=float64[3,5], h=float64[3,4])",
        ),
        (
            lambda p: UPWARD.apply(p, X, np.zeros((3, 3, 4))),
            TypeError, "what the layer's `start` gives, or `rnnjax.interop.torch.from_torch_state(",
        ),
        (
            lambda p: BOTH.apply(drawn(BOTH), X, ((0.0, 0.0), BOTH.start(drawn(BOTH), (3,))[1])),
            TypeError, "state[0].forward: expected LSTMState(",
        ),
        (
            lambda p: UPWARD.apply((p[0], p[1]._asdict(), p[2]), X),
            TypeError, "params[1]: expected ",
        ),
        (
            lambda p: UPWARD.apply({str(k): part for k, part in enumerate(p)}, X),
            TypeError, "`init` gives, or `rnnjax.interop.names.from_names(layer.init, params)` of",
        ),
        (
            lambda p: residual(recurrent(GRU)).apply(drawn(recurrent(GRU)), X),
            ValueError, "residual: expected outputs of the shape of the inputs, float64[7,3,3]",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call(drawn(UPWARD))


@pytest.mark.parametrize(
    "run",
    [
        lambda layer, params: layer.apply(params, X),
        lambda layer, params: rnnjax.gradient_reports(layer.apply, params, X),
        lambda layer, params: rnnjax.adjoints(lambda p: jnp.sum(layer.apply(p, X)[1]), params),
    ],
)
def test_an_error_names_the_layer(run: Callable[..., Any]) -> None:
    wrong = stack(recurrent(LSTM), bidirectional(recurrent(GRU), recurrent(TANH)))
    with pytest.raises(ValueError, match="to match input_size=3") as caught:
        run(wrong, drawn(wrong))
    assert "in the layer 'forward'\nin the layer '1'" in "\n".join(caught.value.__notes__)
