"""Builds the page: one file, whole in itself."""

import importlib
import itertools
import json
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from experiments.lab.files import read_json, strict
from experiments.lab.harness import table
from experiments.lab.panels import svg
from experiments.page import blocks
from experiments.page.contents import CONTENTS
from experiments.page.runs import Experiment, Standing, command
from experiments.page.section import Exercise, Found, Section

HERE = Path(__file__).parent


class Shown(NamedTuple):
    """One section, ready for the template.

    Attributes:
      name: of the experiment or of the page's own module; its anchor.
      title: above it.
      missing: why there is nothing to show, or nothing.
      remedy: the command that mends it.
      body: its blocks.
      claim: of an experiment.
      borne_out: whether the run bears it out.
      headers: of the table, the first that of the rows.
      rows: of the table.
      command: that computes it.
      about: of the run: time, device, data, seeds.
      exercises: for the reader.
    """

    name: str
    title: str
    missing: str = ""
    remedy: str = ""
    body: Markup = Markup()
    claim: str = ""
    borne_out: bool = True
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    command: str = ""
    about: str = ""
    exercises: Sequence[Exercise] = ()


class Page(NamedTuple):
    """What the sections share.

    Attributes:
      data: each experiment's `lesson.json`, as text.
      remedies: by experiment, the command that makes such a file anew where it cannot be read.
      numbers: of the figures from here on.
    """

    data: Mapping[str, str]
    remedies: Mapping[str, str]
    numbers: Iterator[int]


class NotDrawnError(Exception):
    """A panel is not in the folder of its run."""


def page(
    experiments: Sequence[Experiment], found: Mapping[str, Standing], folder: Path
) -> tuple[str, list[str]]:
    """The page, and the names of the sections that have nothing to show, or nothing to try.

    Args:
      experiments: all that have a section.
      found: what there is of each run, by name.
      folder: under which each has its results.
    """
    known = {experiment.name: experiment for experiment in experiments}
    data, remedies = {}, {}
    for name, experiment in known.items():
        result, section = found[name].result, experiment.section
        if result is None or section is None or section.data is None:
            continue
        if text := _lesson_data(folder / name):
            data[name] = text
        else:
            remedies[name] = shlex.join(command(experiment, folder / name, result, "--redraw"))
    whole = Page(data, remedies, itertools.count(1))
    parts = {
        part: [
            of_experiment(known[name], found[name], folder / name, whole)
            if name in known
            else of_page(name, whole)
            for name in names
        ]
        for part, names in CONTENTS.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    scripts = [file.stem for file in sorted(HERE.glob("*.js")) if file.stem not in _ENDS]
    text = environment.get_template("page.html").render(
        parts={part: sections for part, sections in parts.items() if sections},
        style=blocks.palette() + "\n" + Markup(_asset("page.css")),
        script=Markup("\n".join(_asset(f"{name}.js") for name in [_ENDS[0], *scripts, _ENDS[1]])),
        data=data,
        quick=any(there.result["quick"] for there in found.values() if there.result is not None),
    )
    every = (shown for part in parts.values() for shown in part)
    return text, [shown.name for shown in every if shown.missing or shown.name in remedies]


_ENDS = ("page", "start")  # the first and the last script


def of_experiment(experiment: Experiment, there: Standing, folder: Path, whole: Page) -> Shown:
    """The section of an experiment, which says so where there is none of its numbers."""
    name, section, result = experiment.name, experiment.section, there.result
    head = {"name": name, "title": section.title if section else name}
    head["claim"] = experiment.about.claim
    if result is None or section is None:
        return Shown(
            **head,
            missing=there.note or f"{name}: not run yet",
            remedy=there.remedy or f"python -m experiments lesson --only {name}",
        )

    def panel(part: str) -> str:
        file = folder / "panels" / f"{part}.svg"
        try:
            drawn = file.read_text(encoding="utf-8")
            drawn.index("<svg")
        except (OSError, ValueError) as error:
            raise NotDrawnError(f"expected a figure in {file}, got {error}") from error
        return drawn

    try:
        return Shown(
            **head,
            **_body(name, section, result, panel, whole),
            borne_out=result["borne_out"],
            command=shlex.join(command(experiment, folder, result)),
            about=_about(result),
        )
    except Exception as error:  # results of other options may lack what the text speaks of
        flag = "--redraw" if isinstance(error, NotDrawnError) else "--force"
        why = f"{name}: the results cannot be shown, {type(error).__name__}: {error}"
        again = shlex.join(command(experiment, folder, result, flag))
        return Shown(**head, missing=why, remedy=again)


def _about(result: Found) -> str:
    """The time a run took, its device, its data and its seeds."""
    # What an interrupted run had finished took its time as well.
    before = sum(part["seconds"] for part in result["parts"].values() if part["from_before"])
    about = [
        f"{_duration(before + result['wall_seconds'])} on {result['device']['kind']}",
        f"seed{'s' * (len(result['seeds']) > 1)} {', '.join(map(str, result['seeds']))}",
    ]
    if result["quick"]:
        about.append("a smaller run, with --quick")
    if result["data"]:
        about.append(f"{result['data']['name']} ({result['data']['licence']})")
    return "; ".join(about)


def of_page(name: str, whole: Page) -> Shown:
    """A section of the page's own, computed now."""
    title, again = name, "python -m experiments lesson"
    try:
        module = own_section(name)
        title = module.SECTION.title
        found = module.measure()
        panels = module.panels(found) if hasattr(module, "panels") else {}
        body = _body(
            name, module.SECTION, found, lambda part: svg(panels[part], part).decode(), whole
        )
    except Exception as error:  # a broken file, or data that are missing
        why = f"{name}: {type(error).__name__}: {error}"
        return Shown(name, title, missing=why, remedy=again)
    return Shown(name, title, **body, command=again)


def own_section(name: str) -> ModuleType:
    """One of them."""
    return importlib.import_module(f"experiments.page.sections.{name}")


def _body(
    name: str, section: Section, found: Found, panel: Callable[[str], str], whole: Page
) -> dict[str, Any]:
    place = blocks.Place(name, section.title, panel, whole.data, whole.numbers, whole.remedies)
    headers, rows = table(strict(found)) if found["columns"] else ([], [])
    return {
        "body": blocks.html(section.body(found), place),
        "headers": whole_headers(headers),
        "rows": rows,
        "exercises": [_exercise(exercise) for exercise in section.exercises(found)],
    }


def _exercise(exercise: Exercise) -> Exercise:
    """With its texts as HTML.

    Raises:
      ValueError: no reader can find its number.
    """
    for label, number in exercise.numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"exercise: expected a finite number for {label}, got {number}")
    return exercise._replace(
        question=blocks.text(exercise.question), answer=blocks.text(exercise.answer)
    )


def whole_headers(headers: Iterable[str]) -> list[str]:
    """Headers in one line, each with what it has in common with the column to its left."""
    whole: list[list[str]] = []
    for header in headers:
        lines = header.split("\n")
        above = next((row for row, line in enumerate(lines) if line), 0)
        whole.append((whole[-1][:above] if above else []) + lines[above:])
    return [" ".join(filter(None, lines)) for lines in whole]


LARGEST_DATA = 2_000_000  # bytes of a `lesson.json` that the page takes in


def _lesson_data(folder: Path) -> str:
    """What a run wrote for its widget, so that no text in it can end the script; or nothing."""
    file = folder / "lesson.json"
    data = read_json(file)
    if data is None or file.stat().st_size > LARGEST_DATA:
        return ""
    try:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):  # Python reads what is no JSON, and halves of characters
        return ""
    return text.replace("<", "\\u003c")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
