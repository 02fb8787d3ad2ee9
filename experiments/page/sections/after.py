"""What came after recurrence."""

from experiments.page.section import Exercise, Found, Section
from experiments.page.sections import numbers


def measure() -> Found:
    """Nothing: this section only tells."""
    return numbers({}, [])


SECTION = Section(
    place=22,
    title="What came after recurrence",
    text=lambda found: [
        "Since about 2018 most text, speech and translation is no longer done by the networks of "
        "this page but by transformers, which let every position look at all earlier ones at once "
        "(attention) instead of handing on one state. That takes away both troubles you have met: "
        "no gradient has to travel through a hundred steps, and in training nothing waits its "
        "turn, so that accelerators are kept busy. The price is that work grows with the square "
        "of the length, and that what was read must be kept, all of it, while a recurrent state "
        "stays as small as it is. For this reason recurrence has come back in another form: "
        "layers whose recurrence is linear (S4, LRU, Mamba, RWKV and their kin) run over all "
        "steps at once like attention in training, and step by step with a small state in use. "
        "What of this is better depends on the task, the data and the machine; on small data, in "
        "streams that never end and on small devices a GRU is still a sound first choice, and "
        "the questions of this page, what is remembered, how far the gradient reaches, and what "
        "the simple baseline does, are asked of every one of them.",
    ],
    alt=lambda found: "",
    code=[],
    exercise=Exercise(
        "One text has 1,000 words, another 10,000. A recurrence has ten times as much to do for "
        "the second. By what factor does the work of attention grow?",
        "Attention compares each word with all before it: a hundred times. A recurrence does the "
        "same once a word. What must be kept to read on grows tenfold for attention "
        "and not at all for the recurrence.",
        number=100,
    ),
)
