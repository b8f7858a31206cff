"""Two texts word by word: what went in red, what came in green, as Markdown safe to show."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from fine_tuning.integration.app.common import plain

_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")
MOST_TOKENS = 4000
"""Pieces of a text up to which it is compared; of longer ones the beginning is."""


def word_diff(before: str, after: str) -> tuple[str, str]:
    """Return both texts as Markdown, with what differs on a red and a green ground."""
    one, other = _pieces(before), _pieces(after)
    left: list[str] = []
    right: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        gone, came = "".join(one[a:b]), "".join(other[c:d])
        left.append(plain(gone) if tag == "equal" else _marked(gone, "red"))
        right.append(plain(came) if tag == "equal" else _marked(came, "green"))
    return "".join(left), "".join(right)


def _pieces(text: str) -> list[str]:
    found = _TOKENS.findall(text)
    return [*found[:MOST_TOKENS], " …"] if len(found) > MOST_TOKENS else found


def _marked(text: str, colour: str) -> str:
    """Return a piece on a coloured ground, line by line; what is invisible gets a sign."""
    if not text:
        return ""
    lines = text.split("\n")
    shown = []
    for place, line in enumerate(lines):
        is_last = place == len(lines) - 1
        visible = line if line.strip() else line.replace(" ", "␣").replace("\t", "⇥")
        visible += "" if is_last else "↵"
        shown.append(f":{colour}-background[{plain(visible)}]" if visible else "")
    return "  \n".join(shown)
