"""The folder an experiment writes to: each file whole or not at all, nothing of others lost."""

import io
import json
import os
import stat
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.lab.command_line import say
from experiments.lab.errors import UsageError
from experiments.lab.files import (
    beside,
    make_folder,
    not_a_folder,
    read_json,
    replace_file,
    strict,
    strict_text,
    told_as_output,
)

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from experiments.lab.panels import Panel

Part = dict[str, np.ndarray]


class Output:
    """Where one run of an experiment leaves its files.

    Nothing is touched before the first part is asked for, so that a run which fails
    at its data or its options leaves everything as it was. No other run may write to the
    folder for as long as this one may.
    """

    def __init__(
        self,
        folder: Path,
        experiment: str,
        config: dict[str, Any],
        *,
        resume: bool,
        force: bool,
        redraw: bool = False,
    ) -> None:
        """Checks that the run may write here.

        Args:
          folder: need not exist.
          experiment: its name.
          config: what the results depend on.
          resume: go on with the run that is there.
          force: replace the run that is there.
          redraw: with `resume`, do no piece of work that is not finished there.

        Raises:
          UsageError: the folder holds something this run may not write over, or another
            run is at work in it.
        """
        self.folder, self.experiment, self.config = folder, experiment, config
        self.resume, self.force, self.redraw = resume, force, redraw
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
                    f"{self._going_on}: expected {name} whole in {self.folder / 'parts'}, got "
                    f"files that cannot be read ({type(error).__name__}: {error}); delete "
                    f"{self.folder / arrays}, and it is done again"
                ) from error
            say(f"{name}: finished before, taken from {self.folder / arrays}")
        elif self.redraw:
            raise UsageError(
                f"--redraw: expected {name} finished in {self.folder}, found it not; finish the "
                "run with --resume"
            )
        else:
            began = time.perf_counter()
            metrics = beside(self.folder / lines)
            with told_as_output(self.folder / lines):
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

    def each_seed(
        self, name: str, seeds: Sequence[int], compute: Callable[[int, Path], Part]
    ) -> list[Part]:
        """A `part` for every seed, which `compute` gets before the path of its metrics."""
        return [self.part(f"{name}-seed{seed}", partial(compute, seed)) for seed in seeds]

    def figure(self, panels: "Mapping[str, Panel]") -> None:
        """Writes the experiment's figure: a sheet of all panels, and each of them for the page."""
        from experiments.lab.panels import rendered

        for name, content in rendered(panels, self.experiment).items():
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
        if self.redraw and not (self.folder / "config.json").is_file():
            self._check_same_run()
        try:
            entries = len(os.listdir(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise not_a_folder(self.folder, error) from error
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

    @property
    def _going_on(self) -> str:
        """The option that the run in the folder is gone on with."""
        return "--redraw" if self.redraw else "--resume"

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
                f"{self._going_on}: expected a run of {self.experiment} in {self.folder}, found "
                "none; choose another folder with --out"
            )
        now = strict(self.config)
        names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
        if names:
            differing = ", ".join(f"{n} {before.get(n)!r} there, {now.get(n)!r} now" for n in names)
            raise UsageError(
                f"{self._going_on}: expected the options of the run in {self.folder}, got others "
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
            for name in ("parts", "panels"):
                (self.folder / name).mkdir(exist_ok=True)
            if self.force:
                for name in self._written:
                    (self.folder / name).unlink(missing_ok=True)
                self._written = []
        except OSError as error:
            raise not_a_folder(self.folder, error) from error
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
