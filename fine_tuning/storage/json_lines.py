"""JSON Lines on disk: one object per line, appended whole, read past whatever is broken.

An append takes the file's lock, is one write, and is on disk when it returns. Reading never stops
at a bad line: it is skipped with its number and a reason. What an object means is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.unix_only import fcntl
from fine_tuning.storage.atomic import sync_folder, whole_file

MAX_LINE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_SURROGATES = re.compile("[\ud800-\udfff]+")
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it stands in a file.

    ``data`` excludes the line's end and is None when the line is longer than ``MAX_LINE_BYTES``;
    ``end`` is the offset of the next line; ``is_ended`` tells whether a newline closed it.
    """

    number: int
    offset: int
    end: int
    data: bytes | None
    is_ended: bool


def encode(value: object) -> bytes:
    """Return a value as one line of JSON, without its end.

    What JSON cannot express is bent rather than lost: half a surrogate pair becomes U+FFFD,
    an unknown object its text, a non-finite number null.
    """
    options = orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=str, option=options)
    except TypeError:
        return orjson.dumps(_expressible(value), default=str, option=options)


def _expressible(value: object) -> object:
    if isinstance(value, str):
        return sound_text(value)
    if isinstance(value, Mapping):
        return {sound_text(str(key)): _expressible(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_expressible(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def sound_text(text: str) -> str:
    """Return text that UTF-8 can hold: surrogate pairs joined, halves of them U+FFFD."""
    return _SURROGATES.sub(_join_surrogates, text)


def _join_surrogates(found: re.Match[str]) -> str:
    return found[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode(line: Line) -> dict[str, JsonValue] | None:
    """Return a line's object, or None for an empty line.

    Raises:
        DataError: if the line is too long, no JSON, or no object; the sentence is the reason.
    """
    if line.data is None:
        raise DataError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
    data = line.data.removeprefix(_BOM) if line.offset == 0 else line.data
    if not data.strip():
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        what = "the line is no valid JSON" if line.is_ended else "the last line is cut off"
        raise DataError(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"the line holds {type(value).__name__}, expected an object")
    return value


def lines(file: BinaryIO, *, offset: int = 0, number: int = 1) -> Iterator[Line]:
    """Yield the lines of an open file from an offset on, in constant memory.

    Args:
        file: A file opened for reading bytes.
        offset: Where to begin, in bytes; must be the start of a line.
        number: The number of the line that begins there.
    """
    file.seek(offset)
    while data := file.readline(MAX_LINE_BYTES + 1):
        end = offset + len(data)
        is_ended = data.endswith(b"\n")
        content: bytes | None = data.removesuffix(b"\n")
        if not is_ended and len(data) > MAX_LINE_BYTES:
            content = None
            while not is_ended and (rest := file.readline(_CHUNK_BYTES)):
                end, is_ended = end + len(rest), rest.endswith(b"\n")
        yield Line(number, offset, end, content, is_ended)
        offset, number = end, number + 1


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[int]:
    """Yield a descriptor of the file while this process holds its lock.

    With ``exclusive``, the file is created if need be and no one else reads or writes; else it
    is opened for reading while no one writes. Should the file be replaced while the lock is
    awaited, the new one is taken.

    Raises:
        OSError: if the file cannot be opened.
    """
    while True:
        handle = _open_for_append(path) if exclusive else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            if not _is_current(handle, path):
                continue
            yield handle
            return
        finally:
            os.close(handle)  # closing gives the lock back


def _open_for_append(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, flags | os.O_CREAT, 0o644)
        sync_folder(path.parent)
        return handle


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def append(handle: int, data: bytes, *, is_synced: bool = True) -> None:
    """Append one line through a descriptor from :func:`locked`; it is on disk on return.

    Without ``is_synced`` it is on disk when the next line that is synced is.

    A line that a killed writer left torn is closed first, so that only it is lost. When the disk
    takes only a part, the file is cut back to what it was.

    Raises:
        OSError: if the line could not be written whole.
    """
    size = os.fstat(handle).st_size
    is_torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    line = b"\n" * is_torn + data + b"\n"
    try:
        written = os.write(handle, line)
        while written < len(line):
            written += os.write(handle, line[written:])
        if is_synced:
            _sync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise


def append_and_unlock(handle: int, data: bytes) -> None:
    """Append one line as :func:`append` does, and let others append while the disk is awaited.

    Waiting without the lock lets the disk take the lines of several writers at once. When the
    disk fails, the line is taken back, unless another writer's stands behind it by then.

    Raises:
        OSError: if the line could not be written whole, or the disk did not confirm it.
    """
    start = os.fstat(handle).st_size
    append(handle, data, is_synced=False)
    end = os.fstat(handle).st_size
    fcntl.flock(handle, fcntl.LOCK_UN)
    try:
        _sync(handle)
    except OSError:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_size == end:
            os.ftruncate(handle, start)
        raise


@contextmanager
def all_or_none(handle: int) -> Iterator[None]:
    """Sync what the body appends when it is done; when it fails, cut the file back.

    Raises:
        OSError: if it could not be synced.
    """
    size = os.fstat(handle).st_size
    try:
        yield
        _sync(handle)
    except BaseException:
        os.ftruncate(handle, size)
        raise


def copy_line(file: BinaryIO, new: BinaryIO, line: Line) -> None:
    """Copy a line, however long, and leave the reading where it was."""
    place = file.tell()
    file.seek(line.offset)
    left = line.end - line.offset
    while left and (data := file.read(min(left, 1 << 20))):
        new.write(data)
        left -= len(data)
    file.seek(place)


@contextmanager
def whole_lines(path: Path) -> Iterator[Callable[[object], None]]:
    """Yield a function that writes one value as one line; the file appears when the body is done.

    Raises:
        StorageError: if it cannot be written; the old file, if any, stands untouched.
    """
    with whole_file(path) as file:
        yield lambda value: _put(file, value)


def _put(file: BinaryIO, value: object) -> None:
    file.write(encode(value) + b"\n")
