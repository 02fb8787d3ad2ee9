"""Which experiments the page still lacks, and their runs."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.lab import errors, harness
from experiments.lab.command_line import Description
from experiments.lab.files import read_json, strict
from experiments.page.contents import CONTENTS
from experiments.page.section import Found, Section

PATIENCE = 10  # seconds that an interrupted experiment has for ending by itself


class Experiment(NamedTuple):
    """An experiment, which has a section on the page.

    Attributes:
      name: of its folder.
      about: what its docstring says.
      options: its `Options`.
      section: its `SECTION`.
      trouble: why it could not be imported, or nothing; then the two before are None.
    """

    name: str
    about: Description
    options: type[harness.Options] | None
    section: Section | None
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
    """Those that the contents name, in their order on the page."""
    known = harness.names()
    return [_experiment(name) for part in CONTENTS.values() for name in part if name in known]


def _experiment(name: str) -> Experiment:
    about = harness.about(name)
    try:
        options = harness.module(name, "options").Options
        section = harness.module(name, "section").SECTION
    except Exception as error:  # a broken file must not take the page with it
        trouble = f"{name}: it cannot be imported, {type(error).__name__}: {error}"
        return Experiment(name, about, None, None, trouble)
    return Experiment(name, about, options, section)


def defaults(
    options: type[harness.Options], *, quick: bool, seeds: int | None = None
) -> harness.Options:
    """The options of a command line without any but `--quick`, or with the first few seeds."""
    if quick:
        return options(**options.QUICK, quick=True)
    usual = options()
    return usual if seeds is None else options(seeds=usual.all_seeds[:seeds])


def command(
    experiment: Experiment, folder: Path, given: Found, *flags: str, python: str = "python"
) -> list[str]:
    """The command line that gives these options, as `result.json` holds them."""
    name, options = experiment.name, experiment.options
    assert options is not None
    quick = bool(given["quick"])
    usual = strict(defaults(options, quick=quick).config(name))
    words = [python, "-m", f"experiments.{name}"] + ["--quick"] * quick
    if given["seeds"] != usual["seeds"]:
        words += ["--seeds", ",".join(map(str, given["seeds"]))]
    for field in dataclasses.fields(options):
        # An option that an older version did not have is left at its default.
        value = given.get(field.name, usual.get(field.name))
        if field.name in harness.APART or value == usual[field.name]:
            continue
        each = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{field.name.replace('_', '-')}", *map(str, each)]
    return [*words, "--out", str(folder), *flags]


def standing(
    experiment: Experiment, folder: Path, *, quick: bool, seeds: int | None = None
) -> Standing:
    """What is in the folder, and what to do about it.

    A finished run is never replaced unasked, but a quick one by a full one.

    Args:
      experiment: which.
      folder: where its results are.
      quick: whether the smaller run is wanted.
      seeds: how many seeds are wanted, None for the usual number.
    """
    name = experiment.name
    if experiment.options is None:
        return Standing(None, None, experiment.trouble, f"python -m experiments.{name} --help")
    wanted = strict(defaults(experiment.options, quick=quick, seeds=seeds).config(name))
    again = shlex.join(command(experiment, folder, wanted, "--force"))
    # An empty object is as good as none.
    result, config = (read_json(folder / file) or None for file in ("result.json", "config.json"))
    there = result or config
    if there is None:
        return Standing(None, ())
    if there.get("schema") != harness.SCHEMA:
        note = (
            f"{name}: expected results of schema {harness.SCHEMA} in {folder}, got schema "
            f"{there.get('schema')}, written by another version"
        )
        return Standing(None, None, note, again)
    # Without these the run cannot even be named.
    if not (isinstance(there.get("quick"), bool) and isinstance(there.get("seeds"), list)):
        note = f"{name}: expected quick and seeds in the results in {folder}, got others"
        return Standing(None, None, note, again)
    usual = [wanted, strict(defaults(experiment.options, quick=False).config(name))]
    # A full run is as good where a quick one, or one with fewer seeds, was asked for.
    finished = any(options.items() <= there.items() for options in usual)
    if result is None:
        if wanted.items() <= there.items():
            return Standing(None, ("--resume",))
        if there.get("quick"):
            return Standing(None, ("--force",))
        wish = "a run with --quick" if quick else "one with the usual options"
        note = f"{name}: expected {wish} in {folder}, got another full one, not finished"
        remedy = shlex.join(command(experiment, folder, there, "--resume"))
        return Standing(None, None, note, remedy)
    if finished:
        return Standing(result)
    if there.get("quick"):
        return Standing(result, ("--force",))
    return Standing(result, None, f"{name}: {folder} holds a run with other options", again)


def run(
    experiment: Experiment, folder: Path, flags: tuple[str, ...], *, quick: bool,
    seeds: int | None = None, tell: Callable[[str], None],
) -> Standing:  # fmt: skip
    """Runs an experiment as a process of its own.

    Args:
      experiment: which.
      folder: where its results go.
      flags: `--resume` or `--force`, or none.
      quick: whether to run the smaller one.
      seeds: how many, None for the usual number.
      tell: gets each line that the experiment says of its progress.

    Returns:
      What there is of it now.

    Raises:
      KeyboardInterrupt: after the experiment has put its results in order.
    """
    name, options = experiment.name, experiment.options
    assert options is not None
    wanted = strict(defaults(options, quick=quick, seeds=seeds).config(name))
    lines = [""]
    # In a session of its own, so that Ctrl-C reaches it once, from here.
    with subprocess.Popen(
        command(experiment, folder, wanted, *flags, python=sys.executable),
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
            try:
                process.wait(PATIENCE)  # while it tidies up
            except subprocess.TimeoutExpired:
                # Deep in a computation, or begun in the background, where SIGINT is ignored;
                # what it had finished is whole.
                process.terminate()
            raise
    if process.returncode == errors.DONE:
        return standing(experiment, folder, quick=quick, seeds=seeds)
    if process.returncode == errors.INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode == errors.DIVERGED:
        wanted["seeds"] = [seed + 1 for seed in wanted["seeds"]]
        flags = ("--force",)
    else:  # what is finished is kept
        flags = standing(experiment, folder, quick=quick, seeds=seeds).flags or flags
    error = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
    note = f"{name}: exit code {process.returncode}, {error.removeprefix('error: ')}"
    return Standing(None, None, note, shlex.join(command(experiment, folder, wanted, *flags)))
