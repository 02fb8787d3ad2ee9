"""The section on the page: the next word."""

from typing import Any

from experiments.baselines.n_grams import with_cache
from experiments.data.shakespeare import END, UNKNOWN
from experiments.models.language import LanguageModel
from experiments.next_word.experiment import MIXED, NETWORK, Shown, likeliest, study
from experiments.next_word.options import CONTEXTS, ORDERS
from experiments.next_word.prompts import FAMOUS, LEAST, PLACES, SENTENCE
from experiments.next_word.rivals import (
    BLOCK,
    CACHE,
    LONGEST,
    distances,
    gram_label,
    perplexity,
)
from experiments.page.section import (
    Block,
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

# Of the exercise: a rare name, as the 5-gram and the cache see it.
RARE, TIMES, SIZE, WEIGHT = 0.001, 3, 500, 0.1


def body(found: Found) -> list[Block]:
    """Counting, reading, a sentence to change, the comparison, its cause, and a game."""
    return [
        "Cover the end of a sentence and predict how it goes on. A *language model* does this for "
        "every word of a text. It reads the words so far and gives a probability to each word of "
        "its vocabulary. Your phone does it when it suggests a word, and a chatbot writes its "
        "answers that way, one piece of a word at a time.",
        "Write $w_t$ for the word at time step $t$, and $w_{<t}$ for all words before it. The "
        "probability of a text of $T$ words is then a product:",
        Equation(r"p(w_1 \dots w_T) = \prod_{t=1}^{T} p(w_t \mid w_{<t})"),
        "A model is good if it gives a high probability to the word that does come. We measure it "
        "by its [perplexity](#bits).",
        Heading("Counting: n-grams"),
        *_counting(found),
        Heading("Reading: an LSTM"),
        "A recurrent network is not limited to a fixed number of words. It reads one word at each "
        "time step and keeps in its state what it will need later. Here the network is an "
        "[LSTM](#gates).",
        "A word enters the network as an *embedding*: its row in a table with "
        f"{found['size']} numbers for each word. The rows are weights, trained with all the "
        "others, so words that are used in similar ways get similar rows. What the network learns "
        "about “king” then helps it with “duke”. To an n-gram model, two words are simply "
        "different.",
        "The same table turns the hidden state into a prediction. The dot product of a word's row "
        "with the hidden state $h_t$, plus a bias, is the score of that word, and the softmax "
        "turns the scores into probabilities. With $E$ for the table, $b$ for the biases "
        "and $w_{\\le t}$ for the words read so far:",
        Equation(r"p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(E h_t + b)"),
        Heading("Change a word"),
        *_change(found),
        Heading("Which model predicts better?"),
        *_comparison(found),
        Heading("Is it the longer memory?"),
        *_memory(found),
        Heading("Your turn"),
        *_game(found),
        Code([LanguageModel.read, LanguageModel.logits, with_cache, perplexity, study]),
    ]


def _counting(found: Found) -> list[Block]:
    example, cache = found["extra"]["example"], found["extra"]["cache"]
    share = 100 * example["times"] / example["count"]
    return [
        "An *n-gram* is a run of $n$ words. The oldest good language models count them. In the "
        f"training works “on the” occurs {example['count']} times, and {example['times']} times "
        f"the next word is “{example['word']}”. A 3-gram model, which looks at the last two words, "
        f"therefore starts from {share:.1f} % for “{example['word']}” after “on the”.",
        "A longer context predicts better if it has been counted. But most runs of five words "
        "occur only once, and then the model falls back on fewer words. *Kneser-Ney smoothing* is "
        "the best-known recipe for how to do so.",
        "An n-gram model can also be given a longer memory. A name that was just spoken will "
        "probably be spoken again. A *cache* counts the latest words and mixes their frequencies "
        "with the prediction of the 5-gram:",
        Equation(r"p(w) = (1 - \lambda)\, p_{5}(w) + \lambda\, \frac{c(w)}{L}"),
        "Here $p_5$ is the probability that the 5-gram gives to the word $w$, $L$ is the number of "
        "words in the cache, $c(w)$ is how often $w$ is among them, and $\\lambda$ is the weight "
        f"of the cache. $L = {cache['length']}$ and $\\lambda = {cache['weight']:.2f}$ were best "
        "on the validation plays.",
    ]


def _change(found: Found) -> list[Block]:
    moved = found["extra"]["moved"]
    subject, verb, last = (100 * share for share in moved[NETWORK])
    grams = 100 * moved[LONGEST][2]
    mat = (
        ""
        if found["extra"]["mat"]
        else " The models cannot: the word is too rare in the training works to be in their "
        "vocabulary."
    )
    return [
        f"“The cat sat on the ____.” You would predict “mat”.{mat} In any case, a single word says "
        "little about a model. You learn more by changing the sentence:",
        Widget("sentence", "next_word"),
        "The 5-gram sees the four words before the gap, such as “all day and took”. The subject "
        "and the first verb are not among them, so its prediction cannot depend on them. The LSTM "
        "has read them, and they may have left a trace in its state.",
        f"How strong is the trace? Changing the subject moves {subject:.1f} % of the LSTM's "
        f"probability to other words, and changing the first verb {verb:.1f} %. (These are means "
        "over all pairs of sentences that differ in that place only.)",
        "Compare the last word before the gap. Changing it moves "
        f"{last:.0f} % of the LSTM's probability and {grams:.0f} % of the 5-gram's.",
    ]


def _comparison(found: Found) -> list[Block]:
    extra = found["extra"]
    own, both = (found["results"][name]["mean"]["perplexity_test"] for name in (NETWORK, MIXED))
    rivals = {name: found["baselines"][name]["perplexity_test"] for name in (LONGEST, CACHE)}
    return [
        f"All models learned from the same {found['works']} works, in lower case. They were tested "
        "on three plays that none of them had seen: a comedy, a tragedy and a history. Lines "
        "drawn at random would share names and subjects with their neighbours in the training set, "
        "a kind of [leakage](#leakage).",
        f"The vocabulary has {extra['vocabulary']:,} *tokens*: words, punctuation and the end of a "
        f"speech. For every model, words that occur fewer than {found['least']} times in the "
        f"training set are all the same token, `{UNKNOWN}`. It makes up "
        f"{100 * extra['unknown_rate']:.1f} % of the test plays.",
        Plot(
            ["perplexity", "advantage"],
            "First panel: the perplexity of every model on the test plays; for the LSTM the mean "
            "over the seeds. Second panel: bits a word that the LSTM saves against a rival, with "
            "a mark for each "
            "seed and the 95 % interval of their mean. To the right of the line the LSTM is "
            "better.",
            _alt_comparison(found),
        ),
        f"The LSTM's perplexity is {own:.0f}, that of the 5-gram {rivals[LONGEST]:.0f}, and that "
        f"of the 5-gram with a cache {rivals[CACHE]:.0f}. {_verdict(extra['advantages'])}",
        f"The interval is a [block bootstrap](#sampling_error) in blocks of {BLOCK} tokens, since "
        "neighbouring words are easy or hard together. It covers the choice of the test text. "
        + (
            "The marks show how much the seeds differ."
            if len(found["seeds"]) > 1
            else "How much the seeds differ is unknown, because this run has only one."
        ),
        "Two models can also predict together. A weighted mean of the probabilities of the LSTM "
        "and the 5-gram, its weight chosen on the validation plays, has a perplexity of "
        f"{both:.0f}. {_mixed(found)}",
    ]


def _verdict(advantages: Any) -> str:
    """Which rivals the network beats, loses to, or is level with."""
    groups: dict[str, list[str]] = {"better than": [], "worse than": [], "": []}
    for name, saved in advantages.items():
        how = "better than" if saved["low"] > 0 else "worse than" if saved["high"] < 0 else ""
        groups[how].append(f"the {name}")
    told = [
        f"The LSTM is {how} {listed(names)}: the interval excludes zero."
        for how, names in groups.items()
        if how and names
    ]
    if groups[""]:
        told.append(f"No difference from {listed(groups[''])} was found.")
    return " ".join(told)


def _mixed(found: Found) -> str:
    both, own = (found["results"][name]["mean"]["perplexity_test"] for name in (MIXED, NETWORK))
    if both < min(own, found["baselines"][LONGEST]["perplexity_test"]):
        return (
            "That is below both, as you would expect if each knows something that the other does "
            "not."
        )
    return "That is not below both."


def _memory(found: Found) -> list[Block]:
    network = found["results"][NETWORK]["mean"]
    one, four, many = (network[f"perplexity_after_{n}"] for n in (1, 4, CONTEXTS[-1]))
    two, five = (found["baselines"][gram_label(n)]["perplexity_test"] for n in (2, 5))
    equal = (
        f"below the 5-gram's {five:.0f}. That part of the difference is not memory: the LSTM "
        "predicts better from the same four words."
        if four < five
        else f"not below the 5-gram's {five:.0f}. From the same four words it predicts no better."
    )
    longer = (
        "The difference between the two is the most that a longer memory can explain."
        if many < four
        else "More words did not help it in this run."
    )
    told: list[Block] = [
        "Two models may differ because one remembers more, or because it predicts better from the "
        "same words. To separate the two causes, we let the LSTM start from a fresh state a few "
        "words before the gap, so that it sees no more than those.",
        Plot(
            ["context"],
            "Perplexity on the test plays against the number of words that a model sees. The LSTM "
            "has a line for each seed. An n-gram model sees $n - 1$ words at most, so its line is "
            "level. What a short context costs the LSTM was measured at "
            f"{found['positions']:,} places and added to its loss on the whole plays.",
            "The LSTM's perplexity is "
            + ", ".join(f"{network[f'perplexity_after_{n}']:.0f} after {n}" for n in CONTEXTS)
            + " words. The n-gram models are level: "
            + ", ".join(
                f"the {n}-gram at {found['baselines'][gram_label(n)]['perplexity_test']:.0f}"
                for n in ORDERS[1:]
            )
            + ".",
        ),
        f"With the four words that the 5-gram sees, the LSTM comes to {four:.0f}, {equal}",
        f"With {CONTEXTS[-1]} words it comes to {many:.0f}. {longer}",
    ]
    if one > two:
        told.append(
            "After a single word the LSTM is worse than the 2-gram. In training it seldom predicts "
            "from a state that has read only one word, so it has had little practice."
        )
    return told


def _game(found: Found) -> list[Block]:
    return [
        f"Now predict the next word yourself, at {PLACES} places of the test plays. They were "
        "drawn at random from all places where the next word is in the vocabulary and at least "
        f"{LEAST} words of the same speech come before it.",
        _needed(found["extra"]["advantages"][LONGEST]),
        f"There is a second group: {len(FAMOUS)} famous lines from the same plays. People know "
        "them by heart, but the models have never read them. Do not judge a model by these lines: "
        "they are few, and unlike others.",
        Widget("guess", "next_word"),
    ]


def _needed(saved: Any) -> str:
    """How many words it takes to see which of the two models is better."""
    told = (
        f"Are {PLACES} words enough to decide which model is better? From word to word, the "
        "difference between the LSTM and the 5-gram varies with a standard deviation of "
        f"{saved['deviation']:.1f} bits."
    )
    if saved["low"] <= 0 <= saved["high"]:
        return f"{told} Even on all the test plays no difference was found."
    # The interval's half-width, 1.96 deviations over the root of the count, is then the mean.
    count = (1.96 * saved["deviation"] / saved["mean"]) ** 2
    return (
        f"{told} Its mean is {abs(saved['mean']):.2f} bits. So it takes about {count:,.0f} "
        "independent words until the 95 % interval of the mean no longer includes zero."
    )


def _alt_comparison(found: Found) -> str:
    rows = found["baselines"] | {n: r["mean"] for n, r in found["results"].items()}
    bars = ", ".join(f"{name} {numbers['perplexity_test']:.0f}" for name, numbers in rows.items())
    saved = ", ".join(
        f"{one['mean']:.2f} against the {name} ({one['low']:.2f} to {one['high']:.2f})"
        for name, one in found["extra"]["advantages"].items()
    )
    return (
        f"First, bars of perplexity on the test plays: {bars}. Second, bits a word saved by the "
        f"LSTM, with 95 % intervals: {saved}."
    )


def exercises(found: Found) -> list[Exercise]:
    """The cache by hand; and how many words a given difference takes."""
    p = (1 - WEIGHT) * RARE + WEIGHT * TIMES / SIZE
    deviation, mean = 2.0, 0.25
    return [
        Exercise(
            f"The 5-gram gives the name “Rosalind” a probability of {RARE}. Among the last {SIZE} "
            f"words the name occurred {TIMES} times. The weight of the cache is {WEIGHT}. What "
            "probability does the 5-gram with the cache give to the name?",
            f"$(1 - {WEIGHT}) \\cdot {RARE} + {WEIGHT} \\cdot {TIMES} / {SIZE} = {p:.4f}$, "
            f"{p / RARE:.1f} times as much as without the cache.",
            {"Probability": p},
        ),
        Exercise(
            f"Two models differ by {mean} bits a word on average, and on a single word the "
            f"difference has a standard deviation of {deviation:.0f} bits. How many independent "
            "words does a test need for the half-width of the 95 % interval, "
            "$1.96\\, s / \\sqrt{n}$, to be as small as that difference?",
            f"$n = (1.96 \\cdot {deviation:.0f} / {mean})^2 = {(1.96 * deviation / mean) ** 2:.0f}$"
            f". The {PLACES} rounds of the game are far fewer.",
            {"Words": (1.96 * deviation / mean) ** 2},
        ),
    ]


def data(shown: Shown) -> dict[str, Any]:
    """What the widgets read.

    `models` names the two. `sentence` is a list of fixed words and of choices; `sentences` holds
    for each combination, the last choice changing fastest, the likeliest words of each model, each
    a word and its probability; `moved` holds for each model the share of the probability that
    moves from one sentence to another. A group of the game has a label and rounds; a round has
    the words of the place, and a null `probability` where the vocabulary lacks the next word.
    `vocabulary` is for the reader's guesses, and `least` says how often its words occur.
    """

    def told(p: Any) -> list[list[Any]]:
        return [[word, round(chance, 4)] for word, chance in likeliest(shown.vocabulary, p)]

    def one(i: int) -> dict[str, Any]:
        prompt = shown.prompts[i]
        known = prompt.truth > 0
        chances = [float(f"{p[i][prompt.truth]:.3g}") for p in shown.predicted.values()]
        return {
            "source": prompt.source,
            "context": prompt.context,
            "before": prompt.before,
            "truth": prompt.next_word,
            "probability": chances if known else None,
            "likeliest": [told(p[i]) for p in shown.predicted.values()],
        }

    return {
        "models": list(shown.predicted),
        "sentence": SENTENCE,
        "sentences": [
            [told(p) for p in both] for both in zip(*shown.sentences.values(), strict=True)
        ],
        "moved": [distances(p).round(4).tolist() for p in shown.sentences.values()],
        "groups": [
            {"label": "drawn at random from the test plays",
             "rounds": [one(i) for i in range(shown.places)]},
            {"label": "famous lines, which people know by heart",
             "rounds": [one(i) for i in range(shown.places, len(shown.prompts))]},
        ],
        "least": shown.least,
        "vocabulary": [word for word in shown.vocabulary if word not in (END, UNKNOWN)],
    }  # fmt: skip


SECTION = Section(title="The next word", body=body, exercises=exercises, data=data)
