"""Initialisers: each gate's matrix, and biases that depend on each other."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import LIBRARY, initialisers_of

from rnnjax import cells, initializers

KEY = jax.random.key(0)


@pytest.mark.parametrize("gates", [1, 3, 4])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_by_gate_draws_each_gate_alone(gates: int, dtype: Any) -> None:
    """Every block of an orthogonal kernel is orthogonal, and no two are the same."""
    draw = initializers.by_gate(initializers.orthogonal(), gates)
    drawn = draw(KEY, (6, gates * 6), dtype)
    assert drawn.shape == (6, gates * 6) and drawn.dtype == dtype
    blocks = np.split(np.asarray(drawn, np.float64), gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(6), atol=100 * jnp.finfo(dtype).eps)
    for n, block in enumerate(blocks):
        assert all(np.abs(block - other).max() > 0.1 for other in blocks[:n])


def test_by_gate_needs_whole_gates() -> None:
    """The last axis divides, or it is said so."""
    told = "shape: expected a last axis that divides into 3 gates, got (6, 17); pass [K, gates * H]"
    with pytest.raises(ValueError, match=re.escape(told)):
        initializers.by_gate(initializers.orthogonal(), 3)(KEY, (6, 17), jnp.float32)


def test_by_gate_takes_no_other_shape_than_it_asks_for() -> None:
    """A row for each gate would make a matrix of one row, which broadcasts."""
    draw = initializers.by_gate(lambda key, shape, dtype: jnp.ones((1, shape[-1]), dtype), 3)
    told = "init: expected float32[6,6] as asked for, got float32[1,6]; let"
    with pytest.raises(TypeError, match=re.escape(told)):
        draw(KEY, (6, 18), jnp.float32)


def test_an_initialiser_is_called_before_it_is_given():
    cell = cells.lstm(5, 4, kernel_init=jax.nn.initializers.orthogonal)
    with pytest.raises(TypeError, match=r"kernel_init: .* got the function orthogonal, which"):
        cell.init(jax.random.key(0))


@pytest.mark.parametrize(
    "name", [name for name in LIBRARY if "kernel_init" in initialisers_of(LIBRARY[name])]
)
def test_cells_begin_orthogonal_by_gate(name: str) -> None:
    """Nothing is lost and nothing grows at the first step."""
    W_hh = np.asarray(LIBRARY[name](5, 6, dtype=jnp.float64).init(KEY).W_hh)
    for block in np.split(W_hh, W_hh.shape[1] // 6, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(len(W_hh)), atol=1e-12)


def test_scaled_identity() -> None:
    """A multiple of the identity, of the dtype asked for."""
    drawn = initializers.scaled_identity(0.5)(KEY, (4, 4), jnp.float32)
    assert drawn.dtype == jnp.float32
    np.testing.assert_array_equal(drawn, 0.5 * np.eye(4))
    np.testing.assert_array_equal(initializers.scaled_identity()(KEY, (3, 3)), np.eye(3))
    lstm = cells.lstm(5, 4, kernel_init=initializers.scaled_identity(2.0))
    np.testing.assert_array_equal(lstm.init(KEY).W_hh, np.tile(2 * np.eye(4), 4))


@pytest.mark.parametrize("shape", [(4, 5), (4,), (2, 4, 4)])
def test_scaled_identity_is_square(shape: tuple[int, ...]) -> None:
    """No other shape has one."""
    told = f"shape: expected a square matrix [H, H] for an identity, got {shape}; use it as the"
    with pytest.raises(ValueError, match=re.escape(told)):
        initializers.scaled_identity()(KEY, shape)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_chrono(dtype: Any) -> None:
    """b_f = ln U[1, T - 1], b_i = -b_f, and zeros beside them."""
    longest = 50
    draw = initializers.chrono(longest, forget=1, remember=0)
    b_i, b_f, b_g, b_o = np.asarray(draw(KEY, (4, 5000), dtype))
    assert b_f.dtype == dtype
    np.testing.assert_array_equal(b_i, -b_f)
    assert not b_g.any() and not b_o.any()
    memory = np.exp(b_f)
    assert memory.min() >= 1 - 1e-5 and memory.max() <= longest - 1 + 1e-4
    # Uniform: the quantiles of 5000 draws lie within five standard errors.
    quantiles = (np.quantile(memory, [0.1, 0.5, 0.9]) - 1) / (longest - 2)
    np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=5 * 0.5 / np.sqrt(5000))


def test_chrono_in_cells() -> None:
    """Rows i f g o of an LSTM without a forget bias of its own; r z n of a GRU."""
    lstm = cells.lstm(
        5, 8, forget_bias=0.0, bias_init=initializers.chrono(20, forget=1, remember=0)
    )
    b_i, b_f, b_g, b_o = lstm.init(KEY).b_h.reshape(4, 8)
    assert (b_f > 0).any() and not b_g.any() and not b_o.any()
    np.testing.assert_array_equal(b_i, -b_f)
    gru = cells.gru(5, 8, bias_init=initializers.chrono(20, forget=1))
    b_r, b_z, b_n = gru.init(KEY).b_h.reshape(3, 8)
    assert (b_z > 0).any() and not b_r.any() and not b_n.any()
    np.testing.assert_array_equal(initializers.chrono(2, forget=0)(KEY, (1, 8)), np.zeros((1, 8)))


@pytest.mark.parametrize("longest", [1.9, 0, -3])
def test_chrono_needs_two_steps(longest: float) -> None:
    """No memory is shorter."""
    told = f"longest: expected at least 2 steps, got {longest}; pass the lag"
    with pytest.raises(ValueError, match=re.escape(told)):
        initializers.chrono(longest, forget=1)


@pytest.mark.parametrize("rows", [{"forget": 4}, {"forget": 1, "remember": -5}])
def test_chrono_needs_rows_that_are_there(rows: dict[str, int]) -> None:
    """A row beyond the gates would be dropped without a word."""
    told = f"expected rows of biases [G, H] = (4, 8), got {list(rows.values())}; pass the rows"
    with pytest.raises(ValueError, match=re.escape(told)):
        initializers.chrono(20, **rows)(KEY, (4, 8), jnp.float32)
