"""How long does one step take, from the call to its output?

Run time: about 2 minutes on two cores; 15 s with --quick.

Serving, control and generation take one step after another, each with the state of the last. The
weights are an argument, the state is donated, the input is new at every step, and each step is
waited for. What an empty function takes, jitted with the same arguments, is the least that any JAX
contender can take.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from benchmarks.contest import attempt, sizes
from benchmarks.models import CELLS, Problem
from benchmarks.peers import TORCH, UnavailableError, plain_step
from benchmarks.report import Report, Row, by_point, lowest
from rnnjax import layers

PROBLEMS = [
    Problem(cell, batch, 1, width, width)
    for cell in ("gru", "lstm")
    for batch, width in ((1, 128), (1, 512), (64, 128), (1024, 128))
]
QUICK = PROBLEMS[:1]
OURS, STEP, EMPTY, FLAX = "streaming", "step", "empty function", "Flax nnx"
TURNS = 20
AT_LEAST = 1.0

# Takes steps, and returns the seconds of each.
Serve = Callable[[int], list[float]]


def timed_steps(advance: Callable[[Any, Any], tuple[Any, Any]], state: Any, x: Any) -> Serve:
    """Steps of `advance`, `(state, x) -> (state, output)`, the output waited for."""
    held = [state]

    def serve(steps: int) -> list[float]:
        state, seconds = held[0], []
        for _ in range(steps):
            began = time.perf_counter()
            state, output = advance(state, x)
            jax.block_until_ready(output)
            seconds.append(time.perf_counter() - began)
        held[0] = state
        return seconds

    return serve


def draw(problem: Problem) -> np.ndarray[Any, Any]:
    """One input, `[B, D]`."""
    drawn = np.random.default_rng(0).normal(size=(problem.batch, problem.input_size))
    return drawn.astype(np.float32)


def jitted(step: Callable[..., tuple[Any, Any]], params: Any, state: Any, x: Any) -> Serve:
    """`step(params, state, x)`, compiled, with a donated state."""
    compiled = jax.jit(step, donate_argnums=1)
    state = jax.tree.map(jnp.copy, state)  # Zeros may be shared by leaves, which are donated.
    state, _ = compiled(params, state, x)
    return timed_steps(partial(compiled, params), state, x)


def streaming(problem: Problem) -> Serve:
    """`layers.streaming`."""
    layer = layers.recurrent(CELLS[problem.cell](problem.input_size, problem.hidden_size))
    stream = layers.streaming(layer)
    params = layer.init(jax.random.key(0))
    state = stream.start(params, (problem.batch,))
    return jitted(stream.step, params, state, draw(problem))


def own_step(problem: Problem) -> Serve:
    """`rnnjax.step`."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

    def step(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        state = rnnjax.step(cell, params, state, x)
        return state, cell.output(state)

    params = cell.init(jax.random.key(0))
    return jitted(step, params, cell.start(params, (problem.batch,)), draw(problem))


def empty(problem: Problem) -> Serve:
    """Returns the state as it came, and the first number of the input."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)
    params = cell.init(jax.random.key(0))
    state = cell.start(params, (problem.batch,))
    return jitted(lambda params, state, x: (state, x[0, 0]), params, state, draw(problem))


def flax_nnx(problem: Problem) -> Serve:
    """A cell of `flax.nnx`."""
    from flax import nnx

    cells: dict[str, Callable[..., Any]] = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
    cell = cells[problem.cell](problem.input_size, problem.hidden_size, rngs=nnx.Rngs(0))
    graph, params = nnx.split(cell)
    _, start = plain_step(problem)

    def step(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        after: tuple[Any, Any] = nnx.merge(graph, params)(state, x)
        return after

    return jitted(step, params, start, draw(problem))


def torch_cell(problem: Problem) -> Serve:
    """A cell of `torch.nn`, without recording gradients."""
    import torch

    if jax.default_backend() != "cpu":
        raise UnavailableError("compared on CPUs alone")
    cells: dict[str, Callable[..., Any]] = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
    cell = cells[problem.cell](problem.input_size, problem.hidden_size)
    zeros = torch.zeros(problem.batch, problem.hidden_size)

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            state = cell(torch.from_numpy(x), state)
        return state, (state[0] if isinstance(state, tuple) else state).numpy()

    start = (zeros, zeros) if problem.cell == "lstm" else zeros
    return timed_steps(step, start, draw(problem))


CONTENDERS: dict[str, Callable[[Problem], Serve]] = {
    OURS: streaming,
    STEP: own_step,
    FLAX: flax_nnx,
    TORCH: torch_cell,
    EMPTY: empty,
}


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each problem."""
    for problem in QUICK if quick else PROBLEMS:
        made, reasons = attempt({n: partial(make, problem) for n, make in CONTENDERS.items()})
        seconds: dict[str, list[float]] = {name: [] for name in made}
        steps = 10 if quick else 100
        for turn in range(TURNS + 1):
            for name, serve in made.items():
                taken = serve(steps)
                if turn:  # The first warms up.
                    seconds[name] += taken
        for name, own in seconds.items():
            yield sizes(problem) | {
                "contender": name,
                "steps": len(own),
                "p50_microseconds": 1e6 * statistics.median(own),
                "p99_microseconds": 1e6 * statistics.quantiles(own, n=100)[-1],
            }
        for name, reason in reasons.items():
            yield sizes(problem) | {"contender": name, "left_out": reason}


def report(rows: Sequence[Row]) -> Report:
    """In microseconds, half the steps and 99 of 100 take at most; torch against ours."""
    cases = by_point(rows)
    ratios = {
        place: case[TORCH]["p50_microseconds"] / case[OURS]["p50_microseconds"]
        for place, case in cases.items()
        if OURS in case and TORCH in case
    }

    def microseconds(row: Row | None) -> str:
        if row is None:
            return ""
        return f"{row['p50_microseconds']:.0f} / {row['p99_microseconds']:.0f}"

    return Report(
        headers=["µs, p50 / p99", *CONTENDERS, f"{TORCH} / {OURS}"],
        lines=[
            [
                place,
                *(microseconds(case.get(name)) for name in CONTENDERS),
                f"{ratios[place]:.2f}" if place in ratios else "",
            ]
            for place, case in cases.items()
        ],
        findings=lowest(
            f"time of a step of {TORCH} over that of {OURS}, median", ratios, at_least=AT_LEAST
        ),
    )
