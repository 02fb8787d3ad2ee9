"""A GPU that JAX does not see is told of, at once and in red."""

import io
import re
import runpy
import sys
from pathlib import Path

import pytest

from benchmarks import machine, memory
from benchmarks.machine import unseen_gpu, warn


@pytest.mark.parametrize(
    ("names", "backend", "variables", "told"),
    [
        ([], "cpu", {}, None),
        (["nvidiactl", "nvidia-uvm"], "cpu", {}, None),  # the driver, and no device of it
        (["nvidia0"], "gpu", {}, None),
        (["nvidia3", "nvidiactl"], "cpu", {}, r".* of the cpu\. .*EXTRA=cuda, or pip"),
        (["nvidia0"], "cpu", {"JAX_PLATFORMS": "cpu"}, "unset JAX_PLATFORMS, which is cpu"),
    ],
)
def test_what_is_told_of_a_gpu(tmp_path: Path, names, backend, variables, told) -> None:
    (tmp_path / "dev").mkdir()
    for name in names:
        (tmp_path / "dev" / name).touch()
    found = unseen_gpu(tmp_path, backend, variables)
    assert (found is None) == (told is None)
    assert told is None or re.search(rf"JAX does not see it.*{told}", found)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "red"),
    [(Terminal, {}, True), (Terminal, {"NO_COLOR": "1"}, False), (io.StringIO, {}, False)],
)
def test_it_is_red_on_a_terminal(monkeypatch, stream, variables, red) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "20", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream())
    text = "a GPU [of the machine] and no JAX for it"
    warn(text)
    assert sys.stderr.getvalue() == (f"\x1b[31m{text}\x1b[0m\n" if red else f"{text}\n")


def test_the_command_says_it_first(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "unseen_gpu", lambda: "There is a GPU")
    monkeypatch.setattr(memory, "measure", lambda quick: [])
    monkeypatch.setattr(sys, "argv", ["benchmarks", "memory", "--quick", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("benchmarks", run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "There is a GPU" and said[1].startswith("memory: ")


def test_what_cannot_be_written_is_shown_even_so(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "unseen_gpu", lambda: None)
    monkeypatch.setattr(memory, "measure", lambda quick: [])
    monkeypatch.setattr(sys, "argv", ["benchmarks", "memory", "--quick", "--out", str(tmp_path)])
    (tmp_path / "memory.json").mkdir()
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("benchmarks", run_name="__main__")
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == (
        f"error: --out: expected room for memory.json in {tmp_path}, got: Is a directory; make "
        "room there, or choose another folder"
    )
    assert "blocked" in printed.out
