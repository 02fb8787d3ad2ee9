"""The simple recurrent network (Elman 1990), for row vectors.

    h_t = f(h_{t-1} W_hh + x_t W_xh + b_h)

f is tanh or ReLU in most of the literature.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch, Cell
from rnnjax._checks import check_function, split_key
from rnnjax._tree import serializable
from rnnjax._values import by_value
from rnnjax.cells._dense import affine, check_sizes, gated_init, state_dtype, zeros


@serializable
class ElmanParams(NamedTuple):
    """Weights for row vectors.

    Attributes:
      W_xh: `[D, H]`.
      W_hh: `[H, H]`; entry (k, m) is the weight from unit k to unit m.
      b_h: `[H]`.
    """

    W_xh: jax.Array
    W_hh: jax.Array
    b_h: jax.Array


@by_value
def elman(
    input_size: int,
    hidden_size: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    kernel_init: Initializer = initializers.orthogonal(),
    input_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Cell:
    """h_t = activation(h_{t-1} W_hh + x_t W_xh + b_h); the state is h, `[B, H]`.

    Args:
      input_size: D.
      hidden_size: H.
      activation: f, elementwise; tanh or ReLU in most of the literature.
      kernel_init: draws W_hh `[H, H]`.
      input_init: draws W_xh `[D, H]`.
      bias_init: draws b_h as `[1, H]`.
      dtype: of the parameters; the state has it too, but at least float32.

    Returns:
      A cell whose parameters are `ElmanParams`.

    Raises:
      ValueError: a size is out of range.
      TypeError: a size is not a whole number, `dtype` not floating, or `activation` or an
        initialiser not a function.
    """
    input_size, hidden_size = check_sizes(input_size, hidden_size, dtype)
    check_function("activation", activation, "x", "pass one such as jnp.tanh")
    draw = gated_init(
        1,
        hidden_size,
        dtype,
        input_init=(input_size, input_init),
        kernel_init=(hidden_size, kernel_init),
        bias_init=bias_init,
    )

    def start(params: ElmanParams, batch_shape: Batch) -> jax.Array:
        return zeros(batch_shape, hidden_size, params.W_hh)

    return Cell(
        init=lambda key: ElmanParams(*draw(split_key(key, 3))),
        start=start,
        project=lambda params, inputs: affine(inputs, params.W_xh, params.b_h),
        kernel=lambda params: params.W_hh.astype(state_dtype(params.W_hh)),
        hidden=lambda state, drive: state,
        update=lambda params, state, drive, mixed: activation(drive + mixed),
        output=lambda state: state,
        feature_axes=1,
    )
