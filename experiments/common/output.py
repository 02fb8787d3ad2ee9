"""The folder an experiment writes to: each file whole or not at all, nothing of others lost."""

import contextlib
import io
import json
import math
import os
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = dict[str, np.ndarray]
LARGEST = 2**26  # bytes of a JSON file that is read; those of runs are far smaller


class UsageError(Exception):
    """What was asked for cannot be done."""


class OutputError(Exception):
    """Results cannot be put where they belong, as on a full disk."""


def say(text: str) -> None:
    """A message for the person at the terminal; standard output is for results."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # where nobody can be told, the work goes on
        _give_up(sys.stderr)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Whatever prints results stands inside; at its end all of them are out.

    Raises:
      OutputError: standard output does not take it.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        raise OutputError(
            f"standard output: expected it to take the results, got: {error.strerror}; "
            "send it elsewhere"
        ) from error


def _give_up(stream: TextIO) -> None:
    """Lets Python end without a complaint about what a stream did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(value: Any) -> None:
    """Strict JSON on standard output, in ASCII, which it can hold whatever its encoding."""
    print(json.dumps(strict(value), indent=2, allow_nan=False))


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


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none, or none that can be read."""
    try:
        # To open a pipe waits for whoever writes to it, and a device has no end.
        if not file.is_file() or file.stat().st_size > LARGEST:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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


def make_folder(folder: Path) -> None:
    """Makes a folder for results, unless it is there, and sees that it can be written to.

    Raises:
      UsageError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_a_folder(folder, error) from error


def _not_a_folder(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"--out: expected a folder that can be written to, got {folder}: {error.strerror}; "
        "choose another"
    )


class Output:
    """Where one run of an experiment leaves its files.

    Nothing is touched before the first part is asked for, so that a run which fails
    at its data or its options leaves everything as it was. No other run may write to the
    folder for as long as this one may.
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
          UsageError: the folder holds something this run may not write over, or another
            run is at work in it.
        """
        self.folder, self.experiment, self.config = folder, experiment, config
        self.resume, self.force = resume, force
        self.parts: dict[str, dict[str, Any]] = {}
        self._metrics: list[dict[str, Any]] = []  # the lines of every part so far
        self._written: list[str] = []
        self._locked = self._open = False
        self._check()

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
            try:
                part, seconds, records = self._read(arrays, lines)
            except Exception as error:  # the readers raise whatever a damaged file brings about
                raise UsageError(
                    f"--resume: expected {name} whole in {self.folder / 'parts'}, got files that "
                    f"cannot be read ({type(error).__name__}: {error}); delete "
                    f"{self.folder / arrays}, and it is done again"
                ) from error
            say(f"{name}: finished before, taken from {self.folder / arrays}")
        else:
            began = time.perf_counter()
            metrics = _beside(self.folder / lines)
            with _told_as_output(self.folder / lines):
                metrics.unlink(missing_ok=True)
                try:
                    result = compute(metrics)
                    written = metrics.read_bytes() if metrics.is_file() else b""
                finally:
                    metrics.unlink(missing_ok=True)
            self.write(lines, written)
            buffer = io.BytesIO()
            seconds = time.perf_counter() - began
            np.savez(buffer, **result, seconds=seconds)
            # Last, since it marks the piece as finished.
            self.write(arrays, buffer.getvalue())
            say(f"{name}: {seconds:.1f} s")
            part, seconds, records = self._read(arrays, lines)
        self.parts[name] = {"seconds": seconds, "from_before": from_before}
        self._metrics += [{"part": name, **record} for record in records]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self._metrics)
        self.write("metrics.jsonl", text.encode())
        return part

    def figure(self, figure: "Figure") -> None:
        """Writes the experiment's figure as SVG and PNG."""
        for name, content in rendered(figure, self.experiment).items():
            self.write(name, content)

    def write_json(self, name: str, value: Any, *, indent: int | None = 2) -> None:
        """Writes strict JSON; `indent=None` for much of it."""
        self.write(name, strict_text(value, indent).encode())

    def write(self, name: str, content: bytes) -> None:
        """Puts a file in place, whole.

        Raises:
          UsageError: a file of that name is there which no run of the experiment wrote.
          OutputError: it cannot be written.
        """
        self._claim(name)
        replace_file(self.folder / name, content)

    def _read(self, arrays: str, lines: str) -> tuple[Part, float, list[dict[str, Any]]]:
        """The arrays of a part, the seconds it took, and its metrics."""
        with np.load(self.folder / arrays, allow_pickle=False) as stored:
            part = dict(stored)
        text = (self.folder / lines).read_text(encoding="utf-8")
        seconds = float(part.pop("seconds"))
        return part, seconds, [dict(json.loads(line)) for line in text.splitlines()]

    def _check(self) -> None:
        """Refuses a folder in which this run may not write, and keeps other runs out of it."""
        try:
            entries = len(os.listdir(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _not_a_folder(self.folder, error) from error
        self._lock()
        self._written = self._manifest()
        if not entries:
            return
        if self.resume:
            self._check_same_run()
        elif self.force:
            for name in self._fixed_names():
                self._check_own(name)
            for name in self._written:
                self._check_file(name)
        else:
            raise UsageError(
                f"--out: expected a new or empty folder, got {self.folder} with {entries} "
                "entries; add --resume to finish the run that is there, --force to replace it, "
                "or choose another folder with --out"
            )

    def _lock(self) -> None:
        """Lasts as long as this object, and no longer than its process, however that ends."""
        if fcntl is None or self._locked:
            return
        handle = os.open(self.folder, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"--out: expected a folder to which no other run is writing, got {self.folder}; "
                "wait until that run has ended, or choose another folder with --out"
            ) from None
        except OSError:  # some file systems know no locks
            return
        self._locked = True

    def _check_same_run(self) -> None:
        before = read_json(self.folder / "config.json") or {}
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
        if name not in self._written and os.path.lexists(self.folder / name):
            raise UsageError(
                f"--out: expected no {name} in {self.folder} but one that {self.experiment} "
                "wrote, got another's; move it away, or choose another folder with --out"
            )

    def _check_file(self, name: Any) -> None:
        """Refuses what no run can have written: a list of files may come from anywhere."""
        if not (isinstance(name, str) and _is_file_below(self.folder, PurePath(name))):
            raise UsageError(
                f"--force: expected {self.folder / 'files.json'} to name files in that folder, "
                f"got {name!r:.80}; nothing was deleted: move the folder away, or choose another "
                "with --out"
            )

    def _fixed_names(self) -> list[str]:
        figures = [f"{self.experiment}.{kind}" for kind in ("svg", "png")]
        texts = ["files.json", "config.json", "metrics.jsonl", "lesson.json", "result.json"]
        return [*texts, *figures]

    def _begin(self) -> None:
        """Makes the folder ready; with `--force`, takes away what earlier runs wrote."""
        make_folder(self.folder)
        self._check()  # once more: another run may have been here since
        try:
            (self.folder / "parts").mkdir(exist_ok=True)
            if self.force:
                for name in self._written:
                    (self.folder / name).unlink(missing_ok=True)
                self._written = []
        except OSError as error:
            raise _not_a_folder(self.folder, error) from error
        if not self._written:
            self._written = ["files.json"]
        self.write_json("config.json", self.config)
        self._open = True

    def _manifest(self) -> list[Any]:
        """What runs of this experiment wrote here, or were about to write, as it says."""
        found = read_json(self.folder / "files.json") or {}
        names = found.get("files")
        ours = found.get("experiment") == self.experiment and isinstance(names, list)
        return names if ours else []

    def _claim(self, name: str) -> None:
        """Notes a name before the file exists, so that `--force` knows it for its own."""
        if name in self._written:
            return
        self._check_own(name)
        self._written.append(name)
        manifest = {"experiment": self.experiment, "files": self._written}
        replace_file(self.folder / "files.json", json.dumps(manifest, indent=2).encode())


def _is_file_below(folder: Path, name: PurePath) -> bool:
    """Whether it is in this folder, without a link on the way, and no folder; or nothing is."""
    if name.anchor or ".." in name.parts or not name.parts:
        return False
    try:
        if any((folder / parent).is_symlink() for parent in list(name.parents)[:-1]):
            return False
        return not stat.S_ISDIR((folder / name).lstat().st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # no file can have such a name
        return False


def _beside(file: Path) -> Path:
    """The name under which a file is written before it is whole."""
    return file.with_name(file.name + ".tmp")


@contextlib.contextmanager
def _told_as_output(file: Path) -> Iterator[None]:
    """An error in writing this file names it, and what can be done.

    Raises:
      OutputError: instead of such an error.
    """
    try:
        yield
    except OSError as error:
        # One in writing to an open file names none; what names another is not about this one.
        if error.filename not in (None, str(file), str(_beside(file))):
            raise
        raise OutputError(
            f"--out: expected room for {file.name} in {file.parent}, got: {error.strerror}; make "
            "room there, or choose another folder"
        ) from error


def replace_file(file: Path, content: bytes) -> None:
    """Puts a file in place, whole.

    Raises:
      OutputError: it cannot be written.
    """
    temporary = _beside(file)
    with _told_as_output(file):
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as stream:  # never through a link
                stream.write(content)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
