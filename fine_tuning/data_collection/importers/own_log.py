"""This project's own files: the log, ``ft/1`` exports with their feedback, instruction records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import apsw

from fine_tuning.core.conversation import SCHEMA, Conversation
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.formats import TURN, detect_format
from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_collection.importers.importer import Importer, Sample
from fine_tuning.data_collection.importers.items import (
    EXCERPT_CHARS,
    UNREADABLE,
    Imported,
    ImportedItem,
    Quarantined,
)
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importing import ConversationReader
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import lines
from fine_tuning.storage.log_lines import FEEDBACK_SCHEMA
from fine_tuning.storage.sqlite_store import SqliteConversationStore

_TABLES = {"conversation", "message"}


def _is_own(record: JsonObject) -> bool:
    if record.get("schema") in (SCHEMA, FEEDBACK_SCHEMA):  # a tuple: it may be no text
        return True
    try:
        return detect_format(record) in {TURN, "instruction"}
    except DataError:
        return False


def _knows(sample: Sample) -> bool:
    return sample.tables >= _TABLES or any(_is_own(record) for record in sample.records)


def _read(source: Source) -> Iterator[ImportedItem]:
    if not source.is_sqlite:
        reader = ConversationReader(source.text)
        yield from _all(reader, reader.feedback)
        source.unread.update(reader.unread)
        yield from _with_excerpts(source, {one.line: one.reason for one in reader.skipped})
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            store = SqliteConversationStore(_copy(source, Path(folder)))
        except (DataError, StorageError) as error:
            yield Quarantined(line=0, reason=error.message)
            return
        stack.callback(store.close)
        yield from _all(store.conversations(), store.feedback)


def _with_excerpts(source: Source, reasons: Mapping[int, str]) -> Iterator[ImportedItem]:
    """Read the beginnings of the lines passed over, for a person to recognise them."""
    with storage_errors(source.text), source.text.open("rb") as file:
        for line in lines(file) if reasons else ():
            if line.number in reasons:
                shown = (line.data or b"")[:EXCERPT_CHARS].decode("utf-8", "replace")
                yield Quarantined(
                    line=line.number, reason=reasons[line.number], excerpt=shown.strip()
                )


def _all(
    conversations: Iterable[Conversation], feedback: Callable[[], Iterable[Feedback]]
) -> Iterator[ImportedItem]:
    try:
        for conversation in conversations:
            yield Imported(conversation=conversation)
        for item in feedback():
            yield Imported(feedback=(item,))
    except (DataError, StorageError) as error:
        yield Quarantined(line=0, reason=error.message)
    except UNREADABLE as error:
        yield Quarantined(line=0, reason=f"the rest cannot be read: {error!r}")


def _copy(source: Source, folder: Path) -> Path:
    """Copy a database, which opening would bring to the newest schema; the user's stays as it is.

    Raises:
        StorageError: if it cannot be read.
    """
    path = folder / "copy.db"
    with source.database() as found:
        copy = apsw.Connection(str(path))
        try:
            with copy.backup("main", found, "main") as backup:
                backup.step()
        finally:
            copy.close()
    return path


OWN_LOG = Importer(
    name="fine-tuning", title="log or export of fine-tuning", knows=_knows, read=_read
)
