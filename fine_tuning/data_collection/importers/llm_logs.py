"""The log database of simonw's ``llm`` command: ``logs.db``, in each of its three layouts.

    log                          before 0.5: chats by ``chat_id``
    conversations, responses     to 0.35: prompts and responses, fragments in front of the prompt
    threads, messages, parts     from 0.36: a tree of messages named by their content

The file is opened read-only. A database may hold several layouts at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

import apsw

from fine_tuning.core.conversation import Message, Part, Role, ToolCall
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    objects,
    parts,
    text,
    tool_call,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    UNREADABLE,
    Draft,
    Imported,
    ImportedItem,
    Quarantined,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import chained

SOURCE = "import:llm"
_ROLES = {"system", "user", "assistant", "tool"}
MAX_DEPTH = 100_000

Row = JsonObject
"""A row by column; what a cell holds is looked at before it is used."""


def _knows(sample: Sample) -> bool:
    return (
        {"responses"} <= sample.tables
        or {"threads", "messages", "parts"} <= sample.tables
        or "_llm_migrations" in sample.tables
    )


def _read(source: Source) -> Iterator[ImportedItem]:
    tables = source.tables()
    if not tables:
        yield Quarantined(line=0, reason="the file is no SQLite database with tables")
        return
    try:
        with source.database() as connection:
            if "log" in tables:
                yield from _oldest(connection)
            if "responses" in tables:
                yield from _responses(connection, tables)
            if {"threads", "messages", "parts"} <= tables:
                yield from _threads(connection, tables)
    except (DataError, StorageError) as error:
        yield Quarantined(line=0, reason=error.message)
    except UNREADABLE as error:
        yield Quarantined(line=0, reason=f"a table is not as expected: {error!r}")


def _rows(connection: apsw.Connection, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
    cursor = connection.execute(query, cast("tuple[apsw.SQLiteValue, ...]", tuple(values)))
    names = None
    for row in cursor:
        if names is None:
            names = [column[0] for column in cursor.get_description()]
        yield cast("Row", dict(zip(names, row, strict=True)))


def _oldest(connection: apsw.Connection) -> Iterator[ImportedItem]:
    rows = _rows(connection, "SELECT rowid AS number, * FROM log ORDER BY chat_id, rowid")
    for _, group in groupby(rows, key=lambda row: row.get("chat_id") or ("", row["number"])):
        given = list(group)
        ref = content_name([given[0].get(key) for key in ("timestamp", "prompt", "response")])
        value = {"ref": ref, "title": "", "rows": given}
        yield from converted(ParsedRecord(line=0, value=value), _conversation)


def _responses(connection: apsw.Connection, tables: frozenset[str]) -> Iterator[ImportedItem]:
    """Yield the conversations of the second layout, a conversation in memory at a time."""
    join = "LEFT JOIN conversations ON conversations.id = responses.conversation_id"
    name = "conversations.name" if "conversations" in tables else "NULL"
    query = (
        f"SELECT responses.*, {name} AS title FROM responses "  # noqa: S608 - our own names
        f"{join if 'conversations' in tables else ''} "
        "ORDER BY responses.conversation_id, responses.rowid"
    )
    rows = _rows(connection, query)
    for _, group in groupby(rows, key=lambda row: row.get("conversation_id") or ("", row["id"])):
        given = [_with_fragments(connection, tables, row) for row in group]
        ref = str(given[0].get("conversation_id") or given[0]["id"])
        value = {"ref": ref, "title": given[0].get("title"), "rows": given}
        yield from converted(ParsedRecord(line=0, value=value), _conversation)


def _with_fragments(connection: apsw.Connection, tables: frozenset[str], row: Row) -> Row:
    """Put the fragments a prompt was made of in front of it, as ``llm`` did."""
    found = dict(row)
    for table, key in (("prompt_fragments", "prompt"), ("system_fragments", "system")):
        if table in tables:
            texts = [
                str(fragment["content"])
                for fragment in _rows(
                    connection,
                    f"SELECT content FROM {table} JOIN fragments ON fragments.id = fragment_id "  # noqa: S608
                    'WHERE response_id = ? ORDER BY "order"',
                    (row["id"],),
                )
            ]
            found[key] = "\n".join(filter(None, [*texts, _text_or_none(found.get(key))]))
    return found


def _conversation(value: JsonObject) -> Iterator[Imported]:
    draft = Draft(SOURCE, text(value, "ref"))
    messages: list[Message] = []
    said_before: JsonValue = ""
    for row in objects(value, "rows"):
        at = iso_time(row.get("datetime_utc") or row.get("timestamp"))
        key = f"{draft.id}/{row.get('id') or row.get('number')}"
        system = row.get("system") or ""
        if system and system != said_before:
            messages.append(Message(id=f"{key}/s", role="system", content=_said(system)))
            said_before = system
        messages.append(
            Message(id=f"{key}/q", role="user", content=_said(row.get("prompt")), created_at=at)
        )
        messages.append(
            Message(
                id=f"{key}/a",
                role="assistant",
                content=_said(row.get("response")),
                reasoning=text(row, "reasoning"),
                model=str(row.get("model") or ""),
                created_at=at,
            )
        )
    conversation = draft.conversation(
        chained(messages),
        title=text(value, "title"),
        created_at=next(filter(None, (m.created_at for m in messages)), ""),
    )
    yield draft.imported(conversation)


def _text_or_none(value: JsonValue) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a prompt is {type(value).__name__}")
    return value


def _said(value: object) -> tuple[Part, ...]:
    if value is not None and not isinstance(value, str):
        raise DataError(f"a message is {type(value).__name__}, expected text")
    return parts(value or "")


def _threads(connection: apsw.Connection, tables: frozenset[str]) -> Iterator[ImportedItem]:
    """Yield the conversations of the third layout: the way from each thread's tip to its root."""
    threads = list(_rows(connection, "SELECT * FROM threads ORDER BY rowid"))
    for thread in threads:
        try:
            rows = list(_path(connection, thread.get("tip_message_hash")))
            given = [_parts_of(connection, tables, row) for row in rows]
        except DataError as error:
            yield Quarantined(line=0, reason=error.message)
            continue
        turn = next(
            _rows(
                connection, "SELECT * FROM turns WHERE thread_id = ? LIMIT 1", (thread.get("id"),)
            ),
            {},
        )
        value = {"thread": thread, "messages": given, "turn": turn}
        yield from converted(ParsedRecord(line=0, value=value), _thread)


def _path(connection: apsw.Connection, tip: object) -> Sequence[Row]:
    found: list[Row] = []
    while tip is not None:
        row = next(_rows(connection, "SELECT * FROM messages WHERE hash = ?", (tip,)), None)
        if row is None or len(found) > MAX_DEPTH:
            raise DataError(f"message {tip!r} of a thread is missing, or its thread is a circle")
        found.append(row)
        tip = row["parent_hash"]
    return found[::-1]


def _parts_of(
    connection: apsw.Connection, tables: frozenset[str], row: Row
) -> dict[str, JsonValue]:
    query = "SELECT * FROM parts WHERE message_hash = ? ORDER BY position"
    found = [dict(part) for part in _rows(connection, query, (row["hash"],))]
    for part in found:
        try:
            given = part.get("payload")
            payload: JsonValue = json.loads(cast("str", given)) if given else {}
        except (ValueError, RecursionError, TypeError) as error:
            raise DataError(f"a message's payload is no JSON: {error}") from error
        part["payload"] = payload if isinstance(payload, dict) else {}
        pieces = mapping(part, "payload").get("text_ref")
        if isinstance(pieces, list) and "fragments" in tables:
            part["text"] = "".join(_piece(connection, piece) for piece in pieces)
    return {**row, "parts": found}


def _piece(connection: apsw.Connection, piece: object) -> str:
    if not isinstance(piece, Mapping):
        raise DataError("a message refers to its fragments in an unknown way")
    if "literal" in piece:
        return str(piece["literal"])
    query = "SELECT content FROM fragments WHERE id = ?"
    found = next(_rows(connection, query, (piece.get("fragment"),)), {})
    return str(found.get("content") or "")


def _thread(value: JsonObject) -> Iterator[Imported]:
    thread, model = mapping(value, "thread"), mapping(value, "turn").get("model")
    draft = Draft(SOURCE, f"thread/{thread['id']}")
    messages = [
        _message(f"{draft.id}/{index}", row, str(model or ""))
        for index, row in enumerate(objects(value, "messages"))
    ]
    conversation = draft.conversation(
        chained(messages),
        title=text(thread, "name"),
        created_at=iso_time(thread.get("datetime_utc")),
    )
    yield draft.imported(conversation)


def _message(name: str, row: Row, model: str) -> Message:
    role = row.get("role")
    if role not in _ROLES:
        raise DataError(f"a message has the role {role!r}")
    said: list[Part] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answered = ""
    for part in objects(row, "parts"):
        kind, payload = part.get("type"), mapping(part, "payload")
        if kind == "text":
            said += _said(part.get("text"))
        elif kind == "reasoning":
            thoughts.append(str(part.get("text") or ""))
        elif kind == "tool_call":
            call_id = payload.get("tool_call_id")
            calls.append(tool_call(call_id, payload.get("name"), payload.get("arguments")))
        elif kind == "tool_result":
            said += _said(payload.get("output"))
            answered = str(payload.get("tool_call_id") or "")
    return Message(
        id=name,
        role=cast("Role", role),
        content=tuple(said),
        reasoning="\n\n".join(filter(None, thoughts)),
        tool_calls=tuple(calls),
        tool_call_id=answered,
        model=model if role == "assistant" else "",
    )


LLM_LOGS = Importer(name="llm", title="llm logs.db", knows=_knows, read=_read)
