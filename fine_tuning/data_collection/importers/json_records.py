"""The records of a JSON file of any size: an array's items, an object per line, or one object.

Memory is bounded by the largest record accepted. A record that is damaged or too large is told with
its line and passed over, and reading goes on behind it; what a record means is not known here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import orjson

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.storage.json_lines import MAX_LINE_BYTES, lines

CHUNK_BYTES = 1 << 20
EXCERPT_BYTES = 500
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SPACE = b" \t\r\n"
_MARK = re.compile(rb'["\[\]{},]')
_STRING_REST = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', flags=re.DOTALL)
WRAPPERS = ("conversations", "chats", "data", "items", "records")
_WRAPPED = re.compile(rb'"(?:conversations|chats|data|items|records|list)"\s*:\s*\[')
_TURN_KEYS = {"role", "from", "sender"}
_HOLDERS = {
    "messages", "conversations", "conversation", "chat_messages", "mapping", "chat", "history",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRecord:
    """A value and the line it begins in; None, with a reason, when it could not be read."""

    line: int
    value: Any = None
    reason: str = ""
    excerpt: str = ""


def json_records(file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the records of a file opened for reading bytes, from its start.

    An array yields its items; lines that are objects or arrays yield one each; a single object
    yields itself, or the items of the array of objects it wraps (``conversations``, ``chats``,
    ``data``).

    Raises:
        DataError: if the file is empty, or is no UTF-8 text at all.
    """
    start = _skip_space(file)
    file.seek(start)
    first = file.read(1)
    if not first:
        raise DataError("the file is empty, expected conversations")
    file.seek(start)
    if first == b"[":
        if _is_line_of_lists(file, start):
            yield from _line_records(file, start)
            return
        file.seek(start)
        yield from _array(file)
        return
    file.seek(0)
    line = next(lines(file, offset=start), None)
    is_lines = line is not None and (line.data is None or _is_json(line.data))
    if not is_lines and (whole := _whole_object(file, start)) is not None:
        yield from _unwrapped(whole)
        return
    if (place := _wrapped_array(file, start)) is not None:
        file.seek(place)
        yield from _array(file)
        return
    yield from _line_records(file, start)


def _is_line_of_lists(file: BinaryIO, start: int) -> bool:
    """Tell whether a file's first line is a whole array and another line follows it."""
    found = lines(file, offset=start)
    first = next(found, None)
    if first is None or first.data is None or not first.data.rstrip(_SPACE).endswith(b"]"):
        return False
    second = next((line for line in found if line.data is None or line.data.strip(_SPACE)), None)
    return second is not None and _is_json(first.data)


def _skip_space(file: BinaryIO) -> int:
    """Return the offset of the first byte that says something.

    Raises:
        DataError: if the file is UTF-16.
    """
    file.seek(0)
    head = file.read(len(_BOM))
    if head[:2] in _WIDE_BOMS:
        raise DataError(
            "the file is UTF-16, expected UTF-8",
            next_command="iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8",
        )
    offset = len(_BOM) if head == _BOM else 0
    file.seek(offset)
    while chunk := file.read(CHUNK_BYTES):
        rest = chunk.lstrip(_SPACE)
        if rest:
            return offset + len(chunk) - len(rest)
        offset += len(chunk)
    return offset


def _is_json(data: bytes) -> bool:
    try:
        loads(data)
    except DataError:
        return False
    return True


def _whole_object(file: BinaryIO, start: int) -> dict[str, JsonValue] | None:
    """Return the one object a file consists of; None when it is none, or too large."""
    file.seek(start)
    data = file.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        return None
    try:
        value = loads(data)
    except DataError:
        return None
    return value if isinstance(value, dict) else None


def _wrapped_array(file: BinaryIO, start: int) -> int | None:
    """Return where the array begins that an object wraps which is too large to be read whole.

    None when the file is smaller, wraps nothing in its beginning, or has an object on a line.
    """
    file.seek(start)
    head = file.read(CHUNK_BYTES)
    found = _WRAPPED.search(head)
    size = file.seek(0, os.SEEK_END)
    if found is None or size - start <= MAX_LINE_BYTES:
        return None
    second = next(islice(lines(file, offset=start), 1, None), None)
    is_lines = second is not None and second.data is not None and _is_json(second.data)
    return None if is_lines else start + found.end() - 1


def _unwrapped(value: dict[str, JsonValue], line: int = 1) -> Iterator[ParsedRecord]:
    """Yield an object, or the conversations of the list it does nothing but wrap."""
    for key in WRAPPERS:
        items = value.get(key)
        if isinstance(items, list) and items and all(_is_conversation(item) for item in items):
            yield from (ParsedRecord(line=line, value=item) for item in items)
            return
    yield ParsedRecord(line=line, value=value)


def _is_conversation(item: object) -> bool:
    """Tell whether an item is more than a turn: it holds a list or an object of turns itself."""
    return isinstance(item, dict) and not _TURN_KEYS & item.keys() and bool(_HOLDERS & item.keys())


def _line_records(file: BinaryIO, start: int) -> Iterator[ParsedRecord]:
    for line in lines(file, offset=start):
        if line.data is None:
            limit = f"{MAX_LINE_BYTES >> 20} MiB"
            yield ParsedRecord(line=line.number, reason=f"the line is longer than {limit}")
        elif line.data.strip(_SPACE):
            record = _record(line.number, line.data, is_ended=line.is_ended)
            if isinstance(record.value, dict):
                yield from _unwrapped(record.value, line.number)
            else:
                yield record


def _record(line: int, data: bytes, *, is_ended: bool = True) -> ParsedRecord:
    try:
        return ParsedRecord(line=line, value=loads(data))
    except DataError as error:
        reason = error.message if is_ended else f"the file ends within the record: {error.message}"
        shown = data.lstrip(_SPACE)[:EXCERPT_BYTES].decode("utf-8", "replace")
        return ParsedRecord(line=line, reason=reason, excerpt=shown)


def loads(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON; half surrogate pairs, NaN and numbers beyond 64 bits are taken as they are.

    Raises:
        DataError: if it is no JSON or no UTF-8; the sentence is the reason.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        strict = error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"the record is no UTF-8: byte {data[error.start]:#04x} at its offset {error.start}"
        ) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the record is no valid JSON: {strict}") from error


def _array(file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the items of the array that begins at the file's place."""
    splitter = _Splitter()
    file.read(1)
    while chunk := file.read(CHUNK_BYTES):
        for line, data in splitter.feed(chunk):
            if data is None:
                limit = f"{MAX_LINE_BYTES >> 20} MiB"
                yield ParsedRecord(line=line, reason=f"the record is longer than {limit}")
            elif data.strip(_SPACE):
                yield _record(line, data)
        if splitter.is_done:
            return
    line, rest = splitter.rest()
    if rest.strip(_SPACE) or splitter.is_too_long:
        shown = rest[:EXCERPT_BYTES].decode("utf-8", "replace")
        reason = "the file ends within this record, or a quote is missing in it"
        yield ParsedRecord(line=line, reason=reason, excerpt=shown)
    else:
        yield ParsedRecord(line=line, reason="the file ends before its array does")


class _Splitter:
    """Cuts the text of an array into that of its items, whatever pieces it comes in.

    Only quotes, brackets and commas are looked at; whether an item is JSON, its reader tells.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._place = 0
        self._depth = 0
        self._in_string = False
        self._line = 1
        self.is_too_long = False
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield each item that ends in the chunk with its line; None for one that is too long."""
        self._buffer += chunk
        while not self.is_done and self._advance():
            mark = self._buffer[self._place]
            self._place += 1
            if mark == ord('"'):
                self._in_string = True
            elif mark in b"[{":
                self._depth += 1
            elif mark in b"]}" and self._depth:
                self._depth -= 1
            elif mark in b",]" and not self._depth:
                yield self._take(mark)
        if len(self._buffer) > MAX_LINE_BYTES:
            self.is_too_long = True
            self._drop(self._place)

    def _advance(self) -> bool:
        """Go to the next mark outside strings; False when the buffer holds none."""
        if self._in_string:
            found = _STRING_REST.match(self._buffer, self._place)
            self._place = found.end() if found else self._place
            if self._place >= len(self._buffer) or self._buffer[self._place] != ord('"'):
                return False
            self._in_string = False
            self._place += 1
        mark = _MARK.search(self._buffer, self._place)
        self._place = mark.start() if mark else len(self._buffer)
        return mark is not None

    def _take(self, mark: int) -> tuple[int, bytes | None]:
        data = bytes(self._buffer[: self._place - 1])
        lead = len(data) - len(data.lstrip(_SPACE))
        line = self._line + data.count(b"\n", 0, lead)
        item = None if self.is_too_long else data
        self.is_too_long = False
        self._drop(self._place)
        self.is_done = mark == ord("]")
        return line, item

    def _drop(self, size: int) -> None:
        self._line += self._buffer.count(b"\n", 0, size)
        del self._buffer[:size]
        self._place -= size

    def rest(self) -> tuple[int, bytes]:
        """Return what is left when the file has ended, and its line."""
        return self._line, bytes(self._buffer)
