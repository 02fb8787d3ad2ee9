"""The folder an experiment writes to: each file whole or not at all, nothing of others lost."""

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = dict[str, np.ndarray]


class UsageError(Exception):
    """What was asked for cannot be done."""


def say(text: str) -> None:
    """A message for the person at the terminal; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def strict(value: Any) -> Any:
    """`value` as JSON can hold it.

    A number that is not finite becomes null, and the object it stands in gets
    `"finite": false`.
    """
    clean, _ = _strict(value)
    return clean


def _strict(value: Any) -> tuple[Any, bool]:
    """The clean value, and whether all numbers up to the next object were finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return (value, True) if math.isfinite(value) else (None, False)
    if isinstance(value, list | tuple):
        pairs = [_strict(item) for item in value]
        return [clean for clean, _ in pairs], all(finite for _, finite in pairs)
    if isinstance(value, Mapping):
        pairs = {name: _strict(item) for name, item in value.items()}
        clean = {name: item for name, (item, _) in pairs.items()}
        if not all(finite for _, finite in pairs.values()):
            clean["finite"] = False
        return clean, True
    return value, True


def strict_text(value: Any, indent: int | None = 2) -> str:
    """Strict JSON; over several lines unless `indent` is None."""
    return json.dumps(strict(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def rendered(figure: "Figure", name: str) -> dict[str, bytes]:
    """A figure as SVG and PNG, by file name."""
    import matplotlib

    files = {}
    for kind, metadata in (("svg", {"Date": None}), ("png", {})):
        buffer = io.BytesIO()
        # Text stays text in the SVG, and the same figure gives the same file.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On standard output; the first column is to the left, the others to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: leave room for every column.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


class Output:
    """Where one run of an experiment leaves its files.

    Nothing is touched before the first part is asked for, so that a run which fails
    at its data or its options leaves everything as it was.
    """

    def __init__(
        self, folder: Path, experiment: str, config: dict[str, Any], *, resume: bool, force: bool
    ) -> None:
        """Checks that the run may write here.

        Args:
          folder: need not exist.
          experiment: its name.
          config: what the results depend on.
          resume: go on with the run that is there.
          force: replace the run that is there.

        Raises:
          UsageError: the folder holds something this run may not write over.
        """
        self.folder, self.experiment, self.config = folder, experiment, config
        self.force = force
        self.parts: dict[str, dict[str, Any]] = {}
        self._written = self._manifest()
        self._open = False
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out: expected a folder, got the file {folder}; choose another")
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        if resume:
            self._check_same_run()
        elif force:
            for name in self._fixed_names():
                self._check_own(name)
        else:
            raise UsageError(
                f"--out: expected a new or empty folder, got {folder} with "
                f"{len(list(folder.iterdir()))} entries; add --resume to finish the run that is "
                "there, --force to replace it, or choose another folder with --out"
            )

    def part(self, name: str, compute: Callable[[Path], Part]) -> Part:
        """A piece of work whose result is kept, so that `--resume` need not repeat it.

        Args:
          name: of this piece, unique in the run.
          compute: does the work and returns its arrays; it gets the path of a JSON Lines
            file to which it may append metrics.

        Returns:
          The arrays, from an earlier run where that finished the piece.
        """
        if not self._open:
            self._begin()
        arrays, lines = f"parts/{name}.npz", f"parts/{name}.jsonl"
        from_before = arrays in self._written and (self.folder / arrays).is_file()
        if from_before:
            say(f"{name}: finished before, taken from {self.folder / arrays}")
        else:
            began = time.perf_counter()
            metrics = _beside(self.folder / lines)
            metrics.unlink(missing_ok=True)
            try:
                result = compute(metrics)
                self.write(lines, metrics.read_bytes() if metrics.is_file() else b"")
            finally:
                metrics.unlink(missing_ok=True)
            buffer = io.BytesIO()
            seconds = time.perf_counter() - began
            np.savez(buffer, **result, seconds=seconds)
            # Last, since it marks the piece as finished.
            self.write(arrays, buffer.getvalue())
            say(f"{name}: {seconds:.1f} s")
        with np.load(self.folder / arrays, allow_pickle=False) as stored:
            part = dict(stored)
        self.parts[name] = {"seconds": float(part.pop("seconds")), "from_before": from_before}
        self._merge_metrics()
        return part

    def figure(self, figure: "Figure") -> None:
        """Writes the experiment's figure as SVG and PNG."""
        for name, content in rendered(figure, self.experiment).items():
            self.write(name, content)

    def write_json(self, name: str, value: Any, *, indent: int | None = 2) -> str:
        """Writes strict JSON, and returns it; `indent=None` for much of it."""
        text = strict_text(value, indent)
        self.write(name, text.encode())
        return text

    def write(self, name: str, content: bytes) -> None:
        """Puts a file in place, whole.

        Raises:
          UsageError: a file of that name is there which no run of the experiment wrote.
        """
        self._claim(name)
        replace_file(self.folder / name, content)

    def _check_same_run(self) -> None:
        try:
            before = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        if not self._written or before.get("experiment") != self.experiment:
            raise UsageError(
                f"--resume: expected a run of {self.experiment} in {self.folder}, found none; "
                "choose another folder with --out"
            )
        now = strict(self.config)
        names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
        if names:
            differing = ", ".join(f"{n} {before.get(n)!r} there, {now.get(n)!r} now" for n in names)
            raise UsageError(
                f"--resume: expected the options of the run in {self.folder}, got others "
                f"({differing}); give the same options, or choose another folder with --out"
            )

    def _check_own(self, name: str) -> None:
        if name not in self._written and (self.folder / name).exists():
            raise UsageError(
                f"--out: expected no {name} in {self.folder} but one that {self.experiment} "
                "wrote, got another's; move it away, or choose another folder with --out"
            )

    def _fixed_names(self) -> list[str]:
        figures = [f"{self.experiment}.{kind}" for kind in ("svg", "png")]
        texts = ["files.json", "config.json", "metrics.jsonl", "lesson.json", "result.json"]
        return [*texts, *figures]

    def _begin(self) -> None:
        """Makes the folder ready; with `--force`, takes away what earlier runs wrote."""
        try:
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"--out: expected a folder that can be written, got {self.folder} ({error}); "
                "choose another"
            ) from None
        if self.force:
            for name in self._written:
                (self.folder / name).unlink(missing_ok=True)
            self._written = []
        if not self._written:
            self._written = ["files.json"]
        self.write_json("config.json", self.config)
        self._open = True

    def _manifest(self) -> list[str]:
        """What runs of this experiment wrote here, or were about to write."""
        try:
            found = json.loads((self.folder / "files.json").read_text(encoding="utf-8"))
            return list(found["files"]) if found["experiment"] == self.experiment else []
        except (OSError, ValueError, LookupError, TypeError):
            return []

    def _claim(self, name: str) -> None:
        """Notes a name before the file exists, so that `--force` knows it for its own."""
        if name in self._written:
            return
        self._check_own(name)
        self._written.append(name)
        manifest = {"experiment": self.experiment, "files": self._written}
        replace_file(self.folder / "files.json", json.dumps(manifest, indent=2).encode())

    def _merge_metrics(self) -> None:
        """`metrics.jsonl`: the lines of every part so far, each with the part's name."""
        lines = []
        for name in self.parts:
            text = (self.folder / f"parts/{name}.jsonl").read_text(encoding="utf-8")
            lines += [{"part": name, **json.loads(line)} for line in text.splitlines()]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        self.write("metrics.jsonl", text.encode())


def _beside(file: Path) -> Path:
    """The name under which a file is written before it is whole."""
    return file.with_name(file.name + ".tmp")


def replace_file(file: Path, content: bytes) -> None:
    """Puts a file in place, whole."""
    temporary = _beside(file)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
