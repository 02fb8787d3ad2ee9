"""Parameters as nested dictionaries by name, and back.

What msgpack or orbax give back without a target, what `GRUParams._asdict()` gives, and what
a mask of optax by names wants to see: {"W_hh": ..., "b_h": ...}, and the parts of a stack
under "0", "1" and so on.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Params
from rnnjax._checks import check_arrays, check_function
from rnnjax._tree import describe

__all__ = ["to_names", "from_names"]


def to_names(params: Params) -> Any:
    """Parameters in dictionaries by name; what is None has no entry.

    >>> import jax
    >>> from rnnjax import cells
    >>> from rnnjax.interop.names import from_names, to_names
    >>> cell = cells.lstm(input_size=3, hidden_size=4)
    >>> named = to_names(cell.init(jax.random.key(0)))
    >>> sorted(named)
    ['W_hh', 'W_xh', 'b_h']
    >>> type(from_names(cell.init, named)).__name__
    'LSTMParams'

    Raises:
      TypeError: something else than arrays.
    """
    check_arrays("params", params)
    named: dict[str, Any] = {}
    for place, leaf in _by_place(params).items():
        if not place:
            return leaf
        part = named
        for name in place[:-1]:
            part = part.setdefault(name, {})
        part[place[-1]] = leaf
    return named


def from_names(init: Callable[[jax.Array], Params], named: Any) -> Params:
    """Parameters as `init` gives them, of dictionaries by name; parameters stay as they are.

    Args:
      init: of the cell or layer, `net.init`; only its shapes are asked for.
      named: as `to_names` gives it; a part may also be a sequence, and hold None.

    Raises:
      TypeError: `init` is no function of a key; a name is missing, one more is there, or an
        array has another shape or another kind of numbers.
    """
    check_function("init", init, "key", "pass that of the cell or layer, as `net.init`")
    check_arrays("params", named)
    like = jax.eval_shape(init, jax.random.key(0))
    wanted = _by_place(like)
    found = _by_place(named)
    if {place: jnp.shape(p) for place, p in found.items()} != {
        place: p.shape for place, p in wanted.items()
    }:
        raise TypeError(
            f"params: expected the names and shapes of {describe(like)}, got {describe(named)}; "
            "pass what `init` gives, as it is or by name"
        )
    for place, leaf in found.items():
        dtypes = [jnp.result_type(leaf), wanted[place].dtype]
        if len({_kind(dtype) for dtype in dtypes}) > 1:
            raise TypeError(
                f"params: expected {dtypes[1]} at {'/'.join(place) or 'its place'}, got "
                f"{dtypes[0]}; pass the numbers that `to_names` gave, in any precision"
            )
    structure: Any = jax.tree.structure(like)
    return structure.unflatten([found[place] for place in wanted])


def _kind(dtype: Any) -> Any:
    """What a dtype is besides its precision."""
    kinds = (jnp.floating, jnp.complexfloating, jnp.integer)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


def _by_place(tree: Any) -> dict[tuple[str, ...], Any]:
    """The leaves by the names on the way to them, in their order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(map(_name, path)): leaf for path, leaf in leaves}


def _name(key: Any) -> str:
    """Of a field, a key or a place, as a checkpoint calls it."""
    if isinstance(key, jax.tree_util.GetAttrKey):
        return str(key.name)
    return str(key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key)
