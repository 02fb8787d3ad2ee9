"""Cells of other libraries, held against a plain loop over the library's own module."""

from collections.abc import Callable
from functools import lru_cache
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
from rnnjax.cell import Cell
from rnnjax.interop.flax import linen_cell, nnx_cell
from rnnjax.tree import combine, floating, rest

T, B, D, H = 4, 3, 2, 4
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


@pytest.mark.parametrize("name", ROWS)
def test_a_foreign_cell_is_the_loop_over_its_module(name: str) -> None:
    held_against_loop(name, folds.blocked())
