"""The section on the page: temperature."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.data.new_york import new_york_weather
from experiments.measures.intervals import conformal
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
)
from experiments.page.wording import listed
from experiments.temperature.experiment import (
    NETWORK,
    RIVAL,
    ROUGH,
    SIMPLE,
    in_pieces,
    is_below,
)
from experiments.temperature.figure import STRETCH
from experiments.temperature.scores import BLOCK, LEVEL, RECENT, verdict
from experiments.temperature.task import (
    HORIZONS,
    PAST,
    PERSISTENCE,
    SEASONAL,
    blend,
    naive,
    prepare,
)

FAR = max(HORIZONS)
MIDDLE = 1  # the horizon of the exercise, by its place in HORIZONS
COMMAND = (
    'python -c "from experiments.data.new_york import new_york_weather; '
    "from experiments.temperature.task import naive, prepare; "
    "task = prepare(new_york_weather(), 1); one, other = naive(task).values(); "
    'print(task.rmse((one + other) / 2, task.split.test))"'
)


def body(found: Found) -> list[Block]:
    """The task, baselines, networks, what came out, and how sure a forecast is."""
    return [
        f"What will the temperature be in {listed(HORIZONS)} hours? The data are one year of "
        "hourly weather at New York's three airports: temperature, dew point, humidity, wind, "
        f"rain, pressure and visibility. The network reads the last {PAST} hours of all this, "
        "with the time of day and of year. It predicts the temperature at each airport for all "
        "three *horizons* at once, so it never reads its own predictions.",
        Heading("The baselines first"),
        Bullets([
            "*Persistence*: the temperature remains as it is now.",
            "*Seasonal naive*: it will be as it was at the same hour one day earlier.",
            f"*Autoregression*: a weighted sum of the airport's own last {PAST} temperatures, the "
            "time of day and the time of year, fitted by least squares.",
            "*Linear blend*: a weighted mean of two linear models. One is the autoregression. The "
            "other is a *vector autoregression*, which predicts all three airports from "
            "everything that the network reads.",
        ]),
        "Why blend? Suppose that one forecast is 2 °C too high and another 1 °C too low. Their "
        "mean is only 0.5 °C too high: errors that differ partly cancel. The weights of the blend "
        "are chosen on the validation set, for each horizon.",
        Heading("The network as a correction"),
        "The network is a [GRU](#gates), and it does not predict the temperature itself. It "
        "predicts what the linear blend gets wrong:",
        Equation(r"\hat y_{t+k} = b_{t+k} + s_k (w_k \cdot h_t + c_k)"),
        r"Here $\hat y_{t+k}$ is the forecast that is made at hour $t$ for $k$ hours later, and "
        "$b_{t+k}$ is that of the linear blend. $h_t$ is the hidden state after the last hour, and "
        "$s_k$ is the typical error of the blend. The weights $w_k$ and $c_k$ of the output "
        "layer start at zero, so training starts exactly at the blend.",
        "A second network corrects persistence instead. It has to find on its own what the linear "
        f"blend gives the first one.{_members(found)} In both, the correction has a weight that is "
        "chosen on the validation set: zero, if it does not help.",
        Heading("Who wins?"),
        f"{_cut(found['cycles'][0])} A window that would cross a border is left out, and hours "
        "without an observation are not scored.",
        Plot(
            ["errors", "gains"],
            "First panel: error on the test set, one part for each horizon; open diamonds are for "
            "models without a network. Second panel: how much of the mean squared error of the "
            f"{RIVAL} each "
            "network saves, on a scale of its own; to the right of the line it is better. There is "
            "one mark for each seed. The bar is the 95 % interval from resampling blocks of "
            f"{BLOCK // 24} days: it covers the chance in the weather, the marks that in training.",
            _errors_in_words(found),
        ),
        *_results(found),
        *_other_splits(found),
        "Why is there so little to gain? A few hours ahead, the temperature depends almost "
        "linearly on what can be measured now, and one year has few examples of the rest.",
        Heading("How sure is a forecast?"),
        "A forecast is more useful with an interval. Take the errors on the validation set and "
        f"choose the width so that {100 * LEVEL:.0f} % of them fit inside. If the future is like "
        f"the past, the interval will also contain about {100 * LEVEL:.0f} % of the true values to "
        "come. This is a *conformal* interval. It assumes nothing about the model, only that the "
        "errors to come are like those on the validation set.",
        "If they may not be, there is an alternative: choose the width anew every hour, from the "
        f"errors of the last {RECENT // 24} days.",
        Plot(
            ["coverage", "stretch"],
            "First panel: the share of the true test temperatures inside the intervals, for "
            "widths chosen "
            f"in both ways; the dashed line is at the intended {100 * LEVEL:.0f} %. Second panel: "
            f"{STRETCH // 24} days in the middle of the test set at LaGuardia (LGA), each hour "
            f"forecast {FAR} hours before, with the interval from the last {RECENT // 24} days.",
            _coverage_in_words(found),
        ),
        *_covered(found),
        Heading("What to distrust"),
        "A test set should be looked at once, [at the end](#leakage). That is not what happened "
        "here. The blends were added after test results of models without them had been seen. No "
        "weight was fitted on the test set, but the choice of the model was informed by it, so "
        "the results may be too good. Only the weather of another year would be a clean test.",
        "And one year is only one year. The bootstrap resamples the weather of its test months; it "
        "cannot know how different those of another year would be.",
        Code([blend, conformal], "The blend, and the width of an interval"),
    ]  # fmt: skip


def _hours(horizons: Sequence[int]) -> str:
    return f"{listed(horizons)} hour{'s' * (list(horizons) != [1])}"


def _members(found: Found) -> str:
    count = found["members"]
    return f" Each forecast is the mean over {count} trainings." if count > 1 else ""


def _cut(cycles: int) -> str:
    if cycles == 1:
        return (
            "January to August are the training set, September and October the validation set, "
            "November and December the test set. As in real use, the future is not known."
        )
    return (
        f"The year is cut into {cycles} pieces, and each piece again: the first four sixths for "
        "training, then one for validation and one for testing."
    )


def _row(found: Found, name: str) -> Mapping[str, float]:
    """A model's numbers on the first split."""
    return found["results"][name]["mean"] if name in found["results"] else found["baselines"][name]


def _results(found: Found) -> list[str]:
    network, rough = (_row(found, name) for name in (NETWORK, ROUGH))
    best = min(SIMPLE, key=lambda name: found["baselines"][name][f"rmse_{FAR}"])
    not_ = "" if is_below(network, found["baselines"]) else "not "
    error, other = network[f"rmse_{FAR}"], rough[f"rmse_{FAR}"]
    told = (
        f"{FAR} hours ahead, the network on the linear blend has an error (RMSE) of {error:.2f} "
        f"°C. The best of the first three baselines, {best}, has "
        f"{found['baselines'][best][f'rmse_{FAR}']:.2f} °C. The network's error is {not_}below "
        f"that of all three at every horizon. But the {RIVAL} alone already has "
        f"{found['baselines'][RIVAL][f'rmse_{FAR}']:.2f} °C."
    )
    worse = (
        " It has to learn from a few thousand hours what least squares finds exactly."
        if round(other, 2) > round(error, 2)
        else ""
    )
    return [
        told,
        f"Is the network better than the {RIVAL}, then? {_verdicts(network)}",
        f"The network on persistence has an error of {other:.2f} °C at {FAR} hours.{worse}",
    ]


def _verdicts(network: Mapping[str, float]) -> str:
    """What the intervals say, horizons of one verdict together."""
    words = {
        "better": "{} ahead it is: the whole interval is above zero.",
        "worse": "{} ahead it is worse: the whole interval is below zero.",
        "no difference found": "{} ahead the interval includes zero: no difference was found.",
    }
    by_verdict: dict[str, list[int]] = {}
    for h in HORIZONS:
        by_verdict.setdefault(
            verdict(network[f"gain_low_{h}"], network[f"gain_high_{h}"]), []
        ).append(h)
    return " ".join(words[said].format(_hours(which)) for said, which in by_verdict.items())


def _other_splits(found: Found) -> list[str]:
    """The same question where the year was cut otherwise."""

    def one(cycles: int) -> str:
        network = _row(found, in_pieces(NETWORK, cycles))
        rival = _row(found, in_pieces(RIVAL, cycles))[f"rmse_{FAR}"]
        return (
            f"{_cut(cycles)} The price: some training hours come after test hours, which never "
            f"happens in real use. {FAR} hours ahead the errors are "
            f"{network[f'rmse_{FAR}']:.2f} °C for the network and {rival:.2f} °C for the {RIVAL}. "
            f"Is the network better? {_verdicts(network)}"
        )

    others = found["cycles"][1:]
    if not others:
        return []
    return ["Two months test little more than one season, so everything was done once more with "
            "every season in every set.", *map(one, others)]  # fmt: skip


def _covered(found: Found) -> list[str]:
    network = _row(found, NETWORK)
    fixed, recent = (network[f"coverage_{kind}_{FAR}"] for kind in ("fixed", "recent"))
    told = f"{FAR} hours ahead, intervals of fixed width held {fixed:.0f} % of the true values. "
    if fixed < 100 * LEVEL - 5:
        told += (
            "That is clearly too few: the future was not like the past. A likely reason is that "
            "the weather of the test set was more changeable than that of the validation set. "
            "Besides, the blend was chosen on the same validation errors, which makes them too "
            "small."
        )
    else:
        told += f"That is close to the intended {100 * LEVEL:.0f} %."
    return [
        told,
        f"With widths from the last {RECENT // 24} days it was {recent:.0f} %. They follow the "
        "season, but the width itself then varies by chance.",
    ]


def _percent(shares: Sequence[float]) -> str:
    return f"{listed([f'{share:.0f}' for share in shares])} % ({_hours(HORIZONS)} ahead)"


def _errors_in_words(found: Found) -> str:
    def each(name: str, kind: str, form: str) -> str:
        return listed([format(_row(found, name)[f"{kind}_{h}"], form) for h in HORIZONS])

    errors = "; ".join(
        f"{name} {each(name, 'rmse', '.2f')}" for name in (*SIMPLE, RIVAL, NETWORK, ROUGH)
    )
    saved = "; ".join(
        f"{name} {each(name, 'gain', '+.1f')}, from {each(name, 'gain_low', '+.1f')} to "
        f"{each(name, 'gain_high', '+.1f')}"
        for name in (NETWORK, ROUGH)
    )
    return (
        f"Two charts. Test errors in °C, {_hours(HORIZONS)} ahead: {errors}. Mean square error "
        f"saved over the {RIVAL}, in percent, with 95 % intervals: {saved}."
    )


def _coverage_in_words(found: Found) -> str:
    network = _row(found, NETWORK)
    covered = " and ".join(
        f"{_percent([network[f'coverage_{kind}_{h}'] for h in HORIZONS])} with widths from {source}"
        for kind, source in (
            ("fixed", "the validation set"), ("recent", f"the last {RECENT // 24} days"),
        )
    )  # fmt: skip
    return (
        f"Two charts. Coverage of the intervals: {covered}. {STRETCH // 24} days of temperature "
        "with the forecasts of the network and of the linear blend and a shaded interval: both "
        "forecasts rise and fall with the day, lie close together, and miss some of the changes "
        "from one day to the next."
    )


def exercises(found: Found) -> list[Exercise]:
    """The rank that gives a width, and the mean of two forecasts."""
    task = prepare(new_york_weather(), 1)
    simple = naive(task)
    mean = (simple[PERSISTENCE] + simple[SEASONAL]) / 2
    horizon = HORIZONS[MIDDLE]

    def error(forecast: np.ndarray) -> float:
        return float(task.rmse(forecast, task.split.test)[MIDDLE])

    one, other, both = error(simple[PERSISTENCE]), error(simple[SEASONAL]), error(mean)
    return [
        Exercise(
            "On a validation set a model made 19 errors. Sort them by size, without their signs. "
            "Which one, counted from the smallest, is the half-width of an interval that contains "
            "the next true value with a probability of 90 %?",
            "The 18th. The next error is equally likely to fall into any of the 20 gaps between, "
            r"below and above the sorted ones. $0.9 \cdot 20 = 18$ of these gaps are below the "
            "18th error.",
            {"place": 18},
        ),
        Exercise(
            "Blend the two simplest forecasts with equal weights. This command prints the error "
            f"of their mean on the test months, in °C, for {_hours(HORIZONS)} ahead: `{COMMAND}`. "
            f"What is it {horizon} hours ahead?",
            f"{both:.2f} °C. Persistence alone has {one:.2f} °C and the seasonal naive forecast "
            f"{other:.2f} °C. The mean is "
            + ("better than both, because the two are wrong in different ways."
               if both < min(one, other)
               else "worse than the better of the two. Equal weights are not always the best, "
               "which is why those of the blend are chosen on the validation set."),
            {f"RMSE {horizon} hours ahead, in °C": both},
        ),
    ]  # fmt: skip


SECTION = Section(
    title="Temperature: where a linear model is hard to beat", body=body, exercises=exercises
)
