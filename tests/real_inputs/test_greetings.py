"""Chats that the assistant begins: its greeting is context, its replies are trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("greeting by the assistant")


def test_a_tavern_greeting_is_context(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "tavern-greeting" / "tavern.jsonl")
    assert len(found.records) == 1
    assert found.turns[0][0][0] == "assistant"
    assert len(found.learnt[0]) == 2
