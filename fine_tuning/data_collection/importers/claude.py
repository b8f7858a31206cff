"""Claude's data export: ``conversations.json``, or the ZIP archive it comes in.

Older exports hold only ``text``, in which tools are replaced by a notice; newer ones hold blocks,
which are preferred. A turn with tool calls becomes the call, its result and the rest of the reply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fine_tuning.core.conversation import Message, Part, Role, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    name_of,
    named_pictures,
    objects,
    parts,
    text,
    tool_call,
    words,
)
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:claude"
_ROLES: dict[str, Role] = {"human": "user", "user": "user", "assistant": "assistant"}
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic", ".bmp", ".avif")


def _accepts(record: JsonObject) -> bool:
    return isinstance(record.get("chat_messages"), list)


def _convert(record: JsonObject) -> Iterator[Imported]:
    items = objects(record, "chat_messages")
    ref = name_of(record, "uuid", "id") or content_name(items)
    draft = Draft(SOURCE, ref)
    nodes: dict[str, Node] = {}
    before: str | None = None
    for index, item in enumerate(items):
        key = text(item, "uuid", "id") or f"{draft.id}/{index}"
        own = _messages(key, item)
        # Without parents the order is the conversation; a parent that is absent is its beginning.
        parent = text(item, "parent_message_uuid") if "parent_message_uuid" in item else before
        nodes[key] = Node(parent or None, tuple(own))
        _add_rating(draft, item, own)
        before = key
    current = text(record, "current_leaf_message_uuid") or before
    messages, leaf_id = arrange(nodes, current)
    notes = {"model": record["model"]} if isinstance(record.get("model"), str) else {}
    if summary := text(record, "summary"):
        notes["summary"] = summary
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(record, "name", "title"),
        created_at=iso_time(record.get("created_at")),
        metadata=notes,
    )
    yield draft.imported(conversation)


def _messages(key: str, item: JsonObject) -> list[Message]:
    """Return the messages of a turn: one, or more when tools were called within it.

    Raises:
        DataError: if the sender is unknown.
    """
    role = _ROLES.get(str(item.get("sender")))
    if role is None:
        raise DataError(f"a message has the sender {item.get('sender')!r}")
    at = iso_time(item.get("created_at"))
    blocks = objects(item, "content") if isinstance(item.get("content"), list) else []
    if not any(block.get("type") in {"text", "tool_use", "tool_result"} for block in blocks):
        said = [words(item, "text"), *_attached(item)]
        content = (*(Part(text=one) for one in said if one), *_pictures(item))
        thoughts = _joined(blocks, "thinking")
        return [Message(id=key, role=role, content=content, reasoning=thoughts, created_at=at)]
    turn = _Turn(key, role, at)
    for block in blocks:
        turn.take(block)
    found = turn.finished()
    extra = (*(Part(text=one) for one in _attached(item)), *_pictures(item))
    if extra and found:
        found[0] = replace(found[0], content=(*found[0].content, *extra))
    return found


class _Turn:
    """Cuts the blocks of a turn into messages."""

    def __init__(self, key: str, role: Role, at: str) -> None:
        self._key, self._role, self._at = key, role, at
        self._done: list[Message] = []
        self._content: list[Part] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []

    def take(self, block: JsonObject) -> None:
        kind = block.get("type")
        if kind == "tool_result":
            self._close()
            self._add("tool", content=parts(_result(block)), tool_call_id=_call_id(block))
            return
        if kind == "text":
            if self._calls:
                self._close()
            self._content.append(Part(text=words(block, "text")))
        elif kind == "thinking":
            self._thoughts.append(words(block, "thinking"))
        elif kind == "tool_use":
            self._calls.append(tool_call(block.get("id"), block.get("name"), block.get("input")))

    def finished(self) -> list[Message]:
        """Return the messages; one of nothing when no block said anything."""
        self._close()
        if not self._done:
            self._add(self._role)
        return self._done

    def _close(self) -> None:
        if self._content or self._thoughts or self._calls:
            self._add(
                self._role,
                content=tuple(self._content),
                reasoning="\n\n".join(filter(None, self._thoughts)),
                tool_calls=tuple(self._calls),
            )
            self._content, self._thoughts, self._calls = [], [], []

    def _add(self, role: Role, **fields: Any) -> None:  # noqa: ANN401 - a message's
        key = f"{self._key}#{len(self._done)}" if self._done else self._key
        self._done.append(Message(id=key, role=role, created_at=self._at, **fields))


def _call_id(block: JsonObject) -> str:
    return text(block, "tool_use_id")


def _result(block: JsonObject) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        said = [text(one, "text") for one in content if isinstance(one, Mapping)]
        return "\n".join(filter(None, said)) or json.dumps(content, ensure_ascii=False)
    return "" if content is None else json.dumps(content, ensure_ascii=False)


def _joined(blocks: list[dict[str, JsonValue]], key: str) -> str:
    return "\n\n".join(filter(None, (text(block, key) for block in blocks)))


def _attached(item: JsonObject) -> list[str]:
    """Return the texts of attachments, which the model has read, each under its file's name."""
    return [
        f"[{text(one, 'file_name') or 'attachment'}]\n{said}"
        for one in objects(item, "attachments")
        if (said := text(one, "extracted_content"))
    ]


def _pictures(item: JsonObject) -> tuple[Part, ...]:
    """Return the pictures a person sent; the export names them and holds none."""
    return named_pictures(item.get("files")) if item.get("sender") != "assistant" else ()


def _add_rating(draft: Draft, item: JsonObject, messages: list[Message]) -> None:
    rated = mapping(item, "chat_feedback")
    kind = text(rated, "type")
    if kind and messages:
        value = 1 if kind == "upvote" else -1
        draft.add_feedback(messages[-1].id, "thumb", value=value, comment=text(rated, "reason"))


CLAUDE = importer_of_records("claude", "Claude export", _accepts, _convert)
