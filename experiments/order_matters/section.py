"""The section on the page: why order matters."""

from collections.abc import Sequence

from experiments.order_matters.experiment import (
    NEIGHBOURS,
    EachStepAlone,
    MeanOfInputs,
    Recurrent,
    contenders,
    row_name,
)
from experiments.page.section import Block, Code, Exercise, Found, Plot, Section

TASKS = ("events", "lines")


def body(found: Found) -> list[Block]:
    """Two order-blind networks, one that reads, and what each gets right."""
    return [
        "“The dog bites the man” and “the man bites the dog” contain the same words. Only their "
        "order says who needs a doctor.",
        "A feed-forward network takes a fixed number of inputs. To give it a sequence of any "
        "length, you can average the inputs and classify the average, or classify each input "
        "alone and average the outputs. Either way the order is lost, because a sum does not "
        "depend on the order of its terms. Such a model is called a *bag of words*. For some "
        "questions, such as what a text is about, that is enough.",
        "Here is a test in which only the order matters. Every sequence has a partner that "
        "consists of the same symbols and has the other label. In the first task, *events*, the "
        "symbols A and B occur among other letters, and the label says which of the two comes "
        "first. In the second, *lines*, the label says whether the words of a line of Shakespeare "
        "have been shuffled. An example:",
        _example(found),
        "An order-blind network gives both partners the same answer, so it is correct for exactly "
        "one of them. Its accuracy is one half by construction, no matter how large it is or how "
        "long it is trained. Its rival is a recurrent network, which reads one symbol after "
        "another into a memory. [A later section](#recurrence) builds one.",
        Plot(
            TASKS,
            "Accuracy on the test set. There is one mark for each seed, that is, for each training "
            "from different random weights. The bar is the 95 % interval of the mean "
            "([explained later](#sampling_error)), which counts a pair as one observation. The "
            f"black line is at one half. “{NEIGHBOURS}” is a classifier without a network.",
            _alt(found),
        ),
        *_results(found),
        "That does not make recurrence the only way to use order. A classifier that merely counts "
        f"which symbols occur next to each other knows something about it. {_rival(found)} On "
        "events, A and B are rarely neighbours, and the classifier has no memory "
        "that reaches further back than one step.",
        Code([MeanOfInputs, EachStepAlone, Recurrent], "The three networks"),
    ]


def _example(found: Found) -> str:
    one, other = found["extra"]["examples"]["lines"]
    return f"Unshuffled: *{one}*. Its partner: *{other}*."


def _accuracy(found: Found, task: str, name: str) -> str:
    """In per cent, with its deviation over the seeds."""
    numbers = found["results"][row_name(task, contenders([name])[name])]
    deviation = numbers.get("deviation", {}).get("accuracy", 0)
    spread = f" ± {deviation:.1f}" if round(deviation, 1) else ""
    return f"{numbers['mean']['accuracy']:.1f}{spread} %"


def _results(found: Found) -> Sequence[str]:
    """What the network that reads got right, and what was left without the order."""
    if "recurrent" not in found["network"]:
        return []
    events, lines = (_accuracy(found, task, "recurrent") for task in TASKS)
    told = [
        f"The recurrent network is correct for {events} of the events and {lines} of the lines. "
        "(± gives the standard deviation over the seeds.)"
    ]
    if "orderless" in found["network"]:
        events, lines = (_accuracy(found, task, "orderless") for task in TASKS)
        told.append(
            "Now shuffle every sequence before the same network reads it, in training and in test: "
            f"{events} and {lines} remain. The order was all it had used."
        )
    return told


def _rival(found: Found) -> str:
    """The classifier by neighbours on lines, beside the recurrent network."""
    counted = found["baselines"][f"lines: {NEIGHBOURS}"]["accuracy"]
    told = f"On lines it is correct {counted:.1f} % of the time"
    if "recurrent" not in found["network"]:
        return f"{told}."
    ours = found["results"][row_name("lines", contenders(["recurrent"])["recurrent"])]["mean"]
    if ours["low"] <= counted <= ours["high"]:
        return f"{told}, and no difference from the recurrent network was found."
    return (
        f"{told}, {'less' if counted < ours['low'] else 'more'} often than the recurrent network."
    )


def _alt(found: Found) -> str:
    names = contenders(found["network"])
    told = "; ".join(
        f"{contender.label} {_accuracy(found, 'events', name)} on events and "
        f"{_accuracy(found, 'lines', name)} on lines"
        for name, contender in names.items()
    )
    counted = " and ".join(
        f"{found['baselines'][f'{task}: {NEIGHBOURS}']['accuracy']:.1f} % on {task}"
        for task in TASKS
    )
    return (
        "Two charts of test accuracy, one for events and one for lines, one row for each network, "
        f"with a vertical line at one half: {told}; {NEIGHBOURS} {counted}."
    )


SECTION = Section(
    title="Why order matters",
    body=body,
    exercises=lambda found: [
        Exercise(
            "A network that averages its inputs is tested on 1000 lines of Shakespeare and on the "
            "same 1000 lines with their words shuffled. It classifies 700 of the unshuffled lines "
            "correctly. How many of its 2000 answers are correct?",
            "1000. It gives every line and its shuffled partner the same answer. So it is wrong "
            "about the partners of those 700 lines, and correct about the partners of the other "
            "300: 700 + 300 = 1000.",
            {"Correct answers": 1000},
        )
    ],
)
