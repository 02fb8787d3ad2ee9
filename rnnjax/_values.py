"""Cells, folds and layers as values: two made by equal calls are equal, and compile once.

A factory returns closures, and in Python no two closures are equal: JAX would compile again
for each, and they could not be pickled. The results of the factories here remember instead
how they were made: by which factory, from which arguments.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import operator
import threading
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def by_value(factory: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A factory whose results are equal if its arguments are equal.

    They hash accordingly, and pickle as the factory and its arguments. The factory is defined
    at module level, and its result depends only on its arguments. If an argument is mutable
    (not hashable), each result equals only itself.

    Args:
      factory: returns a function, or a NamedTuple some of whose fields are functions.
    """
    signature = inspect.signature(factory)
    defaults = {name: option.default for name, option in signature.parameters.items()}

    @functools.wraps(factory)
    def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        made = factory(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # A default needs no name to be pickled by; and all recipes like this one share it.
        given: Any = {
            name: value
            for name, value in kwargs.items()
            if not (callable(value) and value is defaults.get(name))
        }
        recipe = _Recipe(make, args, given, tuple(bound.arguments.values()))
        remembering: Result = _remembering(made, recipe)
        return remembering

    return make


def fixed(value: Any) -> Hashable:
    """A key that is equal for two immutable values only if they are the same.

    True, 1 and 1.0 differ, as do 0.0 and -0.0. A function equals only itself.

    Raises:
      TypeError: it is mutable: it or something it holds is not hashable.
    """
    if isinstance(value, float):
        return type(value), value.hex()
    if isinstance(value, complex):
        return type(value), value.real.hex(), value.imag.hex()
    if isinstance(value, np.generic):
        return type(value), value.tobytes()
    if isinstance(value, jax.Array):
        if isinstance(value, jax.core.Tracer):
            raise TypeError("what is being traced has no value")
        return type(value), value.aval, bits(value)
    if isinstance(value, tuple | list):
        return type(value), *map(fixed, value)
    if isinstance(value, dict):
        return type(value), frozenset((fixed(key), fixed(part)) for key, part in value.items())
    if isinstance(value, functools.partial):
        return type(value), fixed(value.func), fixed(value.args), fixed(value.keywords)
    hash(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return type(value), *(fixed(getattr(value, field.name)) for field in fields)
    return type(value), value


def bits(array: jax.Array) -> bytes:
    """The contents of an array of numbers or of random keys."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array).tobytes()


def snapshot(array: np.ndarray) -> Hashable:
    """A key of the current contents of a numpy array, which is mutable."""
    return array.shape, array.dtype, hashlib.sha256(array.tobytes()).digest()


class Same:
    """Compared by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Recipe:
    """A factory and its arguments, as they were given."""

    def __init__(
        self,
        factory: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        bound: tuple[Any, ...],
    ) -> None:
        self.factory, self.args, self.kwargs, self.bound = factory, args, kwargs, bound

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={v!r}" for name, v in self.kwargs.items())]
        return f"{self.factory.__name__}({', '.join(given)})"


_recipes: weakref.WeakValueDictionary[Hashable, _Recipe] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _known(recipe: _Recipe) -> _Recipe:
    """The canonical one of all equal recipes, so that nested layers compare by identity."""
    try:
        key = recipe.factory, fixed(recipe.bound)
        hash(key)
    except TypeError:
        return recipe
    with _lock:
        return _recipes.setdefault(key, recipe)


class Made:
    """A function that a factory made: behaves as the function, but compares by its recipe.

    Attributes:
      recipe: the factory and its arguments.
      field: of the factory's result, or None if that is the function itself.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], recipe: _Recipe, field: str | None) -> None:
        functools.update_wrapper(self, function)
        self.recipe, self.field = recipe, field

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function."""
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Made):
            return NotImplemented
        return self.field == other.field and self.recipe is other.recipe

    def __hash__(self) -> int:
        return hash((self.recipe, self.field))

    def __repr__(self) -> str:
        return f"{self.recipe}" + ("" if self.field is None else f".{self.field}")

    def __copy__(self) -> "Made":
        return self

    def __deepcopy__(self, memo: Any) -> "Made":
        return self

    def __reduce__(self) -> Any:
        recipe = self.recipe
        args = tuple(map(_by_name, recipe.args))
        kwargs = {name: _by_name(value) for name, value in recipe.kwargs.items()}
        return _again, (recipe.factory, args, kwargs, self.field)


class _Call:
    """Pickles as a call, and unpickles as its result."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def _find(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _partial(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return functools.partial(function, *args, **kwargs)


def written(made: Any) -> str:
    """The repr of a NamedTuple of functions: the call that makes it, or else its fields."""
    for recipe in {value.recipe for value in made if isinstance(value, Made)}:
        if recipe.factory(*recipe.args, **recipe.kwargs) == made:
            return repr(recipe)
    fields = (f"{name}={value!r}" for name, value in made._asdict().items())
    return f"{type(made).__name__}({', '.join(fields)})"


def _by_name(value: Any) -> Any:
    """`jax.nn.relu` and `jnp.tanh` by name: pickle confuses them with what they wrap."""
    if isinstance(value, functools.partial):
        kwargs = {name: _by_name(part) for name, part in value.keywords.items()}
        return _Call(_partial, _by_name(value.func), tuple(map(_by_name, value.args)), kwargs)
    if isinstance(value, types.FunctionType) or not callable(value):
        return value
    try:
        place = value.__module__, getattr(value, "__qualname__", None) or value.__name__
        return _Call(_find, *place) if _find(*place) is value else value
    except (ImportError, AttributeError):
        return value


def _again(
    factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], field: str | None
) -> Any:
    made = factory(*args, **kwargs)
    return made if field is None else getattr(made, field)


def _remembering(made: Any, recipe: _Recipe) -> Any:
    if isinstance(made, types.FunctionType):
        return Made(made, _known(recipe), None)
    # Fields taken unchanged from another cell or layer keep their own recipe.
    taken = {id(part) for given in recipe.bound if isinstance(given, tuple) for part in given}
    known = _known(recipe)
    return made._replace(
        **{
            field: Made(value, known, field)
            for field, value in made._asdict().items()
            if isinstance(value, types.FunctionType | Made) and id(value) not in taken
        }
    )
