from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import StorageError
from fine_tuning.core.formats import FORMATS, to_records
from fine_tuning.data_collection.importing import read_conversations

CHATS = [
    Conversation.from_turns([("user", "a"), ("assistant", "b")]),
    Conversation.from_turns(
        [("system", "s"), *[("user", "q"), ("assistant", "r")] * 3],  # type: ignore[list-item]
    ),
    Conversation.from_turns([("user", "c"), ("assistant", "d")]),
]


def write(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_back(tmp_path: Path, name: str) -> None:
    records = [record for chat in CHATS for record in to_records(chat, name)]
    reader = read_conversations(write(tmp_path / "f.jsonl", records))
    for _ in range(2):
        assert [c.content_id for c in reader] == [c.content_id for c in CHATS]
        assert reader.skipped == []


def test_a_log_of_turns_is_gathered_by_session(tmp_path: Path) -> None:
    turns = [
        {"user_message": str(n), "bot_response": "b", "session_id": f"s{n % 2}"} for n in range(6)
    ]
    found = list(read_conversations(write(tmp_path / "f.jsonl", turns)))
    assert [[m.text for m in c.path() if m.role == "user"] for c in found] == [
        ["0", "2", "4"],
        ["1", "3", "5"],
    ]


def test_bad_lines_are_counted_among_mixed_formats(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    lines = [
        "?",
        '{"messages": []}',
        '{"instruction": "i", "response": "r", "history": [["a", "b"]]}',
        '{"instruction": "i"}',
        '{"instruction": "i", "output": 3}',
        '{"instruction": "i", "output": "o"}',
        '{"messages": [{"role": "nobody"}]}',
        '{"user_message": "u", "bot_resp',
    ]
    path.write_text("\n".join(lines))
    reader = read_conversations(path)
    texts = [[m.text for m in c.path()] for c in reader]
    assert texts == [[], ["a", "b", "i", "r"], ["i", "o"]]
    assert [skip.line for skip in reader.skipped] == [1, 4, 5, 7, 8]


def test_no_file_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        read_conversations(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    assert list(read_conversations(tmp_path / "empty.jsonl")) == []
