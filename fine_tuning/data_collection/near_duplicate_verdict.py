"""Tells whether two texts that share most of their words say the same.

Word triples propose pairs, and templates share nearly all of theirs: "Translate 'cat' to French"
and "Translate 'dog' to French" are two lessons. So what two texts do not share decides. Case,
punctuation, white space, fillers, greetings, slips of the keyboard, synonyms and inflected forms
change nothing. Numbers, names, code, quoted words, negations and any other word of a question do.
In a long reply to the same question a few other words may differ. Where it is in doubt, two texts
are not the same: an example too many costs less than one that is lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

from fine_tuning.data_collection.near_duplicate_words import (
    CONFUSABLE,
    FACTS,
    FILLERS,
    LOOKS_AT_LETTERS,
    LOOKS_AT_WORDS,
    POLITE,
    SYNONYMS,
    WRAPPINGS,
)

MIN_TOLERANT_WORDS = 30  # other words than fillers, in a reply that may differ in a few
MAX_CHANGED_SHARE = 0.05
MIN_SLIP_CHARS = 5
MIN_NAME_SLIP_CHARS = 6
MIN_STEM_CHARS = 4
MAX_ALIGNED_TOKENS = 4000
_MAX_SLIPS_SHARE = 0.1
_MIN_ACCENTED = 2

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
    rf"|(?P<word>(?:(?![{_UNSPACED}])[^\W\d_][\u0300-\u036f\u0900-\u0dff\u0610-\u061a\u064b-\u065f"
    r"\u0670]*|_|\d)+(?:\+\+|#(?!\w))?)"
    r"|(?P<line>\n)"
    r"|(?P<symbol>[%$\u20ac\u00a3\u00a5=<>^*/+\u00d7\u00f7\u00b1\u2260\u2264\u2265\u2212&|\\~]"
    r"|(?<= )-(?= ?\d))"
    r"|(?P<picture>[\U0001f000-\U0001faff\u2600-\u27bf])"
)
_ASCII_TOKEN = re.compile(  # says the same of plain text, much faster
    r"(?P<link>https?://\S+|[\w.+-]+@[\w-]+\.[\w.]+|<[A-Z]+_\d+>)"
    r"|(?P<number>[-+]?\d+(?:[.,:/]\d+)*)"
    r"|(?P<word>\w+(?:\+\+|#(?!\w))?)"
    r"|(?P<line>\n)"
    r"|(?P<symbol>[%$=<>^*/+&|\\~]|(?<= )-(?= ?\d))"
)
_SPECIAL = re.compile(r"[^A-Za-z\s.,;:!?()'-]|(?<!\w)'|[+#@]")
_PLAIN_WORD = re.compile(r"([.!?:][^\w\n])?([A-Za-z]+)|\n")
_CODE_TOKEN = re.compile(r"\w+|[^\w\s]")
_LIST_MARK = re.compile(r"(?m)^[ \t]*(?:[-*+\u2022][ \t]+|\d{1,2}[.)][ \t]+|#{1,6}[ \t]+|>[ \t]+)")
_EMPHASIS = re.compile(
    r"\*{1,3}(?=\S)([^*\n]+)(?<=\S)\*{1,3}|(?<!\w)_{1,2}(?=\S)([^_\n]+)_{1,2}(?!\w)"
)
_NOT = re.compile(r"(?i)\b(?:(ca|wo|sha)n['\u2019]t|(\w+)n['\u2019]t|(can)not)\b")
_MAY_NOT = re.compile(r"n['\u2019]t|annot|ANNOT|N['\u2019]T")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARABIC = str.maketrans(
    {"\u0623": "\u0627", "\u0625": "\u0627", "\u0622": "\u0627", "\u0649": "\u064a",
     "\u0629": "\u0647", "\u0640": None}
)  # fmt: skip
"""Forms of alef, yeh and teh marbuta that people exchange, and the stretching mark."""
_ARABIC_MARKS = re.compile("[\u064b-\u065f\u0670]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe0f\ufeff\u202a-\u202e\u2066-\u2069]")
_ENDINGS = frozenset({"", "s", "es", "ed", "d", "ing"})
_NEIGHBOURS = {
    frozenset(pair)
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
    for pair in pairwise(row)
}


class _Token(NamedTuple):
    """A word, number, character or symbol: how it is compared, and whether it may differ."""

    key: str
    is_fixed: bool = False
    is_name: bool = False


_LINE_END = _Token("\n")


def is_same_in_substance(first: str, second: str) -> bool:
    """Tell whether two exchanges, question and reply as one text each, teach the same.

    Args:
        first: The question, a line end, and the reply.
        second: Those of the other exchange; the order of the two makes no difference.

    Returns:
        True if what differs changes nothing: see the module. Unequal texts without a word are not
        the same.
    """
    if first.split() == second.split():
        return True
    asked = f"{_question(first)}\n{_question(second)}"
    if LOOKS_AT_LETTERS.search(asked):
        return False
    one, other = _tokens(first), _tokens(second)
    keys, others = _keys(one), _keys(other)
    if not keys or not others or keys == others:
        return bool(keys) and keys == others
    if LOOKS_AT_WORDS.search(asked):
        return _differs_in(keys, others) <= POLITE
    fillers = _fillers(keys + others)
    is_same_question = _is_same_question(one[0], other[0], fillers)
    return is_same_question and _is_same_reply(one[1], other[1], fillers)


def _keys(exchange: tuple[list[_Token], list[_Token]]) -> list[str]:
    return [token.key for half in exchange for token in half]


def _question(text: str) -> str:
    return text.partition("\n")[0]


def _differs_in(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """Return what stands in one sequence only; everything, where the order differs."""
    changed: set[str] = set()
    for tag, a, b, c, d in _opcodes(one, other):
        if tag != "equal":
            changed.update(one[a:b], other[c:d])
    return changed


def _opcodes(one: Sequence[str], other: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, one, other, autojunk=False).get_opcodes()


def _tokens(text: str) -> tuple[list[_Token], list[_Token]]:
    """Return the tokens of the first line, the question, and of the rest."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("\r\n", "\n")
    question, reply = list[_Token](), list[_Token]()
    target = question
    for token in _read(plain):
        if token.key == "\n":
            target = reply
        else:
            target.append(token)
    return question, reply


def _read(text: str) -> Iterator[_Token]:
    end = 0
    for block in _FENCED.finditer(text):
        yield from _prose(text[end : block.start()])
        yield from (_Token(code, is_fixed=True) for code in _CODE_TOKEN.findall(block[2]))
        end = block.end()
    yield from _prose(text[end:])


def _prose(text: str) -> Iterator[_Token]:
    text = _LIST_MARK.sub("", text)
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub(r"\1\2", text)
    text = WRAPPINGS.sub(_line_ends, text)
    if _MAY_NOT.search(text):
        text = _NOT.sub(_spelled_out, text)
    end = 0
    for code in _INLINE.finditer(text):
        yield from _words(text[end : code.start()])
        yield from (_Token(part, is_fixed=True) for part in _CODE_TOKEN.findall(code[2]))
        end = code.end()
    yield from _words(text[end:])


def _line_ends(wrapping: re.Match[str]) -> str:
    return "\n" * wrapping[0].count("\n") or " "


def _spelled_out(word: re.Match[str]) -> str:
    stem = {"ca": "can", "wo": "will", "sha": "shall"}.get((word[1] or "").lower(), word[1])
    return f"{stem or word[2] or word[3]} not"


def _words(text: str) -> Iterator[_Token]:
    if text.isascii() and not _SPECIAL.search(text):
        yield from _plain_words(text)
        return
    text = _THOUSANDS.sub("", text)
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    span, is_first = 0, True
    for match in (_ASCII_TOKEN if text.isascii() else _TOKEN).finditer(text):
        while span < len(quoted) and quoted[span][1] <= match.start():
            span += 1
        is_quoted = span < len(quoted) and quoted[span][0] <= match.start()
        kind, written = match.lastgroup, match[0]
        if kind == "line":
            is_first = True
            yield _Token("\n")
            continue
        if kind == "picture":
            continue
        before = text[match.start() - 2 : match.start()]
        is_first = is_first or before[:1] in {".", "!", "?", ":"}
        is_name = kind == "word" and not is_first and written[:1].isupper()
        is_fixed = is_quoted or kind in {"link", "number", "symbol"} or _is_code_like(written)
        yield _Token(_key(written), is_fixed=is_fixed, is_name=is_name)
        is_first = False


def _plain_words(text: str) -> Iterator[_Token]:
    """Yield the tokens of letters and punctuation alone, as :func:`_words` does, much faster."""
    is_first = True
    for ended, word in _PLAIN_WORD.findall(text):
        if not word:
            is_first = True
            yield _LINE_END
            continue
        is_name = not (is_first or ended) and word[0].isupper()
        yield _Token(word.casefold(), is_name=is_name)
        is_first = False


def _is_code_like(word: str) -> bool:
    return "_" in word or any(map(str.isdigit, word)) or word.endswith(("+", "#"))


def _key(written: str) -> str:
    key = written.casefold()
    if key.isascii():
        return key
    key = _ARABIC_MARKS.sub("", key.translate(_ARABIC))
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in key)


def _fillers(keys: Sequence[str]) -> frozenset[str]:
    """Return the fillers of the language that most of the words are fillers of."""
    counts = Counter(keys)
    votes = {
        name: sum(number for key, number in counts.items() if key in words)
        for name, words in FILLERS.items()
    }
    return FILLERS[max(votes, key=lambda name: votes[name])] | POLITE


def _is_same_question(
    one: Sequence[_Token], other: Sequence[_Token], fillers: frozenset[str]
) -> bool:
    changes = _changes(one, other, fillers)
    return not changes or _is_moved_clause(one, other, fillers)


def _is_moved_clause(
    one: Sequence[_Token], other: Sequence[_Token], fillers: frozenset[str]
) -> bool:
    """Tell whether "In Python, how ...?" became "How ... in Python?"."""
    keys, others = [t.key for t in one], [t.key for t in other]
    if len(keys) != len(others):
        return False
    for front, back in ((keys, others), (others, keys)):
        for size in range(2, min(6, len(front) // 2 + 1)):
            is_clause = front[0] in fillers
            if is_clause and front[size:] + front[:size] == back:
                return True
    return False


def _is_same_reply(one: Sequence[_Token], other: Sequence[_Token], fillers: frozenset[str]) -> bool:
    if max(len(one), len(other)) > MAX_ALIGNED_TOKENS:
        return [t.key for t in one if t.key not in fillers] == [
            t.key for t in other if t.key not in fillers
        ]
    changes = _changes(one, other, fillers)
    if not changes:
        return True
    words = min(sum(t.key not in fillers for t in side) for side in (one, other))
    changed = max(sum(len(side) for side in sides) for sides in zip(*changes, strict=True))
    is_few = words >= MIN_TOLERANT_WORDS and changed <= MAX_CHANGED_SHARE * words
    return is_few and not any(_matters(token) for sides in changes for s in sides for token in s)


def _matters(token: _Token) -> bool:
    return token.is_fixed or token.is_name or token.key in FACTS


_Change = tuple[list[_Token], list[_Token]]


def _changes(
    one: Sequence[_Token], other: Sequence[_Token], fillers: frozenset[str]
) -> list[_Change]:
    """Return what differs in two sequences, less what changes nothing."""
    changes: list[_Change] = []
    slips = 0
    counts = Counter(t.key for t in one), Counter(t.key for t in other)
    for tag, a, b, c, d in _opcodes([t.key for t in one], [t.key for t in other]):
        if tag == "equal":
            continue
        left = [t for t in one[a:b] if t.is_fixed or t.key not in fillers]
        right = [t for t in other[c:d] if t.is_fixed or t.key not in fillers]
        if _are_spaced_apart(left, right):
            continue
        if len(left) == len(right):
            pairs = [pair for pair in zip(left, right, strict=True) if not _are_alike(*pair)]
            rest = [pair for pair in pairs if not _is_slip(*pair, counts)]
            slips += len(pairs) - len(rest)
            left, right = [p[0] for p in rest], [p[1] for p in rest]
        if left or right:
            changes.append((left, right))
    if slips > max(1, _MAX_SLIPS_SHARE * len(one)):
        changes.append((list(one), list(other)))
    return changes


def _are_spaced_apart(left: Sequence[_Token], right: Sequence[_Token]) -> bool:
    """Tell whether the same letters are only parted otherwise ("data base", "database")."""
    if any(t.is_fixed for t in (*left, *right)):
        return False
    return bool(left) and "".join(t.key for t in left) == "".join(t.key for t in right)


def _are_alike(one: _Token, other: _Token) -> bool:
    """Tell whether two words are one word inflected, or synonyms."""
    if one.key == other.key:
        return True
    if one.is_fixed or other.is_fixed or one.is_name or other.is_name:
        return False
    if one.key in SYNONYMS and SYNONYMS[one.key] == SYNONYMS.get(other.key):
        return True
    if not (one.key.isascii() and other.key.isascii()):
        return False
    stem = 0
    for a, b in zip(one.key, other.key, strict=False):
        if a != b:
            break
        stem += 1
    ends = {one.key[stem:], other.key[stem:]}
    return stem >= MIN_STEM_CHARS and ends <= _ENDINGS


def _is_slip(one: _Token, other: _Token, counts: tuple[Counter[str], Counter[str]]) -> bool:
    """Tell whether one of two words is the other with a slip of the keyboard."""
    a, b = one.key, other.key
    if one.is_fixed or other.is_fixed or {a, b} & FACTS or {a, b} <= CONFUSABLE:
        return False
    if counts[0][a] > 1 and counts[1][b] > 1:
        return False
    if _unaccented(a) == _unaccented(b):
        return min(len(a), len(b)) >= MIN_SLIP_CHARS or (
            _unaccented(a) in {a, b} and len(a) > _MIN_ACCENTED
        )
    is_name = one.is_name or other.is_name
    least = MIN_NAME_SLIP_CHARS if is_name else MIN_SLIP_CHARS
    if min(len(a), len(b)) < least or a[0] != b[0] or not (a.isalpha() and b.isalpha()):
        return False
    return _is_one_slip(a, b, is_name=is_name)


def _is_one_slip(a: str, b: str, *, is_name: bool) -> bool:
    """Tell whether two letters changed places, one is missing or doubled, or a neighbour was hit."""
    if len(a) > len(b):
        a, b = b, a
    start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) == len(b):
        if a[start] + a[start + 1 : start + 2] == b[start + 1 : start + 2] + b[start]:
            return a[start + 2 :] == b[start + 2 :]
        is_near = frozenset((a[start], b[start])) in _NEIGHBOURS
        return is_near and not is_name and a[start + 1 :] == b[start + 1 :]
    if a[start:] != b[start + 1 :]:
        return False
    is_doubled = b[start] in (b[start - 1], b[start + 1 : start + 2])
    is_inside = 0 < start < len(a)
    return is_doubled or (is_inside and not is_name)


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not _is_latin_accent(c))


def _is_latin_accent(char: str) -> bool:
    return "\u0300" <= char <= "\u036f"
