"""The page on the architecture and CONTRIBUTING.md say what is: imports, tests, files."""

import ast
import re
from pathlib import Path

import pytest
from pages import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# A module or a package of rnnjax a row; it imports only what stands below.
MODULES = re.findall(
    r"^\| `(\w+)` \|", PAGE.partition("\n## The modules\n")[2].partition("\n## ")[0], flags=re.M
)


def named(file: Path) -> str:
    """A module as it is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {
    named(file): file
    for folder in ("rnnjax", "experiments", "benchmarks")
    for file in sorted((ROOT / folder).rglob("*.py"))
}


def imported(file: Path) -> set[str]:
    """What a file imports, anywhere in it: of this project modules, else what stands there."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write relative imports out"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else str(node.module) for name in inside}
    return found


def files_of(part: str) -> dict[str, Path]:
    """The files of a module or a package."""
    return {n: f for n, f in FILES.items() if n == part or n.startswith(f"{part}.")}


def parts_imported(file: Path) -> set[str]:
    """The rows of the table that a file imports."""
    return {f"{name}.".split(".")[1] for name in imported(file) if re.match(r"rnnjax\b", name)}


def test_every_module_has_one_row() -> None:
    own = {name.split(".")[1] for name in files_of("rnnjax") if name != "rnnjax"}
    assert sorted(MODULES) == sorted(own)


@pytest.mark.parametrize("part", MODULES)
def test_a_module_imports_only_what_stands_below_it(part: str) -> None:
    below = set(MODULES[MODULES.index(part) + 1 :])
    for name, file in files_of(f"rnnjax.{part}").items():
        assert parts_imported(file) <= below | {part}, name


@pytest.mark.parametrize(
    ("part", "other"), [("cells", "folds"), ("folds", "cells"), ("diagnostics", "cells"),
                        ("layers", "diagnostics"), ("diagnostics", "layers")],
)  # fmt: skip
def test_choices_do_not_know_of_each_other(part: str, other: str) -> None:
    for name, file in files_of(f"rnnjax.{part}").items():
        assert other not in parts_imported(file), name


def test_no_cell_imports_another_and_no_diagnostic_a_fold() -> None:
    for part, of, shared in (("cells", "cells", "_dense"), ("diagnostics", "folds", "_sequence")):
        for name, file in files_of(f"rnnjax.{part}").items():
            inside = {other for other in imported(file) if other.startswith(f"rnnjax.{of}")}
            if name != f"rnnjax.{of}":
                assert inside <= {f"rnnjax.{of}.{shared}"}, name


def test_the_library_imports_nothing_that_is_built_on_it() -> None:
    above = {
        "rnnjax": {"experiments", "benchmarks"},
        "experiments": {"benchmarks"},
        "benchmarks": set(),
    }
    tests = {file.stem for file in (ROOT / "tests").rglob("*.py")} | {"tests"}
    for part, others in above.items():
        for name, file in files_of(part).items():
            roots = {other.partition(".")[0] for other in imported(file)}
            assert not roots & (others | tests), name


LAWS = [
    (file, test)
    for file, names in re.findall(r"`(tests/[\w/]+\.py)`:((?:[\s,]+`test_\w+`)+)", PAGE)
    for test in re.findall(r"`(test_\w+)`", names)
]


def test_the_page_names_every_test_with_its_file() -> None:
    assert len(LAWS) == len(re.findall(r"`test_\w+`", PAGE))


@pytest.mark.parametrize(("file", "test"), LAWS)
def test_a_law_is_held_where_the_page_says(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_what_contributors_are_sent_to_is_there() -> None:
    """Files, and tests by name; `name` stands for what is to be made."""
    paths = set(re.findall(r"`((?:\w+/)+[\w.]+)`", CONTRIBUTING + PAGE)) | set(
        re.findall(r"\]\(([\w./]+)\)", CONTRIBUTING)
    )
    absent = {
        path
        for path in paths
        if not re.search(r"\b_?(test_)?name\b", path)
        if not ((ROOT / path).exists() or (ROOT / "rnnjax" / path).exists())
    }
    assert absent <= {"results/benchmarks"}


def test_the_commands_for_contributors_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z][a-z-]*)\b", CONTRIBUTING)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
