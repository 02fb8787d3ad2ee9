"""A batch spread over devices: the same numbers, and next to no communication."""

import re
from functools import lru_cache, partial
from typing import Any

import jax
import laws
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from laws import CELLS, FOLDS, PAIRS, Arguments, Gradient, Leaves, Path
from test_folds import loops

from rnnjax import folds
from rnnjax._unroll import trajectory

T, B = 6, 8


def mesh_of(**axes: int) -> Mesh:
    types = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=types)


def communication(compiled: Any) -> dict[str, int]:
    """How often each collective operation stands in a program."""
    return _collectives(compiled.as_text())


def communication_in_loops(compiled: Any) -> dict[str, int]:
    """How often in the bodies of its loops, and so once a turn."""
    return _collectives("\n".join(line for loop in loops(compiled.as_text()) for line in loop))


def _collectives(hlo: str) -> dict[str, int]:
    names = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    return {name: len(re.findall(rf" {name}(?:-start)?\(", hlo)) for name in names}


@lru_cache(maxsize=4)
def expected(
    cell: str, window: int | None
) -> tuple[Arguments, dict[str, np.ndarray], list[Leaves], Gradient]:
    """Arguments without a state, mask and resets, weights of the loss, and its gradient."""
    args = laws.draw(cell, T, (B,))._replace(state=None)
    rng = np.random.default_rng(0)
    flags = {"mask": rng.random((T, B)) < 0.7, "resets": rng.random((T, B)) < 0.3}
    if not CELLS[cell].takes_zeros:
        flags["mask"][0] = True
    weights = laws.weights_like(laws.loop(cell, args, **flags))
    path, gradient = laws.loop_gradient(cell, args, weights, window=window, **flags)
    return args, flags, laws.split(weights, path), gradient


def gradient_of(
    cell: str, fold: folds.Fold, theta: Any, inputs: Any, flags: Any, weights: list[Leaves]
) -> tuple[Leaves, Leaves]:
    """To what every device has the same, and to what is spread."""

    def run(theta: Any, inputs: Any) -> Path:
        closed, params = theta
        made = CELLS[cell].make(closed)
        path = trajectory(made, params, inputs, fold=fold, **flags)
        return Path(path.final, path.states, path.outputs)

    _, gradient = laws.value_and_pullback(
        run, (theta, inputs), [w for part in weights for w in part]
    )
    same = len(laws.floats(theta))
    return gradient[:same], gradient[same:]


BATCH_FIRST, TIME_FIRST = P("data"), P(None, "data")
SPREAD = (P(), TIME_FIRST, TIME_FIRST, [BATCH_FIRST, TIME_FIRST, TIME_FIRST])


def compiled_and_run(function: Any, cell: str, fold: str) -> tuple[Any, Leaves, Gradient]:
    args, flags, weights, gradient = expected(cell, FOLDS[fold].window)
    given = ((args.closed, args.params), args.inputs, flags, weights)
    compiled = jax.jit(function).lower(*given).compile()
    same, spread = compiled(*given)
    return compiled, [*same, *spread], gradient


@pytest.mark.parametrize(("cell", "fold"), laws.dear(PAIRS))
def test_automatic_sharding(cell: str, fold: str) -> None:
    """Sums are all that devices tell each other."""
    mesh = mesh_of(data=4)
    named = jax.tree.map(partial(NamedSharding, mesh), SPREAD, is_leaf=lambda s: isinstance(s, P))
    function = jax.jit(
        partial(gradient_of, cell, FOLDS[fold].fold),
        in_shardings=named,
        out_shardings=(NamedSharding(mesh, P()), NamedSharding(mesh, TIME_FIRST)),
    )
    compiled, got, gradient = compiled_and_run(function, cell, fold)
    laws.assert_close(got, gradient.args)
    told = communication(compiled)
    assert told.pop("all-reduce") > 0
    assert not any(told.values()), told


# Of an embedding JAX wants to be told how the result lies, by the step itself.
TOLD = [pair for pair in PAIRS if pair[0] != "switched"]


@pytest.mark.parametrize(("cell", "fold"), laws.dear(TOLD))
def test_explicit_axes(cell: str, fold: str) -> None:
    """Types that name the devices: the start is as spread as the inputs, and so is all after it."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    args, flags, weights, gradient = expected(cell, FOLDS[fold].window)
    given = ((args.closed, args.params), args.inputs, flags, weights)
    places = jax.tree.map(partial(NamedSharding, mesh), SPREAD, is_leaf=lambda s: isinstance(s, P))
    with jax.set_mesh(mesh):
        same, spread = jax.jit(partial(gradient_of, cell, FOLDS[fold].fold))(
            *jax.device_put(given, places)
        )
    laws.assert_close([*same, *spread], gradient.args)


@pytest.mark.parametrize(("cell", "fold"), laws.dear(PAIRS))
def test_shard_map(cell: str, fold: str) -> None:
    """One sum over the devices, of all gradients together, after the loops; a learned start.

    What a cell closes over cannot be cast before the fold sees it, and is summed apart.
    """
    function = jax.shard_map(
        partial(gradient_of, cell, FOLDS[fold].fold),
        mesh=mesh_of(data=4),
        in_specs=SPREAD,
        out_specs=(P(), TIME_FIRST),
    )
    compiled, got, gradient = compiled_and_run(function, cell, fold)
    laws.assert_close(got, gradient.args)
    told, closes_over = communication(compiled), gradient.args[0].any()
    assert closes_over or not any(communication_in_loops(compiled).values())
    assert told.pop("all-reduce") == 1 or closes_over
    assert not any(told.values()), told


@pytest.mark.parametrize("fold", laws.folds_of("lstm"))
def test_shard_map_over_two_axes(fold: str) -> None:
    """Two batch axes over two axes of the mesh, and inputs that vary over one alone."""
    args = laws.draw("lstm", T, (2, 4))
    args = args._replace(inputs=np.broadcast_to(args.inputs[:, :, :1], args.inputs.shape))
    cell = CELLS["lstm"].make(args.closed)
    weights = laws.weights_like(laws.loop("lstm", args))
    path, gradient = laws.loop_gradient("lstm", args, weights, window=FOLDS[fold].window)

    def by_params(params: Any, inputs: Any, state: Any, weights: list[Leaves]) -> Leaves:
        def run(params: Any) -> Path:
            return Path(*trajectory(cell, params, inputs, state, fold=FOLDS[fold].fold))

        return laws.value_and_pullback(run, (params,), [w for part in weights for w in part])[1]

    over_a, over_both = P(None, "a"), P(None, "a", "b")
    spread = jax.shard_map(
        by_params,
        mesh=mesh_of(a=2, b=2),
        in_specs=(P(), over_a, P("a", "b"), [P("a", "b"), over_both, over_both]),
        out_specs=P(),
    )
    # Each device of a row sees the same input column, once for each of its members.
    got = jax.jit(spread)(args.params, args.inputs[:, :, :2], args.state, laws.split(weights, path))
    laws.assert_close(got, gradient.args[1 : 1 + len(got)])
