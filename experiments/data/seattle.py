"""Seattle's weather, day by day."""

import csv
from datetime import date
from typing import NamedTuple

import numpy as np

from experiments.data.packages import Provenance, read_files


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
    (text,) = read_files(
        "vega-datasets==0.9.0", "vega_datasets", ["_data/seattle-weather.csv"], sha256
    )
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
