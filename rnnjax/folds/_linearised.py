"""One step and its pull-back, in as few arrays as possible.

JAX keeps every intermediate that a derivative reads: eight arrays `[B, H]` for a step of the GRU,
eleven for the LSTM. Here cheap operations are repeated in the backward pass, so that only the
results of the others are kept, and what is a state or a parameter is not kept twice: four arrays
for the GRU, five for the LSTM, none for tanh.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from rnnjax._cell import Drive, State
from rnnjax._tree import combine, count_bytes, floating, rest

# Elementwise arithmetic and changes of shape, which cost less than reading their result from
# memory. Comparisons are not among them: their results take a byte where operands take four.
_CHEAP = frozenset(
    (
        *("abs", "add", "add_any", "integer_pow", "max", "min", "mul", "neg", "one_minus_square"),
        *("sign", "square", "sub", "and", "not", "or", "xor", "select_n", "stop_gradient", "copy"),
        *("broadcast_in_dim", "reshape", "squeeze", "transpose"),
        *("convert_element_type", "reduce_precision"),
    )
)
# Real operands, complex result.
_COMPLEX = frozenset({"complex", "fft"})


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Linearised:
    """A step's `update`, compiled to return what its pull-back needs.

    Two of the same update and types are equal: JAX may run the forward pass of a program that it
    has traced once more, and refuses residuals of another structure.

    Attributes:
      update: of the cell.
      types: what it was linearised at.
      jaxpr: `(theta, state, drive, mixed) -> (state, *residuals)`, flattened.
      state: the structure of the state.
      pullback: the structure of the pull-back, whose leaves are the residuals.
      sources: for each residual, which of the trees of `pull_back` it is in, and where.
      kept: where the residuals are that only this step knows.
      shared: where those are that depend on theta alone.
    """

    update: Callable[..., State]
    types: tuple[Any, ...]
    jaxpr: ClosedJaxpr
    state: Any
    pullback: Any
    sources: tuple[tuple[str, Any], ...]
    kept: tuple[int, ...]
    shared: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Linearised):
            return NotImplemented
        return (self.update, self.types) == (other.update, other.types)

    def __hash__(self) -> int:
        return hash((self.update, self.types))

    @property
    def kept_bytes(self) -> int:
        """What is kept of one step."""
        return count_bytes([self.jaxpr.out_avals[place] for place in self.kept])

    def run(
        self, theta: Any, state: State, drive: Drive, mixed: Any
    ) -> tuple[State, list[jax.Array]]:
        """The next state, and the residuals to keep."""
        results = jaxpr_as_fun(self.jaxpr)(*jax.tree.leaves((theta, state, drive, mixed)))
        after = jax.tree.unflatten(self.state, results[: self.state.num_leaves])
        return after, [results[place] for place in self.kept]

    def from_theta(self, *example: Any) -> list[jax.Array]:
        """The residuals that every step shares, computed from the arguments of any step."""
        results = jaxpr_as_fun(self.jaxpr)(*jax.tree.leaves(example))
        return [results[place] for place in self.shared]

    def pull_back(self, **trees: Any) -> Callable[[Any], Any]:
        """The pull-back of one step: `g -> ((by_theta, by_state, by_drive), by_mixed)`.

        Args:
          **trees: theta, the states before and after the step, its residuals kept and shared.
        """
        leaves = {name: jax.tree.leaves(tree) for name, tree in trees.items()}
        residuals = [
            place if name == "literal" else leaves[name][place] for name, place in self.sources
        ]
        pullback: Callable[[Any], Any] = jax.tree.unflatten(self.pullback, residuals)
        return pullback


def linearise(
    update: Callable[..., State], theta: Any, state: State, drive: Drive, mixed: Any
) -> Linearised:
    """Linearises one step, between what of its arguments and result carries a gradient.

    Args:
      update: `(theta, state, drive, mixed) -> state`.
      theta: the parameters, or arrays of their types; as all that follow.
      state: leaves `[B, ...]`.
      drive: of one step.
      mixed: of one step; None without a kernel.
    """
    structures = {}

    def run(theta: Any, state: State, drive: Drive, mixed: Any) -> tuple[State, list[Any]]:
        fixed = rest((theta, state, drive))

        # The loop over steps already prevents common subexpression elimination.
        @partial(jax.checkpoint, policy=is_kept, prevent_cse=False)
        def between(moving: Any, mixed: Any) -> tuple[Any, Any]:
            after = update(*combine(moving, fixed), mixed)
            return floating(after), rest(after)

        moving, pullback, still = jax.vjp(
            between, floating((theta, state, drive)), mixed, has_aux=True
        )
        residuals, structures["pullback"] = jax.tree.flatten(pullback)
        return combine(moving, still), residuals

    closed, (after, _) = jax.make_jaxpr(run, return_shape=True)(theta, state, drive, mixed)
    structure: Any = jax.tree.structure(after)
    states = structure.num_leaves
    jaxpr = closed.jaxpr
    of_theta, of_state = len(jax.tree.leaves(theta)), len(jax.tree.leaves(state))
    by_step = set(jaxpr.invars[of_theta:])
    for equation in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in by_step for v in equation.invars):
            by_step.update(equation.outvars)
    known: dict[Any, tuple[str, Any]] = {}
    for name, variables in {
        "theta": jaxpr.invars[:of_theta],
        "before": jaxpr.invars[of_theta : of_theta + of_state],
        "after": jaxpr.outvars[:states],
    }.items():
        known |= {
            variable: (name, place)
            for place, variable in enumerate(variables)
            if not isinstance(variable, Literal)
        }
    sources: list[tuple[str, Any]] = []
    places: dict[str, list[int]] = {"kept": [], "shared": []}
    for place, variable in enumerate(jaxpr.outvars[states:], states):
        if isinstance(variable, Literal):
            sources.append(("literal", variable.val))
            continue
        if variable not in known:
            name = "kept" if variable in by_step else "shared"
            known[variable] = name, len(places[name])
            places[name].append(place)
        sources.append(known[variable])
    arguments = theta, state, drive, mixed
    types = (
        jax.tree.structure(arguments),
        *(jax.typeof(leaf) for leaf in jax.tree.leaves(arguments)),
    )
    return Linearised(
        update, types, closed, structure, structures["pullback"], tuple(sources),
        tuple(places["kept"]), tuple(places["shared"]),
    )  # fmt: skip


def is_kept(primitive: Any, *operands: Any, **_: Any) -> bool:
    """A policy of `jax.checkpoint`: whether the result is stored for the backward pass."""
    # `jax.checkpoint` fails on a complex residual (JAX 0.10 to 0.12), so that those are repeated.
    complex_ = any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in operands)
    return not complex_ and primitive.name not in _CHEAP | _COMPLEX
