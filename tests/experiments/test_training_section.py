"""The sections on the recurrence and on training: their numbers, and the exercise that is run."""

import contextlib
import math
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.page import wave
from experiments.page.section import Drawing, Found, Plot
from experiments.page.sections import recurrence, sequence, training

# What the exercise asks for, in the program's own lines.
CHANGES = {
    "    recurrent, read = jax.random.split(key)\n": "",
    'jax.random.normal(recurrent, (H, H)) / H**0.5': "jnp.full(H, 0.5)",
    "jax.random.normal(read, (1, H))": "jax.random.normal(key, (1, H))",
    'h @ params["W_hh"]': 'h * params["W_hh"]',
}  # fmt: skip


@contextlib.contextmanager
def numerics() -> Iterator[None]:
    """Those of the page: the program is written for readers, not for the library's strict tests."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.fixture(scope="module")
def found() -> Found:
    with numerics():
        return training.measure()


def addends(found: Found, column: str) -> list[float]:
    return [found["results"][f"step {t}"]["mean"][column] for t in (1, 2, 3)]


def test_the_fold_gives_the_states_of_the_example() -> None:
    states = recurrence.fold(
        jnp.full((1, 1), recurrence.W_HH),
        jnp.full((1, 1), recurrence.W_XH),
        jnp.full(1, recurrence.B_H),
        jnp.array(recurrence.INPUTS)[:, None],
    )
    np.testing.assert_allclose(states[:, 0], recurrence.by_hand(recurrence.INPUTS), rtol=1e-6)


@pytest.mark.parametrize(("column", "k"), [("addend", 3), ("cut", 1)])
def test_the_addends_make_the_gradient(found: Found, column: str, k: int) -> None:
    total = found["results"]["sum"]["mean"][column]
    assert math.isclose(total, sum(addends(found, column)))
    assert math.isclose(total, jax.grad(training.loss)(recurrence.W_HH, k=k), rel_tol=1e-5)
    assert math.isclose(total, found["results"]["jax.grad"]["mean"][column], rel_tol=1e-5)


def test_the_whole_gradient_is_that_of_finite_differences(found: Found) -> None:
    def loss(W_hh: float) -> float:
        h, total = 0.0, 0.0
        for x, target in zip(training.INPUTS, training.TARGETS, strict=True):
            h = math.tanh(W_hh * h + recurrence.W_XH * x)
            total += (h - target) ** 2 / 2
        return total

    slope = (loss(recurrence.W_HH + 1e-5) - loss(recurrence.W_HH - 1e-5)) / 2e-5
    assert math.isclose(found["results"]["sum"]["mean"]["addend"], slope, rel_tol=1e-6)


def test_pieces_of_two_steps_cut_between_the_second_and_the_third() -> None:
    states = training.forward(math.tanh)
    errors = [h - target for h, target in zip(states, training.TARGETS, strict=True)]
    deltas = training.backward(errors, [1 - h**2 for h in states], k=2)
    total = sum(training.addends(deltas, states))
    assert math.isclose(total, jax.grad(training.loss)(recurrence.W_HH, k=2), rel_tol=1e-5)
    assert not math.isclose(total, jax.grad(training.loss)(recurrence.W_HH, k=3), rel_tol=1e-2)


def test_the_gradient_of_the_exercise() -> None:
    # h_3 = W_hh^2, so that the error h_3 - 1 is multiplied by 2 W_hh.
    expected = 2 * recurrence.W_HH * (recurrence.W_HH**2 - 1)
    assert training._exercise() == {"whole": expected, "cut": expected / 2}


def test_the_network_uses_more_than_the_present_value(found: Found) -> None:
    training_loss, validation = found["losses"][-1]
    assert wave.NOISE**2 < training_loss < validation < 0.5 * found["present"]
    assert found["late"] < 0.5 * found["early"]
    # The best line cannot be worse than tomorrow as today.
    values = found["values"]
    assert found["present"] < ((values[1:] - values[:-1]) ** 2).mean()


def test_the_program_prints_what_the_exercise_expects(
    found: Found, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(wave.__file__).read_text(encoding="utf-8")
    for line, new in CHANGES.items():
        assert source.count(line) == 1
        source = source.replace(line, new)
    changed = tmp_path / "mine.py"
    changed.write_text(source, encoding="utf-8")
    numbers = training.SECTION.exercises(found)[1].numbers
    for program, label in [(Path(wave.__file__), "as it is"), (changed, "after the change")]:
        with numerics():
            runpy.run_path(str(program), run_name="__main__")
        printed = float(capsys.readouterr().out.split()[-1])
        assert math.isclose(printed, numbers[label], abs_tol=6e-5)  # four digits are printed
    # The answers are further apart than what the page accepts.
    assert abs(numbers["after the change"] / numbers["as it is"] - 1) > 0.1


@pytest.mark.parametrize("section", [sequence, recurrence, training])
def test_figures_are_there_and_drawings_have_no_colours_of_their_own(
    section: ModuleType, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue("found") if section is training else section.measure()
    for block in section.SECTION.body(found):
        if isinstance(block, Plot):
            assert set(block.panels) == set(section.panels(found))
        if isinstance(block, Drawing):
            ElementTree.fromstring(block.svg)
            colours = re.findall(r"\b(?:fill|stroke)[:=] *[\"']?([\w#]+)", block.svg)
            assert set(colours) == {"none", "var"}
