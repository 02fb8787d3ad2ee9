"""What people pass by mistake: each error names the argument, what was expected, what came."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws import FACTORIES

import rnnjax
from rnnjax import cells, folds, layers, training

D, H = 3, 4
KEY = jax.random.key(0)
CELL, LSTM = cells.gru(D, H), cells.lstm(D, H)
LAYER = layers.recurrent(CELL)
PARAMS, OTHERS = CELL.init(KEY), LSTM.init(KEY)
X = jnp.ones((5, 2, D))
STATE = CELL.start(PARAMS, (2,))


def loss(params: Any, x: Any) -> jax.Array:
    """The mean of the outputs."""
    return rnnjax.unroll(CELL, params, x)[1].mean()


def fit(**options: Any) -> Any:
    """Two steps of training, with one argument changed."""
    given: dict[str, Any] = {
        "loss": loss,
        "params": PARAMS,
        "data": lambda key: X,
        "optimizer": optax.adam(1e-3),
        "steps": 2,
        "key": KEY,
    }
    return training.fit(**{**given, **options}, quiet=True)


# What takes a cell, its parameters and its inputs, and what folds them.
OVER: dict[str, Callable[..., Any]] = {
    "unroll": rnnjax.unroll,
    "states": rnnjax.states,
    "gradient_report": rnnjax.gradient_report,
    "step_jacobians": rnnjax.step_jacobians,
    "jacobian_product_spectrum": rnnjax.jacobian_product_spectrum,
}
STEPS: dict[str, Callable[..., Any]] = {
    "step": lambda cell, params, x: rnnjax.step(cell, params, STATE, x[0]),
    "jitted": jax.jit(rnnjax.unroll, static_argnums=0),
}
NOT_CELLS: list[tuple[Any, str]] = [
    (None, "got None"),
    (cells.gru, "got the function gru; call what makes cells"),
    (LAYER, "got a Layer; a layer runs by"),
    (PARAMS, "got a GRUParams"),
    ("gru", "got 'gru'"),
]
NOT_PARAMS: list[tuple[Any, str]] = [
    (None, "got None"),
    (OTHERS, "got LSTMParams"),
    (PARAMS._asdict(), r"got \{'W_hh'.*from_names"),
    ((PARAMS,), r"got \(GRUParams"),
    (PARAMS.W_hh, "got float32"),
]
NOT_FOLDS: list[tuple[Any, str]] = [
    (None, "got None"),
    (folds.scan, "got the function scan; call what makes folds"),
    ("scan", "got 'scan'"),
    (lambda cell: cell, "got the function <lambda>"),
]
NOT_LAYERS: list[tuple[Any, str]] = [
    (None, "got None"),
    (CELL, "got a Cell; a cell becomes one by"),
    (layers.recurrent, "got the function recurrent"),
    (PARAMS, "got a GRUParams"),
]


@pytest.mark.parametrize(("cell", "came"), NOT_CELLS)
@pytest.mark.parametrize("run", [*OVER.values(), STEPS["step"], layers.recurrent])
def test_no_cell(run: Callable[..., Any], cell: Any, came: str) -> None:
    args = (cell,) if run is layers.recurrent else (cell, PARAMS, X)
    with pytest.raises(TypeError, match=f"cell: expected a Cell, {came}"):
        run(*args)


@pytest.mark.parametrize(("params", "came"), NOT_PARAMS)
@pytest.mark.parametrize("run", [*OVER.values(), *STEPS.values()])
def test_the_parameters_of_something_else(run: Callable[..., Any], params: Any, came: str) -> None:
    with pytest.raises(TypeError, match=rf"params: expected GRUParams\(.*, {came}"):
        run(CELL, params, X)


@pytest.mark.parametrize(("fold", "came"), NOT_FOLDS)
@pytest.mark.parametrize("run", OVER.values(), ids=OVER)
def test_no_fold(run: Callable[..., Any], fold: Any, came: str) -> None:
    with pytest.raises(TypeError, match=rf"fold: expected a function of \(cell, .*, {came}"):
        run(CELL, PARAMS, X, fold=fold)


@pytest.mark.parametrize(("layer", "came"), NOT_LAYERS)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("forward", lambda layer: layers.bidirectional(layer, LAYER)),
        ("backward", lambda layer: layers.bidirectional(LAYER, layer)),
        ("layer", layers.backward),
        ("layers[1]", lambda layer: layers.stack(LAYER, layer)),
        ("layer", lambda layer: layers.dropout(layer, 0.1)),
        ("layer", layers.residual),
        ("layer", layers.streaming),
    ],
)
def test_no_layer(name: str, make: Callable[[Any], Any], layer: Any, came: str) -> None:
    with pytest.raises(TypeError, match=f"{re.escape(name)}: expected a Layer, {came}"):
        make(layer)


@pytest.mark.parametrize("optimizer", [optax.adam, None, 1e-3, "adam"])
def test_no_optimizer(optimizer: Any) -> None:
    with pytest.raises(TypeError, match=r"optimizer: expected an optax\.GradientTransf"):
        fit(optimizer=optimizer)


@pytest.mark.parametrize("batch_shape", [2, None, "2", 2.0])
@pytest.mark.parametrize("make", FACTORIES)
def test_no_batch_shape(make: Callable[..., Any], batch_shape: Any) -> None:
    cell = make(D, H)
    with pytest.raises(TypeError, match="batch_shape: expected the sizes of the batch axes, got"):
        cell.start(cell.init(KEY), batch_shape)


def test_a_bare_pair_for_the_state_of_a_step() -> None:
    pair = tuple(LSTM.start(OTHERS, (2,)))
    with pytest.raises(TypeError, match=r"state: expected LSTMState\(.*LSTMState\(\*state\)`"):
        rnnjax.step(LSTM, OTHERS, pair, X[0])


def test_resets_are_told_of_resets() -> None:
    with pytest.raises(TypeError, match="write `resets != 0`") as caught:
        rnnjax.unroll(CELL, PARAMS, X, resets=jnp.zeros((5, 2)))
    assert "lengths" not in str(caught.value)


@pytest.mark.parametrize("key", [0, None, 1.0, jnp.zeros(2)], ids=type)
@pytest.mark.parametrize("make", FACTORIES)
def test_no_key_to_draw_weights_with(make: Callable[..., Any], key: Any) -> None:
    layer = layers.recurrent(make(D, H))
    for one in (layer, layers.bidirectional(layer, layer), layers.stack(layer, layer)):
        with pytest.raises(TypeError, match=r"key: expected a key, got .*; pass jax\.random\.key"):
            one.init(key)


@pytest.mark.parametrize("key", [0, 1.0, "dropout", jnp.zeros(2)], ids=type)
def test_no_key_to_drop_with(key: Any) -> None:
    other = layers.recurrent(cells.gru(H, H))
    for one in (layers.dropout(LAYER, 0.5), layers.stack(LAYER, other, dropout=0.5)):
        with pytest.raises(TypeError, match="key: expected a key, got "):
            one.apply(one.init(KEY), X, key=key)


def test_what_a_step_of_the_users_does_wrong_is_told_as_it_is() -> None:
    """The parameters are not blamed where they are as `init` gives them, or it gives none."""

    def step(params: Any, state: Any, x: Any) -> Any:
        return state + x.missing

    def start(params: Any, batch: Any) -> Any:
        return jnp.zeros((*batch, D))

    for init in (lambda key: {"w": jnp.ones(3)}, lambda key: None):
        cell = rnnjax.from_step(step, init=init, start=start)
        with pytest.raises(AttributeError, match="missing"):
            rnnjax.unroll(cell, {"w": jnp.ones(3)}, X)


def test_parameters_of_numpy_do_for_a_step() -> None:
    """In double precision as well, which `numpy.load` is apt to give."""
    cell = cells.gru(D, H, dtype=jnp.float64)
    params = jax.tree.map(np.asarray, cell.init(KEY))
    state = rnnjax.step(cell, params, np.zeros((2, H)), np.ones((2, D)))
    final, _ = rnnjax.unroll(cell, params, np.ones((1, 2, D)))
    np.testing.assert_array_equal(state, final)
