"""An evaluation as a page to read: the verdict first, then what it rests on, down to the hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from fine_tuning.evaluation.comparison import ComparedMetric, Comparison
from fine_tuning.evaluation.evaluation_report import EvaluationReport, ModelResult
from fine_tuning.evaluation.judge import JudgeResult
from fine_tuning.evaluation.results import QuestionsResult, RepliesResult
from fine_tuning.evaluation.verdict import MOST_ITEMS, Verdict
from fine_tuning.pages import charts
from fine_tuning.pages.page import (
    Block,
    Compared,
    Figure,
    Notice,
    Page,
    PageSection,
    Table,
    Text,
    Tone,
)

NUM_SHOWN = 6
"""Items shown from either end."""
OUTCOMES: Mapping[str, tuple[Tone, str]] = {
    "promote": (
        "good",
        "The new model is better, and nothing got worse by more than its margin allows.",
    ),
    "reject": ("bad", "The new model must not replace the old one; the failed checks say why."),
    "not enough evidence": ("open", "These items cannot decide it; the open checks say why."),
}
MARKS = {"holds": "holds", "fails": "FAILS", "undecided": "open"}
ITEM_METRICS = ("chrf", "rougeL", "f1", "bleu")
"""By which replies are ordered from worst to best: the first of these that was measured."""
MIB = 2**20


def evaluation_page(report: EvaluationReport, made_at: str) -> Page:
    """Return the report as a page.

    Args:
        report: What was found.
        made_at: The time it was made, ISO 8601.
    """
    verdict, models = report.verdict, report.models
    sections = [
        PageSection("Verdict", list(_verdict(verdict, report))),
        PageSection("How large is the difference?", list(_comparisons(report.comparisons))),
    ]
    if report.drift:
        sections.append(
            PageSection("Drift since the base model", list(_comparisons(report.drift, plots=False)))
        )
    if report.judge is not None:
        sections.append(PageSection("Judge model", list(_judge(report.judge))))
    sections += [
        PageSection(title, blocks)
        for title, blocks in (
            ("Worst and best replies", _replies(models[0].replies, models[-1].replies, models)),
            ("Questions that changed", _questions(report.questions, models)),
            (
                "Test prompts",
                [Compared(p.prompt, list(p.replies.items())) for p in report.side_by_side],
            ),
        )
        if blocks
    ]
    sections += [
        PageSection("Training and serving", list(_costs(models))),
        PageSection("What this rests on", list(_grounds(report))),
    ]
    subtitle = (
        f"{verdict.candidate} against {verdict.reference}, {made_at[:16].replace('T', ' ')} UTC"
    )
    return Page(f"Is {verdict.candidate} better?", subtitle, sections)


def _verdict(verdict: Verdict, report: EvaluationReport) -> Iterator[Block]:
    tone, sentence = OUTCOMES[verdict.outcome]
    if verdict.items_needed is not None:
        is_realistic = verdict.items_needed <= MOST_ITEMS
        number = f"About {verdict.items_needed:,}" if is_realistic else "No realistic number of"
        sentence += f" {number} independent items would decide it."
    yield Notice(verdict.outcome.capitalize(), sentence, tone)
    order = list(MARKS)[1:] + list(MARKS)[:1]
    reasons = sorted(verdict.reasons, key=lambda reason: order.index(reason.finding))
    yield Table(
        ("", "check", "finding"),
        [(MARKS[r.finding], r.check, r.sentence) for r in reasons],
    )
    for found in report.against(verdict.reference):
        if found.suite == report.policy.suite:
            yield Text(_sentence(found.power_sentence(report.policy.metric)))


def _comparisons(comparisons: Sequence[Comparison], *, plots: bool = True) -> Iterator[Block]:
    for reference in dict.fromkeys(found.reference for found in comparisons):
        own = [found for found in comparisons if found.reference == reference]
        if plots:
            yield from _plots(own, reference)
        yield Table(
            (
                *("suite", "metric", reference, own[0].candidate, "difference"),
                *("interval", "p", "win / tie / loss", "detectable from", "items"),
            ),
            [
                (found.suite if i == 0 else "", *_cells(row))
                for found in own
                for i, row in enumerate(found.rows)
            ],
            caption=f"Against {reference}. Difference with its {own[0].confidence:.0%} interval; p "
            "after Holm's correction over all rows; detectable from: the true difference these "
            f"items show with {own[0].power:.0%} power.",
            numeric=frozenset(range(2, 10)),
        )


def _cells(row: ComparedMetric) -> tuple[str, ...]:
    interval = "-" if row.low is None else f"{row.low:+.3g} to {row.high:+.3g}"
    seen = row.smallest_detectable
    return (
        f"{row.name} ({row.unit})" if row.unit else row.name,
        f"{row.reference:.4g}",
        f"{row.candidate:.4g}",
        f"{row.difference:+.3g}",
        interval,
        "-" if row.p_holm is None else f"{row.p_holm:.2g}",
        f"{row.wins} / {row.ties} / {row.losses}",
        "-" if seen is None else f"{seen:.2g}",
        f"{row.num_items} in {row.num_clusters}"
        if row.num_clusters != row.num_items
        else f"{row.num_items}",
    )


def _plots(comparisons: Sequence[Comparison], reference: str) -> Iterator[Figure]:
    """Plot gains with intervals, a plot for each unit, for two units have no common axis."""
    by_unit: dict[str, list[charts.Interval]] = {}
    for found in comparisons:
        for row in found.rows:
            interval = row.gain_interval
            if interval is None or row.higher_is_better is None or row.name == "perplexity":
                continue
            low, high = interval
            is_good = True if low > 0 else False if high < 0 else None
            label = f"{found.suite}: {row.name}"
            is_share = row.unit in {"", "0-1"} or row.unit.startswith("share")
            unit = "share" if is_share else row.unit
            by_unit.setdefault(unit, []).append(
                charts.Interval(label, row.gain, low, high, is_good)
            )
    for unit, rows in by_unit.items():
        yield Figure(
            charts.intervals(rows, x_label=f"gain over {reference}, {unit} (right is better)"),
            f"Gain over {reference} in {unit} with its interval; green is better beyond chance, "
            "red is worse.",
        )


def _judge(judge: JudgeResult) -> Iterator[Block]:
    tone: Tone = "good" if judge.trust.is_trusted and not judge.is_biased else "open"
    if judge.is_biased:
        tone = "bad"
    title = "Biased" if judge.is_biased else "Trusted" if judge.trust.is_trusted else "Not trusted"
    yield Notice(title, " ".join(_sentence(remark) for remark in judge.remarks), tone)
    rate = judge.first_slot_rate
    yield Table(
        ("judge", "same winner in both orders", "first reply chosen", "answers without a choice"),
        [
            (
                judge.judge,
                f"{judge.position_consistency:.0%}",
                "-" if rate is None else f"{rate:.0%}",
                f"{judge.num_unreadable} of {2 * len(judge.judgements)}",
            )
        ],
        numeric=frozenset({1, 2, 3}),
    )


def _replies(
    before: RepliesResult | None, after: RepliesResult | None, models: Sequence[ModelResult]
) -> list[Block]:
    """Return the replies that lost and gained most by a metric of likeness to the person's."""
    if before is None or after is None:
        return []
    have = {metric.name for metric in before.suite.metrics}
    name = next((name for name in ITEM_METRICS if name in have), None)
    if name is None:
        return []
    places = {item: i for i, item in enumerate(after.suite.item_ids)}
    gains = []
    for i, item in enumerate(before.suite.item_ids):
        j = places[item]
        gain = after.suite.metric(name).items[j] - before.suite.metric(name).items[i]
        gains.append((gain, i, j))
    gains.sort()
    shown = [
        *gains[:NUM_SHOWN],
        *[g for g in gains[-NUM_SHOWN:][::-1] if g not in gains[:NUM_SHOWN]],
    ]
    first, last = _two_names(models)
    return [
        Text(
            f"Ordered by the change in {name}: first those that lost most, then the most improved."
        ),
        *(
            Compared(
                before.prompts[i],
                [
                    ("expected", before.references[i]),
                    (first, before.replies[i]),
                    (last, after.replies[j]),
                ],
                note=f"{name} {gain:+.3g}",
            )
            for gain, i, j in shown
        ),
    ]


def _questions(
    pair: tuple[QuestionsResult, QuestionsResult] | None, models: Sequence[ModelResult]
) -> list[Block]:
    """Return questions answered right by one model only, the lost ones first."""
    if pair is None:
        return []
    before = {answer.question.id: answer for answer in pair[0].answers}
    changed = [
        (before[answer.question.id], answer)
        for answer in pair[1].answers
        if answer.is_right != before[answer.question.id].is_right
    ]
    lost = [both for both in changed if not both[1].is_right]
    won = [both for both in changed if both[1].is_right]
    first, last = _two_names(models)
    return [
        Text(f"{len(lost)} answers were right before and are not now, {len(won)} the other way."),
        *(
            Compared(
                one.question.question,
                [(first, one.reply), (last, other.reply)],
                note="expected: " + ", ".join(one.question.key_facts),
            )
            for one, other in (*lost[:NUM_SHOWN], *won[:NUM_SHOWN])
        ),
    ]


def _two_names(models: Sequence[ModelResult]) -> tuple[str, str]:
    first, last = models[0].name, models[-1].name
    return first, last if last != first else f"{last} again"


def _costs(models: Sequence[ModelResult]) -> Iterator[Block]:
    keys = ("load_s", "first_token_s", "tokens_per_s", "memory_bytes")
    yield Table(
        ("model", "load, s", "first token, s", "tokens/s", "resident memory, MiB", "replied"),
        [
            (
                model.name,
                *(_number(model.deployment.get(key), MIB if "bytes" in key else 1) for key in keys),
                "yes" if model.deployment.get("success") else "no",
            )
            for model in models
        ],
        caption="Serving, measured on one prompt alone.",
        numeric=frozenset(range(1, 5)),
    )
    trained = [model for model in models if model.training]
    if trained:
        yield Table(
            ("model", "training loss", "validation loss", "training time, s", "peak memory, MiB"),
            [
                (
                    model.name,
                    " to ".join(
                        _number(model.training.get(key)) for key in ("first_loss", "last_loss")
                    ),
                    _number(model.training.get("best_validation_loss")),
                    _number(model.training.get("training_time_s")),
                    _number(model.training.get("peak_memory_bytes"), MIB),
                )
                for model in trained
            ],
            caption="Training, as its run measured it.",
            numeric=frozenset(range(1, 5)),
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _number(value: object, unit: float = 1) -> str:
    return f"{value / unit:,.4g}" if isinstance(value, int | float) else "not measured"


def _grounds(report: EvaluationReport) -> Iterator[Block]:
    found = report.contamination
    if found is not None:
        left_out = len(found.contaminated)
        yield Text(
            f"{left_out} of {left_out + len(found.kept)} test items were left out: at least "
            f"{found.threshold:.0%} of their runs of {found.order} words stand in the training "
            "text."
        )
        if left_out:
            shown = [
                (overlap.item_id, overlap.training_id, f"{overlap.share:.0%}", overlap.words)
                for overlap in found.contaminated[:NUM_SHOWN]
            ]
            yield Table(("test item", "training text", "share", "words"), shown)
    rows = [(key, _plain(value)) for key, value in report.provenance.items()]
    yield Table(("what", "value"), rows, caption="Configuration, seeds and hashes.")


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
