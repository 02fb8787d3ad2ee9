"""The sequences: pairs made of the same symbols, whose label depends on their order alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.shakespeare import (
    TEST,
    TRAINING,
    UNKNOWN,
    VALIDATION,
    Works,
    speeches,
    tokenise,
)
from experiments.lab import harness
from experiments.order_matters.options import DISTRACTORS, FEWEST, MOST, SEEN, Options

A, B = 0, 1  # the two events; the symbols from 2 on are distractors


class Sequences(NamedTuple):
    """Pairs of sequences: sequence p and sequence P + p are made of the same symbols.

    Attributes:
      symbols: `[2P, T]`, whole numbers.
      lengths: `[2P]`, how many of them count.
      label: `[2P]`, 1 for the first P and 0 for their partners.
    """

    symbols: jax.Array
    lengths: jax.Array
    label: jax.Array


class Task(NamedTuple):
    """What is to be told apart.

    Attributes:
      draw: `key -> Sequences` for a training step.
      many: a large sample of what `draw` gives, for the classifier by counts.
      validation: sequences that training does not see.
      test: likewise.
      vocabulary: how each symbol is written.
      steps: of training.
    """

    draw: Callable[[jax.Array], Sequences]
    many: Sequences
    validation: Sequences
    test: Sequences
    vocabulary: Sequence[str]
    steps: int


@partial(jax.jit, static_argnames=("pairs", "length"))
def events(key: jax.Array, pairs: int, length: int) -> Sequences:
    """A before B among distractors; in the partner, the two have changed places."""
    # Drawn at once: each call of the generator takes its time to compile.
    drawn = jax.random.uniform(key, (pairs, length + 2))
    symbols = 2 + (DISTRACTORS * drawn[:, 2:]).astype(int)
    # Two different places: the one, and a number of steps further, round the end.
    one = (length * drawn[:, 0]).astype(int)
    other = (one + 1 + ((length - 1) * drawn[:, 1]).astype(int)) % length
    first, second = jnp.minimum(one, other), jnp.maximum(one, other)
    row = jnp.arange(pairs)
    return paired(
        symbols.at[row, first].set(A).at[row, second].set(B),
        symbols.at[row, first].set(B).at[row, second].set(A),
        jnp.full(pairs, length),
    )


def paired(symbols: jax.Array, partners: jax.Array, lengths: jax.Array) -> Sequences:
    """Sequences of label 1, and their partners of label 0."""
    ones = jnp.ones(len(symbols))
    return Sequences(
        jnp.concatenate([symbols, partners]),
        jnp.concatenate([lengths, lengths]),
        jnp.concatenate([ones, 0 * ones]),
    )


@jax.jit
def shuffle(key: jax.Array, symbols: jax.Array, lengths: jax.Array) -> jax.Array:
    """The same symbols in random order, each sequence in its own; what does not count stays."""
    counts = jnp.arange(symbols.shape[1])[None] < lengths[:, None]
    order = jnp.argsort(jnp.where(counts, jax.random.uniform(key, symbols.shape), 2.0), axis=1)
    return jnp.take_along_axis(symbols, order, axis=1)


def events_task(options: Options, seed: int) -> Task:
    """Fresh sequences at every step."""
    draw = partial(events, pairs=options.pairs, length=options.length)
    held = (harness.key(seed, name) for name in ("many", "validation", "test"))
    return Task(
        draw,
        *(events(key, pairs=options.held, length=options.length) for key in held),
        ["A", "B", *map(chr, range(ord("c"), ord("c") + DISTRACTORS))],
        options.event_steps,
    )


def verses(works: Works, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The lines of works, as words alone, each line once."""
    lines = [
        tuple(token for token in tokenise(line) if token[-1].isalpha())
        for name in names
        for speech in speeches(works.texts[name])
        for line in speech.splitlines()
    ]
    return [line for line in dict.fromkeys(lines) if FEWEST <= len(line) <= MOST]


def verses_task(works: Works, options: Options, seed: int) -> Task:
    """Lines against their words shuffled, anew at every step."""
    parts = [verses(works, names) for names in (TRAINING[: options.works], VALIDATION, TEST)]
    known = set(parts[0])
    parts[1:] = [[line for line in part if line not in known][: options.held] for part in parts[1:]]
    counts = Counter(word for line in parts[0] for word in line)
    vocabulary = [UNKNOWN, *(word for word, count in counts.items() if count >= SEEN)]
    number = {word: i for i, word in enumerate(vocabulary)}

    def encoded(lines: list[tuple[str, ...]]) -> tuple[jax.Array, jax.Array]:
        symbols = np.zeros((len(lines), MOST), np.int32)
        for row, line in zip(symbols, lines, strict=True):
            row[: len(line)] = [number.get(word, 0) for word in line]
        return jnp.asarray(symbols), jnp.array([len(line) for line in lines])

    training, *held = map(encoded, parts)

    def draw(key: jax.Array) -> Sequences:
        which, order = jax.random.split(key)
        symbols, lengths = (
            leaf[jax.random.choice(which, len(parts[0]), (options.pairs,))] for leaf in training
        )
        return paired(symbols, shuffle(order, symbols, lengths), lengths)

    def all_of(name: str, symbols: jax.Array, lengths: jax.Array) -> Sequences:
        return paired(symbols, shuffle(harness.key(seed, name), symbols, lengths), lengths)

    return Task(
        draw,
        all_of("many", *training),
        *(all_of(name, *part) for name, part in zip(("validation", "test"), held, strict=True)),
        vocabulary,
        options.steps,
    )


def orderless(task: Task, seed: int) -> Task:
    """The task with every sequence shuffled, partners and all; the labels stay."""

    def shuffled(sequences: Sequences, key: jax.Array) -> Sequences:
        return sequences._replace(symbols=shuffle(key, sequences.symbols, sequences.lengths))

    def draw(key: jax.Array) -> Sequences:
        ours, order = jax.random.split(key)
        return shuffled(task.draw(ours), order)

    return task._replace(
        draw=draw,
        validation=shuffled(task.validation, harness.key(seed, "validation shuffled")),
        test=shuffled(task.test, harness.key(seed, "test shuffled")),
    )


def example(task: Task) -> tuple[str, str]:
    """The first pair of the test that has no unknown word."""
    symbols, lengths = np.asarray(task.test.symbols), np.asarray(task.test.lengths)
    pairs = len(lengths) // 2

    def written(place: int) -> str:
        return " ".join(task.vocabulary[symbol] for symbol in symbols[place, : lengths[place]])

    place = next(place for place in range(pairs) if UNKNOWN not in written(place))
    return written(place), written(pairs + place)
