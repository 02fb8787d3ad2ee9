"""The log of a training run: records of numbers, a file of them, a progress bar."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._tree import describe

Record = dict[str, float]

_OWN = ("", "step", "loss", "gradient_norm", "validation", "finite")


def scalars(name: str, tree: Any) -> Record:
    """Numbers by their path in a pytree of scalars.

    Args:
      name: of the pytree, in errors.
      tree: a mapping of names to scalars, or a deeper pytree; None for nothing.

    Raises:
      TypeError: a leaf is not a scalar, or has a name that a record uses itself.
    """
    numbers = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        place = jax.tree_util.keystr(path, simple=True, separator=".")
        if place in _OWN or jnp.ndim(leaf) != 0:
            raise TypeError(
                f"{name}: expected a mapping of names other than {', '.join(filter(None, _OWN))} "
                f"to scalars, got {place!r}: {describe(leaf)}; rename it, or take a mean"
            )
        numbers[place] = float(leaf)
    return numbers


class Records(list[Record]):
    """Records in the order they were made, each appended to a JSON Lines file if there is one.

    Non-finite values are written as null, with `"finite": false`.
    """

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self.path = path

    def __enter__(self) -> "Records":
        self.file = None if self.path is None else open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, step: int, numbers: Record) -> Record:
        """Keeps the numbers of a step."""
        record = {"step": step, **numbers}
        self.append(record)
        if self.file is not None:
            finite = all(map(math.isfinite, numbers.values()))
            line = {name: x if math.isfinite(x) else None for name, x in record.items()}
            line |= {} if finite else {"finite": False}
            self.file.write(json.dumps(line, allow_nan=False) + "\n")
            self.file.flush()
        return record


@contextlib.contextmanager
def progress(
    steps: int | None, description: str, quiet: bool
) -> Iterator[Callable[[int, float], None]]:
    """A progress bar, if there is a terminal: `(count, loss)` advances it.

    Without a number of steps it shows no total.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda count, value: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=steps)
        yield lambda count, value: bar.update(
            task, advance=count, description=f"{description}: loss {value:.4g}"
        )
