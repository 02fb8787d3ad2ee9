"""The examples of README and docs/, run as they stand."""

import contextlib
import io
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")


class Example(NamedTuple):
    """A block of Python, and the block of text behind it, which tells what it prints."""

    code: str
    printed: str | None


def examples(text: str) -> list[Example]:
    """The blocks of a page, in order."""
    found = re.findall(
        r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return [Example(code, printed or None) for code, printed in found]


@contextlib.contextmanager
def jax_as_it_comes() -> Iterator[None]:
    """Not as strict as the tests want it."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.enable_x64(False),
    ):
        yield


def execute(blocks: Iterable[Example], page: str) -> tuple[dict[str, Any], str]:
    """Runs blocks one after the other; the names they leave, and what they print."""
    namespace: dict[str, Any] = {}
    everything = ""
    with jax_as_it_comes():
        for code, expected in blocks:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(code, page, "exec"), namespace)
            printed = output.getvalue()
            if expected is not None:
                check_printed(printed, expected)
            everything += printed
    return namespace, everything


def check_printed(printed: str, expected: str) -> None:
    """The same text, numbers to a tenth: other compilers round and train otherwise."""
    for got, wanted in zip(printed.split(), expected.split(), strict=True):
        assert NUMBER.sub("#", got) == NUMBER.sub("#", wanted), f"{got} for {wanted} in {printed}"
        for a, b in zip(NUMBER.findall(got), NUMBER.findall(wanted), strict=True):
            assert math.isclose(float(a), float(b), rel_tol=0.1), f"{got} for {wanted} in {printed}"
