"""`python -m benchmarks` runs every benchmark, `python -m benchmarks NAME` one of them.

Any file in this folder that states its run time is a benchmark: a docstring whose first
line is the question it answers, with a line `Run time: ...`; `measure(quick)`, which
yields plain rows; and `report(rows)`, which summarises them as a table and findings.
"""

import dataclasses
import importlib
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks.machine import unseen_gpu, warn
from benchmarks.report import Report, in_short, record, show
from experiments.lab.command_line import (
    Description,
    command,
    describe,
    parse,
    print_json,
    printing,
    say,
)
from experiments.lab.errors import DONE, UNEXPECTED, OutputError, UsageError
from experiments.lab.files import make_folder, replace_file, strict_text
from experiments.lab.panels import saved

RESULTS = Path("results/benchmarks")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a run."""

    name: tyro.conf.Positional[str] = "all"
    """A benchmark, 'all' of them, or 'list' to see what each measures."""
    quick: bool = False
    """One small problem each, to check that it works; not for timings to quote."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(help_behavior_hint=f"(default: {RESULTS}, {RESULTS}/quick with --quick)"),
    ] = None
    """Folder for the results; those of an earlier run there are replaced."""
    json: bool = False
    """Print one JSON object instead of tables."""


def main() -> int:
    """The command line."""
    found = [describe(file.stem, file) for file in sorted(Path(__file__).parent.glob("[!_]*.py"))]
    benchmarks = {each.name: each for each in found if each.run_time}
    options = parse(
        Options, prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    name = options.name.replace("-", "_")
    if name == "list":
        with printing():
            for each in benchmarks.values():
                print(f"{each.name}\n  {each.claim}\n  {each.run_time}\n")
        return DONE
    if name != "all" and name not in benchmarks:
        raise UsageError(f"NAME: expected list, all, {', '.join(benchmarks)}, got {options.name}")
    folder = options.out or (RESULTS / "quick" if options.quick else RESULTS)
    make_folder(folder)  # before what takes minutes
    told = unseen_gpu()
    if told is not None:
        warn(told)
    records = {}
    failed = False
    for each in benchmarks.values() if name == "all" else [benchmarks[name]]:
        try:
            records[each.name] = run(each, options, folder)
        except OutputError:  # the next ones would fail in the same way
            raise
        except Exception:
            say(traceback.format_exc().rstrip())
            failed = True
    if options.json and records:
        with printing():
            print_json(records if name == "all" else records[name])
    return UNEXPECTED if failed else DONE


def run(benchmark: Description, options: Options, folder: Path) -> dict[str, Any]:
    """Runs one benchmark, writes its rows even if it is interrupted, and prints them."""
    began = time.perf_counter()
    say(f"{benchmark.name}: {benchmark.claim}")
    module = importlib.import_module(f"benchmarks.{benchmark.name}")
    rows: list[dict[str, Any]] = []
    error: BaseException | None = None
    try:
        for row in module.measure(options.quick):
            rows.append(row)
            say(f"  {in_short(row)}")
    except (KeyboardInterrupt, Exception) as caught:
        error = caught
    # A partial run never replaces a complete one.
    stem = benchmark.name if error is None else f"{benchmark.name}.incomplete"
    seconds = time.perf_counter() - began
    ended = "done" if error is None else f"ended by {type(error).__name__}"
    say(
        f"{benchmark.name}: {ended} after {seconds:.0f} s, {len(rows)} rows in {folder / stem}.json"
    )
    report = module.report(rows)
    found = record(
        benchmark.name, benchmark.claim, rows, report,
        quick=options.quick, complete=error is None, wall_seconds=round(seconds, 1),
    )  # fmt: skip
    try:
        write(folder, stem, found, report)
    finally:  # show what was measured even if it cannot be written
        if not options.json:
            with printing():
                show(report, rows)
    if error is not None:
        raise error
    return found


def write(folder: Path, stem: str, found: dict[str, Any], report: Report) -> None:
    """Writes the JSON and the figure, each atomically."""
    files = {f"{stem}.json": strict_text(found).encode()}
    if report.draw is not None and found["rows"]:
        figure = Figure(layout="constrained")
        report.draw(figure)
        device = found["device"]
        figure.suptitle(
            f"{found['question']}\n{device['kind']}, {device['processor']}", fontsize=11
        )
        files |= {f"{stem}.{kind}": saved(figure, kind, stem) for kind in ("svg", "png")}
    for name, content in files.items():
        replace_file(folder / name, content)


command(main)
