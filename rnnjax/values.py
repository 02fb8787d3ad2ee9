"""Cells, folds and layers as values: two made alike are equal, and compile once.

A factory gives closures, and to Python two closures are never the same: JAX would compile
again for each, and nothing could pickle them. What a factory here gives remembers instead
how it was made: by which factory, of which arguments.
"""

import functools
import importlib
import inspect
import operator
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def by_value(factory: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A factory whose results are equal where it was given equal arguments.

    They hash accordingly, and pickle as the factory and what it was given. The factory
    stands at the top of a module, and what it gives depends on its arguments alone.

    Args:
      factory: gives a function, or a NamedTuple some of whose fields are functions.
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        made = factory(*args, **kwargs)
        remembering: Result = _remembering(made, _Recipe(make, signature, args, kwargs))
        return remembering

    return make


class _Recipe:
    """A factory and its arguments, as they were given."""

    def __init__(
        self,
        factory: Callable[..., Any],
        signature: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.factory, self.args, self.kwargs = factory, args, kwargs
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        self.bound = tuple(bound.arguments.values())
        self.hash = hash((factory.__qualname__, *map(_hash, self.bound)))

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, _Recipe):
            return NotImplemented
        return self is other or (
            self.factory is other.factory
            and self.hash == other.hash
            and all(map(_equal, self.bound, other.bound))
        )

    def __hash__(self) -> int:
        return self.hash

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={v!r}" for name, v in self.kwargs.items())]
        return f"{self.factory.__name__}({', '.join(given)})"


class Made:
    """A function that a factory made: as good as the function, but for what it equals."""

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], recipe: _Recipe, field: str | None) -> None:
        functools.update_wrapper(self, function)
        self._recipe, self._field = recipe, field

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Made):
            return NotImplemented
        return self._field == other._field and self._recipe == other._recipe

    def __hash__(self) -> int:
        return hash((self._recipe, self._field))

    def __repr__(self) -> str:
        return f"{self._recipe}" + ("" if self._field is None else f".{self._field}")

    def __copy__(self) -> "Made":
        return self

    def __deepcopy__(self, memo: Any) -> "Made":
        return self

    def __reduce__(self) -> Any:
        recipe = self._recipe
        args = tuple(map(_by_name, recipe.args))
        kwargs = {name: _by_name(value) for name, value in recipe.kwargs.items()}
        return _again, (recipe.factory, args, kwargs, self._field)


class _Named:
    """Stands in a pickle for a function that is found by its name."""

    def __init__(self, module: str, name: str) -> None:
        self.place = module, name

    def __reduce__(self) -> Any:
        return _find, self.place


def _find(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _by_name(value: Any) -> Any:
    """`jax.nn.relu` and `jnp.tanh`, which pickle takes for other functions than they wrap."""
    if isinstance(value, types.FunctionType) or not callable(value):
        return value
    try:
        place = value.__module__, value.__qualname__
        return _Named(*place) if _find(*place) is value else value
    except (ImportError, AttributeError):
        return value


def _again(
    factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], field: str | None
) -> Any:
    made = factory(*args, **kwargs)
    return made if field is None else getattr(made, field)


def _remembering(made: Any, recipe: _Recipe) -> Any:
    if isinstance(made, types.FunctionType):
        return Made(made, recipe, None)
    # What it took from another cell or layer, it took as it was.
    taken = {id(part) for given in recipe.bound if isinstance(given, tuple) for part in given}
    return made._replace(
        **{
            field: Made(value, recipe, field)
            for field, value in made._asdict().items()
            if isinstance(value, types.FunctionType | Made) and id(value) not in taken
        }
    )


def _hash(value: Any) -> int:
    """Of what has one; arrays and mutable things have none, and only equality tells."""
    try:
        return hash(value)
    except TypeError:
        return 0


def _equal(first: Any, second: Any) -> bool:
    """Whether they are surely the same, and will stay so."""
    if first is second:
        return True
    try:
        if isinstance(first, jax.Array) and isinstance(second, jax.Array):
            same = first.shape == second.shape and first.dtype == second.dtype
            return same and bool((first == second).all())
        return bool(first == second)
    except Exception:  # Of tracers nobody knows, and arrays of numpy may be written into.
        return False
