"""∂L/∂s_t for every step, from the backward pass that trains."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax import folds
from rnnjax.cell import Cell, Inputs, Params, State
from rnnjax.checks import check_arrays, kind_of
from rnnjax.folds.sequence import Fold
from rnnjax.tree import combine, describe, floating, rest
from rnnjax.unroll import Trajectory, trajectory, unroll


class Loss(Protocol):
    """`loss(params, *args, unroll=...) -> scalar`, calling `unroll` as `rnnjax.unroll`."""

    def __call__(self, params: Params, *args: Any, unroll: Callable[..., Any]) -> jax.Array:
        """The loss of `args` at `params`."""
        ...


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
    """What one backward pass says of every step. The tuples hold one entry per `unroll`.

    Attributes:
      value: the loss.
      gradient: its gradient to the floating leaves of `params`, None for the others.
      states: s_t, leaves `[T, B, ...]`.
      adjoints: ∂L/∂s_t, leaves `[T, B, ...]`, None for leaves without a gradient.
      nonfinite: where each run first went wrong.
      names: what each is called: "unroll 0" and so on unless `unroll` was given a name.
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
    probe added to s_t, so it costs nothing beyond the pass that trains.

    Args:
      loss: `loss(params, *args, unroll=rnnjax.unroll) -> scalar`. It must run its
        recurrences through the `unroll` it is given, not within another `jit`,
        `vmap` or `scan`: batch axes take the place of `vmap`.
      params: any pytree.
      *args: the rest of what the loss takes.

    Returns:
      `Adjoints`, with one entry per call of `unroll`, in the order of the calls.

    Raises:
      TypeError: the loss takes no `unroll`, or is not a floating scalar, or `params` holds
        other things than arrays.
      ValueError: the loss never calls `unroll`.
    """
    check_takes_unroll("loss", loss)
    check_arrays("params", params)
    fixed = rest(params)
    names: list[str] = []

    def run(moving: Params, probes: tuple[State, ...] | None) -> tuple[jax.Array, Any]:
        recorder = _Recorder(probes)
        value = loss(combine(moving, fixed), *args, unroll=recorder)
        names[:] = recorder.names
        return value, (tuple(recorder.states), tuple(recorder.reversed))

    value, (shapes, _) = jax.eval_shape(lambda p: run(p, None), floating(params))
    _check_scalar(value)
    if not shapes:
        raise ValueError(
            "loss: expected it to call the `unroll` it is given, got no call; write "
            "`def loss(params, batch, unroll=rnnjax.unroll)` and use that one"
        )
    probes = tuple(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), floating(s)) for s in shapes)
    (value, (states, reversed_)), (gradient, gradients) = jax.value_and_grad(
        run, (0, 1), has_aux=True
    )(floating(params), probes)
    nonfinite = tuple(
        NonFinite(_first(s, backward=r), _first(g, backward=~r))
        for s, g, r in zip(states, gradients, reversed_, strict=True)
    )
    return Adjoints(value, gradient, states, gradients, nonfinite, distinct(names))


def distinct(names: Sequence[str]) -> Names:
    """The names of calls, none empty and none twice."""
    told = [name or f"unroll {i}" for i, name in enumerate(names)]
    return Names(
        name if told.count(name) == 1 else f"{name} ({told[:i].count(name)})"
        for i, name in enumerate(told)
    )


def check_loss(loss: Loss, params: Params, *args: Any) -> None:
    """Refuses, without computing it, a loss that no gradient can be taken of.

    Raises:
      TypeError: it takes no `unroll`, or is not a floating scalar.
    """
    check_takes_unroll("loss", loss)
    _check_scalar(jax.eval_shape(lambda p, a: loss(p, *a, unroll=unroll), params, args))


def check_takes_unroll(name: str, model: Any, arguments: str = "params, batch") -> None:
    """Refuses what is no function, and one that takes no `unroll`.

    Args:
      name: of the argument.
      model: what came.
      arguments: what else it takes, as it is written.

    Raises:
      TypeError: naming what came.
    """
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):
        came = kind_of(model)
    else:
        kinds = signature.parameters.values()
        named = any(p.name == "unroll" or p.kind is p.VAR_KEYWORD for p in kinds)
        if named and any(p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in kinds):
            return
        came = kind_of(model) if named else str(signature)
    raise TypeError(
        f"{name}: expected a parameter named unroll, got {came}; write "
        f"`def {name}({arguments}, unroll=rnnjax.unroll)` and call that one"
    )


def _check_scalar(value: Any) -> None:
    if (
        not hasattr(value, "dtype")
        or value.shape != ()
        or not jnp.issubdtype(value.dtype, jnp.floating)
    ):
        raise TypeError(
            f"loss: expected a floating scalar, got {describe(value)}; take its mean, and return "
            "it alone"
        )


class _Recorder:
    """`unroll`, but for `probes`, which it adds itself; remembers the states of each call."""

    def __init__(self, probes: tuple[State, ...] | None) -> None:
        self.probes = probes
        self.states: list[State] = []
        self.reversed: list[jax.Array] = []
        self.names: list[str] = []

    def __call__(
        self,
        cell: Cell,
        params: Params,
        inputs: Inputs,
        state: State | None = None,
        *,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reverse: bool = False,
        fold: Fold = folds.blocked(),
        name: str = "",
    ) -> tuple[State, Any]:
        probes = None if self.probes is None else self.probes[len(self.states)]
        path: Trajectory = trajectory(
            cell, params, inputs, state,
            mask=mask, resets=resets, reverse=reverse, probes=probes, fold=fold, name=name,
        )  # fmt: skip
        self.names.append(name)
        self.states.append(path.states)
        self.reversed.append(jnp.asarray(reverse))
        return path.final, path.outputs


def _first(tree: Any, *, backward: jax.Array) -> jax.Array:
    """The first time index that is not finite, or the last if `backward`; -1 if none."""
    finite = [
        jnp.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(floating(tree))
    ]
    bad = ~jnp.stack(finite).all(axis=0)
    length = bad.shape[0]
    if length == 0:
        return jnp.asarray(-1)
    first, last = jnp.argmax(bad), length - 1 - jnp.argmax(bad[::-1])
    return jnp.where(bad.any(), jnp.where(backward, last, first), -1)
