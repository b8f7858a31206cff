"""Cards are known by their grouping; numbers in a row are none."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from fine_tuning.data_collection.private_values import find_private
from fine_tuning.data_collection.redaction import Redactor
from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("card in number lists")
FILE = INPUTS / "card-in-number-lists" / "in.jsonl"


def test_chats_about_numbers_stay_as_they_are(tmp_path: Path) -> None:
    given = [json.loads(line)["messages"] for line in FILE.read_text("utf-8").splitlines()]
    turns = [[(m["role"], m["content"]) for m in messages] for messages in given]
    assert cleaned(tmp_path, FILE).turns == turns


def rows(rng: random.Random) -> list[str]:
    """Return texts of numbers, none of them private."""
    number = rng.randint
    return [
        " ".join(str(number(0, 99)) for _ in range(30)),
        " ".join(str(number(0, 999)) for _ in range(10)),
        " ".join(str(number(0, 9999)) for _ in range(10)),
        " ".join(str(number(0, 9)) for _ in range(20)),
        ", ".join(str(number(0, 999)) for _ in range(20)),
        "\n".join(" ".join(rng.sample("123456789", 9)) for _ in range(9)),
        f"The count is {number(10**9, 10**10 - 1)} today",
        f"part {number(100, 999)}-{number(100, 999)}-{number(1000, 9999)} of it",
        f"code {number(1000, 9999)} {number(100000, 999999)} here",
        f"art. no 0{number(1000, 9999)} {number(100000, 999999)} here",
        f"update to {number(10, 99)}.{number(0, 99)}.{number(0, 250)}.{number(0, 250)} now",
        f"order {number(10**15, 10**16 - 1)}",
        f"at {number(16 * 10**14, 18 * 10**14)} microseconds",
    ]


def test_rows_of_numbers_hold_nothing_private() -> None:
    rng = random.Random(7)
    for _ in range(200):
        for text in rows(rng):
            assert find_private(text) == [], text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111 12/26 123", "card <CARD_1> 12/26 123"),
        ("卡号4111111111111111。", "卡号<CARD_1>。"),
        ("4111-1111-1111-1111, 5500-0000-0000-0004", "<CARD_1>, <CARD_2>"),
        ("amex 3782 822463 10005", "amex <CARD_1>"),
        ('{"orderId": 4111111111111111}', '{"orderId": 4111111111111111}'),
        ("4111 1111 1111 1111 5889 7904", "4111 1111 1111 1111 5889 7904"),
    ],
)
def test_a_card_in_its_usual_grouping_is_one(text: str, expected: str) -> None:
    assert Redactor().redact(text) == expected
