"""`jax.export`: sizes that are left open, and what is written and read again."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from flax import linen, nnx
from jax import export
from laws import FOLDS, LIBRARY
from pages import ROOT, check_printed, examples, execute

import rnnjax
from rnnjax import cells, layers
from rnnjax.interop import linen as of_linen
from rnnjax.interop import nnx as of_nnx
from rnnjax.interop.flax import linen_cell
from rnnjax.layers import Directions

D, H = 3, 4
OPEN = ["t, 2, 3", "5, b, 3", "t, b, 3"]
# Their number of pieces depends on the size that is open.
NEEDS = {
    "checkpointed(segments=2)": "t",
    "checkpointed(budget_bytes)": "tb",
    "parallel()": "t",
    "parallel(diagonal)": "t",
}


def exported(function: Any, *args: Any) -> Any:
    """Written as bytes and read again."""
    return export.deserialize(export.export(jax.jit(function))(*args).serialize()).call


def left_open(shape: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(export.symbolic_shape(shape), jnp.float64)


DAILY = [("gru", "blocked()")]


@pytest.mark.parametrize(
    ("make", "fold"),
    [
        pytest.param(*pair, marks=[] if pair in DAILY else [pytest.mark.slow])
        for pair in itertools.product(LIBRARY, FOLDS)
        if pair[0] in ("gru", "lru") or pair[1] == laws.DEFAULT
    ],
)
def test_states_and_gradient_with_open_sizes(make: str, fold: str) -> None:
    """Of any length and batch they are what they are when the sizes are known."""
    cell = LIBRARY[make](D, H, dtype=jnp.float64)
    params = cell.init(jax.random.key(0))

    def run(params: Any, x: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            final, outputs = rnnjax.unroll(cell, params, x, fold=FOLDS[fold].fold)
            return jnp.sum(outputs**2), (final, outputs)

        return jax.value_and_grad(loss, has_aux=True)(params)

    needed = NEEDS.get(fold, "")
    for shape in OPEN:
        if any(letter in shape for letter in needed):
            with pytest.raises(ValueError, match=r"expected .* known"):
                exported(run, params, left_open(shape))
            continue
        call = exported(run, params, left_open(shape))
        for length in (5, 3) if "t" in shape else (5,):
            x = np.random.default_rng(length).normal(size=(length, 2, D))
            laws.assert_close(call(params, x), jax.jit(run)(params, x))


@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_masks_and_resets_with_open_sizes(reverse: bool) -> None:
    cell = cells.lstm(D, H, dtype=jnp.float64)
    params = cell.init(jax.random.key(0))

    def run(params: Any, x: jax.Array, mask: jax.Array, resets: jax.Array) -> Any:
        return rnnjax.unroll(cell, params, x, mask=mask, resets=resets, reverse=reverse)

    x = left_open("t, b, 3")
    flags = jax.ShapeDtypeStruct(x.shape[:2], jnp.bool_)
    rng = np.random.default_rng(0)
    given = rng.normal(size=(7, 3, D)), rng.random((7, 3)) < 0.6, rng.random((7, 3)) < 0.3
    laws.assert_close(
        exported(run, params, x, flags, flags)(params, *given), jax.jit(run)(params, *given)
    )


def test_streaming_with_an_open_batch() -> None:
    layer = layers.stack(*(layers.recurrent(cells.gru(n, H, dtype=jnp.float64)) for n in (D, H)))
    params = layer.init(jax.random.key(0))
    stream = layers.streaming(layer)
    scope = export.SymbolicScope()
    state = tuple(
        jax.ShapeDtypeStruct(export.symbolic_shape("b, 4", scope=scope), jnp.float64) for _ in "12"
    )
    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, 3", scope=scope), jnp.float64)
    call = exported(stream.step, params, state, x)
    given = stream.start(params, (5,)), np.ones((5, D))
    laws.assert_close(call(params, *given), stream.step(params, *given))


@pytest.mark.parametrize("cell", [cells.gru, nnx.GRUCell], ids=["ours", "flax"])
def test_modules_of_nnx_with_open_sizes(cell: Any) -> None:
    rngs = nnx.Rngs(0)
    ours = cell is cells.gru
    made = cell(D, H) if ours else cell(D, H, rngs=rngs)
    module = of_nnx.RNN(made, rngs=rngs) if ours else of_nnx.RNN(made)
    graph, weights = nnx.split(module)
    weights = nnx.to_pure_dict(weights)

    def run(weights: Any, x: jax.Array, lengths: jax.Array) -> Any:
        return nnx.merge(graph, weights)(x, seq_lengths=lengths)

    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, t, 3"), jnp.float32)
    lengths = jax.ShapeDtypeStruct(x.shape[:1], jnp.int32)
    given = np.ones((2, 6, D), np.float32), np.array([6, 2], np.int32)
    call = exported(run, weights, x, lengths)
    laws.assert_close(call(weights, *given), jax.jit(run)(weights, *given), 1e-6)


@pytest.mark.parametrize("cell", [cells.gru(D, H), linen.GRUCell(H)], ids=["ours", "flax"])
def test_modules_of_linen_with_open_sizes(cell: Any) -> None:
    module = of_linen.RNN(cell)
    given = np.ones((2, 6, D), np.float32), np.array([6, 2], np.int32)
    variables = module.init(jax.random.key(0), given[0])

    def run(variables: Any, x: jax.Array, lengths: jax.Array) -> Any:
        return module.apply(variables, x, seq_lengths=lengths)

    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, t, 3"), jnp.float32)
    lengths = jax.ShapeDtypeStruct(x.shape[:1], jnp.int32)
    call = exported(run, variables, x, lengths)
    laws.assert_close(call(variables, *given), jax.jit(run)(variables, *given), 1e-6)


@pytest.mark.parametrize("make", LIBRARY)
def test_parameters_and_states_are_written(make: str) -> None:
    """As the tuples that they are, alone and in two directions."""
    cell = LIBRARY[make](D, H)
    params = cell.init(jax.random.key(0))
    given = Directions(params, params), cell.start(params, (2,))
    result = exported(lambda *args: args, *given)(*given)
    assert jax.tree.structure(result) == jax.tree.structure(given)


def test_foreign_states_are_written() -> None:
    cell = linen_cell(linen.GRUCell(H), jnp.ones(D, jnp.float32))
    state = cell.start(cell.init(jax.random.key(0)), (2,))
    result = exported(lambda state: state, state)(state)
    assert jax.tree.structure(result) == jax.tree.structure(state)


@pytest.mark.slow
def test_a_process_without_the_library_runs_what_the_page_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's first block writes the model, its second loads it."""
    writing, loading, *_ = examples((ROOT / "docs/export.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    execute([writing], "export")
    # An installed rnnjax is hidden: to import it is an error.
    code = f"import sys; sys.modules['rnnjax'] = None\n{loading.code}"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert loading.printed is not None
    check_printed(done.stdout, loading.printed)
