"""What an importer is: a name, a test whether it knows a file, and a generator of items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.data_collection.importers.items import (
    UNREADABLE,
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.unread import KnownKeys, unread_keys
from fine_tuning.data_collection.markup_conversation import without_markup
from fine_tuning.storage.json_lines import sound_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The beginning of a file: its first sound records, its columns, its tables, or its text.

    ``lists`` are records that are lists.
    """

    records: Sequence[JsonObject] = ()
    lists: Sequence[Sequence[JsonValue]] = ()
    text: str = ""
    columns: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """A reader of one format.

    ``knows`` tells whether a file's beginning is of the format; ``read`` yields its items and
    raises only what opening a file raises. ``persons`` names who speaks in a chat between persons,
    of whom one must be chosen as the assistant; None where roles are known.
    """

    name: str
    title: str
    knows: Callable[[Sample], bool]
    read: Callable[[Source], Iterator[ImportedItem]]
    persons: Callable[[Source], Sequence[str]] | None = None


Convert = Callable[[JsonObject], Iterable[Imported]]


def importer_of_records(
    name: str,
    title: str,
    accepts: Callable[[JsonObject], bool],
    convert: Convert,
    known: KnownKeys | None = None,
) -> Importer:
    """Return the importer of a format whose JSON records can be read one by one.

    Args:
        name: What a user says to choose it.
        title: What is shown to a user.
        accepts: Tells by its keys whether a record is of the format.
        convert: Reads a record; it may raise :class:`DataError` or any of :data:`UNREADABLE`.
        known: The keys that ``convert`` reads; others are named in the report. None names none.
    """

    def knows(sample: Sample) -> bool:
        fitting = sum(accepts(record) for record in sample.records)
        return fitting > 0 and fitting * 2 >= len(sample.records)

    def read(source: Source) -> Iterator[ImportedItem]:
        for record in source.records():
            if known is not None and isinstance(record.value, Mapping):
                source.unread.update(unread_keys(record.value, known))
            yield from converted(record, convert)

    return Importer(name=name, title=title, knows=knows, read=read)


def converted(record: ParsedRecord, convert: Convert) -> Iterator[ImportedItem]:
    """Yield what a record holds, or the record set aside."""
    if record.value is None:
        yield Quarantined(line=record.line, reason=record.reason, excerpt=record.excerpt)
        return
    try:
        if not isinstance(record.value, Mapping):
            kind = type(record.value).__name__
            raise DataError(f"the record is {kind}, expected an object")  # noqa: TRY301 - one place
        found = [replace(sound(item), line=record.line) for item in convert(record.value)]
    except DataError as error:
        yield Quarantined(line=record.line, reason=error.message, excerpt=excerpt(record.value))
        return
    except UNREADABLE as error:
        reason = f"the record is not of the shape expected: {type(error).__name__}: {error}"
        yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(record.value))
        return
    yield from found


def sound(item: Imported) -> Imported:
    """Return an item that a store takes: text UTF-8 can hold, one id a message, parents first.

    Other programs' markup is parted from what was said, for every reader alike.

    Raises:
        DataError: if the conversation holds no message, or two of one id.
    """
    conversation = item.conversation
    if conversation is None:
        return item
    if not conversation.messages:
        raise DataError("the conversation holds no message")
    ids = [message.id for message in conversation.messages]
    if len(set(ids)) < len(ids):
        raise DataError("two messages of the conversation have one id")
    messages = tuple(_sound_message(message) for message in conversation.messages)
    read = replace(
        conversation,
        messages=messages,
        title=sound_text(conversation.title),
        source_ref=sound_text(conversation.source_ref),
    )
    return replace(item, conversation=without_markup(read))


def _sound_message(message: Message) -> Message:
    try:
        message.text.encode()
    except UnicodeEncodeError:
        content = tuple(replace(part, text=sound_text(part.text)) for part in message.content)
        return replace(message, content=content)
    return message
