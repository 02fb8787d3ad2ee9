"""The sections on leakage, free running, sampling error and simple models."""

import importlib
import re
import shlex
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
from test_command_line import ROOT

from experiments.baselines.linear import least_squares
from experiments.lab.panels import svg
from experiments.page import blocks
from experiments.page.section import Code, Plot
from experiments.page.sections import Forecasting, free_running, leakage, sampling_error

NAMES = ("leakage", "free_running", "sampling_error", "simple_wins")


def section(name: str) -> ModuleType:
    return importlib.import_module(f"experiments.page.sections.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_is_drawn_and_every_plot_has_its_panels(name: str) -> None:
    module = section(name)
    found = module.measure()
    panels = module.panels(found)
    body = module.SECTION.body(found)
    wanted = [panel for block in body if isinstance(block, Plot) for panel in block.panels]
    assert sorted(wanted) == sorted(panels)
    place = blocks.Place(
        name, "", lambda part: svg(panels[part], part).decode(), (), iter(range(1, 9))
    )
    html = blocks.html([block for block in body if not isinstance(block, Code)], place)
    assert "<figcaption>" in html
    assert not re.search(r"\bnan\b|\binf\b|None", re.sub("<[^>]*>", " ", html))


@pytest.mark.parametrize("name", NAMES)
def test_a_command_prints_what_its_exercise_expects(name: str) -> None:
    module = section(name)
    exercise = module.SECTION.exercises(module.measure())[-1]
    printed = subprocess.run(
        [sys.executable, *shlex.split(module.COMMAND)[1:]],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    numbers = [float(word) for word in re.findall(r"-?\d+\.?\d*", printed)]
    assert numbers == pytest.approx(list(exercise.numbers.values())[-len(numbers) :])


def test_the_past_of_a_day_is_the_days_before_it() -> None:
    task = Forecasting(order=3, features=1)
    day = 700
    np.testing.assert_array_equal(task.past[day], [*task.celsius[[699, 698, 697]], 1])
    days = np.arange(10, 400)
    expected = least_squares(task.past[days], task.celsius[days])
    np.testing.assert_array_equal(task.fit(days), expected)


def test_both_splits_are_of_the_same_size_and_one_is_in_time() -> None:
    random, by_time = leakage.splits(Forecasting()).values()
    assert [len(part) for part in random] == [len(part) for part in by_time]
    assert set(random[0]).isdisjoint(random[1])
    assert by_time[0].max() < by_time[1].min()


def test_free_running_reads_what_it_predicted() -> None:
    celsius = np.array([10.0, 20.0, 30.0, 40.0])
    weights = np.array([0.5, 1.0])  # half of yesterday, and 1
    free = free_running.forecast(weights, celsius, 1, 3, free=True)
    forced = free_running.forecast(weights, celsius, 1, 3, free=False)
    np.testing.assert_allclose(free, [6, 4, 3])
    np.testing.assert_allclose(forced, [6, 11, 16])


def test_verdicts_name_the_blocks_that_exclude_zero() -> None:
    found = sampling_error.measure()
    row = found["results"]["365 days"]["mean"]
    low = {block: row[f"low_{block}"] for block in sampling_error.BLOCKS}
    # On the border: the lengths disagree.
    assert low[7] > 0 and low[14] > 0 and low[1] < 0 and low[28] < 0
    told = " ".join(sampling_error._border(found))
    assert "blocks of 7 and 14 days the interval only just excludes zero" in told
    assert "significant" not in told
    for block in sampling_error.BLOCKS:
        row[f"low_{block}"] = -1.0
    assert "agree" in sampling_error._border(found)[0]
