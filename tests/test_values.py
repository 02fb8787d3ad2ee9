"""What people do with cells, folds and layers: compare, keep, send, and call once more."""

import copy
import dataclasses
import gc
import inspect
import os
import pickle
import tempfile
import types
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import laws
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import cells, folds, initializers, layers
from rnnjax.interop import equinox, flax, haiku
from rnnjax.interop.names import from_names, to_names


def halved(params: Any, state: jax.Array, x: jax.Array) -> jax.Array:
    """h_t = h_{t-1} / 2 + x_t."""
    return state / 2 + x


def nothing(key: Any) -> None:
    """No parameters."""


def zeros(params: Any, batch_shape: tuple[int, ...]) -> jax.Array:
    """h_0 = 0."""
    return jnp.zeros((*batch_shape, 3))


def core() -> Any:
    """A core of Haiku."""
    import haiku as hk

    return hk.GRU(4)


def linen_gru() -> Any:
    """A cell of linen."""
    from flax import linen as nn

    return nn.GRUCell(features=4, param_dtype=jnp.float64)


def nnx_gru(rngs: Any) -> Any:
    """A cell of nnx."""
    from flax import nnx

    return nnx.GRUCell(3, 4, param_dtype=jnp.float64, rngs=rngs)


def equinox_gru(key: Any) -> Any:
    """A cell of Equinox."""
    import equinox as eqx

    return eqx.nn.GRUCell(3, 4, dtype=jnp.float64, key=key)


def hidden(module: Any) -> jax.Array:
    """h_0 = 0."""
    return jnp.zeros(4)


def two_layers() -> layers.Layer:
    """Everything that layers are made of, in one."""
    first = layers.bidirectional(
        layers.recurrent(cells.gru(3, 4)),
        layers.recurrent(cells.lstm(3, 4), fold=folds.scan()),
    )
    second = layers.backward(layers.recurrent(cells.min_gru(8, 8), fold=folds.checkpointed()))
    return layers.stack(first, layers.residual(layers.dropout(second, 0.1)), dropout=0.2)


CELLS: dict[str, Callable[[], rnnjax.Cell]] = {
    **{name: partial(make, 3, 4) for name, make in laws.LIBRARY.items()},
    "gru-before-bfloat16": partial(cells.gru, 3, 4, reset_after=False, dtype=jnp.bfloat16),
    "lstm-chrono": lambda: cells.lstm(3, 4, bias_init=initializers.chrono(9, forget=1, remember=0)),
    "bare step": partial(rnnjax.from_step, halved, init=nothing, start=zeros),
    "linen": lambda: flax.linen_cell(linen_gru(), jnp.zeros(3)),
    "nnx": lambda: flax.nnx_cell(nnx_gru, jnp.zeros(3)),
    "haiku": lambda: haiku.haiku_cell(core, jnp.zeros(3)),
    "equinox": lambda: equinox.equinox_cell(equinox_gru, hidden),
}
FOLDS: dict[str, Callable[[], folds.Fold]] = {
    "blocked": partial(folds.blocked, size=3),
    "scan": partial(folds.scan, unroll=2),
    "checkpointed": lambda: folds.checkpointed(segments=2, fold=folds.scan()),
    "truncated": partial(folds.truncated, window=3),
    "parallel": partial(folds.parallel, linearise=folds.diagonal),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "layers": two_layers,
    "stream": lambda: layers.streaming(layers.recurrent(cells.gru(3, 4))),
    "scaled identity": partial(initializers.scaled_identity, 0.5),
}
VALUES: dict[str, Callable[[], Any]] = {**CELLS, **FOLDS, **OTHERS}


def test_a_default_given_by_hand_pickles_as_the_default() -> None:
    """Equal cells share what they are pickled by, and it may be the other that is."""
    default = inspect.signature(cells.gru).parameters["kernel_init"].default
    first, second = cells.gru(3, 7, kernel_init=default), cells.gru(3, 7)
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == pickle.loads(pickle.dumps(second)) == second


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_made_twice_is_one_value(make: Callable[[], Any]) -> None:
    """Equal, of one hash, and so after a copy and after pickle."""
    made = make()
    others = [make(), copy.copy(made), copy.deepcopy(made)]
    if make is not CELLS["linen"]:
        others.append(pickle.loads(pickle.dumps(made)))
    for other in others:
        assert other == made
        assert hash(other) == hash(made)
        assert {made: 1}[other] == 1


def test_no_two_rows_are_equal() -> None:
    """Each differs from the others in how it was made."""
    made = [make() for make in VALUES.values()]
    assert len(set(made)) == len(made)
    assert cells.gru(3, 4) != cells.gru(3, 4, dtype=jnp.bfloat16)
    assert cells.gru(3, 4) == cells.gru(3, hidden_size=4, reset_after=True)
    assert cells.gru(3, 4)._replace(hidden=lambda s, d: s) != cells.gru(3, 4)
    assert folds.truncated(window=3) != folds.truncated(window=4)


@pytest.mark.parametrize(
    "make",
    [
        lambda key: flax.linen_cell(linen_gru(), jnp.zeros(3), carry_key=key),
        lambda key: flax.nnx_cell(nnx_gru, jnp.zeros(3), carry_key=key),
    ],
    ids=["linen", "nnx"],
)
def test_a_random_key_is_a_value(make: Callable[[jax.Array], rnnjax.Cell]) -> None:
    """Typed as well as bare; keys of two generators differ, be their numbers the same."""
    for new in (jax.random.key, jax.random.PRNGKey):
        cell, again, other = (make(new(seed)) for seed in (1, 1, 2))
        assert cell == again and hash(cell) == hash(again)
        assert cell != other
    assert make(jax.random.key(1, impl="rbg")) != make(jax.random.key(1, impl="unsafe_rbg"))


def test_the_default_fold_is_a_value() -> None:
    """A layer that was given it is the layer that was not, and prints alike."""
    assert folds.default() == folds.default()
    assert repr(folds.default()) == "default()"
    cell = cells.gru(3, 4)
    assert layers.recurrent(cell) == layers.recurrent(cell, fold=folds.default())
    assert folds.truncated(window=3) == folds.truncated(window=3, fold=folds.default())


@pytest.mark.parametrize("fold", laws.FOLDS)
def test_a_fold_of_the_table_is_a_value(fold: str) -> None:
    """A closure would compile again at every call, and not pickle."""
    made = laws.FOLDS[fold].fold
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("cell", sorted(CELLS.keys() - {"linen"}))
def test_a_cell_out_of_pickle_computes_the_same(cell: str) -> None:
    """Its parameters go there and back as well."""
    made, x = CELLS[cell](), jax.random.normal(jax.random.key(1), (5, 2, 3))
    params = made.init(jax.random.key(0))
    again, weights = pickle.loads(pickle.dumps((made, params)))
    chex.assert_trees_all_equal(rnnjax.unroll(again, weights, x), rnnjax.unroll(made, params, x))


def test_a_module_of_linen_does_not_pickle() -> None:
    """Cells of linen hold functions that linen itself cannot pickle."""
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(linen_gru())


def test_what_holds_a_closure_does_not_pickle() -> None:
    """And the error names the function."""
    cell = cells.elman(3, 4, activation=lambda a: jnp.tanh(a))
    assert cell != cells.elman(3, 4, activation=lambda a: jnp.tanh(a))
    with pytest.raises((pickle.PicklingError, AttributeError), match=r"does_not_pickle.*<lambda>"):
        pickle.dumps(cell)


def unrolled(fold: str) -> Callable[[], Any]:
    """A run and its gradient, without `jit`, of a cell and a fold made anew."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 2, 3)))
    params = cells.gru(3, 4, dtype=jnp.float64).init(jax.random.key(0))
    flags = jnp.ones((7, 2), bool)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        cell = cells.gru(3, 4, dtype=jnp.float64)
        made = FOLDS[fold]()
        return rnnjax.unroll(cell, params, x, mask=flags, resets=~flags, fold=made)[1].sum()

    return lambda: (loss(params, x), jax.grad(loss, (0, 1))(params, x))


@pytest.mark.parametrize("fold", FOLDS)
def test_a_second_call_compiles_nothing(fold: str, compilations: list[str]) -> None:
    """Forward and backward, and gives the same."""
    call = unrolled(fold)
    first = call()
    assert compilations
    compilations.clear()
    chex.assert_trees_all_equal(call(), first)
    assert not compilations


@pytest.mark.parametrize(
    "measure",
    [rnnjax.gradient_report, rnnjax.step_jacobians, rnnjax.jacobian_product_spectrum],
    ids=lambda measure: measure.__name__,
)
def test_a_second_measurement_compiles_nothing(measure: Any, compilations: list[str]) -> None:
    """As long as the cell is the same."""
    x, params = jnp.ones((7, 2, 3)), cells.elman(3, 4).init(jax.random.key(0))
    first = measure(cells.elman(3, 4), params, x)
    compilations.clear()
    chex.assert_trees_all_equal(measure(cells.elman(3, 4), params, x), first)
    assert not compilations


def test_other_options_are_other_programs() -> None:
    """A number of Python is told from another, and from a boolean."""
    cell, x = cells.elman(1, 1), jnp.ones((3, 1, 1))
    params = cell.init(jax.random.key(0))
    there = rnnjax.unroll(cell, params, x, reverse=False)[1]
    back = rnnjax.unroll(cell, params, x, reverse=True)[1]
    chex.assert_trees_all_equal(there, back[::-1])
    with pytest.raises(TypeError, match="reverse: expected True or False, got 1"):
        rnnjax.unroll(cell, params, x, reverse=1)  # type: ignore[arg-type]
    for leak in (0.5, 0.25):
        leaky = rnnjax.from_step(lambda p, s, x: p["leak"] * s + x, init=nothing, start=zeros)
        final, _ = rnnjax.unroll(leaky, {"leak": leak}, jnp.ones((2, 1, 3)))
        laws.assert_close(final, jnp.full((1, 3), 1 + leak))


def test_static_arguments_made_anew_are_one_entry() -> None:
    """`jit` finds what it compiled."""

    def unroll(cell: rnnjax.Cell, params: Any, x: jax.Array, *, fold: folds.Fold) -> Any:
        return rnnjax.unroll(cell, params, x, fold=fold)

    # A function of its own: JAX shares what it compiled of one among its jits.
    run = jax.jit(unroll, static_argnums=0, static_argnames="fold")
    params, x = cells.gru(3, 4).init(jax.random.key(0)), jnp.ones((7, 2, 3))
    for _ in range(3):
        run(cells.gru(3, 4), params, x, fold=folds.blocked(size=3))
    assert run._cache_size() == 1


def test_a_cell_of_a_trace_is_not_kept() -> None:
    """One that closes over what `vmap` maps runs, and leaves nothing behind."""
    params, x = cells.elman(3, 3).init(jax.random.key(0)), jnp.ones((4, 2, 3))

    def loss(weight: jax.Array) -> jax.Array:
        cell = rnnjax.from_step(lambda p, s, x: weight * s + x, init=nothing, start=zeros)
        return rnnjax.unroll(cell, params, x)[1].sum()

    weights = jnp.asarray([0.5, 1.0])
    with jax.checking_leaks():
        got = jax.vmap(jax.grad(loss))(weights)
    laws.assert_close(got, jnp.stack([jax.grad(loss)(weight) for weight in weights]))


@dataclasses.dataclass
class Leaky:
    """A step as an object, whose leak may be set anew."""

    leak: float

    def __call__(self, params: Any, state: jax.Array, x: jax.Array) -> jax.Array:
        """h_t = leak h_{t-1} + x_t."""
        return self.leak * state + x

    def step(self, params: Any, state: jax.Array, x: jax.Array) -> jax.Array:
        """The same, as a method."""
        return self.leak * state + x


class Number:
    """What JAX takes for an array, and may change."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __jax_array__(self) -> jax.Array:
        """A sequence of one step, all entries its value now."""
        return jnp.full((1, 1, 3), self.value)


def reading(where: str) -> tuple[Any, Callable[[float], None]]:
    """A step that reads its leak from outside, and what sets the leak anew."""
    module, package = types.ModuleType("settings"), types.ModuleType("package")
    package.inner = module
    held: Any = {"array": np.zeros(()), "list": [0.0], "object": Leaky(0.0), "module": module}
    leak = 0.0

    def closed(params: Any, state: jax.Array, x: jax.Array) -> jax.Array:
        return leak * state + x

    def set_closed(value: float) -> None:
        nonlocal leak
        leak = value

    class Base:
        leak = 0.0

    class Options(Base):
        pass

    namespace: dict[str, Any] = {"settings": module, "package": package, "helper": closed}
    exec("def step(params, state, x): return leak * state + x", namespace)
    exec("def by_helper(params, state, x): return helper(params, state, x)", namespace)
    exec("def by_module(params, state, x): return settings.leak * state + x", namespace)
    exec("def by_package(params, state, x): return package.inner.leak * state + x", namespace)
    # In the folder of the libraries, but not one of them.
    place = f"{os.path.dirname(jax.__path__[0])}/installed.py"
    text = "def installed(params, state, x): return leak * state + x"
    exec(compile(text, place, "exec"), namespace)

    ways: dict[str, tuple[Any, Callable[[float], None]]] = {
        "closure": (closed, set_closed),
        "partial": (partial(lambda own, *args: own(*args), closed), set_closed),
        "mapped": (jax.vmap(closed, in_axes=(None, 0, 0)), set_closed),
        "global": (namespace["step"], lambda value: namespace.update(leak=value)),
        "helper": (namespace["by_helper"], set_closed),
        "module": (namespace["by_module"], lambda value: setattr(module, "leak", value)),
        "package": (namespace["by_package"], lambda value: setattr(module, "leak", value)),
        "installed": (namespace["installed"], lambda value: namespace.update(leak=value)),
        "class": (lambda p, s, x: Options.leak * s + x, lambda v: setattr(Base, "leak", v)),
        "array": (lambda p, s, x: held["array"] * s + x, held["array"].fill),
        "list": (lambda p, s, x: held["list"][0] * s + x, lambda v: held["list"].insert(0, v)),
        "object": (held["object"], lambda value: setattr(held["object"], "leak", value)),
        "method": (held["object"].step, lambda value: setattr(held["object"], "leak", value)),
    }
    return ways[where]


@pytest.mark.parametrize(
    "where",
    ["closure", "partial", "mapped", "global", "helper", "module", "package", "installed", "class",
     "array", "list", "object", "method"],
)  # fmt: skip
def test_what_a_step_reads_counts_as_it_is_now(where: str) -> None:
    """Compiled before, it would read what was there then."""
    step, set_to = reading(where)
    cell = rnnjax.from_step(step, init=nothing, start=zeros)
    for leak in (0.5, 0.25, 0.5):
        set_to(leak)
        final, _ = rnnjax.unroll(cell, None, jnp.ones((2, 1, 3)))
        laws.assert_close(final, jnp.full((1, 3), 1 + leak))


def test_arrays_that_are_not_of_jax_count_as_they_are_now() -> None:
    """Their object is the same, and what they hold is not."""
    given = Number(0.5)
    cell = rnnjax.from_step(lambda p, s, x: s / 2 + x, init=nothing, start=zeros)
    for given.value in (0.5, 0.25):
        final, _ = rnnjax.unroll(cell, None, given)
        laws.assert_close(final, jnp.full((1, 3), given.value))


def test_what_may_change_equals_itself_alone() -> None:
    """As a function does; numbers of other types or signs are other numbers."""
    one, two = (rnnjax.from_step(Leaky(0.5), init=nothing, start=zeros) for _ in range(2))
    assert one == one
    assert one != two
    assert initializers.scaled_identity(1) != initializers.scaled_identity(1.0)
    assert initializers.scaled_identity(0.0) != initializers.scaled_identity(-0.0)
    cell = rnnjax.from_step(lambda p, s, x: jnp.copysign(x, p), init=nothing, start=zeros)
    for zero, sign in ((0.0, 1), (-0.0, -1)):
        final, _ = rnnjax.unroll(cell, zero, jnp.ones((1, 1, 3)))
        laws.assert_close(final, jnp.full((1, 3), float(sign)))


@pytest.mark.parametrize(
    "hold",
    [
        lambda weight: Leaky(weight),
        lambda weight: Leaky(weight).step,
        lambda weight: jax.jit(lambda p, s, x: weight * s + x),
        lambda weight: jax.tree_util.Partial(lambda w, p, s, x: w * s + x, weight),
        lambda weight: partial(lambda w, p, s, x: w * s + x, weight),
    ],
    ids=["object", "method", "jitted", "Partial", "partial"],
)
def test_whatever_holds_what_is_traced_is_not_kept(hold: Callable[[Any], Any]) -> None:
    """In whichever way a step reaches it."""

    def run(weight: jax.Array) -> jax.Array:
        cell = rnnjax.from_step(hold(weight), init=nothing, start=zeros)
        return rnnjax.unroll(cell, None, jnp.ones((2, 1, 3)))[1].sum()

    with jax.checking_leaks():
        jax.vmap(run)(jnp.ones(2))
    assert jax.grad(run)(0.5) == jax.grad(run)(0.7) == 3


def test_only_the_last_programs_are_kept() -> None:
    """And with them what their cells closed over."""
    kept = []
    for place in range(200):
        weight = jnp.full((1, 3), float(place))
        kept.append(weakref.ref(weight))
        cell = rnnjax.from_step(
            lambda p, s, x, weight=weight: weight * s + x, init=nothing, start=zeros
        )
        rnnjax.step_jacobians(cell, None, jnp.ones((1, 1, 3)))
    del weight, cell
    gc.collect()
    assert 0 < sum(ref() is not None for ref in kept) <= 128


def test_a_layer_prints_as_the_call_that_makes_it() -> None:
    """However deep; compared, each part is looked at once."""

    def nested(depth: int) -> layers.Layer:
        layer = layers.recurrent(cells.gru(3, 3))
        for _ in range(depth):
            layer = layers.stack(layers.bidirectional(layer, layer, merge=jnp.add))
        return layer

    assert repr(nested(0)) == "recurrent(gru(3, 3))"
    assert repr(layers.residual(nested(0))) == "residual(recurrent(gru(3, 3)))"
    assert repr(nested(0)._replace(causal=False)).startswith("Layer(init=gru(3, 3).init, ")
    assert nested(40) == nested(40)
    assert pickle.loads(pickle.dumps(nested(2))) == nested(2)


def test_an_activation_with_an_option_pickles() -> None:
    """A partial of a function that pickle would take for another."""
    cell = cells.elman(3, 4, activation=partial(jax.nn.leaky_relu, negative_slope=0.1))
    assert pickle.loads(pickle.dumps(cell)).init == cell.init


@pytest.mark.slow
def test_a_thousand_calls_take_no_memory() -> None:
    """Less than ten MiB."""

    def resident() -> float:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    call = unrolled("blocked")
    for _ in range(10):
        call()
    before = resident()
    for _ in range(1000):
        call()
    assert resident() - before < 10


def by_pickle(net: Any, params: Any) -> Any:
    """As `multiprocessing` sends them."""
    return pickle.loads(pickle.dumps(params))


def by_msgpack(net: Any, params: Any) -> Any:
    """As Flax saves them, read without a target."""
    from flax import serialization

    packed = serialization.msgpack_serialize(jax.tree.map(np.asarray, to_names(params)))
    return from_names(net.init, serialization.msgpack_restore(packed))


def by_orbax(net: Any, params: Any) -> Any:
    """A checkpoint, read without a target."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    with tempfile.TemporaryDirectory() as folder, checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(f"{folder}/params", to_names(params))
        checkpointer.wait_until_finished()
        return from_names(net.init, checkpointer.restore(f"{folder}/params"))


def by_average(net: Any, params: Any) -> Any:
    """The mean of two that are alike, drawn by two cells that are alike."""
    return jax.tree.map(lambda a, b: (a + b) / 2, params, net.init(jax.random.key(0)))


def by_masked(net: Any, params: Any) -> Any:
    """A step of an optimizer that leaves all alone whose name is asked for."""
    named = to_names(params)
    mask = jax.tree_util.tree_map_with_path(lambda path, _: not path, named)
    decay = optax.masked(optax.add_decayed_weights(0.5), mask)
    updates, _ = decay.update(jax.tree.map(jnp.zeros_like, named), decay.init(named), named)
    return from_names(net.init, optax.apply_updates(named, updates))


def by_export(net: Any, params: Any) -> Any:
    """As what an exported program takes and gives."""
    exported = jax.export.export(jax.jit(lambda p: jax.tree.map(lambda w: w + 0, p)))(params)
    return jax.export.deserialize(exported.serialize()).call(params)


WAYS = [by_pickle, by_msgpack, by_orbax, by_average, by_masked, by_export]
NETS: dict[str, Callable[[], Any]] = {**CELLS, "layers": two_layers}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
@pytest.mark.parametrize("net", sorted(NETS.keys() - {"bare step"}))  # which has no parameters
def test_parameters_go_there_and_back(net: str, way: Callable[[Any, Any], Any]) -> None:
    """Of every cell and layer, however they are sent."""
    if way is by_export and net in ("nnx", "equinox"):
        pytest.skip("their own classes, which they do not register for export")
    made, x = NETS[net](), jax.random.normal(jax.random.key(1), (5, 2, 3))
    params = made.init(jax.random.key(0))
    run = made.apply if isinstance(made, layers.Layer) else partial(rnnjax.unroll, made)
    back = way(made, params)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    chex.assert_trees_all_equal(run(back, x), run(params, x))
