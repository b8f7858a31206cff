"""Filters texts without a model: swear words behind their disguises, and texts that loop.

A small list of words whose use is hardly ever innocent, matched as whole words after undoing
look-alike letters. Words that name a people, a faith or an orientation are not on it, nor are
mild ones. Insults without swearing are not found: that takes a model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import re2

_STEMS = (
    "fuck shit cunt asshole arsehole bitch bastard wanker twat motherfuck bullshit dickhead "
    "cocksuck dumbass jackass blowjob handjob whore slut nigger nigga faggot kike wetback gook "
    "raghead"
)
_ENDINGS = (
    "",
    "s",
    "es",
    "ed",
    "er",
    "ers",
    "ing",
    "in",
    "y",
    "ty",
    "ter",
    "head",
    "heads",
    "face",
)
SWEAR_WORDS = frozenset(stem + ending for stem in _STEMS.split() for ending in _ENDINGS)
_LOOKALIKES = str.maketrans("013457@$!", "oieastasi")
_WORD = re.compile(r"[^\W_][\w@$!*']*|[@$][\w@$!*']+")
_SPELLED = re.compile(r"(?<!\w)(?:\w[ .\-_]){3,}\w(?!\w)")
_LONG_RUN = re.compile(r"(\w)\1{2,}")
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)

_HINT = re2.compile(
    r"(?i)" + "|".join("+".join(stem) for stem in _STEMS.split()) + r"|\*|[^\x00-\x7f\pS\pP\pZ]"
    r"|(?:\w[ .\-_]){3}\w"
)

MAX_PERIOD_WORDS = 24
MIN_REPEATS_OF_ONE, MIN_REPEATS, MIN_LOOP_WORDS = 8, 4, 12
MIN_LINE_CHARS, MIN_EQUAL_LINES = 12, 5
MIN_LETTER_RUN = 30
_LETTER_RUN = re.compile(rf"([^\W\d_])\1{{{MIN_LETTER_RUN - 1},}}")
_TOKEN = re.compile(r"[^\W_]+")


def may_swear(joined: str) -> bool:
    """Tell whether :func:`swear_word` can find something in one of some joined texts."""
    return bool(_HINT.search(joined.translate(_LOOKALIKES)))


def swear_word(text: str) -> str | None:
    """Return the first swear word of a text as it is written there, or None."""
    plain = unicodedata.normalize("NFKC", text)
    for written in _candidates(plain):
        if _is_swear_word(written):
            return written
    return None


def _candidates(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text):
        yield found[0].strip("*'!") if found[0].strip("*'!").isalpha() else found[0]
    for found in _SPELLED.finditer(text):
        yield re.sub(r"[ .\-_]", "", found[0])


def _is_swear_word(written: str) -> bool:
    if not any(char.isalpha() for char in written):
        return False
    word = _unaccented(written.casefold().rstrip("!'").translate(_LOOKALIKES))
    if "*" in word.strip("*") and len(word) > len("f*n"):
        return _fits_masked(word.strip("*"))
    word = word.strip("*'")
    return word in SWEAR_WORDS or _LONG_RUN.sub(r"\1", word) in SWEAR_WORDS


def _fits_masked(word: str) -> bool:
    """Tell whether a word with stars for letters ("f**k") can only be a swear word."""
    shown = sum(char != "*" for char in word)
    if 2 * shown < len(word):
        return False
    pattern = re.compile("".join("[a-z]" if char == "*" else re.escape(char) for char in word))
    return any(len(word) == len(known) and pattern.fullmatch(known) for known in SWEAR_WORDS)


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def loop(text: str) -> str | None:
    """Return what a text repeats over and over, or None; code blocks are left out.

    A loop is one word eight times in a row, a phrase of up to 24 words four times in a row (and
    twelve words in all), a line of twelve characters five times, or a letter thirty times. Takes
    time linear in the text.
    """
    if len(text) < MIN_REPEATS_OF_ONE:
        return None
    prose = _FENCE.sub("\n", text) if "```" in text else text
    words = _TOKEN.findall(prose.casefold())
    longest = max(map(len, words), default=0)
    if longest >= MIN_LETTER_RUN and (found := _LETTER_RUN.search(prose)):
        return f"the letter {found[1]!r}"
    return _looping_line(prose) or _looping_phrase(words)


def _looping_line(prose: str) -> str | None:
    if prose.count("\n") < MIN_EQUAL_LINES - 1:
        return None
    counts: dict[str, int] = {}
    for line in (line.strip().casefold() for line in prose.splitlines()):
        if len(line) < MIN_LINE_CHARS or not any(char.isalpha() for char in line):
            continue
        counts[line] = counts.get(line, 0) + 1
        if counts[line] >= MIN_EQUAL_LINES:
            return f"the line {line[:60]!r}"
    return None


def _looping_phrase(spoken: list[str]) -> str | None:
    words = [word for word in spoken if not word.isdigit()]
    if len(words) < MIN_REPEATS_OF_ONE or not _repeats_itself(words):
        return None
    for period in range(1, min(MAX_PERIOD_WORDS, len(words) // 2) + 1):
        needed = MIN_REPEATS_OF_ONE if period == 1 else MIN_REPEATS
        needed_words = max(needed * period, MIN_LOOP_WORDS if period > 1 else 0)
        run = period  # words from the start of the stretch that repeats with this period
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else period
            if run >= needed_words:
                return f"the words {' '.join(words[index - period + 1 : index + 1])[:60]!r}"
    return None


def _repeats_itself(words: list[str]) -> bool:
    """Tell whether words can loop: a loop says at least four triples of words it said before."""
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(triples) - len(set(triples)) >= MIN_REPEATS


_APOSTROPHE = r"['\x{2019}]"
_CANNOT = rf"can(?:no|{_APOSTROPHE})t"
_I_AM = rf"i(?:{_APOSTROPHE}m| am)"
_REFUSAL = re2.compile(
    r"(?i)\b(?:as an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b"
    rf"|{_I_AM} (?:just |only )?an? (?:ai|language model)\b.{{0,60}}\b"
    rf"(?:{_CANNOT}|do(?:n{_APOSTROPHE}t| not)|unable)"
    rf"|{_I_AM} (?:sorry|afraid),? (?:but )?(?:i|that) "
    rf"(?:{_CANNOT}|am (?:not able|unable)|won{_APOSTROPHE}t)"
    rf"|{_I_AM} (?:not able|unable) to (?:help|assist|fulfil|comply|provide|answer)"
    rf"|i {_CANNOT} (?:help|assist|comply|fulfil|provide|do that|engage)"
    r"|(?:es tut mir leid|leider),? (?:aber )?(?:ich kann|kann ich)(?: dir| ihnen)?"
    r"(?: dabei| damit| das)? nicht)"
)
_REFUSAL_REACH_CHARS = 200
_ENDED = re2.compile(
    r"[.!?:;)\]}\"'`*_\x{2026}\x{201d}\x{2019}\x{bb}\x{3002}\x{ff01}\x{ff1f}>|~=]\s*$"
)
_SENTENCE_END = re2.compile(r"[.!?](?:\s|$)")
_LIST_LINE = re2.compile(r"^\s*(?:[-*+#>|]|\d+[.)]|\$|    )")
MIN_CUT_CHARS = 200
_END_CHARS = 12
_CUT_REASONS = frozenset({"length", "max_tokens", "model_length"})


def may_refuse(joined: str) -> bool:
    """Tell whether :func:`refusal` can find something in one of some joined texts."""
    return bool(_REFUSAL.search(joined))


def refusal(text: str) -> str | None:
    """Return the words with which a reply refuses, or None; only its first sentences are read."""
    found = _REFUSAL.search(text[:_REFUSAL_REACH_CHARS])
    return found.group() if found else None


def cut_off(text: str, finish_reason: str = "") -> str | None:
    """Return why a reply looks cut off, or None.

    The server said so, a code block is open, or prose of 200 characters and two sentences ends
    without a sign of an end. Lists, headings and short or unpunctuated chat are left alone.
    """
    if finish_reason.lower() in _CUT_REASONS:
        return f"the server ended it: {finish_reason}"
    if "```" in text and text.count("```") % 2:
        return "a code block is open at its end"
    is_whole = len(text) < MIN_CUT_CHARS or _ENDED.search(text[-_END_CHARS:])
    return None if is_whole else _open_end(text)


def _open_end(text: str) -> str | None:
    """Return how prose ends that has no sign of an end, unless its writer ends no line with one."""
    *lines, last_line = text.rstrip().split("\n")
    if _LIST_LINE.search(last_line) or len(_SENTENCE_END.findall(text)) < len("ab"):
        return None
    if any(line.strip() and not _ENDED.search(line[-_END_CHARS:]) for line in lines):
        return None
    last = text.rstrip()[-1]
    is_open = last in ",-(" or last.isalnum()
    return f"it ends with {last_line[-40:]!r}" if is_open else None
