"""Replies that end too early, and whole ones that end unusually."""

# ruff: noqa: RUF001 - texts in many scripts

from __future__ import annotations

import pytest

from fine_tuning.data_collection.fences import blocks, is_code_line, without_code
from fine_tuning.data_collection.text_filters import cut_off

LONG = "This is a sentence of prose. " * 12


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        (LONG + "And then the wind", True),
        (LONG + "Then:\n```python\nprint(1", True),
        (LONG, False),
        (LONG + "- a list\n- without stops", False),
        ("no stops here at all " * 20, False),
        ("One. Two. first line without\n" + LONG + "and so on", False),
        ("Use three backticks (```) to open a code block in Markdown.", False),
        ("Use:\n~~~\nx\n~~~", False),
        ("````md\n```py\nx\n```\n````", False),
        ("````md\n```py\nx\n```", True),
        ("```markdown\n# T\n```python\nx\n```\nmore\n```", False),
        ("```py\nx\n``` \nThat is it.", False),
        ("Good.\n```python", True),
        ("Good.\n```", False),
        (LONG + "It is at https://a.example/b", False),
        (LONG + "The total is 42", False),
        (LONG + "I hope so 😀", False),
        (LONG + "\nBest regards,\nAnna", False),
        (LONG + "Thus x = a + b", False),
        ("这是一个句子。" * 20 + "然后我们", True),
        ("这是一个句子。" * 20 + "完了！", False),
        ("هذه جملة عربية طويلة جدا. " * 20 + "هل تفهم؟", False),
        ("นี่คือประโยคภาษาไทย " * 20, False),
        ("यह एक वाक्य है। " * 20, False),
        (LONG + "Use `a` or ``` to", True),
        ("~~~\nx", True),
        ("```a``` is inline", False),
        ("- ```py\n  x\n  ```\n", False),
        ("1. x\n   ```\n   y\n   ```", False),
        ("1. x\n\n        ```\n        y\n        ```", False),
    ],
)
def test_a_reply_ends_whole_or_cut_off(text: str, is_cut: bool) -> None:
    assert (cut_off(text) is not None) is is_cut


def test_blocks_and_the_prose_between_them() -> None:
    text = "a `b c` d\n~~~\ncode\n~~~\ne"
    (block,) = blocks(text)
    assert text[block.start : block.end] == "~~~\ncode\n~~~"
    assert block.is_closed
    assert without_code(text).split() == ["a", "d", "e"]


@pytest.mark.parametrize(
    "line", ["x = 1", "    return x", "}", "def f():", "$ ls -la", "import os", "<div>"]
)
def test_lines_of_code(line: str) -> None:
    assert is_code_line(line)


@pytest.mark.parametrize(
    "line",
    ["I return home.", "Import duties rise.", "For one thing: yes.", "Wir gehen.", "这是一句话。"],
)
def test_lines_of_prose(line: str) -> None:
    assert not is_code_line(line)
