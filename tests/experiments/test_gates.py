"""The section on gates: its steps against the cells of the library, its numbers, its drawings."""

import itertools
import math
import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.page import blocks
from experiments.page.section import Code, Drawing
from experiments.page.sections import gates
from rnnjax import step
from rnnjax.cells import GRUParams, LSTMParams, LSTMState, elman, gru, lstm

D, H = 3, 5
SHAPES = {
    "lstm": [(D, 4 * H), (H, 4 * H), (4 * H,)],
    "gru": [(D, 3 * H), (H, 3 * H), (3 * H,), (H,)],
}


def drawn(random: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [random.normal(size=shape) for shape in shapes]


def test_a_step_of_the_lstm_is_that_of_the_library() -> None:
    random = np.random.default_rng(0)
    weights = drawn(random, *SHAPES["lstm"])
    c, h, *inputs = drawn(random, (H,), (H,), *[(D,)] * 4)
    cell, params = lstm(D, H, dtype=jnp.float64), LSTMParams(*map(jnp.asarray, weights))
    state = LSTMState(jnp.asarray(c), jnp.asarray(h))
    for x in inputs:
        state = step(cell, params, state, jnp.asarray(x))
        c, h = gates.lstm_step(tuple(weights), c, h, x)
        np.testing.assert_allclose(c, state.c, rtol=0, atol=1e-12)
        np.testing.assert_allclose(h, state.h, rtol=0, atol=1e-12)


def test_a_step_of_the_gru_is_that_of_the_library() -> None:
    random = np.random.default_rng(1)
    weights = drawn(random, *SHAPES["gru"])
    h, *inputs = drawn(random, (H,), *[(D,)] * 4)
    cell, params = gru(D, H, dtype=jnp.float64), GRUParams(*map(jnp.asarray, weights))
    state = jnp.asarray(h)
    for x in inputs:
        state = step(cell, params, state, jnp.asarray(x))
        h = gates.gru_step(tuple(weights), h, x)
        np.testing.assert_allclose(h, state, rtol=0, atol=1e-12)


def test_the_direct_path_has_the_forget_gate_as_its_only_factor() -> None:
    random = np.random.default_rng(2)
    weights = drawn(random, *SHAPES["lstm"])
    c, h, x = drawn(random, (H,), (H,), (D,))
    W_xh, W_hh, b_h = weights
    forget = gates.sigmoid((x @ W_xh + h @ W_hh + b_h)[H : 2 * H])
    moved, _ = gates.lstm_step(tuple(weights), c + 1e-3, h, x)
    still, _ = gates.lstm_step(tuple(weights), c, h, x)
    np.testing.assert_allclose((moved - still) / 1e-3, forget, rtol=1e-9)


def test_numbers_of_the_prose() -> None:
    found = gates.measure()
    left = {name: row["mean"]["after 100"] for name, row in found["results"].items()}
    assert left["forget gate 0.990"] == pytest.approx(0.366, abs=5e-4)
    assert left["forget gate 0.500"] == pytest.approx(8e-31, rel=0.02)
    assert found["left"]["tanh"] == pytest.approx(2.7e-5, rel=0.02)
    assert found["bias_1"] == pytest.approx(0.731, abs=5e-4)
    for row in (one["mean"] for one in found["results"].values()):
        # A memory is at 1 / e after about as many steps as it spans.
        kept = gates.sigmoid(row["bias"]) ** row["span"]
        assert kept == pytest.approx(math.exp(-1), abs=0.12)
    unit = found["lstm"]
    assert unit["c"] == pytest.approx(unit["f"] * gates.CELL + unit["i"] * unit["g"])
    assert unit["h"] == pytest.approx(unit["o"] * math.tanh(unit["c"]))
    assert found["half"]["gate"] ** 100 == pytest.approx(0.5)


def test_answers_of_the_exercises() -> None:
    found = gates.measure()
    half, sizes = (exercise.numbers for exercise in gates.SECTION.exercises(found))
    lost, bias = half.values()
    assert (1 - lost / 100) ** 100 == pytest.approx(0.5)
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(1 - lost / 100)
    made = {"tanh": elman(D, H), "LSTM": lstm(D, H), "GRU": gru(D, H)}
    for name, cell in made.items():
        leaves = jax.tree.leaves(jax.eval_shape(cell.init, jax.random.key(0)))
        assert sum(leaf.size for leaf in leaves) == found["parameters"][name]
    assert sizes == {"tanh network": 45, "LSTM": 180}


@pytest.mark.parametrize(("cell", "steps"), [("lstm", 4), ("gru", 3)])
def test_each_drawing_lights_one_step(cell: str, steps: int) -> None:
    for at in range(1, steps + 1):
        svg = gates.drawing(cell, step=at)
        groups = [group.get("class") for group in ElementTree.fromstring(svg).iter() if
                  group.tag.endswith("}g")]  # fmt: skip
        assert groups == ["later"] * (steps - at) + ["now"] + ["earlier"] * (at - 1)
        assert "#" not in svg and 'id="' not in svg  # colours are the page's


def test_the_section_shows_the_lines_that_compute() -> None:
    body = list(gates.SECTION.body(gates.measure()))
    assert sum(isinstance(block, Drawing) for block in body) == 4 + 1
    assert sum(isinstance(block, Code) and block.open for block in body) == 1
    place = blocks.Place("gates", gates.SECTION.title, lambda name: "", (), itertools.count(1))
    page = blocks.html(body, place)
    for one in ("f = sigmoid(a_f)", "c = f * c + i * g", "h = (1 - z) * n + z * h"):
        assert f"<code>{one}</code>" in page
    # Nothing is left of the marks for code and mathematics.
    prose = re.sub(r"<(code|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"[`$\\]|\bnan\b|\binf\b", prose)
