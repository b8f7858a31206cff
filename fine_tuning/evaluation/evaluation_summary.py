"""A finished comparison as it is read: the verdict in plain words, numbers, replies worst first.

Reads what ``evaluate`` wrote beside a run; computes nothing anew. For readers who know no
statistics every number says whether it is more than chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.comparison import ComparedMetric
from fine_tuning.evaluation.report_page import ITEM_METRICS, OUTCOMES
from fine_tuning.evaluation.verdict import MOST_ITEMS
from fine_tuning.pages.page import Tone

Sign = Literal["better", "worse", "open", "none"]
ItemKind = Literal["question", "reply", "prompt"]
ANSWERS = {
    "promote": "Yes, {candidate} is better",
    "reject": "No, {candidate} must not take over",
    "not enough evidence": "Not enough evidence yet",
}
LABELS = {
    "held_out/loss": "Loss on held-out replies: lower is better",
    "held_out/perplexity": "Perplexity on held-out replies: lower is better",
    "held_out/accuracy": "Accuracy on held-out replies: tokens predicted right",
    "held_out/bits_per_byte": "Bits per byte on held-out replies: lower is better",
    "questions/fact_recall": "Fact recall: test questions answered right",
    "relevance/relevance": "Relevance: replies keep to the question",
    "ability/right_choice": "General ability: probability of the right choice",
    "ability/tasks_passed": "General ability: tasks passed",
    "stop_rate": "Stop rate: replies that end by themselves",
    "repetition": "Repetition within replies: lower is better",
    "length_gap": "Length gap to the recorded replies: lower is better",
    "language_match": "Language match: replies in the language of the question",
    "bleu": "BLEU: similarity to the recorded replies",
    "chrf": "chrF: similarity to the recorded replies",
    "rouge1": "ROUGE-1: similarity to the recorded replies",
    "rouge2": "ROUGE-2: similarity to the recorded replies",
    "rougeL": "ROUGE-L: similarity to the recorded replies",
    "f1": "F1: words shared with the recorded replies",
    "exact_match": "Exact match with the recorded replies",
    "embedding_similarity": "Embedding similarity to the recorded replies",
    "length": "Length of replies",
    "refusal_rate": "Refusal rate",
}
"""By suite and metric, or by metric alone."""
SIGNIFICANT = 0.05
UNSURE = "too few test items to be sure"
HUNDRED = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of two models; ``gain`` and its bounds are turned so that positive is better.

    ``sign`` says whether the difference is more than chance; "none" has no better direction.
    """

    suite: str
    metric: str
    label: str
    unit: str
    against: str
    reference: float
    candidate: float
    gain: float
    low: float | None
    high: float | None
    sign: Sign
    num_items: int

    @property
    def is_share(self) -> bool:
        """Whether it is read as a percentage."""
        return self.unit.startswith("share") or self.unit == "0-1"

    def shown(self, value: float) -> str:
        """Return a value of the metric as a person reads it."""
        return f"{value * HUNDRED:.0f} %" if self.is_share else f"{value:.3g}"

    @property
    def words(self) -> str:
        """What was found, in one sentence."""
        went = f"from {self.shown(self.reference)} to {self.shown(self.candidate)}"
        said = {
            "better": "better beyond chance",
            "worse": "worse beyond chance",
            "open": "no clear difference",
            "none": "no direction is better",
        }[self.sign]
        return f"{went}: {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition of the verdict: ``finding`` is holds, fails or undecided.

    ``is_primary`` is what must get better; of all others, nothing may be lost.
    """

    is_primary: bool
    finding: str
    label: str
    words: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedItem:
    """One prompt and every model's reply; ``change`` below 0 means the candidate got worse.

    ``right`` tells by model whether a question was answered right; empty for other kinds.
    """

    kind: ItemKind
    id: str
    prompt: str
    expected: str
    replies: Mapping[str, str]
    change: float = 0.0
    right: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSummary:
    """What was found about a run. ``files`` are the report's, by suffix: html, md, json."""

    run_id: str
    made_s: float
    candidate: str
    reference: str
    outcome: str
    tone: Tone
    answer: str
    sentence: str
    models: tuple[str, ...]
    checks: tuple[Check, ...]
    measured: tuple[Measured, ...]
    items: tuple[EvaluatedItem, ...]
    files: Mapping[str, Path]

    def of(self, kind: ItemKind) -> list[EvaluatedItem]:
        """Return the items of a kind, the worst first."""
        return sorted((i for i in self.items if i.kind == kind), key=lambda i: i.change)


def read_summary(folder: Path, stem: str = "evaluation") -> EvaluationSummary | None:
    """Read the last comparison of a run; None if it was never compared.

    Args:
        folder: The run's.
        stem: The name of the report's files without suffix.

    Raises:
        DataError: if its file is torn, or of a form that is no longer written.
    """
    place = folder / f"{stem}.json"
    if not place.is_file():
        return None
    try:
        raw = json.loads(place.read_bytes())
        return _summary(folder, stem, raw, place.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{place} cannot be read ({type(error).__name__}: {error}), expected a report",
            next_command=f"fine-tuning compare base {folder.name}",
        ) from error


def _needed(items: int) -> str:
    """Say how many items would decide; old reports may hold numbers nobody could collect."""
    if items > MOST_ITEMS:
        return " No realistic number of test items would decide it."
    return f" About {items:,} independent test items would decide it."


def _summary(folder: Path, stem: str, raw: Mapping[str, Any], made_s: float) -> EvaluationSummary:
    verdict = raw["verdict"]
    tone, sentence = OUTCOMES[verdict["outcome"]]
    if verdict.get("items_needed"):
        sentence += _needed(verdict["items_needed"])
    measured = tuple(_measured(raw["comparisons"]))
    names = _names([model["name"] for model in raw["models"]])
    files = {suffix: folder / f"{stem}.{suffix}" for suffix in ("html", "md", "json")}
    return EvaluationSummary(
        run_id=folder.name,
        made_s=made_s,
        candidate=verdict["candidate"],
        reference=verdict["reference"],
        outcome=verdict["outcome"],
        tone=tone,
        answer=ANSWERS[verdict["outcome"]].format(candidate=verdict["candidate"]),
        sentence=sentence,
        models=names,
        checks=tuple(_checks(verdict, measured)),
        measured=measured,
        items=tuple(_items(raw, names)),
        files={suffix: path for suffix, path in files.items() if path.is_file()},
    )


def label_of(suite: str, metric: str) -> str:
    """Return what a metric is called for people."""
    kind, _, part = suite.partition("/")
    label = LABELS.get(f"{kind}/{metric}") or LABELS.get(metric) or metric.replace("_", " ")
    if kind == "ability" and part:
        return f"General ability: {part}"
    if kind == "old":
        return f"{label}, earlier test {part}"
    if kind in {"judge", "people"}:
        return f"Preferred by {'the judge model' if kind == 'judge' else 'people'}"
    return label


def _measured(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[Measured]:
    for comparison in comparisons:
        for row in map(ComparedMetric.from_dict, comparison["rows"]):
            low, high = row.gain_interval or (None, None)
            yield Measured(
                suite=comparison["suite"],
                metric=row.name,
                label=label_of(comparison["suite"], row.name),
                unit=row.unit,
                against=comparison["reference"],
                reference=row.reference,
                candidate=row.candidate,
                gain=row.gain,
                low=low,
                high=high,
                sign=_sign(row, low, high),
                num_items=row.num_items,
            )


def _sign(row: ComparedMetric, low: float | None, high: float | None) -> Sign:
    if row.higher_is_better is None:
        return "none"
    if row.p_holm is None or row.p_holm >= SIGNIFICANT or low is None or high is None:
        return "open"
    return "better" if low > 0 else "worse" if high < 0 else "open"


def _checks(verdict: Mapping[str, Any], measured: Sequence[Measured]) -> Iterator[Check]:
    known = {
        f"{one.suite}/{one.metric}": one
        for one in reversed(measured)
        if one.against == verdict["reference"]
    }
    order = ("fails", "undecided", "holds")
    for reason in sorted(verdict["reasons"], key=lambda r: order.index(r["finding"])):
        what = str(reason["check"])
        found = known.get(what.partition(" ")[2])
        words = found.words if found else reason["sentence"]
        if reason["finding"] == "undecided":
            words += f"; {UNSURE}"
        yield Check(
            is_primary=what.startswith("primary "),
            finding=reason["finding"],
            label=found.label if found else what[:1].upper() + what[1:],
            words=words,
            detail=reason["sentence"],
        )


def _items(raw: Mapping[str, Any], names: Sequence[str]) -> Iterator[EvaluatedItem]:
    models = dict(zip(names, raw["models"], strict=True))
    yield from _questions({n: m["questions"] for n, m in models.items() if m["questions"]})
    yield from _replies({n: m["replies"] for n, m in models.items() if m["replies"]})
    for number, pair in enumerate(raw["side_by_side"]):
        yield EvaluatedItem(
            kind="prompt",
            id=f"prompt-{number + 1}",
            prompt=pair["prompt"],
            expected="",
            replies=pair["replies"],
        )


def _questions(by_model: Mapping[str, Mapping[str, Any]]) -> Iterator[EvaluatedItem]:
    if not by_model:
        return
    names = list(by_model)
    for answers in zip(*(asked["answers"] for asked in by_model.values()), strict=True):
        question = answers[0]["question"]
        right = {n: bool(a["is_right"]) for n, a in zip(names, answers, strict=True)}
        yield EvaluatedItem(
            kind="question",
            id=question["id"],
            prompt=question["question"],
            expected=", ".join(question["key_facts"]),
            replies={n: a["reply"] for n, a in zip(names, answers, strict=True)},
            change=float(right[names[-1]] - right[names[0]]),
            right=right,
        )


def _replies(by_model: Mapping[str, Mapping[str, Any]]) -> Iterator[EvaluatedItem]:
    if not by_model:
        return
    names, first = list(by_model), next(iter(by_model.values()))
    have = [metric["name"] for metric in first["suite"]["metrics"]]
    metric = next((name for name in ITEM_METRICS if name in have), None)
    places = {
        name: {item: i for i, item in enumerate(found["suite"]["item_ids"])}
        for name, found in by_model.items()
    }
    for i, item in enumerate(first["suite"]["item_ids"]):
        last = by_model[names[-1]]
        gain = 0.0
        if metric is not None:
            gain = _value(last, metric, places[names[-1]][item]) - _value(first, metric, i)
        yield EvaluatedItem(
            kind="reply",
            id=item,
            prompt=first["prompts"][i],
            expected=first["references"][i],
            replies={n: by_model[n]["replies"][places[n][item]] for n in names},
            change=gain,
        )


def _value(found: Mapping[str, Any], metric: str, place: int) -> float:
    (values,) = (one for one in found["suite"]["metrics"] if one["name"] == metric)
    scale = HUNDRED if str(values["unit"]).startswith("0-100") else 1.0
    return float(values["items"][place]) / scale


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of which none stands twice, as the report's pairs have them."""
    return tuple(
        name if name not in names[:place] else f"{name} again" for place, name in enumerate(names)
    )
