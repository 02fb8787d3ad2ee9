"""The real lesson, from quick runs of all experiments, in a real browser."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from test_command_line import ROOT, environment

from experiments.characters.experiment import restored
from experiments.characters.options import Options
from experiments.data.shakespeare import ALPHABET
from experiments.lab import harness
from experiments.models.portable import rounded
from experiments.page import runs

BROWSER = Path(__file__).parent / "browser"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick lesson, which the first of several workers makes for all."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "lesson"
    with (shared / "lesson.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
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


def check(chromium: str, page: Path, *what: str) -> Any:
    """What `check.mjs` says."""
    done = subprocess.run(
        ["node", BROWSER / "check.mjs", chromium, page, *what],
        capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_as_readers_open_it(lesson: Path, chromium: str) -> None:
    assert check(chromium, lesson / "index.html") == []


def test_the_network_of_the_page_is_the_one_that_was_trained(lesson: Path, chromium: str) -> None:
    text = ("The quality of mercy is not strain'd,\nIt droppeth: 'tis mightiest! (I, ii) " * 3)[
        :200
    ]
    options = runs.defaults(Options, quick=True)
    assert isinstance(options, Options)
    with np.load(lesson / "characters" / "parts" / "lstm-seed0.npz") as part:
        model = rounded(restored("lstm", options, dict(part)))
    tokens = np.array([ALPHABET.index(character) for character in text], np.int32)
    expected = jax.nn.log_softmax(model(tokens[:, None])[1][:, 0])
    found = np.array(check(chromium, lesson / "index.html", "network", text))
    assert found.shape == (200, len(ALPHABET))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.1  # the text makes a difference


FLAWS = {
    '<p style="font-size: 11px">tiny</p>': '"tiny" is 11.0 pixels high',
    '<figure><svg width="9" viewBox="0 0 9 9"><text y="9" style="font-size: 11.9px">small</text>'
    "</svg></figure>": '"small" is 11.9 pixels high',
    '<figure><svg><text id="black">a<tspan style="font-size: 9px">2</tspan></text></svg>'
    "</figure>": 'id="black">a<tspan style="font-size: 9px">2</tspan></text> is painted rgb(0, 0',
    '<figure><svg><path id="white" d="M0 0H9" fill="none" stroke="white"></path></svg>'
    "</figure>": 'stroke="white"></path> is painted rgb(255, 255, 255)',
    '<figure><svg><defs><path id="used" d="M0 0H9" style="stroke: #000000"></path></defs></svg>'
    "</figure>": 'style="stroke: #000000"></path> is painted rgb(0, 0, 0)',
    '<img alt="" src="https://127.0.0.1/x.png">': "request for https://127.0.0.1/x.png",
    '<img src="data:,">': "axe: image-alt",
    '<div style="width: 2000px">wide</div>': "light, 375 pixels: 20",
    "<script>console.error('oh')</script>": "console: oh",
    "<script>undefined.oh</script>": "Cannot read properties",
    '<a href="#nowhere">there</a>': "a link leads to #nowhere",
    '<p id="two"></p><p id="two"></p>': "two elements have the id two",
}


def test_what_looks_wrong_is_found(tmp_path: Path, chromium: str) -> None:
    def page(*inside: str) -> Path:
        file = tmp_path / "index.html"
        file.write_text(
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>'
            '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
            f'</head><body><main><h1>A page</h1><section id="here">{"".join(inside)}</section>'
            "</main></body></html>"
        )
        return file

    good = (
        '<figure><svg viewBox="0 0 90 90" width="90" aria-hidden="true"><g style="fill: #654321">'
        '<line x2="9" stroke="#123456"/><text y="50">10<tspan style="font-size: 9px">2</tspan>'
        "</text></g></svg></figure>"
    )
    assert check(chromium, page(good), "looks") == []
    found = check(chromium, page(good, *FLAWS), "looks")
    missed = [says for says in FLAWS.values() if not any(says in one for one in found)]
    assert missed == [], found
