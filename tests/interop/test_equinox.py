"""Weights of Equinox's cells, in and out, against what Equinox computes."""

from typing import Any

import cell_parity
import jax
import numpy as np
import pytest

from rnnjax import cells
from rnnjax.interop.equinox import equinox_cell, from_equinox, to_equinox

CASES = ("lstm", "lstm_without_bias", "gru", "gru_without_bias")


def check(record: dict[str, np.ndarray]) -> None:
    cell_parity.check(record, from_equinox, to_equinox)


@pytest.mark.parametrize("case", CASES)
def test_golden_parity(case: str) -> None:
    check(cell_parity.golden("equinox", case))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_live_parity(case: str) -> None:
    pytest.importorskip("equinox")
    from golden import make_equinox

    check(make_equinox.record(case, seed=1))


def test_one_error_names_every_wrong_array() -> None:
    record = cell_parity.golden("equinox", "gru")
    cell_parity.refuses(record, from_equinox, "bias_n", "weight_ih")


def test_other_modules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight_hh .*equinox_cell"):
        from_equinox({"weight": np.zeros((4, 3))})
    with pytest.raises(ValueError, match=r"weight_hh .* got \{'weight_hh': float64\[10,3\]\}"):
        from_equinox({"weight_hh": np.zeros((10, 3))})  # 10 // 3 gates, and a row too many
    with pytest.raises(ValueError, match=r"weight_hh .* got \{'weight_hh': float64\[4,0\]\}"):
        from_equinox({"weight_hh": np.zeros((4, 0))})
    with pytest.raises(TypeError, match=r"LSTMParams .* got ElmanParams"):
        to_equinox(cells.elman(3, 4).init(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"b_hn .* is missing"):
        to_equinox(cells.gru(3, 4, reset_after=False).init(jax.random.key(0)))
    eqx = pytest.importorskip("equinox")
    module = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"arrays: expected a mapping.*GRUCell; pass vars\(module"):
        from_equinox(module)
    with pytest.raises(TypeError, match=r"make: expected an equinox.Module"):
        equinox_cell(lambda key: np.zeros, lambda module: np.zeros(4))

    def nothing(module: Any) -> tuple[()]:
        return ()

    with pytest.raises(TypeError, match=r"hidden: expected at least one array"):
        equinox_cell(lambda key: eqx.nn.GRUCell(3, 4, key=key), nothing)
