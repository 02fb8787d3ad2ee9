"""The pages show only what runs; the reference leaves nothing out."""

import doctest
import importlib.util
import pkgutil
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from laws import FACTORIES
from pages import ROOT, Example, examples, execute, jax_as_it_comes

import rnnjax

PAGES = sorted((ROOT / "docs").glob("*.md"))
OPTIONAL = ("equinox", "h5py", "haiku", "keras", "safetensors", "torch")


def imported(code: str) -> list[str]:
    """Of the libraries that may be absent, those that a text imports."""
    return [
        name
        for name in OPTIONAL
        if re.search(rf"^ *(from {name}\b|import (.*, )?{name}\b)", code, flags=re.M)
    ]


def skip_without(libraries: list[str]) -> None:
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


def runs() -> list[tuple[str, list[str], list[Example]]]:
    """What is run in one go: a name, what it needs, its examples.

    A page runs from top to bottom, but for the sections that need another library: each
    of those stands by itself.
    """
    found = []
    for page in PAGES:
        name, common = page.stem, []
        for section in re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.M):
            blocks = examples(section)
            if needs := imported("".join(block.code for block in blocks)):
                heading = section.partition("\n")[0].removeprefix("## ")
                found.append((f"{name}: {heading}", needs, blocks))
            else:
                common += blocks
        if common:
            found.append((name, [], common))
    return found


QUICK = {"sequences"}
RUNS = [
    pytest.param(*one, id=one[0], marks=[] if one[0] in QUICK else [pytest.mark.slow])
    for one in runs()
]


@pytest.mark.parametrize(("name", "needs", "blocks"), RUNS)
def test_examples_run_and_print_what_the_page_says(name, needs, blocks, tmp_path, monkeypatch):
    skip_without(needs)
    monkeypatch.chdir(tmp_path)  # where an example writes its files
    execute(blocks, name)


SOURCES = {
    found.name: Path(importlib.util.find_spec(found.name).origin).read_text(encoding="utf-8")
    for found in pkgutil.walk_packages(rnnjax.__path__, "rnnjax.")
}


@pytest.mark.parametrize(
    "name",
    [
        # Those of other libraries load and compile what these bring.
        pytest.param(name, marks=pytest.mark.slow if "interop" in name else ())
        for name, text in SOURCES.items()
        if ">>> " in text
    ],
)
def test_docstrings_show_only_what_runs(name):
    skip_without(imported(SOURCES[name].replace(">>> ", "")))
    names = {"jax": jax, "jnp": jnp, "rnnjax": rnnjax, "loss": lambda params, batch: 0.0}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    with jax_as_it_comes():
        for test in finder.find(importlib.import_module(name), name, extraglobs=names):
            runner.run(test)
    assert runner.tries
    assert not runner.failures


@pytest.mark.parametrize("module", [rnnjax, rnnjax.cells, rnnjax.folds, rnnjax.initializers])
def test_the_reference_leaves_no_public_name_out(module):
    """It lists these by hand, and takes the others whole."""
    reference = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs/api").glob("*.md"))
    told = set(re.findall(r"rnnjax[\w.]*", reference))
    assert {f"{module.__name__}.{name}" for name in module.__all__} <= told


@pytest.mark.parametrize("make", FACTORIES)
def test_the_page_on_cells_leaves_none_out(make):
    page = (ROOT / "docs/cells.md").read_text(encoding="utf-8")
    assert f"\n| `{make.__name__}` |" in page, "give it a row in the table of docs/cells.md"


WHOLE = re.findall(
    r"automodule:: (\S+)\n   :members:",
    "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs/api").glob("*.md")),
)


@pytest.mark.parametrize("name", WHOLE)
def test_what_the_reference_takes_whole_says_what_it_offers(name):
    skip_without(imported(SOURCES[name]))
    module = importlib.import_module(name)
    assert all(getattr(module, own).__module__ == name for own in module.__all__)
