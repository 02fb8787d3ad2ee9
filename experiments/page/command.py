"""Runs the experiments that the lesson still lacks, and writes its page.

What is finished is not run again. Whatever is missing, the page is written and says so in
its place; the exit code is 0 where nothing that was asked for is missing, 1 otherwise.

Run time: more than an hour on two cores, once; a third of that with --seeds 1, a few minutes with
--quick.

Examples:
  python -m experiments lesson
  python -m experiments lesson --quick
  python -m experiments lesson --seeds 1
  python -m experiments lesson --only next_word characters
"""

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.lab.command_line import parse, say
from experiments.lab.errors import DONE, UNEXPECTED, UsageError
from experiments.lab.files import make_folder, replace_file


@dataclass(frozen=True)
class Options:
    """What can be told to the lesson."""

    quick: bool = False
    """Smaller runs, to see that everything works."""
    seeds: int | None = None
    """How many seeds to run where an experiment has several: 1 for the short way. A --quick run
    has one."""
    out: Path = Path("results/lesson")
    """Folder for the page, index.html, and beside it one for each experiment."""
    only: tuple[str, ...] = ()
    """Run no experiments but these; the page shows what there is of the others."""


def main(words: list[str]) -> int:
    """Runs what is missing, builds the page, and says what it lacks."""
    options = parse(Options, prog="python -m experiments lesson", description=__doc__, args=words)
    # They load jax, and --help shall answer at once.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from experiments.page import build, runs

    if options.seeds is not None and options.seeds < 1:
        raise UsageError(f"--seeds: expected at least 1, got {options.seeds}; choose another")
    if options.quick and (options.seeds or 1) > 1:
        raise UsageError(
            f"--seeds: expected none beside --quick, which runs one, got {options.seeds}; drop "
            "one of the two"
        )
    known = runs.experiments()
    names = [experiment.name for experiment in known]
    unknown = [name for name in options.only if name not in names]
    if unknown:
        raise UsageError(
            f"--only: expected some of {', '.join(names)}, got {', '.join(unknown)}; "
            "python -m experiments lists what each is about"
        )
    make_folder(options.out)  # before the runs, which take long
    asked = options.only or names
    found: dict[str, runs.Standing] = {}
    size = {"quick": options.quick, "seeds": options.seeds}
    _end_as_with_ctrl_c()
    began = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip

    def tell(line: str) -> None:
        if bar.disable:
            say(line)
        else:
            bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        with bar:
            task = bar.add_task("the lesson", total=len(known))
            for experiment in known:
                name, folder = experiment.name, options.out / experiment.name
                there = runs.standing(experiment, folder, **size)
                if there.flags is not None and name in asked:
                    tell(f"{name}: {experiment.about.run_time or 'of unknown length'}")
                    bar.update(task, description=name)
                    there = runs.run(
                        experiment, folder, there.flags, **size,
                        tell=lambda line: tell(f"  {line}"),
                    )  # fmt: skip
                elif there.result is not None:
                    tell(f"{name}: finished before")
                if there.note:
                    tell(f"{there.note}; to mend it: {there.remedy}")
                found[name] = there
                bar.advance(task)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        raise
    for experiment in known:
        # Another lesson may have been at work in this folder.
        now = runs.standing(experiment, options.out / experiment.name, **size)
        if now.result is not None:
            found[experiment.name] = now
    page, lacking = build.page(known, found, options.out)
    replace_file(options.out / "index.html", page.encode())
    say(f"{options.out / 'index.html'} is written, after {time.perf_counter() - began:.0f} s")
    missing = [name for name in lacking if name in asked or name not in names]
    if missing:
        say(f"it lacks {', '.join(missing)}, and says why in their places")
    return UNEXPECTED if missing else DONE


def _end_as_with_ctrl_c() -> None:
    """Lets whatever ends this process end the experiment as well, which is in a session apart."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows lacks the second
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
