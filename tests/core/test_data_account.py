"""Accounts of what is left out: sums that hold, one form, warnings from a tenth on."""

from __future__ import annotations

import pytest

from fine_tuning.core.data_account import (
    DataAccount,
    account_line,
    account_remarks,
    account_rows,
    finest,
    keeping,
    reach_finding,
)

CONVERSATIONS = DataAccount(unit="conversations", kept=77, left_out={"too_long": 20})
EXCHANGES = DataAccount(
    unit="exchanges",
    kept=54,
    left_out={"refusal": 1, "too_long": 245},
    remedies={"too_long": keeping("data_collection.max_conversation_length", 4200)},
)
REPLIES = DataAccount(
    unit="replies",
    kept=270,
    left_out={"beyond max_length": 29, "a message holds more than text": 1},
    remedies={"beyond max_length": keeping("data_preparation.max_length", 3072)},
    num_cut=1234,
)


def test_what_came_in_is_the_sum() -> None:
    assert EXCHANGES.num_in == 300
    assert EXCHANGES.equation == "300 = 54 kept + 246 left out"
    assert EXCHANGES.kept_share == pytest.approx(0.18)
    assert DataAccount(unit="replies", kept=0, left_out={}).kept_share == 1


def test_a_reason_that_leaves_out_more_than_a_tenth_has_a_line_with_the_value() -> None:
    (line,) = EXCHANGES.remarks
    assert line == (
        "too long: 245 of 300 exchanges are left out; "
        "data_collection.max_conversation_length=4200 would keep 95 % of them"
    )
    assert REPLIES.remarks == [], "a tenth at most has none"
    unbound = DataAccount(unit="replies", kept=1, left_out={"refused by the template": 1})
    assert unbound.remarks == ["refused by the template: 1 of 2 replies is left out"]


@pytest.mark.parametrize("reason", ["consent", "rejected", "not_trained"])
def test_what_a_person_decided_is_no_warning(reason: str) -> None:
    own = DataAccount(unit="exchanges", kept=10, left_out={reason: 90})
    assert own.remarks == []
    assert reach_finding([own]).severity == "note"


@pytest.mark.parametrize(
    ("value", "written"), [(4200, "s=4200"), (4200.0, "s=4200"), (0.6543, "s=0.6543"), (12, "s=12")]
)
def test_an_advised_value_can_be_typed(value: float, written: str) -> None:
    assert keeping("s", value) == f"{written} would keep 95 % of them"


def test_rows_join_the_numbers_of_a_reason() -> None:
    assert account_rows([CONVERSATIONS, EXCHANGES, REPLIES]) == {
        "conversations": "97 = 77 kept + 20 left out",
        "exchanges": "300 = 54 kept + 246 left out",
        "replies": "300 = 270 kept + 30 left out",
        "left out: too long": "20 conversations, 245 exchanges",
        "left out: refusal": "1 exchange",
        "left out: beyond max_length": "29 replies",
        "left out: a message holds more than text": "1 reply",
        "cut at max_length": "1,234 of the replies kept",
    }


def test_one_line_names_every_reason_and_what_helps_most() -> None:
    line = account_line(finest([CONVERSATIONS, EXCHANGES, REPLIES]))
    assert "\n" not in line
    assert line == (
        "54 of 300 exchanges are kept (left out: 245 too long, 1 refusal); 270 of 300 replies are "
        "kept (left out: 29 beyond max_length, 1 a message holds more than text), 1,234 of them "
        "cut at max_length. data_collection.max_conversation_length=4200 would keep 95 % of them"
    )
    assert account_remarks([CONVERSATIONS, EXCHANGES]) == EXCHANGES.remarks, "once, in exchanges"


def test_records_without_exchanges_are_told_in_conversations() -> None:
    assert finest([CONVERSATIONS]) == [CONVERSATIONS]
    assert finest([CONVERSATIONS, REPLIES]) == [CONVERSATIONS, REPLIES]
    assert finest([CONVERSATIONS, EXCHANGES, REPLIES]) == [EXCHANGES, REPLIES]
    assert finest([]) == []
    prepared = DataAccount(
        unit="conversations", kept=1, left_out={}, title="conversations prepared"
    )
    assert finest([CONVERSATIONS, EXCHANGES, prepared, REPLIES]) == [EXCHANGES, REPLIES]


@pytest.mark.parametrize(
    ("left_out", "severity"), [(9, "good"), (10, "warning"), (60, "warning"), (0, "good")]
)
def test_good_is_said_only_when_it_is(left_out: int, severity: str) -> None:
    one = DataAccount(unit="exchanges", kept=100 - left_out, left_out={"refusal": left_out})
    assert reach_finding([one]).severity == severity


def test_losses_of_several_stages_add_up() -> None:
    cleaned = DataAccount(unit="exchanges", kept=93, left_out={"cut_off": 7})
    prepared = DataAccount(
        unit="replies", kept=86, left_out={"beyond max_length": 7}, remedies={"cut_off": "no"}
    )
    found = reach_finding([cleaned, prepared])
    assert found.severity == "warning", "7 % and 7.5 % are more than a tenth"
    assert found.title == "86 % reaches training: 93 of 100 exchanges, 86 of 93 replies"
    assert found.detail == "above all cut off: 7 of 100 exchanges are left out"
    assert found.numbers["replies"]["in"] == 93  # type: ignore[index,call-overload]


def test_what_is_nearly_all_is_not_called_all() -> None:
    cleaned = DataAccount(unit="exchanges", kept=299, left_out={"refusal": 1})
    prepared = DataAccount(unit="replies", kept=299, left_out={})
    assert reach_finding([cleaned, prepared]).title.startswith("99 % reaches training")
    assert reach_finding([prepared, cleaned]).numbers["kept_share"] == 0.9967


def test_the_finding_names_the_biggest_reason_and_what_helps() -> None:
    found = reach_finding([EXCHANGES])
    assert found.title == "54 of 300 exchanges reach training"
    assert "too long: 245 of 300" in found.detail
    assert found.fix.startswith("data_collection.max_conversation_length=4200")
