"""Private values in texts of many languages and in code: the value goes, the rest stays."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fine_tuning.data_collection.data_cleaner import DataCleaner
from tests.real_inputs.pipeline import INPUTS, cleaned

TEXTS = json.loads((INPUTS / "pii" / "texts.json").read_text(encoding="utf-8"))
CLEANER = DataCleaner()


@pytest.mark.real_input("private values of many kinds")
@pytest.mark.parametrize("row", TEXTS, ids=[f"{row['kind']}-{i}" for i, row in enumerate(TEXTS)])
def test_the_value_alone_is_replaced(row: dict[str, str]) -> None:
    assert CLEANER.normalize_text(row["text"]) == row["expected"]


@pytest.mark.real_input("address inside text")
def test_what_stands_behind_an_address_stays(tmp_path: Path) -> None:
    replies = [
        reply
        for chat in cleaned(tmp_path, INPUTS / "url-eats-text" / "in.jsonl").learnt
        for reply in chat
    ]
    assert "requests.get('<URL_1>').json()" in replies[0]
    assert replies[2] == "详情请见<URL_1>，然后点击登录按钮，再输入验证码。"  # noqa: RUF001
    assert replies[4] == "请发邮件至<EMAIL_1>谢谢"


@pytest.mark.real_input("card in number lists")
def test_number_lists_stay(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "card-in-number-lists" / "in.jsonl")
    assert "CARD" not in json.dumps(found.records)


CHANCE = random.Random(7)
MADE: dict[str, Callable[[], str]] = {
    "numbers below 100": lambda: _row(30, 0, 99, " "),
    "numbers below 10,000": lambda: _row(10, 0, 9999, " "),
    "digits": lambda: _row(20, 0, 9, " "),
    "sudoku": lambda: "\n".join(" ".join(CHANCE.sample("123456789", 9)) for _ in range(9)),
    "commas": lambda: _row(20, 0, 999, ", "),
    "part numbers": lambda: (
        f"part {CHANCE.randint(100, 999)}-{CHANCE.randint(100, 999)}-"
        f"{CHANCE.randint(1000, 9999)} of it"
    ),
    "versions": lambda: f"update to {CHANCE.randint(10, 99)}.{_row(3, 0, 99, '.')} now",
}


def _row(count: int, least: int, most: int, between: str) -> str:
    return between.join(str(CHANCE.randint(least, most)) for _ in range(count))


@pytest.mark.real_input("card in number lists")
@pytest.mark.parametrize("kind", MADE)
def test_made_numbers_stay(kind: str) -> None:
    texts = [MADE[kind]() for _ in range(300)]
    assert [text for text in texts if CLEANER.normalize_text(text) != text] == []
