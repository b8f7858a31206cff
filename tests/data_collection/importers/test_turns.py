"""Replies that exports hold in pieces, branches that were left, and names of speakers."""

# ruff: noqa: E501 - records stand on lines of their own, as in the files

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.importers.catalogue import read_file
from fine_tuning.data_collection.importers.items import Imported
from tests.data_collection.importers.exports import chatgpt_message, node, written


def read(folder: Path, value: Any) -> Conversation:
    path = folder / "export.json"
    path.write_text(json.dumps([value], ensure_ascii=False), "utf-8")
    (item,) = read_file(path)
    assert isinstance(item, Imported)
    assert item.conversation is not None
    return item.conversation


def shown(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in conversation.path()]


def chatgpt(*nodes: tuple[str, str, str, Any, dict[str, Any]]) -> dict[str, Any]:
    mapping = {"root": node("root", None, [], None)}
    for key, parent, role, given, fields in nodes:
        content = written(given) if isinstance(given, str) else given
        mapping[key] = node(key, parent, [], chatgpt_message(key, role, content, **fields))
    return {"title": "x", "conversation_id": "c", "mapping": mapping, "current_node": nodes[-1][0]}


def thoughts(said: str) -> dict[str, Any]:
    return {"content_type": "thoughts", "thoughts": [{"summary": "x", "content": said}]}


def code(said: str) -> dict[str, Any]:
    return {"content_type": "code", "text": said}


def test_text_before_a_call_stands_with_it(tmp_path: Path) -> None:
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", "Add 2 and 2.", {}),
        ("a0", "u", "assistant", "Let me see.", {"end_turn": False}),
        ("a1", "a0", "assistant", code("2+2"), {"recipient": "python", "end_turn": False}),
        ("t", "a1", "tool", "4", {}),
        ("a2", "t", "assistant", "It is 4.", {}),
    ))  # fmt: skip
    assert shown(found) == [
        ("user", "Add 2 and 2."), ("assistant", "Let me see."), ("tool", "4"), ("assistant", "It is 4."),
    ]  # fmt: skip
    assert found.path()[1].tool_calls[0].arguments == {"input": "2+2"}


def test_a_search_whose_result_is_left_out_is_no_call(tmp_path: Path) -> None:
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", "News?", {}),
        ("a0", "u", "assistant", "Let me search.", {"end_turn": False}),
        ("a1", "a0", "assistant", code("{}"), {"recipient": "web.run"}),
        ("t", "a1", "tool", "", {}),
        ("h", "t", "assistant", thoughts("One page says so."), {}),
        ("r", "h", "assistant",
         {"content_type": "reasoning_recap", "content": "Thought for 7 seconds"}, {}),
        ("a2", "r", "assistant", "None today.", {}),
    ))  # fmt: skip
    assert shown(found) == [("user", "News?"), ("assistant", "Let me search.\nNone today.")]
    assert found.path()[1].reasoning == "One page says so."
    assert not found.path()[1].tool_calls


def test_continue_generating_is_one_reply(tmp_path: Path) -> None:
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", "A story.", {}),
        ("a", "u", "assistant", "The lamp",
         {"end_turn": False, "status": "finished_partial_completion"}),
        ("b", "a", "assistant", " went out", {"status": "finished_partial_completion"}),
        ("c", "b", "assistant", " at dawn.", {}),
    ))  # fmt: skip
    assert shown(found) == [("user", "A story."), ("assistant", "The lamp went out at dawn.")]
    assert found.path()[1].status == "complete"


def test_a_reply_that_was_not_continued_is_unfinished(tmp_path: Path) -> None:
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", "A story.", {}),
        ("a", "u", "assistant", "The lamp", {"status": "finished_partial_completion"}),
    ))  # fmt: skip
    assert found.path()[1].status == "aborted"


def test_an_edited_question_is_no_follow_up(tmp_path: Path) -> None:
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", "Name a bird.", {}),
        ("a", "u", "assistant", "A wren.", {}),
        ("v", "root", "user", "Name a fish.", {}),
        ("b", "v", "assistant", "A pike.", {}),
    ))  # fmt: skip
    assert shown(found) == [("user", "Name a fish."), ("assistant", "A pike.")]
    assert len(found.messages) == 4


def test_words_of_a_spoken_chat_stand_without_its_sounds(tmp_path: Path) -> None:
    spoken = {"content_type": "audio_transcription", "text": "Hello"}
    sound = {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://x"}
    content = {"content_type": "multimodal_text", "parts": [spoken, sound]}
    found = read(tmp_path, chatgpt(
        ("u", "root", "user", content, {}), ("a", "u", "assistant", "Hi there.", {}),
    ))  # fmt: skip
    assert [part.type for part in found.path()[0].content] == ["text"]


def test_librechat_shows_the_branch_written_last(tmp_path: Path) -> None:
    def said(key: str, parent: str, text: str, minute: int) -> dict[str, Any]:
        is_user = key.startswith("u")
        return {"messageId": key, "parentMessageId": parent, "isCreatedByUser": is_user,
                "text": text, "createdAt": f"2025-01-01T10:{minute:02}:00Z"}  # fmt: skip

    messages = [
        said("u2", "0", "Name a fish.", 3), said("a2", "u2", "A pike.", 4),
        said("u1", "0", "Name a bird.", 1), said("a1", "u1", "A wren.", 2),
    ]  # fmt: skip
    found = read(tmp_path, {"conversationId": "c", "messages": messages})
    assert shown(found) == [("user", "Name a fish."), ("assistant", "A pike.")]


def test_librechat_keeps_words_and_calls_in_their_order(tmp_path: Path) -> None:
    def call(number: int, output: str) -> dict[str, Any]:
        given = {"id": f"c{number}", "name": "w", "args": "{}", "output": output}
        return {"type": "tool_call", "tool_call": given}

    content = [
        {"type": "think", "think": "Two places."}, {"type": "text", "text": "First Rome."},
        call(1, "sun"), {"type": "text", "text": "Then Bern."}, call(2, "rain"),
        {"type": "text", "text": "Sun and rain."},
    ]  # fmt: skip
    messages = [
        {"messageId": "u", "parentMessageId": "0", "isCreatedByUser": True, "text": "Weather?"},
        {"messageId": "a", "parentMessageId": "u", "isCreatedByUser": False, "content": content},
    ]
    found = read(tmp_path, {"conversationId": "c", "messages": messages})
    assert shown(found) == [
        ("user", "Weather?"), ("assistant", "First Rome."), ("tool", "sun"),
        ("assistant", "Then Bern."), ("tool", "rain"), ("assistant", "Sun and rain."),
    ]  # fmt: skip
    assert found.path()[1].reasoning == "Two places."


def test_an_error_that_librechat_shows_is_no_reply(tmp_path: Path) -> None:
    messages = [
        {"messageId": "u", "parentMessageId": "0", "isCreatedByUser": True, "text": "Hi"},
        {"messageId": "a", "parentMessageId": "u", "isCreatedByUser": False,
         "content": [{"type": "error", "error": "quota exceeded"}]},
    ]  # fmt: skip
    found = read(tmp_path, {"conversationId": "c", "messages": messages})
    assert found.path()[1].status == "error"


def test_numbers_are_citations_where_open_webui_says_so(tmp_path: Path) -> None:
    def chat(**fields: Any) -> dict[str, Any]:
        reply = {
            "id": "a",
            "parentId": "u",
            "role": "assistant",
            "content": "It lapses [1].",
            **fields,
        }
        tree = {"u": {"id": "u", "role": "user", "content": "Holiday?"}, "a": reply}
        return {"id": "c", "chat": {"history": {"messages": tree, "currentId": "a"}}}

    assert shown(read(tmp_path, chat(sources=[{"source": {"name": "x"}}])))[1][1] == "It lapses."
    assert shown(read(tmp_path, chat()))[1][1] == "It lapses [1]."
    output = [{"type": "message", "content": [{"type": "output_text", "text": "It lapses."}]}]
    assert shown(read(tmp_path, chat(content="", output=output)))[1][1] == "It lapses."


def test_a_picture_sent_to_claude_has_its_place(tmp_path: Path) -> None:
    asked = {
        "uuid": "u",
        "sender": "human",
        "text": "Who is this?",
        "files": [{"file_name": "a.PNG"}],
    }
    found = read(tmp_path, {"uuid": "c", "chat_messages": [asked]})
    assert [part.type for part in found.path()[0].content] == ["text", "image_url"]
