"""The network of the reader's page is the network that was trained."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import page
from experiments.data.shakespeare import ALPHABET
from experiments.models.language import LanguageModel
from experiments.models.portable import portable, rounded
from rnnjax import cells

SCRIPT = Path(page.__file__).parent / "lstm.js"
TEXT = ("To be, or not to be: that is the question:\nWhether 'tis nobler in the mind~ " * 3)[:200]
# Reads {network, text}; prints log probabilities and the last state.
READ = """
const { network: data, text } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const network = lesson.lstm(data);
const log = [];
let state = network.start();
for (const character of text) {
  const now = network.step(state, character);
  state = now.state;
  log.push([...lesson.probabilities(now.logits, 1)].map(Math.log));
}
const read = network.read(text.slice(1)), first = network.step(network.start(), text[0]).state;
console.log(JSON.stringify({
  log, c: [...state.c], h: [...state.h], read: [...read.state.h], first: [...first.h],
}));
"""


def drawn(size: int, embedding: int, cell: Any = cells.lstm) -> LanguageModel:
    """A network whose weights all differ from zero, as training leaves them."""
    vocabulary = len(ALPHABET)
    model = LanguageModel(cell, vocabulary, size, embedding=embedding, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        w + 0.1 * jax.random.normal(k, w.shape, w.dtype) for w, k in zip(leaves, keys, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(tree, moved), rest)


def run(script: str, given: Any) -> Any:
    """What a program that has `lstm.js` makes of a JSON value."""
    if shutil.which("node") is None:
        pytest.skip("node was not found")
    program = f"const lesson = {{}};\n{SCRIPT.read_text(encoding='utf-8')}\n{script}"
    done = subprocess.run(
        ["node", "-e", program], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("size", "embedding"), [(5, 3), (256, 64)])
def test_the_page_predicts_what_jax_predicts(size: int, embedding: int) -> None:
    model = drawn(size, embedding)
    tokens = np.array([ALPHABET.index(character) for character in TEXT], np.int32)
    state, logits = rounded(model)(tokens[:, None])
    found = run(READ, {"network": portable(model, ALPHABET), "text": TEXT})
    np.testing.assert_allclose(found["log"], jax.nn.log_softmax(logits[:, 0]), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["c"], state.c[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["h"], state.h[0], rtol=0, atol=1e-4)
    # Rounding is what separates them from the network that was trained, and it is seen.
    unrounded = np.asarray(jax.nn.log_softmax(model(tokens[:, None])[1][:, 0]))
    assert np.max(np.abs(np.array(found["log"]) - unrounded)) > 2e-4


def test_a_text_is_read_as_the_beginning_of_a_line() -> None:
    model = drawn(5, 3)
    found = run(READ, {"network": portable(model, ALPHABET), "text": "\n" + TEXT})
    assert found["read"] == found["h"] != found["first"]


def test_weights_are_those_of_float16() -> None:
    # The largest, the smallest, subnormal ones, halves to even and both zeros.
    values = [65504, -65504, 2**-14, 2**-24, 1023 * 2**-24, 0.1, -1 / 3, 1 + 2**-11, 0.0, -0.0]
    model = drawn(5, 3)
    weights = np.resize(np.array(values, np.float32), (5, 20))
    model.rnn.params.W_hh[...] = weights
    packed = portable(model, ALPHABET)["weights"]["W_hh"]
    assert packed["shape"] == [5, 20]
    script = """
    const { float16 } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    console.log(JSON.stringify([...lesson.halves(float16)]));
    """
    expected = weights.astype(np.float16).astype(np.float32)
    assert run(script, packed) == expected.ravel().tolist()
    np.testing.assert_array_equal(rounded(model).rnn.params.W_hh[...], expected)


def test_rounding_leaves_the_model_as_it_was() -> None:
    model = drawn(5, 3)
    before = np.array(model.readout.kernel)
    assert np.any(np.asarray(rounded(model).readout.kernel[...]) != before)
    np.testing.assert_array_equal(model.readout.kernel[...], before)


def test_the_network_of_the_lesson_is_below_a_megabyte() -> None:
    text = json.dumps(portable(drawn(256, 64), ALPHABET))
    assert len(text.encode()) < 1_000_000


def test_temperature_and_sampling() -> None:
    script = """
    const { logits, temperatures, draws } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const p = temperatures.map((one) => [...lesson.probabilities(logits, one)]);
    console.log(JSON.stringify([p, draws.map((u) => lesson.sample([0.25, 0, 0.5, 0.25], u))]));
    """
    logits, temperatures = [800.0, 801.0, -800.0], [0.1, 1.0, 1.5]
    draws = [0.0, 0.24, 0.25, 0.74, 0.76, 1.0]
    p, indices = run(script, {"logits": logits, "temperatures": temperatures, "draws": draws})
    expected = [jax.nn.softmax(np.array(logits) / one) for one in temperatures]
    np.testing.assert_allclose(p, expected, atol=1e-6)
    assert indices == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "model",
    [
        drawn(5, 3, cells.gru),
        LanguageModel(cells.lstm, len(ALPHABET), 5, rngs=nnx.Rngs(0)),
        drawn(5, 3, lambda d, h: cells.lstm(d, h, projection_size=h)),
    ],
    ids=["another cell", "a shared readout", "a projection"],
)
def test_what_the_page_cannot_run_is_refused(model: LanguageModel) -> None:
    with pytest.raises(TypeError, match="LSTM without projection"):
        portable(model, ALPHABET)


def test_what_does_not_fit_is_refused() -> None:
    model = drawn(5, 3)
    with pytest.raises(ValueError, match="expected 96 characters"):
        portable(model, ALPHABET[1:])
    model.readout.kernel[...] = model.readout.kernel[...].at[0, 0].set(7e4)
    with pytest.raises(ValueError, match="W_hy: expected numbers that 16 bits hold"):
        portable(model, ALPHABET)
