"""Flax's cells, linen and nnx: any of them as a `Cell`."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
from flax import linen, nnx

from rnnjax.cell import Batch, Cell, Inputs, Params, signature
from rnnjax.interop.foreign import Carry, Foreign, Keys, foreign_cell, spread
from rnnjax.tree import describe


def linen_cell(
    module: linen.Module,
    example: Inputs,
    *,
    rngs: Mapping[str, chex.PRNGKey] | None = None,
    carry_key: chex.PRNGKey | None = None,
) -> Cell:
    """Any cell of `flax.linen` as a `Cell`.

        (carry_t, y_t), variables_t = module.apply(variables_{t-1}, carry_{t-1}, x_t)

    The parameters are the module's variables, `{"params": ..., "batch_stats": ...}`, as
    `module.init` gives them and as they are saved. Collections other than "params" take
    no gradient; what a step changes of them is state, and begins at the values given.

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
        are read. With more feature axes, as of a ConvLSTM, begin `rnnjax.unroll` at
        `cell.start(params, batch_shape)`, which tells it where the batch axes end.
      rngs: a key for each random stream of the module, such as "dropout". Each step
        draws from them anew. For other masks at every training step, make the cell in
        the loss, of keys that come with the batch.
      carry_key: draws the carry, if the module's `carry_init` is random; every `start`
        draws from it, and so begins alike. `jax.random.key(0)` unless given.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.foreign.ForeignState`.

    Raises:
      TypeError: the module is no cell of linen's, or a step does not give back what it
        was given.
    """
    _check_module(module, linen.Module, "flax.linen")
    streams = {} if rngs is None else dict(rngs)
    carry_key = jax.random.key(0) if carry_key is None else carry_key

    def start(params: Params, batch: Batch) -> Carry:
        return module.initialize_carry(carry_key, _shape(example, batch))

    def init(key: chex.PRNGKey) -> Params:
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

    like = jax.eval_shape(init, carry_key)
    return foreign_cell(Foreign(init, start, step, held), like, example, keys=streams or None)


def nnx_cell(
    make: Callable[[nnx.Rngs], nnx.Module],
    example: Inputs,
    *,
    carry_key: chex.PRNGKey | None = None,
) -> Cell:
    """Any cell of `flax.nnx` as a `Cell`.

        carry_t, y_t = module(carry_{t-1}, x_t)

    The parameters are the module's whole state, as `nnx.state(module)` gives it and
    `nnx.update(module, params)` puts it back. What is no `nnx.Param` takes no gradient;
    what a step changes (counters, the streams of `nnx.Rngs`) is state, begins at the
    values given, and goes on from step to step as in a loop over the module. The
    module itself is never changed.

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> from flax import nnx
    >>> from rnnjax.interop.flax import nnx_cell
    >>> cell = nnx_cell(lambda rngs: nnx.GRUCell(8, 32, rngs=rngs), jnp.zeros(8))
    >>> params = cell.init(jax.random.key(0))
    >>> final, outputs = rnnjax.unroll(cell, params, jnp.ones((50, 16, 8)))
    >>> outputs.shape
    (50, 16, 32)

    A module that is there already is its own constructor:

    >>> module = nnx.GRUCell(8, 32, rngs=nnx.Rngs(0))
    >>> cell = nnx_cell(lambda rngs: module, jnp.zeros(8))
    >>> final, outputs = rnnjax.unroll(cell, nnx.state(module), jnp.ones((50, 16, 8)))

    Args:
      make: `rngs -> module`, called once here to see what it makes. The module is called
        as `(carry, x) -> (carry, y)`, and has `initialize_carry(shape, rngs)`.
      example: the input of one step without batch axes, `[D]`; only its shape and dtype
        are read. With more feature axes, as of a ConvLSTM, begin `rnnjax.unroll` at
        `cell.start(params, batch_shape)`, which tells it where the batch axes end.
      carry_key: draws the carry, if the module's `carry_init` is random; every `start`
        draws from it, and so begins alike. `jax.random.key(0)` unless given.

    Returns:
      A cell without a kernel; its state is `rnnjax.interop.foreign.ForeignState`.

    Raises:
      TypeError: the module is no cell of nnx's, or a step does not give back what it was
        given.
    """
    carry_key = jax.random.key(0) if carry_key is None else carry_key
    # Not under a trace, where nnx takes a plain array for a constant.
    module = make(nnx.Rngs(carry_key))
    _check_module(module, nnx.Module, "flax.nnx")
    graph, like = nnx.split(module)

    def init(key: chex.PRNGKey) -> Params:
        params = _copy(nnx.state(make(nnx.Rngs(key))))
        if signature(params) != signature(like):
            raise TypeError(
                f"make: expected a module with the variables {describe(like)}, got "
                f"{describe(params)}; make it of the same parts every time, and under `jit` with "
                "arrays in nnx.Variable alone"
            )
        return params

    def start(params: Params, batch: Batch) -> Carry:
        module: Any = nnx.merge(graph, _copy(params))
        return module.initialize_carry(_shape(example, batch), nnx.Rngs(carry_key))

    def step(params: Params, keys: Keys, carry: Carry, x: Inputs) -> tuple[Carry, Any, Params]:
        module: Any = nnx.merge(graph, _copy(params))
        carry, y = module(carry, x)
        return carry, y, _copy(nnx.state(module))

    def held(params: Params) -> Params:
        trained, others = nnx.split_state(params, nnx.Param, ...)
        return nnx.merge_state(trained, jax.lax.stop_gradient(others))

    return foreign_cell(Foreign(init, start, step, held), like, example)


def _copy(state: Params) -> Params:
    """The same arrays in other variables: nnx would write into those it is given."""
    return jax.tree.map(lambda leaf: leaf, state)


def _shape(example: Inputs, batch: Batch) -> tuple[int, ...]:
    """What `initialize_carry` asks for: the shape of the input with its batch axes."""
    return (*batch, *jax.numpy.shape(jax.tree.leaves(example)[0]))


def _check_module(module: Any, kind: type, library: str) -> None:
    if not isinstance(module, kind) or not hasattr(module, "initialize_carry"):
        raise TypeError(
            f"module: expected a cell of {library}, called as (carry, x) -> (carry, y) and with "
            f"initialize_carry, got {module!r}"
        )
