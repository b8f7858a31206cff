"""Plain tables: a question and its reply per row, or a row per message with a role.

Columns may be called by any usual name, in any case and order. Rows with a role belong to the
conversation a column names; without such a column a system row or an empty row begins a new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fine_tuning.core.conversation import Message, Role
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import RATING_RANGE
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import iso_time, parts, text
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
from fine_tuning.data_collection.importers.speakers import speaker_role
from fine_tuning.data_collection.importers.unread import unread_names

SOURCE = "import:csv"
NAMES: dict[str, tuple[str, ...]] = {
    "role": ("role", "sender", "speaker", "author", "from"),
    "content": ("content", "text", "message", "value", "body"),
    "prompt": (
        "prompt", "instruction", "question", "query", "user", "human", "user_message", "input",
    ),
    "response": (
        "response", "answer", "output", "completion", "assistant", "bot", "reply", "bot_response",
        "answers", "target",
    ),
    "system": ("system", "system_prompt", "system_message"),
    "group": ("conversation_id", "conversation", "chat_id", "session_id", "session", "thread_id"),
    "time": ("timestamp", "created_at", "time", "date", "sent_at"),
    "model": ("model",),
    "rating": ("rating", "feedback", "score", "thumb"),
}  # fmt: skip
_MATERIAL = ("question", "query", "input", "context", "passage", "document")
"""What an instruction or question may be about, in the order in which it follows."""
_SEVERAL = re.compile(
    r"""\{\s*['"]text['"]\s*:\s*(?:array\()?\[\s*(?:"([^"]*)"|'([^']*)')[^{}]*answer_start[^{}]*\}"""
)
_UP = {"up", "good", "👍", "thumbs_up", "thumbs up", "positive", "+1"}
_DOWN = {"down", "bad", "👎", "thumbs_down", "thumbs down", "negative", "-1"}


def _columns(found: frozenset[str] | Mapping[str, object]) -> dict[str, str]:
    """Return the table's own name of each column that means something here."""
    named = {key.replace(" ", "_"): key for key in found}
    return {
        meaning: named[name]
        for meaning, names in NAMES.items()
        for name in names[::-1]
        if name in named
    }


def _material(columns: Mapping[str, str], found: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that belong to the question besides the one that asks it.

    A column ``prompt`` is whole but for its context; an instruction is about all the others.
    """
    names = _MATERIAL[3:] if columns["prompt"] == "prompt" else _MATERIAL
    named = {key.replace(" ", "_"): key for key in found}
    return tuple(named[n] for n in names if n in named and named[n] not in columns.values())


def _knows(sample: Sample) -> bool:
    found = _columns(sample.columns)
    return {"prompt", "response"} <= found.keys() or {"role", "content"} <= found.keys()


def _read(source: Source) -> Iterator[ImportedItem]:
    columns = _columns(source.columns())
    if {"prompt", "response"} <= columns.keys():
        yield from _exchanges(source, columns, _material(columns, source.columns()))
    elif {"role", "content"} <= columns.keys():
        yield from _messages(source, columns)
    else:
        yield Quarantined(
            line=1,
            reason="the table has neither columns for prompt and response nor for role and content",
        )


def _exchanges(
    source: Source, columns: Mapping[str, str], material: tuple[str, ...]
) -> Iterator[ImportedItem]:
    read = {*columns.values(), *material}
    for line, cells, reason in source.rows():
        if cells is None or any(cell.strip() for cell in cells.values()):
            record = ParsedRecord(line=line, value=cells, reason=reason)
            source.unread.update(unread_names(cells or {}, read))
            yield from converted(record, lambda row: _exchange(row, columns, material))


def _exchange(
    row: JsonObject, columns: Mapping[str, str], material: tuple[str, ...]
) -> Iterator[Imported]:
    cells = {meaning: text(row, column) for meaning, column in columns.items()}
    given = [cells["prompt"], *(text(row, column) for column in material)]
    cells["prompt"] = "\n\n".join(one for one in given if one.strip())
    cells["response"] = _answer(cells["response"])
    asked, reply = cells["prompt"], cells["response"]
    if not asked.strip() and not reply.strip():
        raise DataError("the row has neither a prompt nor a response")
    ref = content_name([cells.get(key, "") for key in ("system", "prompt", "response", "group")])
    draft = Draft(SOURCE, ref)
    name, at = draft.id, iso_time(cells.get("time", ""))
    messages: list[Message] = []
    if cells.get("system", "").strip():
        messages.append(Message(id=f"{name}/s", role="system", content=parts(cells["system"])))
    end = messages[-1].id if messages else None
    messages.append(
        Message(id=f"{name}/q", role="user", content=parts(asked), parent_id=end, created_at=at)
    )
    model = cells.get("model", "")
    messages.append(
        Message(
            id=f"{name}/a",
            role="assistant",
            content=parts(reply),
            parent_id=f"{name}/q",
            created_at=at,
            model=model,
        )
    )
    _add_rating(draft, f"{name}/a", cells.get("rating", ""))
    notes = {"group": cells["group"]} if cells.get("group") else {}
    yield draft.imported(draft.conversation(messages, created_at=at, metadata=notes))


def _answer(cell: str) -> str:
    """Return the first answer of a cell that holds several, as tables of SQuAD's kind do."""
    if not cell.startswith(("{", "[")) or "text" not in cell:
        return cell
    found = _SEVERAL.match(cell)
    return (found[1] or found[2]) if found else cell


def _add_rating(draft: Draft, message_id: str, rating: str) -> None:
    said = rating.strip().lower()
    if said in _UP or said in _DOWN:
        draft.add_feedback(message_id, "thumb", value=1 if said in _UP else -1)
    elif said.isdecimal() and len(said) < 3 and int(said) in RATING_RANGE:  # noqa: PLR2004
        draft.add_feedback(message_id, "rating", value=int(said))


@dataclass(slots=True)
class _Open:
    """The conversation whose rows are being read."""

    group: str
    line: int
    messages: list[Message] = field(default_factory=list)


def _messages(source: Source, columns: Mapping[str, str]) -> Iterator[ImportedItem]:
    """Yield conversations as their last row is read.

    When a group's rows stand apart, each block is an item of its own that follows the one before.
    """
    ends: dict[str, tuple[int, str, str]] = {}
    current = _Open("", 0)
    for line, cells, reason in source.rows():
        if cells is None:
            yield Quarantined(line=line, reason=reason)
            continue
        row = {meaning: cells.get(column, "") for meaning, column in columns.items()}
        is_empty = not any(cell.strip() for cell in cells.values())
        role = speaker_role(row["role"])
        source.unread.update(unread_names(cells, columns.values()))
        begins = row.get("group", "") != current.group if "group" in columns else role == "system"
        if (is_empty or begins) and current.messages:
            yield from _finished(current, ends)
            current = _Open("", 0)
        if is_empty:
            continue
        if role is None:
            said = f"the row has role {row['role']!r}, expected user, assistant, system or tool"
            yield Quarantined(line=line, reason=said, excerpt=excerpt(cells))
            continue
        if not current.messages:
            current = _Open(row.get("group", ""), line)
        _add(current, role, row)
    if current.messages:
        yield from _finished(current, ends)


def _add(current: _Open, role: Role, row: Mapping[str, str]) -> None:
    before = current.messages[-1].id if current.messages else None
    current.messages.append(
        Message(
            id=str(len(current.messages)),
            role=role,
            content=parts(row["content"]),
            parent_id=before,
            model=row.get("model", "") if role == "assistant" else "",
            created_at=iso_time(row.get("time", "")),
        )
    )


def _finished(current: _Open, ends: dict[str, tuple[int, str, str]]) -> Iterator[ImportedItem]:
    """Yield a conversation with lasting ids, joined to what its group said before.

    The group's name alone would mix up the conversations "1" of two tables.
    """
    said = [[message.role, message.text] for message in current.messages]
    first = content_name([current.group, said])
    start, parent, ref = (
        ends.get(current.group, (0, "", first)) if current.group else (0, "", first)
    )
    draft = Draft(SOURCE, ref)
    messages: list[Message] = []
    for index, message in enumerate(current.messages, start=start):
        own = f"{draft.id}/{index}"
        messages.append(
            Message(
                id=own,
                role=message.role,
                content=message.content,
                parent_id=parent or None,
                model=message.model,
                created_at=message.created_at,
            )
        )
        parent = own
    if current.group:
        ends[current.group] = (start + len(messages), parent, ref)
    found = draft.conversation(messages, created_at=messages[0].created_at)
    yield draft.imported(found, line=current.line)


CSV_TABLE = Importer(name="csv", title="table (CSV)", knows=_knows, read=_read)
