"""An LSTM predicts the next word of Shakespeare better than n-grams do, even those with a cache.

Claim: on plays that neither has seen, with the same tokens and the same closed vocabulary, the
perplexity of an LSTM is below that of interpolated Kneser-Ney models of three and of five words,
and below that of the latter with a cache of the latest words. How much of the difference is a
longer memory is measured too: by what the LSTM predicts with one word before it, two, and so on.

Source: Mikolov 2010 (recurrent language models); Chen and Goodman 1998 (modified Kneser-Ney);
Kuhn and De Mori 1990 (the cache); Press and Wolf 2017 (tied embeddings).

Run time: about 18 min on two cores; 14 s with --quick, which trains a small network for a
moment on four plays and is not expected to support the claim.

Examples:
  python -m experiments.next_word
  python -m experiments.next_word --least 20 --steps 1500 --out results/small_vocabulary

How: three plays are held out for the test and three for validation; names of speakers and
stage directions are left out. A word that occurs fewer than --least times in the training
plays counts as <unk>, for every model. The network reads the training plays from many places
at once, its state carried from window to window, and the test plays in one pass. The size and
the weight of the cache are chosen on the validation plays. Two models are compared word by word,
their difference with a 95 % interval from a bootstrap over blocks of the test plays.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.lab import harness

ORDERS = (1, 2, 3, 5)  # words in the longest gram of each baseline
SEEN = 128  # tokens before a prediction, those of the prompt among them
CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128)  # tokens that the network may see


@dataclass(frozen=True)
class Options(harness.Options):
    """What can be told to this experiment."""

    least: int = 8
    """Times that a word must occur in the training plays to be in the vocabulary."""
    works: int = 36
    """Plays and poems to train on."""
    size: int = 256
    """Hidden units, and numbers in an embedding."""
    dropout: float = 0.2
    """Before and after the recurrence."""
    steps: int = 2200
    """Training steps."""
    batch: int = 32
    """Places of the text read side by side."""
    window: int = 32
    """Tokens between two training steps."""
    learning_rate: float = 3e-3
    """Of Adam, at its highest."""
    looks: int = 6
    """How often the loss on the validation plays is computed in training."""
    positions: int = 4096
    """Words of the test plays that are predicted with more and less context."""

    REPEATS: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {
        "works": 4, "size": 64, "steps": 60, "batch": 16, "learning_rate": 1e-2, "looks": 1,
        "positions": 128,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuses values that cannot be used.

        Raises:
          ValueError: naming the option.
        """
        super().__post_init__()
        self.between("works", 1, 36)
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"--dropout: expected from 0 to below 1, got {self.dropout}; choose another"
            )
        # The warm-up is a twentieth of the training.
        if self.steps < 20:
            raise ValueError(f"--steps: expected at least 20, got {self.steps}; choose another")
        self.above_zero("least", "size", "batch", "window", "learning_rate", "looks", "positions")
