"""Returns values that are computed deep inside a function.

What a recurrence computes within `jit`, `vmap`, `scan` or `checkpoint` belongs to their
traces, and cannot leave them by side effect. So while an observer is set, a recurrence
marks the values to return (`see`) and the places where something may be added (`probe`) by
primitives that do nothing. `observe` traces a function with its marks, and evaluates that
program with the probes as extra arguments and the marked values as extra results.

The observer is part of the cache key of `jax.jit`, by value: a function compiled without it
is traced again, and traces made with it are reused.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var
from jax.interpreters import ad, batching, mlir

from rnnjax._programs import apply_equation

Leaves = list[Any]

# Replaces `Run.carry`, or None; hashable, and compared by value.
observer: Any = jax.make_user_context(None)

_marks = count()


class Place(NamedTuple):
    """A place where values are marked.

    Attributes:
      name: the `jax.named_scope` around it, "" if there is none.
      structure: of the marked values.
      axes: number of leading axes: one for each enclosing loop, from the outermost in, then
        one for each `vmap`.
      probes: shapes of what may be added there, flat, with those axes.
    """

    name: str
    structure: Any
    axes: int
    probes: list[jax.ShapeDtypeStruct]


class Observation(NamedTuple):
    """A function that was traced under an observer.

    Attributes:
      result: the shapes of its result.
      places: where values are marked, in the order of the computation.
      run: `(*args, probes) -> (result, seen)`: probes and marked values, one entry per place.
    """

    result: Any
    places: list[Place]
    run: Callable[..., tuple[Any, list[Any]]]


def observe(name: str, watch: Any, function: Callable[..., Any], *args: Any) -> Observation:
    """Traces a function under an observer.

    Args:
      name: of the function in errors.
      watch: the observer.
      function: pure.
      *args: its arguments, or arrays of the same types.

    Raises:
      ValueError: a marked value cannot be returned, or nothing is marked.
    """
    with observer(watch):
        # A new function: JAX caches the trace of a known one.
        program, result = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*args)
    try:
        places = list(_places(program.jaxpr))
    except _EnclosedError as error:
        raise ValueError(
            f"{name}: expected recurrences within nothing but jit, vmap, scan, checkpoint and "
            f"grad, got one {error}"
        ) from None
    if not places:
        raise ValueError(
            f"{name}: expected it to run a recurrence by `rnnjax.unroll`, a layer or a module of "
            "`rnnjax.interop`, and to use its result, got none"
        )

    def run(*args: Any, probes: Sequence[Any]) -> tuple[Any, list[Any]]:
        flat = iter(jax.tree.leaves(probe) for probe in probes)
        results, seen = _evaluate(program, jax.tree.leaves(args), flat)
        trees = [jax.tree.unflatten(p.structure, s) for p, s in zip(places, seen, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(result), results), trees

    return Observation(result, places, run)


def probe(zeros: Any, of: Any) -> tuple[int, Any]:
    """A mark for `see`, and `zeros`, which `observe` replaces by its probes.

    Args:
      zeros: a pytree of zeros.
      of: what the recurrence reads: `vmap` maps the probes if it maps any of this.
    """
    mark = next(_marks)
    leaves, structure = jax.tree.flatten(zeros)
    results = _probe_p.bind(*leaves, *jax.tree.leaves(of), mark=mark, kept=len(leaves), axes=0)
    return mark, jax.tree.unflatten(structure, results)


def see(seen: Any, through: Any, mark: int | None = None) -> Any:
    """`through`, with a mark at it.

    Args:
      seen: a pytree of arrays, to be returned by `observe`.
      through: a pytree of arrays; if its values are not used, nothing is returned.
      mark: of the probes there, if there are any.
    """
    leaves, structure = jax.tree.flatten(through)
    shown, kind = jax.tree.flatten(seen)
    results = _see_p.bind(*leaves, *shown, mark=mark, kept=len(leaves), structure=kind, axes=0)
    return jax.tree.unflatten(structure, results)


_see_p, _probe_p = Primitive("rnnjax_see"), Primitive("rnnjax_probe")


def _keep(*args: Any, kept: int, **_: Any) -> Leaves:
    return list(args[:kept])


def _in_front(args: Leaves, dims: Leaves, others: Leaves) -> Leaves:
    """Moves the axis that `vmap` maps to the front of all `others`, broadcast if not mapped."""
    size = next(x.shape[dim] for x, dim in zip(args, dims, strict=True) if dim is not None)
    return [batching.bdim_at_front(x, dim, size) for x, dim in others]


def _batch_see(args: Leaves, dims: Leaves, *, kept: int, axes: int, **params: Any) -> Any:
    shown = _in_front(args, dims, [*zip(args[kept:], dims[kept:], strict=True)])
    results = _see_p.bind(*args[:kept], *shown, kept=kept, axes=axes + 1, **params)
    return results, dims[:kept]


def _batch_probe(args: Leaves, dims: Leaves, *, kept: int, axes: int, **params: Any) -> Any:
    every = _in_front(args, dims, [*zip(args, dims, strict=True)])
    return _probe_p.bind(*every, kept=kept, axes=axes + 1, **params), [0] * kept


def _jvp_see(primals: Leaves, tangents: Leaves, *, kept: int, **params: Any) -> Any:
    return _see_p.bind(*primals, kept=kept, **params), list(tangents[:kept])


def _jvp_probe(primals: Leaves, tangents: Leaves, **params: Any) -> Any:
    results = _probe_p.bind(*primals, **params)
    return results, list(map(jnp.zeros_like, results))


for _primitive, _batch in ((_see_p, _batch_see), (_probe_p, _batch_probe)):
    _primitive.multiple_results = True
    _primitive.def_impl(_keep)
    _primitive.def_abstract_eval(_keep)
    mlir.register_lowering(_primitive, lambda context, *args, **params: _keep(*args, **params))
    batching.primitive_batchers[_primitive] = _batch
ad.primitive_jvps[_see_p], ad.primitive_jvps[_probe_p] = _jvp_see, _jvp_probe
# Nothing is seen of a recurrence that is transposed as it is, by `jax.linear_transpose`.
ad.primitive_transposes[_see_p] = lambda cotangents, *args, kept, **_: [
    *cotangents,
    *[None] * (len(args) - kept),
]
ad.primitive_transposes[_probe_p] = lambda cotangents, *args, **_: [None] * len(args)


class _EnclosedError(Exception):
    """A value is marked where it cannot be returned."""


def _places(jaxpr: Jaxpr, scope: str = "") -> Iterator[Place]:
    """The places of a program, in the order of the computation.

    Raises:
      _EnclosedError: a marked value cannot be returned.
    """
    probes = {eqn.params["mark"]: eqn for eqn in jaxpr.eqns if eqn.primitive is _probe_p}
    for eqn in jaxpr.eqns:
        if eqn.primitive is _see_p:
            probe, axes = probes.get(eqn.params["mark"]), eqn.params["axes"]
            lost = probe is None and eqn.params["mark"] is not None
            if lost or (probe is not None and probe.params["axes"] != axes):
                raise _EnclosedError(
                    "whose step closes over what vmap maps or a loop changes; pass it in the "
                    "parameters or the inputs"
                )
            shapes = [] if probe is None else [_shape((), v.aval) for v in probe.outvars]
            yield Place(_scope(scope, eqn), eqn.params["structure"], axes, shapes)
        elif (inner := _inside(eqn)) is not None:
            for place in _places(inner.jaxpr, _scope(scope, eqn)):
                if eqn.primitive.name == "scan":
                    shapes = [_shape((eqn.params["length"],), s) for s in place.probes]
                    place = place._replace(axes=place.axes + 1, probes=shapes)
                yield place


def _shape(axes: tuple[int, ...], like: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*axes, *like.shape), like.dtype)


def _scope(outer: str, eqn: JaxprEqn) -> str:
    # `vmap` and the other transforms wrap their names around those of the scopes.
    own = re.sub(r"\w*\(|\)", "", str(eqn.source_info.name_stack))
    return "/".join(filter(None, f"{outer}/{own}".split("/")))


def _inside(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The program that an equation runs, if something is marked in it.

    Raises:
      _EnclosedError: a marked value cannot be returned.
    """
    marked = [program for program in _programs(eqn) if _is_marked(program)]
    if not marked:
        return None
    name = eqn.primitive.name
    if name not in _RULES:
        raise _EnclosedError(f"within {name}")
    if eqn.params.get("differentiated"):
        raise _EnclosedError(f"within {name}, of which a gradient is taken")
    return marked[0]


def _programs(eqn: JaxprEqn) -> Iterator[ClosedJaxpr]:
    for leaf in jax.tree.leaves(list(eqn.params.values())):
        if isinstance(leaf, ClosedJaxpr):
            yield leaf
        elif isinstance(leaf, Jaxpr):
            yield ClosedJaxpr(leaf, ())


def _is_marked(program: ClosedJaxpr) -> bool:
    marks = (_see_p, _probe_p)
    return any(
        eqn.primitive in marks or any(map(_is_marked, _programs(eqn))) for eqn in program.jaxpr.eqns
    )


def _evaluate(
    program: ClosedJaxpr, args: Sequence[Any], probes: Iterator[Leaves]
) -> tuple[Leaves, list[Leaves]]:
    """The results, and the marked values, with `probes`, one entry per place."""
    jaxpr = program.jaxpr
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    marks = {eqn.params["mark"] for eqn in jaxpr.eqns if eqn.primitive is _see_p}
    seen: list[Leaves] = []

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        given = list(map(read, eqn.invars))
        if eqn.primitive is _see_p:
            kept = eqn.params["kept"]
            seen.append(given[kept:])
            results = given[:kept]
        elif eqn.primitive is _probe_p:
            # A recurrence whose result is not used has no `see`, and takes no probes.
            results = next(probes) if eqn.params["mark"] in marks else _keep(*given, **eqn.params)
        elif (inner := _inside(eqn)) is not None:
            with eqn.ctx.manager:
                results, shown = _RULES[eqn.primitive.name](eqn, inner, given, probes)
            seen += shown
        else:
            results = apply_equation(jaxpr, eqn, given)
        values.update(zip(eqn.outvars, results, strict=True))
    return list(map(read, jaxpr.outvars)), seen


def _call(eqn: JaxprEqn, inner: ClosedJaxpr, given: Leaves, probes: Iterator[Leaves]) -> Any:
    return _evaluate(inner, given, probes)


def _own(inner: ClosedJaxpr, probes: Iterator[Leaves]) -> list[Leaves]:
    """The probes of a program, to be passed into the trace that it is evaluated in."""
    return list(islice(probes, len([*_places(inner.jaxpr)])))


def _checkpoint(eqn: JaxprEqn, inner: ClosedJaxpr, given: Leaves, probes: Iterator[Leaves]) -> Any:
    @partial(jax.checkpoint, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])
    def again(given: Leaves, probes: list[Leaves]) -> Any:
        return _evaluate(inner, given, iter(probes))

    return again(given, _own(inner, probes))


def _scan(eqn: JaxprEqn, inner: ClosedJaxpr, given: Leaves, probes: Iterator[Leaves]) -> Any:
    def stacked(outer: Sequence[Any], own: Sequence[Any]) -> int:
        """How many of the last values have an axis for the iterations."""
        return sum(a.aval.ndim > b.aval.ndim for a, b in zip(outer, own, strict=True))

    xs = len(given) - stacked(eqn.invars, inner.jaxpr.invars)
    carry = len(eqn.outvars) - stacked(eqn.outvars, inner.jaxpr.outvars)
    constants, state = given[: xs - carry], given[xs - carry : xs]

    def body(state: Leaves, x: Any) -> Any:
        results, seen = _evaluate(inner, [*constants, *state, *x[0]], iter(x[1]))
        return results[:carry], (results[carry:], seen)

    options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    final, (ys, seen) = lax.scan(body, state, (given[xs:], _own(inner, probes)), **options)
    return [*final, *ys], seen


_CALLS = ("jit", "pjit", "closed_call", "core_call", "eval_jaxpr")
_RULES = dict.fromkeys(_CALLS, _call) | {
    "checkpoint": _checkpoint,
    "remat2": _checkpoint,
    "scan": _scan,
}
