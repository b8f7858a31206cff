"""Telegram's export as JSON: ``result.json`` of one chat, or of an account with all its chats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fine_tuning.core.conversation import Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    list_of,
    mapping,
    name_of,
    objects,
    picture,
    text,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    UNREADABLE,
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.messenger import (
    Spoken,
    by_frequency,
    chosen_person,
    conversation,
    cut_at_pauses,
    unreadable,
)
from fine_tuning.data_collection.importers.source import Source

SOURCE = "import:telegram"
_MARKS = {
    "bold": "**", "italic": "*", "strikethrough": "~~", "code": "`", "spoiler": "||",
}  # fmt: skip


def _knows(sample: Sample) -> bool:
    return any(_is_chat(chat) for record in sample.records for chat in _chats(record))


def _chats(record: JsonObject) -> list[JsonObject]:
    """Return the chats of a record: itself, or those of an account."""
    lists = [mapping(record, key).get("list") for key in ("chats", "left_chats")]
    found = [one for given in lists if isinstance(given, list) for one in given]
    return [one for one in found if isinstance(one, Mapping)] or [record]


def _is_chat(chat: JsonObject) -> bool:
    messages = chat.get("messages")
    return isinstance(messages, list) and any(
        isinstance(item, Mapping)
        and "text" in item
        and ("from_id" in item or "date_unixtime" in item)
        for item in messages
    )


def _persons(source: Source) -> Sequence[str]:
    found: list[str] = []
    for record in source.records():
        try:
            if isinstance(record.value, Mapping):
                for chat in _chats(record.value):
                    found += [_person(item) for item in _messages(chat)]
        except (DataError, *UNREADABLE):  # told when the chat is read
            continue
    return by_frequency(found)


def _messages(chat: JsonObject) -> list[dict[str, JsonValue]]:
    return [item for item in objects(chat, "messages") if item.get("type") == "message"]


def _person(item: JsonObject) -> str:
    return text(item, "from") or name_of(item, "from_id")


def _read(source: Source) -> Iterator[ImportedItem]:
    persons = _persons(source)
    if not persons:
        yield from unreadable(source)
        return
    assistant = chosen_person(source.path, persons, source.assistant)
    for record in source.records():
        if not isinstance(record.value, Mapping):
            yield Quarantined(
                line=record.line,
                reason=record.reason or "the record is no chat",
                excerpt=record.excerpt,
            )
            continue
        for chat in _chats(record.value):
            made = ParsedRecord(line=record.line, value=chat)
            yield from converted(made, lambda value: _convert(value, assistant))


def _convert(chat: JsonObject, assistant: str) -> Iterator[Imported]:
    items = _messages(chat)
    if not any(_person(item) == assistant for item in items):
        raise DataError(f"the chat {text(chat, 'name')!r} holds no message of {assistant}")
    name = name_of(chat, "id") or text(chat, "name")
    spoken = [one for one in map(_spoken, items) if one.text.strip() or one.others]
    for group in cut_at_pauses(spoken):
        yield conversation(SOURCE, name, text(chat, "name"), group, assistant)


def _spoken(item: JsonObject) -> Spoken:
    others: list[Part] = []
    if photo := text(item, "photo"):
        others.append(picture(photo))
    if file := text(item, "file"):
        others.append(Part(type="file", data={"name": file}))
    return Spoken(
        person=_person(item),
        text=_text(item.get("text")),
        at=iso_time(name_of(item, "date_unixtime")) or iso_time(item.get("date")),
        id=name_of(item, "id"),
        others=tuple(others),
    )


def _text(given: JsonValue) -> str:
    """Return a text, which may be a list of plain and of formatted pieces."""
    if isinstance(given, str):
        return given
    said = ""
    for piece in list_of(given):
        if isinstance(piece, str):
            said += piece
        elif isinstance(piece, Mapping):
            said += _formatted(piece)
        else:
            raise DataError(f"a piece of a message is {excerpt(piece)!r}, expected text")
    return said


def _formatted(piece: JsonObject) -> str:
    said, kind = text(piece, "text"), text(piece, "type")
    if kind == "pre":
        return f"```{text(piece, 'language')}\n{said}\n```"
    if kind == "text_link" and text(piece, "href"):
        return f"[{said}]({text(piece, 'href')})"
    mark = _MARKS.get(kind, "")
    return f"{mark}{said}{mark}" if said.strip() else said


TELEGRAM = Importer(
    name="telegram", title="Telegram export", knows=_knows, read=_read, persons=_persons
)
