"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate, Gers 2000).

    i, f, o = σ(h_{t-1} W_hh + x_t W_xh + b_h)          one block of columns per gate
    g       = tanh(h_{t-1} W_hh + x_t W_xh + b_h)
    c_t     = f c_{t-1} + i g
    h_t     = o tanh(c_t)                               with a projection, (o tanh(c_t)) W_hr

The gates' columns are in the order i f g o.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch, Cell
from rnnjax._checks import as_count, as_number, split_key
from rnnjax._tree import serializable
from rnnjax._values import by_value
from rnnjax.cells._dense import affine, check_optional, check_sizes, gated_init, state_dtype, zeros
from rnnjax.initializers import by_gate, checked


@serializable
class LSTMParams(NamedTuple):
    """Weights for row vectors; the gates' columns are in the order i f g o.

    Attributes:
      W_xh: `[D, 4H]`.
      W_hh: `[H, 4H]`, `[P, 4H]` with a projection of size P.
      b_h: `[4H]`.
      W_hr: `[H, P]`, or None for no projection.
    """

    W_xh: jax.Array
    W_hh: jax.Array
    b_h: jax.Array
    W_hr: jax.Array | None = None


@serializable
class LSTMState(NamedTuple):
    """The state of an LSTM.

    Attributes:
      c: `[B, H]`, the cell state.
      h: `[B, H]`, the hidden state, which is the output; `[B, P]` with a projection.
    """

    c: jax.Array
    h: jax.Array


@by_value
def lstm(
    input_size: int,
    hidden_size: int,
    *,
    projection_size: int | None = None,
    forget_bias: float = 1.0,
    kernel_init: Initializer = initializers.orthogonal(),
    input_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Cell:
    """The LSTM; its state is `LSTMState(c, h)`.

        i, f, g, o = h_{t-1} W_hh + x_t W_xh + b_h
        c_t = σ(f) c_{t-1} + σ(i) tanh(g)
        h_t = σ(o) tanh(c_t)                        with a projection, (σ(o) tanh(c_t)) W_hr

    Args:
      input_size: D.
      hidden_size: H.
      projection_size: P, for a projection that makes h, and with it the kernel, smaller
        (Sak 2014, section 2); None for none.
      forget_bias: added to what `bias_init` draws for the forget gate; with 1 the memory
        persists at the start of training (Jozefowicz 2015, section 3).
      kernel_init: draws each gate's `[H, H]` (`[P, H]`) of W_hh.
      input_init: draws each gate's `[D, H]` of W_xh, and W_hr `[H, P]`.
      bias_init: draws b_h as `[4, H]`, rows i f g o.
      dtype: of the parameters; the state has it too, but at least float32.

    Returns:
      A cell whose parameters are `LSTMParams`.

    Raises:
      ValueError: a size is out of range.
      TypeError: a size is not a whole number, `forget_bias` not a number, `dtype` not
        floating, or an initialiser not a function.
    """
    input_size, hidden_size = check_sizes(input_size, hidden_size, dtype)
    if projection_size is not None:
        projection_size = as_count("projection_size", projection_size, "None projects nothing")
    forget_bias = as_number("forget_bias", forget_bias)
    output_size = hidden_size if projection_size is None else projection_size
    draw = gated_init(
        4,
        hidden_size,
        dtype,
        input_init=(input_size, input_init),
        kernel_init=(output_size, kernel_init),
        bias_init=bias_init,
    )
    projection_init = by_gate(checked("input_init", input_init), 1)

    def init(key: jax.Array) -> LSTMParams:
        keys = split_key(key, 4)
        W_xh, W_hh, b_h = draw(keys[:3])
        return LSTMParams(
            W_xh=W_xh,
            W_hh=W_hh,
            b_h=b_h.at[hidden_size : 2 * hidden_size].add(forget_bias),
            W_hr=(
                None
                if projection_size is None
                else projection_init(keys[3], (hidden_size, output_size), dtype)
            ),
        )

    def start(params: LSTMParams, batch_shape: Batch) -> LSTMState:
        return LSTMState(
            c=zeros(batch_shape, hidden_size, params.W_hh),
            h=zeros(batch_shape, output_size, params.W_hh),
        )

    def project(params: LSTMParams, inputs: jax.Array) -> list[jax.Array]:
        shape = None if projection_size is None else "[H, P]"
        check_optional("W_hr", params.W_hr, shape, f"projection_size={projection_size}")
        return jnp.split(affine(inputs, params.W_xh, params.b_h), 4, axis=-1)

    def update(
        params: LSTMParams, state: LSTMState, drive: list[jax.Array], mixed: jax.Array
    ) -> LSTMState:
        a_i, a_f, a_g, a_o = (
            d + m for d, m in zip(drive, jnp.split(mixed, 4, axis=-1), strict=True)
        )
        c = jax.nn.sigmoid(a_f) * state.c + jax.nn.sigmoid(a_i) * jnp.tanh(a_g)
        h = jax.nn.sigmoid(a_o) * jnp.tanh(c)
        if params.W_hr is not None:
            h = h @ params.W_hr.astype(h.dtype)
        return LSTMState(c=c, h=h)

    return Cell(
        init=init,
        start=start,
        project=project,
        kernel=lambda params: params.W_hh.astype(state_dtype(params.W_hh)),
        hidden=lambda state, drive: state.h,
        update=update,
        output=lambda state: state.h,
        feature_axes=1,
    )
