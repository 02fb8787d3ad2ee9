"""Is a batch faster when it is split over two host devices instead of one with two threads?

Run time: about 2 minutes on two cores; 6 s with --quick.

A training step of the default fold. The number of host devices is fixed when JAX starts,
so the work is done in a separate process, always on the CPU.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import rnnjax
from benchmarks.contest import sizes
from benchmarks.models import CELLS, Problem, build, draw_inputs
from benchmarks.report import Report, Row, by_point, lowest
from benchmarks.timing import ratio, spread, take_turns
from rnnjax import folds

DEVICES = 2
SHAPES = ((32, 512, 256, 256), (64, 128, 512, 512), (128, 64, 512, 512))
ONE, MAPPED, AUTOMATIC = "one device", "over_devices", "automatic sharding"
AT_LEAST = 1.2


def measure(quick: bool) -> Iterator[Row]:
    """A row for each way at each cell and shape, from a process with two host devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.host_devices", *(["--quick"] if quick else [])],
        env=os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                yield json.loads(line)
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise RuntimeError(f"the process with {DEVICES} host devices ended with {child.returncode}")


def compare(problem: Problem, *, rounds: int) -> Iterator[Row]:
    """A row for each way of splitting the batch, and for none."""
    cell = CELLS[problem.cell](problem.input_size, problem.hidden_size)
    params, x = cell.init(jax.random.key(0)), draw_inputs(problem)

    def loss(params: Any, x: jax.Array, fold: folds.Fold = folds.default()) -> jax.Array:
        return jnp.mean(rnnjax.unroll(cell, params, x, fold=fold)[1] ** 2)

    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    gradient, mapped = jax.grad(loss), jax.grad(rnnjax.over_devices(loss, mesh))
    everywhere = jax.device_put(params, NamedSharding(mesh, P()))
    split = jax.device_put(x, NamedSharding(mesh, P(None, "data")))
    programs = {
        # What the default takes where JAX has one device alone.
        ONE: build(jax.grad(partial(loss, fold=folds.stored())), params, x),
        MAPPED: build(mapped, everywhere, split),
        AUTOMATIC: build(gradient, everywhere, split),
    }
    calls = {name: program.call for name, program in programs.items()}
    found = {name: jax.block_until_ready(call()) for name, call in calls.items()}
    times = take_turns(calls, rounds=rounds, seconds=2.0)
    for name in calls:
        yield sizes(problem) | {
            "contender": name,
            "rounds": len(times[name]),
            "seconds": spread(times[name])._asdict(),
            "one_to_it": ratio(times, ONE, name)._asdict(),
            "difference": max(
                float(jnp.abs(jax.device_get(a) - jax.device_get(b)).max())
                for a, b in zip(found[name], found[ONE], strict=True)
            ),
        }


def report(rows: Sequence[Row]) -> Report:
    """In milliseconds, and one device's time over that of two."""
    by_problem = by_point(rows)
    findings = []
    for way in (MAPPED, AUTOMATIC):
        gains = {
            place: ways[way]["one_to_it"]["median"]
            for place, ways in by_problem.items()
            if way in ways
        }
        findings += lowest(f"time of one device over that of two, {way}", gains, at_least=AT_LEAST)

    def shown(ways: Mapping[str, Row], way: str) -> list[str]:
        if way not in ways:
            return ["", ""]
        gain = ways[way]["one_to_it"]["median"]
        return [f"{1e3 * ways[way]['seconds']['median']:.3g}", f"{gain:.2f}"]

    return Report(
        headers=["ms", ONE, MAPPED, f"{ONE} / it", AUTOMATIC, f"{ONE} / it"],
        lines=[
            [place, shown(ways, ONE)[0], *shown(ways, MAPPED), *shown(ways, AUTOMATIC)]
            for place, ways in by_problem.items()
        ],
        findings=findings,
    )


if __name__ == "__main__":
    small = [Problem("gru", 8, 64, 32, 32)]
    full = [Problem(cell, *shape) for shape in SHAPES for cell in CELLS]
    quick = "--quick" in sys.argv
    for problem in small if quick else full:
        for row in compare(problem, rounds=3 if quick else 5):
            print(json.dumps(row), flush=True)
