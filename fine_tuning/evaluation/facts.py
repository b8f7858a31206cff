"""Finding a fact in a reply: exact where numbers are at stake, forgiving where only typing differs.

Case, white space, typographic quotes and dashes, Markdown emphasis and thousands separators do not
matter. A fact never matches inside a longer number or word: "17 days" is not in "117 days", "5 %"
not in "2.5 %". Other wordings are accepted only where the question lists them as alternatives.
What this does not know: meaning. A reply that denies the fact in its own words still contains it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff"),  # invisible: removed
    }
)
_EMPHASIS = re.compile(r"(?<![^\W_])[*_]+|[*_]+(?![^\W_])")
# A group of three digits after a comma, an apostrophe or a narrow space; "." would be a decimal.
_THOUSANDS = re.compile(
    r"(?<![\d.,'])(\d{1,3}(?:(?P<mark>[,'\u00a0\u202f\u2009])\d{3})"
    r"(?:(?P=mark)\d{3})*)(?![\d']|,\d)"
)
_UNIT_SPACE = re.compile(r"(?<=\d)\s+(?=[%\u2030\u00b0€$£¥])|(?<=[€$£¥])\s+(?=\d)")
_RANGE_SPACE = re.compile(r"(?<=\d)\s*-\s*(?=\d)")
# Scripts written without spaces have no word edges to look for.
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_BEFORE_DIGIT = r"(?<![^\W_])(?<!\d[.,:'/-])"
_AFTER_DIGIT = r"(?![^\W_])(?![.,:'/-]\d)"
_BEFORE_WORD, _AFTER_WORD = r"(?<![^\W_])", r"(?![^\W_])"


def normalize(text: str) -> str:
    """Return the text in the one form in which facts are compared.

    Lower case, one plain space where white space was, straight quotes, plain dashes, no Markdown
    emphasis, no thousands separators, no space between a number and its percent or currency sign.
    """
    text = _EMPHASIS.sub("", text.translate(_CHARACTERS).casefold())
    text = unicodedata.normalize("NFC", text)
    text = " ".join(_THOUSANDS.sub(_without_marks, text).split())
    return _RANGE_SPACE.sub("-", _UNIT_SPACE.sub("", text))


def contains_fact(reply: str, fact: str) -> bool:
    """Tell whether a reply states a fact, by the rules of this module.

    An empty fact is contained in nothing.
    """
    pattern = _pattern(fact)
    return pattern is not None and pattern.search(normalize(reply)) is not None


def contains_any(reply: str, wordings: Iterable[str]) -> bool:
    """Tell whether a reply states a fact in at least one of its accepted wordings."""
    return any(contains_fact(reply, wording) for wording in wordings)


def _without_marks(match: re.Match[str]) -> str:
    return match.group(1).replace(match.group("mark"), "")


@lru_cache(maxsize=4096)
def _pattern(fact: str) -> re.Pattern[str] | None:
    """Compile a fact into what to search for in normalised replies; None for an empty one."""
    text = normalize(fact)
    if not text:
        return None
    # "3 pm" and "3pm" are one typing of the same words, so the space there is optional.
    body = re.sub(r"(?<=\d)(?:\\ )?(?=[^\W\d_])", " ?", re.escape(text))
    return re.compile(_edge(text[0], before=True) + body + _edge(text[-1], before=False))


def _edge(character: str, *, before: bool) -> str:
    """Return what must not stand next to the first or last character of a fact."""
    if character.isdigit():
        return _BEFORE_DIGIT if before else _AFTER_DIGIT
    if character in "%€$£¥\u2030\u00b0":
        # "$50" may follow anything; "50 %" may be followed by anything.
        return "" if before else r"(?!\d)"
    if not character.isalpha() or _SPACELESS.match(character):
        return ""
    return _BEFORE_WORD if before else _AFTER_WORD
