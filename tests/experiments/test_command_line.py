"""The real command line, as a subprocess: what it prints, writes, refuses and leaves alone."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.lab import harness
from experiments.lab.output import Output

ROOT = Path(__file__).parents[2]
NAME = "vanishing_gradients"
# The smallest run there is: one network, two steps.
TINY = ["--quick", "--cell", "tanh", "--window", "31", "--steps", "2", "--hidden", "4"]


def environment(**extra: str) -> dict[str, str]:
    """This one, without what the tests set up for themselves."""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    path = os.pathsep.join([extra.pop("PYTHONPATH", ""), str(ROOT)])
    return {**kept, "PYTHONPATH": path.lstrip(os.pathsep), "COLUMNS": "160", **extra}


def run(
    *words: str | Path, module: str = f"experiments.{NAME}", cwd: Path = ROOT,
    streams: Mapping[str, Any] = {}, **extra: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        text=True, cwd=cwd, env=environment(**extra), timeout=120,
    )  # fmt: skip


def strict(text: str) -> Any:
    """Parses JSON, refusing the NaN and Infinity that Python would let pass."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the standard output of a tiny run; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = run(*TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name, content in contents(finished[0]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_list_names_every_experiment() -> None:
    done = run(module="experiments")
    assert done.returncode == 0
    names = {file.parent.name for file in (ROOT / "experiments").glob("*/options.py")}
    assert NAME in names
    lines = done.stdout.splitlines()
    for name in names:
        claim, run_time = lines[lines.index(name) + 1 : lines.index(name) + 3]
        assert len(claim.strip()) > 20
        assert "--quick" in run_time


def test_unknown_name_lists_the_names() -> None:
    done = run("vanishing", module="experiments")
    assert done.returncode == 2
    assert "NAME: expected lesson or one of " in done.stderr
    assert "got vanishing;" in done.stderr


def test_list_runs_by_name() -> None:
    assert run(NAME, "--help", module="experiments").stdout == run("--help").stdout


def test_the_options_of_every_experiment_come_before_jax() -> None:
    modules = ", ".join(f"experiments.{name}.options" for name in harness.names())
    code = (
        f"import sys, {modules}\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment())


def test_what_a_student_reads_is_short() -> None:
    for name in harness.names():
        lines = (ROOT / "experiments" / name / "experiment.py").read_text().splitlines()
        assert len(lines) <= 300, name


def test_help_comes_before_jax() -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['experiments.{NAME}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('experiments.{NAME}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.returncode == 0, done.stderr
    for expected in (
        "Claim:",
        "Source:",
        "Run time:",
        f"python -m experiments.{NAME}\n",
        f"python -m experiments.{NAME} --cell gru --seeds 0,1,2 --out results/gru",
        "--resume",
    ):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "elephant"], "invalid choice 'elephant'"),
        (["--cell"], "--cell: expected each name once, got ()"),
        (["--seed", "-1"], "--seed: expected 0 to 2**32 - 1, got -1"),
        (["--seeds", "1,x"], "--seeds"),
        (["--seeds", "1,1"], "--seeds: expected different seeds"),
        (["--window", "30"], "--window: expected 31 to 365 days, got 30"),
        (["--steps", "0"], "--steps: expected a number above zero, got 0"),
        (["--resume", "--force"], "--resume, --redraw, --force: expected one of them, got several"),
        (["--redraw"], "--redraw: expected a run of"),
        (["--bogus"], "--bogus"),
    ],
)
def test_usage_errors(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(*words, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_writes_everything_whole(finished: tuple[Path, str]) -> None:
    folder, stdout = finished
    names = set(contents(folder))
    assert {"config.json", "metrics.jsonl", "result.json", f"{NAME}.svg", f"{NAME}.png"} <= names
    assert {"lesson.json"} < names and [name for name in names if name.startswith("panels/")]
    assert not [name for name in names if name.endswith(".tmp")]

    config = strict((folder / "config.json").read_text())
    assert (config["experiment"], config["seeds"], config["steps"]) == (NAME, [0], 2)
    result = strict((folder / "result.json").read_text())
    assert result["schema"] == 3
    assert result["borne_out"] is False  # of tanh alone, nothing is shown
    assert [column["name"] for column in result["columns"]][:2] == [
        "horizon_before", "horizon_tomorrow",
    ]  # fmt: skip
    assert result["versions"]["jax"]
    assert result["device"]["platform"]
    assert len(result["data"]["sha256"]) == 64
    assert result["wall_seconds"] > 0
    assert result["quick"] is True
    assert result["results"]["tanh"]["mean"]["tomorrow"] > 0
    assert len(result["baselines"]) == 2
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        assert {"part", "step", "loss", "gradient_norm"} <= set(strict(line))

    assert (folder / f"{NAME}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    svg = xml.etree.ElementTree.parse(folder / f"{NAME}.svg").getroot()
    words = " ".join("".join(text.itertext()) for text in svg.iter() if text.tag.endswith("text"))
    assert "tanh (torch’s default)" in words or "tanh (torch's default)" in words
    assert "lag" in words

    for expected in ("tanh", *result["baselines"], result["finding"]):
        assert expected in stdout


@pytest.mark.slow
def test_same_seed_same_numbers_as_one_json_object(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    done = run(*TINY, "--json", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = strict(done.stdout)
    assert result == strict((tmp_path / "run" / "result.json").read_text())
    before = strict((finished[0] / "result.json").read_text())
    assert result["results"] == before["results"]
    assert result["baselines"] == before["baselines"]
    for name in ("metrics.jsonl", f"{NAME}.svg", f"{NAME}.png"):
        assert (tmp_path / "run" / name).read_bytes() == (finished[0] / name).read_bytes()


def test_a_folder_in_use_is_refused_and_left_alone(copy: Path) -> None:
    before = contents(copy)
    done = run(*TINY, "--out", copy)
    assert done.returncode == 2
    for expected in ("--out: expected a new or empty folder", str(copy), "--resume", "--force"):
        assert expected in done.stderr
    assert contents(copy) == before


def test_default_folder(tmp_path: Path) -> None:
    (tmp_path / "results" / NAME).mkdir(parents=True)
    (tmp_path / "results" / NAME / "mine.txt").write_text("mine")
    done = run(*TINY, cwd=tmp_path)
    assert done.returncode == 2
    assert f"got results/{NAME} with 1 entries" in done.stderr


@pytest.mark.slow
def test_resume_goes_on_with_what_is_not_finished(copy: Path) -> None:
    untouched = copy / "parts" / "tanh-seed0.npz"
    made = untouched.stat().st_mtime_ns
    # As if a run of seeds 0 and 1 had been stopped after seed 0.
    config = strict((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "seeds": [0, 1]}))
    (copy / "result.json").unlink()
    done = run(*TINY, "--seeds", "0,1", "--out", copy, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert untouched.stat().st_mtime_ns == made
    result = strict(done.stdout)
    assert result["parts"]["tanh-seed0"]["from_before"] is True
    assert result["parts"]["tanh-seed1"]["from_before"] is False
    found = result["results"]["tanh"]
    each = [seed["tomorrow"] for seed in found["each"]]
    assert found["mean"]["tomorrow"] == pytest.approx(sum(each) / 2)
    assert found["deviation"]["tomorrow"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    parts = {strict(line)["part"] for line in (copy / "metrics.jsonl").read_text().splitlines()}
    assert parts == {"tanh-seed0", "tanh-seed1"}


def test_redraw_trains_nothing(copy: Path) -> None:
    before = contents(copy)
    (copy / f"{NAME}.svg").write_text("spoilt")
    done = run(*TINY, "--out", copy, "--redraw")
    assert done.returncode == 0, done.stderr
    assert contents(copy)[f"{NAME}.svg"] == before[f"{NAME}.svg"]
    (copy / "parts" / "tanh-seed0.npz").unlink()
    before = contents(copy)
    done = run(*TINY, "--out", copy, "--redraw")
    assert done.returncode == 2
    told = f"--redraw: expected tanh-seed0 finished in {copy}, found it not; finish the run with"
    assert told in done.stderr
    assert contents(copy) == before


def test_resume_with_other_options_is_refused(copy: Path) -> None:
    before = contents(copy)
    done = run(*TINY, "--seed", "3", "--out", copy, "--resume")
    assert done.returncode == 2
    assert "--resume: expected the options of the run" in done.stderr
    assert "seeds [0] there, [3] now" in done.stderr
    assert contents(copy) == before


def test_resume_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = run(*TINY, "--out", tmp_path, "--resume")
    assert done.returncode == 2
    assert f"--resume: expected a run of {NAME}" in done.stderr


def test_resume_with_a_damaged_part(copy: Path) -> None:
    part = copy / "parts" / "tanh-seed0.npz"
    part.write_bytes(part.read_bytes()[:-100])
    before = contents(copy)
    done = run(*TINY, "--out", copy, "--resume")
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert told.startswith("error: --resume: expected tanh-seed0 whole in ") and str(part) in told
    assert "Traceback" not in done.stderr
    assert contents(copy) == before


@pytest.mark.parametrize("flag", ["--force", "--resume"])
def test_a_folder_in_which_another_run_is_at_work(copy: Path, flag: str) -> None:
    config = strict((copy / "config.json").read_text())
    other = Output(copy, NAME, config, resume=True, force=False)
    before = contents(copy)
    done = run(*TINY, "--out", copy, flag)
    assert done.returncode == 2
    assert "--out: expected a folder to which no other run is writing" in done.stderr
    assert contents(other.folder) == before


@pytest.mark.parametrize("name", ["../mine.txt", "parts"])
def test_force_deletes_nothing_that_a_list_from_elsewhere_names(copy: Path, name: str) -> None:
    (copy.parent / "mine.txt").write_text("mine")
    listed = strict((copy / "files.json").read_text())
    (copy / "files.json").write_text(json.dumps({**listed, "files": [*listed["files"], name]}))
    before = contents(copy.parent)
    done = run(*TINY, "--out", copy, "--force")
    assert done.returncode == 2
    assert f"files.json to name files in that folder, got {name!r}; nothing" in done.stderr
    assert contents(copy.parent) == before


@pytest.mark.parametrize(
    ("module", "word", "folder"),
    [
        (f"experiments.{NAME}", "--quick", "a" * 300),
        ("experiments", "lesson", "/dev/null"),
        ("benchmarks", "--quick", "/dev/null"),
    ],
)
def test_out_that_can_be_no_folder(module: str, word: str, folder: str, tmp_path: Path) -> None:
    """Told before anything is run or measured."""
    done = run(word, "--out", folder, module=module, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    expected = f"error: --out: expected a folder that can be written to, got {folder}: "
    assert done.stderr.startswith(expected), done.stderr


HELP, LIST = (("--help",), f"experiments.{NAME}"), ((), "experiments")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


def check_full(words: Sequence[str | Path], module: str, **extra: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(*words, module=module, streams={"stdout": full}, **extra)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: standard output: expected it to take the results, got: No space left on "
        "device; send it elsewhere"
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("words", "module"), [HELP, LIST, (("list",), "benchmarks")])
def test_standard_output_on_a_full_device(
    words: Sequence[str], module: str, unbuffered: str
) -> None:
    check_full(words, module, PYTHONUNBUFFERED=unbuffered)


CLOSED = {"stderr": None, "preexec_fn": lambda: os.close(2)}


@needs_full
def test_standard_error_that_takes_nothing() -> None:
    """Nobody can be told; the exit code tells, and no message stands among the results."""
    with open("/dev/full", "w") as full:
        for streams in ({"stderr": full}, CLOSED):
            done = run("elephant", module="experiments", streams=streams, PYTHONUNBUFFERED="")
            assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(encoding: str) -> None:
    streams = {"encoding": encoding}
    done = run(*HELP[0], streams=streams, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "\\u2016W_hh\\u2016" in done.stdout
    assert run(module="experiments", streams=streams, PYTHONIOENCODING=encoding).returncode == 0


@needs_full
@pytest.mark.slow
def test_the_streams_of_a_whole_run(copy: Path) -> None:
    words = [*TINY, "--out", copy, "--resume"]
    for unbuffered in ("", "1"):
        for more in ([], ["--json"]):
            check_full([*words, *more], f"experiments.{NAME}", PYTHONUNBUFFERED=unbuffered)
    with open("/dev/full", "w") as full:
        for streams in ({"stderr": full}, CLOSED):
            done = run(*words, "--json", streams=streams, PYTHONUNBUFFERED="")
            assert done.returncode == 0
            assert strict(done.stdout) == strict((copy / "result.json").read_text())
    closed = {"stdout": None, "preexec_fn": lambda: os.close(1)}
    done = run(*words, streams=closed)
    assert done.returncode == 0, done.stderr
    for encoding in ("ascii", "latin-1"):
        how: Any = {"streams": {"encoding": encoding}, "PYTHONIOENCODING": encoding}
        done = run(*words, **how)
        assert done.returncode == 0, done.stderr
        assert "\\u2016W_hh\\u2016" in done.stdout
        done = run(*words, "--json", **how)
        assert strict(done.stdout) == strict((copy / "result.json").read_text("utf-8"))


@pytest.mark.slow
def test_force_replaces_only_what_a_run_wrote(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "parts" / "mine.npz").write_bytes(b"mine")
    done = run(*TINY, "--seed", "1", "--out", copy, "--force")
    assert done.returncode == 0, done.stderr
    assert (copy / "notes.txt").read_text() == "mine"
    assert (copy / "parts" / "mine.npz").read_bytes() == b"mine"
    assert not (copy / "parts" / "tanh-seed0.npz").exists()
    assert strict((copy / "config.json").read_text())["seeds"] == [1]


def test_force_does_not_replace_the_file_of_another(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("mine")
    done = run(*TINY, "--out", tmp_path, "--force")
    assert done.returncode == 2
    assert "--out: expected no result.json" in done.stderr
    assert contents(tmp_path) == {"result.json": b"mine"}


def hidden(package: str, folder: Path) -> str:
    """A folder for PYTHONPATH with which a package is not found."""
    (folder / "hidden").mkdir()
    (folder / "hidden" / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Hiding(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        hidden = name == {package!r}\n"
        "        return None if hidden else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding\n"
    )
    return str(folder / "hidden")


@pytest.mark.parametrize("package", ["matplotlib", "tyro"])
@pytest.mark.parametrize("module", ["experiments", f"experiments.{NAME}", "benchmarks"])
def test_missing_package(module: str, package: str, tmp_path: Path) -> None:
    done = run(module=module, cwd=tmp_path, PYTHONPATH=hidden(package, tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: expected the packages of the experiments, found no {package}; "
        "install them with: pip install '.[experiments]'\n"
    )


def test_missing_data_package(copy: Path, tmp_path: Path) -> None:
    before = contents(copy)
    done = run(*TINY, "--out", copy, "--force", PYTHONPATH=hidden("vega_datasets", tmp_path))
    assert done.returncode == 3
    assert "pip install vega-datasets==0.9.0" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(copy) == before


def test_altered_data_file(tmp_path: Path) -> None:
    file = tmp_path / "vega_datasets" / "_data" / "seattle-weather.csv"
    file.parent.mkdir(parents=True)
    (tmp_path / "vega_datasets" / "__init__.py").write_text("raise AssertionError('imported')")
    file.write_text("date,temp_max\n2012/01/01,99\n")
    done = run(*TINY, "--out", tmp_path / "run", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    for expected in ("data: expected SHA-256 62f0609f", "found ", str(file), "--force-reinstall"):
        assert expected in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_divergence_has_its_own_exit_code(tmp_path: Path) -> None:
    few = ["--network", "recurrent", "--works", "1", "--event-steps", "9", "--held", "20"]
    done = run(
        "--quick", *few, "--learning-rate", "1e38", "--out", tmp_path / "run",
        module="experiments.order_matters",
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "diverged where it should not" in done.stderr
    assert "training step" in done.stderr
    assert not list((tmp_path / "run" / "parts").iterdir())


@pytest.mark.slow
def test_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    words = [*TINY, "--seeds", "0,1,2,3,4,5,6,7", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", f"experiments.{NAME}", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
    )  # fmt: skip
    first = tmp_path / "run" / "parts" / "tanh-seed0.npz"
    deadline = time.monotonic() + 60
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    left = contents(tmp_path / "run")
    assert first.exists()
    assert "result.json" not in left
    assert not [name for name in left if name.endswith(".tmp")]
    for line in left["metrics.jsonl"].decode().splitlines():
        strict(line)


@pytest.mark.slow
def test_quick_run_with_its_defaults(tmp_path: Path) -> None:
    done = run("--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / NAME
    result = strict((folder / "result.json").read_text())
    means = [result["results"][name]["mean"] for name in ("tanh", "tanh-orthogonal")]
    tanh, orthogonal = means
    assert tanh["horizon_before"] < orthogonal["horizon_before"]
