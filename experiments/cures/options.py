"""Orthogonal and identity starts, gates and an LRU learn across lags that torch's tanh cannot.

Claim: a tanh network with torch's default start learns to recall one bit across a few steps only.
An orthogonal start, an identity with ReLU, gates, and an LRU with rings near the unit circle each
reach further, and the reach of the LSTM grows with the bias of its forget gate (0, 1, chrono).
Where the gradient explodes, clipping lets more learning rates learn than plain gradient descent.

Source: Le, Jaitly and Hinton 2015 (identity); Jozefowicz, Zaremba and Sutskever 2015 (forget
bias 1); Tallec and Ollivier 2018 (chrono); Orvieto and others 2023 (LRU); Pascanu, Mikolov and
Bengio 2013, section 3.2 (clipping).

Run time: about 6 min on two cores; 10 s with --quick, which takes two networks and two lags.

Examples:
  python -m experiments.cures
  python -m experiments.cures --cell gru lstm-chrono --lags 100 200 400 --out results/far

How: the first input is +1 or -1, each for half of the sequences; then come `lag` steps of noise on
a second input; the output after the last step should name the bit. Without the first step, no
network can be correct more than half the time. Every network is trained anew at every lag, on
fresh sequences, with the same optimiser and number of steps. The gradient is measured before
training. One reach counts as longer than another if their means over the seeds differ by more
than the sum of their deviations.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

LEARNED = 0.9  # accuracy from which on a bit counts as recalled
TESTED = 1000  # sequences, half of them of either bit
EXPLODING = 1.1  # the identity is multiplied by it, where clipping is tried
EXPLODING_LAG = 40
Name = Literal["tanh", "tanh-orthogonal", "relu-identity", "gru", "lstm-0", "lstm-1",
               "lstm-chrono", "lru"]  # fmt: skip


@dataclass(frozen=True)
class Options(harness.Options):
    """What this experiment can be told."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    lags: tuple[int, ...] = (10, 20, 40, 80, 160)
    """Steps between the bit and the answer."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 400
    """Training steps, for each network and lag."""
    batch: int = 32
    """Sequences in a training step."""
    learning_rate: float = 2e-3
    """Of Adam."""
    rates: tuple[float, ...] = (0.0002, 0.001, 0.005, 0.025, 0.125)
    """Learning rates of plain descent, at which clipping is tried."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "cell": ("tanh", "relu-identity"), "lags": (5, 40), "hidden": 16, "steps": 150,
        "rates": (0.01,),
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        for name, values in (("lags", self.lags), ("rates", self.rates)):
            if not values or min(values) <= 0 or list(values) != sorted(set(values)):
                raise ValueError(
                    f"--{name}: expected numbers above zero, rising, got {values}; sort them"
                )
        if self.batch % 2:
            raise ValueError(f"--batch: expected an even number, got {self.batch}; half of either")
        self.above_zero("hidden", "steps", "batch", "learning_rate")
