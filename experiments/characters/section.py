"""The section on the page: letters, what a prediction depends on, and sampling."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.characters.experiment import Shown, connectivity, write
from experiments.characters.figure import short
from experiments.characters.options import BEFORE, CLAIMED, LAGS, NEAR, ORDERS, TEMPERATURES
from experiments.characters.passages import LONGEST, SHORTEST, Passage
from experiments.characters.rivals import BLOCK
from experiments.data.shakespeare import ALPHABET
from experiments.models.portable import portable
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
    Widget,
)
from experiments.page.wording import listed
from experiments.style import STYLES

LOGITS = (2.0, 1.0, 0.0)  # of the worked example
NORMS = (4, 2, 1, 1)  # of the exercise, the latest character first


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    """Probabilities of logits at a temperature."""
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def body(found: Found) -> list[Block]:
    """Why letters, how many bits they cost, what predictions depend on, and writing."""
    return [*_letters(found), *_bits(found), *_dependence(found), *_writing(found)]


def _letters(found: Found) -> Sequence[Block]:
    return [
        f"[The next word](#next_word) had to come from a fixed vocabulary, and every other word "
        "was `<unk>`. A network that reads letters has no such problem. With capitals, "
        f"punctuation, the space and the line end there are {len(ALPHABET)} characters, and every "
        "text here is made of them.",
        "The price is distance. In “the king of France and his”, the word “king” is five words "
        "before the next one, and 23 characters before it. Whatever a network must remember, it "
        "must carry through about five times as many steps.",
        "Some things can be known only by counting letters. Shakespeare's lines end when they are "
        "long enough. After a comma, the text may go on with a space or with a line end, and the "
        "length of the line so far shows which is likelier. A model that sees only a few "
        "characters cannot know that length.",
        f"We compare n-grams of 1 to {max(ORDERS)} characters with recurrent networks. "
        f"{_networks(found)} Three plays are held out for the test. The score is the mean number "
        "of [bits](#bits) per character.",
    ]


def _networks(found: Found) -> str:
    """Which there are, and how they were made equal."""
    units = found["extra"]["units"]
    listed = ", ".join(f"{label} with {count} hidden units" for label, count in units.items())
    if len(units) == 1:
        return f"This run has only one network: {listed}."
    weights = next(iter(found["results"].values()))["mean"]["weights"]
    return (
        "With equal numbers of hidden units, an LSTM would have about four times as many recurrent "
        f"weights as a tanh network. So each has about {weights / 1000:,.0f} thousand weights in "
        f"all: {listed}."
    )


def _bits(found: Found) -> Sequence[Block]:
    return [
        Plot(
            ["bits", "differences"],
            "First panel: bits per character on the test plays, for n-grams by their order, and "
            "for each network as a horizontal line (mean over the seeds). Second panel: bits per "
            "character that the model named first saves, with the 95 % interval of a bootstrap "
            f"over blocks of {BLOCK:,} characters. A dot is filled where zero is outside the "
            "interval and the seeds of the two models do not overlap; only then do we speak of a "
            "difference.",
            _alt_bits(found),
        ),
        "Longer n-grams help up to a point. Beyond it most of them never occurred in the training "
        "works, and there is nothing to count.",
        *_claimed(found),
        _against_best(found),
        *_between(found),
    ]


def _against(found: Found, label: str) -> dict[str, dict[str, Any]]:
    """The differences to a model, by the network."""
    return {d["one"]: d for d in found["extra"]["differences"] if d["other"] == label}


def _claimed(found: Found) -> Sequence[str]:
    """Which n-gram the claim is about, where that is not the best of all."""
    claimed, best = (short(found["extra"][which]) for which in ("claimed", "best"))
    if claimed == best:
        return []
    not_ = "" if found["borne_out"] else "not "
    return [
        f"Of the n-grams of up to {CLAIMED} characters, the {claimed} is best on the validation "
        f"plays. This run does {not_}show that every gated network needs fewer bits."
    ]


def _against_best(found: Found) -> str:
    extra = found["extra"]
    told = []
    for verdict, wanted in (
        ("the {} {} better", lambda d: d["found"] and d["saved"] > 0),
        ("the {} {} worse", lambda d: d["found"] and d["saved"] < 0),
        ("for the {} no difference was found", lambda d: not d["found"]),
    ):
        labels = [label for label, d in _against(found, extra["best"]).items() if wanted(d)]
        if labels:
            told.append(verdict.format(listed(labels), "is" if len(labels) == 1 else "are"))
    kept = found["baselines"][extra["best"]]["weights"]
    weights = next(iter(found["results"].values()))["mean"]["weights"]
    once = "" if len(found["seeds"]) > 1 else " (With one seed, this is only a first look.)"
    return (
        f"The best n-gram of all is the {short(extra['best'])}. Compared with it, "
        f"{'; '.join(told)}.{once} The n-gram keeps {kept:,.0f} counts, and is hard to beat where "
        f"the text repeats a long piece word for word. A network has {weights:,.0f} weights for "
        "everything it knows."
    )


def _between(found: Found) -> Sequence[str]:
    """The networks against one another."""
    pairs = [d for d in found["extra"]["differences"] if d["other"] in found["results"]]
    told = []
    for d in pairs:
        better, worse = (d["one"], d["other"]) if d["saved"] > 0 else (d["other"], d["one"])
        told.append(
            f"{better} saves {abs(d['saved']):.3f} bits per character against {worse}"
            if d["found"]
            else f"no difference was found between {d['one']} and {d['other']}"
        )
    return [f"Among the networks, {'; '.join(told)}."] if told else []


def _alt_bits(found: Found) -> str:
    grams = [numbers["bits_test"] for numbers in found["baselines"].values()]
    networks = ", ".join(
        f"{label} {numbers['mean']['bits_test']:.2f}" for label, numbers in found["results"].items()
    )
    saved = "; ".join(
        f"{d['one']} against {short(d['other'])} {d['saved']:.3f} ({d['low']:.3f} to "
        f"{d['high']:.3f}{'' if d['found'] else ', no difference found'})"
        for d in found["extra"]["differences"]
    )
    return (
        f"First panel: bits per character of n-grams of order 1 to {max(ORDERS)}: "
        f"{', '.join(f'{bits:.2f}' for bits in grams)}; horizontal lines: {networks}. Second "
        f"panel: bits per character saved, with 95 % intervals: {saved}."
    )


def _dependence(found: Found) -> Sequence[Block]:
    plays = list(dict.fromkeys(found["extra"]["passages"]))
    return [
        Heading("What does a prediction depend on?"),
        "On which earlier characters does a prediction depend? Change the embedding $e_j$ of the "
        "character at step $j$ a little, and see how much the log probability of the next "
        "character, $x_{t+1}$, changes. One backward pass gives the gradient for all earlier "
        "characters. Its norm is called *connectivity* (Madsen 2019):",
        Equation(r"c_j = \left\| \frac{\partial \log p(x_{t+1})}{\partial e_j} \right\|"),
        "Suppose that the norms for the last three characters are 6, 3 and 1. Then 60 % of the "
        "gradient is on the latest character, 30 % on the one before it, and 10 % on the third. "
        f"We compute these shares over the last {LAGS} characters.",
        f"The passages below were drawn at random from the test plays ({listed(plays)}), from "
        f"speeches of {SHORTEST} to {LONGEST} characters.",
        f"As a test of counting, {found['extra']['places']} line ends were drawn as well, and as "
        "many spaces. A model that knows the length of the line should give a line end more "
        "probability where a line really ends.",
        Plot(
            ["line", "lags", "ends", "far"],
            "First panel: how the networks predict the end of the line that is printed below the "
            "axis (␣ is a space); each bar is the share of the gradient on that character. Second: "
            "the share by distance, averaged over the passages, on logarithmic axes. Third: mean "
            "probability of a line end, at line ends (full bars) and at spaces (pale bars). "
            f"Fourth: the share of the gradient more than {NEAR} characters back, at the same "
            "places.",
            _alt_dependence(found),
        ),
        Widget("connectivity", source="characters"),
        "How many of the latest characters have 90 % of the gradient, on average? "
        f"{_each(found, 'reach', '.0f', '')}. With the space, a word has about five.",
        *_ends(found),
        "A gradient has its limits. It describes *small* changes, and no letter is a small change "
        "away from another. And a network that is already certain hardly reacts, so its gradient "
        "can be small although the characters matter.",
    ]


def _each(found: Found, name: str, form: str, unit: str) -> str:
    """A number of every network."""
    return ", ".join(
        f"{numbers['mean'][name]:{form}}{unit} ({label})"
        for label, numbers in found["results"].items()
    )


def _ends(found: Found) -> Sequence[str]:
    """Line ends against spaces, in the network that sees them best."""
    best = found["extra"]["best"]
    grams = found["baselines"][best]["end_at_ends"]
    means = {label: numbers["mean"] for label, numbers in found["results"].items()}
    ahead = max(means, key=lambda label: means[label]["end_at_ends"])
    ends, far, near = (
        means[ahead][name] for name in ("end_at_ends", "far_at_ends", "far_at_spaces")
    )
    deviation = found["results"][ahead].get("deviation", {})
    spread = sum(deviation.get(name, 0.0) for name in ("far_at_ends", "far_at_spaces"))
    most = ", the highest mean of the networks" if len(means) > 1 else ""
    return [
        f"Where a line ends, the {short(best)} gives the line end {grams:.0f} % on average. Even "
        "an n-gram gives it more there than at a space, because lines often end after "
        f"punctuation. The {ahead} gives it {ends:.0f} %{most}.",
        f"In the {ahead}, {far:.0f} % of the gradient is more than {NEAR} characters back at line "
        f"ends, and {near:.0f} % at spaces. "
        + (
            "You would expect that of a network that counts the letters of a line, but it is no "
            "proof."
            if far - near > spread
            else "A network that counts the letters of a line should have more at line ends, so "
            "this shows no clear sign of counting."
        ),
    ]


def _alt_dependence(found: Found) -> str:
    return (
        "First: for each network, bars over the characters of one line, the share of the gradient "
        "of the prediction that follows it. Second: the share of the gradient against the number "
        "of characters back, one curve for each network; 90 % is within "
        f"{_each(found, 'reach', '.0f', '')} characters. Third: mean probability of a line end, "
        f"at line ends {_each(found, 'end_at_ends', '.0f', ' %')}, at spaces "
        f"{_each(found, 'end_at_spaces', '.0f', ' %')}. Fourth: share of the gradient more than "
        f"{NEAR} characters back, at line ends {_each(found, 'far_at_ends', '.0f', ' %')}, at "
        f"spaces {_each(found, 'far_at_spaces', '.0f', ' %')}."
    )


def _writing(found: Found) -> Sequence[Block]:
    logits = ", ".join(f"{logit:.0f}" for logit in LOGITS)
    return [
        Heading("Let it write"),
        "A network that predicts the next character can also write. Draw a character from its "
        "probabilities, feed it back as the next input, and repeat: this is "
        "[free running](#free_running). A *temperature* $\\tau$ sets how adventurous the text is. "
        "The scores $z_k$ of the characters (the *logits*) are divided by it before the softmax:",
        Equation(r"p_k = \frac{e^{z_k / \tau}}{\sum_m e^{z_m / \tau}}"),
        f"Take three characters with the logits {logits}. The lower the temperature, the more "
        "often the likeliest is drawn:",
        Bullets(
            [
                f"$\\tau = {one:g}$ gives the probabilities "
                + ", ".join(f"{100 * p:.0f} %" for p in softmax(LOGITS, one))
                + "."
                for one in TEMPERATURES
            ]
        ),
        f"This is what the {found['extra']['writer']} wrote after the {BEFORE} characters before "
        "the first passage (a slash is a line end):",
        Bullets(
            [
                f"$\\tau = {one:g}$: `{_in_line(sample)}`"
                for one, sample in zip(TEMPERATURES, found["extra"]["samples"], strict=True)
            ]
        ),
        "At a low temperature a well-trained network repeats safe phrases. At 1 it draws each "
        "character with the probability that it predicts. Above 1, unlikely characters become more "
        "frequent, and words fall apart.",
        Widget("writer", source="characters"),
        Code([connectivity, write]),
    ]


def _in_line(sample: str) -> str:
    """A text on one line, with nothing in it that ends `code`."""
    return " / ".join(sample.replace("`", "'").split("\n"))


def exercises(found: Found) -> list[Exercise]:
    """Shares of a gradient, and a temperature."""
    last, far = (100 * sum(part) / sum(NORMS) for part in (NORMS[:1], NORMS[2:]))
    one, half = math.exp(1), math.exp(2)
    return [
        Exercise(
            "The gradient of a prediction has the norms 4, 2, 1 and 1 for the last four "
            "characters, the latest first. What percentage of it is on the latest character? What "
            "percentage is more than two characters back?",
            f"The norms add up to {sum(NORMS)}. The latest character has 4 of {sum(NORMS)}, which "
            f"is {last:.0f} %. The third and the fourth have 1 each: {far:.0f} %.",
            {"Latest (%)": last, "More than two back (%)": far},
        ),
        Exercise(
            "The logit of “e” is greater by 1 than that of “o”. By what factor is “e” likelier "
            "than “o” at temperature 1? And at temperature 0.5?",
            f"The denominators cancel, so the ratio is $e^{{1/\\tau}}$: {one:.2f} at temperature 1 "
            f"and $e^2 = {half:.2f}$ at 0.5. As the temperature approaches 0 the ratio grows "
            "without bound: the likeliest character is always drawn, and the text soon repeats.",
            {"At temperature 1": one, "At temperature 0.5": half},
        ),
    ]


def data(shown: Shown) -> dict[str, Any]:
    """What the widgets `connectivity`, `shannon`, `opening` and `writer` read.

    For each passage, `text` has T characters; entry t of a model's lists is about its prediction
    of `text[t + 1]` after `text[0]` to `text[t]` and what comes before the passage, so each list
    has T - 1 entries:

        {"passages": [{"source": "Macbeth", "text": "This way...",
                       "cells": [{"label": "GRU",
                                  "leaned": [[700], [500, 300], ...],
                                  "guesses": [[["e", 0.41], ["o", 0.2], ["a", 0.1]], ...],
                                  "bits": [1.3, ...]}]}],
         "network": {"alphabet": "...", "weights": {...}}}

    `leaned[t][j]` is how much the prediction depends on `text[t - j]`, the latest first: the norm
    of the gradient with respect to that character's embedding, in thousandths of the sum over the
    last LAGS characters (whole numbers). What is before the passage is left out, and so are zeros
    at the end. `guesses[t]` are the three likeliest next characters with their probabilities,
    `bits[t]` is -log2 of the probability given to `text[t + 1]`. The last of the cells is the best
    n-gram, which has no gradient: its `leaned` is null. `network` is the LSTM of the first seed,
    as `portable` gives it; it is missing where none was trained.
    """
    shares = {STYLES[name].label: share for name, share in shown.shares.items()}
    network = {} if shown.lstm is None else {"network": portable(shown.lstm, ALPHABET)}
    passages = [
        {
            "source": passage.source,
            "text": passage.text,
            "cells": [
                {
                    "label": label,
                    "leaned": _leaned(_of(shown, shares[label], i)) if label in shares else None,
                    **_predicted(_of(shown, p, i), passage),
                }
                for label, p in shown.p.items()
            ],
        }
        for i, passage in enumerate(shown.places.passages)
    ]
    return {"passages": passages, **network}


def _of(shown: Shown, values: np.ndarray, passage: int) -> np.ndarray:
    """What was found in a passage."""
    return shown.places.split(values)[0][passage]


def _leaned(shares: np.ndarray) -> list[list[int]]:
    """In thousandths, inside the passage, without the zeros at the end."""
    rows = [np.rint(1000 * row[: t + 1]).astype(int) for t, row in enumerate(shares)]
    return [np.trim_zeros(row, "b").tolist() for row in rows]


def _predicted(p: np.ndarray, passage: Passage) -> dict[str, Any]:
    """The three likeliest characters and the cost of the true one, from p `[T - 1, V]`."""
    best = np.argsort(-p, axis=1)[:, :3]
    true = [ALPHABET.index(character) for character in passage.text[1:]]
    return {
        "guesses": [
            [[ALPHABET[i], round(float(row[i]), 3)] for i in three]
            for row, three in zip(p, best, strict=True)
        ],
        "bits": [round(float(-np.log2(row[i])), 2) for row, i in zip(p, true, strict=True)],
    }


SECTION = Section(title="Letter by letter", body=body, exercises=exercises, data=data)
