"""Findings of recorded conversations: one per reason, in exchanges, "good" only when it is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fine_tuning.core.data_account import DataAccount
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning_account import (
    REMEDIES,
    cleaning_accounts,
    exchange_account,
)
from fine_tuning.data_collection.cleaning_counts import CleaningCounts, LimitAdvice
from fine_tuning.data_collection.cleaning_steps import REASONS
from fine_tuning.data_collection.recording_checks import recorded_findings

ADVICE: LimitAdvice = {
    "reason": "too_long",
    "setting": "data_collection.max_conversation_length",
    "current": 1000.0,
    "needed": 4200.0,
    "left_out": 246,
}


def counts(
    *,
    kept: int = 50,
    dropped: dict[str, int] | None = None,
    exchanges_kept: int = 300,
    left_out: dict[str, int] | None = None,
    advice: tuple[LimitAdvice, ...] = (),
) -> CleaningCounts:
    given_up, lost = dropped or {}, left_out or {}
    return {
        "in": kept + sum(given_up.values()),
        "kept": kept,
        "dropped": given_up,
        "steps": [
            {
                "name": "too_long",
                "seen": 1,
                "changed": 0,
                "dropped": 0,
                "cpu_s": 0.0,
                "examples": [["c7", "the exchange has 4000 characters"], ["c8", "changed"]],
            }
        ],
        "clusters": 0,
        "review": [],
        "exchanges": {
            "in": exchanges_kept + sum(lost.values()),
            "kept": exchanges_kept,
            "left_out": lost,
        },
        "advice": list(advice),
    }


def old_counts(kept: int, dropped: dict[str, int]) -> CleaningCounts:
    """Counts as earlier cleanings recorded them."""
    known: Any = counts(kept=kept, dropped=dropped)
    return cast(
        "CleaningCounts", {k: v for k, v in known.items() if k not in {"exchanges", "advice"}}
    )


def titles(findings: list[Finding], severity: str) -> list[str]:
    return [one.title for one in findings if one.severity == severity]


def test_a_rule_that_takes_more_than_a_tenth_says_what_would_keep_most() -> None:
    some = counts(
        dropped={"too_long": 3}, exchanges_kept=54, left_out={"too_long": 246}, advice=(ADVICE,)
    )
    found = recorded_findings(some, 54)
    assert found[0].check == "left out"
    assert found[0].severity == "warning"
    assert found[0].title == "54 of 300 exchanges reach training"
    (one,) = [finding for finding in found if finding.check == "length"]
    assert one.title == "too long: 246 of 300 exchanges are left out"
    assert one.fix == "data_collection.max_conversation_length=4200 would keep 95 % of them"
    assert one.detail == "3 conversations hold nothing else and are dropped"
    assert one.examples == ("c7: the exchange has 4000 characters",)
    assert found[0].fix == one.fix


def test_what_takes_little_is_a_note_and_the_rest_is_good() -> None:
    found = recorded_findings(counts(left_out={"refusal": 3, "duplicate": 4}), 300)
    good = ["300 of 307 exchanges reach training", "300 question-answer pairs"]
    assert titles(found, "good") == good
    assert titles(found, "warning") == []
    assert titles(found, "note") == [
        "duplicate: 4 of 307 exchanges are left out",
        "refusal: 3 of 307 exchanges are left out",
    ]


def test_losses_of_a_data_set_stand_in_the_same_form() -> None:
    prepared = DataAccount(
        unit="replies", kept=54, left_out={"beyond max_length": 246}, num_cut=20,
        remedies={"beyond max_length": "data_preparation.max_length=8192 would keep 95 % of them"},
    )  # fmt: skip
    found = recorded_findings(counts(), 54, [prepared])
    assert titles(found, "good") == []
    assert "beyond max_length: 246 of 300 replies are left out" in titles(found, "warning")
    assert "20 of 54 replies are cut at data_preparation.max_length" in titles(found, "warning")
    assert found[0].fix.startswith("data_preparation.max_length=8192")
    size = next(one for one in found if one.check == "size")
    assert size.numbers["pairs"] == 54, "what reaches training, not what was recorded"


def test_when_nothing_is_kept_the_reason_and_its_remedy_are_named() -> None:
    none = counts(kept=0, dropped={"too_long": 9}, exchanges_kept=0, left_out={"too_long": 9})
    first, *_ = recorded_findings(none, 0)
    assert first.severity == "stop"
    assert first.detail == "cleaning left out all 9: 9 too long"
    assert "max_conversation_length" in first.fix
    (nothing,) = recorded_findings(counts(kept=0, exchanges_kept=0), 0)
    assert "none was recorded yet" in nothing.detail


@pytest.mark.parametrize("reason", ["consent", "rejected", "not_trained"])
def test_what_a_person_left_out_is_no_warning(reason: str) -> None:
    found = recorded_findings(counts(left_out={reason: 200}), 300)
    assert titles(found, "warning") == []
    assert titles(found, "good") == ["300 question-answer pairs"], "yet it is not called good"


def test_bad_replies_make_poor_results_likely_and_duplicates_do_not() -> None:
    poor = recorded_findings(counts(exchanges_kept=150, left_out={"refusal": 150}), 150)
    assert "Poor fine-tuning results are likely" in titles(poor, "warning")
    copies = recorded_findings(counts(exchanges_kept=150, left_out={"duplicate": 150}), 150)
    assert "Poor fine-tuning results are likely" not in titles(copies, "warning")


def test_records_from_before_exchanges_were_counted_are_read() -> None:
    old = old_counts(51, {"too_long": 20, "duplicate": 2})
    assert exchange_account(old) is None
    assert [one.unit for one in cleaning_accounts(old)] == ["conversations"]
    found = recorded_findings(old, 120)
    assert "too long: 20 of 73 conversations are left out" in titles(found, "warning")


def test_advice_without_a_value_is_no_value() -> None:
    languages: LimitAdvice = {
        "reason": "language", "setting": "data_collection.languages", "current": 1.0,
        "needed": 1.0, "left_out": 90,
    }  # fmt: skip
    account = exchange_account(counts(left_out={"language": 90}, advice=(languages,)))
    assert account is not None
    assert "=1" not in account.remarks[0]
    assert account.remarks[0].endswith(REMEDIES["language"])


def test_every_reason_of_cleaning_has_a_remedy() -> None:
    assert set(REASONS) <= set(REMEDIES)
