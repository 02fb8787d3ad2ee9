"""A network that averages its inputs cannot see their order; a recurrent network can.

Claim: where the label depends on order alone, a network that averages its inputs, or classifies
each step alone and averages the outputs, is correct half of the time by construction. A recurrent
network is correct more often, and with the order destroyed, in training and in test, it is back
at one half. Shown on two events among distractors, and on Shakespeare's lines against the same
words shuffled.

Source: Elman 1990, whose first section says why time calls for a state rather than a longer input.

Run time: about 4 min on two cores; 15 s with --quick, which takes three networks and fewer lines
and steps.

Examples:
  python -m experiments.order_matters
  python -m experiments.order_matters --cell lstm --seeds 0,1,2 --out results/lstm

How: every sequence comes with a partner made of the same symbols, which has the other label, so
that whatever depends on the symbols alone is correct for exactly one of the two. Events: A before
B, or the two exchanged. Lines: as printed, or with their words in random order, in lower case and
without punctuation, so that neither a capital nor a full stop gives the order away. Whole works
are held out for validation and test. The baseline is a classifier that weighs every pair of
neighbours by how much likelier it is in one kind of line than in the other.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from experiments.lab import harness

FEWEST, MOST = 6, 12  # words in a line
SEEN = 5  # times that a word must occur in the training lines to be known
DISTRACTORS = 10  # symbols of an event sequence that mean nothing

Name = Literal["mean", "alone", "recurrent", "orderless"]


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    network: tuple[Name, ...] = get_args(Name)
    """Which networks; orderless is the recurrent one with the order destroyed."""
    cell: Literal["tanh", "gru", "lstm"] = "tanh"
    """The recurrence."""
    length: int = 20
    """Steps of an event sequence."""
    works: int = 36
    """Works to train on; three more are for validation, three for test."""
    hidden: int = 64
    """Hidden units, and numbers that a symbol is embedded in."""
    steps: int = 2000
    """Training steps on lines."""
    event_steps: int = 300
    """Training steps on events, which are learnt sooner."""
    pairs: int = 128
    """Sequences in a training step, each with its partner."""
    held: int = 8000
    """The most pairs in validation, and in test; lines are fewer."""
    learning_rate: float = 3e-3
    """Of Adam, at the start; it falls to zero along a cosine."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "network": ("mean", "recurrent", "orderless"), "length": 6, "works": 3,
        "hidden": 32, "steps": 120, "event_steps": 80, "pairs": 64, "held": 1000,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.each_once("network")
        self.between("works", 1, 36)
        if self.length < 2:
            raise ValueError(
                f"--length: expected room for two events, got {self.length}; choose another"
            )
        self.above_zero("hidden", "steps", "event_steps", "pairs", "held", "learning_rate")
