"""Three networks read Shakespeare letter by letter; what it costs them, and what they depend on."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.characters.options import (
    BEFORE,
    LAGS,
    NEAR,
    SAMPLED,
    TEMPERATURES,
    Name,
    Options,
)
from experiments.characters.passages import LINE_END, Places, drawn, letters, line_ends
from experiments.characters.rivals import (
    Data,
    Difference,
    count_grams,
    difference,
    gram_label,
    gram_rows,
    in_words,
)
from experiments.data.shakespeare import (
    ALPHABET,
    TEST,
    TRAINING,
    VALIDATION,
    characters,
    shakespeare,
)
from experiments.lab import harness
from experiments.lab.output import Output, Part
from experiments.models.language import LanguageModel, log_probabilities, train
from experiments.style import STYLES
from rnnjax import cells

CELLS: dict[Name, Any] = {"tanh": cells.elman, "gru": cells.gru, "lstm": cells.lstm}
BLOCKS = {"tanh": 1, "gru": 3, "lstm": 4}  # of H columns in W_xh and W_hh
ROWS = 128  # predictions examined at a time


def units(name: Name, options: Options) -> int:
    """H, the hidden units with which a network has as many weights as an LSTM of --size.

    k H² + (k (E + 1) + V) H    k blocks of columns; V characters, embedded in E numbers
    """
    k, size = BLOCKS["lstm"], options.size
    weights = k * size**2 + (k * (options.embedding + 1) + len(ALPHABET)) * size
    k = BLOCKS[name]
    half = (k * (options.embedding + 1) + len(ALPHABET)) / 2
    return round((math.sqrt(half**2 + k * weights) - half) / k)


def network(name: Name, options: Options, seed: int) -> LanguageModel:
    """As it is drawn, before training."""
    return LanguageModel(
        CELLS[name], len(ALPHABET), units(name, options), embedding=options.embedding,
        rngs=nnx.Rngs(harness.key(seed, "parameters")),
    )  # fmt: skip


def study(
    name: Name, data: Data, places: Places, options: Options, seed: int, metrics: Path
) -> Part:
    """Trains one network, tests it, examines its predictions, and lets it write."""

    def nats(model: LanguageModel, text: np.ndarray) -> np.ndarray:
        # 128 parts of thousands of characters: the few that begin them weigh nothing.
        return -log_probabilities(model, text, before=LINE_END, rows=128)

    model = train(
        network(name, options, seed),
        data.training,
        batch=options.batch,
        window=options.window,
        steps=options.steps,
        learning_rate=options.learning_rate,
        key=harness.key(seed, "training"),
        validate=lambda model: float(np.mean(nats(model, data.validation))),
        looks=options.looks,
        metrics=metrics,
    )
    last = json.loads(metrics.read_text(encoding="utf-8").splitlines()[-1])
    norms, p = examine(model, data.test, places.every)
    begin = places.passages[0].begin
    before = data.test[begin - BEFORE : begin]
    samples = write(model, jnp.asarray(before), harness.key(seed, "samples"))
    weights = jax.tree.leaves(nnx.state(model, nnx.Param))
    return {
        "validation": np.array(last["validation"] / np.log(2)),
        "test": nats(model, data.test) / np.log(2),
        "norms": norms,
        "p": p,
        "samples": np.asarray(samples),
        **{f"weights{i}": np.asarray(each) for i, each in enumerate(weights)},
    }


def restored(name: Name, options: Options, part: Part) -> LanguageModel:
    """The network that `study` trained."""
    shapes = nnx.eval_shape(lambda: network(name, options, seed=0))
    graph, params, rest = nnx.split(shapes, nnx.Param, ...)
    leaves = [jnp.asarray(part[f"weights{i}"]) for i in range(len(jax.tree.leaves(params)))]
    params = jax.tree.unflatten(jax.tree.structure(params), leaves)
    model: LanguageModel = nnx.merge(graph, params, rest)
    return model


@nnx.jit
def connectivity(
    model: LanguageModel, before: jax.Array, following: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How much predictions depend on each character before them, and the predictions.

    ‖∂ log p(x_{t+1} | x_0 ... x_t) / ∂ embedding of x_j‖

    Args:
      model: reads each text from a fresh state.
      before: `[T, B]`, x_0 to x_t of B texts.
      following: `[B]`, the character x_{t+1} that follows in each.

    Returns:
      The norms `[B, T]`, of the latest character first, and the probabilities `[B, V]`.
    """

    def log_p(embedded: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, h = model.read(embedded)
        every = jax.nn.log_softmax(model.logits(h[-1]))
        true = jnp.take_along_axis(every, following[:, None], axis=1)
        # Each text has its own embeddings: the gradient of a sum is that of each term.
        return jnp.sum(true), jnp.exp(every)

    gradients, p = jax.grad(log_p, has_aux=True)(model.embed(before))
    return jnp.linalg.norm(gradients, axis=-1)[::-1].T, p


def examine(
    model: LanguageModel, text: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Connectivity over LAGS characters `[K, LAGS]`, and predictions `[K, V]`, at places `[K]`."""
    found = []
    for chunk in np.resize(places, (-(-len(places) // ROWS), ROWS)):
        before = text[chunk - BEFORE + np.arange(BEFORE)[:, None]]
        found.append(connectivity(model, jnp.asarray(before), jnp.asarray(text[chunk])))
    norms, p = (np.concatenate(each)[: len(places)] for each in zip(*found, strict=True))
    return norms[:, :LAGS], p


def shares(norms: np.ndarray) -> np.ndarray:
    """Of the gradient over the last LAGS characters, `[K, LAGS]`: each row sums to one."""
    of_each: np.ndarray = norms / norms.sum(axis=1, keepdims=True)
    return of_each


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
    written: jax.Array = tokens.T
    return written


class Shown(NamedTuple):
    """What the figure and the page's widgets show; of networks, the first seed predicts.

    Attributes:
      places: where predictions were examined.
      gram_bits: bits per character of the test plays, for each of ORDERS.
      rows: by label, the numbers of each network for each seed, and of the best n-gram.
      differences: between models.
      shares: of each network `[K, LAGS]`: of the gradient at each place.
      p: of each model, by its label, `[K, V]`: probabilities of the next character.
      lstm: trained with the first seed; nothing where none was asked for.
    """

    places: Places
    gram_bits: np.ndarray
    rows: dict[str, Sequence[Mapping[str, float]]]
    differences: list[Difference]
    shares: dict[Name, np.ndarray]
    p: dict[str, np.ndarray]
    lstm: LanguageModel | None


def compared(
    found: dict[Name, list[Part]], grams: Part, claimed: str, best: str
) -> list[Difference]:
    """Every network against the n-grams of the claim and the best ones, and against each other."""
    networks = {STYLES[n].label: np.stack([part["test"] for part in p]) for n, p in found.items()}
    rivals = {claimed: grams["claimed"][None], best: grams["test"][None]}
    pairs = [((one, x), rival) for rival in rivals.items() for one, x in networks.items()]
    pairs += [(other, one) for one, other in combinations(networks.items(), 2)]
    return [difference(*one, *other) for one, other in pairs]


def row(part: Part, places: Places) -> dict[str, float]:
    """The numbers of one network and seed; shares in per cent."""
    passages, *kinds = places.split(shares(part["norms"]))
    reach = np.searchsorted(np.cumsum(np.concatenate(passages).mean(axis=0)), 0.9)
    far = [100 * float(kind[:, NEAR:].sum(axis=1).mean()) for kind in kinds]
    return {
        "weights": sum(values.size for name, values in part.items() if name.startswith("weights")),
        "bits_validation": float(part["validation"]),
        "bits_test": float(part["test"].mean()),
        **line_ends(part["p"], places),
        "reach": 1 + float(reach),
        "far_at_ends": far[0],
        "far_at_spaces": far[1],
    }


def bears_out(differences: Sequence[Difference], claimed: str, gated: set[str]) -> bool:
    """Whether each gated network was found better than the n-gram of the claim."""
    own = [d for d in differences if d.other == claimed and d.one in gated]
    return bool(own) and all(d.found and d.saved > 0 for d in own)


def run(options: Options, out: Output) -> harness.Result:
    """Every network with every seed, the n-grams, and the comparison."""
    works = shakespeare()
    splits = (TRAINING[: options.works], VALIDATION, TEST)
    data = Data(*(characters(works, names) for names in splits))
    places = drawn(works, data.test)
    found = {
        name: out.each_seed(name, options.all_seeds, partial(study, name, data, places, options))
        for name in options.cell
    }
    grams = out.part("n-grams", partial(count_grams, data, places.every))
    claimed, best = (gram_label(order) for order in grams["orders"])
    differences = compared(found, grams, claimed, best)
    gated = {STYLES[name].label for name in options.cell if name != "tanh"}
    naive = gram_rows(grams)
    naive[best] = {**naive[best], **line_ends(grams["p"], places)}
    rows: dict[str, Sequence[Mapping[str, float]]] = {
        STYLES[name].label: [row(part, places) for part in parts] for name, parts in found.items()
    }
    return harness.Result(
        finding=in_words(differences),
        borne_out=bears_out(differences, claimed, gated),
        rows=rows,
        baselines=naive,
        columns=[
            harness.Column("weights", "weights,\nor n-grams kept", ",.0f"),
            harness.Column("bits_validation", "bits per\ncharacter\nvalidation", ".3f"),
            harness.Column("bits_test", "\n\ntest", ".3f"),
            harness.Column("end_at_ends", "% for a line end\nwhere a line ends", ".0f"),
            harness.Column("end_at_spaces", "\nat a space", ".0f"),
            harness.Column("reach", "characters\nwith 90 % of\nthe gradient", ".0f"),
            harness.Column("far_at_ends", f"% of it beyond {NEAR}\nwhere a line ends", ".0f"),
            harness.Column("far_at_spaces", "\nat a space", ".0f"),
        ],
        shown=Shown(
            places,
            grams["bits_test"],
            {**rows, best: [naive[best]]},
            differences,
            {name: shares(parts[0]["norms"]) for name, parts in found.items()},
            {STYLES[name].label: parts[0]["p"] for name, parts in found.items()}
            | {best: grams["p"]},
            restored("lstm", options, found["lstm"][0]) if "lstm" in found else None,
        ),
        data=works.provenance,
        extra={
            "claimed": claimed,
            "best": best,
            "differences": [d._asdict() for d in differences],
            "units": {STYLES[name].label: units(name, options) for name in options.cell},
            "writer": STYLES[options.cell[-1]].label,
            "samples": [letters(tokens) for tokens in found[options.cell[-1]][0]["samples"]],
            "passages": [passage.source for passage in places.passages],
            "places": len(places.ends),
        },
    )
