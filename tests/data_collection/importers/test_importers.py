from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import ConfigError, DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.importers import json_records as json_records_module
from fine_tuning.data_collection.importers.catalogue import IMPORTERS, read_file
from fine_tuning.data_collection.importers.items import Imported, Quarantined
from fine_tuning.data_collection.importers.json_records import json_records
from fine_tuning.storage import json_lines
from fine_tuning.storage.open_store import open_store
from tests.data_collection.importers.exports import (
    ASSISTANT,
    EXPORTS,
    WEBUI_WRAPPED,
    importer_of,
    lines,
)

every_export = pytest.mark.parametrize("name", EXPORTS)


@pytest.fixture
def export(tmp_path: Path) -> Any:
    def write(name: str) -> Path:
        path = tmp_path / name
        EXPORTS[name](path)
        return path

    return write


def items(path: Path, chosen: str | None = None) -> tuple[list[Imported], list[Quarantined]]:
    found = list(read_file(path, chosen, ASSISTANT))
    return (
        [item for item in found if isinstance(item, Imported)],
        [item for item in found if isinstance(item, Quarantined)],
    )


def outcome(path: Path, chosen: str) -> tuple[list[Imported], list[Quarantined], str]:
    """Return what a file gives, or the sentence it is refused with."""
    try:
        return (*items(path, chosen), "")
    except (DataError, StorageError) as error:
        return [], [], error.message


def conversations(path: Path) -> list[Conversation]:
    return [item.conversation for item in items(path)[0] if item.conversation is not None]


def judgements(path: Path) -> list[Feedback]:
    return [feedback for item in items(path)[0] for feedback in item.feedback]


def shown(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in conversation.path()]


@every_export
def test_every_export_is_recognised_and_read_whole(export: Any, name: str) -> None:
    reading = read_file(export(name))
    assert reading.importer.name == importer_of(name)
    assert reading.reason
    imported, quarantined = items(reading.source.path)
    assert quarantined == []
    assert imported
    assert all(c.messages for c in conversations(reading.source.path))


@every_export
@pytest.mark.parametrize("suffix", [".jsonl", ".db"])
def test_importing_twice_adds_nothing(export: Any, tmp_path: Path, name: str, suffix: str) -> None:
    path, store = export(name), open_store(tmp_path / f"store{suffix}")

    def take() -> None:
        for item in items(path)[0]:
            if item.conversation is not None:
                store.append(item.conversation)
            for feedback in item.feedback:
                store.add_feedback(feedback)

    take()
    before = list(store.conversations()), list(store.feedback())
    take()
    assert (list(store.conversations()), list(store.feedback())) == before
    known = {(c.id, m.id) for c in before[0] for m in c.messages}
    for feedback in before[1]:
        assert (feedback.conversation_id, feedback.message_id) in known
        assert not feedback.rejected_id or (feedback.conversation_id, feedback.rejected_id) in known


def test_every_importer_has_an_export() -> None:
    assert {importer_of(name) for name in EXPORTS} == set(IMPORTERS)


def test_openai(export: Any) -> None:
    plain, parts, tools, legacy = conversations(export("openai.jsonl"))
    assert shown(plain) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello.")]
    assert [m.weight for m in parts.messages] == [1, 0, 1, 1]
    assert [p.type for p in parts.messages[0].content] == ["text", "image_url"]
    assert tools.messages[2].tool_calls[0].arguments == {"city": "Łódź"}
    assert tools.metadata["tools"][0]["function"]["name"] == "weather"
    assert [m.role for m in legacy.messages] == ["user", "assistant", "tool", "assistant"]
    assert legacy.messages[1].tool_calls[0].name == "weather"


def test_preferences_are_siblings_and_a_choice(export: Any) -> None:
    path = export("preference.jsonl")
    found = conversations(path)
    best = [c.path()[-1].text for c in found]
    assert best == ["Hello!", "Red.", "Fig.", "4", "Because.", "You."]
    for conversation, choice in zip(found, judgements(path), strict=True):
        assert choice.kind == "choice"
        assert choice.message_id == conversation.leaf_id
        assert [m.id for m in conversation.siblings(choice.message_id)] == [choice.rejected_id]
    assert shown(found[4]) == [("user", "Why?"), ("assistant", "Because.")]
    assert [f.value for f in judgements(export("preference-kto.jsonl"))] == [-1, 1]


def test_sharegpt(export: Any) -> None:
    found = conversations(export("sharegpt.json"))
    assert [c.metadata.get("group") for c in found[:3]] == ["abc", "abc", None]
    assert [m.role for m in found[1].messages] == ["assistant", "user"]
    assert found[2].messages[3].tool_calls[0].arguments == {"city": "Rome"}
    assert len(found[5].messages) == 4
    assert found[6].messages[1].weight == 0
    assert found == conversations(export("sharegpt.jsonl"))


def test_alpaca(export: Any) -> None:
    with_input, with_history, short = conversations(export("alpaca.json"))
    assert shown(with_input) == [("user", "Add.\n\n1 1"), ("assistant", "2")]
    assert [m.text for m in with_history.messages] == [
        "Be kind.",
        "Hello",
        "Hello.",
        "Say hi.",
        "Hi.",
    ]
    assert shown(short)[-1] == ("assistant", "Red.")


def test_chatgpt_keeps_branches_and_leaves_hidden_things_out(export: Any) -> None:
    branches, rich = conversations(export("chatgpt.json"))
    assert shown(branches) == [("user", "Name a colour."), ("assistant", "Red.")]
    assert [m.text for m in branches.siblings("a2")] == ["Seven."]
    assert "secret" not in json.dumps(branches.to_dict())
    assert branches.messages[0].created_at == "2023-11-14T22:13:20.250000+00:00"
    asked, call, result, reply = rich.path()
    assert (asked.text, asked.content[0].type) == ("spoken words\nAdd this.", "image_url")
    assert (call.reasoning, call.tool_calls[0].name) == ("I add.", "python")
    assert call.tool_calls[0].arguments == {"input": "2+2"}
    assert (result.role, result.text) == ("tool", "4")
    assert reply.text == "It is 4 \ufffd", "half an emoji"
    assert "unseen" not in json.dumps(rich.to_dict())
    (choice,) = judgements(export("chatgpt.json"))
    assert (choice.kind, choice.message_id, choice.rejected_id) == ("choice", "a2", "a1")


def test_chatgpt_archive_brings_its_thumbs(export: Any) -> None:
    thumb, choice = judgements(export("chatgpt.zip"))
    assert (thumb.kind, thumb.value, thumb.comment, thumb.message_id) == ("thumb", 1, "nice", "a2")
    assert choice.kind == "choice"


def test_claude(export: Any) -> None:
    old, blocks = conversations(export("claude.json"))
    assert shown(old) == [("user", "A recipe?\n[list.txt]\nsalt"), ("assistant", "Boil water.")]
    assert shown(blocks) == [
        ("user", "Time?"), ("assistant", "Let me look."), ("tool", "10:00"),
        ("assistant", "It is ten."), ("user", "Thanks"), ("assistant", "Welcome"),
    ]  # fmt: skip
    called = blocks.path()[1]
    assert (called.reasoning, called.tool_calls[0].arguments) == ("A clock.", {"zone": "UTC"})
    assert [m.text for m in blocks.siblings("n3")] == ["And tomorrow?"]
    (thumb,) = judgements(export("claude.json"))
    assert (thumb.value, thumb.message_id, thumb.comment) == (1, "n4", "friendly")
    assert conversations(export("claude.zip")) == [old]
    assert conversations(export("claude-account.json")) == [old]


def test_open_webui_with_ratings(export: Any) -> None:
    path = export("open-webui.json")
    (chat,) = conversations(path)
    assert shown(chat) == [
        ("system", "Be brief."), ("user", "Name a colour."), ("assistant", "Red."),
        ("user", "Look"), ("assistant", "I se"),
    ]  # fmt: skip
    kept = chat.path()[2]
    assert (kept.reasoning, kept.model) == ("A colour.", "m2")
    assert chat.path()[-1].status == "aborted"
    assert chat.path()[3].content[1].data["url"].startswith("data:image/png")
    assert chat.path()[3].created_at[:19] == chat.path()[1].created_at[:19], "ms and s"
    said = [(f.kind, f.value, f.message_id, f.reason) for f in judgements(path)]
    assert said == [
        ("thumb", -1, "a", "not_correct"), ("rating", 2, "a", "not_correct"), ("thumb", 1, "b", ""),
    ]  # fmt: skip


def test_open_webui_feedback_belongs_to_the_same_chat(export: Any, tmp_path: Path) -> None:
    path = export("open-webui-feedback.json")
    (chat,) = conversations(export("open-webui.json"))
    assert [c.id for c in conversations(path)] == [chat.id]
    assert {f.conversation_id for f in judgements(path)} == {chat.id}
    assert ("rating", 9, "b") in [(f.kind, f.value, f.message_id) for f in judgements(path)]
    assert [(i.conversation, len(i.feedback)) for i in items(path)[0]][1] == (None, 1)
    legacy = tmp_path / "legacy.json"
    flat = {"messages": [{"role": "user", "content": "Q"}], "currentId": None}
    wrapped = {"id": "w", "chat": {"history": {"messages": {}}, **flat}}
    legacy.write_text(json.dumps([wrapped, WEBUI_WRAPPED]))
    assert [item.reason for item in items(legacy)[1]] == ["the conversation holds no message"]


def test_anything_llm_keeps_ratings(export: Any) -> None:
    for name in ("anything-llm.json", "anything-llm.csv"):
        path = export(name)
        assert len(conversations(path)) == 3
        assert [f.value for f in judgements(path)] == [1, -1]
    first = conversations(export("anything-llm.json"))[0]
    assert (first.path()[1].text, first.path()[1].reasoning) == ("Hello.", "Greet.")


def test_anything_llm_alpaca_is_read_so_when_the_user_says_so(tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    path.write_text(json.dumps([{"instruction": "You help.", "input": "Hi", "output": "Hello"}]))
    imported, _ = items(path, "anything-llm")
    assert shown(imported[0].conversation) == [
        ("system", "You help."), ("user", "Hi"), ("assistant", "Hello"),
    ]  # fmt: skip


def test_librechat(export: Any) -> None:
    (flat,) = conversations(export("librechat.json"))
    assert [(m.role, m.text) for m in flat.path()] == [
        ("system", "Be brief."), ("user", "Name a colour."), ("assistant", "Red."),
        ("user", "Time?"), ("assistant", ""), ("tool", "ten"), ("assistant", "Ten."),
        ("assistant", "Wel"),
    ]  # fmt: skip
    assert (flat.path()[2].reasoning, flat.path()[-1].status) == ("Colours.", "aborted")
    said = [(f.value, f.reason, f.comment) for f in judgements(export("librechat.json"))]
    assert said == [(-1, "inaccurate", "no"), (1, "accurate", "")]
    (tree,) = conversations(export("librechat-tree.json"))
    assert [m.text for m in tree.siblings("3")] == ["Seven."]
    assert conversations(export("librechat-nested.json")) == [tree]
    (table,) = conversations(export("librechat.csv"))
    assert shown(table) == [("user", "Name a\ncolour."), ("assistant", "Red.")]


def test_silly_tavern_swipes_are_choices_but_greetings_are_not(export: Any) -> None:
    path = export("silly-tavern.jsonl")
    (chat,) = conversations(path)
    assert shown(chat) == [
        ("assistant", "Hello Ann."),
        ("user", "A colour?"),
        ("assistant", "Red."),
    ]
    assert chat.metadata["hidden_messages"] == 1
    assert (chat.path()[2].model, chat.path()[2].reasoning) == ("m2", "Colours.")
    (choice,) = judgements(path)
    texts = {m.id: m.text for m in chat.messages}
    assert (texts[choice.message_id], texts[choice.rejected_id]) == ("Red.", "Seven.")
    (old,) = conversations(export("silly-tavern-old.jsonl"))
    assert old.messages[0].created_at == "2023-01-02T10:03:06.001000+00:00"


def test_tables(export: Any) -> None:
    assert [shown(c)[0][1] for c in conversations(export("csv-pairs.csv"))] == [
        "Hi",
        "What; is\nthis?",
    ]
    said = [(f.kind, f.value) for f in judgements(export("csv-pairs.csv"))]
    assert said == [("thumb", 1), ("rating", 3)]
    (asked,) = conversations(export("csv-questions.tsv"))
    assert shown(asked)[0] == ("system", "Be brief.")
    assert [len(c.messages) for c in conversations(export("csv-roles.csv"))] == [5, 3]


def test_rows_of_a_group_that_stand_apart_are_joined(export: Any, tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.db")
    for conversation in conversations(export("csv-groups.csv")):
        store.append(conversation)
    first, second = store.conversations()
    assert [m.text for m in first.path()] == ["Q1", "A1", "Q3", "A3"]
    assert [m.text for m in second.path()] == ["Q2", "A2"]


def test_llm_logs(export: Any) -> None:
    alone, greeting = conversations(export("llm.db"))
    assert shown(alone) == [("user", "Alone"), ("assistant", "Yes")]
    assert [m.text for m in greeting.path()] == [
        "Be brief.",
        "Hi",
        "Hello",
        "A long text.\nBye",
        "Bye",
    ]
    assert greeting.path()[2].reasoning == "Greet."
    oldest = conversations(export("llm-oldest.db"))
    assert [len(c.messages) for c in oldest] == [3, 4]
    thread, fork = conversations(export("llm-threads.db"))
    assert [m.text for m in thread.path()] == ["Be brief.", "Read the clock", "", "ten", "Ten."]
    assert len(fork.messages) == 2


def test_reading_a_database_leaves_it_as_it_is(export: Any, tmp_path: Path) -> None:
    path = export("llm.db")
    before = path.read_bytes()
    items(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llm.db"]


def test_an_own_database_is_read_without_upgrading_it() -> None:
    path = Path(__file__).parents[2] / "storage" / "schema_1.db"
    before = path.read_bytes()
    imported, quarantined = items(path)
    assert len([i for i in imported if i.conversation]) == 2
    assert len([i for i in imported if i.feedback]) == 4
    assert quarantined == []
    assert path.read_bytes() == before
    assert not path.with_name(path.name + "-wal").exists()


@every_export
def test_a_truncated_file_gives_what_is_whole(export: Any, name: str) -> None:
    path = export(name)
    content = path.read_bytes()
    whole = len(list(read_file(path, None, ASSISTANT)))
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        imported, quarantined, refusal = outcome(path, importer_of(name))
        assert len(imported) <= whole
        assert imported or quarantined or refusal or share < 0.5, share
        assert all(item.reason for item in quarantined)


@every_export
def test_an_empty_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        read_file(path)
    path.write_bytes(b" \n\n ")
    with pytest.raises(DataError, match=r"holds no conversation: .*(empty|no record)"):
        read_file(path)


@pytest.mark.parametrize("chosen", IMPORTERS)
def test_a_file_of_another_format_is_told(tmp_path: Path, chosen: str) -> None:
    others = {"picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "note.txt": b"Dear Ann,\n"}
    others["numbers.json"] = b"[1, 2, 3]"
    others["other.json"] = b'{"name": "x", "version": "1.0"}'
    others["other.csv"] = b"height,width\n1,2\n"
    for name, content in others.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="holds no conversation"):
            read_file(path)
        imported, quarantined, refusal = outcome(path, chosen)
        assert not imported
        assert quarantined or refusal, (name, chosen)


@every_export
def test_bytes_that_are_no_text_are_quarantined_with_their_line(export: Any, name: str) -> None:
    if Path(name).suffix in {".db", ".zip"}:
        pytest.skip("no text file")
    path = export(name)
    content = path.read_bytes()
    quote = content.find(b'"', len(content) // 2)
    place = quote + 1 if quote >= 0 else len(content) // 2
    path.write_bytes(content[:place] + b"\xff\xfe" + content[place:])
    _, quarantined, refusal = outcome(path, importer_of(name))
    assert any("UTF-8" in reason for reason in [refusal, *(item.reason for item in quarantined)])


@pytest.fixture
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_lines, json_records_module):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 1 << 16)
    monkeypatch.setattr(json_records_module, "CHUNK_BYTES", 1 << 12)


@pytest.mark.usefixtures("_small_limit")
@pytest.mark.parametrize(
    "name", ["openai.jsonl", "openai-array.json", "csv-pairs.csv", "librechat.json"]
)
def test_what_is_larger_than_the_limit_is_refused(export: Any, name: str) -> None:
    path = export(name)
    content, filler = path.read_bytes(), b"x" * (1 << 17)
    place = content.rindex(b'"' if b'"' in content else b";")
    path.write_bytes(content[:place] + filler + content[place:])
    imported, quarantined, refusal = outcome(path, importer_of(name))
    assert any("longer than" in said for said in [refusal, *(item.reason for item in quarantined)])
    assert imported or name == "librechat.json"


@pytest.mark.usefixtures("_small_limit")
def test_an_array_is_cut_right_wherever_the_pieces_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    texts = ['a"]},{[b', "\\", '\\"', "é" * 700, "x" * 3000, ""]
    records = [{"n": n, "text": texts[n % len(texts)], "deep": [[{}]]} for n in range(60)]
    for indent in (None, 1):
        path.write_text(json.dumps(records, indent=indent, ensure_ascii=False))
        with path.open("rb") as file:
            found = list(json_records(file))
        assert [record.value for record in found] == records
    assert [r.line for r in found[:3]] == [2, 11, 20]


def test_reading_goes_on_behind_damaged_records(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = json.dumps({"instruction": "i", "output": "o"})
    wrong = '{"instruction": 1, "output": "x"}'
    path.write_text(f'[{good}, {{"instruction": tru}}, 5, {good},\n {wrong}, {good}]')
    imported, quarantined = items(path)
    assert len(imported) == 3
    assert [item.line for item in quarantined] == [1, 1, 2]
    assert [item.excerpt[:20] for item in quarantined] == [
        '{"instruction": tru}', "5", "{'instruction': 1, '",
    ]  # fmt: skip


def test_the_format_can_be_chosen_and_a_wrong_name_is_told(export: Any) -> None:
    path = export("alpaca.json")
    assert read_file(path, "Alpaca").reason == "chosen by you"
    with pytest.raises(ConfigError, match="did you mean 'chatgpt'"):
        read_file(path, "chatgtp")


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder"):
        read_file(tmp_path)
    with pytest.raises(StorageError, match="does not exist"):
        read_file(tmp_path / "absent.json")


def test_utf_16_is_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    turns = [{"role": "user", "content": "Où ?"}, {"role": "assistant", "content": "Là."}]
    path.write_bytes(lines({"messages": turns}).decode().encode("utf-16"))
    assert read_file(path).reason.endswith("read as UTF-16")
    assert shown(conversations(path)[0]) == [("user", "Où ?"), ("assistant", "Là.")]


def test_a_damaged_archive_is_told(export: Any) -> None:
    path = export("chatgpt.zip")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged"):
        read_file(path)
