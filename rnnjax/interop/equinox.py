"""Equinox's cells: any of them as a `Cell`."""

from collections.abc import Callable
from typing import Any

import chex
import equinox as eqx
import jax
import jax.numpy as jnp

from rnnjax.cell import Batch, Cell, Inputs, Params, from_step
from rnnjax.tree import describe

Carry = Any


def equinox_cell(
    make: Callable[[chex.PRNGKey], eqx.Module],
    hidden: Callable[[Any], Carry],
    *,
    output: Callable[[Carry], Any] | None = None,
) -> Cell:
    """Any cell of Equinox as a `Cell`.

        hidden_t = module(x_t, hidden_{t-1})          for each member of the batch

    The parameters are the module's arrays, `eqx.filter(module, eqx.is_array)`; the state
    is what the module carries, with batch axes.

    >>> import equinox as eqx, jax, jax.numpy as jnp, rnnjax
    >>> from rnnjax.interop.equinox import equinox_cell
    >>> cell = equinox_cell(
    ...     lambda key: eqx.nn.LSTMCell(8, 32, key=key),
    ...     lambda module: (jnp.zeros(32), jnp.zeros(32)),
    ...     output=lambda hidden: hidden[0],
    ... )
    >>> params = cell.init(jax.random.key(0))
    >>> (h, c), outputs = rnnjax.unroll(cell, params, jnp.ones((50, 16, 8)))
    >>> outputs.shape
    (50, 16, 32)

    A module that is there already is its own constructor:

    >>> module = eqx.nn.GRUCell(8, 32, key=jax.random.key(0))
    >>> cell = equinox_cell(lambda key: module, lambda module: jnp.zeros(32))
    >>> h, outputs = rnnjax.unroll(cell, eqx.filter(module, eqx.is_array), jnp.ones((50, 16, 8)))

    Args:
      make: `key -> module`, called as `(x, hidden) -> hidden`, neither with batch axes.
      hidden: `module -> h_0` of one member, any pytree of arrays, at least one; it may be
        a parameter of the module. A random key among them is split, one for each member.
      output: `hidden -> [B, H]`, what to show; the whole of it unless told.

    Returns:
      A cell without a kernel.

    Raises:
      TypeError: no module of Equinox, or nothing that it carries.
    """
    shapes: Any = eqx.filter_eval_shape(make, jax.random.key(0))
    if not isinstance(shapes, eqx.Module):
        raise TypeError(f"make: expected an equinox.Module, got {shapes!r}")
    static = eqx.filter(shapes, _is_shape, inverse=True)
    one = eqx.filter_eval_shape(hidden, shapes)
    axes = [leaf.ndim for leaf in jax.tree.leaves(one)]
    if not axes:
        raise TypeError(f"hidden: expected at least one array, got {describe(one)}")

    def init(key: chex.PRNGKey) -> Params:
        return eqx.filter(make(key), eqx.is_array)

    def start(params: Params, batch: Batch) -> Carry:
        return jax.tree.map(
            lambda leaf: _for_every_member(leaf, batch), hidden(eqx.combine(params, static))
        )

    def step(params: Params, state: Carry, x: Inputs) -> Carry:
        call: Callable[..., Carry] = eqx.combine(params, static)
        for _ in range(jax.tree.leaves(state)[0].ndim - axes[0]):
            call = jax.vmap(call)
        return call(x, state)

    return from_step(step, init=init, start=start, output=output)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _for_every_member(leaf: jax.Array, batch: Batch) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        keys: jax.Array = jax.random.split(leaf, batch)
        return keys
    return jnp.broadcast_to(leaf, (*batch, *leaf.shape))
