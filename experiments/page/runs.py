"""Which experiments the page still lacks, and their runs."""

import dataclasses
import importlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from experiments.lab import errors, harness
from experiments.lab.command_line import Description, describe
from experiments.lab.files import read_json, strict
from experiments.page.section import Found


class Experiment(NamedTuple):
    """An experiment that has a section on the page.

    Attributes:
      name: of its file.
      module: None where it could not be imported.
      about: what its docstring says.
      trouble: why it could not be imported, or nothing.
    """

    name: str
    module: ModuleType | None
    about: Description
    trouble: str = ""


class Standing(NamedTuple):
    """What there is of an experiment's run.

    Attributes:
      result: its `result.json`, None where that cannot be shown.
      flags: what a run that makes it whole must be told, None where none is to be started.
      note: for the reader: what is wrong, or worth knowing.
      remedy: the command that mends it, or nothing.
    """

    result: Found | None
    flags: tuple[str, ...] | None = None
    note: str = ""
    remedy: str = ""


def experiments() -> list[Experiment]:
    """Those that define a `SECTION`, in their order on the page; the broken ones last."""
    found = []
    for file in harness.experiment_files():
        about = describe(file)
        try:
            module = importlib.import_module(f"experiments.{about.name}")
        except Exception as error:  # a broken file must not take the page with it
            trouble = f"{about.name}: it cannot be imported, {type(error).__name__}: {error}"
            found.append(Experiment(about.name, None, about, trouble))
            continue
        if hasattr(module, "SECTION"):
            found.append(Experiment(about.name, module, about))
    return sorted(found, key=lambda e: (e.module is None, e.module and e.module.SECTION.place))


def defaults(module: ModuleType, *, quick: bool) -> harness.Options:
    """What the experiment's command line takes when it is told nothing else."""
    return module.Options(**(dict(module.Options.QUICK, quick=True) if quick else {}))


def command(
    module: ModuleType, folder: Path, options: Found, *flags: str, python: str = "python"
) -> list[str]:
    """The command line that gives these options, as `result.json` holds them."""
    name = module.__name__.rpartition(".")[2]
    quick = bool(options["quick"])
    usual = strict(defaults(module, quick=quick).config(name))
    words = [python, "-m", f"experiments.{name}"] + ["--quick"] * quick
    if options["seeds"] != usual["seeds"]:
        words += ["--seeds", ",".join(map(str, options["seeds"]))]
    for field in dataclasses.fields(module.Options):
        # What an older version did not know of has no value to tell.
        value = options.get(field.name, usual.get(field.name))
        if field.name in harness.APART or value == usual[field.name]:
            continue
        given = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{field.name.replace('_', '-')}", *map(str, given)]
    return [*words, "--out", str(folder), *flags]


def standing(experiment: Experiment, folder: Path, *, quick: bool) -> Standing:
    """What is in the folder, and what to do about it.

    A finished run is never replaced unasked, but a quick one by a full one.
    """
    name, module = experiment.name, experiment.module
    if module is None:
        return Standing(None, None, experiment.trouble, f"python -m experiments.{name} --help")
    wanted = strict(defaults(module, quick=quick).config(name))
    again = shlex.join(command(module, folder, wanted, "--force"))
    result, config = (read_json(folder / file) for file in ("result.json", "config.json"))
    there = result or config
    if there is None:
        return Standing(None, ())
    if there.get("schema") != harness.SCHEMA:
        note = (
            f"{name}: expected results of schema {harness.SCHEMA} in {folder}, got schema "
            f"{there.get('schema')}, written by another version"
        )
        return Standing(None, None, note, again)
    usual = [wanted, strict(defaults(module, quick=False).config(name))]
    # A full run is as good where a quick one was asked for.
    finished = any(options.items() <= there.items() for options in usual)
    if result is None:
        if wanted.items() <= there.items():
            return Standing(None, ("--resume",))
        if there.get("quick"):
            return Standing(None, ("--force",))
        wish = "a run with --quick" if quick else "one with the usual options"
        note = f"{name}: expected {wish} in {folder}, got another full one, not finished"
        return Standing(None, None, note, shlex.join(command(module, folder, config, "--resume")))
    if finished:
        return Standing(result)
    if there.get("quick"):
        return Standing(result, ("--force",))
    return Standing(result, None, f"{name}: {folder} holds a run with other options", again)


def run(
    experiment: Experiment, folder: Path, flags: tuple[str, ...], *, quick: bool,
    tell: Callable[[str], None],
) -> Standing:  # fmt: skip
    """Runs an experiment as a process of its own.

    Args:
      experiment: which.
      folder: where its results go.
      flags: `--resume` or `--force`, or none.
      quick: whether to run the smaller one.
      tell: gets each line that the experiment says of its progress.

    Returns:
      What there is of it now.

    Raises:
      KeyboardInterrupt: after the experiment has put its results in order.
    """
    module, name = experiment.module, experiment.name
    wanted = strict(defaults(module, quick=quick).config(name))
    lines = [""]
    # In a session of its own, so that Ctrl-C reaches it once, from here.
    with subprocess.Popen(
        command(module, folder, wanted, *flags, python=sys.executable),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", start_new_session=True,
        # Whatever the terminal's is, which takes what this process says.
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    ) as process:  # fmt: skip
        try:
            for line in filter(str.strip, process.stderr):
                lines.append(line.strip())
                tell(lines[-1])
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()  # while it tidies up
            raise
    if process.returncode == errors.DONE:
        return standing(experiment, folder, quick=quick)
    if process.returncode == errors.INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode == errors.DIVERGED:
        wanted["seeds"] = [seed + 1 for seed in wanted["seeds"]]
    error = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
    note = f"{name}: exit code {process.returncode}, {error.removeprefix('error: ')}"
    return Standing(None, None, note, shlex.join(command(module, folder, wanted, "--force")))
