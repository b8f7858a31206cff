"""Jan's threads: ``messages.jsonl``, with the ``thread.json`` that stands beside it.

Either file is read, with the other one where it is found; the messages alone lack the title and the
system prompt. Messages follow OpenAI's threads: content is a list of texts with a ``value``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from fine_tuning.core.conversation import Message, Part, Role, Status, ToolCall
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    list_of,
    mapping,
    name_of,
    objects,
    parts,
    picture,
    text,
    tool_call,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    Draft,
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import chained

SOURCE = "import:jan"
MESSAGES = "messages.jsonl"
THREAD = "thread.json"
MAX_MESSAGES = 100_000
_ROLES: dict[str, Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip
_STATES: dict[str, Status] = {"error": "error", "stopped": "aborted", "pending": "aborted"}


def _knows(sample: Sample) -> bool:
    return any(_is_message(record) or _is_thread(record) for record in sample.records)


def _is_message(record: JsonObject) -> bool:
    return record.get("object") == "thread.message" and "thread_id" in record


def _is_thread(record: JsonObject) -> bool:
    is_thread = record.get("object") == "thread" or "updated" in record
    return is_thread and isinstance(record.get("assistants"), list) and "messages" not in record


def _read(source: Source) -> Iterator[ImportedItem]:
    groups: dict[str, list[JsonObject]] = {}
    threads: dict[str, JsonObject] = {}
    lines: dict[str, int] = {}
    for record in _records(source):
        value = record.value
        if not isinstance(value, Mapping):
            reason = record.reason or f"the line is {type(value).__name__}, expected an object"
            yield Quarantined(line=record.line, reason=reason, excerpt=record.excerpt)
        elif _is_thread(value):
            threads[name_of(value, "id")] = value
        elif sum(map(len, groups.values())) >= MAX_MESSAGES:
            reason = f"the file has more than {MAX_MESSAGES} messages"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
            return
        else:
            thread = name_of(value, "thread_id")
            lines.setdefault(thread, record.line)
            groups.setdefault(thread, []).append(value)
    threads = threads or _beside(source, THREAD)
    for thread, items in groups.items():
        facts = threads.get(thread) or (
            next(iter(threads.values()), {}) if len(groups) == 1 else {}
        )
        made = {"id": thread, "thread": dict(facts), "messages": list(items)}
        yield from converted(ParsedRecord(line=lines[thread], value=made), _convert)


def _records(source: Source) -> Iterator[ParsedRecord]:
    """Yield the records of the file, and of the messages beside it when it is a thread alone.

    Raises:
        DataError: if it is a thread without messages.
    """
    given = list(source.records()) if source.path.name == THREAD else source.records()
    yield from given
    if isinstance(given, list) and not any(
        isinstance(record.value, Mapping) and _is_message(record.value) for record in given
    ):
        path = source.path.parent / MESSAGES
        if not path.is_file():
            raise DataError(
                f"{source.path} describes a chat of Jan, whose messages stand in {MESSAGES}",
                next_command=f"fine-tuning import {MESSAGES}",
            )
        yield from Source(path).records()


def _beside(source: Source, name: str) -> dict[str, JsonObject]:
    path: Path = source.path.parent / name
    if not path.is_file() or path == source.path:
        return {}
    try:
        found = [record.value for record in Source(path).records()]
    except (DataError, StorageError):
        return {}
    return {
        name_of(one, "id"): one for one in found if isinstance(one, Mapping) and _is_thread(one)
    }


def _convert(record: JsonObject) -> Iterator[Imported]:
    facts, items = mapping(record, "thread"), objects(record, "messages")
    ref = name_of(record, "id") or content_name(items)
    draft = Draft(SOURCE, ref)
    messages: list[Message] = []
    assistants = objects(facts, "assistants")
    system = next(filter(None, (text(one, "instructions") for one in assistants)), "")
    if system.strip() and not any(item.get("role") == "system" for item in items):
        messages.append(Message(id=f"{draft.id}/system", role="system", content=parts(system)))
    for index, item in enumerate(items):
        messages += _messages(name_of(item, "id") or f"{draft.id}/{index}", item)
    conversation = draft.conversation(
        chained(messages),
        title=text(facts, "title"),
        created_at=next(filter(None, (m.created_at for m in messages)), ""),
    )
    yield draft.imported(conversation)


def _messages(key: str, item: JsonObject) -> list[Message]:
    """Return a message; before it, the calls of tools it made and their results."""
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise DataError(f"a message has the role {item.get('role')!r}")
    said, thoughts, others = _content(item.get("content"))
    notes = mapping(item, "metadata")
    calls, results = _calls(key, objects(notes, "tool_calls"))
    model = text(mapping(notes, "assistant"), "model") or text(item, "model")
    at = iso_time(item.get("created_at"))
    found: list[Message] = []
    if calls:
        found.append(Message(id=f"{key}#call", role=role, tool_calls=calls, created_at=at))
        found += results
    reply = Message(
        id=key,
        role=role,
        content=(*parts(said), *others),
        reasoning=thoughts,
        model=model if role == "assistant" else "",
        status=_STATES.get(text(item, "status"), "complete"),
        created_at=at,
    )
    return [*found, reply] if reply.content or reply.reasoning or not found else found


def _content(given: JsonValue) -> tuple[str, str, list[Part]]:
    """Return what a message says, what it thinks, and its pictures."""
    if isinstance(given, str):
        return given, "", []
    said: list[str] = []
    thoughts: list[str] = []
    others: list[Part] = []
    for block in list_of(given):
        if not isinstance(block, Mapping):
            raise DataError(f"a block of a message is {type(block).__name__}, expected an object")
        kind = block.get("type")
        inner = block.get("text")
        value = text(inner, "value") if isinstance(inner, Mapping) else text(block, "text")
        if kind == "reasoning":
            thoughts.append(value)
        elif kind in {"image", "image_url"}:
            url = mapping(block, "image_url").get("url") or inner
            others.append(picture(url if isinstance(url, str) else json.dumps(url)))
        elif value:
            said.append(value)
    return "\n\n".join(said), "\n\n".join(thoughts), others


def _calls(
    key: str, given: list[dict[str, JsonValue]]
) -> tuple[tuple[ToolCall, ...], list[Message]]:
    calls: list[ToolCall] = []
    results: list[Message] = []
    for index, one in enumerate(given):
        tool = mapping(one, "tool") or one
        function = mapping(tool, "function")
        if not function:
            continue
        call_id = name_of(tool, "id") or f"{key}#{index}"
        calls.append(tool_call(call_id, function.get("name"), function.get("arguments")))
        answer = mapping(one, "response").get("content")
        said = "\n".join(
            text(piece, "text") for piece in list_of(answer) if isinstance(piece, Mapping)
        )
        results.append(
            Message(id=f"{key}#tool{index}", role="tool", content=parts(said), tool_call_id=call_id)
        )
    return tuple(calls), results


JAN = Importer(name="jan", title="Jan thread", knows=_knows, read=_read)
