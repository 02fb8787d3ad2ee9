"""Builds the page: one file, whole in itself."""

import importlib
import inspect
import io
import json
import keyword
import pkgutil
import re
import shlex
import textwrap
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from experiments.lab.files import read_json, rendered, strict
from experiments.lab.harness import table
from experiments.page import sections
from experiments.page.runs import Experiment, Standing, command
from experiments.page.section import Exercise, Found, Section

HERE = Path(__file__).parent
# Widgets of the page's own sections read what an experiment wrote.
SOURCES = {"shannon": "characters"}


class Shown(NamedTuple):
    """One section, ready for the template.

    Attributes:
      name: of the experiment or of the page's own file; its anchor.
      title: above it.
      paragraphs: its text.
      missing: why there is nothing to show, and the command that mends it, or nothing.
      remedy: that command.
      claim: of an experiment.
      borne_out: whether the run bears it out.
      figure: SVG.
      caption: below it.
      headers: of the table, the first that of the rows.
      rows: of the table.
      command: that makes it.
      about: of the run: time, device, data, seeds.
      code: source, as HTML.
      exercise: for the reader.
      widget: the name of the interactive element.
      data: the id of the data it reads.
    """

    name: str
    title: str
    paragraphs: Sequence[Markup] = ()
    missing: str = ""
    remedy: str = ""
    claim: str = ""
    borne_out: bool = True
    figure: Markup = Markup()
    caption: str = ""
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    command: str = ""
    about: str = ""
    code: Markup = Markup()
    exercise: Exercise | None = None
    widget: str = ""
    data: str = ""


def page(
    experiments: Sequence[Experiment], found: Mapping[str, Standing], folder: Path
) -> tuple[str, list[str]]:
    """The page, and the names of the sections that have nothing to show.

    Args:
      experiments: all that have a section.
      found: what there is of each run, by name.
      folder: under which each has its results.
    """
    results = {name: there.result for name, there in found.items() if there.result is not None}
    shown = [
        (experiment.module.SECTION.place if experiment.module else float("inf"),
         of_experiment(experiment, found[experiment.name], folder / experiment.name))
        for experiment in experiments
    ]  # fmt: skip
    shown += [(module.SECTION.place, of_page(module, set(results))) for module in own_sections()]
    ordered = [section for _, section in sorted(shown, key=lambda pair: pair[0])]
    widgets = list(dict.fromkeys(section.widget for section in ordered if section.widget))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["ticks"] = ticks
    text = environment.get_template("page.html").render(
        sections=ordered,
        style=Markup(_asset("page.css")),
        script=Markup("\n".join(_asset(f"{name}.js") for name in ["page", *widgets, "start"])),
        data={name: data for name in results if (data := _lesson_data(folder / name))},
        quick=any(result["quick"] for result in results.values()),
    )
    return text, [section.name for section in ordered if section.missing]


def of_experiment(experiment: Experiment, there: Standing, folder: Path) -> Shown:
    """The section of an experiment, which says so where there is none of its numbers."""
    name, module, result = experiment.name, experiment.module, there.result
    section = module.SECTION if module else None
    head = {"name": name, "title": section.title if section else name}
    head["claim"] = experiment.about.claim
    if result is None:
        return Shown(
            **head,
            missing=there.note or f"{name}: not run yet",
            remedy=there.remedy or f"python -m experiments lesson --only {name}",
        )
    try:
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        body = _body(name, section, result, svg)
    except Exception as error:  # results of other options may lack what the text speaks of
        again = shlex.join(command(module, folder, result, "--force"))
        why = f"{name}: the results cannot be shown, {type(error).__name__}: {error}"
        return Shown(**head, missing=why, remedy=again)
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
    data = f"data-{name}" if section.widget and _lesson_data(folder) else ""
    return Shown(
        **head,
        **body,
        borne_out=result["borne_out"],
        caption=result["finding"],
        command=shlex.join(command(module, folder, result)),
        about="; ".join(about),
        widget=section.widget if data else "",
        data=data,
    )


def of_page(module: Any, finished: set[str]) -> Shown:
    """A section of the page's own, computed now."""
    name, section = module.__name__.rpartition(".")[2], module.SECTION
    head = {"name": name, "title": section.title}
    try:
        found = module.measure()
        figure = module.draw(found) if hasattr(module, "draw") else ""
        if isinstance(figure, Figure):
            figure = rendered(figure, name)[f"{name}.svg"].decode()
        body = _body(name, section, found, figure)
    except Exception as error:
        return Shown(**head, missing=f"{name}: {error}", remedy="python -m experiments lesson")
    source = SOURCES.get(section.widget, "")
    return Shown(
        **head, **body, command="python -m experiments lesson", widget=section.widget,
        data=f"data-{source}" if source in finished else "",
    )  # fmt: skip


def own_sections() -> list[Any]:
    """The modules in `sections/`."""
    return [
        importlib.import_module(f"{sections.__name__}.{found.name}")
        for found in pkgutil.iter_modules(sections.__path__)
    ]


def _body(name: str, section: Section, found: Found, svg: str) -> dict[str, Any]:
    headers, rows = table(strict(found)) if found["columns"] else ([], [])
    sources = [textwrap.dedent(inspect.getsource(function)) for function in section.code]
    return {
        "paragraphs": [ticks(paragraph) for paragraph in section.text(found)],
        "figure": inline(svg, name, section.alt(found)) if svg else Markup(),
        "headers": whole_headers(headers),
        "rows": rows,
        "code": highlighted("\n\n".join(sources)),
        "exercise": section.exercise,
    }


def ticks(text: str) -> Markup:
    """Plain text as HTML, with what stands between `ticks` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def highlighted(source: str) -> Markup:
    """Python as HTML, its comments, strings and keywords marked."""
    ends = [0]
    for line in source.splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    pieces, at = [Markup()], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = {tokenize.COMMENT: "comment", tokenize.STRING: "string"}.get(token.type)
        if keyword.iskeyword(token.string):
            kind = "keyword"
        if kind:
            start, end = (ends[row - 1] + column for row, column in (token.start, token.end))
            pieces += [escape(source[at:start])]
            pieces += [Markup('<span class="{}">{}</span>').format(kind, source[start:end])]
            at = end
    return Markup().join([*pieces, escape(source[at:].rstrip())])


def whole_headers(headers: Iterable[str]) -> list[str]:
    """Headers in one line, each with what it has in common with the column to its left."""
    whole: list[list[str]] = []
    for header in headers:
        lines = header.split("\n")
        above = next((row for row, line in enumerate(lines) if line), 0)
        whole.append((whole[-1][:above] if above else []) + lines[above:])
    return [" ".join(filter(None, lines)) for lines in whole]


def inline(svg: str, name: str, alt: str) -> Markup:
    """An SVG as part of the page: its ids its own, nothing fetched, with words for who cannot see.

    Args:
      svg: as matplotlib or a section wrote it.
      name: of the section, set before every id.
      alt: the figure in words.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'((?:xlink:)?href=")#', rf"\1#{name}-", svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    # Matplotlib's style for all elements is meant for its own.
    svg = svg.replace('<style type="text/css">*{', f'<style type="text/css">#{name}-svg *{{')
    root, _, rest = svg.partition(">")
    root = re.sub(r'\s(?:width|height|version)="[^"]*"', "", root)
    return Markup(f'{root} id="{name}-svg" role="img" aria-label="{escape(alt)}">{rest}')


def _lesson_data(folder: Path) -> str:
    """What a run wrote for its widget, so that no text in it can end the script; or nothing."""
    data = read_json(folder / "lesson.json")
    if data is None:
        return ""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
