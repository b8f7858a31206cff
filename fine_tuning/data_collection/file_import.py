"""Bringing conversations in from files of other programs, in constant memory."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, FineTuningError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import ConversationStore, Progress
from fine_tuning.data_collection.attachments import set_apart
from fine_tuning.data_collection.importers.catalogue import IMPORTERS, FileReading, read_file
from fine_tuning.data_collection.importers.items import Imported, Quarantined
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.storage.blobs import BlobFolder
from fine_tuning.storage.json_lines import whole_lines
from fine_tuning.storage.records import Records

T = TypeVar("T")

BATCH = 64
NUM_SHOWN = 20
MAX_UPLOAD_BYTES = 200 << 20
MAX_NAME_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a file gave.

    ``num_in`` is how many records it held: conversations new to the log, known before, and those
    set aside, plus records that are feedback only. ``skipped`` are the first records set aside, a
    sentence each; ``quarantine`` is the file that holds all of them, None when there are none.
    ``unread`` names the keys or columns that are not read, and in how many records each says
    something.
    """

    path: Path
    format: str
    title: str
    reason: str
    num_new: int = 0
    num_known: int = 0
    num_feedback: int = 0
    num_feedback_only: int = 0
    num_quarantined: int = 0
    skipped: tuple[str, ...] = ()
    quarantine: Path | None = None
    unread: dict[str, int] = field(default_factory=dict)

    @property
    def num_in(self) -> int:
        """All records of the file."""
        return self.num_new + self.num_known + self.num_feedback_only + self.num_quarantined

    def counts(self) -> dict[str, int]:
        """Return what became of the records; the parts add up to ``in``."""
        return {
            "in": self.num_in,
            "new": self.num_new,
            "known": self.num_known,
            "feedback_only": self.num_feedback_only,
            "quarantined": self.num_quarantined,
        }


class FileImporter:
    """Brings files of conversations into a store.

    Args:
        store: Where conversations and feedback go.
        records: Where imports are recorded.
        blobs: Where attachments go.
        quarantine: The folder of records that cannot be read.
        progress: Called with how much of a file was read.
    """

    def __init__(
        self,
        store: ConversationStore,
        records: Records,
        blobs: BlobFolder,
        quarantine: Path,
        progress: Progress | None = None,
    ) -> None:
        self._store = store
        self._records = records
        self._blobs = blobs
        self._quarantine = quarantine
        self._progress = progress

    def import_file(
        self,
        path: Path,
        format: str | None = None,  # noqa: A002
        assistant: str = "",
    ) -> ImportReport:
        """Add a file's conversations and feedback to the log; importing it twice adds nothing.

        Args:
            path: The file; see ``data_collection.importers`` for the formats.
            format: The name of its format; None finds it out.
            assistant: The person who is the assistant, in a chat between persons.

        Raises:
            ConfigError: if there is no such format.
            DataError: if the file holds no conversation.
            StorageError: if the log cannot be written.
        """
        reading = read_file(path, format, assistant)
        facts = {"file": path.name, "format": reading.importer.name}
        run_id = self._records.begin("import", facts)
        work = _Import(self._store, self._records, self._blobs, self._progress)
        quarantine = self._quarantine / _quarantine_name(path)
        with ExitStack() as stack:
            work.run(reading, lambda: stack.enter_context(whole_lines(quarantine)))
        report = work.report(reading, quarantine)
        self._records.finish(run_id, report.counts())
        if report.num_in == report.num_quarantined:
            raise _nothing_found(report)
        return report

    def import_upload(
        self,
        name: str,
        data: bytes,
        format: str | None = None,  # noqa: A002
        assistant: str = "",
    ) -> ImportReport:
        """Import the content of a file that has no place of its own; see :meth:`import_file`.

        Args:
            name: What the sender calls it; only its last part is used, and only to be shown.
            data: Its content.
            format: As for a file.
            assistant: As for a file.

        Raises:
            DataError: if it is too large.
            FineTuningError: as :meth:`import_file` raises.
        """
        with _uploaded(name, data) as path:
            return replace(self.import_file(path, format, assistant), path=Path(path.name))


def import_formats() -> dict[str, str]:
    """Return the formats that can be imported, by name, with what they are called."""
    return {name: importer.title for name, importer in IMPORTERS.items()}


def upload_format(name: str, data: bytes) -> tuple[str, str]:
    """Return the name of an uploaded file's format, and why it is taken for that.

    Raises:
        DataError: if it is too large, empty, or of a format that is not known here.
    """
    with _uploaded(name, data) as path:
        reading = read_file(path)
        return reading.importer.name, reading.reason


def upload_persons(name: str, data: bytes, format: str | None = None) -> list[str]:  # noqa: A002
    """Return who speaks in an uploaded chat between persons; none for other formats.

    Raises:
        DataError: as :func:`upload_format` raises.
    """
    with _uploaded(name, data) as path:
        return read_file(path, format).persons()


@contextmanager
def _uploaded(name: str, data: bytes) -> Iterator[Path]:
    """Yield a file with some content under a harmless name; errors name it without its folder."""
    if len(data) > MAX_UPLOAD_BYTES:
        raise DataError(
            f"{safe_name(name)} has {len(data) >> 20} MiB, expected at most "
            f"{MAX_UPLOAD_BYTES >> 20} MiB",
            next_command="fine-tuning import FILE, which takes files of any size",
        )
    with tempfile.TemporaryDirectory(prefix="upload.") as folder:
        path = Path(folder) / safe_name(name)
        path.write_bytes(data)
        try:
            yield path
        except FineTuningError as error:
            error.message = error.message.replace(f"{folder}/", "the file ")
            raise


def safe_name(name: str) -> str:
    """Return the last part of a name, with nothing in it that a file system or page acts upon."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^\w.-]", "_", last).lstrip(".")[-MAX_NAME_CHARS:] or "upload"


class _Import:
    """One import: batches of conversations into the log, bad records into the quarantine."""

    def __init__(
        self,
        store: ConversationStore,
        records: Records,
        blobs: BlobFolder,
        progress: Progress | None,
    ) -> None:
        self._store = store
        self._records = records
        self._blobs = blobs
        self._progress = progress
        self._seen = 0
        self.num_new = self.num_known = self.num_feedback = 0
        self.num_feedback_only = self.num_quarantined = 0
        self.skipped: list[str] = []

    def run(
        self, reading: FileReading, open_quarantine: Callable[[], Callable[[object], None]]
    ) -> None:
        """Take every item of a file; the quarantine is opened with the first bad record."""
        write: Callable[[object], None] | None = None
        for batch in batched(reading, BATCH):
            self._take([item for item in batch if isinstance(item, Imported)])
            for item in batch:
                if isinstance(item, Quarantined):
                    write = write or open_quarantine()
                    self._set_aside(item, reading, write)
            self._seen += len(batch)
            self._tell(reading.source)

    def _tell(self, source: Source) -> None:
        """Tell how much of the file was read, or how many records where that is not known."""
        if self._progress is None:
            return
        if source.num_read_bytes:
            size = source.path.stat().st_size
            what = f"importing {source.path.name}, kB"
            self._progress(what, source.num_read_bytes // 1000, -(-size // 1000))
        else:
            self._progress(f"importing {source.path.name}", self._seen, 0)

    def report(self, reading: FileReading, quarantine: Path) -> ImportReport:
        """Return what the file gave."""
        return ImportReport(
            path=reading.source.path,
            format=reading.importer.name,
            title=reading.importer.title,
            reason=reading.reason,
            num_new=self.num_new,
            num_known=self.num_known,
            num_feedback=self.num_feedback,
            num_feedback_only=self.num_feedback_only,
            num_quarantined=self.num_quarantined,
            skipped=tuple(self.skipped),
            quarantine=quarantine if self.num_quarantined else None,
            unread=reading.unread,
        )

    def _take(self, items: list[Imported]) -> None:
        conversations = [
            self._without_attachments(item.conversation)
            for item in items
            if item.conversation is not None
        ]
        feedback: list[Feedback] = [one for item in items for one in item.feedback]
        new = sum(self._store.append_many(conversations, feedback))
        self.num_new += new
        self.num_known += len(conversations) - new
        self.num_feedback += len(feedback)
        self.num_feedback_only += len(items) - len(conversations)

    def _without_attachments(self, conversation: Conversation) -> Conversation:
        def note(sha256: str, mime: str, size_bytes: int) -> None:
            self._records.use_blob(sha256, mime, size_bytes, conversation.id)

        return set_apart(conversation, self._blobs, note)

    def _set_aside(
        self, item: Quarantined, reading: FileReading, write: Callable[[object], None]
    ) -> None:
        self.num_quarantined += 1
        if len(self.skipped) < NUM_SHOWN:
            place = f"line {item.line}: " if item.line else ""
            self.skipped.append(f"{place}{item.reason}")
        write(
            {
                "file": str(reading.source.path),
                "format": reading.importer.name,
                "line": item.line,
                "reason": item.reason,
                "excerpt": item.excerpt,
            }
        )


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _quarantine_name(path: Path) -> str:
    """Return a name that says which file it is about, and differs for files of one name."""
    stem = re.sub(r"[^\w.-]", "_", path.name)[:80]
    return f"{stem}.{content_name(str(path.absolute()))[3:11]}.jsonl"


def _nothing_found(report: ImportReport) -> DataError:
    first = f"; {report.skipped[0]}" if report.skipped else ""
    aside = f"; all {report.num_quarantined} records were set aside{first}" if first else ""
    return DataError(
        f"{report.path} holds no conversation as {report.title} ({report.reason}){aside}",
        next_command="fine-tuning import --format NAME FILE, to read it as another format",
    )
