"""Weights of Flax's cells, in and out, against what Flax computes."""

from typing import Any

import cell_parity
import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest
from flax import linen, nnx
from golden import make_flax

from rnnjax import cells
from rnnjax.interop.flax import from_flax, to_flax

Arrays = dict[str, np.ndarray]


def nested(flat: Arrays) -> dict[str, Arrays]:
    tree: dict[str, Arrays] = {}
    for name, array in flat.items():
        module, entry = name.split("/")
        tree.setdefault(module, {})[entry] = array
    return tree


def flat(tree: Any) -> Arrays:
    return {f"{module}/{name}": a for module, own in tree.items() for name, a in own.items()}


def check(case: str, record: Arrays) -> None:
    cell = make_flax.CASES[case]()
    cell_parity.check(
        record,
        lambda weights: from_flax(cell, nested(weights)),
        lambda params: flat(to_flax(cell, params)),
        missing=["b_hn"] if case == "nnx_gru" else [],
    )


@pytest.mark.parametrize("case", make_flax.CASES)
def test_golden_parity(case: str) -> None:
    check(case, cell_parity.golden("flax", case))


@pytest.mark.slow
@pytest.mark.parametrize("case", make_flax.CASES)
def test_live_parity(case: str) -> None:
    check(case, make_flax.record(case, seed=1))


def test_modules_of_nnx_give_their_state_and_take_it_back() -> None:
    module = nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0), keep_rngs=True)
    params = from_flax(module, nnx.state(module)).params
    tripled = jax.tree.map(lambda p: 3 * p, params)
    nnx.update(module, to_flax(module, tripled))
    np.testing.assert_array_equal(module.dense_h.kernel[...], tripled.W_hh)


class Mine(linen.LSTMCell):
    pass


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (linen.MGUCell(4), "linen.MGUCell"),
        (linen.ConvLSTMCell(4, (3, 3)), "linen.ConvLSTMCell"),
        (linen.RNN(linen.LSTMCell(4)), "linen.RNN"),
        (Mine(4), "got Mine"),
        (linen.LSTMCell, "linen.LSTMCell"),
        (None, "NoneType"),
    ],
)
def test_other_cells_are_refused_by_name(cell: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"{text}.*linen_cell"):
        from_flax(cell, {})


def test_a_module_in_place_of_its_weights_is_refused_with_what_to_pass() -> None:
    module: Any = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"tree: expected a mapping .*GRUCell; .*nnx.state\(cell\)"):
        from_flax(module, module)


def test_a_tree_of_which_the_weights_are_a_part_is_told_which() -> None:
    for cell in (linen.GRUCell(4), nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))):
        weights = to_flax(cell, cells.gru(3, 4).init(jax.random.key(0)))
        rest = {"kernel": np.ones((3, 3), np.float32)}
        tree = {"ScannedRNN_0": {"GRUCell_0": weights}, "Dense_0": rest}
        told = r"the weights of .*GRUCell, .*; pass tree\[\"ScannedRNN_0\"\]\[\"GRUCell_0\"\]$"
        with pytest.raises(ValueError, match=told):
            from_flax(cell, tree)
        with pytest.raises(ValueError, match=r"pass tree\[\"a\"\] or tree\[\"b\"\]$"):
            from_flax(cell, {"a": weights, "b": weights})


def test_what_has_no_place_is_refused() -> None:
    gru, lstm = (make(3, 4).init(jax.random.key(0)) for make in (cells.gru, cells.lstm))
    with pytest.raises(ValueError, match=r"gate_fn=sigmoid"):
        from_flax(linen.LSTMCell(4, gate_fn=jnp.tanh), {})
    for cell in (
        linen.SimpleCell(4, carry_init=linen.initializers.ones),
        linen.LSTMCell(4, carry_init=linen.initializers.ones),
    ):
        with pytest.raises(ValueError, match=r"expected carry_init=zeros, got .*ones"):
            from_flax(cell, {})
    with pytest.raises(ValueError, match=r"b_hn = 0"):
        to_flax(make_flax.CASES["nnx_gru"](), gru._replace(b_hn=jnp.ones(4, jnp.float32)))
    with pytest.raises(ValueError, match=r"b_hn .* is missing.*resets after"):
        to_flax(linen.GRUCell(4), gru._replace(b_hn=None))
    with pytest.raises(ValueError, match=r"W_hr .* too many"):
        to_flax(linen.LSTMCell(4), lstm._replace(W_hr=jnp.ones((4, 2), jnp.float32)))
    with pytest.raises(ValueError, match=r"W_hh is \(4, 16\), expected \(5, 20\)"):
        to_flax(linen.LSTMCell(5), lstm)
    with pytest.raises(TypeError, match=r"expected GRUParams for linen.GRUCell, got LSTMParams"):
        to_flax(linen.GRUCell(4), lstm)


def test_one_error_names_every_wrong_array() -> None:
    record = cell_parity.golden("flax", "linen_lstm")
    cell = linen.LSTMCell(4)
    cell_parity.refuses(
        record, lambda weights: from_flax(cell, nested(weights)), "hf/bias", "if/kernel", "linen."
    )
    with pytest.raises(ValueError, match=r"deeper inside; pass tree\[\"params\"\]$"):
        from_flax(cell, {"params": nested(parity.part(record, "weights/"))})
