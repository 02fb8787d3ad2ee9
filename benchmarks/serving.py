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
from rnnjax.interop.torch import to_torch

PROBLEMS = [
    Problem(cell, batch, 1, width, width)
    for cell in ("gru", "lstm")
    for batch, width in ((1, 128), (1, 512), (64, 128), (1024, 128))
]
QUICK = PROBLEMS[:1]
OURS, STEP, EMPTY, FLAX, ONNX = "streaming", "step", "empty function", "Flax nnx", "ONNX Runtime"
TURNS = 20
# At the start of a turn, not timed: the caches and threads are still the last contender's.
WARM_UP = 5
AT_LEAST = 1.0

# Takes steps, and returns the seconds of each.
Serve = Callable[[int], list[float]]


def timed_steps(advance: Callable[[Any, Any], tuple[Any, Any]], state: Any, x: Any) -> Serve:
    """Steps of `advance`, `(state, x) -> (state, output)`, the output waited for."""
    held = [state]

    def serve(steps: int) -> list[float]:
        state, seconds = held[0], []
        for _ in range(WARM_UP + steps):
            began = time.perf_counter()
            state, output = advance(state, x)
            jax.block_until_ready(output)
            seconds.append(time.perf_counter() - began)
        held[0] = state
        return seconds[WARM_UP:]

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


def check_cpu() -> None:
    """For contenders that do not run where JAX does otherwise."""
    if jax.default_backend() != "cpu":
        raise UnavailableError("compared on CPUs alone")


def torch_cell(problem: Problem) -> Serve:
    """A cell of `torch.nn`, without recording gradients."""
    import torch

    check_cpu()
    cells: dict[str, Callable[..., Any]] = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
    cell = cells[problem.cell](problem.input_size, problem.hidden_size)
    zeros = torch.zeros(problem.batch, problem.hidden_size)

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            state = cell(torch.from_numpy(x), state)
        return state, (state[0] if isinstance(state, tuple) else state).numpy()

    start = (zeros, zeros) if problem.cell == "lstm" else zeros
    return timed_steps(step, start, draw(problem))


def onnx_runtime(problem: Problem) -> Serve:
    """The operator of this name in ONNX Runtime, with the weights of a cell of this library."""
    import onnxruntime

    check_cpu()
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)
    session = onnxruntime.InferenceSession(
        onnx_model(problem, cell.init(jax.random.key(0))), providers=["CPUExecutionProvider"]
    )
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    results = [each.name for each in session.get_outputs()]

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        inputs = {"x": value(x[None])} | {f"{name}0": each for name, each in state.items()}
        state = dict(zip(results, session.run_with_ort_values(results, inputs), strict=True))
        return state, state["h"].numpy()

    zeros = np.zeros((1, problem.batch, problem.hidden_size), np.float32)
    return timed_steps(step, {name: value(zeros) for name in results}, draw(problem))


def onnx_model(problem: Problem, params: Any) -> bytes:
    """A model of one step, of inputs x `[1, B, D]` and h0, c0 `[1, B, H]` and outputs h, c."""
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = to_torch(params)
    # Where ONNX's gates z r h and i o f c stand in torch's order r z n and i f g o.
    order = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}[problem.cell]

    def gates(name: str) -> np.ndarray[Any, Any]:
        blocks = np.split(np.asarray(weights[name]), len(order))
        return np.concatenate([blocks[place] for place in order])[None]

    biases = np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1)
    constants = {"W": gates("weight_ih_l0"), "R": gates("weight_hh_l0"), "B": biases}
    states = {"gru": ["h"], "lstm": ["h", "c"]}[problem.cell]
    # torch's GRU, and ours by default, reset after the product.
    options = {"gru": {"linear_before_reset": 1}, "lstm": {}}[problem.cell]
    node = helper.make_node(
        problem.cell.upper(),
        ["x", "W", "R", "B", "", *(f"{name}0" for name in states)],
        ["", *states],
        hidden_size=problem.hidden_size,
        **options,
    )

    def tensor(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, problem.batch, width])

    graph = helper.make_graph(
        [node],
        problem.cell,
        [
            tensor("x", problem.input_size),
            *(tensor(f"{name}0", problem.hidden_size) for name in states),
        ],
        [tensor(name, problem.hidden_size) for name in states],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # The oldest versions that define both operators as they are now.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


CONTENDERS: dict[str, Callable[[Problem], Serve]] = {
    OURS: streaming,
    STEP: own_step,
    FLAX: flax_nnx,
    TORCH: torch_cell,
    ONNX: onnx_runtime,
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
    """In microseconds, half the steps and 99 of 100 take at most; the others against ours."""
    cases = by_point(rows)
    ratios = {
        other: {
            place: case[other]["p50_microseconds"] / case[OURS]["p50_microseconds"]
            for place, case in cases.items()
            if OURS in case and other in case
        }
        for other in (TORCH, ONNX)
    }

    def microseconds(row: Row | None) -> str:
        if row is None:
            return ""
        return f"{row['p50_microseconds']:.0f} / {row['p99_microseconds']:.0f}"

    return Report(
        headers=["µs, p50 / p99", *CONTENDERS, *(f"{other} / {OURS}" for other in ratios)],
        lines=[
            [
                place,
                *(microseconds(case.get(name)) for name in CONTENDERS),
                *(f"{of[place]:.2f}" if place in of else "" for of in ratios.values()),
            ]
            for place, case in cases.items()
        ],
        findings=[
            finding
            for other, of in ratios.items()
            for finding in lowest(
                f"time of a step of {other} over that of {OURS}, median",
                of,
                at_least=AT_LEAST if other == TORCH else None,
            )
        ],
    )
