"""Loops in any script, and repetition that people ask for."""

# ruff: noqa: E501 - texts in many scripts

from __future__ import annotations

import pytest

from fine_tuning.data_collection.text_filters import loop

LOOPS = [
    "no " * 8,
    "I can help you. " * 4,
    "a b c " * 5,
    "The end.\nsame line here\n" * 5,
    "a" * 40,
    "Sure! " + "and then we go on and on, " * 4,
    "我不知道我不知道我不知道我不知道我不知道",
    "好的。" * 12,
    "これはテストです。" * 6,
    "สวัสดีครับ" * 8,
    "😂" * 30,
    "😂🎉" * 25,
    "не знаю " * 9,
    "Ich weiß nicht, was soll ich sagen. " * 5,
    "1. Restart the server\n2. Restart the server\n3. Restart the server\n4. Restart the server\n5. Restart the server\n6. Restart the server",
    "मुझे नहीं पता। " * 8,
    "لا أعرف ماذا أقول. " * 6,
    "모르겠습니다. " * 9,
    "The answer is good. " + "I think that it is fine and I like it. " * 6 + "Then",
    "ha " * 200,
    "아니요 저는 " * 10,
]
HONEST = [
    "no no no, never",
    "ha ha ha ha ha",
    "1 0 0 0 0 0 0 0 0 0 0 0 0",
    "```\n" + "return None\n" * 20 + "```",
    "|---|---|---|---|---|---|---|---|",
    "1. Open it.\n2. Close it.\n3. Open it.\n4. Close it.",
    "-" * 80,
    "very, very, very, very good. Really.",
    "Row, row, row your boat",
    "ha " * 20,
    "哈" * 35,
    "ㅋ" * 35,
    "\n".join(
        f"{n} bottles of beer on the wall, {n} bottles of beer.\nTake one down and pass it around, {n - 1} bottles of beer on the wall."
        for n in range(20, 5, -1)
    ),
    "Let it be, let it be, let it be, let it be",
    "\n".join("| yes | no | yes | no |" for _ in range(20)),
    "x = 0\n" * 10,
    "    pass\n" * 10,
    "a,b,c,d,e\n" * 9,
    "~~~\n" + "print(1)\n" * 20 + "~~~",
    "=== === === === === === === === === ===",
    "1 2 3 4 5 6 7 8 9 10",
    "Night falls on the hill so grey\n"
    + "\n".join(
        f"Line number {w} is here to stay\nAnd we sing our song again"
        for w in ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    ),
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩🟩",
    "⭐⭐⭐⭐⭐",
    "どんどんどんどん",
    "慢慢慢慢来",
    "█████████████████████████████████████",
    "Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo",
    "    " * 50 + "x",
    "false\n" * 10,
    "la la la la la la la la la la",
    "Day 1: rest\nDay 2: rest\nDay 3: rest\nDay 4: rest\nDay 5: rest\nDay 6: rest",
]


@pytest.mark.parametrize("text", LOOPS)
def test_a_reply_that_is_stuck_is_found(text: str) -> None:
    assert loop(text)


@pytest.mark.parametrize("text", HONEST)
def test_repetition_that_is_meant_is_none(text: str) -> None:
    assert loop(text) is None
