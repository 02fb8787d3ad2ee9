"""Prepares contenders, or records why one is left out, and times them in random order."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from benchmarks.models import CELLS, FOLDS, OURS, SHAPES, Model, Problem, Program, build
from benchmarks.peers import JAX_PEERS, PEERS, TORCH, UnavailableError
from benchmarks.report import Report, Row, by_point, highest, lowest, mean, measured
from benchmarks.timing import Spread, ratio, spread, take_turns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 2048
LIMIT = f"product of {SIDE}³"
QUICK = [Problem("gru", 8, 64, 32, 32)]
FULL = [Problem(cell, *shape) for shape in SHAPES for cell in CELLS]


Made = TypeVar("Made")


def attempt(makers: Mapping[str, Callable[[], Made]]) -> tuple[dict[str, Made], dict[str, str]]:
    """Makes what can be made.

    Returns:
      What was made, and for each contender that failed the reason.
    """
    made: dict[str, Made] = {}
    reasons: dict[str, str] = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except ModuleNotFoundError as error:
            reasons[name] = f"not installed: {error}"
        except UnavailableError as error:
            reasons[name] = str(error)
        except Exception as error:  # One library's failure should not lose the others.
            reasons[name] = f"failed: {type(error).__name__}: {error}".splitlines()[0]
    return made, reasons


def sizes(problem: Problem) -> Row:
    """The problem as columns of a row."""
    return dict(zip(("cell", "B", "T", "D", "H"), problem, strict=True))


class Race(NamedTuple):
    """How one quantity is timed.

    Attributes:
      program: which of a model's programs.
      passes: its products, as a multiple of those of a forward pass.
      problems: where, in a full run.
      contenders: makes the model of each.
    """

    program: Callable[[Model], Callable[[], Program]]
    passes: int
    problems: Sequence[Problem] = FULL
    contenders: Mapping[str, Callable[[Problem], Model]] = FOLDS | PEERS


def race(how: Race, *, quick: bool) -> Iterator[Row]:
    """Times all contenders and a large product; a row for each contender and problem."""
    side = jax.random.normal(jax.random.key(2), (SIDE, SIDE))
    product = build(jnp.matmul, side, side)
    jax.block_until_ready(product.call())
    for problem in QUICK if quick else how.problems:
        programs, reasons = attempt(
            {name: partial(ready, how, make, problem) for name, make in how.contenders.items()}
        )
        calls = {name: program.call for name, program in programs.items()}
        times = take_turns({**calls, LIMIT: product.call}, rounds=5, seconds=0 if quick else 1.0)
        # The limit: the problem's operations over those of the large product.
        share = how.passes * problem.operations / (2 * SIDE**3)
        for name, program in programs.items():
            to_limit = Spread(*(value / share for value in ratio(times, name, LIMIT)))
            yield sizes(problem) | {
                "contender": name,
                "rounds": len(times[name]),
                "seconds": spread(times[name])._asdict(),
                "to_limit": to_limit._asdict(),
                "to_ours": ratio(times, name, OURS)._asdict() if OURS in times else None,
                "compile_seconds": program.compile_seconds,
                "temporary_bytes": program.temporary_bytes,
            }
        for name, reason in reasons.items():
            yield sizes(problem) | {"contender": name, "left_out": reason}


def ready(how: Race, make: Callable[[Problem], Model], problem: Problem) -> Program:
    """The program, compiled and run once."""
    program = how.program(make(problem))()
    jax.block_until_ready(program.call())
    return program


class Targets(NamedTuple):
    """Our targets, as ratios of the others' time to ours.

    Attributes:
      jax_mean: geometric mean against the fastest JAX peer.
      jax_worst: the same at the worst point.
      torch_mean: geometric mean against torch.
      torch_worst: the same at the worst point.
    """

    jax_mean: float | None = None
    jax_worst: float | None = None
    torch_mean: float | None = None
    torch_worst: float | None = None


def standings(rows: Sequence[Row], targets: Targets) -> Report:
    """A line per problem, in units of the limit; ours against the fastest of the others."""
    by_problem = by_point(rows)
    contenders = _in_order(rows)
    limits = _of(by_problem, (OURS,), "to_limit")
    to_jax = _of(by_problem, JAX_PEERS, "to_ours")
    to_torch = _of(by_problem, (TORCH,), "to_ours")

    def shown(place: str, name: str) -> str:
        found = by_problem[place].get(name)
        return "" if found is None else f"{found['to_limit']['median']:.3g}"

    against_jax = f"time of the fastest JAX peer over that of {OURS}"
    against_torch = f"time of torch over that of {OURS}"
    against_limit = f"time of {OURS} over the limit"
    return Report(
        headers=["times the limit", *contenders, f"fastest JAX peer / {OURS}"],
        lines=[
            [
                place,
                *(shown(place, name) for name in contenders),
                f"{to_jax[place]:.2f}" if place in to_jax else "",
            ]
            for place in by_problem
        ],
        findings=[
            *mean(against_jax, to_jax, at_least=targets.jax_mean),
            *lowest(against_jax, to_jax, at_least=targets.jax_worst),
            *mean(against_torch, to_torch, at_least=targets.torch_mean),
            *lowest(against_torch, to_torch, at_least=targets.torch_worst),
            *mean(against_limit, limits),
            *highest(against_limit, limits),
        ],
        draw=lambda figure: draw(figure, rows),
    )


def _of(
    by_problem: Mapping[str, Mapping[str, Row]], names: Iterable[str], ratio: str
) -> dict[str, float]:
    """At each point, the smallest of some contenders' ratios, medians over the rounds."""
    found = {
        place: [peers[name][ratio]["median"] for name in names if peers.get(name, {}).get(ratio)]
        for place, peers in by_problem.items()
    }
    return {place: min(ratios) for place, ratios in found.items() if ratios}


def _in_order(rows: Sequence[Row]) -> list[str]:
    """The contenders that took part in some problem: ours, then the others."""
    took_part = {row["contender"] for row in measured(rows)}
    return [name for name in (*FOLDS, *PEERS) if name in took_part]


def draw(figure: "Figure", rows: Sequence[Row]) -> None:
    """Ratio to the limit, one panel per cell; ours thicker, error bars between quartiles."""
    rows = measured(rows)
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    shapes = list(dict.fromkeys(tuple(row[name] for name in "BTDH") for row in rows))
    contenders = _in_order(rows)
    figure.set_size_inches(max(10, 4 * len(cells) + 2), 5)
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for panel, cell in zip(panels, cells, strict=True):
        for place, name in enumerate(contenders):
            own = [r for r in rows if r["cell"] == cell and r["contender"] == name]
            x = [shapes.index(tuple(r[size] for size in "BTDH")) for r in own]
            medians, lows, highs = (
                [r["to_limit"][part] for r in own] for part in ("median", "low", "high")
            )
            below = [m - low for m, low in zip(medians, lows, strict=True)]
            above = [high - m for m, high in zip(medians, highs, strict=True)]
            panel.errorbar(
                x, medians, yerr=[below, above], label=name, color=f"C{place % 10}",
                marker="o" if name in FOLDS else "x", linestyle="-" if name in FOLDS else ":",
                linewidth=2.5 if name == OURS else 1,
            )  # fmt: skip
        panel.axhline(1, color="0.4", linewidth=0.8)
        panel.set(title=cell, yscale="log")
        panel.set_xticks(range(len(shapes)), [",".join(map(str, shape)) for shape in shapes])
        panel.tick_params(axis="x", rotation=30)
    panels[0].set(ylabel="time / limit")
    # Every panel has a line for every contender, possibly an empty one.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.supxlabel(
        f"B,T,D,H     (limit: operations of the products / speed of a {LIMIT} in the same round)",
        fontsize=9,
    )
