"""Which stretches of a text are code, and whether a tag is written or written about.

Markup of other programs is looked for outside code only: in fences of any length, of backticks or
tildes, and in inline code, it is what the text is about.
"""

# ruff: noqa: RUF001 - marks are searched for in the letters in which they are written

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

CODE_RUN = r"`+|~{3,}"
"""Backticks or tildes, which may begin code."""
_CODE_RUN = re.compile(CODE_RUN)
_FENCE_CHARS = 3
_MOST_INLINE = 2000
_NEAR_CHARS = 48
_QUOTES = "\"'“”„‘’«»‹›「」『』《》`*"
_NAMING = (
    r"(?:tags?|tokens?|markers?|elements?|delimiters?|syntax|notation|format|wrappers?|sections?|"
    r"blocks?|markup|attributes?|marken?|blöcken?|balises?|jetons?|blocs?|etiquetas?|bloques?|"
    r"blocos?|etichett[ae]|blocch[io]|znacznik\w*|tagg\w*|тег\w*|токен\w*|блок\w*|"
    r"标签|標籤|标记|標記|タグ|トークン|태그|토큰|وسم|علامة|टैग|แท็ก)"
)
_NAMED_AFTER = re.compile(rf"[{_QUOTES})]*[ \-]{{1,2}}(?:\w+[ \-])?{_NAMING}(?!\w)")
_NAMED_AFTER_CJK = re.compile(
    rf"[{_QUOTES})]*[ \-]?(?:的|という)?(?:标签|標籤|标记|標記|タグ|トークン|태그|토큰)"
)
_NAMED_BEFORE = re.compile(
    rf"{_NAMING}(?: (?:called|named|like|such as|is|are|namens|wie|ist|comme|como))?"
    rf"[ :]*[{_QUOTES}(]*\Z",
    re.IGNORECASE,
)
_TOLD_BEFORE = re.compile(
    r"\b(?:use|uses|used|using|wrap|wraps|wrapped|put|puts|write|writes|emit|emits|between|inside|"
    r"within|in|with|after|before|enclose[sd]?|the|an?|of|format|called|named|until|zwischen|"
    r"innerhalb|mit|das|der|die|nach|vor|entre|dans|avec|la|le|les|el|con|в|между|после|внутри)"
    rf"[ :]*[{_QUOTES}(]*\Z",
    re.IGNORECASE,
)
_IS_TOPIC = re.compile(
    r" (?:is|are|was|means|marks|starts|ends|opens|closes|ist|sind|bedeutet|est|sont|es|son|это)\b"
)
_JOINING = re.compile(
    r"[\s,/]+(?:and|or|to|und|oder|bis|et|ou|à|y|o|e|a|i|и|или|до|و)[\s,/]+"
    r"|\s*(?:和|与|與|及|到|と|から|와|과|[,/….\-\u2013\u2014]+)\s*"
)
_STAND_IN = re.compile(
    r"\s*(?:\.{2,}|…|\(?(?:\.|\[[^\]]*\])[*+]\??\)?|\\s[*+]|\[[^\]]*\]|\{[^}]*\}|your .{1,40}|"
    r"(?:the )?(?:reasoning|thoughts?|content|text)(?: (?:here|process))?)\s*",
    re.IGNORECASE,
)


_FEW_WORDS = re.compile(r" [^\W\d_A-Z]{1,12}(?: [^\W\d_A-Z]{1,8})? ")
"""What joins two tags in a sentence: "writes <think> then </think>"."""


def code_end(text: str, start: int, end: int) -> int:
    """Return where the code ends that a run of backticks or tildes begins.

    Args:
        text: The whole text.
        start: Where the run begins.
        end: Where it ends; a fence that is never closed reaches to the end of the text, a run
            without its like in the paragraph is no code and ends here.
    """
    run = text[start:end]
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if len(run) >= _FENCE_CHARS and not line.strip(" \t>"):
        closing = re.compile(rf"^[ \t>]*{run[0]}{{{len(run)},}}[ \t]*$", re.MULTILINE)
        line_end = text.find("\n", end)
        ended = closing.search(text, line_end + 1) if line_end >= 0 else None
        return ended.end() if ended else len(text)
    if run[0] == "~":
        return end
    limit = min(len(text), end + _MOST_INLINE)
    paragraph = text.find("\n\n", end, limit)
    limit = paragraph if paragraph >= 0 else limit
    ended = re.compile(rf"(?<!`){run}(?!`)").search(text, end, limit)
    return ended.end() if ended else end


def code_spans(text: str, place: int = 0) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of code behind a place."""
    while found := _CODE_RUN.search(text, place):
        place = code_end(text, *found.span())
        if place > found.end():
            yield found.start(), place


def outside_code(text: str, edit: Callable[[str], str]) -> str:
    """Return a text with everything edited that is no code."""
    if "`" not in text and "~~~" not in text:
        return edit(text)
    pieces: list[str] = []
    place = 0
    for start, end in code_spans(text):
        pieces += [edit(text[place:start]), text[start:end]]
        place = end
    return "".join([*pieces, edit(text[place:])])


def begins_line(text: str, place: int) -> bool:
    """Tell whether only blanks stand before a place in its line."""
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()


def ends_line(text: str, place: int) -> bool:
    """Tell whether only blanks stand behind a place in its line."""
    end = text.find("\n", place)
    return not text[place : end if end >= 0 else len(text)].strip()


def is_named(text: str, start: int, end: int) -> bool:
    """Tell whether words around a tag speak of it: "the <think> tag", a tag in quotes."""
    before, after = text[max(0, start - _NEAR_CHARS) : start], text[end : end + _NEAR_CHARS]
    if before[-1:] and before[-1] in _QUOTES and after[:1] and after[0] in _QUOTES:
        return True
    before = before[before.rfind("\n") + 1 :]
    return bool(
        _NAMED_AFTER.match(after) or _NAMED_AFTER_CJK.match(after) or _NAMED_BEFORE.search(before)
    )


def is_spoken_of(text: str, start: int, end: int) -> bool:
    """Tell whether a sentence has a single tag as its object or subject: "ends with </think>"."""
    before = text[max(0, start - _NEAR_CHARS) : start]
    before = before[before.rfind("\n") + 1 :]
    is_subject = begins_line(text, start) and _IS_TOPIC.match(text, end)
    return bool(is_subject or _TOLD_BEFORE.search(before) or is_named(text, start, end))


def is_pair_spoken_of(text: str, opening: tuple[int, int], closing: tuple[int, int]) -> bool:
    """Tell whether a pair of tags is a topic: "between <think> and </think>"."""
    inner = text[opening[1] : closing[0]]
    is_line = begins_line(text, opening[0])
    if _JOINING.fullmatch(inner) or _STAND_IN.fullmatch(inner):
        return bool(text[: opening[0]].strip()) or not ends_line(text, closing[1])
    if is_named(text, *closing) or (not is_line and is_named(text, *opening)):
        return True
    if is_line:
        return bool(_NAMED_AFTER.match(text, opening[1])) and "\n" not in inner
    before = text[max(0, opening[0] - _NEAR_CHARS) : opening[0]]
    around = text[opening[0] - 1], text[closing[1] : closing[1] + 1] or " "
    is_quoted = all(mark in _QUOTES for mark in around)
    is_empty = not inner.strip() and "\n" not in inner
    is_told = _TOLD_BEFORE.search(before[before.rfind("\n") + 1 :])
    return is_quoted or is_empty or bool(is_told or _FEW_WORDS.fullmatch(inner))
