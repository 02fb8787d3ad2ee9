"""minGRU: a GRU whose gate depends only on the input (Feng and others 2024, section 3.1).

    z   = σ(x_t W_xz + b_z)
    h_t = (1 - z) h_{t-1} + z (x_t W_xn + b_n)

Linear in h_{t-1}, each unit by itself: `folds.parallel()` is one associative scan. The columns
are in the order z n.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch, Cell
from rnnjax._checks import split_key
from rnnjax._tree import serializable
from rnnjax._values import by_value
from rnnjax.cells._dense import affine, check_sizes, gated_init, zeros


@serializable
class MinGRUParams(NamedTuple):
    """Weights for row vectors; the columns are in the order z n.

    Attributes:
      W_xh: `[D, 2H]`.
      b_h: `[2H]`.
    """

    W_xh: jax.Array
    b_h: jax.Array


@by_value
def min_gru(
    input_size: int,
    hidden_size: int,
    *,
    input_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Cell:
    """minGRU; its state is h, `[B, H]`.

        z, n = σ(x_t W_xz + b_z), x_t W_xn + b_n
        h_t = (1 - z) h_{t-1} + z n

    Args:
      input_size: D.
      hidden_size: H.
      input_init: draws each column block `[D, H]` of W_xh.
      bias_init: draws b_h as `[2, H]`, rows z n.
      dtype: of the parameters; the state has it too, but at least float32.

    Returns:
      A cell without a kernel whose parameters are `MinGRUParams`.

    Raises:
      ValueError: a size is out of range.
      TypeError: a size is not a whole number, `dtype` not floating, or an initialiser not a
        function.
    """
    input_size, hidden_size = check_sizes(input_size, hidden_size, dtype)
    draw = gated_init(
        2, hidden_size, dtype, input_init=(input_size, input_init), bias_init=bias_init
    )

    def start(params: MinGRUParams, batch_shape: Batch) -> jax.Array:
        return zeros(batch_shape, hidden_size, params.W_xh)

    def project(params: MinGRUParams, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        z, n = jnp.split(affine(inputs, params.W_xh, params.b_h), 2, axis=-1)
        return jax.nn.sigmoid(z), n

    def update(
        params: MinGRUParams, h: jax.Array, drive: tuple[jax.Array, jax.Array], _: None
    ) -> jax.Array:
        z, n = drive
        return h + z * (n - h)

    return Cell(
        init=lambda key: MinGRUParams(*draw(split_key(key, 2))),
        start=start,
        project=project,
        kernel=None,
        hidden=None,
        update=update,
        output=lambda state: state,
        feature_axes=1,
    )
