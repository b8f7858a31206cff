"""The score of replies that are short, in code, or in scripts without spaces."""

# ruff: noqa: RUF001 - texts in many scripts

from __future__ import annotations

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.quality import quality

GOOD = [
    "Paris.", "4", "Yes", "巴黎。", "先洗米，然后加水，煮二十分钟，最后焖五分钟就可以吃了。",
    "```python\ndef f(x):\n    return x + 1\n\nprint(f(2))\n```", "    x = 1\n    return x + 1",
    "| a | b |\n|---|---|\n| 1 | 2 |", "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "नमस्ते, मैं ठीक हूँ और आपकी क्या मदद कर सकता हूँ?",
]  # fmt: skip
POOR = ["!!! ??? ###", "I do not know. " * 40, "I'm sorry, I can't help with that."]


def score(reply: str) -> float:
    return quality(Conversation.from_turns([("user", "Well?"), ("assistant", reply)])).score


@pytest.mark.parametrize("reply", GOOD)
def test_a_good_reply_scores_well_in_any_form(reply: str) -> None:
    assert score(reply) >= 0.85


@pytest.mark.parametrize("reply", POOR)
def test_a_poor_reply_scores_low(reply: str) -> None:
    assert score(reply) < 0.6
