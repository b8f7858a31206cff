"""ShareGPT's records in the order and with the speakers that real files have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.data_collection.importers.speakers import speaker_role, speaker_roles
from tests.real_inputs.pipeline import INPUTS, cleaned
from tests.real_inputs.programs import write

pytestmark = pytest.mark.real_input("ShareGPT speakers")


def test_every_record_is_kept(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "sharegpt-order" / "sharegpt_order.json")
    assert len(found.records) == 9
    said = [reply for record in found.learnt for reply in record]
    for reply in (
        "Raclette melts best, then young Gouda.", "On holidays from noon.",
        "Jupiter is the largest planet.", "Mercury is.", "Vénus est la plus chaude.",
        "Bees dance to tell where flowers are.", "Sun in Rome, rain in Bern.",
        "0 degrees Celsius.", "Leonardo da Vinci.", "Goethe did.",
    ):  # fmt: skip
        assert reply in said
    assert any("From ten to six." in reply and "On Mondays" in reply for reply in said)
    assert "Hello! How can I help you today?" not in said


MODELS = [
    "gpt", "GPT-4", "gpt-4o-mini", "chatgpt", "ChatGPT", "bing", "bard", "Claude", "claude-3-opus",
    "llama", "Llama-3.1-70B", "gemini-pro", "mistral", "Mixtral-8x7B", "qwen2.5", "deepseek-r1",
    "ai", "AI", "AI Assistant", "assistant_1", "bot", "model", "vicuna-13b", "phi-4", "o1", "grok",
]  # fmt: skip


@pytest.mark.parametrize("speaker", MODELS)
def test_a_model_by_its_name_is_the_assistant(tmp_path: Path, speaker: str) -> None:
    turns = [
        {"from": "user_name", "value": "Which river flows through Paris?"},
        {"from": speaker, "value": "The Seine flows through Paris."},
    ]
    path = write(tmp_path / "x.jsonl", {"conversations": turns})
    found = cleaned(tmp_path / "home", path)
    assert found.learnt == [["The Seine flows through Paris."]]


@pytest.mark.parametrize(
    "speaker", ["human", "Human", "user", "USER", "user_name", "user1", "human_2", "me", "prompter"]
)
def test_a_person_by_its_name_is_the_user(speaker: str) -> None:
    assert speaker_role(speaker) == "user"


def test_a_name_that_says_nothing_is_the_side_that_is_missing() -> None:
    assert speaker_roles(["Ann", "gpt", "Ann"]) == {"Ann": "user", "gpt": "assistant"}
    assert speaker_roles(["human", "Keeper"]) == {"human": "user", "Keeper": "assistant"}
    assert speaker_roles(["Ann", "Bob"]) == {}
    assert speaker_roles(["human", "gpt", "Ann"]) == {"human": "user", "gpt": "assistant"}
