"""Read letter by letter, Shakespeare costs gated networks fewer bits than 5-grams.

Claim: on plays that none has seen, a GRU and an LSTM need fewer bits a character than
Kneser-Ney models of one to five characters. Longer ones, of six and seven, stand beside them.

Source: Graves 2013 (text letter by letter); Madsen, "Visualizing memorization in RNNs", Distill
2019 (connectivity); Chen and Goodman 1998 (modified Kneser-Ney).

Run time: about 13 min on two cores; 14 s with --quick, which trains one small network for
a moment on three plays and is not expected to bear the claim out.

Examples:
  python -m experiments.characters
  python -m experiments.characters --cell lstm --steps 5000 --out results/long

How: the works as printed, names of speakers and line ends included, 96 characters in all.
Three plays are held back for the test and three for validation. The networks have as many
hidden units as one another, not as many weights. What a prediction leaned on is shown by
connectivity, the norm of the gradient of the log probability of the next character to the
embedding of an earlier one.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

ORDERS = (1, 2, 3, 4, 5, 6, 7)  # characters in the longest gram of each baseline
CLAIMED = 5  # up to which order the claim goes
TEMPERATURES = (0.5, 1.0, 1.5)
SAMPLED = 400  # characters of a sample
BEFORE = 256  # characters read before a passage or a sample begins
LAGS = 60  # characters back to which connectivity is told
Name = Literal["tanh", "gru", "lstm"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    works: int = 36
    """Plays and poems to train on."""
    size: int = 256
    """Hidden units."""
    embedding: int = 64
    """Numbers in the embedding of a character."""
    steps: int = 6000
    """Training steps."""
    batch: int = 32
    """Places of the text read side by side."""
    window: int = 64
    """Characters between two training steps."""
    learning_rate: float = 5e-3
    """Of Adam, at its highest."""
    looks: int = 4
    """How often, in training, the network is asked for the validation plays."""

    QUICK: ClassVar[dict[str, Any]] = {
        "cell": ("lstm",), "works": 3, "size": 32, "embedding": 16, "steps": 50, "batch": 16,
        "learning_rate": 1e-2, "looks": 1,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        self.between("works", 1, 36)
        # The warm-up is a twentieth of the training.
        if self.steps < 20:
            raise ValueError(f"--steps: expected at least 20, got {self.steps}; choose another")
        self.above_zero("size", "embedding", "batch", "window", "learning_rate", "looks")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.baselines.n_grams import KneserNey, kneser_ney
from experiments.data.shakespeare import (
    ALPHABET,
    TEST,
    TRAINING,
    VALIDATION,
    characters,
    shakespeare,
)
from experiments.lab.output import Output, Part
from experiments.models.language import LanguageModel, log_probabilities, train
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells

LINE_END = ALPHABET.index("\n")


class Network(NamedTuple):
    """A recurrence and how it is drawn."""

    label: str
    cell: Any
    colour: str
    line: Any


NETWORKS = {
    "tanh": Network("tanh", cells.elman, "#c1272d", "-"),
    "gru": Network("GRU", cells.gru, "#1b7837", (0, (4, 1.5))),
    "lstm": Network("LSTM", cells.lstm, "#1f5fa8", (0, (1, 1))),
}


class Passage(NamedTuple):
    """Lines of a test play, by where they begin and end.

    Attributes:
      source: the play.
      begin: the first words.
      end: the last words.
    """

    source: str
    begin: str
    end: str


PASSAGES = (
    Passage("Macbeth", "To-morrow, and to-morrow,", "recorded time;"),
    Passage("As You Like It", "All the world's a stage,", "being seven ages."),
)
# What came after this, the figure shows: the end of a line, which only its length foretells.
ASKED = "To-morrow, and to-morrow, and to-morrow,"
NEAR = 8  # characters: a word or two


class Stretch(NamedTuple):
    """A passage as the networks read it.

    Attributes:
      passage: which.
      before: `[BEFORE]`, the characters before it.
      tokens: `[T]`, its own.
    """

    passage: Passage
    before: np.ndarray
    tokens: np.ndarray


def find(passage: Passage, test: np.ndarray) -> Stretch:
    """The passage in the test plays."""
    text = "".join(ALPHABET[i] for i in test)
    begin = text.index(passage.begin)
    end = text.index(passage.end, begin) + len(passage.end)
    return Stretch(passage, test[begin - BEFORE : begin], test[begin:end])


class Data(NamedTuple):
    """The works as numbers of the ALPHABET."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def study(
    network: Network, data: Data, stretches: list[Stretch], options: Options, seed: int,
    metrics: Path,
) -> Part:  # fmt: skip
    """Trains one network, measures it, asks what it leans on and lets it write."""
    model = LanguageModel(
        network.cell, len(ALPHABET), options.size, embedding=options.embedding,
        rngs=nnx.Rngs(harness.key(seed, "parameters")),
    )  # fmt: skip

    def nats(model: LanguageModel, text: np.ndarray) -> float:
        # 128 parts of thousands of characters: the few that begin them weigh nothing.
        return -float(np.mean(log_probabilities(model, text, before=LINE_END, rows=128)))

    model = train(
        model,
        data.training,
        batch=options.batch,
        window=options.window,
        steps=options.steps,
        learning_rate=options.learning_rate,
        key=harness.key(seed, "training"),
        validate=partial(nats, text=data.validation),
        looks=options.looks,
        metrics=metrics,
    )
    found = {
        "validation": np.array(nats(model, data.validation) / np.log(2)),
        "test": np.array(nats(model, data.test) / np.log(2)),
        "samples": write(model, stretches[0].before, harness.key(seed, "samples")),
    }
    for i, stretch in enumerate(stretches):
        norms, logits = connectivity(model, stretch.before, stretch.tokens)
        found |= {f"norms{i}": norms, f"log_p{i}": jax.nn.log_softmax(logits)}
    return {name: np.asarray(values) for name, values in found.items()}


@nnx.jit
def connectivity(
    model: LanguageModel, before: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """‖∂ log p(x_{t+1} | x_0 ... x_t) / ∂ embedding of x_j‖, `[T - 1, T - 1]`, and the logits.

    Rows are t and columns j; what j > t gives is zero.
    """
    state, _ = model(before[:, None])

    def predictions(embedded: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, h = model.read(embedded[:, None], state)
        logits = model.logits(h[:, 0])
        log_p = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(log_p, tokens[1:, None], axis=1)[:, 0], logits

    gradients, logits = jax.jacrev(predictions, has_aux=True)(model.embed(tokens[:-1]))
    return jnp.linalg.norm(gradients, axis=-1), logits


@nnx.jit
def write(model: LanguageModel, before: jax.Array, key: jax.Array) -> jax.Array:
    """What the network writes after a text, at each of the TEMPERATURES, `[3, SAMPLED]`.

    The logits are divided by the temperature: below 1 the likely becomes likelier still.
    """
    temperatures = jnp.array(TEMPERATURES)
    state, logits = model(jnp.repeat(before[:, None], len(TEMPERATURES), axis=1))

    def step(carry: Any, key: jax.Array) -> Any:
        state, logits = carry
        token = jax.random.categorical(key, logits / temperatures[:, None])
        state, logits = model(token[None], state)
        return (state, logits[-1]), token

    _, tokens = jax.lax.scan(step, (state, logits[-1]), jax.random.split(key, SAMPLED))
    return tokens.T


def shares(norms: np.ndarray) -> list[np.ndarray]:
    """For each prediction, how much it leaned on the latest character, on the one before ...

    The norms are divided by their sum over the last LAGS characters.
    """
    rows = [row[: t + 1][::-1][:LAGS] for t, row in enumerate(norms)]
    return [row / row.sum() for row in rows]


def letters(tokens: np.ndarray) -> str:
    """Numbers of the ALPHABET as a text."""
    return "".join(ALPHABET[token] for token in tokens)


def baselines(data: Data) -> dict[int, KneserNey]:
    """Kneser-Ney models of each order, counted on the same characters."""
    return {order: kneser_ney(data.training, order=order, size=len(ALPHABET)) for order in ORDERS}


def score(model: KneserNey, data: Data) -> dict[str, float]:
    """Bits a character of an n-gram model."""
    return {
        f"bits_{part}": -float(np.mean(np.log2(model.probabilities(getattr(data, part)))))
        for part in ("validation", "test")
    }


def claimed(baselines: Found) -> float:
    """Fewest bits among the n-grams that the claim is about."""
    return min(baselines[gram_label(order)]["bits_test"] for order in ORDERS if order <= CLAIMED)


def gram_label(order: int) -> str:
    """How the model is called in tables."""
    return f"Kneser-Ney {order}-gram" if order > 1 else "letter frequencies"


def guesses(p: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    """The three likeliest characters and the cost of the true one, from p `[T - 1, V]`."""
    best = np.argsort(-p, axis=1)[:, :3]
    return {
        "guesses": [
            [[ALPHABET[i], round(float(row[i]), 3)] for i in three]
            for row, three in zip(p, best, strict=True)
        ],
        "bits": [round(float(-np.log2(row[i])), 2) for row, i in zip(p, tokens[1:], strict=True)],
    }


def lesson(
    stretches: list[Stretch], found: dict[str, list[Part]], grams: KneserNey
) -> dict[str, Any]:
    """Connectivity and samples, as the page's widget reads them; of the first seed."""
    passages = []
    for i, stretch in enumerate(stretches):
        told = [
            {
                "label": NETWORKS[name].label,
                "leaned": [
                    np.rint(1000 * row).astype(int).tolist()
                    for row in shares(parts[0][f"norms{i}"])
                ],
                **guesses(np.exp(parts[0][f"log_p{i}"]), stretch.tokens),
            }
            for name, parts in found.items()
        ]
        read = np.concatenate([stretch.before, stretch.tokens])
        ends = range(BEFORE + 1, len(read))
        p = np.stack([grams.distribution(read[end - max(ORDERS) : end]) for end in ends])
        told.append(
            {"label": gram_label(max(ORDERS)), "leaned": None, **guesses(p, stretch.tokens)}
        )
        text = letters(stretch.tokens)
        passages.append({"source": stretch.passage.source, "text": text, "cells": told})
    last = list(found)[-1]
    samples = [
        {"temperature": temperature, "text": letters(tokens)}
        for temperature, tokens in zip(TEMPERATURES, found[last][0]["samples"], strict=True)
    ]
    return {"passages": passages, "samples": {"label": NETWORKS[last].label, "texts": samples}}


def reach(parts: list[Part], share: float) -> float:
    """Characters back within which that share of the leaning lies, in the mean."""
    return 1 + float(np.searchsorted(np.cumsum(mean_shares(parts)), share))


def mean_shares(parts: list[Part]) -> np.ndarray:
    """Over the predictions that have LAGS characters before them, and the seeds."""
    rows = [
        row
        for part in parts
        for i in range(len(PASSAGES))
        for row in shares(part[f"norms{i}"])
        if len(row) == LAGS
    ]
    return np.mean(rows, axis=0)


def asked(part: Part, stretches: list[Stretch]) -> tuple[int, np.ndarray]:
    """Which prediction of the first passage comes after ASKED, and what it leaned on."""
    t = letters(stretches[0].tokens).index(ASKED) + len(ASKED) - 1
    return t, shares(part["norms0"])[t]


def draw(
    stretches: list[Stretch], found: dict[str, list[Part]], naive: dict[str, dict[str, float]]
) -> Figure:
    """Bits of every model; what predictions lean on, by distance and in one line."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[5, 6])
    bars, lags = top.subplots(1, 2, width_ratios=[5, 6])

    scores = {label: numbers["bits_test"] for label, numbers in naive.items()}
    colours = dict.fromkeys(naive, "#999999")
    for name, parts in found.items():
        label = NETWORKS[name].label
        scores[label] = float(np.mean([part["test"] for part in parts]))
        colours[label] = NETWORKS[name].colour
    for place, (label, bits) in enumerate(scores.items()):
        hatch = "//" if label in naive else ""
        bars.barh(place, bits, color=colours[label], hatch=hatch, edgecolor="white")
        bars.text(bits, place, f" {bits:.2f}", va="center")
    bars.set_yticks(range(len(scores)), list(scores))
    bars.invert_yaxis()
    bars.margins(x=0.12)
    bars.set(xlabel="bits a character on the test plays", title="Shorter is better")

    for name, parts in found.items():
        style = {"color": NETWORKS[name].colour, "linestyle": NETWORKS[name].line}
        lags.plot(
            np.arange(LAGS), 100 * mean_shares(parts), label=NETWORKS[name].label, linewidth=2,
            **style,
        )  # fmt: skip
    lags.set(
        yscale="log",
        xlim=(0, LAGS - 1),
        ylim=(1e-4, 100),
        title="How far back predictions lean, in the mean",
    )
    lags.set(xlabel="characters back from the latest one read", ylabel="share of the leaning (%)")
    lags.legend(handlelength=4)

    bottom.suptitle(
        f"What the prediction after “{ASKED}” leans on; there the line ends", fontsize=12
    )
    axes = np.atleast_1d(bottom.subplots(len(found), 1, sharex=True, sharey=True))
    for ax, (name, parts) in zip(axes, found.items(), strict=True):
        strip(ax, NETWORKS[name], parts[0], stretches)
    axes[len(axes) // 2].set_ylabel("share of the leaning (%)")
    return figure


def strip(ax: Axes, network: Network, part: Part, stretches: list[Stretch]) -> None:
    """One prediction: a bar over each character before it, as high as it leans on that one."""
    t, share = asked(part, stretches)
    ax.bar(range(len(share)), 100 * share[::-1], color=network.colour, edgecolor="white")
    ax.set_xticks(range(len(share)), list(ASKED.replace(" ", "␣")), fontsize=12)
    ax.tick_params(length=0, labelbottom=True)
    p = np.exp(part["log_p0"][t])
    shown = {" ": "a space", "\n": "the line’s end"}
    best = ", ".join(
        f"{shown.get(ALPHABET[i], ALPHABET[i])} {100 * p[i]:.0f} %" for i in np.argsort(-p)[:3]
    )
    ax.text(
        0.01, 0.9, f"{network.label}: guesses {best}", transform=ax.transAxes, va="top",
        color=network.colour, weight="bold",
    )  # fmt: skip
    ax.set_xlim(-0.6, len(share) - 0.4)


def run(options: Options, out: Output) -> harness.Result:
    """Every network with every seed; then the figure, the passages and the table."""
    works = shakespeare()
    data = Data(
        *(characters(works, names) for names in (TRAINING[: options.works], VALIDATION, TEST))
    )
    stretches = [find(passage, data.test) for passage in PASSAGES]
    found = {
        name: [
            out.part(
                f"{name}-seed{seed}",
                partial(study, NETWORKS[name], data, stretches, options, seed),
            )
            for seed in options.all_seeds
        ]
        for name in options.cell
    }
    grams = baselines(data)
    naive = {gram_label(order): score(model, data) for order, model in grams.items()}
    out.figure(draw(stretches, found, naive))
    out.write_json("lesson.json", lesson(stretches, found, grams[max(ORDERS)]), indent=None)

    rows = {
        NETWORKS[name].label: [
            {
                "bits_validation": float(part["validation"]),
                "bits_test": float(part["test"]),
                "reach": reach([part], 0.9),
                "far": 100 * float(asked(part, stretches)[1][NEAR:].sum()),
                "end": 100 * float(np.exp(part["log_p0"][asked(part, stretches)[0], LINE_END])),
            }
            for part in parts
        ]
        for name, parts in found.items()
    }
    bits = {
        label: float(np.mean([seed["bits_test"] for seed in seeds]))
        for label, seeds in rows.items()
    }
    best = min(bits, key=bits.__getitem__)
    rival = min(naive, key=lambda label: naive[label]["bits_test"])
    gated = [bits[label] for label in bits if label != NETWORKS["tanh"].label]
    return harness.Result(
        finding=(
            f"Test text at {bits[best]:.3f} bits a character with {best}, against "
            f"{claimed(naive):.3f} of n-grams of up to {CLAIMED} and "
            f"{naive[rival]['bits_test']:.3f} of {rival}."
        ),
        borne_out=max(gated, default=np.inf) < claimed(naive),
        rows=rows,
        baselines=naive,
        columns=[
            harness.Column("bits_validation", "bits a\ncharacter\nvalidation", ".3f"),
            harness.Column("bits_test", "\n\ntest", ".3f"),
            harness.Column("reach", "characters\nwith 90 % of\nthe leaning", ".0f"),
            harness.Column("far", f"at a line's end:\n% leaning on more\nthan {NEAR} back", ".0f"),
            harness.Column("end", "\n% given\nto it", ".0f"),
        ],
        data=works.provenance,
    )


def text(found: Found) -> list[str]:
    """For the page."""
    networks = {label: numbers["mean"] for label, numbers in found["results"].items()}
    bits = ", ".join(f"{n['bits_test']:.2f} ({label})" for label, n in networks.items())
    reaches = ", ".join(f"{n['reach']:.0f} ({label})" for label, n in networks.items())
    far, ends = (
        ", ".join(f"{n[name]:.0f} % ({label})" for label, n in networks.items())
        for name in ("far", "end")
    )
    grams = {label: numbers["bits_test"] for label, numbers in found["baselines"].items()}
    rival = min(grams, key=grams.__getitem__)
    verdict = (
        f"each gated one fewer than any n-gram of up to {CLAIMED}"
        if found["borne_out"]
        else f"this run did not bear out that each gated one needs fewer than n-grams of {CLAIMED}"
    )
    ahead = [label for label, n in networks.items() if n["bits_test"] < grams[rival]]
    longest = f"Below the best of all n-grams stays {' and '.join(ahead) or 'none of them'}."
    return [
        f"Take the letters instead of the words. There are but {len(ALPHABET)} of them, line ends "
        "included, so no text has an unknown one; but what matters lies further back, for a word "
        "that was five steps ago is thirty now. A model that knew only how often each character "
        f"occurs would pay {max(grams.values()):.2f} bits for each; n-grams of up to {CLAIMED} pay "
        f"{claimed(found['baselines']):.2f}, and the best of all, {rival}, {grams[rival]:.2f}. The "
        f"networks pay {bits}: {verdict}. {longest} An n-gram counts long pieces that come again "
        "word for word; a network must find room for them in its weights, and gains where "
        "nothing quite like it was read before.",
        "A network that predicts can also write: draw a character from its guess, feed it back, "
        "and so on. Dividing the logits by a temperature before drawing makes it bolder or "
        "tamer. At 0.5 the likely becomes likelier; at 1 it draws what it "
        "believes; at 1.5 it stumbles.",
        "Which characters did a prediction lean on? The gradient of its log probability to the "
        "embedding of each earlier character tells: where it is long, a small change there would "
        "have changed the guess most. Point at a letter to see it. Nine tenths of the leaning, "
        f"over the last {LAGS} characters, lie within {reaches} characters, in the mean over two "
        "passages. But see the end of a line, in the figure. After a comma a line may end; "
        "whether it does, its length tells, and for that one must have kept count. There the "
        f"leaning on what stands more than {NEAR} characters back is {far}. To lean is not to be "
        f"right: the end of the line was given {ends}. And a gradient is about small changes, and "
        "says nothing of what another character there would have done; so take it for a hint.",
    ]


def alt(found: Found) -> str:
    """For the page."""
    models = {name: numbers["mean"] for name, numbers in found["results"].items()}
    listed = ", ".join(
        f"{name} {numbers['bits_test']:.2f}"
        for name, numbers in {**found["baselines"], **models}.items()
    )
    return (
        f"Left: bits a character on the test plays: {listed}. Right: share of the leaning against "
        "the distance, a line a cell, falling from the latest character on. Below, for each cell, "
        f"a bar over every character of “{ASKED}”, as high as the prediction of what follows, the "
        "end of the line, leans on it; in percent on those more than "
        f"{NEAR} back: "
        + ", ".join(f"{label} {numbers['far']:.0f}" for label, numbers in models.items())
        + "."
    )


SECTION = Section(
    place=12,
    title="Letter by letter",
    text=text,
    alt=alt,
    code=[connectivity, write],
    exercise=Exercise(
        question=(
            "A text has 27 characters, each equally likely and none telling of the next. How many "
            "bits a character does the best possible model pay? Then: what becomes of the samples "
            "as the temperature goes to 0?"
        ),
        answer=(
            "log2(27) = 4.75. At a temperature near 0 the likeliest character is always drawn; "
            "the same text comes each time, and soon goes round in a circle."
        ),
        number=4.75,
    ),
    widget="connectivity",
)
