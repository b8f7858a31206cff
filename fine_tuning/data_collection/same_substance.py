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
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise

import re2

from fine_tuning.data_collection.near_duplicate_tokens import Token, exchange_tokens, plain_keys
from fine_tuning.data_collection.near_duplicate_words import (
    CONFUSABLE,
    FACTS,
    FILLERS,
    LOOKS_AT_LETTERS,
    LOOKS_AT_WORDS,
    POLITE,
    SYNONYMS,
)

MIN_TOLERANT_WORDS = 30  # other words than fillers, in a reply that may differ in a few
MAX_CHANGED_SHARE = 0.05
MIN_SLIP_CHARS = 5
MIN_NAME_SLIP_CHARS = 6
MIN_STEM_CHARS = 4
MAX_ALIGNED_TOKENS = 4000
_MAX_SLIPS_SHARE = 0.1
_MIN_ACCENTED = 2

_ROOMY = re2.Options()
_ROOMY.max_mem = 1 << 26
_ASCII_LETTERS = re2.compile(LOOKS_AT_LETTERS.pattern, _ROOMY)
_ASCII_WORDS = re2.compile(LOOKS_AT_WORDS.pattern, _ROOMY)
"""Of ASCII text they say the same, much faster."""
_ACCENTED = re.compile(r"[\u00c0-\u024f\u1e00-\u1eff]")
_CROSSED = str.maketrans("\u0142\u0141\u00f8\u00d8\u0111\u0110\u0131\u00e6\u0153", "lLoOdDiao")
_ENDINGS = frozenset({"", "s", "es", "ed", "d", "ing"})
_NEIGHBOURS = {
    frozenset(pair)
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
    for pair in pairwise(row)
}


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
    is_ascii = asked.isascii()
    if (_ASCII_LETTERS if is_ascii else LOOKS_AT_LETTERS).search(asked):
        return False
    if (plain := plain_keys(first)) and plain == plain_keys(second):
        return True
    is_about_words = bool((_ASCII_WORDS if is_ascii else LOOKS_AT_WORDS).search(asked))
    return _teach_the_same(first, second, is_about_words=is_about_words)


def _teach_the_same(first: str, second: str, *, is_about_words: bool) -> bool:
    if not is_about_words:
        first, second = _typed_alike(first, second)
    one, other = exchange_tokens(first), exchange_tokens(second)
    keys, others = _keys(one), _keys(other)
    if not keys or not others or keys == others:
        return bool(keys) and keys == others
    if is_about_words:
        return _differs_in(keys, others) <= POLITE
    fillers = _fillers(keys + others)
    is_same_question = _is_same_question(one[0], other[0], fillers)
    return is_same_question and _is_same_reply(one[1], other[1], fillers)


def _typed_alike(first: str, second: str) -> tuple[str, str]:
    """Return two texts without accents, if one of them was typed on a keyboard without any."""
    accented = [len(_ACCENTED.findall(unicodedata.normalize("NFC", t))) for t in (first, second)]
    if min(accented) or max(accented) < _MIN_ACCENTED:
        return first, second
    return _unaccented(first.translate(_CROSSED)), _unaccented(second.translate(_CROSSED))


def _keys(exchange: tuple[list[Token], list[Token]]) -> list[str]:
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


def _fillers(keys: Sequence[str]) -> frozenset[str]:
    """Return the fillers of the language that most of the words are fillers of."""
    counts = Counter(keys)
    votes = {
        name: sum(map(counts.__getitem__, words.intersection(counts)))
        for name, words in FILLERS.items()
    }
    return _plain_fillers(max(votes, key=lambda name: votes[name]))


@cache
def _plain_fillers(name: str) -> frozenset[str]:
    fillers = FILLERS[name] | POLITE
    return fillers | {_unaccented(word) for word in fillers}


def _is_same_question(
    one: Sequence[Token], other: Sequence[Token], fillers: frozenset[str]
) -> bool:
    changes = _changes(one, other, fillers)
    return not changes or _is_moved_clause(one, other, fillers)


def _is_moved_clause(one: Sequence[Token], other: Sequence[Token], fillers: frozenset[str]) -> bool:
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


def _is_same_reply(one: Sequence[Token], other: Sequence[Token], fillers: frozenset[str]) -> bool:
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


def _matters(token: Token) -> bool:
    return token.is_fixed or token.is_name or token.key in FACTS


_Change = tuple[list[Token], list[Token]]


def _changes(
    one: Sequence[Token], other: Sequence[Token], fillers: frozenset[str]
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


def _are_spaced_apart(left: Sequence[Token], right: Sequence[Token]) -> bool:
    """Tell whether the same letters are only parted otherwise ("data base", "database")."""
    if any(t.is_fixed for t in (*left, *right)):
        return False
    return bool(left) and "".join(t.key for t in left) == "".join(t.key for t in right)


def _are_alike(one: Token, other: Token) -> bool:
    """Tell whether two words are one word inflected, or synonyms."""
    if one.key == other.key:
        return True
    if one.is_fixed or other.is_fixed or one.is_name or other.is_name:
        return False
    if _senses(one.key) & _senses(other.key):
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


def _senses(word: str) -> set[int]:
    """Return the rows of synonyms a word is in, with or without an English ending."""
    forms = [word]
    for ending in ("s", "es", "d", "ed", "ing"):
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM_CHARS - 1:
            stem = word.removesuffix(ending)
            forms += [stem, f"{stem}e"]
    return {SYNONYMS[form] for form in forms if form in SYNONYMS}


def _is_slip(one: Token, other: Token, counts: tuple[Counter[str], Counter[str]]) -> bool:
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
    """Tell whether letters changed places, one is missing or doubled, or a neighbour was hit."""
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
