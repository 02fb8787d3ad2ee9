"""A state of 32 numbers remembers at most 32 inputs of white noise; training brings it closer.

Claim: add up, over all lags, the R² with which a linear readout of the hidden state predicts
earlier inputs. For white noise the sum is at most the number of values in the state. Every
network remains below that limit, and training on recall brings each of them closer to it.

Also measured, without a claim: on weather, whose present resembles its past, how much the state
adds to what the latest input alone says about the past.

Source: linear memory capacity, Jaeger 2002 (Short term memory in echo state networks), section
2; its bound, proposition 2; the cells, Elman 1990, Le and others 2015 (ReLU with the identity),
Cho and others 2014, Hochreiter and Schmidhuber 1997, Orvieto and others 2023, Feng and others
2024.

Run time: about 5 min on two cores; 10 s with --quick, which trains one network for few steps.

Examples:
  python -m experiments.hidden_memory
  python -m experiments.hidden_memory --cell gru lstm --seeds 0,1,2 --out results/gated

How: every network carries 32 numbers from step to step (the LSTM 16 and 16, the LRU 16 complex
ones). A ridge regression from all of them to the input k steps ago is fitted on one part of the
data and measured on another, before and after training. On noise the networks are trained to
recall the last 32 inputs, on weather to forecast the temperature at JFK airport 1, 6 and 24
hours ahead. Weather is fitted on January to August and measured on the rest of the year, after
a gap as long as the longest lag. Nothing is selected, so there is no validation set.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

NUMBERS = 32  # that every network carries from step to step
Name = Literal["tanh", "tanh-orthogonal", "relu-identity", "gru", "lstm", "lru", "min-gru"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    steps: int = 1000
    """Training steps."""
    batch: int = 32
    """Sequences in a training step."""
    length: int = 128
    """Steps of a training sequence."""
    learning_rate: float = 3e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {"cell": ("gru",), "steps": 60, "length": 64}

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        # What is to be recalled must have been read.
        self.between("length", NUMBERS + 1, 1000)
        self.above_zero("steps", "batch", "learning_rate")
