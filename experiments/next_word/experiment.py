"""An LSTM and its rivals, trained on plays, tested on others, and compared word by word."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.baselines.n_grams import kneser_ney
from experiments.data.shakespeare import END, TRAINING, UNKNOWN, Words, shakespeare, words
from experiments.lab import harness
from experiments.lab.output import Output, Part
from experiments.models.language import LanguageModel, log_probabilities, train
from experiments.next_word.options import CONTEXTS, ORDERS, SEEN, Options
from experiments.next_word.prompts import SHAPE, Prompt, drawn, famous, sentences
from experiments.next_word.rivals import (
    CACHE,
    LONGEST,
    RIVALS,
    Advantage,
    Scores,
    advantage,
    cached,
    gram_label,
    mixed,
    moved,
    perplexity,
    scored,
)
from experiments.style import STYLES
from rnnjax import cells

NETWORK = STYLES["lstm"].label
LIKELIEST = 10  # words shown of a prediction
MIXED = f"{NETWORK} mixed with the 5-gram"


def study(
    data: Words, prompts: Sequence[Prompt], options: Options, seed: int, metrics: Path
) -> Part:
    """Trains the network, and lets it predict the next word wherever it is needed."""
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
    varied = sentences(data)
    log_p = after(model, [*varied, *(prompt.seen for prompt in prompts)])
    return {
        "validation": log_probabilities(model, data.validation, before=end),
        "test": log_probabilities(model, data.test, before=end),
        "by_context": np.stack([at(model, data.test, places, length) for length in CONTEXTS]),
        "sentences": log_p[: len(varied)],
        "prompts": log_p[len(varied) :],
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
    found = follows(model, jnp.asarray(before), jnp.full(len(places), length))
    log_p: np.ndarray = np.asarray(found)[np.arange(len(places)), text[places]]
    return log_p


def after(model: LanguageModel, prompts: Sequence[np.ndarray]) -> np.ndarray:
    """Log probabilities of what follows each prompt, `[prompts, V]`."""
    lengths = jnp.array([len(prompt) for prompt in prompts])
    # What comes after a prompt changes nothing of what comes before.
    padded = np.stack([np.resize(prompt, SEEN) for prompt in prompts], axis=1)
    return np.asarray(follows(model, jnp.asarray(padded), lengths))


def by_context(part: Part, places: np.ndarray) -> dict[str, float]:
    """Perplexity on all test plays with so many tokens before each.

    What a short context costs is measured at the places alone; as a difference from the one pass
    over the plays, so that it matters little whether these places are easier than others.
    """
    costs = (part["by_context"] - part["test"][places]).mean(axis=1)
    return {
        f"perplexity_after_{length}": perplexity(part["test"] + cost)
        for length, cost in zip(CONTEXTS, costs, strict=True)
    }


class Shown(NamedTuple):
    """What the figure and the page's widgets show; of the networks, the first seed predicts.

    Attributes:
      vocabulary: every token.
      least: times that a word of it occurs in the training plays.
      scores: perplexity on the test plays of every model, one for each seed.
      by_context: `[seeds, contexts]`, perplexity of the network.
      advantages: of the network against each rival.
      prompts: places drawn at random, then famous lines.
      places: how many of the prompts were drawn.
      predicted: `[prompts, V]` of each model, by name: probabilities of the next word.
      sentences: `[sentences, V]`, likewise.
    """

    vocabulary: list[str]
    least: int
    scores: dict[str, list[float]]
    by_context: np.ndarray
    advantages: dict[str, Advantage]
    prompts: list[Prompt]
    places: int
    predicted: dict[str, np.ndarray]
    sentences: dict[str, np.ndarray]


def likeliest(vocabulary: Sequence[str], p: np.ndarray) -> list[tuple[str, float]]:
    """The LIKELIEST words and their probabilities `[V]`; `<unk>` is no word."""
    order = [i for i in np.argsort(-p)[: LIKELIEST + 1] if vocabulary[i] != UNKNOWN]
    return [(vocabulary[i], float(p[i])) for i in order[:LIKELIEST]]


def row(scores: Scores, data: Words) -> dict[str, float]:
    """The numbers of one model."""
    known = data.test != data.vocabulary.index(UNKNOWN)
    return {
        "perplexity_validation": perplexity(scores.validation),
        "perplexity_test": perplexity(scores.test),
        "perplexity_known": perplexity(scores.test[known]),
        "bits": float(-np.mean(scores.test) / np.log(2)),
    }


def run(options: Options, out: Output) -> harness.Result:
    """Every seed, the n-grams, and the comparison."""
    works = shakespeare()
    data = words(works, least=options.least, training=TRAINING[: options.works])
    chosen = drawn(works, data)
    prompts = [*chosen, *famous(data)]
    parts = out.each_seed("lstm", options.all_seeds, partial(study, data, prompts, options))
    grams = {
        order: kneser_ney(data.training, order=order, size=len(data.vocabulary)) for order in ORDERS
    }
    longest = grams[max(ORDERS)]
    baselines = {gram_label(order): scored(model, data) for order, model in grams.items()}
    cache = cached(baselines[LONGEST], data)
    baselines[CACHE] = cache.scores
    networks = [Scores(part["validation"], part["test"]) for part in parts]
    mixtures = [mixed(network, baselines[LONGEST]) for network in networks]
    advantages = {rival: advantage(networks, baselines[rival]) for rival in RIVALS}

    predicted = {
        NETWORK: np.exp(parts[0]["prompts"]),
        LONGEST: np.stack([longest.distribution(p.seen) for p in prompts]),
    }
    varied = {
        NETWORK: np.exp(parts[0]["sentences"]),
        LONGEST: np.stack([longest.distribution(s) for s in sentences(data)]),
    }
    of_context = [by_context(part, tested(data, options.positions)) for part in parts]
    results: dict[str, Sequence[Mapping[str, float]]] = {
        NETWORK: [row(s, data) | more for s, more in zip(networks, of_context, strict=True)],
        MIXED: [row(s, data) for s in mixtures],
    }
    naive: dict[str, Mapping[str, float]] = {
        name: row(scores, data) for name, scores in baselines.items()
    }
    return harness.Result(
        finding=in_words(results[NETWORK], naive, advantages),
        borne_out=all(saved.low > 0 for saved in advantages.values()),
        rows=results,
        baselines=naive,
        columns=[
            harness.Column("perplexity_validation", "perplexity\nvalidation", ".1f"),
            harness.Column("perplexity_test", "\ntest", ".1f"),
            harness.Column("perplexity_known", f"without\n{UNKNOWN}", ".1f"),
            harness.Column("bits", "bits\na token", ".3f"),
        ],
        shown=Shown(
            data.vocabulary,
            options.least,
            {name: [numbers["perplexity_test"]] for name, numbers in naive.items()}
            | {name: [seed["perplexity_test"] for seed in rows] for name, rows in results.items()},
            np.array([list(numbers.values()) for numbers in of_context]),
            advantages,
            prompts,
            len(chosen),
            predicted,
            varied,
        ),
        data=works.provenance,
        extra={
            "vocabulary": len(data.vocabulary),
            "unknown_rate": data.unknown_rate(data.test),
            "test_tokens": len(data.test),
            "cache": {"length": cache.length, "weight": cache.weight},
            "advantages": {name: saved._asdict() for name, saved in advantages.items()},
            "moved": {name: moved(p, SHAPE) for name, p in varied.items()},
            "example": example(data),
            "mat": "mat" in data.vocabulary,
            "prompts": {name: asked(p, prompts, len(chosen)) for name, p in predicted.items()},
        },
    )


def in_words(
    networks: Sequence[Mapping[str, float]],
    naive: Mapping[str, Mapping[str, float]],
    advantages: dict[str, Advantage],
) -> str:
    """Perplexities on the test plays, and how many bits more the rivals take."""
    own = np.mean([network["perplexity_test"] for network in networks])
    against = "; ".join(
        f"{name} {naive[name]['perplexity_test']:.1f}, {saved.mean:+.3f} bits a token "
        f"(95 % interval {saved.low:+.3f} to {saved.high:+.3f})"
        for name, saved in advantages.items()
    )
    return f"Test perplexity {own:.1f}. Against it: {against}."


def example(data: Words) -> dict[str, Any]:
    """What follows “on the” in the training plays: how often it occurs, and its commonest word."""
    pair = data.encode(["on", "the"])
    stream = data.training
    next_words = stream[2:][(stream[:-2] == pair[0]) & (stream[1:-1] == pair[1])]
    counts = np.bincount(next_words, minlength=len(data.vocabulary))
    counts[data.vocabulary.index(UNKNOWN)] = 0
    best = int(counts.argmax())
    return {"count": len(next_words), "word": data.vocabulary[best], "times": int(counts[best])}


def asked(p: np.ndarray, prompts: Sequence[Prompt], places: int) -> dict[str, float]:
    """Perplexity on the drawn places, and on the famous lines whose words are known."""
    log_p = np.array([np.log(q[prompt.truth]) for q, prompt in zip(p, prompts, strict=True)])
    known = np.array([prompt.truth > 0 for prompt in prompts])
    drawn = np.arange(len(prompts)) < places
    return {"drawn": perplexity(log_p[drawn]), "famous": perplexity(log_p[known & ~drawn])}
