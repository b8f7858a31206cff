"""Damage: what disks, networks, editors and enemies do to files."""

from __future__ import annotations

import random
from collections.abc import Callable

NASTY = (
    b"\xff", b"\x00", b"\xed\xa0\x80", b"null", b"[]", b"{}", b"-1", b"1e999", b'"', b"\\u0000",
    b"\\ud800", b"true", b"9" * 400, b"[" * 1100, b"\n", b"\r", b",", b"\xef\xbb\xbf", b"\xff\xfe",
    b"NaN", b'{"a":', b"''",
)  # fmt: skip


def _flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] = draw.randrange(256)


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _drop(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.randint(1, 200)]


def _insert(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.choice(NASTY)


def _repeat(data: bytearray, draw: random.Random) -> None:
    start, place = draw.randrange(len(data)), draw.randrange(len(data))
    data[place:place] = data[start : start + draw.randint(1, 300)]


def _replace_value(data: bytearray, draw: random.Random) -> None:
    """Put something else in place of the JSON value behind a colon."""
    colons = [place for place, byte in enumerate(data) if byte == ord(":")]
    if colons:
        place = draw.choice(colons) + 1
        end = min((data.find(mark, place) for mark in b",}]\n"), key=lambda e: e if e >= 0 else 1e9)
        data[place : end if end >= 0 else len(data)] = draw.choice(NASTY)


def _swap_words(data: bytearray, draw: random.Random) -> None:
    """Put one quoted text in place of another: keys become values, roles become names."""
    quotes = [place for place, byte in enumerate(data) if byte == ord('"')]
    if len(quotes) > 3:
        one, other = (2 * draw.randrange(len(quotes) // 2) for _ in range(2))
        text = bytes(data[quotes[other] : quotes[other + 1] + 1])
        data[quotes[one] : quotes[one + 1] + 1] = text


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _cut, _drop, _insert, _repeat, _replace_value, _replace_value, _swap_words,
)  # fmt: skip


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file after one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if data:
            draw.choice(DAMAGES)(data, draw)
    return bytes(data)
