"""Parse the head of a GGUF file: metadata and tensor descriptions, checked before use.

Every count, length and offset is held against the real size of the buffer before anything is
allocated for it; text and string counts have budgets, so the work is bounded by the limits below
however large the file is. Knows nothing of files: it reads a buffer.
Source: docs/gguf.md of ggml; ggml/src/gguf.cpp of llama.cpp.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from mmap import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.types import (
    ALIGNMENT_KEY,
    ARRAY_DTYPES,
    DEFAULT_ALIGNMENT,
    MAX_DIMS,
    SCALAR_CODES,
    TensorInfo,
    TensorType,
    ValueType,
    align_up,
    check_alignment,
    tensor_num_bytes,
    tensor_type_of,
)
from fine_tuning.gguf.values import LENGTH, MetadataValue, StringArray, TypedValue, quote

SUPPORTED_VERSIONS: Final = (2, 3)
HEADER_BYTES: Final = 24
MAX_KEYS: Final = 1 << 16
MAX_KEY_BYTES: Final = (1 << 16) - 1
MAX_TENSORS: Final = 1 << 17
MAX_NAME_BYTES: Final = 1024
MAX_STRINGS: Final = 1 << 23  # in all arrays together; the largest known vocabularies hold 0.8 M
MAX_TEXT_BYTES: Final = 1 << 26  # keys, names and single strings together
MIN_PAIR_BYTES: Final = 8 + 1 + 4 + 1
MIN_TENSOR_BYTES: Final = 8 + 1 + 4 + 4 + 8

AGAIN: Final = "download or copy the file again; it is not complete"


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a file says; see ``GgufFile`` for the meaning of each field."""

    version: int
    alignment: int
    values: dict[str, TypedValue]
    tensors: dict[str, TensorInfo]
    data_start: int


def parse_header(buffer: mmap | bytes, label: str) -> Header:
    """Parse and check the head of a GGUF file.

    Args:
        buffer: The whole file. Numeric arrays of the result are views of it.
        label: How error messages name the file.

    Raises:
        GgufError: if anything in it is not sound; the sentence names the byte.
    """
    cursor = _Cursor(buffer, label)
    cursor.skip(4, "the magic")
    version = _read_version(cursor)
    num_tensors = cursor.count("tensors", MAX_TENSORS, 0)
    num_pairs = cursor.count("metadata keys", MAX_KEYS, MIN_PAIR_BYTES)
    values: dict[str, TypedValue] = {}
    for _ in range(num_pairs):
        _read_pair(cursor, values)
    alignment = _alignment(cursor, values)
    cursor.check_count(num_tensors, "tensors", MIN_TENSOR_BYTES, cursor.position)
    found = [_read_tensor(cursor) for _ in range(num_tensors)]
    data_start = align_up(cursor.position, alignment)
    tensors = _place_tensors(cursor, found, data_start, alignment)
    return Header(version, alignment, values, tensors, data_start)


class _Cursor:
    """Reads forward through a buffer and refuses every step that would leave it."""

    def __init__(self, buffer: mmap | bytes, label: str) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.label = label
        self.position = 0
        self.text_left = MAX_TEXT_BYTES
        self.strings_left = MAX_STRINGS

    def error(self, sentence: str, *, next_command: str = "") -> GgufError:
        return GgufError(f"{self.label}: {sentence}", next_command=next_command)

    def skip(self, num_bytes: int, what: str) -> int:
        """Step over bytes that must exist; return where they begin."""
        start = self.position
        if num_bytes > self.size - start:
            raise self.error(
                f"{what} at byte {start} needs {num_bytes} bytes, but the file ends at byte "
                f"{self.size}",
                next_command=AGAIN,
            )
        self.position = start + num_bytes
        return start

    def unpack(self, code: str, what: str) -> Any:  # noqa: ANN401  # int, float or bool by code
        start = self.skip(struct.calcsize(code), what)
        return struct.unpack_from(code, self.buffer, start)[0]

    def count(self, what: str, limit: int, item_bytes: int) -> int:
        """Read a 64-bit count that must fit both a limit and the rest of the file."""
        start = self.position
        count: int = self.unpack("<Q", f"the number of {what}")
        if count > limit:
            raise self.error(f"{count} {what} were found at byte {start}, at most {limit} expected")
        self.check_count(count, what, item_bytes, start)
        return count

    def check_count(self, count: int, what: str, item_bytes: int, start: int) -> None:
        left = self.size - self.position
        if count * item_bytes > left:
            raise self.error(
                f"{count} {what} are announced at byte {start}, but the {left} bytes left hold at "
                f"most {left // item_bytes}",
                next_command=AGAIN,
            )

    def string(self, what: str, limit: int) -> bytes:
        """Read one length-prefixed string within the budget of text."""
        start = self.position
        length: int = self.unpack("<Q", f"the length of {what}")
        if length > min(limit, self.text_left):
            raise self.error(
                f"{what} at byte {start} claims {length} bytes, at most "
                f"{min(limit, self.text_left)} were expected"
            )
        self.text_left -= length
        place = self.skip(length, what)
        return bytes(self.buffer[place : place + length])

    def name(self, what: str, limit: int) -> str:
        """Read a name: not empty, and UTF-8."""
        start = self.position
        data = self.string(what, limit)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(
                f"{what} at byte {start} is {quote(data)}, UTF-8 text was expected"
            ) from None
        if not text:
            raise self.error(f"{what} at byte {start} is empty, a name was expected")
        return text

    def value_type(self, what: str) -> ValueType:
        start = self.position
        number: int = self.unpack("<I", f"the type of {what}")
        try:
            return ValueType(number)
        except ValueError:
            raise self.error(
                f"{what} has type number {number} at byte {start}, 0 to 12 were expected"
            ) from None


def _read_version(cursor: _Cursor) -> int:
    version: int = cursor.unpack("<I", "the version")
    if version in SUPPORTED_VERSIONS:
        cursor.check_count(1, "file heads", HEADER_BYTES - cursor.position, cursor.position)
        return version
    if version == 1:
        raise cursor.error(
            "the file is GGUF version 1 of August 2023, versions 2 and 3 were expected",
            next_command="download the model again; every later GGUF file is version 2 or 3",
        )
    if version and not version & 0xFFFF:
        raise cursor.error(
            "the file is a big-endian GGUF file, little-endian order was expected",
            next_command="download the ordinary (little-endian) file of this model",
        )
    raise cursor.error(
        f"GGUF version {version} was found at byte 4, versions 2 and 3 were expected"
    )


def _read_pair(cursor: _Cursor, values: dict[str, TypedValue]) -> None:
    start = cursor.position
    key = cursor.name("a metadata key", MAX_KEY_BYTES)
    if key in values:
        raise cursor.error(f"the metadata key {quote(key)} at byte {start} is there twice")
    what = f"the metadata value {quote(key)}"
    kind = cursor.value_type(what)
    values[key] = TypedValue(_read_value(cursor, kind, what), kind)


def _read_value(cursor: _Cursor, kind: ValueType, what: str) -> MetadataValue:
    if kind is ValueType.STRING:
        return cursor.string(what, MAX_TEXT_BYTES).decode("utf-8", "surrogateescape")
    if kind is ValueType.ARRAY:
        return _read_array(cursor, what)
    start = cursor.position
    value: int | float = cursor.unpack(SCALAR_CODES[kind], what)
    if kind is not ValueType.BOOL:
        return value
    if value not in (0, 1):
        raise cursor.error(f"{what} at byte {start} is the boolean {value}, 0 or 1 was expected")
    return bool(value)


def _read_array(cursor: _Cursor, what: str) -> MetadataValue:
    start = cursor.position
    element = cursor.value_type(what)
    if element is ValueType.ARRAY:
        raise cursor.error(f"{what} at byte {start} is an array of arrays, llama.cpp reads none")
    if element is ValueType.STRING:
        return _read_strings(cursor, what)
    dtype = ARRAY_DTYPES[element]
    # Booleans are looked at one by one, other numbers are only mapped.
    limit = MAX_STRINGS if element is ValueType.BOOL else cursor.size
    count = cursor.count(f"elements of {what}", limit, dtype.itemsize)
    place = cursor.skip(count * dtype.itemsize, what)
    if element is not ValueType.BOOL:
        return _view(cursor, dtype, count, place)
    flags = _view(cursor, np.dtype(np.uint8), count, place)
    if count and flags.max() > 1:
        raise cursor.error(
            f"{what} at byte {place} holds the boolean {flags.max()}, 0 or 1 was expected"
        )
    return flags.view(np.bool_)


def _view(cursor: _Cursor, dtype: np.dtype[Any], count: int, place: int) -> NDArray[Any]:
    if not count:  # frombuffer refuses an offset at the very end of its buffer
        return np.empty(0, dtype)
    return np.frombuffer(cursor.buffer, dtype, count, place)


def _read_strings(cursor: _Cursor, what: str) -> StringArray:
    """Find where each string of an array begins; none is decoded."""
    count = cursor.count(f"strings of {what}", cursor.strings_left, LENGTH.size)
    cursor.strings_left -= count
    first = position = cursor.position
    buffer, unpack, prefix = cursor.buffer, LENGTH.unpack_from, LENGTH.size
    last = cursor.size - prefix
    starts = array("Q", [0])
    append = starts.append
    # The one loop that runs once per token; everything it touches is local.
    for _ in range(count):
        if position > last:
            raise _string_overrun(cursor, what, starts)
        position += prefix + unpack(buffer, position)[0]
        if position > cursor.size:
            raise _string_overrun(cursor, what, starts)
        append(position - first)
    cursor.position = position
    return StringArray(memoryview(buffer)[first:position], starts)


def _string_overrun(cursor: _Cursor, what: str, starts: array[int]) -> GgufError:
    return cursor.error(
        f"string {len(starts) - 1} of {what} at byte {cursor.position + starts[-1]} runs past the "
        f"end of the file at byte {cursor.size}",
        next_command=AGAIN,
    )


def _alignment(cursor: _Cursor, values: dict[str, TypedValue]) -> int:
    found = values.get(ALIGNMENT_KEY)
    if found is None:
        return DEFAULT_ALIGNMENT
    if found.type is not ValueType.UINT32 or not isinstance(found.value, int):
        raise cursor.error(f"{ALIGNMENT_KEY} is of type {found.type.name}, UINT32 was expected")
    _named(cursor, "", check_alignment, found.value)
    return found.value


def _named(cursor: _Cursor, what: str, check: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401  # what the check returns
    """Call a check of the format; its error gets the name of the file and of the thing."""
    try:
        return check(*values)
    except GgufError as error:
        raise cursor.error(f"{what}{error.message}") from None


def _read_tensor(cursor: _Cursor) -> TensorInfo:
    """Read one description; its offset is still relative to the data."""
    start = cursor.position
    name = cursor.name("a tensor name", MAX_NAME_BYTES)
    what = f"tensor {quote(name)}"
    num_dims: int = cursor.unpack("<I", f"the number of dimensions of {what}")
    if num_dims > MAX_DIMS:
        raise cursor.error(
            f"{what} at byte {start} has {num_dims} dimensions, at most {MAX_DIMS} were expected"
        )
    place = cursor.skip(8 * num_dims, f"the shape of {what}")
    shape = struct.unpack_from(f"<{num_dims}Q", cursor.buffer, place)[::-1]
    number: int = cursor.unpack("<I", f"the type of {what}")
    offset: int = cursor.unpack("<Q", f"the offset of {what}")
    prefix = f"{what} at byte {start}: "
    tensor_type: TensorType = _named(cursor, prefix, tensor_type_of, number)
    num_bytes: int = _named(cursor, prefix, tensor_num_bytes, tensor_type, shape)
    return TensorInfo(name, shape, tensor_type, offset, num_bytes)


def _place_tensors(
    cursor: _Cursor, found: list[TensorInfo], data_start: int, alignment: int
) -> dict[str, TensorInfo]:
    """Turn offsets into places in the file; check alignment, bounds, names and overlap."""
    tensors: dict[str, TensorInfo] = {}
    for info in found:
        what = f"tensor {quote(info.name)}"
        if info.name in tensors:
            raise cursor.error(f"{what} is there twice")
        if info.offset % alignment:
            raise cursor.error(
                f"{what} has offset {info.offset}, a multiple of the alignment {alignment} was "
                "expected"
            )
        place = data_start + info.offset
        if place + info.num_bytes > cursor.size:
            raise cursor.error(
                f"{what} ends at byte {place + info.num_bytes}, but the file ends at byte "
                f"{cursor.size}",
                next_command=AGAIN,
            )
        tensors[info.name] = TensorInfo(info.name, info.shape, info.type, place, info.num_bytes)
    by_place = sorted(tensors.values(), key=lambda info: info.offset)
    for before, after in pairwise(by_place):
        if before.offset + before.num_bytes > after.offset:
            raise cursor.error(
                f"tensor {quote(after.name)} begins at byte {after.offset}, inside tensor "
                f"{quote(before.name)} which ends at byte {before.offset + before.num_bytes}"
            )
    return tensors
