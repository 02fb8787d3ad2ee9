"""Another library's cell as a `Cell`: shared by the adapters.

    carry_t, y_t, params_t = step(params_{t-1}, keys_t, carry_{t-1}, x_t)

A foreign module may do more in a step than a `Cell`: output what it does not carry, count
steps, draw random numbers, keep running statistics. Variables that a step changes are
state, the others parameters, which is determined by tracing one step.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Batch, Cell, Inputs, Params, signature
from rnnjax._checks import check_arrays
from rnnjax._tree import combine, describe, serializable

Carry = Any
Keys = Any


@serializable
class ForeignState(NamedTuple):
    """The state of a foreign cell.

    Attributes:
      carry: leaves `[B, ...]`, in the library's own structure.
      y: the output of the last step, leaves `[B, ...]`, zeros before the first; None in
        place of every leaf that is also a leaf of the carry.
      params: those parameters that a step changes (counters, random streams, running
        statistics), None in place of the others. They have no batch axes, and are neither
        masked nor reset.
      clock: number of steps taken, folded into the keys; None without keys.
    """

    carry: Carry
    y: Any
    params: Params
    clock: jax.Array | None


class Foreign(NamedTuple):
    """A module of another library as pure functions.

    Attributes:
      init: `key -> params`, every variable of the module.
      carry: `(params, batch_shape) -> carry`.
      step: `(params, keys, carry, x) -> (carry, y, params)`.
      held: `params -> params`, with the gradient stopped for those that are not trained.
    """

    init: Callable[[jax.Array], Params]
    carry: Callable[[Params, Batch], Carry]
    step: Callable[[Params, Keys, Carry, Inputs], tuple[Carry, Any, Params]]
    held: Callable[[Params], Params]


def foreign_cell(
    module: Foreign,
    like: Params,
    example: Inputs,
    *,
    keys: Keys = None,
    remedy: str = "pass what `init` gives",
) -> Cell:
    """A cell whose parameters are the module's variables, and whose state is `ForeignState`.

    Args:
      module: the module.
      like: parameters like those of `init`; only structure, shapes and dtypes are used.
      example: the input of one step without batch axes; only shapes and dtypes are used.
      keys: pytree of keys, folded with the number of steps taken at each step. None for a
        module without keys.
      remedy: for parameters of another structure.

    Returns:
      A cell without a kernel.

    Raises:
      TypeError: a step does not keep structure, shapes and dtypes.
    """
    seen = _look(module, like, example, keys)
    structure: Any = jax.tree.structure(like)

    def start(params: Params, batch: Batch) -> ForeignState:
        if structure != jax.tree.structure(params):
            raise TypeError(
                f"params: expected every variable of the module, {describe(like)}, got "
                f"{describe(params)}; {remedy}"
            )
        params = module.held(params)
        carry = module.carry(params, batch)
        _, y, _ = jax.eval_shape(module.step, params, keys, carry, spread(example, batch))
        return ForeignState(
            carry=carry,
            y=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), seen.stored(y)),
            params=seen.changed(params),
            clock=None if keys is None else jnp.zeros((), jnp.int32),
        )

    def project(params: Params, inputs: Inputs) -> Inputs:
        if not _ends_as(inputs, example):
            raise ValueError(
                f"inputs: expected steps like the example, {describe(example)}, after the axes of "
                f"time and batch, got {describe(inputs)}; make the cell with an example of their "
                "shape, or put the features last"
            )
        return inputs

    def update(params: Params, state: ForeignState, x: Inputs, _: None) -> ForeignState:
        clock, keys_t = state.clock, keys
        if clock is not None:
            keys_t = jax.tree.map(partial(_fold_in, clock), keys)
            clock = clock + 1
        now = combine(state.params, module.held(params))
        carry, y, after = module.step(now, keys_t, state.carry, x)
        return ForeignState(carry, seen.stored(y), seen.changed(after), clock)

    return Cell(
        init=module.init,
        start=start,
        project=project,
        kernel=None,
        hidden=None,
        update=update,
        output=lambda state: seen.shown(state.carry, state.y),
        feature_axes=jax.tree.map(jnp.ndim, example),
    )


def _ends_as(inputs: Inputs, example: Inputs) -> bool:
    """Whether the inputs are steps of this structure and these shapes, after any other axes."""
    own: Any = jax.tree.structure(inputs)
    return own == jax.tree.structure(example) and all(
        jnp.shape(leaf)[max(jnp.ndim(leaf) - jnp.ndim(like), 0) :] == jnp.shape(like)
        for leaf, like in zip(jax.tree.leaves(inputs), jax.tree.leaves(example), strict=True)
    )


def check_example(example: Inputs) -> None:
    """Raises if a value is not the input of a step.

    Raises:
      TypeError: it holds no array, or anything else.
    """
    check_arrays("example", example)
    if not jax.tree.leaves(example):
        raise TypeError(
            f"example: expected the input of one step, got {example!r}; pass an array such as "
            "jnp.zeros(D)"
        )


@contextlib.contextmanager
def tried(example: Inputs) -> Iterator[None]:
    """Adds a note to errors of the module that names its input."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"example: expected the input of one step as the module takes it, got "
            f"{describe(example)}; the error above is the module's"
        )
        raise


def spread(example: Inputs, batch: Batch) -> Inputs:
    """Zeros like the input of one step, leaves `[B, ...]`."""
    return jax.tree.map(
        lambda leaf: jnp.zeros((*batch, *jnp.shape(leaf)), jnp.result_type(leaf)), example
    )


def _fold_in(clock: jax.Array, key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, clock)


class _Seen(NamedTuple):
    """How one step treats its leaves.

    Attributes:
      structure: of y.
      places: for each leaf of y, the index of the same leaf in the carry, or None.
      changes: for each leaf of the parameters, whether a step changes it.
    """

    structure: Any
    places: list[int | None]
    changes: list[bool]

    def stored(self, y: Any) -> Any:
        """`y`, with None for leaves that are also in the carry."""
        leaves = zip(jax.tree.leaves(y), self.places, strict=True)
        return self.structure.unflatten([leaf if place is None else None for leaf, place in leaves])

    def shown(self, carry: Carry, stored: Any) -> Any:
        """All of y, restored from the carry and `stored`."""
        rest, own = jax.tree.leaves(carry), iter(jax.tree.leaves(stored))
        return self.structure.unflatten(
            [next(own) if place is None else rest[place] for place in self.places]
        )

    def changed(self, params: Params) -> Params:
        """`params`, with None for leaves that no step changes."""
        leaves, structure = jax.tree.flatten(params)
        pairs = zip(leaves, self.changes, strict=True)
        return jax.tree.unflatten(structure, [leaf if moves else None for leaf, moves in pairs])


def _look(module: Foreign, params: Params, example: Inputs, keys: Keys) -> _Seen:
    batch = (2,)  # Not 1, where a mean over the batch might be traced as the identity.
    carry = jax.eval_shape(lambda p: module.carry(p, batch), params)
    seen: list[_Seen] = []

    def look(params: Params, carry: Carry, x: Inputs) -> None:
        after, y, params_after = module.step(params, keys, carry, x)
        for name, new, old in (("carry", after, carry), ("variables", params_after, params)):
            if signature(new) != signature(old):
                raise TypeError(
                    f"{name}: expected a step to keep {describe(old)}, got {describe(new)}; make "
                    "the module return the structure, shapes and dtypes it is given, and the "
                    f"example, {describe(example)}, an input of its kind"
                )
        place = {id(leaf): number for number, leaf in enumerate(jax.tree.leaves(after))}
        leaves, structure = jax.tree.flatten(y)
        pairs = zip(jax.tree.leaves(params_after), jax.tree.leaves(params), strict=True)
        seen.append(
            _Seen(
                structure,
                [place.get(id(leaf)) for leaf in leaves],
                [new is not old for new, old in pairs],
            )
        )

    jax.eval_shape(look, params, carry, spread(example, batch))
    return seen[0]
