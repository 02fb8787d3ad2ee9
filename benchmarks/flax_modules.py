"""What does a Flax module around `rnnjax.unroll` cost, and save compared with Flax's own?

Run time: about 4 minutes on two cores; 15 s with --quick.

A training step of `rnnjax.interop.nnx.RNN` and `rnnjax.interop.linen.RNN`, with a cell of this
library and with Flax's own, in both layouts, compared with `rnnjax.unroll` on the same layout
and Flax's `RNN`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

import rnnjax
from benchmarks.contest import QUICK, attempt, ready, sizes
from benchmarks.models import CELLS, SHAPES, Model, Problem, draw_inputs, jax_model
from benchmarks.report import Report, Row, by_point, highest, mean
from benchmarks.timing import ratio, spread, take_turns
from benchmarks.training_step import RACE
from rnnjax.interop import linen as ours_linen
from rnnjax.interop import nnx as ours_nnx

LAYOUTS = {"time first": True, "batch first": False}
FUNCTION = "unroll"
OURS = ("nnx", "linen")
AT_MOST = 1.03

LINEN = {"tanh": linen.SimpleCell, "gru": linen.GRUCell, "lstm": linen.OptimizedLSTMCell}
NNX = {"tanh": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


def inputs(problem: Problem, time_major: bool) -> jax.Array:
    """`[T, B, D]`, or `[B, T, D]`."""
    x = draw_inputs(problem)
    return x if time_major else jnp.swapaxes(x, 0, 1)


def model(run: Callable[[Any, jax.Array], jax.Array], params: Any, x: jax.Array) -> Model:
    """Of a function that returns all outputs; the last alone is not measured."""
    return jax_model(lambda params, x: (x, run(params, x)), params, x)


def by_hand(time_major: bool, problem: Problem) -> Model:
    """`rnnjax.unroll`, between two transpositions where the batch comes first."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

    def run(params: Any, x: jax.Array) -> jax.Array:
        if time_major:
            return rnnjax.unroll(cell, params, x)[1]
        return jnp.swapaxes(rnnjax.unroll(cell, params, jnp.swapaxes(x, 0, 1))[1], 0, 1)

    return model(run, cell.init(jax.random.key(0)), inputs(problem, time_major))


def of_nnx(module: Any, kinds: Any, time_major: bool, problem: Problem) -> Model:
    """A module of nnx, split outside `jax.jit`."""
    make = kinds[problem.cell]
    size = (problem.input_size, problem.hidden_size)
    cell = make(*size) if kinds is CELLS else make(*size, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(
        module.RNN(cell, time_major=time_major, rngs=nnx.Rngs(0)), nnx.Param, ...
    )
    zeros = jnp.zeros((problem.batch, problem.hidden_size))
    # Flax's own would draw a carry, and so mutate a random stream.
    start = (zeros, zeros) if problem.cell == "lstm" else zeros
    options = {"initial_carry": start} if module is nnx else {}

    def run(params: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, rest)(x, **options)

    return model(run, params, inputs(problem, time_major))


def of_linen(module: Any, kinds: Any, time_major: bool, problem: Problem) -> Model:
    """A module of linen."""
    make = kinds[problem.cell]
    sizes = (problem.input_size, problem.hidden_size) if kinds is CELLS else (problem.hidden_size,)
    rnn = module.RNN(make(*sizes), time_major=time_major)
    x = inputs(problem, time_major)
    return model(rnn.apply, rnn.init(jax.random.key(0), x), x)


CONTENDERS: dict[str, Callable[[bool, Problem], Model]] = {
    FUNCTION: by_hand,
    OURS[0]: partial(of_nnx, ours_nnx, CELLS),
    OURS[1]: partial(of_linen, ours_linen, CELLS),
    "nnx, Flax's cell": partial(of_nnx, ours_nnx, NNX),
    "linen, Flax's cell": partial(of_linen, ours_linen, LINEN),
    "Flax nnx": partial(of_nnx, nnx, NNX),
    "Flax linen": partial(of_linen, linen, LINEN),
}


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell, shape and layout."""
    shapes = [shape for shape in SHAPES if shape[1:] in ((128, 64, 128), (2000, 64, 64))]
    problems = [Problem(cell, *shape) for shape in shapes for cell in ("gru", "lstm")]
    for problem in QUICK if quick else problems:
        for layout, time_major in LAYOUTS.items():
            place = sizes(problem) | {"layout": layout}
            made, reasons = attempt(
                {
                    name: partial(ready, RACE, partial(make, time_major), problem)
                    for name, make in CONTENDERS.items()
                }
            )
            calls = {name: program.call for name, program in made.items()}
            times = take_turns(calls, rounds=5, seconds=0 if quick else 3.0)
            for name in made:
                yield place | {
                    "contender": name,
                    "rounds": len(times[name]),
                    "seconds": spread(times[name])._asdict(),
                    "to_function": ratio(times, name, FUNCTION)._asdict(),
                }
            for name, reason in reasons.items():
                yield place | {"contender": name, "left_out": reason}


def report(rows: Sequence[Row]) -> Report:
    """Every module's time over that of the function."""
    by_place = by_point(rows)
    ratios = {
        place: {name: row["to_function"]["median"] for name, row in case.items()}
        for place, case in by_place.items()
    }
    findings = []
    for name in OURS:
        own = {place: case[name] for place, case in ratios.items() if name in case}
        what = f"time of the {name} module over that of unroll"
        findings += [*mean(what, own), *highest(what, own, at_most=AT_MOST)]
    return Report(
        headers=["times unroll", *CONTENDERS],
        lines=[
            [place, *(f"{case[name]:.3f}" if name in case else "" for name in CONTENDERS)]
            for place, case in ratios.items()
        ],
        findings=findings,
    )
