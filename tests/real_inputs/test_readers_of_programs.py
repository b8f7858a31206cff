"""Exports of programs that were not read before, from the file to what is trained on."""

# ruff: noqa: E501, RUF001 - lines as they stand in files

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.importers.catalogue import read_file
from tests.data_collection.importers.program_exports import PROGRAM_EXPORTS
from tests.real_inputs.pipeline import cleaned, workbench

pytestmark = pytest.mark.real_input("readers of programs")

TRAINED_ON = {
    "deepseek.json": [["Red.", "It is one."], ["Hello."]],
    "lm-studio.json": [["Red.", "Ten."]],
    "jan.zip": [["Red.", "Ten."]],
    "grok.zip": [["Red.", "Here."]],
    "gemini.zip": [["Red.", "A **fig**."]],
    "telegram.json": [["Red, **of course**.\n```python\nred()\n```"], ["A cat."]],
    "discord.json": [["Red."]],
    "whatsapp.txt": [["Red."], ["A cat."]],
    "messages-lists.jsonl": [["Red."], ["A fig."]],
    "pairs.jsonl": [["Red."], ["A fig."], ["In Rome."], ["You."], ["Red.\n\nAnd blue."]],
}
"""What is trained on of each file when nothing is left out for being short."""


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


@pytest.mark.parametrize("name", TRAINED_ON)
def test_what_is_trained_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PROGRAM_EXPORTS[name](path)
    settings = {
        "min_conversation_length": 0,
        "skip_steps": ["near_duplicate", "duplicate", "cut_off"],
    }
    bench = workbench(tmp_path / "home", data_collection=settings)
    bench.data.importer.import_file(path, None, "Bot")
    lines = bench.data.export()["chatml"].read_text(encoding="utf-8").splitlines()
    found = [
        [
            text_of(message["content"])
            for message in json.loads(line)["messages"]
            if message["role"] == "assistant" and message.get("content")
        ]
        for line in lines
    ]
    assert sorted(found) == sorted(TRAINED_ON[name])


def test_who_the_assistant_is_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "_chat.txt"
    PROGRAM_EXPORTS["whatsapp-ios.txt"](path)
    bench = workbench(tmp_path / "home")
    with pytest.raises(DataError, match="one of them must be the assistant: Ann, Bot") as caught:
        bench.data.importer.import_file(path)
    assert caught.value.next_command == 'fine-tuning import FILE --assistant "Ann"'
    with pytest.raises(DataError, match="has no person 'Cy'"):
        bench.data.importer.import_file(path, None, "Cy")


@pytest.mark.parametrize(
    "line",
    [
        "[01.12.25, 14:22:33] {}: {}", "01.12.25, 14:22 - {}: {}", "12/1/25, 2:22 PM - {}: {}",
        "12/1/25, 2:22\u202fPM - {}: {}", "[2025/12/01 14:22:33] {}: {}", "2025-12-01, 14:22 - {}: {}",
        "1/12/25, 2:22 p.\u00a0m. - {}: {}", "2025. 12. 1. 오후 2:22, {} : {}", "01/12/2025 à 14:22 - {}: {}",
        "2025/12/1 下午2:22 - {}: {}", "\u200e[1/12/2025 14:22:33] {}: {}", "01.12.2025 klo 14.22 - {}: {}",
        "٠١/١٢/٢٠٢٥، ٢:٢٢ م - {}: {}", "1/12/2025, 14:22 - {}: {}", "[1/12/25 14.22.33] {}: {}",
    ],
)  # fmt: skip
def test_whatsapp_writes_dates_in_many_ways(tmp_path: Path, line: str) -> None:
    path = tmp_path / "WhatsApp Chat with Bot.txt"
    said = [("Ann", "Wo liegt Ulm?"), ("Bot", "An der Donau: im Süden."), ("Ann", "Danke\n12 Grad")]
    path.write_text("\n".join(line.format(*one) for one in said), encoding="utf-8")
    (item,) = list(read_file(path, None, "Bot"))
    conversation = item.conversation  # type: ignore[union-attr]
    assert conversation is not None
    assert [(m.role, m.text.strip()) for m in conversation.messages] == [
        ("user", "Wo liegt Ulm?"), ("assistant", "An der Donau: im Süden."), ("user", "Danke\n12 Grad"),
    ]  # fmt: skip
    assert conversation.created_at[:16] in {"2025-12-01T14:22", "2025-01-12T14:22"}


def test_the_right_file_of_an_archive_is_read(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("settings.json", json.dumps({"theme": "dark", "version": 3}))
        archive.writestr("__MACOSX/chats/._a.json", b"\x00\x05\x16\x07")
        archive.writestr("pictures/cat.png", b"\x89PNG")
        for name, city in (("a", "Ulm"), ("b", "Bonn")):
            turns = [
                {"role": "user", "content": f"Where is {city} and how do I get there?"},
                {"role": "assistant", "content": f"{city} is in Germany; take the train there."},
            ]
            archive.writestr(f"chats/{name}.json", json.dumps({"messages": turns}))
    found = cleaned(tmp_path / "home", path)
    assert sorted(found.learnt) == [
        ["Bonn is in Germany; take the train there."], ["Ulm is in Germany; take the train there."],
    ]  # fmt: skip


def test_an_archive_without_chats_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("settings.json", json.dumps({"theme": "dark"}))
    with pytest.raises(DataError, match=r"no file of a format known here; it holds settings\.json"):
        read_file(path)


def test_messages_within_an_unknown_shape_are_named(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"data": {"chats": [{"turns": turns}]}, "v": 1}), encoding="utf-8")
    with pytest.raises(DataError, match=r"messages found under data\.chats\[\]\.turns") as caught:
        read_file(path)
    assert "jq -c '.data.chats[].turns' FILE" in caught.value.next_command
    path.write_text(json.dumps(turns), encoding="utf-8")
    assert read_file(path).importer.name == "messages"
