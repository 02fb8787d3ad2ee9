"""Equinox's cells: any as a `Cell`, and weights to and from the standard ones.

    Equinox   weight_ih [GH, D]      weight_hh [GH, H]      bias [GH]    bias_n [H]
    rnnjax    W_xh = weight_ih^T     W_hh = weight_hh^T     b_h          b_hn

The gates are in the same order, i f g o and r z n; a GRU resets after the product. Only
`equinox_cell` needs Equinox itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Batch, Cell, Inputs, Params, from_step
from rnnjax._checks import check_function
from rnnjax._tree import describe
from rnnjax._values import by_value
from rnnjax.cells import GRUParams, LSTMParams
from rnnjax.interop._arrays import Loaded, Shape, check_entries, check_mapping, load, to_numpy
from rnnjax.interop._weights import GATES, check_params, count_gates, matrix_shape, other_size

__all__ = ["equinox_cell", "from_equinox", "to_equinox"]

Carry = Any

FROM_MODULE = "pass vars(module), and run any other module by `equinox_cell`"


@by_value
def equinox_cell(
    make: Callable[[jax.Array], Any],
    hidden: Callable[[Any], Carry],
    *,
    output: Callable[[Carry], Any] | None = None,
) -> Cell:
    """Any cell of Equinox as a `Cell`.

        hidden_t = module(x_t, hidden_{t-1})          for each member of the batch

    The parameters are the module's arrays, `eqx.filter(module, eqx.is_array)`; the state
    is the module's hidden state, with batch axes.

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

    For an existing module, `make` returns it:

    >>> module = eqx.nn.GRUCell(8, 32, key=jax.random.key(0))
    >>> cell = equinox_cell(lambda key: module, lambda module: jnp.zeros(32))
    >>> h, outputs = rnnjax.unroll(cell, eqx.filter(module, eqx.is_array), jnp.ones((50, 16, 8)))

    Args:
      make: `key -> module`, called as `(x, hidden) -> hidden`, neither with batch axes.
      hidden: `module -> h_0` of one member, any pytree of at least one array; it may be a
        parameter of the module. A random key in it is split, one for each member.
      output: `hidden -> [B, H]`, the output; by default all of `hidden`.

    Returns:
      A cell without a kernel.

    Raises:
      TypeError: `make` returns no Equinox module, or `hidden` no array.
    """
    import equinox as eqx

    check_function("make", make, "key", "pass one that makes the module")
    check_function("hidden", hidden, "module", "pass one that gives h_0 of one member")
    if output is not None:
        check_function("output", output, "hidden", "pass one that gives the output")
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    if not isinstance(shapes, eqx.Module):
        raise TypeError(f"make: expected an equinox.Module, got {shapes!r}")
    static = eqx.filter(shapes, _is_shape, inverse=True)
    one = eqx.filter_eval_shape(hidden, shapes)
    axes = [leaf.ndim for leaf in jax.tree.leaves(one)]
    if not axes:
        raise TypeError(f"hidden: expected at least one array, got {describe(one)}")

    def init(key: jax.Array) -> Params:
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


def from_equinox(arrays: Mapping[str, Any]) -> Loaded:
    """The layer that computes the same as a standard Equinox cell, and its parameters.

    Unlike `equinox_cell`, this is a recurrence of this library, which computes its input
    product for many steps at once.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from rnnjax.interop.equinox import from_equinox, to_equinox
    >>> module = eqx.nn.GRUCell(8, 32, key=jax.random.key(0))
    >>> layer, params = from_equinox(vars(module))
    >>> state, outputs = layer.apply(params, jnp.ones((50, 16, 8)))

    and back, into a module of the same sizes:

    >>> arrays = to_equinox(params)
    >>> put = lambda module: [getattr(module, name) for name in arrays]
    >>> module = eqx.tree_at(put, module, list(arrays.values()))

    Args:
      arrays: `vars(module)` of an `eqx.nn.GRUCell` or `eqx.nn.LSTMCell`, or its arrays by
        name. Without biases (None, or missing) the layer's are zeros. They are copied.

    Returns:
      `(layer, params)`.

    Raises:
      ValueError: the names are not those of such a cell; an array is missing, unexpected, or
        of a wrong shape or dtype; all are named.
      TypeError: `arrays` is not a mapping (a module is not), or an entry not an array of
        numbers.
    """
    check_mapping("arrays", arrays, FROM_MODULE)
    weights = {
        name: to_numpy(name, array)
        for name, array in arrays.items()
        if array is not None and name not in _SIZES
    }
    rows, hidden = matrix_shape(weights.get("weight_hh"))
    kinds: dict[int, Any] = {GATES[kind]: kind for kind in (LSTMParams, GRUParams)}
    kind = kinds.get(count_gates((hidden, rows), kinds))
    if kind is None:
        raise ValueError(
            "arrays: expected weight_hh [3H, H] of an eqx.nn.GRUCell or [4H, H] of an LSTMCell, "
            f"got {describe(weights)}; {FROM_MODULE}"
        )
    biases: dict[str, Shape] = {"bias": (rows,)}
    if rows == 3 * hidden:
        biases["bias_n"] = (hidden,)
    shapes: dict[str, Shape] = {
        "weight_ih": (rows, other_size(weights.get("weight_ih"), rows, axis=1)),
        "weight_hh": (rows, hidden),
    }
    check_entries(
        weights,
        shapes | biases if weights.keys() & biases.keys() else shapes,
        what=f"an Equinox cell of hidden size {hidden}, {kind.__name__} here",
        remedy=FROM_MODULE,
    )
    W_xh, W_hh = weights["weight_ih"].T, weights["weight_hh"].T
    return load(
        kind(W_xh, W_hh, *(weights.get(n, np.zeros(s, W_hh.dtype)) for n, s in biases.items()))
    )


def to_equinox(params: Params) -> dict[str, np.ndarray]:
    """The arrays of the `eqx.nn.LSTMCell` or `eqx.nn.GRUCell` that computes the same.

    The module has `use_bias=True`; `from_equinox` shows how to insert them.

    Args:
      params: of `lstm`, or of `gru` with `reset_after=True`.

    Returns:
      Numpy arrays, by name.

    Raises:
      TypeError: the parameters of another cell.
      ValueError: a projection, or a reset before the product, which Equinox does not support.
    """
    kind = GRUParams if isinstance(params, GRUParams) else LSTMParams
    fields = check_params(params, kind, "an LSTMCell or a GRUCell of Equinox")
    arrays = {
        "weight_ih": fields["W_xh"].T,
        "weight_hh": fields["W_hh"].T,
        "bias": fields["b_h"],
    }
    return arrays | ({"bias_n": fields["b_hn"]} if "b_hn" in fields else {})


# What `vars(module)` holds besides arrays.
_SIZES = ("input_size", "hidden_size", "use_bias")
