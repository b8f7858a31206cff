"""Mends the letters of a text and its spaces; drops nothing and removes no words.

A text is content: tabs of a table, indentation, what stands in a code block, aligned columns, line
breaks of Markdown, wide characters, joiners of emoji and of Indic and Persian script, marks of
direction, and wrongly decoded letters that are the topic all stay. Each repair has a cheap test
beside it that tells, for many texts joined by :data:`SEPARATOR`, whether any of them can need it:
most text people type needs none.
"""

from __future__ import annotations

import re

import re2

from fine_tuning.data_collection.fences import blocks, is_code_line
from fine_tuning.data_collection.letter_repair import mend_letters

SEPARATOR = "\x00"
"""Stands between joined texts; a control character, so that no repair lets it pass."""

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = bytes([*range(1, 9), *range(0x0E, 0x20), 0x7F])
_BLANK = "[ \u00a0]"
_RUN = re.compile(rf"(?<=[^\s]){_BLANK}*\t?{_BLANK}+(?=\S)")
_DOUBLE = re.compile(rf"\S{_BLANK}{{2,}}\S|\S{_BLANK}+\t|\t{_BLANK}+\S")
_LONG_RUN = re.compile(rf"\S{_BLANK}{{3,}}\S")
_KEPT = re.compile(r"(`[^`\n]+`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|\u201c[^\u201d\n]*\u201d)")
_AFTER_SENTENCE = re.compile(rf"[.!?:;,]{_BLANK}{{2,}}\S")
_LAYOUT = re.compile(r"[|\u2500-\u259f\u2580-\u25ff]|[-=_~.]{4,}|[/\\]_|_[/\\]")
_TAB_CELLS = re.compile(r"(?:^|[^ \u00a0\t\n])\t+(?=[^ \u00a0\n]|$)", re.MULTILINE)
_TRAILING = re.compile(r"[ \t\u00a0\u200a]+$")
_BREAK = "  "
_EDGE_BLANKS = " \t\u00a0"
_FENCES = ("```", "~~~")
_MIN_CODE_INDENT, _MIN_INDENT = 4, 2
_CAN_CHANGE = re2.compile(
    r"[^\s](?:[ \x{a0}]{2}|[ \t\x{a0}]*\t)|[ \t\x{a0}\x{200a}](?:\n|$)|^\s"
    r"|\n[ \t\x{a0}]*\n[ \t\x{a0}]*\n"
    r"|[\r\x0b\x0c\x{85}\x{a0}\x{2028}\x{2029}]"
)
_EDGES = tuple(pair for blank in " \n" for pair in (f"{blank}{SEPARATOR}", f"{SEPARATOR}{blank}"))
_UNEVEN = ("  ", "\t", "\r", " \n", "\n\n\n", "\x0b", "\x0c", *_EDGES)


def may_need_unicode(joined: str) -> bool:
    """Tell whether :func:`repair_unicode` can change one of some joined texts."""
    if not joined.isascii():
        return True
    written = joined.encode()
    return len(written.translate(None, _CONTROLS)) != len(written)


def repair_unicode(text: str) -> str:
    """Mend text that was decoded wrongly, compose accents, and drop invisible controls."""
    return mend_letters(text)


def may_need_whitespace(joined: str) -> bool:
    """Tell whether :func:`normalize_whitespace` can change one of some joined texts."""
    if may_need_unicode(joined):
        return True
    return any(pattern in joined for pattern in _UNEVEN) or joined != joined.strip(" \n")


def normalize_whitespace(text: str) -> str:
    """Make line ends and the blanks of prose uniform; code, tables and layout stay as they are."""
    if not _CAN_CHANGE.search(text) and text == text.strip(" \n\u00a0"):
        return text
    text = _LINE_ENDS.sub("\n", text)
    while (evened := _evened(text)) != text:  # each round only takes blanks away
        text = evened
    return text


def _evened(text: str) -> str:
    text = _without_edges(text)
    if not _CAN_CHANGE.search(text):
        return text
    pieces: list[str] = []
    end = 0
    for block in blocks(text):
        pieces += (_even(text[end : block.start]), text[block.start : block.end])
        end = block.end
    pieces.append(_even(text[end:]))
    return "".join(pieces)


def _without_edges(text: str) -> str:
    """Strip a text; its first line's indentation stays where it is code's."""
    lines = text.split("\n")
    while len(lines) > 1 and not lines[-1].strip(_EDGE_BLANKS):
        del lines[-1]
    while len(lines) > 1 and not lines[0].strip(_EDGE_BLANKS):
        del lines[0]
    lines[-1] = lines[-1].rstrip(" \u00a0")
    first = lines[0]
    indent = len(first) - len(first.lstrip(" \u00a0"))
    if indent and not _is_indented(indent, first, lines[1:]):
        lines[0] = first.lstrip(" \u00a0")
    return "\n".join(lines) if "".join(lines).strip(_EDGE_BLANKS) else ""


def _is_indented(indent: int, first: str, rest: list[str]) -> bool:
    """Tell whether the blanks before a first line are meant."""
    if indent >= _MIN_CODE_INDENT or is_code_line(first) or first.lstrip().startswith(_FENCES):
        return True
    return indent >= _MIN_INDENT and any(line.startswith((_BREAK, "\t")) for line in rest)


def _even(text: str) -> str:
    """Return prose with even blanks: one between words, one empty line between paragraphs."""
    lines = text.split("\n")
    is_tabbed = "\t" in text and len(_TAB_CELLS.findall(text)) > 0
    is_wide = [bool(_DOUBLE.search(line)) or bool(_LAYOUT.search(line)) for line in lines]
    done: list[str] = []
    for number, line in enumerate(lines):
        is_among_wide = any(is_wide[max(0, number - 1) : number]) or any(
            is_wide[number + 1 : number + 2]
        )
        if is_tabbed and "\t" in line:
            done.append(line)
            continue
        following = lines[number + 1] if number + 1 < len(lines) else ""
        kept = line if is_among_wide and is_wide[number] else _even_line(line)
        done.append(_trimmed(kept, following))
    return "\n".join(_parted(done))


def _even_line(line: str) -> str:
    if "\u00a0" in line and _BREAK not in line.strip():
        line = line.replace("\u00a0", " ")
    if not _DOUBLE.search(line):
        return line
    others = len(_DOUBLE.findall(line)) - len(_AFTER_SENTENCE.findall(line))
    is_layout = _LONG_RUN.search(line) or _LAYOUT.search(line) or is_code_line(line)
    if is_layout or (others > len("ab") and "\t" not in line):
        return line
    pieces = _KEPT.split(line)
    pieces[::2] = [_RUN.sub(" ", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _trimmed(line: str, following: str) -> str:
    """Return a line without blanks at its end, but for those that break a line in Markdown."""
    stripped = _TRAILING.sub("", line)
    if not stripped:
        return ""
    is_break = line.endswith(_BREAK) and following.strip()
    return line if is_break else stripped


def _parted(lines: list[str]) -> list[str]:
    """Return lines with one empty line for several between paragraphs; code keeps all of them."""
    kept: list[str] = []
    for number, line in enumerate(lines):
        if line or len(kept) < len("ab") or kept[-1] or number == len(lines) - 1:
            kept.append(line)
            continue
        before = next((other for other in reversed(kept) if other), "")
        after = next((other for other in lines[number:] if other), "")
        if any(other.startswith((" ", "\t")) or is_code_line(other) for other in (before, after)):
            kept.append(line)
    return kept
