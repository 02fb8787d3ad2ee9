"""What an experiment tells the lesson's page, and the data that its widgets read.

An experiment file defines `SECTION = Section(...)`; `python -m experiments lesson` finds it
there. The figure of a section is the SVG that `Output.figure` wrote, its table comes from
`result.json`, its claim from the docstring. A section that needs no run of its own is a file
in `experiments/page/sections/`.

Places on the page, which leave room between them:

     1    what a sequence is                            (page)
     2    why order matters                             order_matters
     3    time-dependent data                           (page)
     4    the recurrence, unrolled                      (page)
     5    training, validation and leakage              (page)
     6    the hidden state as memory                    hidden_memory
     7    nats, bits and perplexity                     (page)
     8    teacher forcing and free running              (page)
     9    the vanishing gradient                        vanishing_gradients
    10    the cures                                     cures
    11-19 uses: 11 next_word, 12 characters, 13 temperature, further ones after them
    20    why a linear or bag-of-words model sometimes wins   (page)
    21    sampling error                                (page)
    22    what came after recurrence                    (page)

A widget is `experiments/page/<widget>.js`, fed by the `lesson.json` that the run wrote
with `out.write_json("lesson.json", {...})`. Numbers rounded, under 300 kB for a full run.
A number that is not finite arrives as null. Their shapes, by widget:

`gradient` (vanishing_gradients), the slider of the lag; one entry of `left` a lag, from 0 on:

    {"step": "day",                                  # what one lag is
     "networks": [{"label": "GRU", "when": "after training",
                   "left": [0.0, -0.12, ...],        # natural logarithm of the gradient left
                   "log_bound": -0.7 or null}]}      # natural logarithm of the bound, per step

The slider of the spectral radius needs no data: the page computes that network itself.

`connectivity` (characters). For each passage, `text` has T characters; entry t of a cell's
lists is about its prediction of `text[t + 1]` after reading `text[0]` to `text[t]`, so each
list has T - 1 entries:

    {"passages": [{"source": "Hamlet", "text": "To be...",
                   "cells": [{"label": "GRU",
                              "leaned": [[1000], [700, 300], ...],
                              "guesses": [[["e", 0.41], ["o", 0.2], ["a", 0.1]], ...],
                              "bits": [1.3, ...]}]}],
     "samples": {"label": "LSTM", "texts": [{"temperature": 0.5, "text": "..."}]}}

`leaned[t][j]` is how much the prediction leaned on `text[t - j]`, the latest first, no more
than 60 of them: the norm of the gradient to that character's input, in thousandths of the sum
over them (whole numbers). `guesses[t]` are the three likeliest next characters with their
probabilities, `bits[t]` is -log2 of the probability given to `text[t + 1]`. A baseline without
a gradient (an n-gram) may stand among the cells with `"leaned": null`. `samples` are what the
named cell wrote after what stands before the first passage.

`states` (hidden_memory), the hidden state step by step; T steps, H units:

    {"step": "day",
     "labels": ["2015-01-01", ...],                  # T
     "inputs": [{"label": "highest temperature", "unit": "°C", "values": [...]}],   # T each
     "cells": [{"label": "GRU", "h": [[0.12, -0.4, ...], ...]}]}                    # T rows of H

`guess` (next_word), the reader's guess before the network's:

    {"models": ["LSTM", "Kneser-Ney 5-gram"],        # the labels, in the order of the lists below
     "rounds": [{"source": "Hamlet", "context": "what stands before <end>",  # or both empty
                 "before": "to be or not to",
                 "truth": "be",  # or null, as `probability`: nobody's text, or an unknown word
                 "likeliest": [[["be", 0.5], ... ten], [... ten]],  # with the context
                 "alone": [[... ten], [... ten]],  # after `before` without the context
                 "probability": [0.5, 0.21]}]}  # that each gave to the truth
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Found = Mapping[str, Any]  # what `result.json` holds


class Exercise(NamedTuple):
    """A question with its answer, plain text with `ticks` around code.

    Attributes:
      question: what the reader is to do or to work out.
      answer: shown when asked for.
      number: the answer where it is one number: the page then takes the reader's and tells
        whether it is right to 2 %.
    """

    question: str
    answer: str
    number: float | None = None


class Section(NamedTuple):
    """One section of the lesson's page. Texts are plain, with `ticks` around code.

    Attributes:
      place: orders the page; see the list above.
      title: what the section is about, in a few words.
      text: `result.json -> two to four paragraphs`, numbers filled in from the result,
        saying plainly where the claim was not borne out.
      alt: `result.json -> the figure in words`, with its numbers.
      code: the functions whose source is shown, about twenty lines together.
      exercise: for the reader.
      widget: name of the interactive element, fed by the run's `lesson.json`.
    """

    place: float
    title: str
    text: Callable[[Found], list[str]]
    alt: Callable[[Found], str]
    code: Sequence[Callable[..., Any]]
    exercise: Exercise
    widget: str = ""
