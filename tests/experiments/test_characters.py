"""Shakespeare letter by letter: sizes, places, connectivity, differences, and a quick run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.characters import experiment
from experiments.characters.figure import example
from experiments.characters.options import BEFORE, LAGS, ORDERS, SAMPLED, Name, Options
from experiments.characters.passages import LONGEST, PASSAGES, PLACES, SHORTEST, drawn, letters
from experiments.characters.rivals import Difference, difference
from experiments.characters.section import SECTION, softmax
from experiments.data.shakespeare import ALPHABET, TEST, Works, characters, shakespeare, speeches
from experiments.models.language import LanguageModel
from rnnjax import cells

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def works() -> Works:
    return shakespeare()


@pytest.fixture
def float32() -> Iterator[None]:
    """The numerics that experiments run with, not the strict ones of the library's tests."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("size", [32, 256])
def test_every_network_has_as_many_weights_as_the_lstm(size: int) -> None:
    options = Options(size=size)
    names: tuple[Name, ...] = options.cell

    def weights(name: Name) -> int:
        model = nnx.eval_shape(lambda: experiment.network(name, options, 0))
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    assert experiment.units("lstm", options) == size
    counts = [weights(name) for name in names]
    assert max(counts) < 1.01 * min(counts)


@pytest.mark.usefixtures("float32")
def test_the_network_is_restored_from_its_part() -> None:
    options = Options(size=6, embedding=4)
    model = experiment.network("lstm", options, 3)
    weights = jax.tree.leaves(nnx.state(model, nnx.Param))
    part = {f"weights{i}": np.asarray(each) for i, each in enumerate(weights)}
    again = experiment.restored("lstm", options, part)
    tokens = jnp.arange(90)[:, None]
    np.testing.assert_array_equal(again(tokens)[1], model(tokens)[1])


def test_places_are_drawn_by_the_rule(works: Works) -> None:
    test = characters(works, TEST)
    text, places = letters(test), drawn(works, test)
    spoken = {speech for name in TEST for speech in speeches(works.texts[name])}
    assert len({passage.begin for passage in places.passages}) == PASSAGES
    for passage in places.passages:
        assert passage.text in spoken
        assert SHORTEST <= len(passage.text) <= LONGEST
        assert text[passage.begin :].startswith(passage.text)
        assert letters(test[passage.predicted]) == passage.text[1:]
        t, before = example(passage)
        assert passage.text[t + 1] == "\n" and passage.text[: t + 1].endswith(before)
    for kind, character in ((places.ends, "\n"), (places.spaces, " ")):
        assert len(set(kind.tolist())) == PLACES and kind.min() >= BEFORE
        assert {text[place] for place in kind} == {character}
    again = drawn(works, test)
    np.testing.assert_array_equal(places.every, again.every)
    passages, ends, spaces = places.split(places.every)
    np.testing.assert_array_equal(passages[1], places.passages[1].predicted)
    np.testing.assert_array_equal(ends, places.ends)
    np.testing.assert_array_equal(spaces, places.spaces)


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_connectivity_is_the_gradient_to_each_character() -> None:
    net = LanguageModel(cells.gru, len(ALPHABET), 6, embedding=4, rngs=nnx.Rngs(1))
    before = jax.random.randint(jax.random.key(0), (7, 3), 0, len(ALPHABET))
    following = jnp.array([5, 60, 95])
    norms, p = experiment.connectivity(net, before, following)
    assert norms.shape == (3, 7)
    np.testing.assert_allclose(p, jax.nn.softmax(net(before)[1][-1]), rtol=1e-5)
    embedded = net.embed(before)

    def log_p(x: jax.Array) -> jax.Array:
        """Of what follows the second text, its fifth character replaced."""
        _, h = net.read(embedded.at[4, 1].set(x))
        return jax.nn.log_softmax(net.logits(h[-1, 1]))[60]

    expected = np.linalg.norm(jax.grad(log_p)(embedded[4, 1]))
    np.testing.assert_allclose(norms[1, 2], expected, rtol=1e-5)  # two before the latest


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_places_are_examined_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "ROWS", 4)
    net = LanguageModel(cells.gru, len(ALPHABET), 6, embedding=4, rngs=nnx.Rngs(1))
    text = np.arange(400, dtype=np.int32) % 89
    places = np.array([130, 200, 201, 309, 399, 140])
    norms, p = experiment.examine(net, text, places)
    assert norms.shape == (6, LAGS) and p.shape == (6, len(ALPHABET))
    before = text[309 - BEFORE : 309, None]
    alone, _ = experiment.connectivity(net, jnp.asarray(before), jnp.asarray(text[[309]]))
    np.testing.assert_allclose(norms[3], alone[0, :LAGS], rtol=1e-4)
    np.testing.assert_allclose(experiment.shares(norms).sum(axis=1), 1, rtol=1e-5)


def test_a_difference_needs_the_interval_and_the_seeds() -> None:
    rng = np.random.default_rng(0)
    rival = rng.exponential(2, 40_000)
    noise = rng.normal(0, 0.5, (3, 40_000))
    better = difference("one", rival - 0.1 + noise, "other", rival[None])
    assert better.found and better.low < 0.1 < better.high
    assert better.saved == pytest.approx(0.1, abs=0.01)
    worse = difference("other", rival[None], "one", rival - 0.1 + noise)
    assert worse.found and worse.saved == pytest.approx(-better.saved)
    # Nothing but chance between them, and seeds that disagree.
    assert not difference("one", rival + noise, "other", rival[None]).found
    shifts = np.array([[-0.3], [-0.1], [0.1]])
    split = difference("one", rival + shifts, "other", rival[None])
    assert split.low > 0 and not split.found


def test_the_claim_is_about_every_gated_network() -> None:
    def against(one: str, saved: float, found: bool) -> Difference:
        return Difference(one, "5-gram", saved, saved, saved, found)

    good, bad = against("LSTM", 0.1, True), against("tanh", -0.1, True)
    assert experiment.bears_out([good, bad], "5-gram", {"LSTM"})
    assert not experiment.bears_out([good, bad], "5-gram", {"LSTM", "tanh"})
    assert not experiment.bears_out([against("LSTM", 0.1, False)], "5-gram", {"LSTM"})
    assert not experiment.bears_out([bad], "5-gram", set())


def test_temperature_of_the_worked_example() -> None:
    p = softmax((2.0, 1.0, 0.0), 0.5)
    assert sum(p) == pytest.approx(1)
    assert p[0] / p[1] == pytest.approx(np.exp(2))


@pytest.mark.slow
def test_quick(tmp_path: Path) -> None:
    result = run(tmp_path)
    bits = [numbers["bits_test"] for numbers in result["baselines"].values()]
    # On few plays the longest grams are too rare to help.
    assert len(bits) == len(ORDERS) and bits[:5] == sorted(bits[:5], reverse=True)
    best = result["extra"]["best"]
    validation = {name: n["bits_validation"] for name, n in result["baselines"].items()}
    assert best == min(validation, key=validation.__getitem__)
    assert [len(sample) for sample in result["extra"]["samples"]] == [SAMPLED] * 3

    told = json.loads((tmp_path / "lesson.json").read_text())
    assert told["network"]["alphabet"] == ALPHABET
    assert told["network"]["weights"]["W_hh"]["shape"] == [32, 128]
    for passage in told["passages"]:
        steps = len(passage["text"]) - 1
        network, grams = passage["cells"]
        assert network["label"] == "LSTM" and grams["label"] == best
        assert grams["leaned"] is None
        for cell in passage["cells"]:
            assert len(cell["guesses"]) == len(cell["bits"]) == steps
            assert all(
                p == sorted(p, reverse=True) for p in ([q for _, q in g] for g in cell["guesses"])
            )
        assert all(len(row) <= min(t + 1, LAGS) for t, row in enumerate(network["leaned"]))
        assert all(abs(sum(row) - 1000) <= 30 for row in network["leaned"][LAGS:])

    assert SECTION.data is not None
    for found in (result, {**result, "borne_out": not result["borne_out"]}):
        assert len(SECTION.body(found)) > 20
    numbers = [exercise.numbers for exercise in SECTION.exercises(result)]
    assert numbers[0] == {"Latest (%)": 50, "More than two back (%)": 25}


def run(folder: Path) -> dict[str, Any]:
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.characters", "--quick", "--json", "--out", folder],
        capture_output=True, text=True, cwd=ROOT, env=env, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
