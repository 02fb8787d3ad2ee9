"""The sequences whose label depends on order alone, without a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.data.packages import Provenance
from experiments.data.shakespeare import TEST, TRAINING, VALIDATION, Works
from experiments.order_matters import experiment, tasks
from experiments.order_matters.experiment import OnTask
from experiments.order_matters.neighbours import neighbours
from experiments.order_matters.options import FEWEST, MOST, Options
from experiments.order_matters.tasks import Sequences, Task, shuffle

LINES = (
    "Shall I compare thee to a summer's day?",
    "Thou art more lovely and more temperate.",
    "Rough winds do shake the darling buds of May,",
    "And summer's lease hath all too short a date.",
)


def poems() -> Works:
    """Works of four lines each, which differ in one word."""
    names = [*TRAINING, *VALIDATION, *TEST]
    letters = {name: "abcdefghij"[i // 10] + "abcdefghij"[i % 10] for i, name in enumerate(names)}
    texts = {name: "\n".join(f"{line} {letters[name]}." for line in LINES) for name in names}
    return Works(texts, Provenance("poems", "none", "none", "", len(names)))


def both_tasks() -> dict[str, Task]:
    options = Options(length=7, works=5, hidden=8, pairs=6, held=200)
    return {
        "events": tasks.events_task(options, 0),
        "lines": tasks.verses_task(poems(), options, 0),
    }


def bags(sequences: Sequences) -> list[list[int]]:
    """What each sequence is made of."""
    symbols, lengths = np.asarray(sequences.symbols), np.asarray(sequences.lengths)
    return [sorted(row[:length]) for row, length in zip(symbols, lengths, strict=True)]


def parts(task: Task) -> list[Sequences]:
    return [task.draw(jax.random.key(1)), task.many, task.validation, task.test]


@pytest.mark.parametrize("name", ["events", "lines"])
def test_partners_have_the_same_symbols_and_the_other_label(name: str) -> None:
    task = both_tasks()[name]
    for sequences in [*parts(task), *parts(tasks.orderless(task, 0))]:
        half = len(sequences.label) // 2
        assert half > 0
        both = bags(sequences)
        assert both[:half] == both[half:]
        np.testing.assert_array_equal(sequences.label, np.repeat([1, 0], half))
        np.testing.assert_array_equal(sequences.lengths[:half], sequences.lengths[half:])


def test_events_are_there_once_and_in_the_order_of_the_label() -> None:
    for sequences in parts(both_tasks()["events"]):
        symbols = np.asarray(sequences.symbols)
        where = [np.argmax(symbols == event, axis=1) for event in (tasks.A, tasks.B)]
        assert ((symbols == tasks.A).sum(axis=1) == 1).all()
        assert ((symbols == tasks.B).sum(axis=1) == 1).all()
        np.testing.assert_array_equal(where[0] < where[1], sequences.label == 1)


@pytest.mark.parametrize("name", ["events", "lines"])
@pytest.mark.parametrize("network", [experiment.MeanOfInputs, experiment.EachStepAlone])
def test_what_averages_says_the_same_of_both_partners(name: str, network: type) -> None:
    task = both_tasks()[name]
    model = network(len(task.vocabulary), Options(hidden=8), nnx.Rngs(0))
    one, other = jnp.split(model(task.test.symbols, task.test.lengths), 2)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_reads_does_not() -> None:
    test = both_tasks()["events"].test
    model = experiment.Recurrent(12, Options(hidden=8), nnx.Rngs(0))
    one, other = jnp.split(model(test.symbols, test.lengths), 2)
    assert float(jnp.abs(one - other).min()) > 0


def test_shuffling_keeps_what_does_not_count() -> None:
    symbols = jnp.arange(40).reshape(4, 10)
    lengths = jnp.array([10, 7, 1, 4])
    shuffled = np.asarray(shuffle(jax.random.key(0), symbols, lengths))
    for before, after, length in zip(np.asarray(symbols), shuffled, lengths, strict=True):
        assert sorted(after[:length]) == list(before[:length])
        np.testing.assert_array_equal(after[length:], before[length:])
    assert (shuffled != np.asarray(symbols)).any()


def test_every_order_is_as_likely() -> None:
    symbols = jnp.tile(jnp.arange(3), (6000, 1))
    shuffled = shuffle(jax.random.key(0), symbols, jnp.full(6000, 3))
    counts = np.unique(np.asarray(shuffled), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 900 and counts.max() < 1100


def test_lines_are_words_in_small_letters() -> None:
    lines = tasks.verses(poems(), TRAINING[:1])
    assert lines[0][:5] == ("shall", "i", "compare", "thee", "to")
    assert all(word.islower() and word[-1].isalpha() for line in lines for word in line)
    assert all(FEWEST <= len(line) <= MOST for line in lines)


def test_lines_of_the_training_are_in_no_other_part() -> None:
    works = poems()
    same = "\nThe quick brown fox jumps over the lazy dog."
    longer = works._replace(texts={name: text + same for name, text in works.texts.items()})
    plain, more = (
        tasks.verses_task(each, Options(works=5, pairs=6), 0) for each in (works, longer)
    )
    assert len(more.many.label) == len(plain.many.label) + 2
    assert len(more.validation.label) == len(plain.validation.label)
    assert len(more.test.label) == len(plain.test.label)


def test_neighbours_know_lines_and_miss_what_stands_apart() -> None:
    found = {name: neighbours(task) for name, task in both_tasks().items()}
    assert found["lines"]["accuracy"] > 0.9
    # A and B stand side by side in 2 / T of the sequences, and the ends tell more.
    assert 0.55 < found["events"]["accuracy"] < 0.95


@pytest.mark.parametrize(
    ("mean", "alone", "recurrent", "orderless", "expected"),
    [
        (0.5, 0.5, 0.9, 0.505, True),
        (0.5, 0.6, 0.9, 0.5, False),
        (0.5, 0.5, 0.51, 0.5, False),
        (0.5, 0.5, 0.9, 0.56, False),
    ],
)
def test_the_claim_can_fail(
    mean: float, alone: float, recurrent: float, orderless: float, expected: bool
) -> None:
    shares = {"mean": mean, "alone": alone, "recurrent": recurrent, "orderless": orderless}
    seeds = {name: [{"accuracy": np.asarray(share)}] for name, share in shares.items()}
    assert experiment.bears_out(OnTask("", ("", ""), 2000, seeds, {})) is expected


def test_without_a_network_that_reads_or_one_that_is_blind_nothing_is_shown() -> None:
    half, more = ([{"accuracy": np.asarray(share)}] for share in (0.5, 0.9))
    for seeds in ({"mean": half}, {"recurrent": more}):
        assert not experiment.bears_out(OnTask("", ("", ""), 2000, seeds, {}))
