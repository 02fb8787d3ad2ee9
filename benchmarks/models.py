"""The problems, and rnnjax's contenders; those of other libraries are in `peers.py`."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.timing import timed
from rnnjax import Cell, cells, folds


class Problem(NamedTuple):
    """A cell and its sizes.

    Attributes:
      cell: a name in `CELLS`.
      batch: B.
      length: T.
      input_size: D.
      hidden_size: H.
    """

    cell: str
    batch: int
    length: int
    input_size: int
    hidden_size: int

    @property
    def operations(self) -> int:
        """Of the products of a forward pass; a training step has three times as many."""
        gates = {"tanh": 1, "gru": 3, "lstm": 4}[self.cell]
        rows = self.batch * self.length
        return 2 * rows * (self.input_size + self.hidden_size) * gates * self.hidden_size


CELLS: dict[str, Callable[[int, int], Cell]] = {
    "tanh": cells.elman,
    "gru": cells.gru,
    "lstm": cells.lstm,
}
SHAPES = (
    (1, 1000, 64, 64),
    (32, 128, 64, 128),
    (16, 2000, 64, 64),
    (32, 512, 256, 256),
    (64, 128, 512, 512),
    (128, 64, 512, 512),
)


class Program(NamedTuple):
    """A compiled computation, ready to be timed.

    Attributes:
      call: runs it once.
      compile_seconds: tracing and compilation.
      temporary_bytes: what it needs besides arguments and results; None if unknown.
    """

    call: Callable[[], Any]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


class Model(NamedTuple):
    """A contender at one problem: builds its programs on demand.

    Attributes:
      forward: all outputs.
      training_step: the gradient of the mean square of all outputs.
      last_output: the gradient of the mean square of the last output.
    """

    forward: Callable[[], Program]
    training_step: Callable[[], Program]
    last_output: Callable[[], Program]


def jax_model(
    run: Callable[[Any, Any], tuple[jax.Array, jax.Array]], params: Any, x: jax.Array
) -> Model:
    """By `jax.jit` and `jax.grad`.

    Args:
      run: `(params, x) -> (last, outputs)`. A loss on the last output reads `last`,
        which need not come from all of them.
      params: the weights.
      x: the inputs, in the layout that `run` takes.
    """

    def loss(shown: int) -> Callable[[Any, jax.Array], jax.Array]:
        return lambda params, x: jnp.mean(run(params, x)[shown] ** 2)

    return Model(
        forward=lambda: build(lambda params, x: run(params, x)[1], params, x),
        training_step=lambda: build(jax.grad(loss(1)), params, x),
        last_output=lambda: build(jax.grad(loss(0)), params, x),
    )


def build(function: Callable[..., Any], *args: Any) -> Program:
    """Compiles a function for these arguments."""
    leaves, structure = jax.tree.flatten(args)

    # At every call Python takes longer to flatten the nested dictionaries of one library's weights
    # than the tuple of another's, which should not be timed.
    def flat(*leaves: jax.Array) -> list[jax.Array]:
        return jax.tree.leaves(function(*jax.tree.unflatten(structure, leaves)))

    compiled, seconds = timed(lambda: jax.jit(flat).lower(*leaves).compile())
    memory = compiled.memory_analysis()
    return Program(lambda: compiled(*leaves), seconds, memory and memory.temp_size_in_bytes)


@lru_cache(maxsize=1)
def draw_inputs(problem: Problem) -> jax.Array:
    """`[T, B, D]`, float32, normal; the same array for every contender."""
    shape = (problem.length, problem.batch, problem.input_size)
    return jax.random.normal(jax.random.key(1), shape, jnp.float32)


def folded(fold: folds.Fold, problem: Problem) -> Model:
    """One of rnnjax's folds."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)

    def run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        final, states = fold(cell, params, x, cell.start(params, x.shape[1:-1]))
        return cell.output(final), cell.output(states)

    return jax_model(run, cell.init(jax.random.key(0)), draw_inputs(problem))


def three_line_block(problem: Problem) -> Model:
    """`scan` over a checkpointed block of 32 steps, without a custom derivative rule."""
    size = min(32, problem.length)

    def fold(cell: Cell, params: Any, inputs: jax.Array, state: Any) -> Any:
        blocks = inputs[: len(inputs) // size * size].reshape(-1, size, *inputs.shape[1:])
        block = jax.checkpoint(lambda s, x: folds.scan()(cell, params, x, s), prevent_cse=False)
        state, states = jax.lax.scan(block, state, blocks)
        states = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states)
        if len(rest := inputs[len(states_of(states)) :]):
            state, last = folds.scan()(cell, params, rest, state)
            states = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), states, last)
        return state, states

    def states_of(states: Any) -> jax.Array:
        return jax.tree.leaves(states)[0]

    return folded(fold, problem)


OURS = "default"
SMALLEST = "blocked"
CHECKPOINTED = "checkpointed"
# `truncated` has another gradient, and `parallel` is measured in `parallel_in_time`.
FOLDS: dict[str, Callable[[Problem], Model]] = {
    OURS: lambda problem: folded(folds.default(), problem),
    SMALLEST: lambda problem: folded(folds.blocked(), problem),
    CHECKPOINTED: lambda problem: folded(folds.checkpointed(), problem),
    "scan fold": lambda problem: folded(folds.scan(), problem),
    "3-line block": three_line_block,
}
