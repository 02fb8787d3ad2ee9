"""Haiku's cores: any as a `Cell`, and weights to and from the standard ones.

    Haiku VanillaRNN   linear w [D, H], b     linear_1 w [H, H], b      ReLU
    Haiku LSTM         linear w [D + H, 4H], b [4H]                     gates i g f o
    Haiku GRU          w_i [D, 3H]   w_h [H, 3H]   b [3H]               gates z r a

The LSTM adds 1 to the forget gate, here part of b_h. The GRU resets before the product, and
h_t = (1 - z) h_{t-1} + z a, so that the columns of z here have the opposite sign. Only
`haiku_cell` needs Haiku itself.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Batch, Cell, Inputs, Params
from rnnjax._checks import as_text, check_function, check_key
from rnnjax._values import by_value
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.interop._arrays import (
    GRU_ORDER,
    Loaded,
    Shape,
    check_entries,
    check_mapping,
    load,
    reorder_gates,
    to_numpy,
)
from rnnjax.interop._foreign import Carry, Foreign, Keys, check_example, foreign_cell, spread, tried
from rnnjax.interop._weights import check_params, matrix_shape, other_size

__all__ = ["haiku_cell", "from_haiku", "to_haiku"]

# From i g f o to i f g o, and back.
LSTM_ORDER = (0, 2, 1, 3)

FROM_TRANSFORM = 'pass the parameters of `hk.transform`, {"lstm/linear": {"w": ..., "b": ...}}'


@by_value
def haiku_cell(make: Callable[[], Any], example: Inputs, *, key: jax.Array | None = None) -> Cell:
    """Any core of Haiku as a `Cell`.

        y_t, carry_t = core(x_t, carry_{t-1})

    The parameters are `(params, state)`, as `hk.transform_with_state(...).init` returns
    them: `(params, {})` for a core without state. Leaves of Haiku's state that a step changes
    (counters, running statistics) are state here too, have no gradient, and start at the
    given values.

    >>> import haiku as hk, jax, jax.numpy as jnp, rnnjax
    >>> from rnnjax.interop.haiku import haiku_cell
    >>> cell = haiku_cell(lambda: hk.LSTM(32), jnp.zeros(8))
    >>> params = cell.init(jax.random.key(0))
    >>> final, outputs = rnnjax.unroll(cell, params, jnp.ones((50, 16, 8)))
    >>> outputs.shape, final.carry.cell.shape
    ((50, 16, 32), (16, 32))

    Args:
      make: `() -> core`, called within `hk.transform_with_state`. The core always sees
        exactly one batch axis.
      example: the input of one step without batch axes, `[D]`; only its shape and dtype
        are used. Every step has this shape, after its batch axes.
      key: for `hk.next_rng_key`, folded with the step. For new numbers at every training
        step, make the cell inside the loss, from a key in the batch.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.ForeignState`.

    Raises:
      TypeError: `make` returns no Haiku core, `example` is not an array, `key` not a key, or
        a step does not keep structure, shapes and dtypes.
    """
    import haiku as hk

    check_function("make", make, "", "pass one that makes the core, as `lambda: hk.GRU(32)`")
    check_example(example)
    if key is not None:
        check_key("key", key)

    def core() -> Any:
        made = make()
        if not isinstance(made, hk.RNNCore):
            raise TypeError(f"make: expected a hk.RNNCore, got {made!r}")
        return made

    def from_start(x: Inputs) -> Any:
        made = core()
        return made(x, made.initial_state(1))

    first = hk.transform_with_state(lambda rows: core().initial_state(rows))
    call = hk.transform_with_state(lambda x, carry: core()(x, carry))

    def init(key: jax.Array) -> Params:
        return hk.transform_with_state(from_start).init(key, spread(example, (1,)))

    def start(params: Params, batch: Batch) -> Carry:
        carry, _ = first.apply(*params, key, math.prod(batch))
        return _spread_rows(carry, batch)

    def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
        leaf, own = jax.tree.leaves(x)[0], jax.tree.leaves(example)[0]
        batch = leaf.shape[: leaf.ndim - jnp.ndim(own)]
        rows = [_join_rows(tree, batch) for tree in (x, carry)]
        (y, after), state = call.apply(*params, keys, *rows)
        return _spread_rows(after, batch), _spread_rows(y, batch), (params[0], state)

    def held(params: Params) -> Params:
        weights, state = params
        return weights, jax.lax.stop_gradient(state)

    with tried(example):
        like = jax.eval_shape(init, jax.random.key(0))
        return foreign_cell(
            Foreign(init, start, step, held),
            like,
            example,
            keys=key,
            remedy="pass `(params, state)`, as `hk.transform_with_state(...).init` gives them, "
            "`(params, {})` for a core without state",
        )


def _join_rows(tree: Any, batch: Batch) -> Any:
    """Leaves `[B, ...]` with the batch axes flattened into one."""
    if len(batch) == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(math.prod(batch), *x.shape[len(batch) :]), tree)


def _spread_rows(tree: Any, batch: Batch) -> Any:
    """The inverse of `_join_rows`."""
    if len(batch) == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), tree)


def from_haiku(params: Mapping[str, Mapping[str, Any]], name: str) -> Loaded:
    """The layer that computes the same as a standard Haiku core, and its parameters.

    Unlike `haiku_cell`, this is a recurrence of this library, which computes its input
    product for many steps at once.

    Args:
      params: from `hk.transform(...).init`, possibly of a whole model. They are copied.
      name: of the core's module, "lstm", or "net/~/lstm" inside another module.

    Returns:
      `(layer, params)`.

    Raises:
      ValueError: the names are not those of a VanillaRNN, an LSTM or a GRU; an array is
        missing, unexpected, or of a wrong shape or dtype; all are named.
      TypeError: `params` is not a mapping of mappings, an entry not an array of numbers, or
        `name` not a string.
    """
    as_text("name", name)
    check_mapping("params", params, FROM_TRANSFORM)
    for module, entries in params.items():
        check_mapping(f"params[{module!r}]", entries, FROM_TRANSFORM)
    arrays = {
        f"{module}/{entry}".removeprefix(f"{name}/"): to_numpy(f"{module}/{entry}", array)
        for module, entries in params.items()
        for entry, array in entries.items()
        if f"{module}/".startswith(f"{name}/")
    }
    if arrays.keys() & {"w_i", "w_h"}:
        return load(_take_gru(arrays, name))
    if "linear_1/w" in arrays:
        return load(_take_vanilla(arrays, name), activation=jax.nn.relu)
    if "linear/w" in arrays:
        return load(_take_lstm(arrays, name))
    raise ValueError(
        f"params: expected a VanillaRNN, an LSTM or a GRU of Haiku named {name!r}, got the arrays "
        f"{sorted(arrays)} there, and modules {sorted(params)}; `haiku_cell` runs any other core"
    )


def to_haiku(params: Params, name: str) -> dict[str, dict[str, np.ndarray]]:
    """The parameters of the standard Haiku core that computes the same as these.

    An LSTM, a GRU, or a VanillaRNN, whose second bias is zero.

    Args:
      params: of `lstm`, of `gru` with `reset_after=False`, or of `elman` with ReLU.
      name: of the core's module, "lstm".

    Returns:
      Numpy arrays, by module and name.

    Raises:
      TypeError: the parameters of another cell, or `name` not a string.
      ValueError: a projection, or a reset after the product, which Haiku does not support.
    """
    as_text("name", name)
    if isinstance(params, LSTMParams):
        fields = check_params(params, LSTMParams, "an LSTM of Haiku")
        w = np.concatenate([fields["W_xh"], fields["W_hh"]])
        b = _add_forget(fields["b_h"], -1)
        return {
            f"{name}/linear": {
                "w": reorder_gates(w, LSTM_ORDER),
                "b": reorder_gates(b, LSTM_ORDER),
            }
        }
    if isinstance(params, GRUParams):
        fields = check_params(params, GRUParams, "a GRU of Haiku", reset_after=False)
        names = {"w_i": "W_xh", "w_h": "W_hh", "b": "b_h"}
        return {
            name: {
                own: reorder_gates(_negate_update(fields[field]), GRU_ORDER)
                for own, field in names.items()
            }
        }
    fields = check_params(params, ElmanParams, "a VanillaRNN of Haiku")
    b = fields["b_h"]
    return {
        f"{name}/linear": {"w": fields["W_xh"], "b": b},
        f"{name}/linear_1": {"w": fields["W_hh"], "b": np.zeros_like(b)},
    }


def _take_lstm(arrays: Mapping[str, Any], name: str) -> LSTMParams:
    rows, columns = matrix_shape(arrays.get("linear/w"))
    hidden = columns // 4
    inputs = max(rows - hidden, 0)
    shapes = {"linear/w": (inputs + hidden, 4 * hidden), "linear/b": (4 * hidden,)}
    _check(arrays, shapes, f"the LSTM {name!r} of Haiku, hidden size {hidden}")
    w: Any = reorder_gates(arrays["linear/w"], LSTM_ORDER)
    b_h: Any = _add_forget(reorder_gates(arrays["linear/b"], LSTM_ORDER), 1)
    return LSTMParams(w[:inputs], w[inputs:], b_h)


def _take_gru(arrays: Mapping[str, Any], name: str) -> GRUParams:
    hidden = min(matrix_shape(arrays.get("w_h")))
    shapes = {
        "w_i": (other_size(arrays.get("w_i"), 3 * hidden, axis=0), 3 * hidden),
        "w_h": (hidden, 3 * hidden),
        "b": (3 * hidden,),
    }
    _check(arrays, shapes, f"the GRU {name!r} of Haiku, hidden size {hidden}")
    weights: list[Any] = [
        _negate_update(reorder_gates(arrays[entry], GRU_ORDER)) for entry in shapes
    ]
    W_xh, W_hh, b_h = weights
    return GRUParams(W_xh, W_hh, b_h, None)


def _take_vanilla(arrays: Mapping[str, Any], name: str) -> ElmanParams:
    hidden = matrix_shape(arrays.get("linear_1/w"))[1]
    shapes = {
        "linear/w": (other_size(arrays.get("linear/w"), hidden, axis=0), hidden),
        "linear/b": (hidden,),
        "linear_1/w": (hidden, hidden),
    }
    if "linear_1/b" in arrays:
        shapes["linear_1/b"] = (hidden,)
    _check(arrays, shapes, f"the VanillaRNN {name!r} of Haiku, hidden size {hidden}")
    b_h = arrays["linear/b"] + arrays.get("linear_1/b", 0)
    return ElmanParams(arrays["linear/w"], arrays["linear_1/w"], b_h)


def _check(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], what: str) -> None:
    check_entries(arrays, shapes, what=what, remedy=FROM_TRANSFORM)


def _add_forget(b_h: np.ndarray, constant: float) -> np.ndarray:
    """Adds Haiku's constant to the second of the gates i f g o."""
    i, f, g, o = np.split(b_h, 4)
    return np.concatenate([i, f + np.asarray(constant, f.dtype), g, o])


def _negate_update(array: np.ndarray) -> np.ndarray:
    """The blocks r z n with z negated: σ(-a) = 1 - σ(a)."""
    r, z, n = np.split(array, 3, axis=-1)
    return np.concatenate([r, -z, n], axis=-1)
