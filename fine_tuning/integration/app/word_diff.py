"""Two texts word by word: what went in red, what came in green, as Markdown safe to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from fine_tuning.integration.app.formatting import plain

_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")
Code = tuple[str, int, int, int, int]
Span = tuple[bool, int, int, int, int]
"""Whether two spans are equal, and where each begins and ends."""
MOST_TOKENS = 4000
"""Pieces of a text up to which it is compared; of longer ones the beginning is."""


def word_diff(before: str, after: str, *, is_prose: bool = False) -> tuple[str, str]:
    """Return both texts as Markdown, with what differs on a red and a green ground.

    Args:
        before: A text.
        after: Another.
        is_prose: Words matter, blanks do not: changed words in a row are marked as one, and line
            breaks get no sign.
    """
    one, other = _pieces(before), _pieces(after)
    codes = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    left: list[str] = []
    right: list[str] = []
    for is_equal, a, b, c, d in _joined(codes, one) if is_prose else _told_apart(codes):
        gone, came = "".join(one[a:b]), "".join(other[c:d])
        left.append(plain(gone) if is_equal else _marked(gone, "red", is_prose=is_prose))
        right.append(plain(came) if is_equal else _marked(came, "green", is_prose=is_prose))
    return "".join(left), "".join(right)


def _told_apart(codes: Sequence[Code]) -> list[Span]:
    return [(tag == "equal", a, b, c, d) for tag, a, b, c, d in codes]


def _joined(codes: Sequence[Code], pieces: Sequence[str]) -> list[Span]:
    """Return spans in which blanks between two changes belong to them."""
    spans: list[Span] = []
    for place, (tag, a, b, c, d) in enumerate(codes):
        is_between = 0 < place < len(codes) - 1 and not "".join(pieces[a:b]).strip()
        is_equal = tag == "equal" and not is_between
        if spans and not is_equal and not spans[-1][0]:
            _, first_a, _, first_c, _ = spans.pop()
            spans.append((False, first_a, b, first_c, d))
        else:
            spans.append((is_equal, a, b, c, d))
    return spans


def _pieces(text: str) -> list[str]:
    found = _TOKENS.findall(text)
    return [*found[:MOST_TOKENS], " …"] if len(found) > MOST_TOKENS else found


def _marked(text: str, colour: str, *, is_prose: bool) -> str:
    """Return a piece on a coloured ground, line by line; what is invisible gets a sign."""
    if not text:
        return ""
    if is_prose:
        grounds = [
            line.strip() and f":{colour}-background[{plain(line)}]" for line in text.split("\n")
        ]
        return "  \n".join(grounds) if text.strip() else plain(text)
    lines = text.split("\n")
    shown = []
    for place, line in enumerate(lines):
        is_last = place == len(lines) - 1
        visible = line if line.strip() else line.replace(" ", "␣").replace("\t", "⇥")
        visible += "" if is_last else "↵"
        shown.append(f":{colour}-background[{plain(visible)}]" if visible else "")
    return "  \n".join(shown)
