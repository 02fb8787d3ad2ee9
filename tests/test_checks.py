"""Options of the wrong kind: refused by name, wherever they are taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws import FACTORIES, initialisers_of

import rnnjax
from rnnjax import cells, folds, initializers, layers, training
from rnnjax._checks import as_bool, as_int, as_path
from rnnjax.folds._parallel import newton
from rnnjax.interop.files import read, write
from rnnjax.interop.keras import from_keras

CELL = cells.elman(2, 3)
PARAMS = CELL.init(jax.random.key(0))
X = jnp.zeros((4, 1, 2), jnp.float32)
LAYER = layers.recurrent(CELL)
BOTH = layers.bidirectional(LAYER, LAYER)


def fit(**options: Any) -> Any:
    def loss(params: Any, batch: Any) -> jax.Array:
        return jnp.sum(params**2)

    return training.fit(
        loss, jnp.ones(2), lambda key: (), optax.sgd(0.1),
        **{"steps": 2, "key": jax.random.key(0), **options},
    )  # fmt: skip


WHOLE: list[tuple[str, Callable[[Any], Any]]] = [
    *(("hidden_size", lambda n, make=make: make(10, n)) for make in FACTORIES),
    *(("input_size", lambda n, make=make: make(n, 10)) for make in FACTORIES),
    ("projection_size", lambda n: cells.lstm(2, 3, projection_size=n)),
    ("gates", lambda n: initializers.by_gate(initializers.orthogonal(), n)),
    ("forget", lambda n: initializers.chrono(9, forget=n)),
    ("remember", lambda n: initializers.chrono(9, forget=1, remember=n)),
    ("size", lambda n: folds.blocked(size=n)),
    ("segments", lambda n: folds.checkpointed(segments=n)),
    ("window", lambda n: folds.truncated(window=n)),
    ("unroll", lambda n: folds.scan(unroll=n)),
    ("max_iterations", lambda n: folds.parallel(max_iterations=n)),
    ("max_iterations", lambda n: newton(CELL, PARAMS, X, X[0], max_iterations=n)),
    ("directions", lambda n: rnnjax.gradient_report(CELL, PARAMS, X, directions=n)),
    ("length", lambda n: rnnjax.plan(CELL, (1,), n)),
    ("batch_shape", lambda n: rnnjax.plan(CELL, (n,), 4)),
    ("length", lambda n: rnnjax.lengths_to_mask(jnp.array([1]), n)),
    ("steps", lambda n: fit(steps=n)),
    ("chunk", lambda n: fit(chunk=n)),
]
TRUTH: list[tuple[str, Callable[[Any], Any]]] = [
    ("reset_after", lambda yes: cells.gru(2, 3, reset_after=yes)),
    ("reset_after", lambda yes: from_keras([], reset_after=yes)),
    ("quiet", lambda yes: fit(quiet=yes)),
    ("reverse", lambda yes: rnnjax.unroll(CELL, PARAMS, X, reverse=yes)),
    ("reverse", lambda yes: rnnjax.states(CELL, PARAMS, X, reverse=yes)),
    ("reverse", lambda yes: rnnjax.gradient_report(CELL, PARAMS, X, reverse=yes)),
    ("reverse", lambda yes: layers.backward(LAYER).apply(PARAMS, X, reverse=yes)),
    ("reverse", lambda yes: BOTH.apply((PARAMS, PARAMS), X, reverse=yes)),
]


@pytest.mark.parametrize(("name", "call"), WHOLE, ids=[name for name, _ in WHOLE])
def test_sizes_are_whole_numbers(name: str, call: Callable[[Any], Any]) -> None:
    for wrong in (2.5, 2.0, "2", True, np.bool_(True), np.float32(2)):
        with pytest.raises(
            TypeError, match=f"^{name}: expected a whole number, got .* pass an int"
        ):
            call(wrong)


@pytest.mark.parametrize(("name", "call"), TRUTH, ids=[name for name, _ in TRUTH])
def test_flags_are_booleans(name: str, call: Callable[[Any], Any]) -> None:
    for wrong in ("no", 0, 1.0, jnp.array(True), np.array([True])):
        with pytest.raises(TypeError, match=f"^{name}: expected True or False, got .* pass a bool"):
            call(wrong)


class Two:
    def __index__(self) -> int:
        return 2


def test_what_is_whole_and_what_is_true() -> None:
    """Numbers of numpy and JAX, and whatever can be an index."""
    for two in (2, np.int64(2), np.uint8(2), np.array(2), jnp.array(2), Two()):
        assert as_int("n", two) == 2 and type(as_int("n", two)) is int
    assert cells.gru(Two(), np.int32(3)).init(jax.random.key(0)).W_xh.shape == (2, 9)
    assert [as_bool("b", b) for b in (True, False, np.True_, np.False_)] == [1, 0, 1, 0]


def test_what_is_traced_must_be_static() -> None:
    for call, name in (
        (lambda v: rnnjax.unroll(CELL, PARAMS, X, reverse=v > 0), "reverse"),
        (lambda v: rnnjax.lengths_to_mask(jnp.array([1]), v), "length"),
    ):
        with pytest.raises(TypeError, match=rf"{name}: expected .* make it static, as by"):
            jax.jit(call)(2)


def test_a_path_is_no_file_descriptor(tmp_path: Path) -> None:
    """`open(3)` would write into whatever is open there, and close it."""
    assert as_path("path", tmp_path) == as_path("path", str(tmp_path)) == str(tmp_path)
    file = (tmp_path / "open").open("w+")
    for wrong in (file.fileno(), True, b"m", file):
        for name, call in (
            ("metrics", lambda path: fit(metrics=path)),
            ("path", read),
            ("path", lambda path: write(path, {})),
        ):
            with pytest.raises(TypeError, match=f"^{name}: expected a path, got .* pass a str or"):
                call(wrong)
    file.write("still open")
    file.close()
    assert (tmp_path / "open").read_text() == "still open"


DRAWN = [
    *((name, make) for make in FACTORIES for name in initialisers_of(make)),
    ("input_init", lambda D, H, **own: cells.lstm(D, H, projection_size=2, **own)),
]


@pytest.mark.parametrize(("name", "make"), DRAWN)
def test_what_is_drawn_is_what_was_asked_for(name: str, make: Callable[..., Any]) -> None:
    """An integer bias would never be trained, and a row too few would broadcast."""
    key = jax.random.key(0)
    for wrong in (
        lambda key, shape, dtype: jnp.zeros(shape, int),
        lambda key, shape, dtype: jnp.zeros(shape, jnp.float16),
        lambda key, shape, dtype: jnp.zeros((*shape[:-1], 1), dtype),
        lambda key, shape, dtype: 0,
    ):
        with pytest.raises(TypeError, match=rf"^{name}: expected float32\[.* as asked for, got"):
            make(2, 3, **{name: wrong}).init(key)
    with pytest.raises(
        TypeError, match=rf"^{name}: expected a function of \(key, shape, dtype\), got 0.1; pass an"
    ):
        make(2, 3, **{name: 0.1})
    # Of numpy, or in a precision that JAX does not have at the moment.
    with jax.enable_x64(False):
        drawn = make(2, 3, dtype=float, **{name: lambda k, shape, dtype: np.ones(shape, dtype)})
        assert {leaf.dtype for leaf in jax.tree.leaves(drawn.init(key))} == {np.dtype("float32")}
