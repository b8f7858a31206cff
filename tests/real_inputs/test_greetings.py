"""Chats that the assistant begins: its greeting is context, its replies are trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_inputs.pipeline import INPUTS, cleaned
from tests.real_inputs.programs import write

pytestmark = pytest.mark.real_input("greeting by the assistant")


def test_a_tavern_greeting_is_context(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "tavern-greeting" / "tavern.jsonl")
    assert len(found.records) == 1
    assert found.turns[0][0][0] == "assistant"
    assert len(found.learnt[0]) == 2


def test_a_group_speaks_in_turns(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "tavern-greeting" / "tavern_group.jsonl")
    assert len(found.records) == 1
    assert [role for role, _ in found.turns[0]] == ["user", "assistant", "user", "assistant"]
    assert len(found.learnt[0]) == 2


@pytest.mark.parametrize(
    "greeting", ["*waves* Hello, {{user}}.", "Hello, <USER>.", "Hello, {{User}}."]
)
def test_names_stand_where_a_macro_was(tmp_path: Path, greeting: str) -> None:
    path = write(
        tmp_path / "tavern.jsonl",
        {"user_name": "unused", "character_name": "unused", "create_date": "2025-05-01@10h00m05s"},
        {"name": "Keeper", "is_user": False, "mes": greeting},
        {"name": "Ann", "is_user": True, "mes": "Who are you, {{char}}?"},
        {"name": "Keeper", "is_user": False, "mes": "{{char}} of the lamp, {{user}}."},
    )
    found = cleaned(tmp_path / "home", path)
    assert "Ann" in found.turns[0][0][1]
    assert found.turns[0][1:] == [
        ("user", "Who are you, Keeper?"), ("assistant", "Keeper of the lamp, Ann."),
    ]  # fmt: skip
    assert found.learnt == [["Keeper of the lamp, Ann."]]


def test_sharegpt_that_begins_with_gpt(tmp_path: Path) -> None:
    turns = [
        {"from": "gpt", "value": "Hello! How can I help?"},
        {"from": "human", "value": "Which planet is the largest?"},
        {"from": "gpt", "value": "Jupiter is the largest planet."},
    ]
    found = cleaned(tmp_path / "home", write(tmp_path / "x.jsonl", {"conversations": turns}))
    assert found.turns[0][0] == ("assistant", "Hello! How can I help?")
    assert found.learnt == [["Jupiter is the largest planet."]]
