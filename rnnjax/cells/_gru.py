"""The gated recurrent unit (Cho 2014), in both conventions.

    r, z = σ(h_{t-1} W_hh + x_t W_xh + b_h)        one block of columns per gate
    n    = tanh(x_t W_xh + b_h + r (h_{t-1} W_hh + b_hn))     reset after the product
    n    = tanh(x_t W_xh + b_h + (r h_{t-1}) W_hh)            reset before it
    h_t  = (1 - z) n + z h_{t-1}

The gates' columns are in the order r z n.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch, Cell
from rnnjax._checks import as_bool, split_key
from rnnjax._tree import serializable
from rnnjax._values import by_value
from rnnjax.cells._dense import (
    add_bias,
    affine,
    check_optional,
    check_sizes,
    gated_init,
    state_dtype,
    zeros,
)


@serializable
class GRUParams(NamedTuple):
    """Weights for row vectors; the gates' columns are in the order r z n.

    Attributes:
      W_xh: `[D, 3H]`.
      W_hh: `[H, 3H]`.
      b_h: `[3H]`.
      b_hn: `[H]`, the second bias of n, multiplied by the reset gate; None if the reset
        comes before the product.
    """

    W_xh: jax.Array
    W_hh: jax.Array
    b_h: jax.Array
    b_hn: jax.Array | None


@by_value
def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    kernel_init: Initializer = initializers.orthogonal(),
    input_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Cell:
    """The GRU; its state is h, `[B, H]`.

        r, z = σ(h_{t-1} W_hh + x_t W_xh + b_h)
        n = tanh(x_t W_xh + b_h + r (h_{t-1} W_hh + b_hn))
        h_t = (1 - z) n + z h_{t-1}

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: the reset gate acts after the recurrent product (cuDNN, torch,
        Flax, Keras by default) or before it (Cho 2014, Haiku). Before it, one step has two
        products in sequence, so the cell has no single kernel.
      kernel_init: draws each gate's `[H, H]` of W_hh.
      input_init: draws each gate's `[D, H]` of W_xh.
      bias_init: draws b_h as `[3, H]`, rows r z n; b_hn starts at zero.
      dtype: of the parameters; the state has it too, but at least float32.

    Returns:
      A cell whose parameters are `GRUParams`.

    Raises:
      ValueError: a size is out of range.
      TypeError: a size is not a whole number, `dtype` not floating, `reset_after` not a
        boolean, or an initialiser not a function.
    """
    input_size, hidden_size = check_sizes(input_size, hidden_size, dtype)
    reset_after = as_bool("reset_after", reset_after)
    draw = gated_init(
        3,
        hidden_size,
        dtype,
        input_init=(input_size, input_init),
        kernel_init=(hidden_size, kernel_init),
        bias_init=bias_init,
    )

    def init(key: jax.Array) -> GRUParams:
        W_xh, W_hh, b_h = draw(split_key(key, 3))
        b_hn = jnp.zeros(hidden_size, dtype) if reset_after else None
        return GRUParams(W_xh, W_hh, b_h, b_hn)

    def start(params: GRUParams, batch_shape: Batch) -> jax.Array:
        return zeros(batch_shape, hidden_size, params.W_hh)

    def project(params: GRUParams, inputs: jax.Array) -> list[jax.Array]:
        shape, option = "[H]" if reset_after else None, f"reset_after={reset_after}"
        check_optional("b_hn", params.b_hn, shape, option)
        return jnp.split(affine(inputs, params.W_xh, params.b_h), 3, axis=-1)

    def kernel(params: GRUParams) -> jax.Array:
        return params.W_hh.astype(state_dtype(params.W_hh))

    def update_after(
        params: GRUParams, h: jax.Array, drive: list[jax.Array], mixed: jax.Array
    ) -> jax.Array:
        assert params.b_hn is not None
        (x_r, x_z, x_n), (m_r, m_z, m_n) = drive, jnp.split(mixed, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + m_r), jax.nn.sigmoid(x_z + m_z)
        n = jnp.tanh(x_n + r * add_bias(m_n, params.b_hn))
        # Not (1 - z) n + z h: the gradient of z would read four arrays, g (h - n) z', and XLA
        # of jaxlib 0.10.2 compiles that to wrong code on CPUs at B = 4, H = 5 in float64.
        return n + z * (h - n)

    def update_before(
        params: GRUParams, h: jax.Array, drive: list[jax.Array], _: None
    ) -> jax.Array:
        x_r, x_z, x_n = drive
        W_rz, W_n = jnp.split(kernel(params), [2 * hidden_size], axis=-1)
        m_r, m_z = jnp.split(h @ W_rz, 2, axis=-1)
        r, z = jax.nn.sigmoid(x_r + m_r), jax.nn.sigmoid(x_z + m_z)
        n = jnp.tanh(x_n + (r * h) @ W_n)
        return n + z * (h - n)

    update: Callable[..., jax.Array] = update_after if reset_after else update_before
    return Cell(
        init=init,
        start=start,
        project=project,
        kernel=kernel if reset_after else None,
        hidden=(lambda state, drive: state) if reset_after else None,
        update=update,
        output=lambda state: state,
        feature_axes=1,
    )
