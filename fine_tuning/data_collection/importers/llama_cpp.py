"""Chats of llama.cpp's own web UI: its JSON export, and the newer JSON Lines.

    [{"conv": {"id", "name", "currNode"}, "messages": [...]}]      one or all chats
    {"type": "session", "id", "name", "currNode"}                   a line per chat,
    {"type": "message", "message": {...}}                           then one per message

Messages name their parents. ``currNode`` is the end of the branch last shown; siblings of its
replies were generated again. The root, and questions that were edited, are on other branches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fine_tuning.core.conversation import Message, Part, Role, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    list_of,
    mapping,
    name_of,
    object_of,
    objects,
    parts,
    picture,
    text,
    tool_call,
    words,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    Draft,
    Imported,
    ImportedItem,
    Quarantined,
    add_choices,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:llama-cpp"
MAX_MESSAGES = 100_000
_ROLES: dict[str, Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip


def _knows(sample: Sample) -> bool:
    return any(_is_chat(record) or _is_session(record) for record in sample.records)


def _is_chat(record: JsonObject) -> bool:
    return isinstance(record.get("conv"), Mapping) and isinstance(record.get("messages"), list)


def _is_session(record: JsonObject) -> bool:
    is_message = record.get("type") == "message" and isinstance(record.get("message"), Mapping)
    return (record.get("type") == "session" and "currNode" in record) or (
        is_message and "convId" in mapping(record, "message")
    )


@dataclass(slots=True)
class _OpenChat:
    """The chat whose lines are being read."""

    line: int
    conv: JsonObject
    messages: list[JsonValue] = field(default_factory=list)

    def record(self) -> ParsedRecord:
        return ParsedRecord(line=self.line, value={"conv": self.conv, "messages": self.messages})


def _read(source: Source) -> Iterator[ImportedItem]:
    current: _OpenChat | None = None
    for record in source.records():
        value = record.value
        if not isinstance(value, Mapping) or _is_chat(value):
            yield from converted(record, _convert)
        elif value.get("type") == "session":
            if current is not None:
                yield from converted(current.record(), _convert)
            current = _OpenChat(record.line, value)
        elif value.get("type") == "message":
            current = current or _OpenChat(record.line, {})
            if len(current.messages) == MAX_MESSAGES:
                reason = f"the chat has more than {MAX_MESSAGES} messages"
                yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
            else:
                current.messages.append(value.get("message"))
        else:
            reason = "the record is neither a chat nor a line of one"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
    if current is not None:
        yield from converted(current.record(), _convert)


def _convert(record: JsonObject) -> Iterator[Imported]:
    conv, items = mapping(record, "conv"), objects(record, "messages")
    ref = name_of(conv, "id") or content_name(items)
    draft = Draft(SOURCE, ref)
    known = {name_of(item, "id") for item in items}
    nodes: dict[str, Node] = {}
    before: str | None = None
    for index, item in enumerate(items):
        key = name_of(item, "id") or f"{draft.id}/{index}"
        parent = name_of(item, "parent") if "parent" in item else before
        nodes[key] = Node(parent if parent in known else None, _messages(key, item))
        before = key
    current = name_of(conv, "currNode")
    messages, leaf_id = arrange(nodes, current if current in nodes else before)
    if not messages:
        raise DataError("the conversation holds no message")
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(conv, "name"),
        created_at=next(filter(None, (m.created_at for m in messages)), "")
        or iso_time(conv.get("lastModified")),
    )
    add_choices(draft, conversation)
    yield draft.imported(conversation)


def _messages(key: str, item: JsonObject) -> tuple[Message, ...]:
    """Return the message of a node; nothing for the root, which says nothing."""
    if item.get("type") == "root" and not item.get("content"):
        return ()
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise DataError(f"a message has the role {item.get('role')!r}")
    said = words(item, "content")
    thoughts = text(item, "reasoningContent", "reasoning_content", "thinking")
    if role == "system" and not said.strip():
        return ()
    return (
        Message(
            id=key,
            role=role,
            content=(*_attached(item), *parts(said)),
            reasoning=thoughts.strip(),
            tool_calls=_calls(item.get("toolCalls")),
            tool_call_id=text(item, "toolCallId", "tool_call_id"),
            model=text(item, "model"),
            created_at=iso_time(item.get("timestamp")),
        ),
    )


def _calls(given: JsonValue) -> tuple[ToolCall, ...]:
    """Return the calls of tools, which stand as a list or as its JSON text."""
    if isinstance(given, str):
        given = json.loads(given) if given.strip() else None
    calls = [object_of(call) for call in list_of(given)]
    return tuple(
        tool_call(call.get("id"), inner.get("name"), inner.get("arguments"))
        for call in calls
        for inner in [mapping(call, "function") or call]
    )


def _attached(item: JsonObject) -> tuple[Part, ...]:
    """Return attachments as the model read them: texts under their file's name, and pictures."""
    found: list[Part] = []
    for extra in objects(item, "extra"):
        name = text(extra, "name") or "attachment"
        if url := text(extra, "base64Url"):
            found.append(picture(url, name))
        elif said := text(extra, "content"):
            found.append(Part(text=f"[{name}]\n{said}"))
        elif text(extra, "base64Data"):
            found.append(Part(type="file", data={"name": name}))
    return tuple(found)


LLAMA_CPP = Importer(name="llama-cpp", title="llama.cpp web UI export", knows=_knows, read=_read)
