"""The words of an exchange as near duplicates are compared by: what may differ, and what may not.

Plain text is read without the patterns of links, symbols and other scripts, which are slow.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import re2

from fine_tuning.data_collection.near_duplicate_words import FILLERS, WRAPPINGS

_STOPS = ".!?\u3002\uff01\uff1f" + r"\n"
_SENTENCE_START = f"(?:^|(?<=[{_STOPS}] )|(?<=[{_STOPS}]))"
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.M | re.S)
_INLINE = re.compile(r"(`+)(?!`)([^`\n]+)\1(?!`)")
_QUOTED = re.compile(
    r"(?<!\w)['\u2018\u201a]([^'\u2018\u2019\n]{1,60})['\u2018\u2019](?!\w)"
    r"|[\"\u201c\u201e]([^\"\u201c\u201d\u201e\n]{1,60})[\"\u201c\u201d]"
    r"|[\u00ab\u2039]([^\u00bb\n]{1,60})[\u00bb\u203a]|[\u300c\u300e]([^\u300d\n]{1,40})[\u300d\u300f]"
)
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_PHRASES = "|".join(
    sorted(
        (word for name in ("zh", "ja", "th") for word in FILLERS[name] if len(word) > 1),
        key=len,
        reverse=True,
    )
)
_TOKEN = re.compile(
    rf"(?P<link>https?://[^\s{_UNSPACED}]+|[\w.+-]+@[\w-]+\.[\w.]+|<[A-Z]+_\d+>)"
    r"|(?P<number>[-\u2212+]?\d+(?:[.,:/]\d+)*)"
    rf"|(?P<char>{_PHRASES}|[{_UNSPACED}][\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*)"
    rf"|(?P<word>(?:(?![{_UNSPACED}])[^\W\d_][\u0300-\u036f\u0900-\u0963\u0970-\u0dff\u0610-\u061a\u064b-\u065f"
    r"\u0670]*|_|\d)+(?:\+\+|#(?!\w))?)"
    r"|(?P<symbol>[%$\u20ac\u00a3\u00a5=<>^*/+\u00d7\u00f7\u00b1\u2260\u2264\u2265\u2212&|\\~]"
    r"|(?<= )-(?= ?\d))"
    r"|(?P<picture>[\U0001f000-\U0001faff\u2600-\u27bf])"
)
_ASCII_TOKEN = re.compile(  # says the same of plain text, much faster
    r"(?P<link>https?://\S+|[\w.+-]+@[\w-]+\.[\w.]+|<[A-Z]+_\d+>)"
    r"|(?P<number>[-+]?\d+(?:[.,:/]\d+)*)"
    r"|(?P<word>\w+(?:\+\+|#(?!\w))?)"
    r"|(?P<symbol>[%$=<>^*/+&|\\~]|(?<= )-(?= ?\d))"
)
_SPECIAL = re.compile(r"[^A-Za-z\s.,;:!?()'-]|(?<!\w)'|[+#@]")
_PLAIN_WORD = re.compile(r"([.!?:][^\w\n])?([A-Za-z]+)")
_MARKED = re.compile(r"[`*_~+#@<>]|://")
_PLAIN_KEY = re.compile(r"-?\d+(?:[.,:/]\d+)*|\w+|[%$=^/&|\\]|(?<= )-(?= \d)")
_SENTENCE_ENDS = frozenset(".!?:")
_FIXED_KINDS = frozenset({"link", "number", "symbol"})
_CODE_TOKEN = re.compile(r"\w+|[^\w\s]")
_LIST_MARK = re.compile(r"(?m)^[ \t]*(?:[-*+\u2022][ \t]+|\d{1,2}[.)][ \t]+|#{1,6}[ \t]+|>[ \t]+)")
_EMPHASIS = re.compile(
    r"\*{1,3}(?=\S)([^*\n]+)(?<=\S)\*{1,3}|(?<!\w)_{1,2}(?=\S)([^_\n]+)_{1,2}(?!\w)"
)
_NOT = re.compile(r"(?i)\b(?:(ca|wo|sha)n['\u2019]t|(\w+)n['\u2019]t|(can)not)\b")
_ROOMY = re2.Options()
_ROOMY.max_mem = 1 << 26
_MAY_BE_WRAPPED = re2.compile(  # of ASCII text it says the same, much faster
    WRAPPINGS.pattern.replace(_SENTENCE_START, r"(?:^|[.!?\n] ?)"), _ROOMY
)
_MAY_NOT = re.compile(r"n['\u2019]t|annot|ANNOT|N['\u2019]T")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARABIC = str.maketrans(
    {"\u0623": "\u0627", "\u0625": "\u0627", "\u0622": "\u0627", "\u0649": "\u064a",
     "\u0629": "\u0647", "\u0640": None}
)  # fmt: skip
"""Forms of alef, yeh and teh marbuta that people exchange, and the stretching mark."""
_ARABIC_MARKS = re.compile("[\u064b-\u065f\u0670]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe0f\ufeff\u202a-\u202e\u2066-\u2069]")


class Token(NamedTuple):
    """A word, number, character or symbol: how it is compared, and whether it may differ."""

    key: str
    is_fixed: bool = False
    is_name: bool = False


_LINE_END = Token("\n")


def exchange_tokens(text: str) -> tuple[list[Token], list[Token]]:
    """Return the tokens of the first line, the question, and of the rest."""
    plain = text
    if not text.isascii():
        plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    tokens = _read(plain.replace("\r\n", "\n"))
    if _LINE_END not in tokens:
        return tokens, []
    end = tokens.index(_LINE_END)
    return tokens[:end], [token for token in tokens[end:] if token.key != "\n"]


def plain_keys(text: str) -> list[str] | None:
    """Return the keys of a text without code, links and emphasis, much faster; None for others.

    They tell that two texts say the same but for case, punctuation and white space; of those they
    do not, wrappings and marks of lists may still be all that differs.
    """
    if not text.isascii() or _MARKED.search(text):
        return None
    return _PLAIN_KEY.findall(text.casefold())


def _read(text: str) -> list[Token]:
    tokens: list[Token] = []
    end = 0
    for block in _FENCED.finditer(text) if "```" in text or "~~~" in text else ():
        _read_prose(text[end : block.start()], tokens)
        tokens += [Token(code, is_fixed=True) for code in _CODE_TOKEN.findall(block[2])]
        end = block.end()
    _read_prose(text[end:], tokens)
    return tokens


def _read_prose(text: str, tokens: list[Token]) -> None:
    text = _LIST_MARK.sub("", text)
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub(r"\1\2", text)
    if not text.isascii() or _MAY_BE_WRAPPED.search(text):
        text = WRAPPINGS.sub(_line_ends, text)
    if ("'" in text or "\u2019" in text or "nnot" in text.lower()) and _MAY_NOT.search(text):
        text = _NOT.sub(_spelled_out, text)
    end = 0
    for code in _INLINE.finditer(text) if "`" in text else ():
        _read_lines(text[end : code.start()], tokens)
        tokens += [Token(part, is_fixed=True) for part in _CODE_TOKEN.findall(code[2])]
        end = code.end()
    _read_lines(text[end:], tokens)


def _read_lines(text: str, tokens: list[Token]) -> None:
    """Read the words line by line: no token and no quotation reaches over the end of one."""
    for number, line in enumerate(text.split("\n")):
        if number:
            tokens.append(_LINE_END)
        if line.isascii() and not _SPECIAL.search(line):
            _read_plain_words(line, tokens)
        elif line:
            _read_words(line, tokens)


def _line_ends(wrapping: re.Match[str]) -> str:
    return "\n" * wrapping[0].count("\n") or " "


def _spelled_out(word: re.Match[str]) -> str:
    stem = {"ca": "can", "wo": "will", "sha": "shall"}.get((word[1] or "").lower(), word[1])
    return f"{stem or word[2] or word[3]} not"


def _read_words(text: str, tokens: list[Token]) -> None:
    if "," in text:
        text = _THOUSANDS.sub("", text)
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    span, is_first = 0, True
    for match in (_ASCII_TOKEN if text.isascii() else _TOKEN).finditer(text):
        start = match.start()
        while span < len(quoted) and quoted[span][1] <= start:
            span += 1
        is_quoted = span < len(quoted) and quoted[span][0] <= start
        kind, written = match.lastgroup, match[0]
        if kind == "picture":
            continue
        is_first = is_first or text[start - 2 : start][:1] in _SENTENCE_ENDS
        is_name = kind == "word" and not is_first and written[:1].isupper()
        is_fixed = is_quoted or kind in _FIXED_KINDS
        tokens.append(_token(written, is_fixed=is_fixed, is_name=is_name))
        is_first = False


@lru_cache(1 << 16)
def _token(written: str, *, is_fixed: bool, is_name: bool) -> Token:
    return Token(_key(written), is_fixed=is_fixed or _is_code_like(written), is_name=is_name)


def _read_plain_words(text: str, tokens: list[Token]) -> None:
    """Read a line of letters and punctuation alone, as :func:`_read_words` does, much faster."""
    is_first = True
    for ended, word in _PLAIN_WORD.findall(text):
        tokens.append(_plain_token(word, is_first=is_first or bool(ended)))
        is_first = False


@lru_cache(1 << 16)
def _plain_token(word: str, *, is_first: bool) -> Token:
    return Token(word.casefold(), is_name=not is_first and word[0].isupper())


def _is_code_like(word: str) -> bool:
    return "_" in word or any(map(str.isdigit, word)) or word.endswith(("+", "#"))


def _key(written: str) -> str:
    key = written.casefold()
    if key.isascii():
        return key
    key = _ARABIC_MARKS.sub("", key.translate(_ARABIC))
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in key)
