"""What reading a foreign file gives: conversations with their feedback, and records set aside.

Nothing disappears: every record of a file becomes one or the other. An importer is a name, a test
whether it knows a file, and a generator of these items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.storage.json_lines import sound_text

EXCERPT_CHARS = 500
UNREADABLE = (
    AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What reading a stranger's values may raise when they are of another shape than promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A conversation, or feedback on one that was imported before, and the line it begins in."""

    conversation: Conversation | None = None
    feedback: tuple[Feedback, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A record set aside: the line it begins in (0 when there are none), why, and its start."""

    line: int
    reason: str
    excerpt: str = ""


ImportedItem = Imported | Quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The beginning of a file: its first sound records, its columns, or its tables."""

    records: Sequence[JsonObject] = ()
    columns: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """A reader of one format.

    ``knows`` tells whether a file's beginning is of the format; ``read`` yields its items and
    raises only what opening a file raises.
    """

    name: str
    title: str
    knows: Callable[[Sample], bool]
    read: Callable[[Source], Iterator[ImportedItem]]


Convert = Callable[[JsonObject], Iterable[Imported]]


def importer_of_records(
    name: str, title: str, accepts: Callable[[JsonObject], bool], convert: Convert
) -> Importer:
    """Return the importer of a format whose JSON records can be read one by one.

    Args:
        name: What a user says to choose it.
        title: What is shown to a user.
        accepts: Tells by its keys whether a record is of the format.
        convert: Reads a record; it may raise :class:`DataError` or any of :data:`UNREADABLE`.
    """

    def knows(sample: Sample) -> bool:
        fitting = sum(accepts(record) for record in sample.records)
        return fitting > 0 and fitting * 2 >= len(sample.records)

    def read(source: Source) -> Iterator[ImportedItem]:
        for record in source.records():
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
    return replace(
        item,
        conversation=replace(
            conversation,
            messages=messages,
            title=sound_text(conversation.title),
            source_ref=sound_text(conversation.source_ref),
        ),
    )


def _sound_message(message: Message) -> Message:
    try:
        message.text.encode()
    except UnicodeEncodeError:
        content = tuple(replace(part, text=sound_text(part.text)) for part in message.content)
        return replace(message, content=content)
    return message


def excerpt(value: object) -> str:
    """Return the beginning of a value's text, for a person to recognise it."""
    return sound_text(str(value)[:EXCERPT_CHARS])


def reference(source: str, ref: str) -> str:
    """Return the id of the conversation that a source names ``ref``; the same at every import."""
    return content_name([source, ref])


@dataclass(slots=True)
class ImportedFeedback:
    """Collects the feedback of one conversation; its ids are made from what it says."""

    conversation_id: str
    found: list[Feedback] = field(default_factory=list)

    def add(self, message_id: str, kind: FeedbackKind, **fields: Any) -> None:  # noqa: ANN401
        """Add feedback.

        Raises:
            DataError: as :class:`Feedback` does.
        """
        texts: dict[str, Any] = {
            key: sound_text(value) if isinstance(value, str) else value
            for key, value in fields.items()
        }
        said = content_name([self.conversation_id, message_id, kind, texts])
        self.found.append(
            Feedback(
                id=said,
                conversation_id=self.conversation_id,
                message_id=message_id,
                kind=kind,
                **texts,
            )
        )
