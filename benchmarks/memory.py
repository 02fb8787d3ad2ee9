"""How much memory does a training step need besides its weights, inputs and gradients?

Run time: about 55 s on two cores; 15 s with --quick.

Nothing is run: the compiler reports how many bytes the compiled step allocates
(`compiled.memory_analysis()`), which is deterministic. Batch 32, 256 inputs and hidden
units; a loss on all outputs, and for the longest sequence one on the last alone, read from
the final state where a library returns it. The default fold stores more than the states of
short sequences, which saves time.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from benchmarks.contest import attempt, sizes
from benchmarks.models import CELLS, CHECKPOINTED, FOLDS, OURS, SMALLEST, Model, Problem
from benchmarks.peers import JAX_PEERS, UnavailableError
from benchmarks.report import Report, Row, by_point, highest

B, D, H = 32, 256, 256
LENGTHS = (512, 2048, 8192)
LONG = 2048
FLAX = ("Flax linen", "Flax nnx")
CONTENDERS = FOLDS | {name: JAX_PEERS[name] for name in ("plain scan", *FLAX)}
AT_MOST = {"tanh": 0.65, "gru": 0.35, "lstm": 0.35}
AT_MOST_LAST = 0.05
ALL, LAST = "loss on all outputs", "loss on the last"


def measure(quick: bool) -> Iterator[Row]:
    """A row for each contender at each cell, length and loss."""
    for cell in CELLS:
        for length in LENGTHS[:1] if quick else LENGTHS:
            yield from compare(Problem(cell, B, length, D, H), ALL)
        if not quick:
            yield from compare(Problem(cell, B, LENGTHS[-1], D, H), LAST)


def compare(problem: Problem, loss: str) -> Iterator[Row]:
    """A row for each contender."""

    def bytes_of(name: str) -> int:
        model: Model = CONTENDERS[name](problem)
        program = (model.training_step if loss == ALL else model.last_output)()
        if program.temporary_bytes is None:
            raise UnavailableError("the compiler does not report it")
        return program.temporary_bytes

    found, reasons = attempt({name: partial(bytes_of, name) for name in CONTENDERS})
    for name in CONTENDERS:
        told = {"left_out": reasons[name]} if name in reasons else {"temporary_bytes": found[name]}
        yield sizes(problem) | {"loss": loss, "contender": name} | told


def report(rows: Sequence[Row]) -> Report:
    """In MiB, and ours against the smaller of Flax's two."""
    cases = by_point(rows)
    contenders = [name for name in CONTENDERS if any(name in case for case in cases.values())]
    findings = []
    for cell in CELLS:
        for ours, loss, shortest, target in (
            (OURS, ALL, 0, 1.0),
            (OURS, ALL, LONG, AT_MOST[cell]),
            (SMALLEST, ALL, 0, AT_MOST[cell]),
            (CHECKPOINTED, LAST, 0, AT_MOST_LAST),
        ):
            ratios = {
                place: found
                for place, case in cases.items()
                if place.startswith(cell) and place.endswith(loss)
                if all(row["T"] >= shortest for row in case.values())
                if (found := against_flax(case, ours)) is not None
            }
            when = f"T >= {shortest}, " if shortest else ""
            what = f"{cell}, {when}{loss}: memory of {ours} over that of Flax"
            findings += highest(what, ratios, at_most=target)

    def shown(case: Mapping[str, Row], ours: str) -> str:
        found = against_flax(case, ours)
        return "" if found is None else f"{found:.3f}"

    compared = (OURS, SMALLEST, CHECKPOINTED)
    return Report(
        headers=["MiB", *contenders, *(f"{ours} / Flax" for ours in compared)],
        lines=[
            [
                place,
                *(_mebibytes(case.get(name)) for name in contenders),
                *(shown(case, ours) for ours in compared),
            ]
            for place, case in cases.items()
        ],
        findings=findings,
    )


def against_flax(case: Mapping[str, Row], ours: str) -> float | None:
    """Ours over the smaller of Flax's two; None where either is missing."""
    flax = [case[name]["temporary_bytes"] for name in FLAX if name in case]
    return case[ours]["temporary_bytes"] / min(flax) if flax and ours in case else None


def _mebibytes(row: Row | None) -> str:
    return "" if row is None else f"{row['temporary_bytes'] / 2**20:.1f}"
