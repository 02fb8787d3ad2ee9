"""The command line of every experiment.

An experiment is a folder of `experiments` with four modules: `options` (a docstring whose first
line is the claim, with a line `Run time: ...`, and a frozen dataclass `Options`), `experiment`
(`run(options, out) -> Result`), `figure` (`panels(shown)`) and `section` (`SECTION`).
"""

import dataclasses
import importlib
import importlib.metadata
import os
import statistics
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, NoReturn

import tyro

from experiments.data.packages import Provenance
from experiments.lab.command_line import (
    Description,
    command,
    describe,
    parse,
    print_json,
    print_table,
    printing,
    say,
)
from experiments.lab.errors import DIVERGED, DONE
from experiments.lab.output import Output
from experiments.lab.versions import versions

if TYPE_CHECKING:
    import jax

SCHEMA = 3
# Options that say where and how to run, not what comes out.
APART = {"seed", "seeds", "out", "quick", "resume", "redraw", "force", "json"}

_Seeds = Annotated[
    tuple[int, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT,INT,...",
        instance_from_str=lambda words: tuple(int(word) for word in words[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    ),
    tyro.conf.arg(help_behavior_hint="(default: --seed; some experiments add the next ones)"),
]


@dataclass(frozen=True)
class Options:
    """What every experiment can be told."""

    seed: int = 0
    """Everything random follows from it."""
    seeds: _Seeds = ()
    """Several seeds: mean and deviation instead of one run."""
    out: Path = Path("results")
    """Folder for the results."""
    quick: bool = False
    """A smaller run, to see that it works; its defaults are shown by --quick --help."""
    resume: bool = False
    """Finish the run that is in the folder."""
    redraw: bool = False
    """Draw the figure of the finished run in the folder anew; nothing is trained."""
    force: bool = False
    """Replace the run that is in the folder."""
    json: bool = False
    """Print one JSON object instead of a table."""

    QUICK: ClassVar[dict[str, Any]] = {}
    REPEATS: ClassVar[int] = 1  # seeds of a full run that is told none

    def __post_init__(self) -> None:
        """Refuses values that no experiment can use.

        Raises:
          ValueError: naming the option.
        """
        if sum([self.resume, self.redraw, self.force]) > 1:
            raise ValueError(
                "--resume, --redraw, --force: expected one of them, got several; choose"
            )
        for seed in self.all_seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"--seed: expected 0 to 2**32 - 1, got {seed}; choose another")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds: expected different seeds, got {self.seeds}; drop doubles")

    def above_zero(self, *names: str) -> None:
        """Refuses options that are not.

        Raises:
          ValueError: naming the option.
        """
        for name in names:
            if not (value := getattr(self, name)) > 0:
                option = name.replace("_", "-")
                raise ValueError(f"--{option}: expected a number above zero, got {value}; raise it")

    def between(self, name: str, low: int, high: int) -> None:
        """Refuses an option that is not in this range.

        Raises:
          ValueError: naming the option.
        """
        if not low <= (value := getattr(self, name)) <= high:
            raise ValueError(f"--{name}: expected {low} to {high}, got {value}; choose another")

    def each_once(self, name: str) -> None:
        """Refuses an empty list, and one that names something twice.

        Raises:
          ValueError: naming the option.
        """
        if not (values := getattr(self, name)) or len(set(values)) < len(values):
            raise ValueError(f"--{name}: expected each name once, got {values}; drop doubles")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds to run."""
        repeats = 1 if self.quick else self.REPEATS
        return self.seeds or tuple(range(self.seed, self.seed + repeats))

    def config(self, experiment: str) -> dict[str, Any]:
        """What the results depend on."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            "schema": SCHEMA,
            "experiment": experiment,
            "seeds": list(self.all_seeds),
            **{n: value for n, value in own.items() if n == "quick" or n not in APART},
        }


class Column(NamedTuple):
    """A number to show of every row.

    Attributes:
      name: its name in the rows.
      header: what stands above it, units included; lines left empty at its top are those
        of the column to the left.
      form: format specification.
    """

    name: str
    header: str
    form: str


class Result(NamedTuple):
    """What an experiment found.

    Attributes:
      finding: in words.
      rows: for each row of the table, one mapping per seed of names to numbers.
      baselines: for each naive method, its numbers.
      columns: what to print.
      borne_out: whether these numbers bear the claim out.
      shown: what the figure and the page's widget are made from.
      data: what it was found on, None for synthetic tasks.
      extra: what else the page's text needs, as JSON can hold it.
    """

    finding: str
    rows: dict[str, Sequence[Mapping[str, float]]]
    baselines: dict[str, Mapping[str, float]]
    columns: Sequence[Column]
    borne_out: bool
    shown: Any
    data: Provenance | None = None
    extra: Mapping[str, Any] = {}


def names() -> list[str]:
    """Every experiment there is."""
    return sorted(file.parent.name for file in Path(__file__).parents[1].glob("*/options.py"))


def module(name: str, part: str) -> ModuleType:
    """One of an experiment's four modules."""
    return importlib.import_module(f"experiments.{name}.{part}")


def about(name: str) -> Description:
    """What an experiment's docstring says, read without running anything."""
    return describe(name, Path(__file__).parents[1] / name / "options.py")


def key(seed: int, purpose: str) -> "jax.Array":
    """One key per purpose, so that a new use of chance changes no other."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def main(package: str) -> NoReturn:
    """The command line of an experiment; does not return.

    Its options are read before jax is imported, so that `--help` and mistakes are answered at
    once.

    Args:
      package: of the experiment, `experiments.NAME`.
    """
    command(partial(_main, package.rpartition(".")[2]))


def _main(name: str) -> int:
    began = time.perf_counter()
    told = module(name, "options")
    options_type: type[Options] = told.Options
    smaller = options_type.QUICK if "--quick" in sys.argv[1:] else {}
    options = parse(
        options_type,
        prog=f"python -m experiments.{name}",
        description=told.__doc__,
        default=options_type(out=Path("results") / name, **smaller),
    )
    if options.quick:
        # Almost all of a small run is compilation; read when jax starts.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"
    config = options.config(name)
    out = Output(
        options.out, name, config,
        resume=options.resume or options.redraw, force=options.force, redraw=options.redraw,
    )  # fmt: skip
    say(f"{name}: results go to {options.out}")
    try:
        experiment = module(name, "experiment")
        from rnnjax.training import NonFiniteError

        try:
            result = experiment.run(options, out)
        except NonFiniteError as error:
            say(f"error: diverged where it should not: {error}")
            return DIVERGED
        out.figure(module(name, "figure").panels(result.shown))
        if (data := module(name, "section").SECTION.data) is not None:
            out.write_json("lesson.json", data(result.shown), indent=None)
        _report(options, out, result, began)
    except KeyboardInterrupt:
        say(f"interrupted; what is finished stays in {options.out}, go on with --resume")
        raise
    return DONE


def _report(options: Options, out: Output, result: Result, began: float) -> None:
    import jax

    device = jax.devices()[0]
    found = {
        **options.config(out.experiment),
        "claim": about(out.experiment).claim,
        "borne_out": bool(result.borne_out),
        "finding": result.finding,
        "columns": [column._asdict() for column in result.columns],
        "results": {row: _over_seeds(seeds) for row, seeds in result.rows.items()},
        "baselines": result.baselines,
        "extra": result.extra,
        "data": None if result.data is None else result.data._asdict(),
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": versions("rnnjax", "jax", "jaxlib", "optax", "numpy"),
        "wall_seconds": round(time.perf_counter() - began, 2),
        "parts": out.parts,
    }
    out.write_json("result.json", found)
    with printing():
        if options.json:
            print_json(found)
        else:
            print_table(*table(found))
            print(result.finding)
            if not result.borne_out:
                print("This run does not bear the claim out.")
    say(f"written to {out.folder}")


def _over_seeds(seeds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Every seed's numbers, their mean, and from two seeds on their deviation."""
    columns = {name: [float(seed[name]) for seed in seeds] for name in seeds[0]}
    found: dict[str, Any] = {
        "each": [dict(seed) for seed in seeds],
        "mean": {name: statistics.fmean(values) for name, values in columns.items()},
    }
    if len(seeds) > 1:
        found["deviation"] = {name: _deviation(values) for name, values in columns.items()}
    return found


def _deviation(values: list[float]) -> float:
    """Of a sample; not a number where a value is infinite."""
    mean = statistics.fmean(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The headers and rows of what `result.json` holds; the baselines come last.

    A number has its deviation beside it where there are several seeds; where JSON holds null
    for it, the cell says "not finite".
    """
    columns = [Column(**column) for column in found["columns"]]
    rows = found["results"] | {name: {"mean": x} for name, x in found["baselines"].items()}
    return ["", *(column.header for column in columns)], [
        [row, *(_cell(numbers, column) for column in columns)] for row, numbers in rows.items()
    ]


def _cell(numbers: Mapping[str, Any], column: Column) -> str:
    """Empty where the row has no such number."""
    if column.name not in numbers["mean"]:
        return ""
    values = [numbers[kind][column.name] for kind in ("mean", "deviation") if kind in numbers]
    if values[0] is None:
        return "not finite"
    return " ± ".join(format(value, column.form) for value in values)
