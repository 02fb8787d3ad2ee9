"""Weights of Haiku's cores, in and out, against what Haiku computes."""

import cell_parity
import jax
import numpy as np
import parity
import pytest

import rnnjax
from rnnjax import cells
from rnnjax.interop.haiku import from_haiku, haiku_cell, to_haiku

Arrays = dict[str, np.ndarray]
CASES = {
    "vanilla_rnn": "vanilla_rnn",
    "vanilla_rnn_single_bias": "core",
    "lstm": "lstm",
    "gru": "gru",
}


def by_module(flat: Arrays) -> dict[str, Arrays]:
    params: dict[str, Arrays] = {}
    for name, array in flat.items():
        module, _, entry = name.rpartition("/")
        params.setdefault(module, {})[entry] = array
    return params


def check(case: str, record: Arrays) -> None:
    name = CASES[case]
    cell_parity.check(
        record,
        lambda weights: from_haiku(by_module(weights), name),
        lambda params: {
            f"{module}/{entry}": array
            for module, entries in to_haiku(params, name).items()
            for entry, array in entries.items()
        },
        twice=["vanilla_rnn/linear_1/b"] if case == "vanilla_rnn" else [],
    )


@pytest.mark.parametrize("case", CASES)
def test_golden_parity(case: str) -> None:
    check(case, cell_parity.golden("haiku", case))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_live_parity(case: str) -> None:
    pytest.importorskip("haiku")
    from golden import make_haiku

    check(case, make_haiku.record(case, seed=1))


def test_a_core_is_found_in_a_whole_model() -> None:
    weights = by_module(parity.part(cell_parity.golden("haiku", "gru"), "weights/"))
    model = {"net/~/gru": weights["gru"], "net/~/gru_1": {"w_i": np.zeros(2)}}
    assert from_haiku(model, "net/~/gru").params.W_xh.shape == (3, 12)
    with pytest.raises(ValueError, match=r"named 'lstm'.*net/~/gru_1"):
        from_haiku(model, "lstm")
    with pytest.raises(ValueError, match=r"input_to_hidden/w.*haiku_cell"):
        from_haiku({"conv/input_to_hidden": {"w": np.zeros((3, 3))}}, "conv")


def test_one_error_names_every_wrong_array() -> None:
    record = cell_parity.golden("haiku", "gru")
    cell_parity.refuses(
        record, lambda weights: from_haiku(by_module(weights), "gru"), "gru/b", "gru/w_h", "GRU"
    )


def test_what_is_not_nested_by_module_is_refused() -> None:
    flat = {"lstm/linear/w": np.zeros((3, 16))}
    for params, message in [
        (flat, r"params\['lstm/linear/w'\]: expected a mapping .*got ndarray; .*hk.transform"),
        (list(flat), r"params: expected a mapping of names to arrays, got list"),
    ]:
        with pytest.raises(TypeError, match=message):
            from_haiku(params, "lstm")


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"b_hn \(4,\) is one too many.*resets before"):
        to_haiku(cells.gru(3, 4).init(jax.random.key(0)), "gru")
    with pytest.raises(TypeError, match=r"expected ElmanParams for a VanillaRNN.*MinGRUParams"):
        to_haiku(cells.min_gru(3, 4).init(jax.random.key(0)), "rnn")
    hk = pytest.importorskip("haiku")
    with pytest.raises(TypeError, match=r"make: expected a hk.RNNCore"):
        haiku_cell(lambda: hk.Linear(4), np.zeros(3))
    cell = haiku_cell(lambda: hk.GRU(4), np.zeros(3))
    params, _ = cell.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"params: expected every .* `\(params, \{\}\)` for a core"):
        rnnjax.unroll(cell, params, np.zeros((5, 2, 3)))
