"""The output folder and its JSON, without a subprocess."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.common.output import Output, UsageError, strict


def output(folder: Path, **flags: bool) -> Output:
    config = {"experiment": "demo", "steps": 3}
    return Output(folder, "demo", config, **{"resume": False, "force": False, **flags})


def test_what_is_not_finite_becomes_null_beside_a_flag() -> None:
    found = strict(
        {
            "rate": math.nan,
            "deep": {"values": [1.0, math.inf], "fine": {"x": np.float32(2.0)}},
            "rows": [{"horizon": -math.inf}, {"horizon": 3}],
        }
    )
    assert found == {
        "rate": None,
        "finite": False,
        "deep": {"values": [1.0, None], "finite": False, "fine": {"x": 2.0}},
        "rows": [{"horizon": None, "finite": False}, {"horizon": 3}],
    }
    json.dumps(found, allow_nan=False)


def test_nothing_is_touched_before_the_first_part(tmp_path: Path) -> None:
    output(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail(metrics: Path) -> dict[str, np.ndarray]:
        metrics.write_text('{"step": 0}\n')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        output(tmp_path).part("one", fail)
    assert not list((tmp_path / "parts").iterdir())


def test_a_part_keeps_what_is_not_finite(tmp_path: Path) -> None:
    def compute(metrics: Path) -> dict[str, np.ndarray]:
        return {"horizon": np.array([math.inf, -math.inf, math.nan])}

    first = output(tmp_path).part("one", compute)
    again = output(tmp_path, resume=True).part("one", lambda metrics: pytest.fail("done before"))
    np.testing.assert_array_equal(first["horizon"], [math.inf, -math.inf, math.nan])
    np.testing.assert_array_equal(again["horizon"], first["horizon"])


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="--out: expected a folder, got the file"):
        output(tmp_path / "file", force=True)


def test_force_trusts_no_list_of_files_but_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    listed = {"experiment": "other", "files": ["precious.txt", "files.json"]}
    (tmp_path / "files.json").write_text(json.dumps(listed))
    with pytest.raises(UsageError, match=r"--out: expected no files\.json"):
        output(tmp_path, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"
