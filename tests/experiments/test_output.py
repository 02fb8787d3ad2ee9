"""The output folder and its JSON, without a subprocess."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_command_line import contents, environment

from experiments.lab.errors import UsageError
from experiments.lab.files import make_folder, read_json, strict
from experiments.lab.output import Output


def output(folder: Path, **flags: bool) -> Output:
    config = {"experiment": "demo", "steps": 3}
    return Output(folder, "demo", config, **{"resume": False, "force": False, **flags})


def test_what_is_not_finite_becomes_null_beside_a_flag() -> None:
    found = strict(
        {
            "rate": math.nan,
            "deep": {"values": [1.0, math.inf], "fine": {"x": np.float32(2.0)}},
            "rows": [{"horizon": -math.inf}, {"horizon": 3}],
        }
    )
    assert found == {
        "rate": None,
        "finite": False,
        "deep": {"values": [1.0, None], "finite": False, "fine": {"x": 2.0}},
        "rows": [{"horizon": None, "finite": False}, {"horizon": 3}],
    }
    json.dumps(found, allow_nan=False)


def test_nothing_is_touched_before_the_first_part(tmp_path: Path) -> None:
    output(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail(metrics: Path) -> dict[str, np.ndarray]:
        metrics.write_text('{"step": 0}\n')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        output(tmp_path).part("one", fail)
    assert not list((tmp_path / "parts").iterdir())


def test_a_part_keeps_what_is_not_finite(tmp_path: Path) -> None:
    def compute(metrics: Path) -> dict[str, np.ndarray]:
        return {"horizon": np.array([math.inf, -math.inf, math.nan])}

    first = output(tmp_path).part("one", compute)
    again = output(tmp_path, resume=True).part("one", lambda metrics: pytest.fail("done before"))
    np.testing.assert_array_equal(first["horizon"], [math.inf, -math.inf, math.nan])
    np.testing.assert_array_equal(again["horizon"], first["horizon"])


@pytest.mark.parametrize("make", [make_folder, output])
@pytest.mark.parametrize("name", ["file", "file/under", "a" * 300, "loop"])
def test_out_that_can_be_no_folder(tmp_path: Path, name: str, make: Any) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="--out: expected a folder that can be written to, got /"):
        make(tmp_path / name)


def test_force_trusts_no_list_of_files_but_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    listed = {"experiment": "other", "files": ["precious.txt", "files.json"]}
    (tmp_path / "files.json").write_text(json.dumps(listed))
    with pytest.raises(UsageError, match=r"--out: expected no files\.json"):
        output(tmp_path, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def numbers(metrics: Path) -> dict[str, np.ndarray]:
    metrics.write_text('{"step": 0}\n')
    return {"x": np.arange(3.0)}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run, beside it what is not its own, and links to that in it."""
    folder = tmp_path / "run"
    output(folder).part("one", numbers)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (folder / "linked").symlink_to(outside)
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "../outside/mine", "parts/../../outside/mine", "/OUTSIDE/mine", "linked/mine", "folder",
        "parts", "", ".", "..", "/", "a\0b", "a" * 300, "config.json/x", "\ud800",
        5, 1e300, None, True, ["config.json"], {"config.json": 1},
    ],
)  # fmt: skip
def test_force_deletes_nothing_where_the_list_names_what_no_run_writes(
    finished: Path, name: Any
) -> None:
    if isinstance(name, str):
        name = name.replace("/OUTSIDE", str(finished.parent / "outside"))
    listed = json.loads((finished / "files.json").read_text())
    listed["files"].append(name)
    (finished / "files.json").write_text(json.dumps(listed))
    before = contents(finished.parent)
    with pytest.raises(UsageError, match=r"--force: expected .*files.json to name files in"):
        output(finished, force=True).part("one", numbers)
    assert contents(finished.parent) == before
    assert (finished / "folder").is_dir() and (finished / "linked").is_dir()


def test_force_deletes_nothing_through_a_link(finished: Path) -> None:
    (finished / "parts").rename(finished.parent / "elsewhere")
    (finished / "parts").symlink_to(finished.parent / "elsewhere")
    before = contents(finished.parent)
    with pytest.raises(UsageError, match=r"got 'parts/one.jsonl'; nothing was deleted"):
        output(finished, force=True).part("one", numbers)
    assert contents(finished.parent) == before


def test_force_replaces_a_run_and_leaves_the_rest(finished: Path) -> None:
    (finished / "config.json").unlink()  # what is listed and gone is no fault
    output(finished, force=True).part("two", numbers)
    assert (finished / "linked" / "mine").read_text() == "mine"
    assert sorted(file.name for file in (finished / "parts").iterdir()) == ["two.jsonl", "two.npz"]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "5", "null", '"files.json"', "[" * 10**5, "\x00", '{"files": ["mine"]}',
        '{"experiment": "demo", "files": "mine"}', '{"experiment": "demo", "files": {"mine": 1}}',
        '{"experiment": "demo", "files": 5}', '{"experiment": "demo", "files": ' + "9" * 10**5,
    ],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["force", "resume"])
def test_what_is_no_list_of_files_is_not_taken_for_one(
    tmp_path: Path, text: str, flag: str
) -> None:
    for letter in "mine":
        (tmp_path / letter).write_text("mine")
    (tmp_path / "files.json").write_text(text)
    before = contents(tmp_path)
    message = {"force": "--out: expected no files.json", "resume": "--resume: expected a run of"}
    with pytest.raises(UsageError, match=message[flag]):
        output(tmp_path, **{flag: True})
    assert contents(tmp_path) == before


def test_a_pipe_or_a_device_is_not_waited_for_nor_what_is_huge_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**40)  # takes no room
    for name in ("pipe", "endless", "huge", "nowhere", "."):
        assert read_json(tmp_path / name) is None


def test_nothing_is_written_through_a_link(finished: Path) -> None:
    mine = finished.parent / "outside" / "mine"
    (finished / "metrics.jsonl.tmp").symlink_to(mine)
    output(finished, resume=True).part("two", numbers)
    assert mine.read_text() == "mine"
    (finished / "demo.svg").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"--out: expected no demo.svg"):
        output(finished, resume=True).write("demo.svg", b"")


@pytest.mark.parametrize("name", ["one.npz", "one.jsonl"])
@pytest.mark.parametrize("what", ["cut", "empty", "text", "other", "missing"])
def test_resume_with_a_damaged_part_says_which(finished: Path, name: str, what: str) -> None:
    file = finished / "parts" / name
    if what == "missing":
        file.unlink()
    elif what == "other":  # whole, but not of ours
        np.savez(file, x=1) if name.endswith("npz") else file.write_text("5\n")
    else:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no\n"}[what])
    before = contents(finished)
    again = output(finished, resume=True)
    if (name, what) in [("one.npz", "missing"), ("one.jsonl", "empty")]:
        again.part("one", numbers)  # not finished before; no metrics
        return
    with pytest.raises(UsageError, match=r"--resume: expected one whole .* delete .*one\.npz") as e:
        again.part("one", numbers)
    assert "\n" not in str(e.value)
    assert contents(finished) == before


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"force": True}])
def test_two_runs_at_once(tmp_path: Path, flags: dict[str, bool]) -> None:
    first, second = output(tmp_path / "run"), output(tmp_path / "run", **flags)
    first.part("one", numbers)
    before = contents(tmp_path)
    message = "--out: expected a folder to which no other run is writing"
    for late in (second.part, lambda *_: output(tmp_path / "run", **flags)):
        with pytest.raises(UsageError, match=message):
            late("one", numbers)
    assert contents(tmp_path) == before


def test_a_run_that_came_and_went_meanwhile(tmp_path: Path) -> None:
    second = output(tmp_path / "run")
    output(tmp_path / "run").part("one", numbers)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="--out: expected a new or empty folder"):
        second.part("two", numbers)
    assert contents(tmp_path) == before


def run_as_command(script: str, folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A process whose command line is the `main` of a script."""
    head = (
        "from pathlib import Path; import numpy as np\n"
        "from experiments.lab.command_line import command, print_json, print_table, say\n"
        "from experiments.lab.output import Output\n"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{head}{script}command(main)\n"],
        cwd=folder, capture_output=True, text=True, env=environment(**extra),
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_table_and_json_where_characters_lack(tmp_path: Path, encoding: str) -> None:
    script = """
def main():
    print_table(["", "\\u2016W\\u2016\\u2082"], [["h", "1 \\u2202"]])
    say("\\u2202L/\\u2202h")
    print("---")
    print_json({"h": "\\u2202 \\xb0 \\U0001d54f"})
    return 4
"""
    done = run_as_command(script, tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (4, "\\u2202L/\\u2202h\n")
    table, _, text = done.stdout.partition("---\n")
    assert "\\u2016W\\u2016\\u2082" in table and "1 \\u2202" in table
    assert json.loads(text) == {"h": "∂ ° 𝕏"}


@pytest.mark.parametrize(
    ("bytes_left", "name"), [(10, "files.json"), (500, "one.jsonl"), (5000, "one.npz")]
)
def test_a_full_disk_names_the_file(tmp_path: Path, bytes_left: int, name: str) -> None:
    """A limit on the size of a file stands in for the disk."""
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_left},) * 2)
def compute(metrics):
    with metrics.open("a") as file:
        file.write('{{"step": 0}}\\n' * 200)
    return {{"x": np.zeros(1000)}}
def main():
    Output(Path("run"), "demo", {{"steps": 3}}, resume=False, force=False).part("one", compute)
"""
    done = run_as_command(script, tmp_path)
    assert done.returncode == 1
    expected = rf"error: --out: expected room for {name} in run\S*, got: File too large; [^\n]*\n"
    assert re.fullmatch(expected, done.stderr), done.stderr
    assert not list(tmp_path.rglob("*.tmp"))
