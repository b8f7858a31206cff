"""Metrics as pure functions of values; each keeps its per-item values, which comparisons need.

Log-probabilities are natural logarithms. Shares lie in [0, 1]; BLEU, chrF and ROUGE keep the
scales of sacrebleu (0 to 100) and rouge-score (0 to 1). What this does not know: models, files,
and which items belong together.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_shape import build
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.evaluation.questions import Question

Aggregation = Literal["mean", "geometric_mean", "corpus"]
MAX_NATS = 700.0
"""A mean loss above this is reported as this: exp() of more is no longer a float."""
LN_2 = math.log(2.0)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

REFUSALS = (
    r"\bas an? (ai|artificial intelligence|language model)\b",
    r"\bi(?:'m| am) (?:just |only )?an? (ai|language model)\b",
    r"\bi(?:'m| am) (?:sorry,? but i(?:'m| am) )?(?:unable|not able|not allowed) to\b",
    (
        r"\bi (?:can't|cannot|can not|won't|will not) (?:\w+ ){0,2}"
        r"(help|assist|provide|answer|share|discuss|comply|fulfil|do that|give|tell)"
    ),
    r"\bi (?:do not|don't) have (?:\w+ ){0,3}(information|access|knowledge|details|data)\b",
    r"\bi must (decline|refuse)\b",
)
"""How models decline to answer, in English; matched in lower case with straight apostrophes."""
REFUSAL_CHARACTERS = 300
"""A refusal stands at the start of a reply; later matches are talk about something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """A metric over a set of items.

    ``value`` aggregates ``items`` (one value per item, in the items' order): their mean, their
    geometric mean, or, for ``corpus``, the score of all items taken as one text, of which the
    items' values are the single scores. ``weights`` (empty: all equal) weigh the items, as token
    counts do. ``higher_is_better`` is None where neither direction is good in itself.
    ``signature`` says how a library computed it, as papers quote it.
    """

    name: str
    value: float
    items: tuple[float, ...]
    higher_is_better: bool | None
    unit: str = ""
    weights: tuple[float, ...] = ()
    aggregation: Aggregation = "mean"
    signature: str = ""

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "items": list(self.items),
            "higher_is_better": self.higher_is_better,
            "unit": self.unit,
            "weights": list(self.weights),
            "aggregation": self.aggregation,
            "signature": self.signature,
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            ShapeError: if a field is missing or of the wrong type.
        """
        return build(raw, cls)


class Named(Protocol):
    """A metric, or the comparison of one."""

    @property
    def name(self) -> str:
        """The metric's name."""
        ...


N = TypeVar("N", bound=Named)


def metric_named(rows: Sequence[N], name: str, owner: str) -> N:
    """Return the row of a metric.

    Raises:
        DataError: if there is none of that name; ``owner`` is what was searched, in words.
    """
    for row in rows:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in rows)
    raise DataError(f"{owner} has no metric {name!r}, it has {known}")


def loss(log_probabilities: Sequence[Sequence[float]]) -> MetricResult:
    """Mean negative log-probability of a target token, in nats; items are per sequence.

    Args:
        log_probabilities: For each sequence one value per target token, each at most 0.

    Raises:
        DataError: if there is no sequence, one has no token, or a value is not finite.
    """
    _check_log_probabilities(log_probabilities)
    sums = [-math.fsum(values) for values in log_probabilities]
    counts = [len(values) for values in log_probabilities]
    return _ratio("loss", sums, counts, higher_is_better=False, unit="nats/token")


def perplexity(log_probabilities: Sequence[Sequence[float]]) -> MetricResult:
    """Exponential of the mean loss per token; the weighted geometric mean of the items'.

    Raises:
        DataError: as :func:`loss` does.
    """
    nats = loss(log_probabilities)
    return MetricResult(
        name="perplexity",
        value=math.exp(min(nats.value, MAX_NATS)),
        items=tuple(math.exp(min(item, MAX_NATS)) for item in nats.items),
        higher_is_better=False,
        weights=nats.weights,
        aggregation="geometric_mean",
    )


def bits_per_byte(
    log_probabilities: Sequence[Sequence[float]], num_bytes: Sequence[int]
) -> MetricResult:
    """Bits needed per UTF-8 byte of the target text: comparable across tokenizers.

    Args:
        log_probabilities: As for :func:`loss`.
        num_bytes: The UTF-8 bytes of each sequence's target text, each at least 1.

    Raises:
        DataError: as :func:`loss` does, or if a byte count is missing or below 1.
    """
    _check_log_probabilities(log_probabilities)
    _check_lengths("byte counts", len(num_bytes), len(log_probabilities))
    if min(num_bytes) < 1:
        raise DataError(f"a target text has {min(num_bytes)} bytes, expected at least 1")
    bits = [-math.fsum(values) / LN_2 for values in log_probabilities]
    return _ratio("bits_per_byte", bits, num_bytes, higher_is_better=False, unit="bits/byte")


def token_accuracy(correct: Sequence[Sequence[bool]]) -> MetricResult:
    """Share of target tokens that were the model's first choice; items are per sequence.

    Raises:
        DataError: if there is no sequence or one has no token.
    """
    if not correct or not all(len(values) for values in correct):
        raise DataError("token accuracy needs at least one target token in every sequence")
    sums, counts = list(map(sum, correct)), list(map(len, correct))
    return _ratio("accuracy", sums, counts, higher_is_better=True, unit="share of tokens")


def right_share(log_probabilities: Sequence[float]) -> float:
    """Return the first choice's share of the chance given to all choices, in [0, 1].

    Args:
        log_probabilities: Of each whole choice, the right one first.
    """
    highest = max(log_probabilities)
    weights = [math.exp(value - highest) for value in log_probabilities]
    return weights[0] / math.fsum(weights)


def squad_normalize(text: str) -> str:
    """Return the text as SQuAD compares answers: lower case, no punctuation, articles, extra space.

    Source: evaluate-v2.0.py of the SQuAD task (Rajpurkar et al., 2018), ``normalize_answer``.
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(reply: str, reference: str) -> float:
    """Harmonic mean of the precision and recall of words, in [0, 1]; SQuAD's ``compute_f1``.

    When either text is empty after normalisation, it is 1 if both are and 0 otherwise.
    """
    predicted, gold = squad_normalize(reply).split(), squad_normalize(reference).split()
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    return 2.0 * common / (len(predicted) + len(gold))


def exact_match(replies: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Share of replies equal to one of their references after SQuAD's normalisation.

    Raises:
        DataError: if there is no reply, or an item has no reference.
    """
    _check_references(replies, references)
    items = [
        float(squad_normalize(reply) in {squad_normalize(text) for text in accepted})
        for reply, accepted in zip(replies, references, strict=True)
    ]
    return mean_of("exact_match", items, higher_is_better=True, unit="share of replies")


def f1(replies: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Mean over replies of the best :func:`squad_f1` against their references.

    Raises:
        DataError: if there is no reply, or an item has no reference.
    """
    _check_references(replies, references)
    items = [
        max(squad_f1(reply, text) for text in accepted)
        for reply, accepted in zip(replies, references, strict=True)
    ]
    return mean_of("f1", items, higher_is_better=True)


def fact_recall(replies: Sequence[str], questions: Sequence[Question]) -> MetricResult:
    """Share of replies that state every key fact of their question.

    Raises:
        DataError: if there is no reply, or not one per question.
    """
    _check_lengths("replies", len(replies), len(questions))
    items = [float(all(q.found(reply))) for reply, q in zip(replies, questions, strict=True)]
    return mean_of("fact_recall", items, higher_is_better=True, unit="share of questions")


def length(replies: Sequence[str]) -> MetricResult:
    """Mean number of words of a reply."""
    items = [float(len(reply.split())) for reply in replies]
    return mean_of("length", items, higher_is_better=None, unit="words")


def length_gap(replies: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Mean number of doublings between the words of a reply and of the person's own reply.

    0 is equally long, 1 twice or half as long.

    Raises:
        DataError: if there is no reply, or not one reference each.
    """
    _check_lengths("references", len(references), len(replies))
    items = [
        abs(math.log2((len(reply.split()) + 1) / (len(reference.split()) + 1)))
        for reply, reference in zip(replies, references, strict=True)
    ]
    return mean_of("length_gap", items, higher_is_better=False, unit="doublings")


def language_match(
    replies: Sequence[str], prompts: Sequence[str], language_of: Callable[[str], str]
) -> MetricResult:
    """Share of replies that are not in another language than their prompt.

    Args:
        replies: What the model said.
        prompts: What it was asked.
        language_of: Returns a language code, or "" where a text is too short to tell; such texts
            count as a match.

    Raises:
        DataError: if there is no reply, or not one prompt each.
    """
    _check_lengths("prompts", len(prompts), len(replies))
    pairs = [(language_of(r), language_of(p)) for r, p in zip(replies, prompts, strict=True)]
    items = [float(not said or not asked or said == asked) for said, asked in pairs]
    return mean_of("language_match", items, higher_is_better=True, unit="share of replies")


def repetition_of(reply: str, *, order: int = 4) -> float:
    """Share of a reply's word n-grams that stood in it before: 0 for none, near 1 for a loop.

    Source: seq-rep-n of Welleck et al., Neural Text Generation with Unlikelihood Training, 2020.
    """
    words = reply.split()
    grams = [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def repetition(replies: Sequence[str], *, order: int = 4) -> MetricResult:
    """Mean over replies of :func:`repetition_of`."""
    items = [repetition_of(reply, order=order) for reply in replies]
    return mean_of("repetition", items, higher_is_better=False, unit=f"share of {order}-grams")


def stop_rate(ended: Sequence[bool]) -> MetricResult:
    """Share of replies the model ended by itself, before its token limit."""
    items = [float(value) for value in ended]
    return mean_of("stop_rate", items, higher_is_better=True, unit="share of replies")


def is_refusal(reply: str, patterns: Sequence[str] = REFUSALS) -> bool:
    """Tell whether a reply declines to answer, by patterns near its start."""
    head = reply[:REFUSAL_CHARACTERS].lower().replace("\u2019", "'")
    return any(re.search(pattern, head) for pattern in patterns)


def refusal_rate(replies: Sequence[str], patterns: Sequence[str] = REFUSALS) -> MetricResult:
    """Share of replies that decline to answer; whether that is good depends on the questions."""
    items = [float(is_refusal(reply, patterns)) for reply in replies]
    return mean_of("refusal_rate", items, higher_is_better=None, unit="share of replies")


TEXT_METRICS: dict[str, Callable[[Sequence[str]], MetricResult]] = {
    "length": length,
    "repetition": repetition,
    "refusal_rate": refusal_rate,
}
"""Metrics of replies alone, by name."""


def _ratio(
    name: str,
    totals: Sequence[float],
    sizes: Sequence[int],
    *,
    higher_is_better: bool,
    unit: str,
) -> MetricResult:
    """Make a result whose value is all totals by all sizes; an item weighs as much as its size."""
    return MetricResult(
        name=name,
        value=math.fsum(totals) / sum(sizes),
        items=tuple(total / size for total, size in zip(totals, sizes, strict=True)),
        higher_is_better=higher_is_better,
        unit=unit,
        weights=tuple(float(size) for size in sizes),
    )


def mean_of(
    name: str, items: Sequence[float], *, higher_is_better: bool | None, unit: str = ""
) -> MetricResult:
    """Make a result whose value is the plain mean of its items.

    Raises:
        DataError: if there is no item.
    """
    if not items:
        raise DataError(f"{name} was asked for over no items, expected at least one")
    return MetricResult(
        name=name,
        value=math.fsum(items) / len(items),
        items=tuple(items),
        higher_is_better=higher_is_better,
        unit=unit,
    )


def _check_lengths(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"found {found} {what} for {expected} items, expected one each")


def _check_references(replies: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    _check_lengths("replies", len(replies), len(references))
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise DataError("an item has no list of references, expected at least one reference each")


def _check_log_probabilities(log_probabilities: Sequence[Sequence[float]]) -> None:
    if not log_probabilities or not all(len(values) for values in log_probabilities):
        raise DataError("a loss needs at least one target token in every sequence")
    for index, values in enumerate(log_probabilities):
        if not all(math.isfinite(value) for value in values):
            raise DataError(
                f"sequence {index} has a log-probability that is not finite; the model's weights "
                "are likely broken",
                next_command="train again with a lower learning rate",
            )
