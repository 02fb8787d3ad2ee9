"""Reports a benchmark's rows: a table, findings and their targets, a figure, JSON."""

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.lab.command_line import print_table
from experiments.lab.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
SCHEMA = 1


class Finding(NamedTuple):
    """A number that sums up many rows.

    Attributes:
      what: its name, units included.
      value: the number.
      where: the point at which it occurs, empty if it is over all of them.
      at_least: the target from below; None without one.
      at_most: the target from above; None without one.
    """

    what: str
    value: float
    where: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether it meets its targets."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.value <= high

    def __str__(self) -> str:
        """One line."""
        text = f"{self.what}: {self.value:.3g}" + (f" ({self.where})" if self.where else "")
        for words, target in (("at least", self.at_least), ("at most", self.at_most)):
            if target is not None:
                text += f"; target {words} {target:g}, {'met' if self.met else 'missed'}"
        return text


class Report(NamedTuple):
    """A summary of some rows.

    Attributes:
      headers: of the table's columns.
      lines: of the table.
      findings: over all rows.
      draw: draws the figure; None where a table is enough.
    """

    headers: Sequence[str]
    lines: Sequence[Sequence[str]]
    findings: Sequence[Finding]
    draw: "Callable[[Figure], None] | None" = None


def measured(rows: Iterable[Row]) -> list[Row]:
    """The rows of contenders that took part."""
    return [row for row in rows if "left_out" not in row]


def by_point(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """The rows of contenders that took part, by point and by contender."""
    found: dict[str, dict[str, Row]] = {}
    for row in measured(rows):
        found.setdefault(point(row), {})[row["contender"]] = row
    return found


def lowest(
    what: str, ratios: Mapping[str, float], *, at_least: float | None = None
) -> list[Finding]:
    """The point where a ratio is lowest; empty without ratios."""
    found = sorted(ratios.items(), key=itemgetter(1))[:1]
    return [Finding(f"{what}, lowest", v, place, at_least=at_least) for place, v in found]


def highest(
    what: str, ratios: Mapping[str, float], *, at_most: float | None = None
) -> list[Finding]:
    """The point where a ratio is highest; empty without ratios."""
    found = sorted(ratios.items(), key=itemgetter(1))[-1:]
    return [Finding(f"{what}, highest", v, place, at_most=at_most) for place, v in found]


def mean(what: str, ratios: Mapping[str, float], *, at_least: float | None = None) -> list[Finding]:
    """The geometric mean; empty without ratios."""
    logs = [math.log(value) for value in ratios.values()]
    if not logs:
        return []
    value = math.exp(sum(logs) / len(logs))
    return [Finding(f"{what}, geometric mean", value, at_least=at_least)]


def left_out(rows: Iterable[Row]) -> list[str]:
    """One line for each contender and reason: who did not take part, and why."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "left_out" in row:
            groups.setdefault((row["contender"], row["left_out"]), []).append(point(row))
    return [
        f"left out: {contender}, {reason} ({places[0]}"
        + (f" and {len(places) - 1} more)" if len(places) > 1 else ")")
        for (contender, reason), places in groups.items()
    ]


def point(row: Row) -> str:
    """The cell, its sizes, its loss and its layout, as far as the row has them."""
    sizes = " ".join(f"{name}={row[name]}" for name in "BTDHN" if name in row)
    parts = (row.get("cell"), sizes, row.get("loss"), row.get("layout"))
    return " ".join(part for part in parts if part)


def in_short(row: Row) -> str:
    """One line during the run: the medians, and what is a single number."""
    if "left_out" in row:
        return f"{point(row)} {row['contender']}: left out, {row['left_out']}"
    numbers = {n: v["median"] if isinstance(v, dict) else v for n, v in row.items() if len(n) > 1}
    told = [f"{n} {v:.4g}" for n, v in numbers.items() if isinstance(v, int | float)]
    return f"{point(row)} {row['contender']}: {', '.join(told)}"


def show(report: Report, rows: Sequence[Row]) -> None:
    """Prints the table and the findings."""
    print_table(report.headers, report.lines)
    for line in [*map(str, report.findings), *left_out(rows)]:
        print(line)


def markdown(report: Report) -> str:
    """The table for a README."""
    alignment = [":--", *["--:"] * (len(report.headers) - 1)]
    return "".join(
        f"| {' | '.join(cells)} |\n" for cells in (report.headers, alignment, *report.lines)
    )


def record(
    name: str, question: str, rows: Sequence[Row], report: Report, **more: Any
) -> dict[str, Any]:
    """A whole run for its JSON file: where it ran, every row, and the findings."""
    import jax

    device = jax.devices()[0]
    return {
        "schema": SCHEMA,
        "benchmark": name,
        "question": question,
        **more,
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "devices": jax.device_count(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "versions": versions(
            "rnnjax",
            "jax",
            "jaxlib",
            "flax",
            "dm-haiku",
            "equinox",
            "keras",
            "torch",
            "onnxruntime",
            "numpy",
        ),
        # Both affect the speed of every contender.
        "environment": {n: os.environ.get(n) for n in ("XLA_FLAGS", "GLIBC_TUNABLES")},
        "findings": [finding._asdict() | {"met": finding.met} for finding in report.findings],
        "left_out": left_out(rows),
        "rows": rows,
    }


def _processor() -> str:
    """Its name according to Linux, else to Python."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
