"""Initialisers that `jax.nn.initializers` lacks.

Cells draw their kernels one gate at a time, so that any initialiser, orthogonal
included, acts on each gate's `[H, H]` separately. Biases are drawn as `[G, H]`, one row
per gate, so that one may depend on another.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, orthogonal

from rnnjax._checks import as_count, as_int, as_number, as_text, check_function, kind_of
from rnnjax._tree import at_least_float32, describe
from rnnjax._values import by_value

__all__ = ["by_gate", "checked", "chrono", "orthogonal", "scaled_identity"]


@by_value
def checked(name: str, init: Initializer) -> Initializer:
    """The initialiser, with a check that it returns the shape and dtype it is asked for.

    Integers would never be trained, and a shape that broadcasts would be a different weight.

    Args:
      name: its name in errors.
      init: the initialiser.

    Returns:
      An initialiser that raises TypeError if it draws anything else.

    Raises:
      TypeError: `init` is not a function of `(key, shape, dtype)`.
    """
    remedy = "pass an initialiser such as jax.nn.initializers.zeros"
    check_function(as_text("name", name), init, "key, shape, dtype", remedy)

    def draw(key: jax.Array, shape: Any, dtype: Any = float, out_sharding: Any = None) -> jax.Array:
        drawn = init(key, shape, dtype)
        if callable(drawn):
            raise TypeError(
                f"{name}: expected an initialiser, got {kind_of(init)}, which makes one; call it, "
                "as `jax.nn.initializers.orthogonal()`"
            )
        drawn = jnp.asarray(drawn)
        expected = jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype))
        if (drawn.shape, drawn.dtype) != (expected.shape, expected.dtype):
            raise TypeError(
                f"{name}: expected {describe(expected)} as asked for, got {describe(drawn)}; let "
                "`(key, shape, dtype)` make an array of this shape and dtype"
            )
        return drawn

    return draw


@by_value
def by_gate(init: Initializer, gates: int) -> Initializer:
    """Draws `[K, G * H]` as G independent blocks `[K, H]`.

    They are drawn in at least float32 and then rounded: JAX has no QR decomposition, and so
    no orthogonal initialiser, in bfloat16.

    Args:
      init: initialiser of one gate's matrix.
      gates: G.

    Returns:
      An initialiser for shapes `[K, G * H]`.

    Raises:
      TypeError: `gates` is not a whole number, or `init` not an initialiser; from the
        initialiser, if `init` draws another shape or dtype than it is asked for.
      ValueError: `gates` is below one; from the initialiser, if the last axis is not a
        multiple of `gates`.
    """
    init = checked("init", init)
    gates = as_count("gates", gates)

    def draw(key: jax.Array, shape: Any, dtype: Any = float, out_sharding: Any = None) -> jax.Array:
        if shape[-1] % gates:
            raise ValueError(
                f"shape: expected a last axis that divides into {gates} gates, got {shape}; "
                "pass [K, gates * H]"
            )
        one = (*shape[:-1], shape[-1] // gates)
        if 0 in one:
            return jnp.zeros(shape, dtype)
        precise = at_least_float32(dtype)
        drawn = [init(k, one, precise) for k in jax.random.split(key, gates)]
        return jnp.concatenate(drawn, axis=-1).astype(dtype)

    return draw


@by_value
def scaled_identity(scale: float = 1.0) -> Initializer:
    """Scale · I (Le, Jaitly and Hinton 2015, section 2: ReLU with the identity).

    Args:
      scale: of the identity.

    Returns:
      An initialiser for shapes `[H, H]`.

    Raises:
      TypeError: `scale` is not a number.
      ValueError: from the initialiser, if the shape asked for is not square.
    """
    scale = as_number("scale", scale)

    def draw(key: jax.Array, shape: Any, dtype: Any = float, out_sharding: Any = None) -> jax.Array:
        del key
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(
                f"shape: expected a square matrix [H, H] for an identity, got {shape}; use it "
                "as the kernel initialiser"
            )
        return scale * jnp.eye(shape[0], dtype=dtype)

    return draw


@by_value
def chrono(longest: float, *, forget: int, remember: int | None = None) -> Initializer:
    """Biases for memories of 1 to `longest` steps (Tallec and Ollivier 2018, section 2).

        b_forget ~ ln U[1, longest - 1],   b_remember = -b_forget

    Args:
      longest: the longest dependency expected, in steps; at least 2.
      forget: row of the gate that keeps the past: 1 for `lstm` (i f g o; pass it
        `forget_bias=0.0` too), 1 for `gru` (r z n), whose one gate does both.
      remember: row of the gate that admits new input: 0 for `lstm`, None for `gru`.

    Returns:
      A bias initialiser for shapes `[G, H]`; the other rows are zero.

    Raises:
      TypeError: a row is not a whole number, or `longest` not a number.
      ValueError: `longest` is below 2; from the initialiser, if a gate is not a row of the
        shape asked for.
    """
    rows = [as_int("forget", forget)]
    rows += [] if remember is None else [as_int("remember", remember)]
    if not as_number("longest", longest) >= 2:
        raise ValueError(
            f"longest: expected at least 2 steps, got {longest}; pass the lag of the longest "
            "dependency to be learned"
        )

    def draw(key: jax.Array, shape: Any, dtype: Any = float, out_sharding: Any = None) -> jax.Array:
        if not all(0 <= row < shape[0] for row in rows):
            raise ValueError(
                f"forget, remember: expected rows of biases [G, H] = {tuple(shape)}, got {rows}; "
                "pass the rows of this cell's gates"
            )
        steps = jax.random.uniform(key, shape[1:], dtype, minval=1.0, maxval=longest - 1.0)
        b_forget = jnp.log(steps)
        bias = jnp.zeros(shape, dtype).at[forget].set(b_forget)
        return bias if remember is None else bias.at[remember].set(-b_forget)

    return draw
