"""The clock's laws, who takes part, what is said of the rows, and the command line."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import rnnjax
from benchmarks import contest, serving, timing
from benchmarks.models import CELLS, FOLDS, OURS, Problem
from benchmarks.peers import JAX_PEERS, PEERS, UnavailableError
from benchmarks.report import left_out, markdown

ROOT = Path(__file__).parents[2]
SMALL = (3, 5, 2, 4)


class Clock:
    """Time that passes only while a contender runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def contender(self, name: str, seconds: float, drift: float = 1.0) -> Any:
        """Every run of it takes `drift` times as long as the one before."""
        runs = iter(seconds * drift**turn for turn in range(60))

        def call() -> None:
            self.ran.append(name)
            self.now += next(runs)

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_drift_cancels_in_a_round(clock: Clock) -> None:
    """A machine that slows down by half each round leaves the ratios as they are."""
    calls = {"a": clock.contender("a", 1.0, 1.5), "b": clock.contender("b", 3.0, 1.5)}
    times = timing.take_turns(calls, rounds=9, seconds=0)
    np.testing.assert_allclose(timing.ratio(times, "b", "a"), 3.0)
    np.testing.assert_allclose(timing.ratio(times, "a", "b"), 1 / 3)
    assert timing.spread(times["a"]).high > 2 * timing.spread(times["a"]).low


def test_every_contender_runs_once_a_round_behind_changing_neighbours(clock: Clock) -> None:
    names = "abcde"
    times = timing.take_turns(
        {name: clock.contender(name, 1.0) for name in names}, rounds=50, seconds=0
    )
    rounds = [clock.ran[i : i + 5] for i in range(0, 250, 5)]
    assert all(sorted(order) == list(names) for order in rounds)
    assert all(len(own) == 50 for own in times.values())
    behind = {(a, b) for order in rounds for a, b in pairwise(order)}
    assert len(behind) == 20
    assert {order[0] for order in rounds} == set(names)


@pytest.mark.parametrize(
    ("each", "rounds", "seconds", "expected"),
    [(10.0, 4, 3.0, 4), (0.5, 4, 3.0, 7), (1e-6, 4, 3.0, 50)],
)
def test_how_long_it_goes_on(
    clock: Clock, each: float, rounds: int, seconds: float, expected: int
) -> None:
    calls = {name: clock.contender(name, each) for name in "ab"}
    times = timing.take_turns(calls, rounds=rounds, seconds=seconds)
    assert len(times["a"]) == expected


def test_who_gives_nothing_is_named() -> None:
    def fails(error: BaseException) -> Any:
        def make() -> None:
            raise error

        return make

    made, reasons = contest.attempt(
        {
            "good": lambda: 1,
            "absent": fails(ModuleNotFoundError("No module named 'absent'")),
            "lacks it": fails(UnavailableError("has no such cell")),
            "breaks": fails(RuntimeError("out of memory\nand more")),
        }
    )
    assert made == {"good": 1}
    assert reasons == {
        "absent": "not installed: No module named 'absent'",
        "lacks it": "has no such cell",
        "breaks": "failed: RuntimeError: out of memory",
    }
    with pytest.raises(KeyboardInterrupt):
        contest.attempt({"stopped": fails(KeyboardInterrupt())})


@pytest.mark.parametrize(
    ("name", "module"),
    [("Haiku", "haiku"), ("Equinox", "equinox"), ("Keras", "keras"), ("torch", "torch")],
)
def test_a_library_that_is_not_installed(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    _, reasons = contest.attempt({name: lambda: PEERS[name](Problem("gru", *SMALL))})
    assert reasons[name].startswith("not installed: ")
    assert module in reasons[name]


@contextlib.contextmanager
def as_a_user_has_it() -> Iterator[None]:
    """Without the strictness of these tests, which not every library stands."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", PEERS)
def test_every_library_solves_the_problem(name: str, cell: str) -> None:
    """All outputs, in float32, of a bounded cell."""
    problem = Problem(cell, *SMALL)
    with as_a_user_has_it():
        made, reasons = contest.attempt({name: lambda: PEERS[name](problem)})
        if name in reasons:
            pytest.skip(reasons[name])
        (y,) = map(np.asarray, jax.tree.leaves(made[name].forward().call()))
    assert y.dtype == np.float32
    assert sorted(y.shape) == sorted((problem.length, problem.batch, problem.hidden_size))
    assert y.min() < 0 < y.max()
    assert abs(y).max() < 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("make", [JAX_PEERS["plain scan"], FOLDS["3-line block"]])
def test_what_is_written_by_hand_here_gives_our_gradient(make: Any, cell: str) -> None:
    """With our weights; one more step than a whole number of blocks."""
    problem = Problem(cell, 3, 33, 2, 4)
    with as_a_user_has_it():
        ours, theirs = (m(problem).training_step().call() for m in (FOLDS[OURS], make))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_onnx_model_is_the_step(cell: str) -> None:
    """From a state and with weights and biases that are not zero."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    problem, rng = Problem(cell, 3, 1, 5, 7), np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    own = CELLS[cell](problem.input_size, problem.hidden_size)
    params = jax.tree.map(lambda leaf: draw(*leaf.shape), own.init(jax.random.key(0)))
    session = onnxruntime.InferenceSession(serving.onnx_model(problem, params))
    names = [result.name for result in session.get_outputs()]
    states, x = {name: draw(3, 7) for name in names}, draw(3, 5)
    feeds = {"x": x[None]} | {f"{name}0": state[None] for name, state in states.items()}
    with as_a_user_has_it():
        state = own.start(params, (3,))
        state = states["h"] if cell == "gru" else state._replace(**states)
        after = rnnjax.step(own, params, state, x)
    for name, theirs in zip(names, session.run(names, feeds), strict=True):
        ours = after if cell == "gru" else getattr(after, name)
        np.testing.assert_allclose(theirs[0], ours, atol=1e-6)


def a_row(cell: str, contender: str, ratio: float) -> dict[str, Any]:
    """Of a contender that takes `ratio` times as long as ours, which takes twice the limit."""

    def about(value: float) -> dict[str, float]:
        return {"median": value, "low": 0.9 * value, "high": 1.1 * value}

    return {
        "cell": cell, "B": 1, "T": 2, "D": 3, "H": 4, "contender": contender,
        "to_limit": about(2 * ratio), "to_ours": about(ratio),
    }  # fmt: skip


def test_what_is_said_of_the_rows() -> None:
    """Ours is held against the fastest library or plain scan, never against another fold."""
    rows = [
        *(
            a_row("gru", n, r)
            for n, r in {OURS: 1, "scan fold": 0.5, "Haiku": 1.6, "torch": 3}.items()
        ),
        *(a_row("lstm", n, r) for n, r in {OURS: 1, "plain scan": 0.9, "Haiku": 1.2}.items()),
        {**a_row("lstm", "torch", 1), "left_out": "not installed"},
    ]  # fmt: skip
    report = contest.standings(rows, contest.Targets(jax_mean=1.3, jax_worst=0.8))
    values = {finding.what: finding for finding in report.findings}
    against = f"time of the fastest JAX peer over that of {OURS}"
    mean, worst = values[f"{against}, geometric mean"], values[f"{against}, lowest"]
    assert math.isclose(mean.value, math.sqrt(1.6 * 0.9))
    assert not mean.met
    assert (worst.value, worst.met) == (0.9, True)
    assert "lstm" in worst.where
    assert values[f"time of torch over that of {OURS}, lowest"].value == 3
    assert values[f"time of {OURS} over the limit, highest"].value == 2
    assert left_out(rows) == ["left out: torch, not installed (lstm B=1 T=2 D=3 H=4)"]
    assert markdown(report).count("\n") == 4

    figure = Figure(layout="constrained")
    report.draw(figure)
    figure.canvas.draw()
    assert [panel.get_title() for panel in figure.axes] == ["gru", "lstm"]
    assert contest.standings([], contest.Targets()).lines == []


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *map(str, words)]


def environment() -> dict[str, str]:
    """This one, without what the tests set up for themselves."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=120
    )


def test_list_names_every_benchmark_and_nothing_else() -> None:
    done = run("list")
    names = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    files = (ROOT / "benchmarks").glob("*.py")
    assert names == sorted(f.stem for f in files if "\ndef measure(quick" in f.read_text("utf-8"))
    assert done.returncode == 0


def test_an_unknown_name() -> None:
    done = run("nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "training_step" in done.stderr
    assert "got nonsense" in done.stderr


@pytest.mark.slow
def test_one_benchmark_as_json_and_its_memory(tmp_path: Path) -> None:
    """The memory a step needs is exact, so that its targets are held here."""
    done = run("memory", "--quick", "--json", "--out", tmp_path / "new" / "folder")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.name == "memory.json"
    assert json.loads(file.read_text("utf-8")) == found
    assert found["quick"] is found["complete"] is True
    assert found["versions"]["jax"] == jax.__version__
    assert found["device"]["platform"] == "cpu"
    assert len(found["findings"]) == 2 * len(CELLS)
    met = [finding["met"] for finding in found["findings"] if finding["at_most"] is not None]
    assert met == [True] * 2 * len(CELLS), found["findings"]
    assert {row["contender"] for row in found["rows"]} >= {OURS, "plain scan", "Flax linen"}


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_rows_apart(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("an earlier run", "utf-8")
    child = subprocess.Popen(
        command("memory", "--quick", "--out", tmp_path),
        cwd=ROOT, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stderr is not None
        for line in child.stderr:
            if f" {OURS}: " in line:
                child.send_signal(signal.SIGINT)
                break
        said = child.stderr.read()
    assert child.returncode == 130, said
    assert "ended by KeyboardInterrupt" in said
    assert (tmp_path / "memory.json").read_text("utf-8") == "an earlier run"
    found = json.loads((tmp_path / "memory.incomplete.json").read_text("utf-8"))
    assert found["complete"] is False
    assert found["rows"]
