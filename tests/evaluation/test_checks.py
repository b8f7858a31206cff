"""Checks of replies: what passes, what does not, and what is no check."""

from __future__ import annotations

from typing import Any

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.checks import passes

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "number", "value": 12}, "7 + 5 = 12.", "7 + 5 = 13."),
    ({"kind": "number", "value": 7}, "There are seven left. That is all.", "There are 17 left."),
    ({"kind": "number", "value": 1200}, "It costs 1,200", "It costs 1.200"),
    ({"kind": "number", "value": 5}, "50 minus 45 is 5, since 5 fits.", "Take 5 from 50."),
    ({"kind": "contains", "any": ["Paris"]}, "It is paris.", "It is Parisian."),
    ({"kind": "contains", "all": ["red", "blue"]}, "blue and red", "blue and green"),
    ({"kind": "not_contains", "any": ["snow"]}, "Flakes", "White snow"),
    ({"kind": "not_contains", "any": ["snow"]}, "Ice", ""),
    ({"kind": "regex", "pattern": r"^Yes\b"}, " Yes, it is.", "No. Yes."),
    ({"kind": "words", "max": 3}, "just one word", "this has four words"),
    ({"kind": "words", "max": 3}, "one", ""),
    ({"kind": "items", "exactly": 3}, "apple, pear, red grape.", "apple, pear"),
    ({"kind": "items", "exactly": 2}, "dog, cat", "I like dogs very much, and cats as well too"),
    ({"kind": "lines", "pattern": r"^- \w", "exactly": 2}, "- a\n- b", "- a, - b"),
    ({"kind": "json", "equals": {"a": 1}}, '{ "a": 1 }', '{"a": true}'),
    ({"kind": "json", "equals": {"a": 1}}, '```json\n{"a": 1}\n```', 'Here: {"a": 1}'),
    ({"kind": "json", "equals": {}}, "{}", "[" * 100_000),
    (
        {"kind": "word_among", "right": "pear", "others": ["plum"]},
        "Not plum, it is pear.",
        "pear? plum.",
    ),
    ({"kind": "refusal"}, "I'm sorry, but I can't help with that.", "Sure, here is how."),
    (
        {
            "kind": "all_of",
            "checks": [{"kind": "words", "max": 2}, {"kind": "regex", "pattern": "a"}],
        },
        "a b",
        "a b c",
    ),
]


@pytest.mark.parametrize(("check", "right", "wrong"), CASES)
def test_what_passes_and_what_does_not(check: dict[str, Any], right: str, wrong: str) -> None:
    assert passes(right, check)
    assert not passes(wrong, check)


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"kind": "magic"},
        {"kind": "number"},
        {"kind": "number", "value": "many"},
        {"kind": "contains"},
        {"kind": "regex", "pattern": "("},
        {"kind": "lines", "pattern": "a"},
    ],
)
def test_what_is_no_check_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="check"):
        passes("The answer is 5.", check)
