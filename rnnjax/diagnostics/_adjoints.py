"""∂L/∂s_t at every step, from the same backward pass as the gradient."""

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
    """The time index at which an infinity or a NaN first arose, or -1 if none did.

    Attributes:
      forward: the first step, in the order of the run, whose state is not finite.
      backward: the first step, in the order of the backward pass, with an adjoint
        that is not finite.
    """

    forward: jax.Array
    backward: jax.Array


@jax.tree_util.register_static
class Names(tuple[str, ...]):
    """Names that a jitted function may return: static, part of the tree structure."""


class Adjoints(NamedTuple):
    """The adjoints of every step, from one backward pass. Tuples have one entry per recurrence.

    Arrays of a recurrence inside `lax.scan` or `vmap` have one more leading axis for each of
    them that it depends on, loops first.

    Attributes:
      value: the loss.
      gradient: with respect to the floating leaves of `params`, None for the others.
      states: s_t, leaves `[T, B, ...]`.
      adjoints: ∂L/∂s_t, leaves `[T, B, ...]`, None for leaves without a gradient.
      nonfinite: where each recurrence first became non-finite.
      names: of the recurrences: "unroll 0" and so on for those without a name.
    """

    value: jax.Array
    gradient: Params
    states: tuple[State, ...]
    adjoints: tuple[State, ...]
    nonfinite: tuple[NonFinite, ...]
    names: Names


def adjoints(loss: Loss, params: Params, *args: Any) -> Adjoints:
    """The gradient with respect to the parameters and to every state, in one backward pass.

    g_t = ∂L/∂s_t sums over every path from s_t to the loss. It is the gradient with respect
    to a zero probe added to s_t, so it costs no more than an ordinary gradient. It covers
    every recurrence that `rnnjax.unroll` runs, also inside layers, modules of other
    libraries, `jit`, `vmap`, `lax.scan`, `jax.checkpoint` and `grad`.

    Args:
      loss: `loss(params, *args) -> scalar`, pure.
      params: any pytree.
      *args: the other arguments of the loss; arrays in them are traced, as by `jit`.

    Returns:
      `Adjoints`, with one entry per recurrence, in the order of the computation.

    Raises:
      TypeError: `loss` does not take these arguments or does not return a floating scalar,
        or `params` holds anything but arrays.
      ValueError: the loss runs no recurrence, or one that cannot be observed: inside a while
        loop, `lax.cond`, `shard_map`, a function with custom derivatives, or a
        `jax.checkpoint` that the loss itself differentiates.
    """
    check_call("loss", loss, params, args)
    result: Adjoints = compiled_call(loss, partial(_adjoints, loss), params, args)
    return result


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
    """Runs the recurrence with probes added to its states, and marks the states as observed."""
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
    """The names of recurrences, nonempty and distinct."""
    names = [place.name or f"unroll {i}" for i, place in enumerate(places)]
    return Names(
        name if names.count(name) == 1 else f"{name} ({names[:i].count(name)})"
        for i, name in enumerate(names)
    )


def check_call(
    name: str, function: Any, params: Params, args: tuple[Any, ...], options: Iterable[str] = ()
) -> None:
    """Raises if a function cannot be called with these parameters and arguments.

    Raises:
      TypeError: naming the given value.
    """
    others = ["batch"] if len(args) == 1 else [f"args[{i}]" for i in range(len(args))]
    remedy = "pass the function itself, and after the parameters what else it takes, a batch of "
    remedy += "several arrays as one tuple"
    every = ["params", *others, *(f"{option}=" for option in options)]
    check_function(name, function, ", ".join(every), remedy)
    check_arrays("params", params)


def check_scalar(value: Any) -> None:
    """Raises if a value is not differentiable.

    Raises:
      TypeError: it is not a floating scalar.
    """
    if (
        not hasattr(value, "dtype")
        or value.shape != ()
        or not jnp.issubdtype(value.dtype, jnp.floating)
    ):
        got = f"the Python number {value}" if isinstance(value, float) else describe(value)
        raise TypeError(
            f"loss: expected a floating scalar, got {got}; compute it from the parameters, take "
            "its mean, and return it alone"
        )


def _first(tree: Any, axes: int, *, backward: jax.Array) -> jax.Array:
    """The first time index that is not finite, or the last if `backward`; -1 if none.

    Args:
      tree: leaves `[..., T, B, ...]`.
      axes: number of axes before time.
      backward: whether to return the last one.
    """
    finite = [
        jnp.isfinite(leaf).all(axis=tuple(range(axes + 1, leaf.ndim)))
        for leaf in jax.tree.leaves(floating(tree))
    ]
    if not finite:
        return jnp.full_like(backward, -1, dtype=jnp.int32)
    bad = ~jnp.stack(finite).all(axis=0)
    length = bad.shape[-1]
    if length == 0:
        return jnp.full_like(bad, -1, shape=bad.shape[:-1], dtype=jnp.int32)
    first, last = jnp.argmax(bad, -1), length - 1 - jnp.argmax(bad[..., ::-1], -1)
    return jnp.where(bad.any(-1), jnp.where(backward, last, first), -1)
