"""The next word: where it is asked for, the cache, and how models are compared."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.baselines.n_grams import kneser_ney, with_cache
from experiments.data.shakespeare import END, TRAINING, UNKNOWN, Words, Works, shakespeare, words
from experiments.next_word import prompts, rivals, section
from experiments.next_word.options import SEEN
from experiments.next_word.rivals import Advantage, Scores


@pytest.fixture(scope="module")
def works() -> Works:
    return shakespeare()


@pytest.fixture(scope="module")
def data(works: Works) -> Words:
    return words(works, least=8, training=TRAINING[:4])


def stream(length: int, size: int, seed: int = 0) -> np.ndarray:
    return np.minimum(np.random.default_rng(seed).geometric(0.2, length) - 1, size - 1)


@pytest.mark.parametrize("length", [1, 7, 500])
def test_the_cache_is_that_of_a_loop(length: int) -> None:
    tokens, weight = stream(200, 9).astype(np.int32), 0.3
    p = np.random.default_rng(1).uniform(size=200)
    expected = [p[0]]
    for i in range(1, 200):
        latest = tokens[max(i - length, 0) : i].tolist()
        share = latest.count(tokens[i]) / len(latest)
        expected.append((1 - weight) * p[i] + weight * share)
    found = with_cache(p, tokens, length=length, weight=weight)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_with_a_cache_the_probabilities_still_sum_to_one() -> None:
    size, tokens = 9, stream(60, 9)
    model = kneser_ney(stream(400, 9, seed=1), order=3, size=size)
    for end in (0, 1, 30, 59):
        total = 0.0
        for word in range(size):
            tried = np.append(tokens[:end], word)
            total += with_cache(model.probabilities(tried), tried, length=20, weight=0.2)[-1]
        assert total == pytest.approx(1, abs=1e-12)


def test_places_are_drawn_by_the_rule_and_the_same_every_time(works: Works, data: Words) -> None:
    found = prompts.drawn(works, data)
    assert len(found) == prompts.PLACES
    assert len({(prompt.before, prompt.next_word) for prompt in found}) == prompts.PLACES
    for one, again in zip(found, prompts.drawn(works, data), strict=True):
        assert one[:4] == again[:4]
        assert one.next_word.isalpha() and data.vocabulary[one.truth] == one.next_word
        assert END not in one.before and END not in one.context
        assert len(one.seen) == SEEN
        spoken = prompts.tokenise(one.before)
        assert sum(word[-1].isalpha() for word in spoken) >= prompts.LEAST
        np.testing.assert_array_equal(one.seen[-len(spoken) :], data.encode(spoken))
    assert len({prompt.source for prompt in found}) == 3


def test_each_place_is_in_the_play_that_is_named(works: Works, data: Words) -> None:
    names = {title: name for name, title in prompts.TITLES.items()}
    for prompt in [*prompts.drawn(works, data), *prompts.famous(data)]:
        text = " ".join(prompts.tokenise(works.texts[names[prompt.source]]))
        last = " ".join([*prompts.tokenise(prompt.before)[-4:], prompt.next_word])
        assert last in text


def test_famous_lines_go_on_as_everyone_knows(data: Words) -> None:
    assert [prompt.next_word for prompt in prompts.famous(data)] == [
        "fair", "me", "sleep", "trouble", "stage", "isle", "kings",
    ]  # fmt: skip


def test_only_the_last_choice_is_within_the_reach_of_the_5_gram(data: Words) -> None:
    # Also with the whole vocabulary, where every word of the sentence has a number of its own.
    model = kneser_ney(data.training, order=5, size=len(data.vocabulary))
    p = np.stack([model.distribution(tokens) for tokens in prompts.sentences(data)])
    assert len(p) == math.prod(prompts.SHAPE)
    subject, verb, last = rivals.moved(p, prompts.SHAPE)
    assert subject == verb == 0 and last > 0


def test_what_moves_is_averaged_over_pairs_that_differ_in_one_place() -> None:
    # Two places of two words; the second moves everything, the first moves a quarter after one.
    p = np.array([[1, 0, 0], [0, 0.5, 0.5], [1, 0, 0], [0, 0.75, 0.25]])
    assert rivals.moved(p, (2, 2)) == pytest.approx([0.125, 1.0])
    np.testing.assert_allclose(rivals.distances(p)[0], [0, 1, 0, 1])


def test_the_best_cache_is_chosen_on_the_validation_plays(data: Words) -> None:
    grams = rivals.scored(kneser_ney(data.training, order=3, size=len(data.vocabulary)), data)
    best = rivals.cached(grams, data)
    for length, weight in ((rivals.SIZES[0], 0.04), (rivals.SIZES[-1], 0.32)):
        p = with_cache(np.exp(grams.validation), data.validation, length=length, weight=weight)
        assert best.scores.validation.mean() >= np.log(p).mean()
    assert best.scores.test.mean() > grams.test.mean()


def advantage(mean: float, seeds: int = 3, count: int = 20_000) -> Advantage:
    """Of networks that save so many bits on average."""
    rng = np.random.default_rng(0)
    rival = rng.normal(-5, 2, count)
    networks = [
        Scores(rival, rival + np.log(2) * (mean + rng.normal(0, 1, count))) for _ in range(seeds)
    ]
    return rivals.advantage(networks, Scores(rival, rival))


@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.2])
def test_the_interval_holds_the_bits_that_are_saved(mean: float) -> None:
    found = advantage(mean)
    assert found.low < mean < found.high
    assert found.low < found.mean < found.high < found.low + 0.1
    assert len(found.each) == 3 and np.mean(found.each) == pytest.approx(found.mean)
    # The seeds' own noise is averaged: one over the root of three.
    assert found.deviation == pytest.approx(3**-0.5, rel=0.05)


def test_words_that_are_hard_together_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(size=20_000)
    together = np.repeat(rng.normal(size=200), 100)
    widths = []
    for saved in (alone, together):
        found = rivals.advantage([Scores(saved, saved)], Scores(0 * saved, 0 * saved))
        widths.append(found.high - found.low)
    assert widths[1] > 5 * widths[0]


@pytest.mark.parametrize(
    ("mean", "said"), [(0.2, "better than"), (-0.2, "worse than"), (0.0, "No difference")]
)
def test_the_text_says_which_is_better(mean: float, said: str) -> None:
    told = section._verdict({"5-gram": advantage(mean)._asdict()})
    assert said in told
    needed = section._needed(advantage(mean)._asdict())
    assert ("no difference" in needed) == (mean == 0)


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with `--quick`."""
    folder = tmp_path_factory.mktemp("next_word")
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.next_word", "--quick", "--out", folder, "--force"],
        capture_output=True, text=True, cwd=ROOT, env=env, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_quick_run(quick: Path) -> None:
    result = json.loads((quick / "result.json").read_text())
    rows = {name: numbers["perplexity_test"] for name, numbers in result["baselines"].items()}
    assert rows[rivals.gram_label(3)] < rows[rivals.gram_label(1)]
    assert rows[rivals.CACHE] < rows[rivals.LONGEST]
    subject, verb, last = result["extra"]["moved"]["LSTM"]
    assert 0 < subject < last and 0 < verb < last
    for borne_out in (True, False):
        told = section.body({**result, "borne_out": borne_out})
        assert any("perplexity is" in block for block in told if isinstance(block, str))
    answers = [number for one in section.exercises(result) for number in one.numbers.values()]
    assert answers == pytest.approx([0.0015, 245.86], rel=1e-3)


@pytest.mark.slow
def test_quick_run_gives_the_widgets_all_they_need(quick: Path) -> None:
    told = json.loads((quick / "lesson.json").read_text())
    assert len((quick / "lesson.json").read_bytes()) < 300_000
    assert UNKNOWN not in told["vocabulary"] and END not in told["vocabulary"]
    count = math.prod(len(part) for part in told["sentence"] if isinstance(part, list))
    assert len(told["sentences"]) == count
    assert np.shape(told["moved"]) == (len(told["models"]), count, count)

    def whole(lists: list[Any]) -> bool:
        words = [word for likeliest in lists for word, _ in likeliest]
        return [len(likeliest) for likeliest in lists] == [10, 10] and UNKNOWN not in words

    assert all(map(whole, told["sentences"]))
    drawn, famous = (group["rounds"] for group in told["groups"])
    assert [len(drawn), len(famous)] == [prompts.PLACES, len(prompts.FAMOUS)]
    for one in [*drawn, *famous]:
        assert whole(one["likeliest"])
        assert (one["probability"] is None) == (one["truth"] not in told["vocabulary"])
    assert all(one["probability"] for one in drawn)
