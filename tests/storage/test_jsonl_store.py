from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import StorageError
from fine_tuning.storage import json_lines
from fine_tuning.storage.jsonl_store import JsonlConversationStore

AT = "2026-11-22T10:00:00.000000+00:00"


@pytest.fixture
def store(tmp_path: Path) -> JsonlConversationStore:
    return JsonlConversationStore(tmp_path / "deep" / "log.jsonl")


def turn(name: str, **notes: object) -> Conversation:
    asked = Message(id=f"{name}q", role="user", content=(Part(text="Wie geht's?"),), created_at=AT)
    reply = Message(
        id=f"{name}a",
        role="assistant",
        content=(Part(text="Gut ☂ 😀"),),
        parent_id=asked.id,
        created_at=AT,
        metadata=notes,
    )
    return Conversation(id="session", messages=(asked, reply), created_at=AT)


def test_a_turn_is_one_line_a_person_can_read(store: JsonlConversationStore) -> None:
    store.append(turn("1", mood="fine"), follow=True)
    (line,) = store.path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "timestamp": AT,
        "session_id": "session",
        "user_message": "Wie geht's?",
        "bot_response": "Gut ☂ 😀",
        "metadata": {"mood": "fine"},
        "message_ids": ["1q", "1a"],
        "schema": "ft-turn/1",
    }
    assert "Gut ☂ 😀" in line, "text is written as text, not as escapes"


def test_a_following_turn_is_appended_without_reading(store: JsonlConversationStore) -> None:
    store.append(turn("1"), follow=True)
    with store.path.open("ab") as file:
        file.write(b"x" * 1000 + b"\n")
    other = JsonlConversationStore(store.path)
    other.append(turn("2"), follow=True)
    assert other.skipped == [], "nothing was looked at"
    assert [m.id for c in other.conversations() for m in c.path()] == ["1q", "1a", "2q", "2a"]
    assert [skip.line for skip in other.skipped] == [2]


def test_a_torn_last_line_is_counted_and_costs_only_itself(store: JsonlConversationStore) -> None:
    store.append(turn("1"), follow=True)
    whole = store.path.read_bytes()
    store.append(turn("2"), follow=True)
    for cut in range(len(whole) + 1, store.path.stat().st_size):
        torn = store.path.read_bytes()[:cut]
        copy = store.path.with_name("copy.jsonl")
        copy.write_bytes(torn)
        reader = JsonlConversationStore(copy)
        ids = [m.id for c in reader.conversations() for m in c.messages]
        if ids == ["1q", "1a", "2q", "2a"]:
            assert cut == store.path.stat().st_size - 1, "only the newline is missing"
            continue
        assert ids == ["1q", "1a"]
        assert [(skip.line, "cut off" in skip.reason) for skip in reader.skipped] == [(2, True)]
        if cut % 40 == 0:
            reader.append(turn("3"), follow=True)
            ids = [m.id for c in reader.conversations() for m in c.messages]
            assert ids == ["1q", "1a", "3q", "3a"]
            assert [skip.line for skip in reader.skipped] == [2]
            assert len(copy.read_bytes().splitlines()) == 3


def test_a_last_line_without_newline_is_whole(store: JsonlConversationStore) -> None:
    store.append(turn("1"), follow=True)
    store.path.write_bytes(store.path.read_bytes().removesuffix(b"\n"))
    assert len(list(store.conversations())) == 1
    store.append(turn("2"), follow=True)
    (found,) = store.conversations()
    assert [m.id for m in found.messages] == ["1q", "1a", "2q", "2a"]
    assert store.skipped == []


BAD = [
    (b"not json", "no valid JSON"),
    (b'{"user_message": "a"}', "is no conversation"),
    (b"[1, 2]", "expected an object"),
    (b"\xff\xfe\x00", "no valid JSON"),
    (b'{"user_message": 1, "bot_response": "b"}', "expected text"),
    (b'{"user_message": "a", "bot_response": "b", "metadata": [1]}', "expected an object"),
    (b'{"user_message": "a", "bot_response": "b", "message_ids": [1, 2]}', "expected two texts"),
    (b'{"schema": "ft/99", "messages": []}', "not known here"),
    (b'{"messages": [{"role": "wizard", "content": "a"}]}', "expected one of"),
    (b'{"messages": [{"role": "user", "content": [1]}]}', "cannot be read"),
    (b'{"messages": [{"role": "user", "content": "a", "tool_calls": [1]}]}', "cannot be read"),
    (b'{"messages": "a"}', "expected a list"),
    (b'{"messages": [], "title": 5}', "expected text"),
    (b'{"schema": "ft-feedback/1", "id": "1"}', "feedback lacks"),
    (
        (
            b'{"schema": "ft-feedback/1", "id": [1], "conversation_id": "c", "message_id": "m", '
            b'"kind": "thumb", "value": 1}'
        ),
        "feedback's id",
    ),
    (b'{"schema": "ft/1", "continues": true, "id": "c", "messages": [3]}', "list of objects"),
    (
        (
            b'{"schema": "ft/1", "continues": true, "id": "session",'
            b' "messages": [{"id": "x", "role": "user", "parent_id": "nowhere"}]}'
        ),
        "unknown parent",
    ),
    (b"[" * 100_000, "no valid JSON"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_is_skipped_with_number_and_reason(
    store: JsonlConversationStore, line: bytes, reason: str
) -> None:
    store.append(turn("1"), follow=True)
    with store.path.open("ab") as file:
        file.write(b"\n" + line + b"\n")
    store.append(turn("2"), follow=True)
    ids = [m.id for c in store.conversations() for m in c.messages]
    assert [name for name in ids if name[0] in "12"] == ["1q", "1a", "2q", "2a"]
    list(store.feedback())
    (skip,) = store.skipped
    assert skip.line == 3
    assert reason in skip.reason


def test_a_line_beyond_the_limit_is_not_read_into_memory(
    store: JsonlConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1 << 20)
    store.append(turn("1"), follow=True)
    with store.path.open("ab") as file:
        file.write(b'{"user_message": "' + b"x" * (3 << 20) + b'", "bot_response": "b"}\n')
    store.append(turn("2"), follow=True)
    assert [m.id for c in store.conversations() for m in c.messages][-1] == "2a"
    assert [(skip.line, skip.reason) for skip in store.skipped] == [
        (2, "the line is longer than 1 MiB")
    ]


def test_bare_records_of_others_are_read(store: JsonlConversationStore) -> None:
    records = [
        {"user_message": "hi", "bot_response": "hello", "metadata": {"k": 1}, "timestamp": AT},
        {"user_message": "hi", "bot_response": "hello"},
        {"user_message": "hi", "bot_response": "hello"},
        {"session_id": "s", "user_message": "1", "bot_response": "a"},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"session_id": "s", "user_message": "2", "bot_response": "b"},
        {"instruction": "do", "input": "this", "output": "done"},
    ]
    store.path.parent.mkdir()
    text = "\n".join(json.dumps(record) for record in records)
    store.path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = list(store.conversations())
    assert store.skipped == []
    assert [[m.text for m in c.path()] for c in found] == [
        ["hi", "hello"],
        ["hi", "hello"],
        ["hi", "hello"],
        ["1", "a", "2", "b"],
        ["x", "y"],
        ["do\n\nthis", "done"],
    ]
    assert found[0].messages[1].metadata == {"k": 1}
    assert found[0].created_at == AT
    assert len({c.id for c in found}) == 6
    assert found == list(JsonlConversationStore(store.path).conversations()), "ids are stable"


def test_a_replaced_file_is_read_anew(store: JsonlConversationStore) -> None:
    for name in "123":
        store.append(turn(name), follow=True)
    assert len(list(store.conversations())) == 1
    beside = store.path.with_name("beside")
    beside.write_text('{"user_message": "a", "bot_response": "b", "session_id": "new"}\n')
    beside.replace(store.path)
    assert [c.id for c in store.conversations()] == ["new"]
    store.path.write_text("")
    assert list(store.conversations()) == []
    store.append(turn("4"), follow=True)
    assert [m.id for c in store.conversations() for m in c.messages] == ["4q", "4a"]


def test_a_full_disk_leaves_the_file_as_it_was(
    store: JsonlConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(turn("1"), follow=True)
    before = store.path.read_bytes()
    write = os.write
    answers = [lambda handle, data: write(handle, data[:10]), None]

    def half_then_full(handle: int, data: bytes) -> int:
        answer = answers.pop(0)
        if answer is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return answer(handle, data)

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(StorageError, match="the disk is full"):
        store.append(turn("2"), follow=True)
    assert store.path.read_bytes() == before


def test_what_json_cannot_express_is_kept_as_text(store: JsonlConversationStore) -> None:
    store.append(turn("1", where=Path("/somewhere"), big=2**70, odd=float("nan")), follow=True)
    ((_, reply),) = [c.messages for c in store.conversations()]
    assert reply.metadata == {"where": "/somewhere", "big": str(2**70), "odd": None}


def test_a_folder_in_place_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "log.jsonl"
    folder.mkdir()
    store = JsonlConversationStore(folder)
    with pytest.raises(StorageError, match="a folder stands in its place"):
        store.append(turn("1"))
    with pytest.raises(StorageError, match="a folder stands in its place"):
        list(store.conversations())


def test_a_line_the_disk_did_not_confirm_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    store = JsonlConversationStore(path)
    store.append(Conversation.from_turns([("user", "first")], id="first"))
    before = path.read_bytes()

    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    second = Conversation.from_turns([("user", "second")], id="second")
    with monkeypatch.context() as broken:
        broken.setattr(json_lines, "_sync", fail)
        with pytest.raises(StorageError):
            store.append(second, follow=True)
    assert path.read_bytes() == before

    def fail_behind_another(handle: int) -> None:
        monkeypatch.undo()  # the other writer's disk works
        other = Conversation.from_turns([("user", "other")], id="other")
        JsonlConversationStore(path).append(other, follow=True)
        fail(handle)

    monkeypatch.setattr(json_lines, "_sync", fail_behind_another)
    with pytest.raises(StorageError):
        store.append(second, follow=True)
    store.append(second, follow=True)
    assert [one.id for one in store.conversations()] == ["first", "second", "other"]
    assert [len(one.messages) for one in store.conversations()] == [1, 1, 1]
