"""Files written whole or not at all, and strict JSON."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.errors import OutputError, UsageError

LARGEST = 2**26  # bytes of a JSON file that is read; those of runs are far smaller


def strict(value: Any) -> Any:
    """`value` as JSON can hold it.

    A number that is not finite becomes null, and the object it stands in gets
    `"finite": false`.
    """
    clean, _ = _strict(value)
    return clean


def _strict(value: Any) -> tuple[Any, bool]:
    """The clean value, and whether all numbers up to the next object were finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return (value, True) if math.isfinite(value) else (None, False)
    if isinstance(value, list | tuple):
        pairs = [_strict(item) for item in value]
        return [clean for clean, _ in pairs], all(finite for _, finite in pairs)
    if isinstance(value, Mapping):
        pairs = {name: _strict(item) for name, item in value.items()}
        clean = {name: item for name, (item, _) in pairs.items()}
        if not all(finite for _, finite in pairs.values()):
            clean["finite"] = False
        return clean, True
    return value, True


def strict_text(value: Any, indent: int | None = 2) -> str:
    """Strict JSON; over several lines unless `indent` is None."""
    return json.dumps(strict(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none, or none that can be read."""
    try:
        # To open a pipe waits for whoever writes to it, and a device has no end.
        if not file.is_file() or file.stat().st_size > LARGEST:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def make_folder(folder: Path) -> None:
    """Makes a folder for results, unless it is there, and sees that it can be written to.

    Raises:
      UsageError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise not_a_folder(folder, error) from error


def not_a_folder(folder: Path, error: OSError) -> UsageError:
    """What to say of a folder in which nothing can be written."""
    return UsageError(
        f"--out: expected a folder that can be written to, got {folder}: {error.strerror}; "
        "choose another"
    )


def replace_file(file: Path, content: bytes) -> None:
    """Puts a file in place, whole.

    Raises:
      OutputError: it cannot be written.
    """
    temporary = beside(file)
    with told_as_output(file):
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as stream:  # never through a link
                stream.write(content)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def beside(file: Path) -> Path:
    """The name under which a file is written before it is whole."""
    return file.with_name(file.name + ".tmp")


@contextlib.contextmanager
def told_as_output(file: Path) -> Iterator[None]:
    """An error in writing this file names it, and what can be done.

    Raises:
      OutputError: instead of such an error.
    """
    try:
        yield
    except OSError as error:
        # One in writing to an open file names none; what names another is not about this one.
        if error.filename not in (None, str(file), str(beside(file))):
            raise
        raise OutputError(
            f"--out: expected room for {file.name} in {file.parent}, got: {error.strerror}; make "
            "room there, or choose another folder"
        ) from error
