"""Flax's cells, linen and nnx: any as a `Cell`, and weights to and from the standard ones.

    linen LSTMCell     i{i,f,g,o} kernel [D, H]       h{i,f,g,o} kernel [H, H], bias [H]
    linen GRUCell      i{r,z,n} kernel, bias          h{r,z,n} kernel, hn bias
    linen SimpleCell   i kernel, bias                 h kernel
    nnx                dense_i, dense_h: one block of columns per gate, as here

The gates are in this library's order, and a GRU resets after the product. nnx's GRUCell
has no b_hn, the bias of that product.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from rnnjax._cell import Batch, Cell, Inputs, Params, signature
from rnnjax._checks import check_function, check_key
from rnnjax._tree import describe
from rnnjax._values import by_value
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams
from rnnjax.interop._arrays import Loaded, check_entries, check_mapping, load, to_numpy
from rnnjax.interop._conventions import initialize, input_shape
from rnnjax.interop._foreign import Carry, Foreign, Keys, check_example, foreign_cell, spread, tried
from rnnjax.interop._weights import GATES, check_params, expected_shapes, other_size

__all__ = ["linen_cell", "nnx_cell", "from_flax", "to_flax"]

FROM_CELL = 'pass variables["params"] of linen, or nnx.state(cell)'


@by_value
def linen_cell(
    module: linen.Module,
    example: Inputs,
    *,
    rngs: Mapping[str, jax.Array] | None = None,
    carry_key: jax.Array | None = None,
) -> Cell:
    """Any cell of `flax.linen` as a `Cell`.

        (carry_t, y_t), variables_t = module.apply(variables_{t-1}, carry_{t-1}, x_t)

    The parameters are the module's variables, `{"params": ..., "batch_stats": ...}`, as
    `module.init` returns them and as they are saved. Collections other than "params" have
    no gradient; those of their leaves that a step changes are state, and start at the given
    values.

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> from flax import linen as nn
    >>> from rnnjax.interop.flax import linen_cell
    >>> cell = linen_cell(nn.LSTMCell(features=32), jnp.zeros(8))
    >>> variables = cell.init(jax.random.key(0))
    >>> final, outputs = rnnjax.unroll(cell, variables, jnp.ones((50, 16, 8)))
    >>> c, h = final.carry
    >>> outputs.shape, bool(jnp.array_equal(h, outputs[-1]))
    ((50, 16, 32), True)

    Args:
      module: called as `(carry, x) -> (carry, y)`, with `initialize_carry(key, shape)`.
      example: the input of one step without batch axes, `[D]`; only its shape and dtype
        are used. Every step has this shape, after its batch axes.
      rngs: a key for each random stream of the module, such as "dropout". Each step draws
        new numbers. For new masks at every training step, make the cell inside the loss,
        from keys in the batch.
      carry_key: draws the carry, if the module's `carry_init` is random; every `start`
        draws the same one. By default `jax.random.key(0)`.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.ForeignState`.

    Raises:
      TypeError: the module is not a linen cell, `example` not an array, a key not a key, or a
        step does not keep structure, shapes and dtypes.
    """
    pass_one = "pass one such as `nn.LSTMCell(features=...)`"
    _check_module("module", module, linen.Module, "flax.linen", pass_one)
    check_example(example)
    if rngs is not None:
        check_mapping("rngs", rngs, "pass a key a stream, as {'dropout': key}")
        for name, stream in rngs.items():
            check_key(f"rngs[{name!r}]", stream)
    streams = {} if rngs is None else dict(rngs)
    carry_key = jax.random.key(0) if carry_key is None else carry_key
    check_key("carry_key", carry_key)

    def start(params: Params, batch: Batch) -> Carry:
        return initialize(module, carry_key, input_shape(example, batch))

    def init(key: jax.Array) -> Params:
        x = spread(example, (1,))
        return module.init({**streams, "params": key}, start(None, (1,)), x)

    def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
        mutable = [name for name in params if name != "params"]
        (carry, y), changed = module.apply(params, carry, x, rngs=keys, mutable=mutable)
        return carry, y, {**params, **changed}

    def held(params: Params) -> Params:
        return {
            name: tree if name == "params" else jax.lax.stop_gradient(tree)
            for name, tree in params.items()
        }

    with tried(example):
        like = jax.eval_shape(init, carry_key)
        return foreign_cell(Foreign(init, start, step, held), like, example, keys=streams or None)


@by_value
def nnx_cell(
    make: Callable[[nnx.Rngs], nnx.Module],
    example: Inputs,
    *,
    carry_key: jax.Array | None = None,
) -> Cell:
    """Any cell of `flax.nnx` as a `Cell`.

        carry_t, y_t = module(carry_{t-1}, x_t)

    The parameters are the module's whole state, as `nnx.state(module)` returns it and
    `nnx.update(module, params)` writes it back. Variables other than `nnx.Param` have no
    gradient; those that a step changes (counters, the streams of `nnx.Rngs`) are state,
    start at the given values, and change from step to step as in a loop over the module.
    The module itself is never modified.

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> from flax import nnx
    >>> from rnnjax.interop.flax import nnx_cell
    >>> cell = nnx_cell(lambda rngs: nnx.GRUCell(8, 32, rngs=rngs), jnp.zeros(8))
    >>> params = cell.init(jax.random.key(0))
    >>> final, outputs = rnnjax.unroll(cell, params, jnp.ones((50, 16, 8)))
    >>> outputs.shape
    (50, 16, 32)

    For an existing module, `make` returns it:

    >>> module = nnx.GRUCell(8, 32, rngs=nnx.Rngs(0))
    >>> cell = nnx_cell(lambda rngs: module, jnp.zeros(8))
    >>> final, outputs = rnnjax.unroll(cell, nnx.state(module), jnp.ones((50, 16, 8)))

    Args:
      make: `rngs -> module`, called once here to inspect the module, which is called as
        `(carry, x) -> (carry, y)`, and has `initialize_carry(shape, rngs)`.
      example: the input of one step without batch axes, `[D]`; only its shape and dtype
        are used. Every step has this shape, after its batch axes.
      carry_key: draws the carry, if the module's `carry_init` is random; every `start`
        draws the same one. By default `jax.random.key(0)`.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.ForeignState`.

    Raises:
      TypeError: the module is not an nnx cell, `example` not an array, `carry_key` not a key,
        or a step does not keep structure, shapes and dtypes.
    """
    check_function("make", make, "rngs", "pass one that makes the module")
    check_example(example)
    carry_key = jax.random.key(0) if carry_key is None else carry_key
    check_key("carry_key", carry_key)
    # Not under a trace, where nnx treats a plain array as a constant.
    module = make(nnx.Rngs(carry_key))
    return_one = "return one such as `nnx.LSTMCell(D, H, rngs=rngs)`"
    _check_module("make", module, nnx.Module, "flax.nnx", return_one)
    taken = take_nnx(make, module, example, carry_key)
    with tried(example):
        return foreign_cell(taken, nnx.state(module), example)


def take_nnx(
    make: Callable[[nnx.Rngs], nnx.Module],
    module: nnx.Module,
    example: Inputs,
    carry_key: jax.Array,
) -> Foreign:
    """A cell of `flax.nnx` as pure functions; `module` is a result of `make`."""
    graph, like = nnx.split(module)

    def init(key: jax.Array) -> Params:
        params = _copy(nnx.state(make(nnx.Rngs(key))))
        if signature(params) != signature(like):
            raise TypeError(
                f"make: expected a module with the variables {describe(like)}, got "
                f"{describe(params)}; make it of the same parts every time, and under `jit` with "
                "arrays only in nnx.Variable"
            )
        return params

    def start(params: Params, batch: Batch) -> Carry:
        module: Any = nnx.merge(graph, _copy(params))
        return initialize(module, input_shape(example, batch), nnx.Rngs(carry_key))

    def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
        module: Any = nnx.merge(graph, _copy(params))
        carry, y = module(carry, x)
        return carry, y, _copy(nnx.state(module))

    def held(params: Params) -> Params:
        trained, others = nnx.split_state(params, nnx.Param, ...)
        return nnx.merge_state(trained, jax.lax.stop_gradient(others))

    return Foreign(init, start, step, held)


def _copy(state: Params) -> Params:
    """The same arrays in new variables: nnx would modify the given ones."""
    return jax.tree.map(lambda leaf: leaf, state)


def _check_module(name: str, module: Any, kind: type, library: str, remedy: str) -> None:
    if not isinstance(module, kind) or not hasattr(module, "initialize_carry"):
        raise TypeError(
            f"{name}: expected a cell of {library}, called as (carry, x) -> (carry, y) and with "
            f"initialize_carry, got {module!r}; {remedy}"
        )


class Layout(NamedTuple):
    """Where a Flax cell keeps the blocks of columns that are concatenated here.

    Attributes:
      kind: of the parameters.
      names: of the blocks of each field; a missing field has none.
    """

    kind: Any
    names: Mapping[str, tuple[str, ...]]

    def join(self, named: Mapping[str, Any]) -> Any:
        """The parameters, from arrays by Flax's names; b_hn = 0 for a GRU that has none."""
        fields = {
            field: jnp.concatenate([named[name] for name in block], axis=-1)
            for field, block in self.names.items()
        }
        if self.kind is GRUParams:
            fields.setdefault("b_hn", jnp.zeros_like(fields["W_hh"][:, 0]))
        return self.kind(**fields)


def _by_gate(kind: Any, gates: str, bias: str, **more: tuple[str, ...]) -> Layout:
    return Layout(
        kind,
        {
            "W_xh": tuple(f"i{gate}/kernel" for gate in gates),
            "W_hh": tuple(f"h{gate}/kernel" for gate in gates),
            "b_h": tuple(f"{bias}{gate}/bias" for gate in gates),
            **more,
        },
    )


def _in_blocks(kind: Any, bias: str) -> Layout:
    names = {"W_xh": "dense_i/kernel", "W_hh": "dense_h/kernel", "b_h": f"{bias}/bias"}
    return Layout(kind, {field: (name,) for field, name in names.items()})


_LINEN_LSTM = _by_gate(LSTMParams, "ifgo", "h")
LAYOUTS: dict[type, Layout] = {
    linen.SimpleCell: Layout(
        ElmanParams, {"W_xh": ("i/kernel",), "W_hh": ("h/kernel",), "b_h": ("i/bias",)}
    ),
    linen.LSTMCell: _LINEN_LSTM,
    linen.OptimizedLSTMCell: _LINEN_LSTM,
    linen.GRUCell: _by_gate(GRUParams, "rzn", "i", b_hn=("hn/bias",)),
    nnx.SimpleCell: _in_blocks(ElmanParams, "dense_i"),
    # `if` is a keyword of Python.
    nnx.LSTMCell: _LINEN_LSTM._replace(
        names={
            field: tuple(name.replace("if/", "if_/") for name in names)
            for field, names in _LINEN_LSTM.names.items()
        }
    ),
    nnx.OptimizedLSTMCell: _in_blocks(LSTMParams, "dense_h"),
    nnx.GRUCell: _in_blocks(GRUParams, "dense_i"),
}


def from_flax(cell: Any, tree: Mapping[str, Any]) -> Loaded:
    """The layer that computes the same as a standard Flax cell, and its parameters.

    Unlike `linen_cell` and `nnx_cell`, this is a recurrence of this library, which computes
    its input product for many steps at once. A `residual` SimpleCell becomes an Elman
    network with 1 added to the diagonal of W_hh; an nnx.GRUCell a GRU with b_hn = 0.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> from rnnjax.interop.flax import from_flax
    >>> module = nn.GRUCell(features=32)
    >>> variables = module.init(jax.random.key(0), jnp.zeros((16, 32)), jnp.zeros((16, 8)))
    >>> layer, params = from_flax(module, variables["params"])
    >>> state, outputs = layer.apply(params, jnp.ones((50, 16, 8)))

    Args:
      cell: SimpleCell, LSTMCell, OptimizedLSTMCell or GRUCell, of linen or nnx; it
        determines the size and the activation.
      tree: its weights, nested by name: the collection "params" of linen, `nnx.state(cell)`
        of nnx, or either read from a file. They are copied.

    Returns:
      `(layer, params)`.

    Raises:
      TypeError: another cell; run it by `linen_cell` or `nnx_cell`.
      ValueError: a gate is not a sigmoid, an activation not tanh, or a carry not initialised
        to zeros; the cell's weights are deeper inside the tree; an array is missing,
        unexpected, or of a wrong shape or dtype; all are named.
    """
    layout = _layout(cell)
    kind, names = layout
    named = _flat(tree)
    _check_level(named, names["W_xh"][0], _title(cell))
    hidden = _hidden_size(cell)
    columns = GATES[kind] * hidden // len(names["W_xh"])
    inputs = getattr(cell, "in_features", other_size(named.get(names["W_xh"][0]), columns, axis=0))
    shapes = expected_shapes(kind, inputs, hidden) | {"b_hn": (hidden,)}
    blocks = {
        name: (*shapes[field][:-1], shapes[field][-1] // len(block))
        for field, block in names.items()
        for name in block
    }
    check_entries(
        named,
        blocks,
        what=f"the weights of {_title(cell)}",
        remedy=FROM_CELL,
    )
    params = layout.join(named)
    params = params._replace(W_hh=params.W_hh + _skipped(cell, params.W_hh))
    activation = cell.activation_fn if kind is ElmanParams else None
    return load(params, activation=activation)


def to_flax(cell: Any, params: Params) -> dict[str, dict[str, np.ndarray]]:
    """The weights of a standard Flax cell that computes the same as these parameters.

        variables = {"params": to_flax(cell, params)}          linen
        nnx.update(cell, to_flax(cell, params))                nnx

    Args:
      cell: as in `from_flax`, with the sizes and the activation of the parameters.
      params: of `elman`, `lstm` or `gru`.

    Returns:
      Numpy arrays, nested by name.

    Raises:
      TypeError: another cell, or the parameters of another one.
      ValueError: sizes differ; a projection, a reset before the product, or for nnx.GRUCell
        a nonzero b_hn, which Flax does not support; a gate is not a sigmoid, an activation
        not tanh, or a carry not initialised to zeros.
    """
    kind, names = _layout(cell)
    fields = check_params(
        params,
        kind,
        _title(cell),
        inputs=getattr(cell, "in_features", None),
        hidden=_hidden_size(cell),
    )
    b_hn = fields.get("b_hn")
    if b_hn is not None and "b_hn" not in names and b_hn.any():
        raise ValueError(
            f"params: expected b_hn = 0, since {_title(cell)} has no bias of the recurrent "
            f"product, got up to {np.abs(b_hn).max():.3g}; linen.GRUCell has one"
        )
    fields["W_hh"] = fields["W_hh"] - _skipped(cell, fields["W_hh"])
    tree: dict[str, dict[str, np.ndarray]] = {}
    for field, block in names.items():
        for name, part in zip(block, np.split(fields[field], len(block), axis=-1), strict=True):
            module, array = name.split("/")
            tree.setdefault(module, {})[array] = part
    return tree


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested dictionaries, "hi/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _layout(cell: Any) -> Layout:
    layout = LAYOUTS.get(type(cell))
    if layout is None:
        known = ", ".join(sorted({kind.__name__ for kind in LAYOUTS}))
        raise TypeError(
            f"cell: expected one of {known} of Flax, got {_title(cell)}; `linen_cell` and "
            "`nnx_cell` run any other with the weights it has"
        )
    required: dict[str, Any] = {"carry_init": jax.nn.initializers.zeros}
    if layout.kind is not ElmanParams:
        required |= {"gate_fn": jax.nn.sigmoid, "activation_fn": jnp.tanh}
    for name, only in required.items():
        # In nnx, None means a carry of zeros.
        if getattr(cell, name) not in (only, None):
            raise ValueError(
                f"cell: expected {name}={only.__name__}, got {getattr(cell, name)!r}; "
                "`linen_cell` and `nnx_cell` run it as it is"
            )
    return layout


def _flat(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if isinstance(tree, nnx.State):
        tree = nnx.to_pure_dict(nnx.filter_state(tree, nnx.Param))
    check_mapping("tree", tree, FROM_CELL)
    return {name: to_numpy(name, array) for name, array in by_name(tree).items()}


def _check_level(named: Mapping[str, np.ndarray], first: str, title: str) -> None:
    """Raises if the cell's weights are deeper inside the tree, and says where."""
    above = [name.removesuffix(f"/{first}") for name in named if name.endswith(f"/{first}")]
    if first in named or not above:
        return
    parts = ["".join(f'["{name}"]' for name in place.split("/")) for place in above]
    raise ValueError(
        f"tree: expected the weights of {title}, got a tree that has them deeper inside; pass "
        + " or ".join(f"tree{part}" for part in parts)
    )


def _hidden_size(cell: Any) -> int:
    size: int = cell.features if isinstance(cell, linen.Module) else cell.hidden_features
    return size


def _skipped(cell: Any, W_hh: Any) -> np.ndarray:
    """The matrix that a residual connection adds to W_hh."""
    scale = 1 if getattr(cell, "residual", False) else 0
    return scale * np.eye(*W_hh.shape, dtype=W_hh.dtype)


def _title(cell: Any) -> str:
    kind = cell if isinstance(cell, type) else type(cell)
    library = "linen." if issubclass(kind, linen.Module) else "nnx."
    return f"{library if kind.__module__.startswith('flax.') else ''}{kind.__name__}"
