"""Metadata values: a lazy array of strings, and a value together with its type in the file.

Strings are stored as a 64-bit length and UTF-8 bytes. Bytes that are not UTF-8 come out as lone
surrogates (PEP 383, ``surrogateescape``) and go back as the same bytes, so that a copy is exact.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.types import ValueType

LENGTH = struct.Struct("<Q")
QUOTE_CHARS = 80


class StringArray(Sequence[str]):
    """An array of strings that decodes an element only when it is asked for.

    Args:
        block: The strings as they lie in the file, each after its 64-bit length.
        starts: Where each length begins in the block, ascending; one more than there are strings,
            the last being the end of the block.
    """

    def __init__(self, block: memoryview, starts: array[int]) -> None:
        self._block = block
        self._starts = starts

    @classmethod
    def encode(cls, strings: Iterable[str]) -> StringArray:
        """Build an array from strings.

        Raises:
            GgufError: if a string cannot be written as UTF-8.
        """
        block = bytearray()
        starts = array("Q", [0])
        for text in strings:
            block += encode_text(text)
            starts.append(len(block))
        return cls(memoryview(bytes(block)), starts)

    @property
    def block(self) -> memoryview:
        """The encoded strings, ready to be written to a file."""
        return self._block

    def raw(self, index: int) -> bytes:
        """Return the bytes of one string, whatever their encoding.

        Raises:
            IndexError: if there is no such string.
        """
        return bytes(self._slice(index))

    def _slice(self, index: int) -> memoryview:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"string {index} was asked for, the array holds {count}")
        place = index % count
        return self._block[self._starts[place] + LENGTH.size : self._starts[place + 1]]

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Decode one string, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return str(self._slice(index), "utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        """Decode the strings one after the other."""
        block, prefix = self._block, LENGTH.size
        start = self._starts[0]
        for end in self._starts[1:]:
            yield str(block[start + prefix : end], "utf-8", "surrogateescape")
            start = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringArray):
            return self._block == other._block
        if isinstance(other, Sequence) and not isinstance(other, str):
            return len(self) == len(other) and list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"StringArray({len(self)} strings)"


MetadataValue = bool | int | float | str | NDArray[Any] | StringArray


class TypedValue(NamedTuple):
    """A metadata value and its type in the file; an array's element type is its dtype."""

    value: MetadataValue
    type: ValueType


def encode_text(text: str) -> bytes:
    """Return a string as the file holds it: its length in bytes, then UTF-8.

    Raises:
        GgufError: if it holds a lone surrogate that stands for no byte.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise GgufError(
            f"the text {quote(text)} holds a lone surrogate at character {error.start}, Unicode "
            "text was expected"
        ) from None
    return LENGTH.pack(len(data)) + data


def quote(text: str | bytes) -> str:
    """Return a name for an error message: printable ASCII, at most about 80 characters."""
    shown = ascii(text[: QUOTE_CHARS + 1])
    return shown if len(text) <= QUOTE_CHARS else f"{shown[:QUOTE_CHARS]}…"
