"""A file to import, opened in whatever way its reader needs: JSON records, table rows, a database.

A text in another encoding than UTF-8 is read as UTF-8 from a copy. A ZIP archive stands for the
``conversations*.json`` in it, as ChatGPT and Claude send them; other archives are unpacked.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import apsw

from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.data_collection.importers.json_records import ParsedRecord, json_records
from fine_tuning.data_collection.importers.text_encoding import (
    TITLES,
    copy_whole,
    encoding_of,
    write_utf8,
)
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import MAX_LINE_BYTES, lines

SQLITE_MAGIC = b"SQLite format 3\x00"
ZIP_MAGIC = b"PK\x03\x04"
MEMBERS = "conversations*.json*"
MAX_FIELD_BYTES = 8 << 20
HEAD_BYTES = 64
BEGINNING_BYTES = 1 << 16
MAX_UNPACKED_BYTES = 4 << 30
MEMBER_SUFFIXES = {".json", ".jsonl", ".ndjson", ".txt", ".html", ".htm", ".csv", ".tsv", ".db"}


@dataclass
class Source:
    """A file that conversations are imported from; opening reads nothing yet.

    ``assistant`` is the person who is the assistant, in a chat between persons. ``num_read_bytes``
    tells how far a plain JSON file was read; other kinds do not say. ``unread`` counts the records
    in which a key or column holds something that its reader does not read.
    """

    path: Path
    assistant: str = ""
    num_read_bytes: int = field(default=0, init=False, compare=False)
    unread: Counter[str] = field(default_factory=Counter, init=False, compare=False)

    @cached_property
    def _head(self) -> bytes:
        path = self.path if self._is_binary else self.text
        with storage_errors(path), path.open("rb") as file:
            return file.read(HEAD_BYTES)

    @cached_property
    def _is_binary(self) -> bool:
        with storage_errors(self.path), self.path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC)).startswith((SQLITE_MAGIC, ZIP_MAGIC))

    @cached_property
    def encoding(self) -> str:
        """The title of the encoding of a text that is not UTF-8; "" for UTF-8 and no text."""
        return TITLES.get(self._encoding, "")

    @cached_property
    def _encoding(self) -> str:
        if self._is_binary:
            return ""
        with storage_errors(self.path), self.path.open("rb") as file:
            return encoding_of(file)

    @cached_property
    def text(self) -> Path:
        """The file as UTF-8: itself, or a copy that lives as long as this object.

        Raises:
            DataError: if it is not of its encoding throughout.
            StorageError: if it cannot be read or copied.
        """
        if not self._encoding:
            return self.path
        copy = self._scratch / self.path.name
        with storage_errors(self.path), self.path.open("rb") as file:
            write_utf8(file, self._encoding, copy)
        return copy

    @cached_property
    def _scratch(self) -> Path:
        """A folder for copies, removed with this object."""
        folder = tempfile.mkdtemp(prefix="import.")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def beginning(self) -> str:
        """Return the first characters of a text; "" for what is none."""
        if self._is_binary:
            return ""
        with storage_errors(self.text), self.text.open("rb") as file:
            head = file.read(BEGINNING_BYTES).decode("utf-8", "replace").removeprefix("\ufeff")
        return "" if "\x00" in head else head

    @property
    def is_sqlite(self) -> bool:
        """Whether the file is a SQLite database."""
        return self._head.startswith(SQLITE_MAGIC)

    @property
    def is_zip(self) -> bool:
        """Whether the file is a ZIP archive."""
        return self._head.startswith(ZIP_MAGIC)

    @property
    def is_json(self) -> bool:
        """Whether the first thing a file says can begin an array or an object."""
        return self._head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"[", b"{"}

    def records(self) -> Iterator[ParsedRecord]:
        """Yield the JSON records, those of every member for an archive.

        Raises:
            DataError: if the file is empty or an archive without conversations.
            StorageError: if it cannot be read.
        """
        if not self.is_zip:
            with storage_errors(self.text), self.text.open("rb") as file:
                for record in json_records(file):
                    self.num_read_bytes = file.tell()
                    yield record
            return
        with self._archive() as archive:
            names = sorted(n for n in archive.namelist() if fnmatch(Path(n).name, MEMBERS))
            if not names:
                raise DataError(f"{self.path} is an archive without a {MEMBERS}")
            for name in names:
                with archive.open(name) as member:
                    yield from json_records(cast("BinaryIO", member))

    @property
    def has_conversations(self) -> bool:
        """Whether an archive holds ``conversations*.json``, which stand for all of it."""
        with self._archive() as archive:
            return any(fnmatch(Path(name).name, MEMBERS) for name in archive.namelist())

    @cached_property
    def members(self) -> tuple[Path, ...]:
        """The texts and databases of an archive, unpacked for as long as this object lives.

        Raises:
            DataError: if the archive is damaged, or holds more than can be unpacked.
            StorageError: if it cannot be read, or a file not be written.
        """
        size, found = 0, []
        with self._archive() as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                parts = [
                    part for part in Path(info.filename).parts if part not in {"..", "/", "\\"}
                ]
                suffix = Path(info.filename).suffix.lower()
                is_hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
                if not parts or is_hidden or info.is_dir() or suffix not in MEMBER_SUFFIXES:
                    continue
                size += info.file_size
                if size > MAX_UNPACKED_BYTES:
                    raise DataError(
                        f"{self.path} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB",
                        next_command="unzip FILE, then fine-tuning import on the files in it",
                    )
                path = self._scratch.joinpath("members", *parts)
                with storage_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as member:
                    copy_whole(cast("BinaryIO", member), path)
                found.append(path)
        return tuple(found)

    def member_records(self, pattern: str) -> Iterator[ParsedRecord]:
        """Yield the records of an archive's members whose name fits; none for a plain file."""
        if not self.is_zip:
            return
        with self._archive() as archive:
            for name in sorted(n for n in archive.namelist() if fnmatch(Path(n).name, pattern)):
                with suppress(DataError), archive.open(name) as member:  # an empty one says nothing
                    yield from json_records(cast("BinaryIO", member))

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        # RuntimeError: it has a password, or is packed by a method unknown here.
        damage = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
        try:
            with storage_errors(self.path), zipfile.ZipFile(self.path) as archive:
                yield archive
        except damage as error:
            raise DataError(f"{self.path} is a damaged or locked archive: {error}") from error

    def rows(
        self, needed: Collection[str] = ()
    ) -> Iterator[tuple[int, dict[str, str] | None, str]]:
        """Yield the rows of a table: line, cells by column in lower case, or None and a reason.

        The separator is the one of ``,``, ``;``, tab and ``|`` that is most frequent in the first
        line. Cells may hold line ends within quotes.

        Args:
            needed: The columns without which there is nothing to read.

        Raises:
            DataError: if the file is empty, no UTF-8 text, or lacks a column.
            StorageError: if it cannot be read.
        """
        missing = set(needed) - self.columns()
        with storage_errors(self.text), self.text.open("rb") as file:
            rows = _table(file)
            first = next(rows, None)
            if missing:
                raise DataError(f"{self.path} lacks the columns {', '.join(sorted(missing))}")
            if first is not None:
                yield first
            yield from rows

    def columns(self) -> frozenset[str]:
        """Return the columns of a table; none when the first line cannot be one."""
        with storage_errors(self.text), self.text.open("rb") as file:
            first = next(lines(file), None)
            if first is None or first.data is None or b"\x00" in first.data:
                return frozenset()
            try:
                return frozenset(_header(first.data)[0])
            except DataError:
                return frozenset()

    @contextmanager
    def database(self) -> Iterator[apsw.Connection]:
        """Yield a connection that only reads.

        Raises:
            StorageError: in place of any error of SQLite.
        """
        connection = None
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            connection = apsw.Connection(uri, flags=flags)
            with suppress(apsw.Error):  # a folder that cannot be written has no place for a log
                connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
            yield connection
        except apsw.Error as error:
            raise StorageError(f"{self.path} cannot be read as a database: {error}") from error
        finally:
            if connection is not None:
                connection.close()

    def tables(self) -> frozenset[str]:
        """Return the names of a database's tables; none for another file."""
        if not self.is_sqlite:
            return frozenset()
        with self.database() as connection:
            found: Any = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            return frozenset(str(row[0]) for row in found)


def _table(file: BinaryIO) -> Iterator[tuple[int, dict[str, str] | None, str]]:
    numbers = _Numbered(file)
    first = numbers.head()
    columns, separator = _header(first)
    before = csv.field_size_limit(MAX_FIELD_BYTES)
    try:
        reader = csv.reader(numbers, delimiter=separator, strict=False)
        while True:
            line = numbers.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, DataError) as error:
                yield line, None, str(error)
                reader = csv.reader(numbers, delimiter=separator, strict=False)
                continue
            if len(cells) > len(columns):
                yield line, None, f"the row has {len(cells)} cells, expected {len(columns)}"
                continue
            yield line, dict(zip(columns, cells, strict=False)), ""
    finally:
        csv.field_size_limit(before)


def _header(data: bytes) -> tuple[list[str], str]:
    """Return the columns of a first line and their separator.

    Raises:
        DataError: if the line is no UTF-8, or no row of a table.
    """
    try:
        text = data.decode("utf-8-sig")
        separator = max(",;\t|", key=text.count)
        cells = next(csv.reader([text.rstrip("\r\n")], delimiter=separator), [])
    except UnicodeDecodeError as error:
        raise DataError(f"the first line is no UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise DataError(f"the first line names no columns: {error}") from error
    return [cell.strip().lower() for cell in cells], separator


class _Numbered:
    """The lines of a file as text, one at a time, counted; what is no text is an error of a row."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = lines(file)
        self.number = 0

    def head(self) -> bytes:
        """Return the first line.

        Raises:
            DataError: if there is none, or it is too long.
        """
        line = next(self._lines, None)
        if line is None or (line.data is not None and not line.data.strip() and not line.is_ended):
            raise DataError("the file is empty, expected conversations")
        if line.data is None:
            raise DataError(f"the first line is longer than {MAX_LINE_BYTES >> 20} MiB")
        self.number = 1
        return line.data

    def __iter__(self) -> _Numbered:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        if line.data is None:
            raise DataError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
        try:
            return line.data.decode().replace("\x00", "") + "\n" * line.is_ended
        except UnicodeDecodeError as error:
            raise DataError(f"the line is no UTF-8: {error.reason}") from error
