"""What came after recurrence, and what the reader can do now."""

from collections.abc import Sequence

from experiments.hidden_memory.experiment import LINE, memory
from experiments.hidden_memory.options import NUMBERS
from experiments.hidden_memory.tasks import white_noise
from experiments.page.section import Block, Bullets, Equation, Exercise, Found, Heading, Section
from experiments.page.sections import numbers

SHORT, LONG = 1_000, 10_000  # steps


def measure() -> Found:
    """What the closing exercise has the reader compute: the capacity of a delay line."""
    noise = white_noise(0)
    r2, _ = memory(noise.wanted[:, :NUMBERS], noise.wanted, noise.fitted, noise.measured)
    return numbers({}, [], capacity=float(r2.sum()))


def _body(found: Found) -> Sequence[Block]:
    return [*_attention(), *_linear(), *_today(), *_summary()]


def _attention() -> list[Block]:
    return [
        "You now know recurrent networks as they were used until about 2017. Today, other networks "
        "do most of the work on text, speech and translation. What changed, and what is left of "
        "$h_t = f(h_{t-1}, x_t)$?",
        Heading("Attention: keep everything"),
        "A recurrent network that translates a sentence has to squeeze the whole sentence into one "
        "state. *Attention* (Bahdanau, Cho and Bengio 2014) removed this bottleneck: for every "
        "word that it writes, the network looks back at the states of all words it has read and "
        "takes a weighted average of them. The *transformer* (Vaswani and others 2017) kept the "
        "attention and dropped the recurrence.",
        "This solves both problems you have met. A gradient reaches an input far back along one "
        "connection, so it does not have to survive a hundred multiplications. And no time step "
        "has to wait for the one before it, so training makes full use of a parallel machine.",
        "Of $h_t = f(h_{t-1}, x_t)$ nothing remains: in place of the state there is a store that "
        "grows with every step. On long sequences that is expensive. Each of $T$ steps is compared "
        "with all the steps before it, so the work grows with $T^2$. And to generate text the "
        "network must keep something for every step that it has read, whereas a recurrent state "
        "has a fixed size.",
    ]


def _linear() -> list[Block]:
    return [
        Heading("Linear recurrences: keep the state, drop the tanh"),
        "A second line of work kept the small state and asked what prevents a recurrence from "
        "being computed in parallel. The answer is the non-linear function around $h_{t-1}$. "
        "Without it the recurrence is",
        Equation(r"h_t = A_t h_{t-1} + b_t"),
        "where $A_t$ and $b_t$ may depend on the input $x_t$ but not on the state. Two such steps "
        "in a row are again a step of this form, so all steps can be merged in pairs, in a number "
        "of rounds that grows with $\\log_2 T$; [the gates](#gates) showed how. Non-linear layers "
        "between the recurrent ones supply what the recurrence has given up.",
        Bullets(
            [
                "*S4* (Gu, Goel and Ré 2021), a *state space model*: $A$ is the same at every "
                "step and has a special structure, which lets it remember thousands of steps.",
                "*LRU* (Orvieto and others 2023): $A$ is a diagonal matrix of complex numbers with "
                "a length below 1. This simple form is enough if it is initialised well.",
                "*RWKV* (Peng and others 2023): sums over the past with decaying weights, trained "
                "like a transformer and run like a recurrent network.",
                "*Mamba* (Gu and Dao 2023): $A_t$ and $b_t$ depend on the input, so that the layer "
                "can select what to store. That is the idea of a gate.",
                "*Griffin* (De and others 2024): its layer RG-LRU is a real-valued LRU with gates. "
                "It alternates with attention to the most recent steps.",
                "*xLSTM* (Beck and others 2024): an LSTM with exponential gates. One kind of layer "
                "has a matrix as memory and trains in parallel; the other still feeds $h_{t-1}$ "
                "back into its gates and does not.",
                "*minGRU* (Feng and others 2024): a GRU without reset gate and tanh, whose update "
                "gate and candidate look at $x_t$ alone.",
            ]
        ),
        "None of these is better at everything. A layer with a small state forgets: it cannot copy "
        "a long text word for word, as attention can. And the state of a linear recurrence, unlike "
        "that of a tanh network, cannot influence how it is updated. Some large language models "
        "combine attention with linear recurrences.",
    ]


def _today() -> list[Block]:
    return [
        Heading("Where recurrent networks are used today"),
        "They are a good choice where data arrive one step at a time, without end, and where "
        "memory or data are scarce.",
        Bullets(
            [
                "*Agents.* An agent that sees only part of its world needs a state. The programs "
                "that in 2019 played Dota 2 (OpenAI Five) and StarCraft II (AlphaStar) at top "
                "level had an LSTM at their core. The world model of Dreamer has a GRU.",
                "*Streaming speech on a device.* The *recurrent transducer* (Graves 2012) outputs "
                "words while you speak; since 2019 it has run inside phones.",
                "*Neuroscience.* Networks are trained on the task that an animal performs, and "
                "their states are compared with recorded brain activity (Mante and others 2013).",
                "*Time series.* Demand forecasts (DeepAR, Salinas and others 2017) and forecasts "
                "of river flow (Kratzert and others 2018) use LSTMs, often one network for many "
                "series.",
            ]
        ),
    ]


def _summary() -> list[Block]:
    return [
        Heading("What you can do now"),
        Bullets(
            [
                "Say what a hidden state is, and compute one by hand: [the "
                "recurrence](#recurrence).",
                "Draw an LSTM, and explain why its gradient survives where that of a tanh network "
                "[vanishes](#vanishing_gradients): [the gates](#gates).",
                "Measure how far back a network remembers, and how far back it can learn: [the "
                "hidden state as memory](#hidden_memory) and [the cures](#cures).",
                "Tell an honest evaluation from a leaky one: [leakage](#leakage), [sampling "
                "error](#sampling_error) and [simple baselines](#simple_wins).",
                "Train a network of your own in rnnjax and run it: [training](#training), and [a "
                "network that writes](#characters).",
            ]
        ),
        "Whatever comes next, the same questions apply to it. What does its state hold? How far "
        "does its gradient reach? How well does a simple baseline do on the same test set?",
    ]


def _exercises(found: Found) -> list[Exercise]:
    capacity = found["capacity"]
    return [
        Exercise(
            f"One text has {SHORT:,} words, another {LONG:,}. By what factor does the work grow "
            "from the first to the second for attention, and for a recurrence?",
            "Attention compares each word with all words before it, so its work grows by a factor "
            "of about 100. A recurrence does the same work for each word, so its work grows by a "
            "factor of 10. What has to be kept to read on grows tenfold for attention, and not at "
            "all for the recurrence.",
            {"Attention": (LONG / SHORT) ** 2, "Recurrence": LONG / SHORT},
        ),
        Exercise(
            "Now do an experiment of your own. Run `python -m experiments.hidden_memory --cell "
            "tanh --out results/memory-tanh`, and then `python -m experiments.hidden_memory --cell "
            "gru --out results/memory-gru`, a few minutes each. Compare three things in the two "
            "tables: the capacity before training, the capacity after it, and $R^2$ for the "
            "temperature 24 hours ago. Does the same network lead in all three? Is each lead "
            "larger than the deviations over the seeds, which are printed after ±? To check that "
            f"your run worked, enter the capacity that it prints for the {LINE}.",
            f"The {LINE} has a capacity of {capacity:.1f}: its limit is {NUMBERS}, and at the lags "
            "it does not hold, a readout fitted on other data is slightly worse than the mean. For "
            "the networks, your own tables decide; report a difference only where it exceeds the "
            "deviations. Noise and weather need not agree: recalling noise rewards a network for "
            "storing as much as possible, a forecast for storing what is useful.",
            {"Capacity of the delay line": capacity},
        ),
    ]


SECTION = Section(title="What came after recurrence", body=_body, exercises=_exercises)
