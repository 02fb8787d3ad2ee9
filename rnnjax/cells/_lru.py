"""The linear recurrent unit (Orvieto and others 2023, section 3).

    λ   = exp(-exp(ν) + i exp(θ))
    h_t = λ h_{t-1} + exp(γ) (x_t W_xh + b_h)

Complex and diagonal: `folds.parallel()` is one associative scan. |λ| < 1 for every ν. The paper
has no b_h, which starts at zero here.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from rnnjax._cell import Batch, Cell
from rnnjax._checks import as_number, split_key
from rnnjax._tree import at_least_float32, serializable
from rnnjax._values import by_value
from rnnjax.cells._dense import affine, check_sizes, gated_init, zeros


@serializable
class LRUParams(NamedTuple):
    """Real weights for row vectors; columns of the real parts, then of the imaginary ones.

    Attributes:
      nu: `[H]`, ν = ln(-ln |λ|).
      theta: `[H]`, θ, the logarithm of the phase of λ.
      gamma: `[H]`, γ, the logarithm of the input's scale.
      W_xh: `[D, 2H]`.
      b_h: `[2H]`.
    """

    nu: jax.Array
    theta: jax.Array
    gamma: jax.Array
    W_xh: jax.Array
    b_h: jax.Array


@by_value
def lru(
    input_size: int,
    hidden_size: int,
    *,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    input_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Cell:
    """The linear recurrent unit; its state is h, `[B, H]`, complex.

        h_t = λ h_{t-1} + exp(γ) (x_t W_xh + b_h),   λ = exp(-exp(ν) + i exp(θ))

    Initially |λ|² is uniform in [r_min², r_max²], the phase in [0, max_phase], and
    exp(γ) = √(1 - |λ|²), which keeps the state as large as its input.

    The output is `[B, 2H]`, Re h then Im h: the paper's Re(h C) + x D is left to the
    following linear layer and to a residual connection.

    Args:
      input_size: D.
      hidden_size: H.
      r_min: the smallest |λ| drawn.
      r_max: the largest |λ| drawn; near 1 for long memories.
      max_phase: the largest phase drawn, in radians per step.
      input_init: draws each part `[D, H]` of W_xh, which is then divided by √2.
      bias_init: draws b_h as `[2, H]`, rows real and imaginary.
      dtype: of W_xh and b_h. State, nu, theta and gamma have at least float32: the rounding
        error of a phase accumulates at every step.

    Returns:
      A cell without a kernel whose parameters are `LRUParams`.

    Raises:
      ValueError: a size is out of range, not 0 <= r_min < r_max <= 1, or `max_phase` is not
        positive.
      TypeError: a size is not a whole number, a radius or the phase not a number, `dtype`
        not floating, or an initialiser not a function.
    """
    input_size, hidden_size = check_sizes(input_size, hidden_size, dtype)
    r_min, r_max = as_number("r_min", r_min), as_number("r_max", r_max)
    max_phase = as_number("max_phase", max_phase)
    if not 0 <= r_min < r_max <= 1 or not max_phase > 0:
        raise ValueError(
            "r_min, r_max, max_phase: expected 0 <= r_min < r_max <= 1 and a positive phase, got "
            f"{r_min}, {r_max} and {max_phase}"
        )
    draw = gated_init(
        2, hidden_size, dtype, input_init=(input_size, input_init), bias_init=bias_init
    )

    def init(key: jax.Array) -> LRUParams:
        keys = split_key(key, 4)
        precise = at_least_float32(dtype)
        # Not 0, whose logarithm is -inf; and computed from 1 - |λ|², since |λ|² near 1 would be
        # rounded to 1.
        tiny = float(jnp.finfo(precise).eps)
        u, v = (jax.random.uniform(k, (hidden_size,), precise, minval=tiny) for k in keys[:2])
        decay = -0.5 * jnp.log1p(-(1 - r_max**2 + u * (r_max**2 - r_min**2)))
        W_xh, b_h = draw(keys[2:])
        return LRUParams(
            nu=jnp.log(decay),
            theta=jnp.log(max_phase * v),
            gamma=0.5 * jnp.log(-jnp.expm1(-2 * decay)),
            W_xh=W_xh / math.sqrt(2),
            b_h=b_h,
        )

    def start(params: LRUParams, batch_shape: Batch) -> jax.Array:
        zero = zeros(batch_shape, hidden_size, params.W_xh)
        return jax.lax.complex(zero, zero)

    def project(params: LRUParams, inputs: jax.Array) -> jax.Array:
        real, imaginary = jnp.split(affine(inputs, params.W_xh, params.b_h), 2, axis=-1)
        scale = jnp.broadcast_to(jnp.exp(params.gamma.astype(real.dtype)), real.shape)
        return jax.lax.complex(scale * real, scale * imaginary)

    def update(params: LRUParams, h: jax.Array, drive: jax.Array, _: None) -> jax.Array:
        nu, theta = (p.astype(drive.real.dtype) for p in (params.nu, params.theta))
        lambda_ = jnp.exp(jax.lax.complex(-jnp.exp(nu), jnp.exp(theta)))
        return jnp.broadcast_to(lambda_, h.shape) * h + drive

    return Cell(
        init=init,
        start=start,
        project=project,
        kernel=None,
        hidden=None,
        update=update,
        output=lambda state: jnp.concatenate([state.real, state.imag], axis=-1),
        feature_axes=1,
    )
