"""Which encoding a text file is in, told by its beginning, and the file as UTF-8.

Programs of before the 2010s, and spreadsheets to this day, write UTF-16 or the code page of their
country. A file is taken for one of those only when what it says beyond ASCII is not UTF-8; a few
damaged bytes in a file of UTF-8 stay what they are: damage, told with the record.
"""

# ruff: noqa: RUF001 - signs of other scripts are what this is about

from __future__ import annotations

import codecs
import re
import shutil
from pathlib import Path
from typing import BinaryIO

from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.importers.code_pages import PAGES, code_page
from fine_tuning.storage.atomic import storage_errors

CHUNK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16
MIN_ASCII_PARTS = 20
"""A text in UTF-16 has one sign of so many from ASCII at least: line ends, commas, spaces."""
MIN_SIGNS = 3
"""Signs beyond ASCII from which on a code page is told by statistics."""
UTF_8 = ""
TITLES = {
    "utf_16": "UTF-16", "utf_16_le": "UTF-16 without a byte order mark",
    "utf_16_be": "UTF-16 (big-endian) without a byte order mark", "utf_32": "UTF-32", **PAGES,
}  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF8, UTF_8), (codecs.BOM_UTF32_LE, "utf_32"), (codecs.BOM_UTF32_BE, "utf_32"),
    (codecs.BOM_UTF16_LE, "utf_16"), (codecs.BOM_UTF16_BE, "utf_16"),
)  # fmt: skip
_ASCII = re.compile(r"[ -~\n\r\t]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_BEYOND_ASCII = re.compile(rb"[^\n]*[\x80-\xff][^\n]*\n?")
_WESTERN = re.compile("[à-öø-üßÀ-ÖØ-Ü’‘“”„«»–—…€°§£·¿¡Œœ]")


def encoding_of(file: BinaryIO) -> str:
    """Return the name of a text's encoding, "" for UTF-8 and for what is no text.

    Args:
        file: Opened for reading bytes, at its start; it is read as far as needed.
    """
    head = file.read(CHUNK_BYTES)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    wide = _wide(head[:SAMPLE_BYTES])
    if wide or b"\x00" in head[:SAMPLE_BYTES]:
        return wide
    return _narrow(_beyond_ascii(file, head))


def _wide(head: bytes) -> str:
    """Return UTF-16 without a mark: the order in which more is ASCII, and nothing a control."""
    even = head[: len(head) // 2 * 2]
    if b"\x00" not in even:
        return UTF_8
    plain: dict[str, int] = {}
    for name in ("utf_16_le", "utf_16_be"):
        text = even.decode(name, "replace")
        if not _CONTROLS.search(text):
            plain[name] = len(_ASCII.findall(text))
    best = max(plain, key=lambda name: plain[name], default=UTF_8)
    return best if best and plain[best] * 2 * MIN_ASCII_PARTS >= len(even) else UTF_8


def _beyond_ascii(file: BinaryIO, chunk: bytes) -> bytes:
    """Return the first lines that hold more than ASCII, as far as telling needs them."""
    found = bytearray()
    while chunk and len(found) < SAMPLE_BYTES:
        if not chunk.isascii():
            for line in _BEYOND_ASCII.finditer(chunk):
                found += _near(line[0])
                if len(found) >= SAMPLE_BYTES:
                    break
        chunk = file.read(CHUNK_BYTES)
    return bytes(found)


def _near(line: bytes) -> bytes:
    """Return a long line's pieces that hold more than ASCII; what lies between says nothing."""
    if len(line) < SAMPLE_BYTES:
        return line
    pieces = re.findall(rb"[^\x80-\xff]{0,40}[\x80-\xff][^\"\n]{0,400}", line[: 1 << 19])
    return b"\n".join(pieces)


def _narrow(sample: bytes) -> str:
    """Return the code page of lines that are not UTF-8; "" when they are, or are only damaged."""
    if not sample:
        return UTF_8
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(sign > "\x7f" for sign in text) - bad >= bad:
        return UTF_8
    signs = re.findall(rb"[\x80-\xff]+", sample)
    if len(b"".join(signs)) < MIN_SIGNS:
        western = b" ".join(signs).decode("cp1252", "replace")
        is_western = all(_WESTERN.match(sign) for sign in western if sign != " ")
        return "cp1252" if is_western and max(map(len, signs)) == 1 else UTF_8
    if set(signs) == {b"\xff\xfe"} or set(signs) == {b"\xfe\xff"}:
        return UTF_8  # a stray byte order mark: no letters
    return code_page(sample)


def write_utf8(source: BinaryIO, encoding: str, target: Path) -> None:
    """Write a text of another encoding as UTF-8, in constant memory.

    Raises:
        DataError: if the text ends to be of that encoding somewhere; the sentence says where.
        StorageError: if the target cannot be written.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with storage_errors(target), target.open("wb") as file:
        while True:
            chunk = source.read(CHUNK_BYTES)
            try:
                file.write(decoder.decode(chunk, final=not chunk).encode("utf-8", "replace"))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"the file is {TITLES[encoding]} at its beginning, but not at byte "
                    f"{done + error.start}",
                    next_command=f"iconv -c -f {encoding.replace('_', '-')} -t UTF-8 FILE > NEW",
                ) from error
            if not chunk:
                return
            done += len(chunk)


def copy_whole(source: BinaryIO, target: Path) -> None:
    """Write a stream to a file."""
    with storage_errors(target), target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
