"""What the readers of programs make of their files, beyond that they read them."""

# ruff: noqa: E501, RUF001 - records and times as they stand in files

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.importers import json_records
from fine_tuning.data_collection.importers import source as source_module
from fine_tuning.data_collection.importers.catalogue import read_file
from fine_tuning.data_collection.importers.html_markdown import markdown
from fine_tuning.data_collection.importers.items import Imported
from fine_tuning.data_collection.importers.key_paths import path_of_messages
from fine_tuning.data_collection.importers.takeout_time import takeout_time
from fine_tuning.data_collection.markup import part_markup
from fine_tuning.storage import json_lines
from tests.data_collection.importers.program_exports import (
    GEMINI,
    JAN,
    JAN_THREAD,
    LLAMA,
    PROGRAM_EXPORTS,
    lines,
)


def read(folder: Path, name: str) -> list[Imported]:
    path = folder / name
    PROGRAM_EXPORTS[name](path)
    return [item for item in read_file(path, None, "Bot") if isinstance(item, Imported)]


def only(items: list[Imported]) -> Conversation:
    (item,) = items
    assert item.conversation is not None
    return item.conversation


def shown(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in conversation.path()]


@pytest.mark.parametrize("name", ["llama-cpp.json", "llama-cpp.jsonl"])
def test_llama_cpp(tmp_path: Path, name: str) -> None:
    items = read(tmp_path, name)
    found = only(items)
    path = found.path()
    assert [m.role for m in path] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert [part.type for part in path[1].content] == ["image_url", "text", "text"]
    assert path[2].reasoning == "A colour."
    assert path[4].tool_calls[0].name == "clock"
    assert path[5].tool_call_id == path[4].tool_calls[0].id
    assert path[6].reasoning == "The clock says so."
    assert [(f.kind, f.rejected_id) for f in items[0].feedback] == [("choice", "a1")]
    assert found.title == LLAMA["conv"]["name"]


def test_deepseek_follows_the_newest_branch(tmp_path: Path) -> None:
    first, second = read(tmp_path, "deepseek.json")
    assert first.conversation is not None
    assert second.conversation is not None
    assert shown(first.conversation) == [
        ("user", "Name a colour."), ("assistant", "Red."), ("user", "Why?"), ("assistant", "It is one."),
    ]  # fmt: skip
    assert first.conversation.path()[1].reasoning == "Colours."
    assert len(first.feedback) == 1
    assert shown(second.conversation) == [("user", "Hi"), ("assistant", "Hello.")]
    assert second.conversation.path()[1].reasoning == "Greet."


def test_lm_studio_takes_the_selected_version(tmp_path: Path) -> None:
    items = read(tmp_path, "lm-studio.json")
    path = only(items).path()
    assert [(m.role, m.text) for m in path] == [
        ("system", "Be brief."), ("user", "A colour?"), ("assistant", "Red."), ("user", "The time?"),
        ("assistant", ""), ("tool", '"ten"'), ("assistant", "Ten."),
    ]  # fmt: skip
    assert (path[2].reasoning, path[2].model) == ("A colour, then.", "qwen3")
    assert path[4].tool_calls[0].arguments == {"zone": "UTC"}
    assert len(items[0].feedback) == 1


def test_jan_is_read_from_either_file(tmp_path: Path) -> None:
    (tmp_path / "thread.json").write_text(json.dumps(JAN_THREAD), encoding="utf-8")
    with pytest.raises(DataError, match=r"messages stand in messages\.jsonl"):
        list(read_file(tmp_path / "thread.json"))
    (tmp_path / "messages.jsonl").write_bytes(lines(*JAN))
    for name in ("thread.json", "messages.jsonl"):
        (item,) = list(read_file(tmp_path / name))
        assert isinstance(item, Imported)
        assert item.conversation is not None
        assert item.conversation.title == "Colours"
        assert shown(item.conversation)[0] == ("system", "Be brief.")
        assert shown(item.conversation)[-2:] == [("tool", "10:00"), ("assistant", "Ten.")]
    (tmp_path / "thread.json").unlink()
    (item,) = list(read_file(tmp_path / "messages.jsonl"))
    assert isinstance(item, Imported)


def test_grok_knows_the_user_alone(tmp_path: Path) -> None:
    items = read(tmp_path, "grok.json")
    path = only(items).path()
    assert [m.role for m in path] == ["user", "assistant", "user", "assistant"]
    assert [part.type for part in path[2].content] == ["text", "image_url"]
    assert path[1].reasoning == "One."
    assert path[0].created_at.startswith("2025-10-09T08:53:20")
    assert [(f.kind, f.rejected_id) for f in items[0].feedback] == [("choice", "2")]


@pytest.mark.parametrize("name", ["gemini.json", "gemini.html"])
def test_gemini_is_oldest_first_and_without_its_verb(tmp_path: Path, name: str) -> None:
    said = shown(only(read(tmp_path, name)))
    assert [role for role, _ in said] == ["user", "assistant", "user", "assistant"]
    assert said[0][1].startswith("Name a colour")
    assert said[2:] == [("user", "And a fruit?"), ("assistant", "A **fig**.")]


def test_gemini_ends_a_conversation_at_a_pause_and_learns_the_verb(tmp_path: Path) -> None:
    entries = []
    for hour, asked in enumerate(("Nenne eine Farbe.", "Was ist ein Fjord?", "Wer war Bach?")):
        entries.append(
            {
                **GEMINI[0],
                "title": f"Anfrage gesendet: {asked}",
                "time": f"2026-01-02T1{hour}:00:00Z",
            }
        )
    path = tmp_path / "MyActivity.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    found = [item.conversation for item in read_file(path) if isinstance(item, Imported)]
    asked = [conversation.messages[0].text for conversation in found if conversation is not None]
    assert asked == ["Nenne eine Farbe.", "Was ist ein Fjord?", "Wer war Bach?"]


def test_messengers_cut_at_pauses_and_keep_formats(tmp_path: Path) -> None:
    first, second = read(tmp_path, "telegram.json")
    assert first.conversation is not None
    assert second.conversation is not None
    assert shown(first.conversation)[1] == (
        "assistant",
        "Red, **of course**.\n```python\nred()\n```",
    )
    assert second.conversation.messages[0].content[0].type == "image_url"
    discord = only(read(tmp_path, "discord.json"))
    assert shown(discord) == [("user", "@Bot a colour?"), ("assistant", "Red.")]


def test_persons_are_named_the_most_frequent_first(tmp_path: Path) -> None:
    path = tmp_path / "whatsapp.txt"
    PROGRAM_EXPORTS["whatsapp.txt"](path)
    assert read_file(path).persons() == ["Bot", "Ann"]
    other = tmp_path / "messages.json"
    PROGRAM_EXPORTS["messages.json"](other)
    assert read_file(other).persons() == []


def test_messages_of_several_conversations_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    turns = [
        {"chat_id": key, "role": role, "text": f"{role} {key}"}
        for role in ("user", "assistant")
        for key in ("a", "b")
    ]
    path.write_bytes(lines(*turns))
    found = [item.conversation for item in read_file(path) if isinstance(item, Imported)]
    assert [shown(c) for c in found if c is not None] == [
        [("user", "user a"), ("assistant", "assistant a")],
        [("user", "user b"), ("assistant", "assistant b")],
    ]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["grok.json", "telegram-account.json"])
def test_an_account_larger_than_a_record_may_be_is_read_chat_by_chat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, indent: int | None
) -> None:
    path = tmp_path / name
    PROGRAM_EXPORTS[name](path)
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    whole = len(read_items(path))
    for module in (json_lines, json_records):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", path.stat().st_size - 100)
    assert len(read_items(path)) == whole


def read_items(path: Path) -> list[Imported]:
    return [item for item in read_file(path, None, "Bot") if isinstance(item, Imported)]


def test_a_path_is_found_in_any_shape() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert path_of_messages([{"a": {"b": [{"c": turns}]}}]) == "a.b[].c"
    assert path_of_messages([{"a": [1, 2]}, {"log": turns}]) == "log"
    assert path_of_messages([{"role": "x"}]) == ""


def test_an_archive_cannot_write_elsewhere_nor_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "evil.zip"
    path.parent.mkdir()
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.json", json.dumps(turns))
    reading = read_file(path)
    assert len(list(reading)) == 1
    assert list(tmp_path.rglob("outside.json")) == []
    monkeypatch.setattr(source_module, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(DataError, match="unpacks to more than"):
        read_file(path)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>a &amp; <b>b</b></p><p>c<br>d</p>", "a & **b**\n\nc\nd"),
        ("<ul><li><p>a</p></li><li>b<ol><li>c</li></ol></li></ul><p>d</p>", "- a\n- b\n   1. c\n\nd"),
        ('<pre><code class="language-py">if a &lt; b:\n    c()\n</code></pre>', "```py\nif a < b:\n    c()\n```"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ('<h2>a</h2><a href="https://x.example">b</a><hr><blockquote>c</blockquote>', "## a\n\n[b](https://x.example)\n\n---\n\n> c"),
        ("<script>x()</script><p>a</p></div></ul></td>", "a"),
    ],
)  # fmt: skip
def test_html_becomes_markdown(html: str, expected: str) -> None:
    assert markdown(html) == expected


@pytest.mark.parametrize(
    "said",
    [
        "Jan 2, 2026, 3:04:05 PM CET", "2 Jan 2026, 15:04:05 CET", "02.01.2026, 15:04:05 MEZ",
        "2 янв. 2026 г., 15:04:05 MSK", "2026/01/02 15:04:05 JST", "2 janv. 2026, 15:04:05 UTC+1",
        "2026年1月2日 15:04:05 JST", "Jan 2, 2026, 3:04:05\u202fPM CET",
    ],
)  # fmt: skip
def test_times_of_an_activity(said: str) -> None:
    assert takeout_time(said) == "2026-01-02T15:04:05.000000+00:00"


def test_what_is_no_time_of_an_activity() -> None:
    for said in ("Prompted what is 10:00:00?", "Attached 2 files", "", "99:99:99", "1" * 90):
        assert takeout_time(said) == ""


def test_librechat_marks_of_citations_are_removed_as_signs_and_as_escapes() -> None:
    for said in ("A.\ue202turn0search0", "A.\\ue202turn0search0\\ue202turn1news2"):
        assert part_markup(said, role="assistant").text == "A."
    assert part_markup("Write \\ue200 for it.", role="assistant").text == "Write \\ue200 for it."
