"""Parameters as nested dictionaries by name, and back.

This is the form in which msgpack and orbax restore without a target, that
`GRUParams._asdict()` returns, and that an optax mask by name needs: {"W_hh": ..., "b_h":
...}, and the parts of a stack under "0", "1" and so on.
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
    """Parameters as nested dictionaries by name; None has no entry.

    Args:
      params: of a cell or a layer.

    Returns:
      Dictionaries of the same arrays; the array itself if there is only one, without a name.

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
      TypeError: a leaf is not an array.
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
    """Parameters structured as by `init`, from dictionaries by name, or from such parameters.

    Args:
      init: of the cell or layer, `net.init`; only its shapes are evaluated.
      named: as from `to_names`; a part may also be a sequence, and hold None.

    Returns:
      The parameters, with the arrays of `named`.

    Raises:
      TypeError: `init` is not a function of a key; a name is missing or unexpected, or an
        array has a wrong shape or kind of dtype.
    """
    check_function("init", init, "key", "pass that of the cell or layer, as `net.init`")
    check_arrays("params", named)
    like = jax.eval_shape(init, jax.random.key(0))
    expected = _by_place(like)
    given = _by_place(named)
    if {place: jnp.shape(p) for place, p in given.items()} != {
        place: p.shape for place, p in expected.items()
    }:
        raise TypeError(
            f"params: expected the names and shapes of {describe(like)}, got {describe(named)}; "
            "pass what `init` gives, as it is or by name"
        )
    for place, leaf in given.items():
        dtypes = [jnp.result_type(leaf), expected[place].dtype]
        if len({_kind(dtype) for dtype in dtypes}) > 1:
            raise TypeError(
                f"params: expected {dtypes[1]} at {'/'.join(place) or 'its place'}, got "
                f"{dtypes[0]}; pass the numbers that `to_names` gave, in any precision"
            )
    structure: Any = jax.tree.structure(like)
    return structure.unflatten([given[place] for place in expected])


def _kind(dtype: Any) -> Any:
    """The kind of a dtype, regardless of its precision."""
    kinds = (jnp.floating, jnp.complexfloating, jnp.integer)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


def _by_place(tree: Any) -> dict[tuple[str, ...], Any]:
    """The leaves by the names on their path, in order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(map(_name, path)): leaf for path, leaf in leaves}


def _name(key: Any) -> str:
    """The name of a field, a key or an index in a checkpoint."""
    if isinstance(key, jax.tree_util.GetAttrKey):
        return str(key.name)
    return str(key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key)
