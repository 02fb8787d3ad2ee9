"""Letter by letter, a GRU and an LSTM predict Shakespeare better than n-grams of up to five.

Claim: on plays that no model has seen, a GRU and an LSTM need fewer bits per character than the
best Kneser-Ney model of one to five characters. Longer n-grams, of up to eight, are measured too,
and nothing is claimed about them.

Source: Graves 2013 (text letter by letter); Madsen, "Visualizing memorization in RNNs", Distill
2019 (connectivity); Chen and Goodman 1998 (modified Kneser-Ney).

Run time: about 26 min on two cores; 15 s with --quick, which trains one small network for a
moment on two plays and is not expected to support the claim.

Examples:
  python -m experiments.characters
  python -m experiments.characters --cell lstm --steps 20000 --out results/long

How: the works as printed, names of speakers and line ends included, 96 characters in all. Three
plays are held out for the test and three for validation. All networks have as many weights as the
LSTM, and so different numbers of hidden units. They are trained one after the other, because each
training fills two cores. Two models are compared character by character; their difference comes
with a 95 % interval from a bootstrap over blocks of the test plays. Passages, line ends and
spaces at which predictions are examined are drawn at random from the speeches of the test plays,
the same in every run. What a prediction depends on is measured by connectivity: the norm of the
gradient of the log probability of the next character with respect to the embedding of an earlier
one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

ORDERS = (1, 2, 3, 4, 5, 6, 7, 8)  # characters in the longest gram of each baseline
CLAIMED = 5  # the highest order that the claim is about
TEMPERATURES = (0.5, 1.0, 1.5)
SAMPLED = 80  # characters of a sample
BEFORE = 128  # characters read before a prediction that is examined, and before a sample
LAGS = 60  # characters back to which connectivity is measured
NEAR = 8  # characters, a word or two: what is further back is far
Name = Literal["tanh", "gru", "lstm"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    cell: tuple[Name, ...] = get_args(Name)
    """Which networks."""
    works: int = 36
    """Plays and poems to train on."""
    size: int = 256
    """Hidden units of an LSTM; other networks get those that give the same number of weights."""
    embedding: int = 64
    """Numbers in the embedding of a character."""
    steps: int = 4800
    """Training steps."""
    batch: int = 32
    """Places of the text read side by side."""
    window: int = 32
    """Characters between two training steps."""
    learning_rate: float = 5e-3
    """Of Adam, at its highest."""
    looks: int = 3
    """How often the loss on the validation plays is computed in training."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "cell": ("lstm",), "works": 2, "size": 32, "embedding": 16, "steps": 50, "batch": 16,
        "learning_rate": 1e-2, "looks": 1,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("cell")
        self.between("works", 1, 36)
        # The warm-up is a twentieth of the training.
        if self.steps < 20:
            raise ValueError(f"--steps: expected at least 20, got {self.steps}; choose another")
        self.above_zero("size", "embedding", "batch", "window", "learning_rate", "looks")
