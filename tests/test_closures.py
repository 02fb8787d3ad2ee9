"""What a cell closes over is an argument like any other, whoever traces it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import assert_close

import rnnjax
from rnnjax import cells, folds

CELL = cells.elman(2, 3, dtype=jnp.float64)
PARAMS = CELL.init(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (7, 4, 2), jnp.float64)
RESETS = jnp.zeros((7, 4), bool).at[3].set(True)


def counting():
    """A cell with a kernel whose start has an integer leaf."""
    return CELL._replace(
        start=lambda p, batch: (CELL.start(p, batch), jnp.zeros(batch, jnp.int32)),
        hidden=lambda s, d: s[0],
        update=lambda p, s, d, m: (CELL.update(p, s[0], d, m), s[1] + 1),
        output=lambda s: s[0],
    )


def scaled(factor):
    """A cell whose update closes over a value."""
    return CELL._replace(update=lambda p, s, d, m: jnp.tanh(d + m) * factor)


def learned(params):
    return CELL._replace(start=lambda p, batch: jnp.broadcast_to(params.b_h, (*batch, 3)))


def run(cell, params, fold, **options):
    return jnp.sum(jnp.sin(rnnjax.unroll(cell, params, X, fold=fold, **options)[1]))


LOSSES = {
    "counter, jit inside": lambda p, fold: jax.jit(
        lambda p: run(counting(), p, fold, resets=RESETS)
    )(p),
    "counter, checkpoint": lambda p, fold: jax.checkpoint(
        lambda p: run(counting(), p, fold, resets=RESETS)
    )(p),
    "counter, inside a scan": lambda p, fold: jax.lax.scan(
        lambda total, _: (total + run(counting(), p, fold, resets=RESETS), None), 0.0, jnp.arange(2)
    )[0],
    "a factor that vmap maps": lambda p, fold: jax.vmap(lambda i: run(scaled(i), p, fold))(
        jnp.arange(2.0)
    ).sum(),
    "a start that vmap maps": lambda p, fold: jax.vmap(
        lambda q: run(learned(q), q, fold, resets=RESETS)
    )(jax.tree.map(lambda a: jnp.stack([a, 2 * a]), p)).sum(),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "vmap" in name else ())  # dear to compile
        for name in LOSSES
    ],
)
def test_the_gradient_is_that_of_scan(name):
    got, want = (
        jax.value_and_grad(lambda p, fold=fold: LOSSES[name](p, fold))(PARAMS)
        for fold in (folds.blocked(size=3), folds.scan())
    )
    assert_close(got, want)


def test_what_vmap_maps_may_differ_from_what_is_differentiated():
    def gradient(factor, fold):
        return jax.grad(lambda p: run(scaled(factor), p, fold))(PARAMS)

    got, want = (
        jax.vmap(lambda f, fold=fold: gradient(f, fold))(jnp.arange(1.0, 3.0))
        for fold in (folds.blocked(size=3), folds.scan())
    )
    assert_close(got, want)
    assert not np.allclose(want.W_hh[0], want.W_hh[1])
