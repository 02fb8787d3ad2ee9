"""What the models are given to go on from: a sentence, places of the test plays, famous lines."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from experiments.data.shakespeare import (
    END,
    TEST,
    TITLES,
    UNKNOWN,
    Words,
    Works,
    joined,
    speeches,
    tokenise,
)
from experiments.next_word.options import SEEN

# With a choice of words in three places. The four words before the gap are all that a 5-gram sees:
# the last of the three places, and neither of the others.
SENTENCE: tuple[str | tuple[str, ...], ...] = (
    ("the cat", "the king", "you"), ("sat", "swore", "fought"), "all day and",
    ("took", "kiss'd", "said"),
)  # fmt: skip
CHOICES = tuple(part for part in SENTENCE if not isinstance(part, str))
SHAPE = tuple(map(len, CHOICES))
PLACES, LEAST, KEY = 20, 8, 0  # places drawn, words of the speech before each, key of the draw
FAMOUS = (
    ("macbeth", "Fair is foul, and foul is"),
    ("macbeth", "Is this a dagger which I see before"),
    ("macbeth", "Sleep no more! Macbeth does murder"),
    ("macbeth", "Double, double, toil and"),
    ("as_you_like_it", "All the world's a"),
    ("richard_ii", "This royal throne of kings, this scepter'd"),
    ("richard_ii", "and tell sad stories of the death of"),
)


def sentence(words: Iterable[str]) -> str:
    """With one word for each of CHOICES."""
    chosen = iter(words)
    return " ".join(part if isinstance(part, str) else next(chosen) for part in SENTENCE)


def sentences(data: Words) -> list[np.ndarray]:
    """The tokens of every combination, the last place changing fastest."""
    return [data.encode(tokenise(sentence(words))) for words in itertools.product(*CHOICES)]


class Prompt(NamedTuple):
    """A place of the test plays.

    Attributes:
      source: title of the play.
      context: what comes before the speech, or before the famous line.
      before: the speech up to the place, or the famous line.
      next_word: how it goes on.
      seen: `[SEEN]` at most, the tokens before the place, which the models read.
      truth: the token there; 0 where the vocabulary does not have it.
    """

    source: str
    context: str
    before: str
    next_word: str
    seen: np.ndarray
    truth: int


def drawn(works: Works, data: Words) -> list[Prompt]:
    """Places drawn at random, with the same key in every run.

    From all whose word has letters alone and is in the vocabulary, with at least LEAST words of
    the same speech before it.
    """
    eligible, begins, begin, count = [], [], 0, 0
    for place, word in enumerate(data.test_words):
        if word == END:
            begin, count = place + 1, 0
            continue
        if count >= LEAST and word.isalpha() and data.vocabulary[data.test[place]] != UNKNOWN:
            eligible.append(place)
            begins.append(begin)
        count += word[-1].isalpha()
    chosen = np.random.default_rng(KEY).choice(len(eligible), PLACES, replace=False)
    lengths = [sum(len(tokenise(s)) + 1 for s in speeches(works.texts[name])) for name in TEST]
    plays = np.searchsorted(np.cumsum(lengths), np.array(eligible)[chosen], side="right")
    return [
        _prompt(data, TEST[play], begins[i], eligible[i])
        for i, play in zip(chosen, plays, strict=True)
    ]


def famous(data: Words) -> list[Prompt]:
    """The lines of FAMOUS, found in the test plays by their words."""
    found = []
    for play, text in FAMOUS:
        wanted = tokenise(text)
        length, read = len(wanted), data.test_words
        end = next(i for i in range(length, len(read)) if read[i - length : i] == wanted)
        found.append(_prompt(data, play, end - length, end)._replace(before=text))
    return found


def _prompt(data: Words, play: str, begin: int, place: int) -> Prompt:
    """The word at a place, with the words from `begin` on as those that lead to it."""
    first = max(place - SEEN, 0)
    begin = max(begin, first)
    return Prompt(
        TITLES[play],
        "\n".join(joined(data.test_words[first:begin]).split(END)).strip(),
        joined(data.test_words[begin:place]),
        data.test_words[place],
        data.test[first:place],
        int(data.test[place]),
    )
