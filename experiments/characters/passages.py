"""Where in the test plays predictions are examined: drawn by a rule, the same in every run."""

from typing import NamedTuple

import numpy as np

from experiments.characters.options import BEFORE
from experiments.data.shakespeare import ALPHABET, TEST, TITLES, Works, speeches

# Passages drawn, and how long they may be; places drawn of each kind; what they are drawn with.
PASSAGES, SHORTEST, LONGEST, PLACES, KEY = 3, 150, 300, 200, 0
LINE_END = ALPHABET.index("\n")


class Passage(NamedTuple):
    """A speech of a test play, as printed.

    Attributes:
      source: title of the play.
      text: T characters.
      begin: place of the first one in the test plays.
    """

    source: str
    text: str
    begin: int

    @property
    def predicted(self) -> np.ndarray:
        """Places of all its characters but the first, `[T - 1]`."""
        return self.begin + np.arange(1, len(self.text))


class Places(NamedTuple):
    """The characters of the test plays whose predictions are examined.

    A line end takes the place of a space: that the line ends here, and not a word alone, is what a
    model can know from the length of the line.

    Attributes:
      passages: all their characters but the first.
      ends: `[PLACES]`, line ends inside speeches.
      spaces: `[PLACES]`, spaces inside speeches.
    """

    passages: list[Passage]
    ends: np.ndarray
    spaces: np.ndarray

    @property
    def every(self) -> np.ndarray:
        """All of them, `[K]`."""
        return np.concatenate([*(p.predicted for p in self.passages), self.ends, self.spaces])

    def split(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """What was found at `every` place `[K, ...]`: of each passage, at line ends, at spaces."""
        lengths = [*(len(p.predicted) for p in self.passages), len(self.ends)]
        *passages, ends, spaces = np.split(values, np.cumsum(lengths))
        return passages, ends, spaces


def letters(tokens: np.ndarray) -> str:
    """Numbers of the ALPHABET as a text."""
    return "".join(ALPHABET[token] for token in tokens)


def drawn(works: Works, test: np.ndarray) -> Places:
    """Passages, line ends and spaces, drawn from the speeches of the test plays.

    A speech counts when it is printed once, without a stage direction inside it, and has enough
    text before it. A passage is one of SHORTEST to LONGEST characters.

    Args:
      works: what `shakespeare` gives.
      test: `[N]`, the test plays as numbers of the ALPHABET.
    """
    text = letters(test)
    spoken = [
        Passage(TITLES[name], speech, text.index(speech))
        for name in TEST
        for speech in speeches(works.texts[name])
        if text.count(speech) == 1 and text.index(speech) >= BEFORE
    ]
    fitting = [p for p in spoken if SHORTEST <= len(p.text) <= LONGEST and "\n" in p.text]
    chance = np.random.default_rng(KEY)
    passages = [fitting[i] for i in chance.choice(len(fitting), PASSAGES, replace=False)]
    every = np.concatenate([p.predicted for p in spoken])
    ends, spaces = (
        np.sort(chance.choice(every[test[every] == ALPHABET.index(one)], PLACES, replace=False))
        for one in "\n "
    )
    return Places(passages, ends, spaces)


def line_ends(p: np.ndarray, places: Places) -> dict[str, float]:
    """Mean probability that a model gives to a line end, in per cent: where one is, and is not."""
    _, ends, spaces = places.split(100 * p[:, LINE_END])
    return {"end_at_ends": float(ends.mean()), "end_at_spaces": float(spaces.mean())}
