"""Networks that average their inputs, one that reads them in order, and what each can learn."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.data.shakespeare import shakespeare
from experiments.lab import harness
from experiments.lab.cores import Trained, side_by_side
from experiments.lab.output import Output, Part
from experiments.measures.intervals import binomial_interval
from experiments.order_matters.neighbours import neighbours
from experiments.order_matters.options import Options
from experiments.order_matters.tasks import (
    Sequences,
    Task,
    events_task,
    example,
    orderless,
    verses_task,
)
from rnnjax import cells
from rnnjax.interop.nnx import RNN
from rnnjax.training import fit

NEIGHBOURS = "neighbours counted"
SHARES = ("accuracy_validation", "accuracy")  # of right answers


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
    """A network, its label, and whether it is trained and tested on shuffled sequences."""

    label: str
    network: type[nnx.Module]
    orderless: bool


def contenders(names: Sequence[str]) -> dict[str, Contender]:
    """Those of these names, in the order of the figure."""
    every = {
        "mean": Contender("mean of the inputs", MeanOfInputs, False),
        "alone": Contender("each step alone", EachStepAlone, False),
        "recurrent": Contender("recurrent", Recurrent, False),
        "orderless": Contender("recurrent, shuffled", Recurrent, True),
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
            for name, contender in contenders(options.network).items()
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


class OnTask(NamedTuple):
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


class Shown(NamedTuple):
    """What the figure shows: what was found on each task, and the contenders."""

    tasks: dict[str, OnTask]
    contenders: dict[str, Contender]


def bears_out(found: OnTask) -> bool:
    """Whether all that is blind to the order is at one half, and the recurrent one above it.

    Without the recurrent one, or without any that is blind, nothing is shown.
    """
    intervals = {name: found.interval(found.accuracy(name)) for name in found.seeds}
    reads = intervals.pop("recurrent", None)
    at_half = [low <= 0.5 <= high for low, high in intervals.values()]
    return reads is not None and reads[0] > 0.5 and bool(at_half) and all(at_half)


def in_words(on: dict[str, OnTask], chosen: dict[str, Contender]) -> str:
    """Right answers of each contender on each task."""
    sentences = []
    for found in on.values():
        shares = {c.label: found.accuracy(name) for name, c in chosen.items()}
        shares[NEIGHBOURS] = found.counted["accuracy"]
        listed = ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares.items())
        sentences.append(f"{found.title}: {listed}.")
    return " ".join(sentences)


def run(options: Options, out: Output) -> harness.Result:
    """Every contender on both tasks with every seed."""
    works = shakespeare()
    tasks = {
        "events": ("A before B, or after it", events_task),
        "lines": ("A line, or its words shuffled", partial(verses_task, works)),
    }
    chosen = contenders(options.network)
    on = {}
    for name, (title, make) in tasks.items():
        parts = out.each_seed(name, options.all_seeds, partial(study_all, make, options))
        on[name] = OnTask(
            title,
            tuple(map(str, parts[0]["example"])),
            int(parts[0]["pairs"]),
            {
                network: [{share: part[share][place] for share in SHARES} for part in parts]
                for place, network in enumerate(chosen)
            },
            {share: float(parts[0][f"counted_{share}"]) for share in SHARES},
        )
    return harness.Result(
        finding=in_words(on, chosen),
        rows={
            row_name(name, contender): [row(part, found) for part in found.seeds[network]]
            for name, found in on.items()
            for network, contender in chosen.items()
        },
        baselines={
            f"{name}: {NEIGHBOURS}": row(found.counted, found) for name, found in on.items()
        },
        columns=[
            harness.Column("accuracy_validation", "right (%)\nvalidation", ".1f"),
            harness.Column("accuracy", "\ntest", ".1f"),
            harness.Column("low", "95 % interval\nfrom", ".1f"),
            harness.Column("high", "\nto", ".1f"),
        ],
        borne_out=all(map(bears_out, on.values())),
        shown=Shown(on, chosen),
        data=works.provenance,
        extra={"examples": {name: found.example for name, found in on.items()}},
    )


def row_name(task: str, contender: Contender) -> str:
    """Of a contender on a task, in the table."""
    return f"{task}: {contender.label}"


def row(shares: Any, found: OnTask) -> dict[str, float]:
    """The numbers of one contender and seed, in per cent."""
    low, high = found.interval(float(shares["accuracy"]))
    numbers = {name: float(shares[name]) for name in SHARES} | {"low": low, "high": high}
    return {name: 100 * share for name, share in numbers.items()}
