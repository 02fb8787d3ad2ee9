"""The section on the page: how much of the past is in a hidden state."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.hidden_memory.experiment import (
    ALONE,
    HORIZONS,
    LINE,
    Shown,
    beyond,
    memory,
    networks,
    steps_back,
)
from experiments.hidden_memory.figure import first_and_others, followed
from experiments.hidden_memory.options import NUMBERS
from experiments.measures.seeds import Spread, exceeds
from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Equation,
    Exercise,
    Found,
    Heading,
    Plot,
    Section,
    Widget,
)
from experiments.page.wording import listed
from experiments.style import STYLES

HOURS = 72  # of the states that the page steps through
SHORT, LONG, ASKED = 0.5, 0.9, 0.8  # what a memory of one number keeps from step to step


def leaky(kept: float, lag: int) -> float:
    """R² of white noise `lag` steps ago in h_t = kept h_{t-1} + x_t."""
    return (1 - kept**2) * kept ** (2 * lag)


def body(found: Found) -> Sequence[Block]:
    """A measure of memory, its limit, and what noise and weather leave in a state."""
    return [*_measure(), *_limit(), *_noise(found), *_weather(found), *_units(found), *_limits()]


def _measure() -> list[Block]:
    return [
        "Interrupt a conversation and ask one of the speakers what was said a minute ago, ten "
        "minutes ago, an hour ago. The last sentence comes back almost word for word, the last "
        "few minutes in outline, and the rest is gone. That gives you two things to ask of any "
        "memory: how much does it hold, and how far back does it reach?",
        "You can question a recurrent network in the same way. All that it knows about earlier "
        "inputs is in its state $h_t$ (for an LSTM, in the hidden state and the cell state "
        "together). Stop it at step $t$ and try to recover from the numbers in $h_t$ the input "
        "$x_{t-k}$ that it read $k$ steps earlier, at *lag* $k$.",
        Heading("A measure of memory"),
        "The model that recovers the input should be simple, or it would be that model that we "
        "measure. We use a *linear readout*: for each lag $k$ a weighted sum of the numbers in the "
        "state, with weights $w_k$, plus a constant $b_k$. It predicts",
        Equation(r"\hat{x}_{t-k} = w_k^\top h_t + b_k"),
        "Only $w_k$ and $b_k$ are fitted, by least squares on one part of the data; the network "
        "does not change. On another part we measure how well the readout predicts:",
        Equation(
            r"R^2_k = 1 - \frac{\sum_t (x_{t-k} - \hat{x}_{t-k})^2}{\sum_t (x_{t-k} - \bar{x})^2}"
        ),
        r"Here $\bar{x}$ is the mean of the inputs. $R^2_k = 1$ means that the readout recovers "
        "the input exactly, and $R^2_k = 0$ that it is no better than always predicting the mean. "
        "Below 0 it is worse than that.",
        "Try it on the smallest memory there is, a single number: $h_t = a h_{t-1} + x_t$. It "
        "reads *white noise*: independent random inputs with mean 0, none of which predicts "
        "another. The input of $k$ steps ago is in the state with weight $a^k$, and all the other "
        "inputs hide it. What a linear readout can recover is its share of the state's variance:",
        Equation(r"R^2_k = \frac{a^{2k}}{1 + a^2 + \dots} = (1 - a^2) \, a^{2k}"),
        Bullets(
            [
                f"$a = {kept}$ gives "
                + ", ".join(f"{leaky(kept, lag):.2f}" for lag in range(3))
                + f" at lags 0, 1 and 2, and {leaky(kept, 5):.{digits}f} at lag 5."
                for kept, digits in ((SHORT, 4), (LONG, 2))
            ]
        ),
        "The second memory reaches further back, but knows less about the latest input. Add up "
        "$R^2_k$ over all lags, and both come to exactly 1.",
    ]


def _limit() -> list[Block]:
    return [
        Heading("A limit"),
        "The sum of $R^2_k$ over all lags is the *memory capacity* $C$ (Jaeger 2002). For white "
        "noise it cannot exceed $H$, how many numbers the state has:",
        Equation(r"C = \sum_{k=0}^{\infty} R^2_k \le H"),
        "The reason, in short: a number can be fully explained only once. Its squared correlations "
        "with inputs that are uncorrelated with each other add up to at most 1. So each number in "
        "the state contributes at most 1 to the total.",
        "The limit can be reached. A *delay line* stores the last $H$ inputs and moves them along "
        "by one place at every step: $R^2_k$ is 1 at the first $H$ lags and 0 at all others.",
    ]


def _noise(found: Found) -> list[Block]:
    few, others = first_and_others(_names(found))
    shown = ["noise-before", "noise-after", *(["others"] if others else []), "capacity"]
    more = " The third panel shows the other networks after training." if others else ""
    return [
        Heading("Networks that read noise"),
        f"Every network here carries {NUMBERS} numbers from step to step: an LSTM "
        f"{NUMBERS // 2} in its cell state and {NUMBERS // 2} in its hidden state, an LRU "
        f"{NUMBERS // 2} complex numbers, which count twice. “Orthogonal” and “identity” are the "
        "[starting weights](#vanishing_gradients) of before.",
        f"We measured each network before training and after {found['steps']} training steps on a "
        f"recall task: at every step, output the last {NUMBERS} inputs.",
        Plot(
            shown,
            "First two panels: $R^2$ against the lag, before and after training, mean over the "
            "seeds. The area under a curve is the capacity; the dotted step is a delay line."
            f"{more} Last panel: the capacity of every network, with open marks before training, "
            "filled marks after it, and a small stroke for each seed.",
            _noise_alt(found, few),
        ),
        f"{_untrained(found)} {_raised(found)}",
        _best(found, "capacity_after", "capacity after training", ".1f"),
        "Because the total is limited, memory is a trade-off. A unit that preserves one input for "
        "a long time cannot store the inputs that arrive in the meantime.",
    ]


def _weather(found: Found) -> list[Block]:
    few, _ = first_and_others(_names(found))
    alone = found["baselines"][ALONE]
    ahead = ", ".join(map(str, HORIZONS[:-1])) + f" and {HORIZONS[-1]}"
    return [
        Heading("Weather: a present that resembles the past"),
        "White noise is the cleanest test, but not a natural one. In most sequences the present "
        "[resembles the past](#time_dependence). At JFK airport in New York, the temperature now "
        f"predicts that of 24 hours ago with $R^2 = {alone['r2_24_after']:.2f}$, without any "
        "memory. So a high $R^2$ is no evidence of memory here. What counts is how much the state "
        "adds to the latest input:",
        Equation(r"S_k = 1 - \frac{E_k(h_t)}{E_k(x_t)}"),
        "$E_k(h_t)$ is the mean squared error of a linear readout that predicts $x_{t-k}$ from the "
        "state, and $E_k(x_t)$ that of a readout that sees the latest input alone. $S_k = 0$ means "
        "that the state adds nothing; $S_k = 1$ means that it recovers $x_{t-k}$ exactly.",
        f"This time the networks were trained to forecast the temperature {ahead} hours ahead. "
        "The task does not ask for the past. If the state retains some of it, that is "
        "because it helps the forecast, or because it has not been overwritten yet.",
        Plot(
            ["weather", "beyond"],
            "First panel: $R^2$ of the temperature against the lag; the thick line is for the "
            "latest input alone. Second panel: $S_k$, the share of the thick line's error that "
            "reading the state removes. Means over the seeds, after training.",
            _weather_alt(found, few),
        ),
        _added(found),
        _a_day_ago(found),
        Code([memory, steps_back, beyond], "The measures"),
    ]


def _units(found: Found) -> list[Block]:
    label = STYLES[followed(_names(found))].label
    return [
        Heading("Fast and slow units"),
        f"Single units differ. The next figure shows every unit of the trained {label} over a "
        "whole year. The *time scale* of a unit is the lag at which its "
        r"[autocorrelation](#time_dependence) first falls below $1/e \approx 0.37$.",
        Plot(
            ["strip"],
            "Above, the temperature. Below, one row for each unit, the slowest on top, with its "
            "time scale at the left: red where the unit is above its mean, blue where it is below, "
            "pale where it is close to it. The sign of each unit was chosen so that red goes with "
            "warm hours.",
            f"The temperature at JFK over 2013, and below it a strip of {NUMBERS} rows, one for "
            f"each unit of the trained {label}. The rows at the top change slowly, those at the "
            "bottom from hour to hour.",
        ),
        "A long time scale looks like a long memory, but does not prove one. The season is in the "
        "input: a unit that merely copied the current temperature would also be blue in January "
        "and red in July. That is why $S_k$ compares the state with the latest input.",
        f"Now look at single hours. Step through {HOURS // 24} days that were not used for "
        "training, and compare how the states of different networks move.",
        Widget("states", "hidden_memory"),
    ]


def _limits() -> list[Block]:
    return [
        Heading("What this does not show"),
        Bullets(
            [
                "The readout is linear. What only a non-linear readout would find in the state is "
                "not counted.",
                "The limit holds for white noise. On inputs that predict each other, a state of "
                f"{NUMBERS} numbers can recover far more than {NUMBERS} of them.",
                "A larger capacity does not make a better network. A task may need one input from "
                "long ago and none of the others, as in [the next section](#cures).",
            ]
        ),
    ]


def _names(found: Found) -> list[str]:
    """Of the networks in this run, in the order of the figure."""
    return [name for name in networks() if name in found["cell"]]


def _mean(found: Found, label: str, number: str) -> float:
    value: float = found["results"][label]["mean"][number]
    return value


def _untrained(found: Found) -> str:
    """The capacities that the networks start with."""
    start = {label: _mean(found, label, "capacity_before") for label in found["results"]}
    most, least = max(start, key=start.__getitem__), min(start, key=start.__getitem__)
    told = f"Even before training there is memory: the capacity of {most} is {start[most]:.1f}"
    return told + (f", that of {least} {start[least]:.1f}." if most != least else ".")


def _raised(found: Found) -> str:
    """How training changed the capacity."""
    changed = {
        label: (_mean(found, label, "capacity_before"), _mean(found, label, "capacity_after"))
        for label in found["results"]
    }
    label = max(changed, key=lambda one: changed[one][1] - changed[one][0])
    before, after = changed[label]
    lower = [one for one, (start, end) in changed.items() if end <= start]
    if lower:
        return (
            f"Training on recall did not raise the capacity of {listed(lower)} in this run; it "
            f"raised that of {label} from {before:.1f} to {after:.1f}."
            if after > before
            else "Training on recall did not raise the capacity of any network in this run."
        )
    if len(changed) == 1:
        return f"Training on recall raised the capacity from {before:.1f} to {after:.1f}."
    told = (
        "Training on recall raised the mean capacity of every network in this run, that of "
        f"{label} from {before:.1f} to {after:.1f}."
    )
    within = all(after < NUMBERS for _, after in changed.values())
    return f"{told} All remain below the limit." if within else told


def _ranked(found: Found, number: str) -> list[str]:
    """The networks, the largest mean first."""
    return sorted(found["results"], key=lambda label: -_mean(found, label, number))


def _best(found: Found, number: str, called: str, form: str) -> str:
    """Which network has the largest mean, and whether that exceeds what the seeds differ by."""
    ranked = _ranked(found, number)
    values = [format(_mean(found, label, number), form) for label in ranked]
    if len(ranked) == 1:
        return f"{ranked[0]} has a {called} of {values[0]}."
    told = (
        f"{ranked[0]} has the largest {called}, {values[0]}; {ranked[1]} follows with {values[1]}. "
    )
    if "deviation" not in found["results"][ranked[0]]:
        return told + "With a single seed, that does not establish an order."
    first, second = (
        Spread(*(found["results"][label][kind][number] for kind in Spread._fields))
        for label in ranked[:2]
    )
    if exceeds(first, second):
        return told + "The lead exceeds the sum of their two standard deviations over the seeds."
    return (
        told + "The lead does not exceed the sum of their two standard deviations over the seeds: "
        "no difference between the two was found."
    )


def _a_day_ago(found: Found) -> str:
    """The range of R² at 24 hours, beside the latest input alone and the delay line."""
    ranked = _ranked(found, "r2_24_after")
    most, least = (_mean(found, label, "r2_24_after") for label in (ranked[0], ranked[-1]))
    reached = (
        f"between {least:.2f} and {most:.2f}, depending on the network"
        if ranked[1:]
        else f"{most:.2f}"
    )
    return (
        f"For the temperature 24 hours ago, $R^2$ is {reached}. A {LINE} hours contains that hour "
        f"and reaches {found['baselines'][LINE]['r2_24_after']:.2f}. Storing as much as possible "
        "and storing what a forecast needs are different tasks."
    )


def _added(found: Found) -> str:
    """Whose state adds more to the latest input than the seeds differ by."""

    def adds(label: str) -> bool:
        deviation: float = found["results"][label].get("deviation", {}).get("beyond_after", 0.0)
        return _mean(found, label, "beyond_after") > deviation

    some = [label for label in found["results"] if adds(label)]
    others = [label for label in found["results"] if label not in some]
    told = (
        "Averaged over all lags, $S_k$ is above zero by more than its standard deviation over the "
        f"seeds in {listed(some)}: these networks do remember."
        if some
        else "Averaged over all lags, $S_k$ is not clearly above zero in any network of this run."
    )
    return f"{told} In {listed(others)} it is not." if some and others else told


def _noise_alt(found: Found, few: Sequence[str]) -> str:
    each = "; ".join(
        f"{label} {_mean(found, label, 'capacity_before'):.1f} before training and "
        f"{_mean(found, label, 'capacity_after'):.1f} after"
        for label in found["results"]
    )
    far = ", ".join(
        f"{label} {_mean(found, label, 'steps_after'):.0f}"
        for label in (STYLES[name].label for name in few)
    )
    return (
        f"R² of white noise falls with the lag. Its sum, at most {NUMBERS}: {each}. Lags in a row "
        f"with R² above one half after training: {far}."
    )


def _weather_alt(found: Found, few: Sequence[str]) -> str:
    each = "; ".join(
        f"{label} {_mean(found, label, 'r2_24_after'):.2f} and "
        f"{_mean(found, label, 'beyond_after'):.2f}"
        for label in (STYLES[name].label for name in few)
    )
    return (
        "R² of the temperature against the lag up to 96 hours; the latest input alone reaches "
        f"{found['baselines'][ALONE]['r2_24_after']:.2f} at 24 hours. R² at 24 hours, and the mean "
        f"share of the error removed, after training: {each}."
    )


def step_by_step(shown: Shown) -> dict[str, Any]:
    """The states of every network over some measured days without a missing hour.

    `labels` `[T]` are the hours in words, `inputs` the temperature in °C, and `cells` the
    networks, each with `h` `[T, S]`.
    """
    year = shown.year
    middle = (year.measured.start + len(year.hours)) // 2
    stretches = (slice(first, first + HOURS) for first in range(middle, len(year.hours)))
    hours = next(each for each in stretches if np.isfinite(year.degrees[each]).all())
    return {
        "step": "hour",
        "labels": [f"{hour.day} {hour:%B %Y, %H}:00 UTC" for hour in year.hours[hours].tolist()],
        "inputs": [
            {"label": "temperature at JFK", "unit": "°C", "values": year.degrees[hours].round(1)}
        ],
        "cells": [
            {
                "label": studied.label,
                "h": np.asarray(studied.weather[0]["states"][hours], float).round(3),
            }
            for studied in shown.networks.values()
        ],
    }


def exercises(found: Found) -> list[Exercise]:
    """The memory of one number, and the limit."""
    first, third = leaky(ASKED, 0), leaky(ASKED, 3)
    lags, claimed, numbers = 80, 0.8, 50
    return [
        Exercise(
            f"A memory of one number, $h_t = {ASKED} h_{{t-1}} + x_t$, reads white noise. What is "
            "its $R^2$ at lag 0, and at lag 3?",
            f"$1 - {ASKED}^2 = {first:.2f}$ at lag 0, and ${first:.2f} \\cdot {ASKED}^6 = "
            f"{third:.3f}$ at lag 3. It knows more about the latest input than the memory with "
            f"$a = {LONG}$, and more about that of three steps ago than the one with "
            f"$a = {SHORT}$.",
            {"At lag 0": first, "At lag 3": third},
        ),
        Exercise(
            f"A colleague reports that a network with a state of {numbers} numbers remembers each "
            f"of the last {lags} inputs of white noise with $R^2 = {claimed}$. What would its "
            f"capacity be? And how large can the mean of $R^2$ over {lags} lags be at most?",
            f"{lags} · {claimed} = {lags * claimed:.0f}, more than {numbers}: the report cannot be "
            f"right. The largest possible mean is {numbers} / {lags} = {numbers / lags:.3f}. "
            "Perhaps the readout was measured on the data on which it was fitted, or the inputs "
            "were not white noise.",
            {"Its capacity": lags * claimed, "Largest mean": numbers / lags},
        ),
    ]


SECTION = Section(
    title="The hidden state as memory", body=body, exercises=exercises, data=step_by_step
)
