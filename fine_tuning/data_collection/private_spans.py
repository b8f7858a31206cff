"""Kinds of private values, where one stands in a text, and what the searches for them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import re2

URL, EMAIL, PHONE, CARD, IBAN = "URL", "EMAIL", "PHONE", "CARD", "IBAN"
IP, MAC, ID, ADDRESS, SECRET = "IP", "MAC", "ID", "ADDRESS", "SECRET"
KINDS: tuple[str, ...] = (URL, EMAIL, PHONE, CARD, IBAN, IP, MAC, ID, ADDRESS, SECRET)

_UNSPACED = "\u0e00"  # Thai; ideographs, kana and syllables come later
_ZEROS = (0x660, 0x6F0, 0x966, 0xFF10)  # Arabic, Persian, Devanagari, full-width
_FOLDED: dict[int, int | str] = {
    zero + digit: ord("0") + digit for zero in _ZEROS for digit in range(10)
}
_FOLDED |= {0xFF20: "@", 0xFF0E: ".", 0xA0: " ", 0x202F: " ", 0x2007: " ", 0x2010: "-", 0x2011: "-"}
FOLDED_MARKS = r"\x{0660}-\x{0669}\x{06F0}-\x{06F9}\x{0966}-\x{096F}\x{FF10}-\x{FF20}"
"""Digits and marks of other scripts that :func:`fold` maps, as a class of RE2."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text that must not be trained on; ``what`` says more than the kind."""

    start: int
    end: int
    kind: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Detector:
    """A search for one kind of value: run on texts that its ``trigger`` occurs in.

    ``trigger`` is a pattern of RE2 that occurs in every text with such a value; ``find`` takes the
    folded text and the regions of national numbers.
    """

    kind: str
    trigger: str
    find: Callable[[str, Sequence[str]], Iterable[Span]]


def compiled(pattern: str, *, has_groups: bool = True) -> re2._Regexp:
    """Return a pattern of RE2 with room for its automaton, which is built as texts need it.

    Args:
        pattern: In the syntax of RE2.
        has_groups: Whether groups are read; without them a search is faster.
    """
    options = re2.Options()
    options.max_mem = 64 << 20
    options.never_capture = not has_groups
    options.log_errors = False
    return re2.compile(pattern, options)


def fold(text: str) -> str:
    """Return a text of the same length with digits, spaces and signs of other scripts in ASCII."""
    return text if text.isascii() else text.translate(_FOLDED)


def goes_on(text: str, end: int, joints: str) -> bool:
    """Tell whether a number goes on behind its match."""
    return text[end : end + 1] in joints and text[end + 1 : end + 2].isdigit() and end < len(text)


def is_word_char(char: str) -> bool:
    """Tell whether a character continues a word of an alphabet: ideographs and kana do not."""
    return char == "_" or (char.isalnum() and (char.isascii() or char < _UNSPACED))


def is_bounded(text: str, start: int, end: int) -> bool:
    """Tell whether a match is no part of a longer word or number."""
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    return not (before and is_word_char(before)) and not (after and is_word_char(after))


def line_around(text: str, start: int, end: int) -> tuple[str, str]:
    """Return what stands before and behind a match in its line."""
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    return text[begin:start], text[end : stop if stop >= 0 else len(text)]


def words_around(text: str, start: int, end: int, reach: int) -> tuple[str, str]:
    """Return up to ``reach`` characters of a match's line before and behind it."""
    before, after = text[max(0, start - reach) : start], text[end : end + reach]
    return before.rpartition("\n")[2], after.partition("\n")[0]


def joined_lines(pattern: str) -> str:
    """Return a long pattern in one piece: line ends and the blanks around them are left out."""
    return "".join(line.strip() for line in pattern.splitlines())


def group_span(match: re2._Match, name: str) -> tuple[int, int]:
    """Return where a named group of a match of RE2 begins and ends."""
    begin, end = match.span(match.re.groupindex[name])
    return begin, end
