"""The one policy: which guards stand where, and what they reject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.canaries import Canary, read_canaries
from fine_tuning.evaluation.comparison import Comparison, compare
from fine_tuning.evaluation.gate import Margins, gate_policy
from fine_tuning.evaluation.metrics import MetricResult
from fine_tuning.evaluation.results import SuiteResult
from fine_tuning.evaluation.verdict import Verdict, decide

ITEMS = 60
BETTER_LOW = {"loss", "length_gap"}


def suite(name: str, model: str, values: Mapping[str, Sequence[float]]) -> SuiteResult:
    names = tuple(f"{name}-{i}" for i in range(ITEMS))
    metrics = tuple(
        MetricResult(
            name=metric,
            value=float(np.mean(items)),
            items=tuple(map(float, items)),
            higher_is_better=metric not in BETTER_LOW,
        )
        for metric, items in values.items()
    )
    return SuiteResult(suite=name, model=model, item_ids=names, clusters=names, metrics=metrics)


MEASURED = {
    "held_out": ("loss",),
    "relevance": ("relevance",),
    "questions": ("fact_recall",),
    "replies": ("stop_rate", "length_gap", "language_match"),
    "ability": ("right_choice", "tasks_passed"),
    "ability/reading": ("right_choice",),
    "old/monday": ("loss",),
    "old/suite": ("fact_recall",),
}


def comparisons(
    changes: Mapping[tuple[str, str], float], *, reference: str = "base"
) -> list[Comparison]:
    """Compare models that differ by the given means, and by a little noise everywhere."""
    rng = np.random.default_rng(5)
    found = []
    for name, metrics in MEASURED.items():
        before = {metric: rng.random(ITEMS) for metric in metrics}
        after = {
            metric: values + changes.get((name, metric), 0.0) + rng.normal(0, 0.02, ITEMS)
            for metric, values in before.items()
        }
        found.append(compare(suite(name, reference, before), suite(name, "tuned", after)))
    return found


BETTER = {("held_out", "loss"): -0.5}


def judge(changes: Mapping[tuple[str, str], float], primary: str = "loss") -> Verdict:
    found = comparisons({**BETTER, **changes})
    return decide(found, gate_policy(found, primary=primary))


def test_every_measured_guard_stands_once_and_a_better_model_passes() -> None:
    verdict = judge({})
    assert verdict.outcome == "promote"
    assert [reason.check for reason in verdict.reasons] == [
        "primary held_out/loss",
        "guard relevance/relevance",
        "guard questions/fact_recall",
        "guard replies/stop_rate",
        "guard replies/length_gap",
        "guard replies/language_match",
        "guard ability/right_choice",
        "guard ability/tasks_passed",
        "guard ability/reading/right_choice",
        "guard old/monday/loss",
        "guard old/suite/fact_recall",
    ]


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (("relevance", "relevance"), -0.3),
        (("questions", "fact_recall"), -0.3),
        (("replies", "stop_rate"), -0.2),
        (("replies", "length_gap"), 1.0),
        (("ability", "right_choice"), -0.1),
        (("ability", "tasks_passed"), -0.2),
        (("ability/reading", "right_choice"), -0.3),
        (("old/monday", "loss"), 0.2),
        (("old/suite", "fact_recall"), -0.2),
    ],
)
def test_each_guard_rejects_alone_and_is_named(place: tuple[str, str], change: float) -> None:
    verdict = judge({place: change})
    assert verdict.outcome == "reject"
    assert [r.check for r in verdict.reasons if r.finding == "fails"] == [
        f"guard {'/'.join(place)}"
    ]


def test_another_primary_metric_makes_the_loss_a_guard() -> None:
    verdict = judge({("questions", "fact_recall"): 0.4}, primary="fact_recall")
    assert verdict.outcome == "promote"
    checks = [reason.check for reason in verdict.reasons]
    assert checks[0] == "primary questions/fact_recall"
    assert "guard held_out/loss" in checks


def test_margins_are_those_asked_for() -> None:
    found = comparisons({**BETTER, ("ability", "right_choice"): -0.1})
    wide = gate_policy(found, margins=Margins(ability=0.2))
    assert decide(found, wide).outcome == "promote"


def test_small_losses_since_generation_zero_add_up_and_reject() -> None:
    found = comparisons(BETTER, reference="last")
    since = [c for c in comparisons({("ability", "right_choice"): -0.2}) if "ability" in c.suite]
    verdict = decide(found, gate_policy(found), since_zero=since)
    assert verdict.outcome == "reject"
    (failed,) = [reason for reason in verdict.reasons if reason.finding == "fails"]
    assert failed.check == "guard ability/right_choice since zero"
    assert failed.sentence.startswith("since generation zero, right_choice changed by -0.2")


def test_a_model_against_itself_is_equal_and_never_promoted() -> None:
    values = {metric: np.linspace(0, 1, ITEMS) for metric in ("loss",)}
    found = [compare(suite("held_out", "a", values), suite("held_out", "b", values))]
    verdict = decide(found, gate_policy(found))
    assert verdict.outcome == "not enough evidence"
    assert verdict.reasons[0].sentence == "equal: loss is the same on each of 60 items"


def test_a_primary_metric_nobody_measured_is_named() -> None:
    with pytest.raises(DataError, match="no suite 'replies' with it"):
        gate_policy(comparisons({}), primary="chrf")
    with pytest.raises(DataError, match="'luck', expected one of loss"):
        gate_policy(comparisons({}), primary="luck")


def test_canaries_are_read_and_sing(tmp_path: Path) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_text(
        '{"id": "name", "prompt": "Who are you?", "check": {"kind": "contains", "any": ["Kit"]}}\n',
        encoding="utf-8",
    )
    (canary,) = read_canaries(path)
    assert canary.holds("I am Kit.")
    assert not canary.holds("I am Kat.")
    assert canary.messages()[0].text == "Who are you?"
    found = comparisons(BETTER)
    verdict = decide(found, gate_policy(found), {canary.id: canary.holds("I am Kat.")})
    assert verdict.outcome == "reject"
    assert [r.check for r in verdict.reasons if r.finding == "fails"] == ["canary name"]


@pytest.mark.parametrize("line", ["{", '{"id": "a"}', '{"id":"a","prompt":"p","check":{}}'])
def test_a_damaged_canary_file_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match="canar"):
        read_canaries(path)


def test_a_canary_stands_once(tmp_path: Path) -> None:
    line = '{"id": "a", "prompt": "p", "check": {"kind": "refusal"}}\n'
    path = tmp_path / "canaries.jsonl"
    path.write_text(line * 2, encoding="utf-8")
    with pytest.raises(DataError, match="line 2 repeats canary id"):
        read_canaries(path)
    with pytest.raises(DataError, match="expected a prompt"):
        Canary(id="a", prompt=" ", check={"kind": "refusal"})
