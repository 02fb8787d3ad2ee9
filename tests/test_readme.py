"""The README shows only what runs."""

import importlib
import json
import re
import subprocess

import jax
import pytest
from pages import ROOT, examples, execute, jax_as_it_comes

from benchmarks.report import markdown

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_runs_in_the_order_it_stands():
    namespace, printed = execute(examples(README), "README.md")
    assert printed.count("verdict") == 2
    assert "(100, 16, 32)" in printed
    assert namespace["result"].losses[-1] < 0.5 * namespace["result"].losses[0]
    loss, params, test = (namespace[name] for name in ("loss", "params", "test"))
    with jax_as_it_comes():
        kept, dropped = (loss(params, (*test, key)) for key in (None, jax.random.key(0)))
    assert kept < 0.5
    assert dropped != kept


def test_the_first_example_is_about_twenty_lines():
    lines = [line for line in examples(README)[0].code.splitlines() if line.strip()]
    assert len(lines) <= 20


def test_the_commands_are_there():
    targets = re.findall(r"make (\w[\w-]*)", README)
    assert {"demo", "test", "lint"} <= set(targets)
    for target in set(targets) - {"demo"}:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


RUNS = sorted((ROOT / "docs/benchmarks").rglob("*.json"))


@pytest.mark.parametrize("file", RUNS, ids=[str(file.relative_to(ROOT)) for file in RUNS])
def test_tables_are_those_of_the_runs_beside_them(file):
    """And so are the device, the versions and the findings."""
    page = README + (ROOT / "docs/benchmarks/README.md").read_text(encoding="utf-8")
    run = json.loads(file.read_text(encoding="utf-8"))
    report = importlib.import_module(f"benchmarks.{file.stem}").report(run["rows"])
    assert run["complete"]
    assert not run["quick"]
    assert markdown(report) in page
    device = "processor" if run["device"]["platform"] == "cpu" else "kind"
    for told in (run["device"][device], f"JAX {run['versions']['jax']}"):
        assert told in page
    for finding in report.findings:
        assert f"- {finding}\n" in page


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+)\)", README))
def test_what_it_links_to_is_there(path):
    assert (ROOT / path).exists()
