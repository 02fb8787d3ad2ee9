"""Flax's own tests of its recurrent modules, with ours in place of theirs.

The two files come out of the sdist of the installed version; nothing of them is kept.
"""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree
from pathlib import Path

import pytest

FILES = ("tests/linen/linen_recurrent_test.py", "tests/nnx/nn/recurrent_test.py")

# What each of these demands is wrong.
REFUSED = {
    "test_numerical_equivalence_with_mask": "outputs in the padding as they fall; ours are zeros",
}

PLUGIN = """
import flax.linen, flax.nnx
from rnnjax.interop import linen, nnx

for theirs, ours in ((flax.linen, linen), (flax.nnx, nnx)):
    theirs.RNN, theirs.Bidirectional = ours.RNN, ours.Bidirectional
"""


def fetch(folder: Path) -> list[Path]:
    """The two files of the installed version of Flax."""
    version = importlib.metadata.version("flax")
    command = "-m pip download -q --no-deps --no-binary :all:"
    done = subprocess.run(
        [sys.executable, *command.split(), f"flax=={version}"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    archives = list(folder.glob("flax-*.tar.gz"))
    if done.returncode or not archives:
        pytest.skip(f"no sdist of flax {version} to be had: {done.stderr.strip()[-300:]}")
    found = []
    with tarfile.open(archives[0]) as archive:
        for name in FILES:
            member = archive.extractfile(f"flax-{version}/{name}")
            assert member is not None
            found.append(folder / f"flax_{name.replace('/', '_')}")
            found[-1].write_bytes(member.read())
    return found


@pytest.mark.slow
def test_flaxs_own_tests(tmp_path: Path) -> None:
    (tmp_path / "in_place_of_flax.py").write_text(PLUGIN, "utf-8")
    files = fetch(tmp_path)
    result = tmp_path / "result.xml"
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTEST_ADDOPTS")}
    paths = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "in_place_of_flax", "-p", "no:cacheprovider",
         f"--rootdir={tmp_path}", f"--junitxml={result}", *map(str, files)],
        cwd=tmp_path, env=environment | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.is_file(), done.stdout + done.stderr
    cases = xml.etree.ElementTree.parse(result).getroot().findall(".//testcase")
    failed = {case.get("name") for case in cases if len(case)}
    assert failed == set(REFUSED), done.stdout
    assert len(cases) > 30
