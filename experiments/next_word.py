"""A recurrent network guesses the next word of Shakespeare better than Kneser-Ney n-grams.

Claim: on plays that neither has seen, with the same tokens and the same closed vocabulary, an
LSTM's perplexity is below that of interpolated Kneser-Ney models of three and of five words. How
much of that is a longer memory is measured too: by what it guesses with one word before it, two,
and so on.

Source: Mikolov 2010 (recurrent language models); Chen and Goodman 1998 (modified Kneser-Ney);
tied embeddings: Press and Wolf 2017.

Run time: about 6 min on two cores; 12 s with --quick, which trains a small network for a
moment on four plays and is not expected to bear the claim out.

Examples:
  python -m experiments.next_word
  python -m experiments.next_word --least 20 --steps 1500 --out results/small_vocabulary

How: three plays are held back for the test and three for validation; names of speakers and
stage directions are left out. A word that occurs fewer than --least times in the training
plays counts as <unk>, for every model. The network reads the training plays from many places
on, its state carried from window to window, and the test plays in one pass.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.lab import harness

ORDERS = (1, 2, 3, 5)  # words in the longest gram of each baseline
LIKELIEST = 10  # words shown of a guess
SEEN = 128  # tokens before a guess, the prompt's own among them
CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128)  # tokens that the network may see


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    least: int = 8
    """Times that a word must occur in the training plays to be in the vocabulary."""
    works: int = 36
    """Plays and poems to train on."""
    size: int = 256
    """Hidden units, and numbers in an embedding."""
    dropout: float = 0.2
    """Before and behind the recurrence."""
    steps: int = 2200
    """Training steps."""
    batch: int = 32
    """Places of the text read side by side."""
    window: int = 32
    """Tokens between two training steps."""
    learning_rate: float = 3e-3
    """Of Adam, at its highest."""
    looks: int = 6
    """How often, in training, the network is asked for the validation plays."""
    positions: int = 4096
    """Words of the test plays that are guessed with more and less context."""

    QUICK: ClassVar[dict[str, Any]] = {
        "works": 4, "size": 64, "steps": 60, "batch": 16, "learning_rate": 1e-2, "looks": 1,
        "positions": 128,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.between("works", 1, 36)
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"--dropout: expected from 0 to below 1, got {self.dropout}; choose another"
            )
        # The warm-up is a twentieth of the training.
        if self.steps < 20:
            raise ValueError(f"--steps: expected at least 20, got {self.steps}; choose another")
        self.above_zero("least", "size", "batch", "window", "learning_rate", "looks", "positions")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

from collections.abc import Sequence
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
    END,
    TRAINING,
    UNKNOWN,
    Words,
    joined,
    shakespeare,
    tokenise,
    words,
)
from experiments.lab.output import Output, Part
from experiments.models.language import LanguageModel, log_probabilities, train
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells

NETWORK, MIXED = "LSTM", "LSTM mixed with the 5-gram"
COLOURS = {1: "#999999", 2: "#7b3fa0", 3: "#d98200", 5: "#c1272d", NETWORK: "#1f5fa8"}


class Prompt(NamedTuple):
    """Words to go on from.

    Attributes:
      source: the play they stand in, or "" for none.
      text: as printed there.
      next_word: how the play goes on.
    """

    source: str
    text: str
    next_word: str | None


CAT = Prompt("", "The cat sat on the", None)
PROMPTS = (
    CAT,
    Prompt("Macbeth", "Fair is foul, and foul is", "fair"),
    Prompt("Macbeth", "Is this a dagger which I see before", "me"),
    Prompt("Macbeth", "Sleep no more! Macbeth does murder", "sleep"),
    Prompt("Macbeth", "Double, double, toil and", "trouble"),
    Prompt("As You Like It", "All the world's a", "stage"),
    Prompt("Richard II", "This royal throne of kings, this scepter'd", "isle"),
    Prompt("Richard II", "and tell sad stories of the death of", "kings"),
)


class Guess(NamedTuple):
    """A prompt in the test plays.

    Attributes:
      prompt: what it is.
      alone: `[n]`, its tokens.
      seen: `[SEEN]` at most, the same with those before it in the play.
      truth: the token that follows; 0, UNKNOWN, where none does or the vocabulary has it not.
    """

    prompt: Prompt
    alone: np.ndarray
    seen: np.ndarray
    truth: int


def find(prompt: Prompt, data: Words) -> Guess:
    """The prompt with what stands before it; nothing does where it is of no play."""
    wanted = tokenise(prompt.text)
    alone = data.encode(wanted)
    if not prompt.source:
        return Guess(prompt, alone, alone, 0)
    # By the words themselves: one that the vocabulary has not is like any other such.
    read = data.test_words
    end = next(i for i in range(len(wanted), len(read)) if read[i - len(wanted) : i] == wanted)
    return Guess(prompt, alone, data.test[max(end - SEEN, 0) : end], int(data.test[end]))


def study(data: Words, guesses: list[Guess], options: Options, seed: int, metrics: Path) -> Part:
    """Trains the network, and asks it."""
    end = data.vocabulary.index(END)
    model = LanguageModel(
        cells.lstm, len(data.vocabulary), options.size, dropout=options.dropout,
        rngs=nnx.Rngs(harness.key(seed, "parameters")),
    )  # fmt: skip

    def validate(model: LanguageModel) -> float:
        return -float(np.mean(log_probabilities(model, data.validation, before=end, rows=64)))

    model = train(
        model,
        data.training,
        batch=options.batch,
        window=options.window,
        steps=options.steps,
        learning_rate=options.learning_rate,
        key=harness.key(seed, "training"),
        validate=validate,
        looks=options.looks,
        metrics=metrics,
    )
    places = tested(data, options.positions)
    return {
        "validation": log_probabilities(model, data.validation, before=end),
        "test": log_probabilities(model, data.test, before=end),
        "by_context": np.stack([at(model, data.test, places, length) for length in CONTEXTS]),
        "with_context": after(model, [guess.seen for guess in guesses]),
        "alone": after(model, [guess.alone for guess in guesses]),
    }


def tested(data: Words, count: int) -> np.ndarray:
    """Places all over the test plays, each with enough before it."""
    return np.linspace(max(CONTEXTS), len(data.test) - 1, count, dtype=int)


@nnx.jit
def follows(model: LanguageModel, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Log probabilities of what follows the first `lengths` `[B]` of tokens `[T, B]`, `[B, V]`."""
    _, h = model.read(model.embed(tokens))
    return jax.nn.log_softmax(model.logits(h[lengths - 1, jnp.arange(len(lengths))]))


def at(model: LanguageModel, text: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """Log probability of the tokens at places, after the `length` before them alone."""
    before = text[places - length + np.arange(length)[:, None]]
    found = follows(model, before, np.full(len(places), length))
    return np.asarray(found)[np.arange(len(places)), text[places]]


def after(model: LanguageModel, prompts: Sequence[np.ndarray]) -> np.ndarray:
    """Log probabilities of what follows each prompt, `[prompts, V]`."""
    lengths = np.array([len(prompt) for prompt in prompts])
    # What stands behind a prompt changes nothing of what comes before.
    padded = np.stack([np.resize(prompt, SEEN) for prompt in prompts], axis=1)
    return np.asarray(follows(model, padded, lengths))


def perplexity(log_p: np.ndarray) -> float:
    """Among how many equally likely words one would be as unsure; from nats."""
    return float(np.exp(-np.mean(log_p)))


class Baseline(NamedTuple):
    """An n-gram model and what it gives to the plays held back, in nats."""

    model: KneserNey
    validation: np.ndarray
    test: np.ndarray


def baselines(data: Words) -> dict[int, Baseline]:
    """Kneser-Ney models of each order, counted on the same tokens."""
    found = {}
    for order in ORDERS:
        model = kneser_ney(data.training, order=order, size=len(data.vocabulary))
        parts = (np.log(model.probabilities(part)) for part in (data.validation, data.test))
        found[order] = Baseline(model, *parts)
    return found


def mixed(network: Part, grams: Baseline) -> dict[str, np.ndarray]:
    """The weighted mean of both, with the weight that is best on the validation plays."""

    def mix(part: str, share: float) -> np.ndarray:
        return np.logaddexp(
            np.log(share) + network[part], np.log1p(-share) + getattr(grams, part)
        )  # fmt: skip

    best = max(np.linspace(0.05, 0.95, 19), key=lambda share: mix("validation", share).mean())
    return {part: mix(part, best) for part in ("validation", "test")}


def row(validation: np.ndarray, test: np.ndarray, data: Words) -> dict[str, float]:
    """The numbers of one model."""
    known = data.test != data.vocabulary.index(UNKNOWN)
    return {
        "perplexity_validation": perplexity(validation),
        "perplexity_test": perplexity(test),
        "perplexity_known": perplexity(test[known]),
        "bits": float(-np.mean(test) / np.log(2)),
    }


def by_context(part: Part) -> dict[str, float]:
    """Perplexity of the network with so many tokens before each of the places."""
    return {
        f"perplexity_after_{length}": perplexity(log_p)
        for length, log_p in zip(CONTEXTS, part["by_context"], strict=True)
    }


def gram_label(order: int) -> str:
    """How the model is called in tables."""
    return f"Kneser-Ney {order}-gram" if order > 1 else "word frequencies"


def likeliest(data: Words, p: np.ndarray) -> list[list[Any]]:
    """The words of highest probability, `[word, probability]` each; `<unk>` is no word."""
    order = [i for i in np.argsort(-p) if data.vocabulary[i] != UNKNOWN][:LIKELIEST]
    return [[data.vocabulary[i], round(float(p[i]), 4)] for i in order]


def rounds(data: Words, guesses: list[Guess], part: Part, grams: KneserNey) -> dict[str, Any]:
    """The guessing game, as the page's widget reads it."""
    found = []
    for guess, seen, alone in zip(guesses, part["with_context"], part["alone"], strict=True):
        with_context = [np.exp(seen), grams.distribution(guess.seen)]
        by_itself = [np.exp(alone), grams.distribution(guess.alone)]
        context = guess.seen[: len(guess.seen) - len(guess.alone)]
        known = data.vocabulary[guess.truth] != UNKNOWN
        found.append(
            {
                "source": guess.prompt.source,
                "context": joined(data.vocabulary[token] for token in context),
                "before": guess.prompt.text,
                "truth": guess.prompt.next_word if known else None,
                "likeliest": [likeliest(data, p) for p in with_context],
                "alone": [likeliest(data, p) for p in by_itself],
                "probability": [float(f"{p[guess.truth]:.3g}") for p in with_context]
                if known
                else None,
            }
        )
    return {"models": [NETWORK, gram_label(max(ORDERS))], "rounds": found}


def draw(
    data: Words, guesses: list[Guess], parts: list[Part], grams: dict[int, Baseline], places: Any
) -> Figure:
    """Perplexities; perplexity against context; the words guessed after the cat."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    bars, context, cat = figure.subplots(1, 3, width_ratios=[3, 4, 4])
    highest = max(ORDERS)

    scores = {gram_label(order): [perplexity(grams[order].test)] for order in ORDERS}
    scores[NETWORK] = [perplexity(part["test"]) for part in parts]
    scores["both mixed"] = [perplexity(mixed(part, grams[highest])["test"]) for part in parts]
    shades = [*(COLOURS[order] for order in ORDERS), COLOURS[NETWORK], "#1b7837"]
    hatches = ["", "//", "..", "xx", "", "\\\\"]
    for place, (values, colour, hatch) in enumerate(
        zip(scores.values(), shades, hatches, strict=True)
    ):
        mean = float(np.mean(values))
        bars.barh(place, mean, color=colour, hatch=hatch, edgecolor="white")
        bars.text(mean, place, f" {mean:.0f}", va="center")
    bars.set_yticks(range(len(scores)), list(scores))
    bars.invert_yaxis()
    bars.margins(x=0.15)
    bars.set(xlabel="perplexity on the test plays", title="Shorter is better")

    curve = np.mean([list(by_context(part).values()) for part in parts], axis=0)
    context.plot(
        CONTEXTS, curve, "o-", color=COLOURS[NETWORK], label=f"{NETWORK}, from a fresh state"
    )
    for order, line in zip(ORDERS[1:], ((0, (1, 1)), (0, (5, 2)), (0, (5, 1, 1, 1))), strict=True):
        level = perplexity(grams[order].test[places])
        context.plot(
            [order - 1, CONTEXTS[-1]], [level, level], linestyle=line, color=COLOURS[order],
            label=gram_label(order),
        )  # fmt: skip
    context.set_xscale("log", base=2)
    context.set_xticks(CONTEXTS, list(map(str, CONTEXTS)))
    context.set(xlabel="words that the model may see", title="What more context is worth")
    context.set_ylabel(f"perplexity on {len(places)} words of the test plays")
    context.legend()

    guessed(cat, data, np.exp(parts[0]["alone"][0]), grams[highest].model, guesses[0])
    return figure


def guessed(ax: Axes, data: Words, p: np.ndarray, grams: KneserNey, guess: Guess) -> None:
    """The likeliest words of both models after one prompt, side by side."""
    for side, (label, q) in enumerate(
        [(NETWORK, p), (gram_label(max(ORDERS)), grams.distribution(guess.alone))]
    ):
        colour = COLOURS[NETWORK] if side == 0 else COLOURS[5]
        best = likeliest(data, q)
        top = best[0][1]
        for place, (word, probability) in enumerate(best):
            ax.barh(
                place, 0.9 * probability / top, left=1.35 * side, color=colour,
                alpha=0.35, hatch="" if side == 0 else "xx", edgecolor="white",
            )  # fmt: skip
            ax.text(1.35 * side + 0.02, place, f"{word}  {100 * probability:.1f} %", va="center")
        ax.text(1.35 * side, -0.9, label, color=colour, weight="bold")
    ax.set(title=f"“{guess.prompt.text} …”", xlim=(0, 2.4), ylim=(LIKELIEST - 0.4, -1.4))
    ax.axis("off")


def run(options: Options, out: Output) -> harness.Result:
    """Every seed; then the figure, the guesses and the table."""
    works = shakespeare()
    data = words(works, least=options.least, training=TRAINING[: options.works])
    guesses = [find(prompt, data) for prompt in PROMPTS]
    parts = [
        out.part(f"lstm-seed{seed}", partial(study, data, guesses, options, seed))
        for seed in options.all_seeds
    ]
    grams = baselines(data)
    places = tested(data, options.positions)
    out.figure(draw(data, guesses, parts, grams, places))
    out.write_json(
        "lesson.json", rounds(data, guesses, parts[0], grams[max(ORDERS)].model), indent=None
    )

    unknown = data.unknown_rate(data.test)
    shared = {"unknown_rate": unknown, "vocabulary": len(data.vocabulary)}
    networks = [
        row(part["validation"], part["test"], data) | by_context(part) | shared for part in parts
    ]
    mixtures = [mixed(part, grams[max(ORDERS)]) for part in parts]
    naive = {
        gram_label(order): row(found.validation, found.test, data)
        | {"perplexity_places": perplexity(found.test[places])}
        for order, found in grams.items()
    }
    own = float(np.mean([network["perplexity_test"] for network in networks]))
    rivals = {order: naive[gram_label(order)]["perplexity_test"] for order in (3, 5)}
    return harness.Result(
        finding=(
            f"Test perplexity {own:.1f}, against {rivals[3]:.1f} of the trigram and "
            f"{rivals[5]:.1f} of the 5-gram; {len(data.vocabulary)} words, "
            f"{100 * unknown:.1f} % of the test tokens {UNKNOWN}."
        ),
        borne_out=own < min(rivals.values()),
        rows={
            NETWORK: networks,
            MIXED: [row(found["validation"], found["test"], data) for found in mixtures],
        },
        baselines=naive,
        columns=[
            harness.Column("perplexity_validation", "perplexity\nvalidation", ".1f"),
            harness.Column("perplexity_test", "\ntest", ".1f"),
            harness.Column("perplexity_known", f"without\n{UNKNOWN}", ".1f"),
            harness.Column("bits", "bits\na token", ".3f"),
        ],
        data=works.provenance,
    )


def text(found: Found) -> list[str]:
    """For the page."""
    network = found["results"][NETWORK]["mean"]
    both = found["results"][MIXED]["mean"]["perplexity_test"]
    own, three, five = (
        numbers["perplexity_test"]
        for numbers in (network, *(found["baselines"][gram_label(order)] for order in (3, 5)))
    )
    one, four, many = (network[f"perplexity_after_{n}"] for n in (1, 4, CONTEXTS[-1]))
    two, rival = (found["baselines"][gram_label(k)]["perplexity_places"] for k in (2, 5))
    verdict = (
        f"Here the network's is {own:.0f}, below both. Mixed with the 5-gram it is {both:.0f}: "
        "each knows something that the other does not."
        if found["borne_out"]
        else f"This run did not bear the claim out: the network's is {own:.0f}, not below both. "
        "Its training was too short, or its text. Mixed with the 5-gram it comes to "
        f"{both:.0f}."
    )
    return [
        "Cover the end of a sentence and guess how it goes on. A language model does just that, "
        "for every word of a text, and says how likely it holds each word of its vocabulary. The "
        "oldest good way is to count: an n-gram model looks at the last one to four words, and at "
        "what followed them in the plays it has read. Where it has never met them, it falls back "
        "on fewer; Kneser-Ney is the best known recipe for that.",
        "A recurrent network need not choose how far to look. It reads word after word, and what "
        "it will need later has to be in `h`. Each word is first a row of a table that is learned "
        "with the rest, its embedding; so what is learned about one word helps with its like. The "
        "same table, read the other way, turns `h` into a probability for every word.",
        f"Both read the same {found['works']} works and were tested on three plays that neither "
        "had seen; whole plays, since lines drawn at random would share their names and subjects "
        "with the lines next to them. Perplexity says among how many equally likely words one "
        f"would be as unsure as the model was: {three:.0f} for the n-gram of three words, "
        f"{five:.0f} for that of five. {verdict} And is that because it remembers more? Shown "
        f"just the four words that the 5-gram has, it comes to {four:.0f} where the 5-gram comes "
        f"to {rival:.0f}; shown {CONTEXTS[-1]} words, to {many:.0f}. The first difference is what "
        "it has learned about words, the second is memory at most: a network trained in the midst "
        "of texts is at a loss where one has just begun. After a single word it comes to "
        f"{one:.0f}, the 2-gram to {two:.0f}. The vocabulary is closed at "
        f"{network['vocabulary']:.0f} tokens; {100 * network['unknown_rate']:.1f} % of the test "
        "is outside it, and counts as one token, `<unk>`, for every model.",
    ]


def alt(found: Found) -> str:
    """For the page."""
    models = {name: numbers["mean"] for name, numbers in found["results"].items()}
    listed = ", ".join(
        f"{name} {numbers['perplexity_test']:.0f}"
        for name, numbers in {**found["baselines"], **models}.items()
    )
    levels = ", ".join(
        f"{found['baselines'][gram_label(order)]['perplexity_places']:.0f}" for order in ORDERS[1:]
    )
    curve = ", ".join(
        f"{models[NETWORK][f'perplexity_after_{length}']:.0f} after {length}" for length in CONTEXTS
    )
    return (
        f"Left: perplexity on the test plays: {listed}. Middle: perplexity against the number of "
        "words that a model may see; the n-gram models are level, at "
        f"{levels} from one, two and four words on; the network's is {curve}. Right: the ten "
        f"likeliest words of the network and of the 5-gram after “{CAT.text}”, which the guessing "
        "game above tells one by one."
    )


SECTION = Section(
    place=11,
    title="The next word",
    text=text,
    alt=alt,
    code=[LanguageModel.__call__, LanguageModel.read, LanguageModel.logits, perplexity],
    exercise=Exercise(
        question=(
            "A model knows nothing but that there are 5,000 words, and holds each equally likely. "
            "What is its perplexity, and how many bits does it pay for a word? And what is the "
            "perplexity of one that is always sure, and wrong once?"
        ),
        answer=(
            "5,000, and log2(5000) = 12.3 bits. Of the other: infinite. A single word to which it "
            "gave the probability 0 makes the mean of -log p infinite, which is why n-gram models "
            "must keep a little for what they have never seen."
        ),
    ),
    widget="guess",
)
