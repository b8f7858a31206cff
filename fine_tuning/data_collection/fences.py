"""Code in Markdown: where blocks begin and end, and which lines are code without a fence.

A fence is three or more backticks or tildes at the beginning of a line, after at most three blanks,
list marks or quotation marks; as many of the same or more close it (CommonMark 0.31, section 4.5).
Models also nest fences of one length: where only that reading closes every block, it is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(
    r"^(?P<before>[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]*)*)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$",
    re.MULTILINE,
)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]", re.MULTILINE)
_MAX_BLANKS = 3
_INLINE = re.compile(r"(?<!`)(`{1,3})(?!`)([^\n]+?)(?<!`)\1(?!`)")
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*[\])}]+[,;]?\s*$|^\s*(?:def|class|elif|fn|func|public|private|static|"
    r"#include|#define|package|namespace|struct|enum|interface)\s+\w"
    r"|^\s*(?:from\s+[\w.]+\s+)?import\s+[\w{*.]+|^\s*(?:return|yield|raise|await)\b(?!.*[.?]$)"
    r"|^\s*(?:if|for|while|with|try|except|else|switch|case)\b[^.?!]*[:{]\s*$"
    r"|^\s*(?:const|let|var|int|char|float|double|bool|void|auto|string|String)\s+\W?\w+\s*[=;(\[]"
    r"|^\s*[\w.\[\]'\"]+(?:\s*,\s*\w+)*\s*(?:[-+*/|&%]?=|:=|<-)\s*\S"
    r"|^\s*[\w.:>-]+\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)\s*[;,:]?\s*(?:(?:#|//).*)?$"
    r"|^\s*(?:\$|>>>|PS>|C:\\>)\s+\S|^\s*</?[a-zA-Z][^<>\n]*>|^\s*(?://|/\*|--\s|#!)"
    r"|^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|FROM|WHERE|JOIN)\b(?=.*[A-Z_(*=;])"
    r"|^\s*(?:pass|break|continue|end|done|fi|true|false|null|None|NULL|NaN)\s*,?$"
    r"|^\s*@\w+(?:\(.*\))?\s*$|^\s*[\"'][\w-]+[\"']\s*:\s*\S"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, from its fence to the end of the closing one, and whether that is there.

    ``is_empty`` says that nothing stands behind an open fence, not even the name of a language.
    """

    start: int
    end: int
    is_closed: bool
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class _FenceLine:
    start: int
    end: int
    fence: str
    info: str

    def closes(self, opened: str) -> bool:
        return self.fence[0] == opened[0] and len(self.fence) >= len(opened) and not self.info


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a text in order; only the last one may be open."""
    if "```" not in text and "~~~" not in text:
        return []
    lines = _fence_lines(text)
    plain = _paired(text, lines, is_nesting=False)
    if not plain or plain[-1].is_closed:
        return plain
    nested = _paired(text, lines, is_nesting=True)
    return nested if nested[-1].is_closed else plain


def _fence_lines(text: str) -> list[_FenceLine]:
    lines = []
    for found in _FENCE.finditer(text):
        fence, info = found["fence"], found["info"].strip()
        before = found["before"]
        blanks = len(before.expandtabs(4)) if not before.strip() else 0
        if fence[0] == "`" and "`" in info:
            continue
        if blanks > _MAX_BLANKS and not _LIST_ITEM.search(text, 0, found.start()):
            continue
        lines.append(_FenceLine(found.start(), found.end(), fence, info))
    return lines


def _paired(text: str, lines: list[_FenceLine], *, is_nesting: bool) -> list[Block]:
    made: list[Block] = []
    opened: list[_FenceLine] = []
    for line in lines:
        if not opened:
            opened.append(line)
        elif line.closes(opened[-1].fence):
            first = opened.pop()
            if not opened:
                made.append(Block(first.start, line.end, is_closed=True))
        elif is_nesting and line.info:
            opened.append(line)
    if opened:
        first = opened[0]
        is_empty = not first.info and not text[first.end :].strip()
        made.append(Block(first.start, len(text), is_closed=False, is_empty=is_empty))
    return made


def without_code(text: str, instead: str = " ") -> str:
    """Return a text without its fenced blocks and inline code, for filters that look at prose.

    Args:
        text: Any text.
        instead: What stands where inline code stood; a block leaves an empty line.
    """
    if "`" not in text and "~~~" not in text:
        return text
    pieces, end = [], 0
    for block in blocks(text):
        pieces.append(text[end : block.start])
        end = block.end
    pieces.append(text[end:])
    return _INLINE.sub(lambda _: instead, "\n".join(pieces))


def is_code_line(line: str) -> bool:
    """Tell whether a line without a fence looks like code, markup, a command or data."""
    return bool(_CODE_LINE.search(line))
