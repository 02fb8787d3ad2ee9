"""Parameters that went through what knows only names, and came back."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from laws import LIBRARY

from rnnjax import cells, layers
from rnnjax.interop.names import from_names, to_names

LAYER = layers.stack(
    layers.recurrent(cells.gru(3, 4)),
    layers.bidirectional(layers.recurrent(cells.lstm(4, 5)), layers.recurrent(cells.lru(4, 5))),
)
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_fields_of_a_cell(name: str) -> None:
    cell = LIBRARY[name](3, 4)
    params = cell.init(KEY)
    for named in (params, params._asdict(), to_names(params)):
        chex.assert_trees_all_equal(from_names(cell.init, named), params)
    assert set(to_names(params)) == {name for name, p in params._asdict().items() if p is not None}


@pytest.mark.parametrize(
    "named",
    [{}, None, [], {"W_xh": 1.0}, cells.lstm(3, 4).init(KEY)],
    ids=lambda named: type(named),
)
def test_other_names_are_refused(named: Any) -> None:
    with pytest.raises(TypeError, match=r"params: expected the names and shapes of Elman.*, got "):
        from_names(cells.elman(3, 4).init, named)


@pytest.mark.parametrize("net", [LAYER, cells.elman(3, 4), None, jax.random.key(0)])
def test_what_is_no_init(net: Any) -> None:
    with pytest.raises(TypeError, match=r"init: expected a function of \(key\), got .*`net\.init`"):
        from_names(net, to_names(LAYER.init(KEY)))


def test_numbers_of_another_kind() -> None:
    params = LAYER.init(KEY)
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    chex.assert_trees_all_equal(from_names(LAYER.init, to_names(narrow)), narrow)
    named = to_names(params)
    named["1"]["forward"]["W_hh"] = named["1"]["forward"]["W_hh"].astype(jnp.int32)
    message = r"params: expected float32 at 1/forward/W_hh, got int32; pass"
    with pytest.raises(TypeError, match=message):
        from_names(LAYER.init, named)
    named["1"]["forward"]["W_hh"] = "weights"
    with pytest.raises(TypeError, match=r"params\['1'\]\['forward'\]\['W_hh'\]: .*, got 'weights'"):
        from_names(LAYER.init, named)
