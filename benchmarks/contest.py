"""Contenders made ready, or named as left out, then timed in turns beside a large product."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.models import CELLS, FOLDS, OURS, SHAPES, Model, Problem, Program, build
from benchmarks.peers import JAX_PEERS, PEERS, TORCH, UnavailableError
from benchmarks.report import (
    Finding,
    Report,
    Row,
    geometric_mean,
    measured,
    point,
)
from benchmarks.timing import Spread, ratio, spread, take_turns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 2048
LIMIT = f"product of {SIDE}³"
QUICK = [Problem("gru", 8, 64, 32, 32)]


def problems() -> list[Problem]:
    """Every cell at every shape."""
    return [Problem(cell, *shape) for shape in SHAPES for cell in CELLS]


def ready(
    makers: Mapping[str, Callable[[], Program]],
) -> tuple[dict[str, Program], dict[str, str]]:
    """Builds contenders and runs each once.

    Returns:
      The programs, and for each contender that has none the reason.
    """
    programs: dict[str, Program] = {}
    reasons: dict[str, str] = {}
    for name, make in makers.items():
        try:
            program = make()
            jax.block_until_ready(program.call())
        except ModuleNotFoundError as error:
            reasons[name] = f"not installed: {error}"
        except UnavailableError as error:
            reasons[name] = str(error)
        except Exception as error:  # A library that breaks is no reason to lose the others.
            reasons[name] = f"failed: {type(error).__name__}: {error}".splitlines()[0]
        else:
            programs[name] = program
    return programs, reasons


def sizes(problem: Problem) -> Row:
    """The problem as it stands in a row."""
    return dict(zip(("cell", "B", "T", "D", "H"), problem, strict=True))


class Race(NamedTuple):
    """How one quantity is timed.

    Attributes:
      program: which of a model's programs.
      passes: its products, in those of a forward pass.
      seconds: for each contender at each problem, on average, beyond the least rounds.
    """

    program: Callable[[Model], Callable[[], Program]]
    passes: int
    seconds: float


def race(how: Race, of: Iterable[Problem], *, rounds: int = 5) -> Iterator[Row]:
    """Times every fold and every peer; a row for each at each problem."""
    side = jax.random.normal(jax.random.key(2), (SIDE, SIDE))
    product = build(jnp.matmul, side, side)
    product.call()
    for problem in of:
        programs, reasons = ready(
            {name: partial(_build, how, make, problem) for name, make in (FOLDS | PEERS).items()}
        )
        calls = {name: program.call for name, program in programs.items()}
        times = take_turns({**calls, LIMIT: product.call}, rounds=rounds, seconds=how.seconds)
        # How long the problem's products would take at the large product's speed, in its times.
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


def _build(how: Race, make: Callable[[Problem], Model], problem: Problem) -> Program:
    return how.program(make(problem))()


class Targets(NamedTuple):
    """What ours should reach, as ratios of the others' time to ours.

    Attributes:
      jax_mean: geometric mean against the fastest JAX peer.
      jax_worst: the same at the worst point.
      torch_mean: geometric mean against torch.
    """

    jax_mean: float | None = None
    jax_worst: float | None = None
    torch_mean: float | None = None


def standings(rows: Sequence[Row], targets: Targets) -> Report:
    """A line a problem, in units of the limit; ours against the fastest of the others."""
    by_problem: dict[str, dict[str, Row]] = {}
    for row in measured(rows):
        by_problem.setdefault(point(row), {})[row["contender"]] = row
    contenders = _in_order(rows)
    fastest = {place: _fastest_jax_peer(p) for place, p in by_problem.items()}

    def shown(place: str, name: str) -> str:
        found = by_problem[place].get(name)
        return "" if found is None else f"{found['to_limit']['median']:.3g}"

    return Report(
        headers=["times the limit", *contenders, f"fastest JAX peer / {OURS}"],
        lines=[
            [place, *(shown(place, name) for name in contenders), _or_empty(fastest[place])]
            for place in by_problem
        ],
        findings=[
            *_mean_and_worst(
                f"time of the fastest JAX peer over that of {OURS}",
                {place: value for place, value in fastest.items() if value is not None},
                targets.jax_mean,
                targets.jax_worst,
            ),
            *_mean_and_worst(
                f"time of torch over that of {OURS}",
                {
                    place: peers[TORCH]["to_ours"]["median"]
                    for place, peers in by_problem.items()
                    if TORCH in peers and peers[TORCH]["to_ours"]
                },
                targets.torch_mean,
                None,
            ),
            *_limit(
                {
                    place: peers[OURS]["to_limit"]["median"]
                    for place, peers in by_problem.items()
                    if OURS in peers
                }
            ),
        ],
        draw=lambda figure: draw(figure, rows),
    )


def _in_order(rows: Sequence[Row]) -> list[str]:
    """Those who took part in some problem: ours, then the others."""
    took_part = {row["contender"] for row in measured(rows)}
    return [name for name in (*FOLDS, *PEERS) if name in took_part]


def _fastest_jax_peer(peers: Mapping[str, Row]) -> float | None:
    """The smallest of the ratios of their times to ours, each a median over the rounds."""
    ratios = [row["to_ours"] for name, row in peers.items() if name in JAX_PEERS]
    return min((found["median"] for found in ratios if found), default=None)


def _mean_and_worst(
    what: str, ratios: Mapping[str, float], mean: float | None, worst: float | None
) -> list[Finding]:
    if not ratios:
        return []
    place = min(ratios, key=ratios.__getitem__)
    return [
        Finding(f"{what}, geometric mean", geometric_mean([*ratios.values()]), at_least=mean),
        Finding(f"{what}, worst", ratios[place], where=place, at_least=worst),
    ]


def _limit(ratios: Mapping[str, float]) -> list[Finding]:
    if not ratios:
        return []
    place = max(ratios, key=ratios.__getitem__)
    what = f"time of {OURS} over the limit"
    return [
        Finding(f"{what}, geometric mean", geometric_mean([*ratios.values()])),
        Finding(f"{what}, worst", ratios[place], where=place),
    ]


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def draw(figure: "Figure", rows: Sequence[Row]) -> None:
    """Ratio to the limit, a panel a cell; ours drawn thicker, bars from quartile to quartile."""
    rows = measured(rows)
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    shapes = list(dict.fromkeys(tuple(row[name] for name in "BTDH") for row in rows))
    contenders = _in_order(rows)
    figure.set_size_inches(4 * len(cells) + 2, 5)
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
    # Every panel has a line, if an empty one, for every contender.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.supxlabel(
        f"B,T,D,H     (limit: operations of the products / speed of a {LIMIT} in the same round)",
        fontsize=9,
    )
