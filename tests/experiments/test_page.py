"""The real lesson, from quick runs of all experiments, in a real browser."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_command_line import ROOT, environment

from experiments.lab import harness

BROWSER = Path(__file__).parent / "browser"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page")]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick lesson."""
    folder = tmp_path_factory.mktemp("lesson")
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "lesson", "--quick", "--out", folder],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def chromium() -> str:
    """Where it is."""
    try:
        installed = subprocess.run(
            [BROWSER / "install.sh"], capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("no browser could be had within five minutes")
    if installed.returncode != 0:
        pytest.skip(f"no browser could be had: {installed.stderr.strip()[-200:]}")
    return installed.stdout.strip()


def test_nothing_is_missing(lesson: Path) -> None:
    page = (lesson / "index.html").read_text(encoding="utf-8")
    assert "Missing." not in page
    assert "appears here once" not in page  # a widget without its data
    for name in harness.names():
        assert f'<section id="{name}"' in page
    assert len(page) < 5_000_000


def test_as_readers_open_it(lesson: Path, chromium: str) -> None:
    checked = subprocess.run(
        ["node", BROWSER / "check.mjs", chromium, lesson / "index.html"],
        capture_output=True, text=True, timeout=600, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout) == []
