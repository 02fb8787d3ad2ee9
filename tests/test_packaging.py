"""What is shipped: what importing it brings along, and that it works without a checkout."""

import importlib
import os
import pkgutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import ROOT

import rnnjax

# Of the wheel's venv or the checkout's, never what a variable points to.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: object, cwd: Path, env: dict[str, str] = CLEAN) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


IMPORTS = """
import sys
import chex, jax, optax
before = set(sys.modules)
import rnnjax
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_importing_it_brings_nothing_but_what_it_needs():
    """No flax, matplotlib or torch: half a second is all that `import rnnjax` may cost."""
    imported = set(run(sys.executable, "-c", IMPORTS, cwd=ROOT, env=dict(os.environ)).split())
    assert imported - sys.stdlib_module_names <= {"rnnjax", "jax", "jaxlib", "numpy"}


def test_no_name_hides_a_module():
    """`import rnnjax.folds as f` gives the module, whatever functions there are."""
    for found in pkgutil.walk_packages(rnnjax.__path__, "rnnjax."):
        parent, _, name = found.name.rpartition(".")
        if not missing_for(found.name):
            module = importlib.import_module(found.name)
            assert getattr(importlib.import_module(parent), name) is module


def missing_for(name: str) -> bool:
    """Whether a module is about a library that is not installed."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return not str(error.name).startswith("rnnjax")
    return False


def test_the_version_is_that_of_the_distribution():
    assert rnnjax.__version__ == version("rnnjax")


def test_jax_for_an_accelerator_is_an_extra_that_make_installs(tmp_path):
    """Beside the stamp of the same install for the CPU, never in its place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    offered = metadata("jax").get_all("Provides-Extra")
    for extra, of_jax in {"cuda": "cuda13", "tpu": "tpu"}.items():
        (needs,) = project["optional-dependencies"][extra]
        assert needs.startswith(f"jax[{of_jax}]>=") and of_jax in offered
        for target, own in {"bench": "benchmarks", "demo": "experiments"}.items():
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin/pip").touch()
            (tmp_path / f".installed-{own}").touch()
            make = ("make", "--dry-run", target, f"VENV={tmp_path}")
            assert "pip install" not in run(*make, cwd=ROOT)
            assert f"--editable '.[{own},{extra}]'" in run(*make, f"EXTRA={extra}", cwd=ROOT)


class Built(NamedTuple):
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    to = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", to, ROOT, cwd=to)
    (sdist,), (wheel,) = to.glob("*.tar.gz"), to.glob("*.whl")
    return Built(sdist, wheel)


@pytest.mark.slow
def test_the_wheel_holds_the_library_alone(built):
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    library = {name for name in names if ".dist-info/" not in name}
    expected = {p.relative_to(ROOT).as_posix() for p in (ROOT / "rnnjax").rglob("*.py")}
    assert library == expected | {"rnnjax/py.typed"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_an_installed_wheel_passes_the_tests_of_the_source_archive(built, tmp_path):
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (outside,) = tmp_path.iterdir()
    shipped = {path.name for path in outside.iterdir()}
    assert shipped >= {
        "tests", "benchmarks", "experiments", "docs", "Makefile", "README.md", "LICENSE",
        "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml",
    }  # fmt: skip
    (outside / "rnnjax").rename(tmp_path / "not imported")

    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
        "--no-deps", built.wheel, cwd=outside,
    )  # fmt: skip
    site = Path(
        run(python, "-c", "import site; print(*site.getsitepackages())", cwd=outside).strip()
    )
    # Its needs are those of these tests; a .pth within is not read, so an editable rnnjax is not.
    (site / "needs.pth").write_text(sysconfig.get_path("purelib"))

    found = run(python, "-c", "import rnnjax; print(rnnjax.__file__)", cwd=outside).strip()
    assert Path(found) == site / "rnnjax/__init__.py"
    run(
        python, "-m", "pytest", "-n0", "-p", "no:cacheprovider",
        "tests/test_initializers.py", "tests/test_wrappers.py", cwd=outside,
    )  # fmt: skip
