"""Finds swear words in ten and more languages, behind their disguises; no model is needed.

Small lists of words whose use is hardly ever innocent, matched as whole words. Words that name a
people, a faith or an orientation are not on them, nor are mild ones. A word that is quoted or
talked about is not used, one in code neither; words that are innocent in another language or sense
(Swedish "slut", a bastard file, Fucking in Austria) count by what stands around them. Insults
without swearing are not found: that takes a model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import re2

from fine_tuning.data_collection.fences import without_code
from fine_tuning.data_collection.profanity_words import (
    AMBIGUOUS,
    ANYWHERE,
    ENDINGS,
    INNOCENT_AROUND,
    STEMS,
    TALKED_ABOUT,
    TYPICAL,
    WORDS,
)

SWEAR_WORDS = frozenset(stem + ending for stem in STEMS for ending in ENDINGS)
_LOOKALIKES = str.maketrans("013457@$!", "oieastasi")
_WORD = re.compile(r"[^\W_][\w@$!*']*|[@$][\w@$!*']+")
_STARRED = re.compile(r"f\*{3}(?:ing|ed|er|s|off)?")
_MARKS = re.compile("[\u0300-\u036f]+")
_SPELLED = re.compile(r"(?<!\w)(?:\w[ .\-_]){3,}\w(?!\w)")
_LONG_RUN = re.compile(r"(\w)\1{2,}")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\uff21-\uff5a]")
_AROUND_CHARS = 60
_BY_LANGUAGE = {
    name: re.compile("(?i)(?<!\\w)(?:" + "|".join(rows) + ")(?!\\w)")
    for name, rows in WORDS.items()
}
_ANYWHERE = re.compile("|".join(ANYWHERE))
_TYPICAL = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in TYPICAL.items()}
_QUOTED = re.compile(
    '"[^"\n]{1,80}"|\u201c[^\u201d\n]{1,80}[\u201d\u201c]|\u201e[^\u201c\u201d\n]{1,80}[\u201c\u201d]'
    "|\u00ab[^\u00bb\n]{1,80}\u00bb|[\u300c\u300e][^\u300d\u300f\n]{1,40}[\u300d\u300f]"
    "|(?<!\\w)[\u2018'][^'\u2018\u2019\n]{1,60}['\u2019](?!\\w)"
)
_TALKED_ABOUT = re.compile(TALKED_ABOUT, re.IGNORECASE)
_INNOCENT = {word: re.compile(pattern, re.IGNORECASE) for word, pattern in INNOCENT_AROUND.items()}

_ROOMY = re2.Options()
_ROOMY.max_mem = 1 << 26  # with less its automaton is thrown away again and again
_HINT = re2.compile(
    "(?i)" + "|".join("+".join(stem) for stem in STEMS) + r"|\*\pL|\pL\*|(?:\pL[ .\-_]){3}\pL\b",
    _ROOMY,
)
_LOOKAROUND = re.compile(r"\(\?<?!(?:[^()\[]|\[[^\]]*\]|\([^()]*\))*\)")
_OWN_HINT = re2.compile(
    "(?i)" + "|".join(pattern for rows in WORDS.values() for pattern in rows), _ROOMY
)
_OWN_WORD = re2.compile(  # of ASCII text it is exact, since there both know the same letters
    r"(?i)(?:^|\W)(?:" + "|".join(row for rows in WORDS.values() for row in rows) + r")(?:\W|$)",
    _ROOMY,
)
_ANYWHERE_HINT = re2.compile("|".join(_LOOKAROUND.sub("", pattern) for pattern in ANYWHERE))


def may_swear(joined: str) -> bool:
    """Tell whether :func:`swear_word` can find something in one of some joined texts."""
    if joined.isascii():
        return bool(_HINT.search(joined.translate(_LOOKALIKES)) or _OWN_WORD.search(joined))
    plain = unicodedata.normalize("NFKD", joined)
    bare = _MARKS.sub("", plain).translate(_LOOKALIKES)
    composed = unicodedata.normalize("NFKC", joined)
    return bool(_HINT.search(bare) or _OWN_HINT.search(composed) or _ANYWHERE_HINT.search(composed))


def swear_word(text: str) -> str | None:
    """Return the first swear word that a text uses, as it is written there, or None.

    Args:
        text: The text; what it only quotes, talks about, or holds in code is passed over.
    """
    plain = unicodedata.normalize("NFKC", text)
    spoken = None
    for start, written in _candidates(plain):
        spoken = _without_quotes(plain) if spoken is None else spoken
        if _is_in(written, spoken) and not _is_innocent(written, start, plain):
            return written
    return None


def _is_in(written: str, spoken: str) -> bool:
    """Tell whether something is written in a text, as a whole word where words have edges."""
    if not _LATIN.match(written):
        return written in spoken
    return bool(re.search(rf"(?<!\w){re.escape(written)}(?!\w)", spoken))


def _without_quotes(text: str) -> str:
    """Return what a text says itself; a text that is one quotation is said all the same."""
    spoken = without_code(text)
    bare = _QUOTED.sub(" ", spoken)
    return bare if any(map(str.isalnum, bare)) else spoken


def _candidates(text: str) -> Iterator[tuple[int, str]]:
    if _LATIN.search(text):
        for found in _WORD.finditer(text):
            written = found[0].strip("*'!")
            is_plain = written.isalpha() and not _STARRED.fullmatch(found[0].lower())
            written = written if is_plain else found[0]
            if _is_swear_word(written):
                yield found.start(), written
        for found in _SPELLED.finditer(text):
            if _is_swear_word(re.sub(r"[ .\-_]", "", found[0])):
                yield found.start(), found[0]
        yield from _of_other_languages(text)
    if not text.isascii() and _ANYWHERE_HINT.search(text):
        yield from ((found.start(), found[0]) for found in _ANYWHERE.finditer(text))


def _of_other_languages(text: str) -> Iterator[tuple[int, str]]:
    hint = _OWN_WORD if text.isascii() else _OWN_HINT
    if not hint.search(text):
        return
    for name, words in _BY_LANGUAGE.items():
        for found in words.finditer(text):
            around = f"{text[: found.start()]} | {text[found.end() :]}"
            is_clear = name not in _TYPICAL or not AMBIGUOUS.fullmatch(found[0])
            if is_clear or _TYPICAL[name].search(around):
                yield found.start(), found[0]


def _is_innocent(written: str, start: int, text: str) -> bool:
    """Tell whether a swear word is only talked about, or means something else here."""
    around = text[max(0, start - _AROUND_CHARS) : start + len(written) + _AROUND_CHARS]
    if _TALKED_ABOUT.search(text[max(0, start - _AROUND_CHARS) : start]):
        return True
    word = _plain(written)
    return any(word.startswith(stem) and sense.search(around) for stem, sense in _INNOCENT.items())


def _plain(written: str) -> str:
    return _unaccented(written.casefold().rstrip("!'").translate(_LOOKALIKES))


def _is_swear_word(written: str) -> bool:
    if not any(char.isalpha() for char in written):
        return False
    word = _plain(written)
    if _STARRED.fullmatch(word):
        return True
    if "*" in word.strip("*") and len(word) > len("f*n"):
        return _fits_masked(word.strip("*"))
    word = word.strip("*'")
    return word in SWEAR_WORDS or _LONG_RUN.sub(r"\1", word) in SWEAR_WORDS


def _fits_masked(word: str) -> bool:
    """Tell whether a word with stars for letters ("f**k") can only be a swear word."""
    shown = sum(char != "*" for char in word)
    if 2 * shown < len(word):
        return False
    pieces = re.split(r"(\*+)", word)
    pattern = re.compile(
        "".join(f"[a-z]{{1,{len(p)}}}" if n % 2 else re.escape(p) for n, p in enumerate(pieces))
    )
    return any(pattern.fullmatch(known) for known in SWEAR_WORDS)


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
