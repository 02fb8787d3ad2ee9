"""What averages its inputs cannot know their order; a recurrent network reads it.

Claim: where the label depends on order alone, a network that averages its inputs, or sees each
step alone and averages its answers, is right half the time by construction; a recurrent one is
right more often; and with the order destroyed, in training and in test, it is back at one half.
Seen on two events among distractors, and on Shakespeare's lines against the same words shuffled.

Source: Elman 1990, whose first section says why time wants a state and not a longer input.

Run time: about 4 min on two cores; 15 s with --quick, which takes three networks, tanh,
and fewer lines and steps.

Examples:
  python -m experiments.order_matters
  python -m experiments.order_matters --cell lstm --seeds 0,1,2 --out results/lstm

How: every sequence comes with a partner made of the same symbols, which has the other label, so
that whatever depends on the symbols alone is right of one of the two. Events: A before B, or
the two changed places. Lines: as printed, or with their words in random order; small letters
and no punctuation, so that neither a capital nor a full stop gives the order away. Whole works
are held back for validation and test. Beside the networks stands a classifier that weighs every
pair of neighbours by how much likelier it is in one kind than in the other.
"""
# ruff: noqa: E402 (the options are read before jax is loaded, so that --help answers at once)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

FEWEST, MOST = 6, 12  # words in a line
SEEN = 5  # times that a word must occur in the training lines to be known
DISTRACTORS = 10  # symbols of an event sequence that mean nothing

Name = Literal["mean", "alone", "recurrent", "orderless"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    network: tuple[Name, ...] = get_args(Name)
    """Which networks; orderless is the recurrent one with the order destroyed."""
    cell: Literal["tanh", "gru", "lstm"] = "gru"
    """The recurrence."""
    length: int = 20
    """Steps of an event sequence."""
    works: int = 36
    """Works to train on; three more are for validation, three for test."""
    hidden: int = 64
    """Hidden units, and numbers that a symbol is embedded in."""
    steps: int = 2000
    """Training steps on lines."""
    event_steps: int = 300
    """Training steps on events, which are learnt sooner."""
    pairs: int = 128
    """Sequences in a training step, each with its partner."""
    held: int = 8000
    """The most pairs in validation, and in test; lines are fewer."""
    learning_rate: float = 3e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "network": ("mean", "recurrent", "orderless"), "cell": "tanh", "length": 6, "works": 3,
        "hidden": 32, "steps": 120, "event_steps": 80, "pairs": 64, "held": 1000,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("network")
        self.between("works", 1, 36)
        if self.length < 2:
            raise ValueError(
                f"--length: expected room for two events, got {self.length}; choose another"
            )
        self.above_zero("hidden", "steps", "event_steps", "pairs", "held", "learning_rate")


if __name__ == "__main__":
    harness.main(__file__, __doc__, Options)

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.data.shakespeare import (
    TEST,
    TRAINING,
    UNKNOWN,
    VALIDATION,
    Works,
    shakespeare,
    speeches,
    tokenise,
)
from experiments.lab.cores import Trained, side_by_side
from experiments.lab.output import Output, Part
from experiments.measures.intervals import binomial_interval
from experiments.page.section import Exercise, Found, Section
from rnnjax import cells
from rnnjax.interop.nnx import RNN
from rnnjax.training import fit

SHARES = ("accuracy_validation", "accuracy")  # of right answers
A, B = 0, 1  # the two events; the symbols from 2 on are distractors


class Sequences(NamedTuple):
    """Pairs of sequences: sequence p and sequence P + p are made of the same symbols.

    Attributes:
      symbols: `[2P, T]`, whole numbers.
      lengths: `[2P]`, how many of them count.
      label: `[2P]`, 1 for the first P and 0 for their partners.
    """

    symbols: jax.Array
    lengths: jax.Array
    label: jax.Array


class Task(NamedTuple):
    """What is to be told apart.

    Attributes:
      draw: `key -> Sequences` for a training step.
      many: a large sample of what `draw` gives, for the classifier by counts.
      validation: sequences that training does not see.
      test: likewise.
      vocabulary: how each symbol is written.
      steps: of training.
    """

    draw: Callable[[jax.Array], Sequences]
    many: Sequences
    validation: Sequences
    test: Sequences
    vocabulary: Sequence[str]
    steps: int


@partial(jax.jit, static_argnames=("pairs", "length"))
def events(key: jax.Array, pairs: int, length: int) -> Sequences:
    """A before B among distractors; in the partner, the two have changed places."""
    # Drawn at once: each call of the generator takes its time to compile.
    drawn = jax.random.uniform(key, (pairs, length + 2))
    symbols = 2 + (DISTRACTORS * drawn[:, 2:]).astype(int)
    # Two different places: the one, and a number of steps further, round the end.
    one = (length * drawn[:, 0]).astype(int)
    other = (one + 1 + ((length - 1) * drawn[:, 1]).astype(int)) % length
    first, second = jnp.minimum(one, other), jnp.maximum(one, other)
    row = jnp.arange(pairs)
    return paired(
        symbols.at[row, first].set(A).at[row, second].set(B),
        symbols.at[row, first].set(B).at[row, second].set(A),
        jnp.full(pairs, length),
    )


def paired(symbols: jax.Array, partners: jax.Array, lengths: jax.Array) -> Sequences:
    """Sequences of label 1, and their partners of label 0."""
    ones = jnp.ones(len(symbols))
    return Sequences(
        jnp.concatenate([symbols, partners]),
        jnp.concatenate([lengths, lengths]),
        jnp.concatenate([ones, 0 * ones]),
    )


@jax.jit
def shuffle(key: jax.Array, symbols: jax.Array, lengths: jax.Array) -> jax.Array:
    """The same symbols in random order, each sequence in its own; what does not count stays."""
    counts = jnp.arange(symbols.shape[1])[None] < lengths[:, None]
    order = jnp.argsort(jnp.where(counts, jax.random.uniform(key, symbols.shape), 2.0), axis=1)
    return jnp.take_along_axis(symbols, order, axis=1)


def events_task(options: Options, seed: int) -> Task:
    """Fresh sequences at every step."""
    draw = partial(events, pairs=options.pairs, length=options.length)
    held = (harness.key(seed, name) for name in ("many", "validation", "test"))
    return Task(
        draw,
        *(events(key, pairs=options.held, length=options.length) for key in held),
        ["A", "B", *map(chr, range(ord("c"), ord("c") + DISTRACTORS))],
        options.event_steps,
    )


def verses(works: Works, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The lines of works, as words alone, each line once."""
    lines = [
        tuple(token for token in tokenise(line) if token[-1].isalpha())
        for name in names
        for speech in speeches(works.texts[name])
        for line in speech.splitlines()
    ]
    return [line for line in dict.fromkeys(lines) if FEWEST <= len(line) <= MOST]


def verses_task(works: Works, options: Options, seed: int) -> Task:
    """Lines against their words shuffled, anew at every step."""
    parts = [verses(works, names) for names in (TRAINING[: options.works], VALIDATION, TEST)]
    known = set(parts[0])
    parts[1:] = [[line for line in part if line not in known][: options.held] for part in parts[1:]]
    counts = Counter(word for line in parts[0] for word in line)
    vocabulary = [UNKNOWN, *(word for word, count in counts.items() if count >= SEEN)]
    number = {word: i for i, word in enumerate(vocabulary)}

    def encoded(lines: list[tuple[str, ...]]) -> tuple[jax.Array, jax.Array]:
        symbols = np.zeros((len(lines), MOST), np.int32)
        for row, line in zip(symbols, lines, strict=True):
            row[: len(line)] = [number.get(word, 0) for word in line]
        return jnp.asarray(symbols), jnp.array([len(line) for line in lines])

    training, *held = map(encoded, parts)

    def draw(key: jax.Array) -> Sequences:
        which, order = jax.random.split(key)
        symbols, lengths = (
            leaf[jax.random.choice(which, len(parts[0]), (options.pairs,))] for leaf in training
        )
        return paired(symbols, shuffle(order, symbols, lengths), lengths)

    def all_of(name: str, symbols: jax.Array, lengths: jax.Array) -> Sequences:
        return paired(symbols, shuffle(harness.key(seed, name), symbols, lengths), lengths)

    return Task(
        draw,
        all_of("many", *training),
        *(all_of(name, *part) for name, part in zip(("validation", "test"), held, strict=True)),
        vocabulary,
        options.steps,
    )


def orderless(task: Task, seed: int) -> Task:
    """The task with every sequence shuffled, partners and all; the labels stay."""

    def shuffled(sequences: Sequences, key: jax.Array) -> Sequences:
        return sequences._replace(symbols=shuffle(key, sequences.symbols, sequences.lengths))

    def draw(key: jax.Array) -> Sequences:
        ours, order = jax.random.split(key)
        return shuffled(task.draw(ours), order)

    return task._replace(
        draw=draw,
        validation=shuffled(task.validation, harness.key(seed, "validation shuffled")),
        test=shuffled(task.test, harness.key(seed, "test shuffled")),
    )


def mean_of(values: jax.Array, lengths: jax.Array) -> jax.Array:
    """Of the steps that count: `[B, T, D]` to `[B, D]`."""
    counts = jnp.arange(values.shape[1])[None] < lengths[:, None]
    return jnp.mean(values, axis=1, where=counts[..., None])


class MeanOfInputs(nnx.Module):
    """Averages its inputs, and asks a feed-forward network about the average."""

    def __init__(self, symbols: int, options: Options, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(symbols, options.hidden, rngs=rngs)
        self.hidden = nnx.Linear(options.hidden, options.hidden, rngs=rngs)
        self.readout = nnx.Linear(options.hidden, 1, rngs=rngs)

    def __call__(self, symbols: jax.Array, lengths: jax.Array) -> jax.Array:
        """Above zero for label 1, `[2P]`."""
        average = mean_of(self.embed(symbols), lengths)
        return self.readout(nnx.relu(self.hidden(average)))[:, 0]


class EachStepAlone(MeanOfInputs):
    """Asks a feed-forward network about each input, and averages the answers."""

    def __call__(self, symbols: jax.Array, lengths: jax.Array) -> jax.Array:
        """Above zero for label 1, `[2P]`."""
        answers = self.readout(nnx.relu(self.hidden(self.embed(symbols))))
        return mean_of(answers, lengths)[:, 0]


class Recurrent(nnx.Module):
    """Reads one input after the other into its state, and answers from the last state."""

    def __init__(self, symbols: int, options: Options, rngs: nnx.Rngs) -> None:
        cell = {"tanh": cells.elman, "gru": cells.gru, "lstm": cells.lstm}[options.cell]
        self.embed = nnx.Embed(symbols, options.hidden, rngs=rngs)
        self.rnn = RNN(cell(options.hidden, options.hidden), rngs=rngs)
        self.readout = nnx.Linear(options.hidden, 1, rngs=rngs)

    def __call__(self, symbols: jax.Array, lengths: jax.Array) -> jax.Array:
        """Above zero for label 1, `[2P]`."""
        states = self.rnn(self.embed(symbols), seq_lengths=lengths)
        last = jnp.take_along_axis(states, lengths[:, None, None] - 1, axis=1)[:, 0]
        return self.readout(last)[:, 0]


class Contender(NamedTuple):
    """A network, what it is called and how it is drawn."""

    label: str
    network: type[nnx.Module]
    orderless: bool
    colour: str
    marker: str


def contenders(cell: str, names: Sequence[str]) -> dict[str, Contender]:
    """Those of these names, in the order of the figure."""
    recurrent = {"tanh": "tanh network", "gru": "GRU", "lstm": "LSTM"}[cell]
    every = {
        "mean": Contender("mean of the inputs", MeanOfInputs, False, "#c1272d", "s"),
        "alone": Contender("each step alone", EachStepAlone, False, "#d98200", "D"),
        "recurrent": Contender(recurrent, Recurrent, False, "#1f5fa8", "o"),
        "orderless": Contender(f"{recurrent}, order destroyed", Recurrent, True, "#7b3fa0", "v"),
    }
    return {name: contender for name, contender in every.items() if name in names}


def study(contender: Contender, task: Task, options: Options, seed: int) -> Trained:
    """Trains one network on one task; its numbers are shares of right answers."""
    if contender.orderless:
        task = orderless(task, seed)
    rngs = nnx.Rngs(harness.key(seed, contender.label))
    model = contender.network(len(task.vocabulary), options, rngs)
    graph, params, fixed = nnx.split(model, nnx.Param, ...)

    def score(params: Any, sequences: Sequences) -> jax.Array:
        """Above zero for label 1, `[2P]`."""
        return nnx.merge(graph, params, fixed)(sequences.symbols, sequences.lengths)

    def loss(params: Any, batch: Sequences) -> jax.Array:
        return jnp.mean(optax.sigmoid_binary_cross_entropy(score(params, batch), batch.label))

    @jax.jit
    def right(params: Any, sequences: Sequences) -> jax.Array:
        return (score(params, sequences) > 0) == (sequences.label > 0)

    fitted = fit(
        loss,
        params,
        task.draw,
        optax.adam(optax.cosine_decay_schedule(options.learning_rate, task.steps)),
        steps=task.steps,
        key=harness.key(seed, "batches"),
        chunk=250,
        clip=1.0,
        quiet=True,  # two trainings run at a time
    )
    # Compiled once for both parts.
    held = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), task.validation, task.test)
    answers = np.split(right(fitted.params, held), [len(task.validation.label)])
    shares = (float(np.mean(part)) for part in answers)
    return Trained(dict(zip(SHARES, shares, strict=True)), fitted.records)


def study_all(
    make: Callable[[Options, int], Task], options: Options, seed: int, metrics: Path
) -> Part:
    """All that is asked of one task: every contender, in order; the classifier; a pair to show."""
    task = make(options, seed)
    trained = side_by_side(
        {
            name: partial(study, contender, task, options, seed)
            for name, contender in contenders(options.cell, options.network).items()
        },
        metrics,
    )
    counted = {f"counted_{name}": np.array(share) for name, share in neighbours(task).items()}
    return {
        **trained,
        **counted,
        "pairs": np.array(len(task.test.label) // 2),
        "example": np.array(example(task)),
    }


def neighbours(task: Task) -> dict[str, float]:
    """A classifier that knows pairs of neighbours alone: the sum of their log-odds.

        score = Σ ln (n_1(v, w) + α) / (n_0(v, w) + α)

    n_1 and n_0 count the pair v w in the training sequences of either label, both ends of a
    sequence being a symbol; α is the one best in validation.
    """
    end = len(task.vocabulary)

    def pairs(sequences: Sequences) -> np.ndarray:
        """`[2P, T + 1]`, a number for each pair, -1 past the end."""
        symbols, lengths = np.asarray(sequences.symbols), np.asarray(sequences.lengths)
        padded = np.pad(symbols, ((0, 0), (1, 1)), constant_values=end)
        padded[np.arange(len(padded)), lengths + 1] = end
        found = padded[:, :-1] * (end + 1) + padded[:, 1:]
        return np.where(np.arange(found.shape[1]) > lengths[:, None], -1, found)

    known, place = np.unique(pairs(task.many), return_inverse=True)
    n_1, n_0 = (
        np.bincount(part.ravel(), minlength=len(known))
        for part in np.split(place.reshape(len(task.many.label), -1), 2)
    )

    def accuracy(alpha: float, sequences: Sequences) -> float:
        each = pairs(sequences)
        place = np.minimum(np.searchsorted(known, each), len(known) - 1)
        odds = np.where((each >= 0) & (known[place] == each), odds_of(alpha)[place], 0.0)
        return float(np.mean((odds.sum(axis=1) > 0) == (np.asarray(sequences.label) > 0)))

    def odds_of(alpha: float) -> np.ndarray:
        return np.log(n_1 + alpha) - np.log(n_0 + alpha)

    best = max((0.1, 0.3, 1.0, 3.0, 10.0), key=lambda alpha: accuracy(alpha, task.validation))
    return {
        "accuracy_validation": accuracy(best, task.validation),
        "accuracy": accuracy(best, task.test),
    }


class Panel(NamedTuple):
    """What was found on one task.

    Attributes:
      title: what is told apart.
      example: a sequence of either label, as text.
      pairs: sequences in the test, without their partners.
      seeds: the parts of every contender.
      counted: accuracy of the classifier by pairs of neighbours.
    """

    title: str
    example: tuple[str, ...]
    pairs: int
    seeds: dict[str, list[Part]]
    counted: dict[str, float]

    def accuracy(self, name: str) -> float:
        """Of a contender, mean over the seeds."""
        return float(np.mean([part["accuracy"] for part in self.seeds[name]]))

    def interval(self, share: float) -> tuple[float, float]:
        """A pair counts once, as if its two members always stood and fell together."""
        return binomial_interval(share, self.pairs)


def bears_out(panel: Panel) -> bool:
    """Whether all that is blind to the order is at one half, and the recurrent one above it.

    Without the recurrent one, or without any that is blind, nothing is shown.
    """
    intervals = {name: panel.interval(panel.accuracy(name)) for name in panel.seeds}
    reads = intervals.pop("recurrent", None)
    at_half = [low <= 0.5 <= high for low, high in intervals.values()]
    return reads is not None and reads[0] > 0.5 and bool(at_half) and all(at_half)


def in_words(panels: dict[str, Panel], chosen: dict[str, Contender]) -> str:
    """Right answers of each contender on each task."""
    sentences = []
    for panel in panels.values():
        shares = {c.label: panel.accuracy(name) for name, c in chosen.items()}
        shares["neighbours counted"] = panel.counted["accuracy"]
        found = ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares.items())
        sentences.append(f"{panel.title}: {found}.")
    return " ".join(sentences)


def draw(panels: dict[str, Panel], chosen: dict[str, Contender]) -> Figure:
    """A panel a task: accuracy of each contender, and the line at one half."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, panel in zip(axes, panels.values(), strict=True):
        accuracies(ax, panel, chosen)
    figure.supxlabel(
        "Every sequence is tested beside its partner of the same symbols and the other label: what "
        "is blind to their order is right of one in two (black line).\n"
        "A mark a seed; bars: 95 % binomial interval of the mean, over the pairs of the test.",
        fontsize=9, color="0.3",
    )  # fmt: skip
    return figure


def accuracies(ax: Axes, panel: Panel, chosen: dict[str, Contender]) -> None:
    """One row a contender: a mark a seed, and the mean with its interval."""
    rows = [(c.label, c.colour, c.marker, panel.seeds[name]) for name, c in chosen.items()]
    rows.append(("neighbours counted", "0.4", "P", [panel.counted]))
    ax.axvline(50, color="black", linewidth=1.2)
    for place, (_, colour, marker, seeds) in enumerate(rows):
        each = [100 * float(part["accuracy"]) for part in seeds]
        mean = float(np.mean(each))
        ends = [100 * end for end in panel.interval(mean / 100)]
        ax.plot(ends, [place, place], color=colour, linewidth=2)
        ax.plot(each, [place] * len(each), marker, color=colour)
        ax.annotate(
            f"{mean:.1f} %", (max(ends), place), (6, 6), textcoords="offset points", color=colour
        )
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
    ax.set_xticks(range(50, 101, 10))
    ax.set(ylim=(len(rows) - 0.5, -0.6), xlim=(43, 110), xlabel="right answers on the test (%)")
    ax.set_title(f"{panel.title}\n1:  {panel.example[0]}\n0:  {panel.example[1]}", fontsize=10)


def run(options: Options, out: Output) -> harness.Result:
    """Every contender on both tasks with every seed; then the figure and the table."""
    works = shakespeare()
    tasks = {
        "events": ("A before B, or after it", events_task),
        "lines": ("A line of Shakespeare, or its words shuffled", partial(verses_task, works)),
    }
    chosen = contenders(options.cell, options.network)
    panels = {}
    for name, (title, make) in tasks.items():
        parts = [
            out.part(f"{name}-seed{seed}", partial(study_all, make, options, seed))
            for seed in options.all_seeds
        ]
        panels[name] = Panel(
            title,
            tuple(map(str, parts[0]["example"])),
            int(parts[0]["pairs"]),
            {
                network: [{share: part[share][place] for share in SHARES} for part in parts]
                for place, network in enumerate(chosen)
            },
            {share: float(parts[0][f"counted_{share}"]) for share in SHARES},
        )
    out.figure(draw(panels, chosen))
    return harness.Result(
        finding=in_words(panels, chosen),
        rows={
            row_name(name, contender): [row(part, panel) for part in panel.seeds[network]]
            for name, panel in panels.items()
            for network, contender in chosen.items()
        },
        baselines={
            f"{name}: neighbours counted": row(panel.counted, panel)
            for name, panel in panels.items()
        },
        columns=[
            harness.Column("accuracy_validation", "right (%)\nvalidation", ".1f"),
            harness.Column("accuracy", "\ntest", ".1f"),
            harness.Column("low", "95 % interval\nfrom", ".1f"),
            harness.Column("high", "\nto", ".1f"),
        ],
        borne_out=all(map(bears_out, panels.values())),
        data=works.provenance,
    )


def example(task: Task) -> tuple[str, str]:
    """The first pair of the test that has no unknown word."""
    symbols, lengths = np.asarray(task.test.symbols), np.asarray(task.test.lengths)
    pairs = len(lengths) // 2

    def written(place: int) -> str:
        return " ".join(task.vocabulary[symbol] for symbol in symbols[place, : lengths[place]])

    place = next(place for place in range(pairs) if UNKNOWN not in written(place))
    return written(place), written(pairs + place)


def row_name(task: str, contender: Contender) -> str:
    """Of a contender on a task, in the table."""
    return f"{task}: {contender.label}"


def row(found: Any, panel: Panel) -> dict[str, float]:
    """The numbers of one contender and seed, in per cent."""
    low, high = panel.interval(float(found["accuracy"]))
    shares = {name: float(found[name]) for name in SHARES} | {"low": low, "high": high}
    return {name: 100 * share for name, share in shares.items()}


def _ran(found: Found) -> dict[str, Contender]:
    """The networks of a run."""
    return contenders(found["cell"], found["network"])


def _right(found: Found, task: str, contender: Contender) -> str:
    """Right answers on the test, with their deviation over the seeds."""
    numbers = found["results"][row_name(task, contender)]
    deviation = numbers.get("deviation", {}).get("accuracy", 0)
    spread = f" ± {deviation:.1f}" if round(deviation, 1) else ""
    return f"{numbers['mean']['accuracy']:.1f}{spread} %"


def _counted(found: Found, task: str) -> float:
    """Right answers of the classifier by neighbours, in per cent."""
    return float(found["baselines"][f"{task}: neighbours counted"]["accuracy"])


def _told(found: Found, network: str, sentence: str) -> str:
    """A sentence that ends in a network's right answers; nothing where it did not run."""
    if network not in found["network"]:
        return ""
    events, lines = (_right(found, task, _ran(found)[network]) for task in ("events", "lines"))
    return f" {sentence}: {events} on events, {lines} on lines."


def _rivals(found: Found) -> str:
    """The recurrent network beside the classifier by neighbours, on lines."""
    counted = _counted(found, "lines")
    told = f"On lines it is right {counted:.1f} % of the time"
    if "recurrent" not in found["network"]:
        return told
    contender = _ran(found)["recurrent"]
    ours = found["results"][row_name("lines", contender)]["mean"]
    often = "about as often"  # as far as this test can tell
    if not ours["low"] <= counted <= ours["high"]:
        often = "more often" if counted < ours["low"] else "less often"
    return f"{told}; the {contender.label} {often}"


SECTION = Section(
    place=2,
    title="Why order matters",
    text=lambda found: [
        "`The dog bites the man` and `the man bites the dog` are made of the same words. A "
        "feed-forward network takes a fixed number of inputs; to give it a sequence of any length, "
        "one may average the inputs, or ask it about each one alone and average the answers. Both "
        "throw the order away, for an average does not know in which order its terms came. Such a "
        "model is called a bag of words, and for some questions, such as what a text is about, it "
        "does well.",
        "Here the order is all there is. Each sequence has a partner of the same symbols and the "
        "other label: two events that have changed places, or a line of Shakespeare with its words "
        "shuffled. Whatever an order-blind network says of the one it says of the other, so it is "
        "right about one of the two: one half, by construction, however large it is and however "
        "long it trains."
        + _told(found, "mean", "The mean of the inputs")
        + _told(found, "alone", "Each step alone")
        + " A recurrent network reads one input after the other into a state; this is one of "
        "several kinds, which the cures explain."
        + _told(found, "recurrent", "Its right answers")
        + " If every sequence is shuffled before it is read, in training and in test, the same "
        "network has nothing left to go by." + _told(found, "orderless", "Then it is right"),
        "That does not make recurrence the only way. A classifier that counts which symbols stand "
        f"next to each other knows a little of the order. {_rivals(found)}. On events it is right "
        f"{_counted(found, 'events'):.1f} % of the time: where A and B do not touch and neither "
        "stands first or last, pairs of neighbours do not tell. The claim, that what is blind to "
        "order stays at one half and the recurrent network does not, is "
        f"{'borne out' if found['borne_out'] else 'not borne out'} by this run, within "
        "the binomial intervals of the table.",
    ],
    alt=lambda found: (
        "Two graphs of right answers on the test, one for events and one for lines, a row a "
        "network, with a vertical line at one half."
        + "".join(_told(found, name, contender.label) for name, contender in _ran(found).items())
        + f" Neighbours counted: {_counted(found, 'events'):.1f} % on events, "
        f"{_counted(found, 'lines'):.1f} % on lines."
    ),
    code=[MeanOfInputs, Recurrent],
    exercise=Exercise(
        "A network that averages its inputs is tested on 1000 lines of Shakespeare and on the same "
        "1000 lines with their words shuffled. It calls 700 of the true lines true. How many of "
        "its 2000 answers are right?",
        "1000. It says the same of each line and of its shuffled partner, so it calls 700 shuffled "
        "lines true as well, and is right about the other 300 of them: `700 + 300`.",
        number=1000,
    ),
)
