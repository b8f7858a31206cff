"""Finds replies that end too early: by the server's word, an open block, an open sentence."""

from __future__ import annotations

import re
import unicodedata

import re2

from fine_tuning.data_collection.fences import blocks, is_code_line

_CUT_REASONS = frozenset({"length", "max_tokens", "model_length"})
MIN_CUT_CHARS = 200
MIN_DENSE_CHARS = 80  # in scripts that say a word in one or two characters
_END_CHARS = 12
_MAX_SHORT_LINE_CHARS = 40  # a name, a title, a signature on a line of its own
_MIN_SENTENCES = 2
_END_MARKS = frozenset(
    ".!?:;)]}\"'`*_>|~=$%\u2026\u201d\u201c\u2019\u00bb\u3002\uff01\uff1f\uff1b\uff1a\uff09\u300d\u300f\u3011"
    "\u300b\u061f\u061b\u06d4\u0964\u0965\u0589\u1362\u104b\u17d4\uff5e\u301c"
)
_BLANKS = "\t\n\f\r "
_ASCII_SENTENCE_END = re.compile(r"[.!?](?:[\t\n\f\r ]|\Z)")
_SENTENCE_END = re2.compile(r"[.!?](?:\s|$)|[\x{3002}\x{ff01}\x{ff1f}\x{61f}\x{6d4}\x{964}]")
_DENSE = re2.compile(r"[\x{3040}-\x{30ff}\x{3400}-\x{9fff}]")
_DENSE_TAIL = re.compile(
    r"[\u3002\uff01\uff1f.!?]\s*[\u3040-\u30ff\u3400-\u9fff]{1,6}(?:\u3001[\u3400-\u9fff]{1,4})?$"
)
_GOES_ON = re.compile(
    r"[\u306f\u304c\u3092\u306b\u3067\u3068\u306e\u3066\u3082\u3078\u7684\u548c\u662f\u5728\u628a\u4e0e\u4eec]$"
    r"|\u7136\u540e|\u56e0\u4e3a|\u4f46\u662f|\u6240\u4ee5|\u800c\u4e14|\u5982\u679c"
)
_UNPUNCTUATED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]\W*$")
_LIST_LINE = re2.compile(r"^\s*(?:[-*+#>|\x{2022}\x{2013}\x{2014}]|\d+[.)\x{3001}]|\$|    |\t)")
_WHOLE_END = re.compile(
    r"(?:https?://|www\.|[\w.+-]+@)\S*$|[/\\]\S+$|\S*\w\.\w+$|\d\S{0,3}$|[=^\\<>]\s*\S+$"
    r"|(?:=|\u2248)[^.!?]*$"
)
_CAPITAL = re.compile(r"(?:^|\s)(\w)\w*\W*$")
_OPEN_MARKS = ",-(\u060c\uff0c\u3001\uff08"


def cut_off(text: str, finish_reason: str = "") -> str | None:
    """Return why a reply looks cut off, or None.

    The server said so, a code block is open, or prose of 200 characters and two sentences ends
    without a sign of an end. Lists, headings, verses, code, tables and short or unpunctuated chat
    are left alone, and so is what ends with a name, a number, an address or a formula.

    Args:
        text: The reply.
        finish_reason: Why the server stopped, in its words; "" if it did not say.
    """
    if finish_reason.lower() in _CUT_REASONS:
        return f"the server ended it: {finish_reason}"
    found = blocks(text)
    if found and not found[-1].is_closed and not found[-1].is_empty:
        return "a code block is open at its end"
    if found and not text[found[-1].end :].strip():
        return None
    is_whole = len(text) < MIN_DENSE_CHARS or _is_ended(text)
    return None if is_whole else _open_end(text)


def _open_end(text: str) -> str | None:
    """Return how prose ends that has no sign of an end, unless its writer ends no line with one."""
    is_ascii = text.isascii()
    if len(text) < MIN_CUT_CHARS and (is_ascii or 3 * len(_DENSE.findall(text)) < len(text)):
        return None
    stripped = text.rstrip()
    last = stripped[-1]
    is_open = last in _OPEN_MARKS
    if not (is_open or last.isalnum() or unicodedata.category(last).startswith("M")):
        return None
    sentence_end = _ASCII_SENTENCE_END if is_ascii else _SENTENCE_END
    if len(sentence_end.findall(text)) < _MIN_SENTENCES or not _ends_open(stripped):
        return None
    last_line = stripped.rpartition("\n")[2]
    if _is_no_prose(last_line) or (not is_open and _ends_whole(last_line)):
        return None
    return f"it ends with {last_line[-40:]!r}"


def _ends_open(text: str) -> bool:
    """Tell whether only the last line has no sign of an end, and is no name or title."""
    *lines, last_line = text.split("\n")
    if any(line.strip() and not _is_ended(line) for line in lines):
        return False
    return not lines or len(last_line) > _MAX_SHORT_LINE_CHARS or last_line[-1:] in _OPEN_MARKS


def _is_ended(line: str) -> bool:
    return line[-_END_CHARS:].rstrip(_BLANKS)[-1:] in _END_MARKS


def _is_no_prose(line: str) -> bool:
    return bool(_LIST_LINE.search(line)) or is_code_line(line) or "\t" in line or " | " in line


def _ends_whole(line: str) -> bool:
    """Tell whether a line without a full stop may be whole: it ends with a name or a number."""
    if _UNPUNCTUATED.search(line) or _WHOLE_END.search(line):
        return True
    if _DENSE_TAIL.search(line) and not _GOES_ON.search(line):
        return True
    found = _CAPITAL.search(line)
    return bool(found and found[1].isupper())
