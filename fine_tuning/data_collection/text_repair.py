"""Mends the letters of a text and its spaces; drops nothing and removes no words.

Each repair has a cheap test beside it that tells, for many texts joined by :data:`SEPARATOR`,
whether any of them can need it: most text people type needs none.
"""

from __future__ import annotations

import re

import ftfy

SEPARATOR = "\x00"
"""Stands between joined texts; a control character, so that no repair lets it pass."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
_CONTROLS = bytes([*range(1, 9), *range(0x0E, 0x20), 0x7F])
_SPACES = re.compile(r"(?<=\S)[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_FENCED = re.compile(r"(^[ \t]*```.*?(?:^[ \t]*```[^\n]*$|\Z))", re.DOTALL | re.MULTILINE)
_EDGES = tuple(pair for blank in " \n" for pair in (f"{blank}{SEPARATOR}", f"{SEPARATOR}{blank}"))
_UNEVEN = ("  ", "\t", "\r", " \n", "\n\n\n", "\x0b", "\x0c", *_EDGES)
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
)


def may_need_unicode(joined: str) -> bool:
    """Tell whether :func:`repair_unicode` can change one of some joined texts."""
    if not joined.isascii():
        return True
    written = joined.encode()
    return len(written.translate(None, _CONTROLS)) != len(written)


def repair_unicode(text: str) -> str:
    """Mend text that was decoded wrongly, compose accents, and drop invisible controls."""
    if not text.isascii():
        text = ftfy.fix_text(text, _FTFY)
    return _INVISIBLE.sub("", text)


def may_need_whitespace(joined: str) -> bool:
    """Tell whether :func:`normalize_whitespace` can change one of some joined texts."""
    if may_need_unicode(joined):
        return True
    return any(pattern in joined for pattern in _UNEVEN) or joined != joined.strip(" \n")


def normalize_whitespace(text: str) -> str:
    """Make line ends and spaces uniform; indentation and fenced code blocks stay as they are."""
    if not may_need_whitespace(text):
        return text
    pieces = _FENCED.split(_LINE_ENDS.sub("\n", text))
    for index in range(0, len(pieces), 2):  # odd ones are code
        lines = (_SPACES.sub(" ", line).rstrip() for line in pieces[index].split("\n"))
        pieces[index] = _BLANK_LINES.sub("\n\n", "\n".join(lines))
    joined = "".join(pieces)
    return joined.strip() if len(pieces) == 1 else joined.strip("\n")
