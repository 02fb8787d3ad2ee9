"""The scale at which recurrent weights start, not the cell's name, sets how far a gradient reaches.

Claim: before training, the gradient of a tanh network with small recurrent weights decreases at
least as fast as the bound ‖W_hh‖₂^lag. The same network with an orthogonal W_hh has a gradient that
reaches further back than that of a GRU and an LSTM, and theirs reaches further than that of the
small weights. Trained to recall a temperature of some weeks ago, the orthogonal network has a
smaller error than that with small weights, by more than when both are trained to predict
tomorrow's temperature.

Source: Pascanu, Mikolov and Bengio 2013, sections 2.1 and 2.2; Hochreiter and Schmidhuber 1997;
ReLU with the identity: Le, Jaitly and Hinton 2015.

Run time: about 4 min on two cores; 12 s with --quick, which takes two networks and few steps.

Examples:
  python -m experiments.vanishing_gradients
  python -m experiments.vanishing_gradients --cell gru --seeds 0,1,2 --out results/gru

How: every network reads Seattle's daily weather and is trained twice from the same start: on each
day to predict the next day's highest temperature, and after `lag` further days to recall that of
the first day. Both trainings have the same number of steps. The gradient of the last output with
respect to every earlier state is measured before and after each. Training years 2012 and 2013;
2014 chooses the linear baselines; test year 2015. A training that diverges is reported as such.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

MONTH = 30  # the longest lag that can be asked for; a window is longer
Name = Literal["tanh", "tanh-small", "tanh-orthogonal", "relu-identity", "gru", "lstm"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What this experiment can be told."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    window: int = 100
    """Days over which the gradient is measured, and which are read to predict tomorrow."""
    lag: int = 20
    """Days between the temperature to be recalled and the recall."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 400
    """Training steps, for each network and task."""
    batch: int = 32
    """Windows in a training step."""
    learning_rate: float = 2e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "cell": ("tanh", "tanh-orthogonal"), "window": 40, "lag": 10, "hidden": 16, "steps": 100,
        "learning_rate": 5e-3,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        if not MONTH < self.window <= 365:
            raise ValueError(
                f"--window: expected {MONTH + 1} to 365 days, got {self.window}; choose another"
            )
        self.between("lag", 1, MONTH)
        self.above_zero("hidden", "steps", "batch", "learning_rate")
