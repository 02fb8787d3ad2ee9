"""What a recurrence computes is seen wherever in a function it runs, or refused: never wrong."""

import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import rnnjax
from rnnjax import cells, folds, layers
from rnnjax._observation import observe
from rnnjax.diagnostics._adjoints import _probed
from rnnjax.interop import linen as rnn_linen
from rnnjax.interop import nnx as rnn_nnx

F64 = jnp.float64
T, B, D, H = 5, 3, 2, 4
CELL = cells.lstm(D, H, dtype=F64)
PARAMS = CELL.init(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (T, B, D), F64)
MANY = jax.random.normal(jax.random.key(2), (2, T, B, D), F64)


def run(params: Any, x: Any, **options: Any) -> jax.Array:
    """A loss that reads every state, and the last one twice."""
    final, outputs = rnnjax.unroll(CELL, params, x, **options)
    return jnp.sum(jnp.sin(outputs)) + jnp.sum(final.c**2)


@jax.custom_vjp
def own_rule(params: Any, x: Any) -> jax.Array:
    return run(params, x)


own_rule.defvjp(lambda *args: jax.vjp(run, *args), lambda pullback, g: pullback(g))
jitted = jax.jit(run)


def looped(params: Any, xs: Any) -> jax.Array:
    """Each run begins where the one before ended."""

    def body(state: Any, x: Any) -> Any:
        state, outputs = rnnjax.unroll(CELL, params, x, state)
        return state, jnp.sum(jnp.sin(outputs))

    return jnp.sum(lax.scan(body, CELL.start(params, (B,)), xs)[1])


def penalised(params: Any, x: Any) -> jax.Array:
    """A loss that takes a gradient itself."""
    return run(params, x) + jnp.sum(jax.grad(run, 1)(params, x) ** 2)


def mapped(params: Any, xs: Any) -> jax.Array:
    return jnp.sum(jax.vmap(lambda x: jitted(params, x))(xs))


# How a loss may run its recurrences, on what, and the axes that stand before those of time.
WAYS: dict[str, tuple[Callable[..., jax.Array], Any, tuple[int, ...]]] = {
    "plain": (run, X, ()),
    "reverse": (partial(run, reverse=True), X, ()),
    "jit": (lambda p, x: jitted(p, x), X, ()),
    "nested jit": (jax.jit(lambda p, x: jax.jit(jitted)(p, 2 * x)), X, ()),
    "checkpoint": (jax.checkpoint(lambda p, x: jitted(p, x)), X, ()),
    "checkpointed twice": (jax.checkpoint(jax.checkpoint(run)), X, ()),
    "vmap": (mapped, MANY, (2,)),
    "vmap along another axis": (
        lambda p, x: jnp.sum(jax.vmap(partial(run, p), 1)(jnp.moveaxis(x, 0, 1))),
        MANY,
        (2,),
    ),
    "vmap over parameters": (
        lambda p, x: jnp.sum(
            jax.vmap(run, (0, None))(jax.tree.map(lambda w: jnp.stack([w, 2 * w]), p), x)
        ),
        X,
        (2,),
    ),
    "scan": (looped, MANY, (2,)),
    "scan in reverse": (
        lambda p, xs: lax.scan(lambda c, x: (c + run(p, x), c), 0.0, xs, reverse=True)[0],
        MANY,
        (2,),
    ),
    "fori_loop": (
        lambda p, xs: lax.fori_loop(0, 2, lambda i, c: c + run(p, xs[i]), jnp.zeros((), F64)),
        MANY,
        (2,),
    ),
    "map": (lambda p, xs: jnp.sum(lax.map(partial(run, p), xs)), MANY, (2,)),
    "checkpoint in scan in vmap": (
        lambda p, xs: jnp.sum(jax.vmap(jax.checkpoint(partial(looped, p)))(jnp.stack([xs, -xs]))),
        MANY,
        (2, 2),
    ),
    "gradient": (lambda p, x: jnp.sum(jax.grad(run, 1)(p, x) ** 2), X, ()),
    "gradient of jit of vmap": (
        lambda p, x: jnp.sum(jax.grad(jax.jit(mapped), 1)(p, x) ** 2),
        MANY,
        (2,),
    ),
    "gradient of scan": (lambda p, x: jnp.sum(jax.grad(looped, 1)(p, x) ** 2), MANY, (2,)),
    "tangent": (
        lambda p, x: jax.jvp(lambda x: run(p, x, fold=folds.scan()), (x,), (x**2,))[1],
        X,
        (),
    ),
}


def pushed(loss: Any, x: Any) -> Callable[[int, Any], jax.Array]:
    """The derivative of the loss to one entry of one leaf of the states, by small probes."""
    observation = observe("loss", _probed, lambda p: loss(p, x), PARAMS)
    (place,) = observation.places

    @jax.jit
    def at(*probes: jax.Array) -> jax.Array:
        return observation.run(PARAMS, probes=[probes])[0]

    def derivative(leaf: int, entry: Any) -> jax.Array:
        two = [[np.zeros(p.shape) for p in place.probes] for _ in range(2)]
        two[0][leaf][entry], two[1][leaf][entry] = 1e-6, -1e-6
        return (at(*two[0]) - at(*two[1])) / 2e-6

    return derivative


# Each of the others is one of these within another.
DAILY = (
    "plain",
    "reverse",
    "jit",
    "checkpoint",
    "vmap",
    "vmap over parameters",
    "scan",
    "gradient",
)


@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=() if w in DAILY else pytest.mark.slow) for w in WAYS]
)
def test_states_and_adjoints_are_right_however_a_loss_runs_its_recurrences(way: str) -> None:
    loss, x, axes = WAYS[way]
    found = rnnjax.adjoints(loss, PARAMS, x)
    value, gradient = jax.jit(jax.value_and_grad(loss))(PARAMS, x)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10), found.gradient, gradient)
    assert len(found.names) == 1
    (states,), (adjoints,) = found.states, found.adjoints
    assert states.h.shape == adjoints.h.shape == (*axes, T, B, H)
    assert found.nonfinite[0].forward.shape == axes
    rng, derivative = np.random.default_rng(0), pushed(loss, x)
    for leaf, adjoint in enumerate(adjoints):
        for _ in range(3):
            entry = tuple(rng.integers(adjoint.shape))
            wanted = derivative(leaf, entry)
            np.testing.assert_allclose(adjoint[entry], wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("way", ["jit", "checkpoint", "vmap", "scan", "gradient of jit of vmap"])
def test_states_are_those_of_the_run(way: str) -> None:
    loss, x, axes = WAYS[way]
    found = rnnjax.adjoints(loss, PARAMS, x).states[0]
    if way == "scan":
        state, wanted = CELL.start(PARAMS, (B,)), []
        for part in x:
            wanted.append(rnnjax.states(CELL, PARAMS, part, state))
            state = jax.tree.map(lambda s: s[-1], wanted[-1])
    else:
        wanted = [rnnjax.states(CELL, PARAMS, part) for part in (x if axes else [x])]
    stacked = jax.tree.map(lambda *s: jnp.stack(s) if axes else s[0], *wanted)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), found, stacked)


@pytest.mark.parametrize(
    ("loss", "place"),
    [
        (lambda p, x: lax.while_loop(lambda c: c < 1, lambda c: c + run(p, x) ** 2, 0.0), "while"),
        (lambda p, x: lax.cond(x[0, 0, 0] > 0, run, lambda p, x: 0.0, p, x), "cond"),
        (own_rule, "custom_vjp_call"),
        (
            lambda p, x: jnp.sum(jax.grad(jax.checkpoint(run), 1)(p, x)),
            "remat2, of which a gradient is taken",
        ),
    ],
)
def test_what_cannot_be_seen_is_refused(loss: Any, place: str) -> None:
    message = f"expected recurrences within nothing but jit, .*, got one within {place}"
    with pytest.raises(ValueError, match=f"loss: {message}"):
        rnnjax.adjoints(loss, PARAMS, X)
    with pytest.raises(ValueError, match=f"model: {message}"):
        rnnjax.gradient_reports(loss, PARAMS, X)


def test_a_step_that_closes_over_what_is_mapped_is_refused() -> None:
    def loss(params: Any, x: Any) -> jax.Array:
        def one(scale: jax.Array) -> jax.Array:
            def step(params: Any, state: jax.Array, x: jax.Array) -> jax.Array:
                return jnp.tanh(scale * state + x)

            cell = rnnjax.from_step(
                step, init=lambda key: (), start=lambda params, batch: jnp.zeros((*batch, D), F64)
            )
            return jnp.sum(rnnjax.unroll(cell, (), x)[1])

        return jnp.sum(jax.vmap(one)(params))

    with pytest.raises(ValueError, match="got one whose step closes over what vmap maps or a"):
        rnnjax.adjoints(loss, jnp.ones(2, F64), X)


def test_a_step_that_closes_over_what_a_loop_changes_is_refused_in_a_gradient() -> None:
    """JAX takes what no iteration changes out of the loop, and the probes are of that kind."""

    def changing(scale: jax.Array) -> jax.Array:
        def body(carry: jax.Array, _: None) -> Any:
            cell = rnnjax.from_step(
                lambda params, state, x: jnp.tanh(carry * state + x),
                init=lambda key: (),
                start=lambda params, batch: jnp.zeros((*batch, D), F64),
            )
            outputs = rnnjax.unroll(cell, (), X, fold=folds.scan())[1]
            return carry + jnp.sum(jnp.sin(outputs)), None

        return lax.scan(body, scale, None, length=2)[0]

    assert rnnjax.adjoints(changing, jnp.ones((), F64)).states[0].shape == (2, T, B, D)
    with pytest.raises(ValueError, match="closes over what vmap maps or a loop changes; pass it"):
        rnnjax.adjoints(lambda scale: jax.grad(changing)(scale), jnp.ones((), F64))


def test_a_state_without_a_gradient_has_no_adjoint() -> None:
    count = rnnjax.from_step(
        lambda params, state, x: state + 1,
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros(batch, jnp.int32),
        feature_axes=1,
    )

    def loss(params: Any, x: Any) -> jax.Array:
        steps, _ = rnnjax.unroll(count, (), x, fold=folds.scan())
        return run(params, x) * jnp.mean(steps.astype(F64))

    found = rnnjax.adjoints(loss, PARAMS, X)
    assert found.adjoints[0] is None
    assert int(found.nonfinite[0].forward) == int(found.nonfinite[0].backward) == -1
    alone = rnnjax.adjoints(run, PARAMS, X)
    np.testing.assert_allclose(found.adjoints[1].h, T * alone.adjoints[0].h, rtol=1e-12)


def test_what_transposes_a_recurrence_is_left_alone() -> None:
    linear = rnnjax.from_step(
        lambda params, state, x: 0.5 * state + x,
        init=lambda key: (),
        start=lambda params, batch: jnp.zeros((*batch, D), F64),
    )

    def loss(params: Any, x: Any) -> jax.Array:
        outputs = partial(rnnjax.unroll, linear, (), fold=folds.scan())
        (back,) = jax.linear_transpose(lambda x: outputs(x)[1], x)(x)
        return run(params, x) * jnp.sum(back)

    np.testing.assert_allclose(rnnjax.adjoints(loss, PARAMS, X).value, loss(PARAMS, X), rtol=1e-12)


def test_two_runs_of_one_compiled_function_are_two() -> None:
    def loss(params: Any, x: Any) -> jax.Array:
        with jax.named_scope("first"):
            first = jitted(params, x)
        return first + 3 * jitted(params, 2 * x)

    found = rnnjax.adjoints(loss, PARAMS, X)
    assert found.names == ("first", "unroll 1")
    once, twice = (rnnjax.adjoints(run, PARAMS, x) for x in (X, 2 * X))
    np.testing.assert_allclose(found.adjoints[0].h, once.adjoints[0].h, rtol=1e-12)
    np.testing.assert_allclose(found.adjoints[1].h, 3 * twice.adjoints[0].h, rtol=1e-12)


def test_a_recurrence_of_which_nothing_comes_is_not_seen() -> None:
    def loss(params: Any, x: Any) -> jax.Array:
        jax.grad(lambda x: jnp.sum(x) + 0 * lax.stop_gradient(run(params, x)))(x)
        return run(params, x)

    assert rnnjax.adjoints(loss, PARAMS, X).states[-1].h.shape == (T, B, H)


def test_reports_are_those_of_each_run() -> None:
    found = rnnjax.gradient_reports(mapped, PARAMS, MANY)["unroll 0"]
    for i, x in enumerate(MANY):
        wanted = rnnjax.gradient_report(CELL, PARAMS, x)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-12),
            jax.tree.map(lambda leaf, i=i: leaf[i], found),
            wanted,
        )


# Models of other libraries -----------------------------------------------------------


def nnx_model() -> tuple[Any, Any]:
    cell = nnx.GRUCell(D, H, rngs=nnx.Rngs(0), param_dtype=F64, dtype=F64)
    graph, params, others = nnx.split(rnn_nnx.RNN(cell), nnx.Param, ...)
    return lambda params, x: jnp.sum(nnx.merge(graph, params, others)(x) ** 2), params


def linen_model() -> tuple[Any, Any]:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            cell = nn.GRUCell(H, param_dtype=F64, dtype=F64)
            return jnp.sum(rnn_linen.RNN(cell, name="encoder")(x) ** 2)

    return Model().apply, Model().init(jax.random.key(0), X)


@pytest.mark.parametrize("make", [nnx_model, linen_model])
def test_models_of_other_libraries_are_seen_without_a_word_about_it(make: Any) -> None:
    loss, params = make()
    found = rnnjax.adjoints(loss, params, X)
    wanted = jax.jit(jax.grad(loss))(params, X)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10), found.gradient, wanted)
    assert len(found.names) == 1
    (report,) = rnnjax.gradient_reports(loss, params, X).values()
    assert report.verdict in ("vanishing", "exploding", "stable")


def test_a_linen_module_is_called_by_its_path() -> None:
    loss, params = linen_model()
    assert rnnjax.adjoints(loss, params, X).names == ("Model/encoder",)


# What it costs ----------------------------------------------------------------------


def test_an_observation_within_jit_compiles_once() -> None:
    traces = []

    @jax.jit
    def observed(params: Any, x: Any) -> Any:
        traces.append(1)
        return rnnjax.adjoints(lambda p, x: jitted(p, x), params, x).value

    for scale in range(3):
        observed(PARAMS, scale * X)
    assert len(traces) == 1 and observed._cache_size() == 1


def test_observing_again_and_again_compiles_nothing_and_keeps_nothing(
    compilations: list[str],
) -> None:
    calls = []

    @jax.jit
    def inner(params: Any, x: Any) -> jax.Array:
        calls.append(1)
        return run(params, x)

    def loss(params: Any, x: Any) -> jax.Array:
        return inner(params, x)

    many = [scale * X for scale in range(30)]
    rnnjax.adjoints(loss, PARAMS, X)
    rnnjax.gradient_reports(loss, PARAMS, X)
    gc.collect()
    begun = len(calls), len(jax.live_arrays()), len(gc.get_objects())
    compilations.clear()
    for x in many:
        rnnjax.adjoints(loss, PARAMS, x)
        rnnjax.gradient_reports(loss, PARAMS, x)
    gc.collect()
    assert len(calls) == begun[0]
    assert not compilations
    assert len(jax.live_arrays()) <= begun[1]
    assert len(gc.get_objects()) < begun[2] + 1000


def test_an_observation_leaks_nothing_and_changes_nothing_outside() -> None:
    before = jitted(PARAMS, X)
    with jax.checking_leaks():
        found = rnnjax.adjoints(mapped, PARAMS, MANY)
        rnnjax.gradient_reports(mapped, PARAMS, MANY)
    assert found.value == mapped(PARAMS, MANY)
    assert "rnnjax_see" not in str(jax.make_jaxpr(jitted)(PARAMS, X))
    np.testing.assert_array_equal(jitted(PARAMS, X), before)


def test_threads_observe_apart() -> None:
    losses = [lambda p, x, n=n: n * jitted(p, x) for n in range(1, 5)]
    found: dict[int, Any] = {}
    enough = threading.Barrier(len(losses))

    def work(i: int) -> None:
        with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
            enough.wait()
            found[i] = rnnjax.adjoints(losses[i], PARAMS, X)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(losses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = rnnjax.adjoints(run, PARAMS, X).adjoints[0].h
    for i in range(len(losses)):
        np.testing.assert_allclose(found[i].adjoints[0].h, (i + 1) * wanted, rtol=1e-12)


def test_an_observation_within_another_is_its_own() -> None:
    def loss(params: Any, x: Any) -> jax.Array:
        inner = rnnjax.adjoints(run, params, x)
        return run(params, x) + jnp.sum(inner.adjoints[0].h ** 2)

    found = rnnjax.adjoints(loss, PARAMS, X)
    np.testing.assert_allclose(found.value, loss(PARAMS, X), rtol=1e-12)
    assert len(found.names) == 1


def test_stacks_name_recurrences_by_their_place() -> None:
    net = layers.stack(layers.recurrent(CELL), layers.recurrent(cells.elman(H, 3, dtype=F64)))
    params = net.init(jax.random.key(0))

    def loss(params: Any, x: Any) -> jax.Array:
        with jax.named_scope("decoder"):
            return jnp.sum(jax.vmap(lambda x: jax.jit(net.apply)(params, x)[1])(x))

    assert rnnjax.adjoints(loss, params, MANY).names == ("decoder/0", "decoder/1")
