"""∂L/∂s_t for every step, from the backward pass that trains."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Params, State
from rnnjax._checks import check_arrays, check_function
from rnnjax._observation import Place, observe, probe, see
from rnnjax._programs import compiled_call
from rnnjax._tree import combine, describe, floating, rest
from rnnjax._unroll import Run, turned
from rnnjax._wrappers import probed
from rnnjax.folds._sequence import length_of

Loss = Callable[..., jax.Array]


class NonFinite(NamedTuple):
    """Where an infinity or a NaN first arose, as a time index, or -1 for nowhere.

    Attributes:
      forward: the first step, in the order of the run, whose state is not finite.
      backward: the first step, in the order of the backward pass, with an adjoint
        that is not finite.
    """

    forward: jax.Array
    backward: jax.Array


@jax.tree_util.register_static
class Names(tuple[str, ...]):
    """Names that may leave a `jit`: no arrays, and part of the structure."""


class Adjoints(NamedTuple):
    """What one backward pass says of every step. The tuples hold one entry a recurrence.

    In front of the axes named here a recurrence within `lax.scan` or `vmap` has one more for
    each of them, loops first.

    Attributes:
      value: the loss.
      gradient: its gradient to the floating leaves of `params`, None for the others.
      states: s_t, leaves `[T, B, ...]`.
      adjoints: ∂L/∂s_t, leaves `[T, B, ...]`, None for leaves without a gradient.
      nonfinite: where each run first went wrong.
      names: what each is called: "unroll 0" and so on where it has no name.
    """

    value: jax.Array
    gradient: Params
    states: tuple[State, ...]
    adjoints: tuple[State, ...]
    nonfinite: tuple[NonFinite, ...]
    names: Names


def adjoints(loss: Loss, params: Params, *args: Any) -> Adjoints:
    """Gradient to the parameters and to every state, in one pass.

    g_t = ∂L/∂s_t counts every way from s_t to the loss. It is the gradient to a zero
    probe added to s_t, so it costs nothing beyond the pass that trains. Every recurrence is
    seen that `rnnjax.unroll` runs, for layers and modules of other libraries as well, and
    within `jit`, `vmap`, `lax.scan`, `jax.checkpoint` and `grad`.

    Args:
      loss: `loss(params, *args) -> scalar`, pure.
      params: any pytree.
      *args: the rest of what the loss takes; the arrays in it are traced, as by `jit`.

    Returns:
      `Adjoints`, with one entry a recurrence, in the order of the computation.

    Raises:
      TypeError: the loss is no function of these arguments, or no floating scalar, or
        `params` holds other things than arrays.
      ValueError: the loss runs no recurrence, or one that cannot be seen: within a while
        loop, `lax.cond`, `shard_map`, a function with derivatives of its own, or a
        `jax.checkpoint` of which the loss itself takes the gradient.
    """
    check_call("loss", loss, params, args)
    found: Adjoints = compiled_call(loss, partial(_adjoints, loss), params, args)
    return found


def _adjoints(loss: Loss, params: Params, args: tuple[Any, ...]) -> Adjoints:
    fixed = rest(params)
    observation = observe(
        "loss", _probed, lambda moving: loss(combine(moving, fixed), *args), floating(params)
    )
    check_scalar(observation.result)
    zeros = [jax.tree.map(jnp.zeros_like, place.probes) for place in observation.places]
    (value, seen), (gradient, probes) = jax.value_and_grad(
        lambda moving, probes: observation.run(moving, probes=probes), (0, 1), has_aux=True
    )(floating(params), zeros)
    states = tuple(states for states, _ in seen)
    gradients = tuple(
        jax.tree.unflatten(jax.tree.structure(floating(s)), own)
        for s, own in zip(states, probes, strict=True)
    )
    nonfinite = tuple(
        NonFinite(
            _first(s, place.axes, backward=reverse),
            _first(g, place.axes, backward=jnp.logical_not(reverse)),
        )
        for (s, reverse), g, place in zip(seen, gradients, observation.places, strict=True)
    )
    return Adjoints(value, gradient, states, gradients, nonfinite, distinct(observation.places))


def _probed(run: Run) -> tuple[State, State]:
    """The recurrence with probes added to its states, which are seen."""
    zeros = jax.tree.map(
        lambda s: jnp.zeros_like(s, shape=(length_of(run.inputs), *s.shape)), floating(run.state)
    )
    mark, probes = probe(zeros, (run.params, run.inputs, run.state))
    inputs = run.inputs, turned(probes, run.reverse)
    final, states = run._replace(cell=probed(run.cell), inputs=inputs).carry()
    seen = turned(states, run.reverse), jnp.asarray(run.reverse)
    through: tuple[State, State] = see(seen, (final, states), mark)
    return through


def distinct(places: Sequence[Place]) -> Names:
    """The names of recurrences, none empty and none twice."""
    told = [place.name or f"unroll {i}" for i, place in enumerate(places)]
    return Names(
        name if told.count(name) == 1 else f"{name} ({told[:i].count(name)})"
        for i, name in enumerate(told)
    )


def check_loss(loss: Loss, params: Params, *args: Any) -> None:
    """Refuses, without computing it, a loss that no gradient can be taken of.

    Raises:
      TypeError: it is not a floating scalar.
    """
    check_scalar(jax.eval_shape(lambda p, a: loss(p, *a), params, args))


def check_call(
    name: str, function: Any, params: Params, args: tuple[Any, ...], options: Iterable[str] = ()
) -> None:
    """Refuses what is not to be called with these parameters and arguments.

    Raises:
      TypeError: naming what came.
    """
    others = ["batch"] if len(args) == 1 else [f"args[{i}]" for i in range(len(args))]
    remedy = "pass the function itself, and the rest of what it takes after the parameters"
    every = ["params", *others, *(f"{option}=" for option in options)]
    check_function(name, function, ", ".join(every), remedy)
    check_arrays("params", params)


def check_scalar(value: Any) -> None:
    """Refuses what no gradient is taken of.

    Raises:
      TypeError: it is not a floating scalar.
    """
    if (
        not hasattr(value, "dtype")
        or value.shape != ()
        or not jnp.issubdtype(value.dtype, jnp.floating)
    ):
        raise TypeError(
            f"loss: expected a floating scalar, got {describe(value)}; take its mean, and return "
            "it alone"
        )


def _first(tree: Any, axes: int, *, backward: jax.Array) -> jax.Array:
    """The first time index that is not finite, or the last if `backward`; -1 if none.

    Args:
      tree: leaves `[..., T, B, ...]`.
      axes: how many axes stand before that of time.
      backward: the same for all of them.
    """
    finite = [
        jnp.isfinite(leaf).all(axis=tuple(range(axes + 1, leaf.ndim)))
        for leaf in jax.tree.leaves(floating(tree))
    ]
    bad = ~jnp.stack(finite).all(axis=0)
    length = bad.shape[-1]
    if length == 0:
        return jnp.full_like(bad, -1, shape=bad.shape[:-1], dtype=jnp.int32)
    first, last = jnp.argmax(bad, -1), length - 1 - jnp.argmax(bad[..., ::-1], -1)
    return jnp.where(bad.any(-1), jnp.where(backward, last, first), -1)
