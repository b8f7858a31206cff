"""Finds replies that say the same over and over, as models do when they get stuck.

Repetition that people ask for is none: code, tables, lists, refrains with other lines between
them, counting, laughter, separators and drawings. Scripts without spaces are read by characters.
"""

# ruff: noqa: E501, RUF001, SIM905 - words in many scripts

from __future__ import annotations

import re
from operator import eq

import re2

from fine_tuning.data_collection.fences import is_code_line, without_code

MAX_PERIOD_WORDS, MAX_PERIOD_CHARS = 24, 40
MIN_REPEATS_OF_ONE, MIN_REPEATS, MIN_LOOP_WORDS = 8, 4, 15
MIN_REPEATS_IN_THE_MIDDLE = 2  # times the usual, where a text goes on after them
MIN_LINE_CHARS, MIN_EQUAL_LINES = 12, 5
MIN_LETTER_RUN = 30
MIN_DENSE_CHARS = 16  # in scripts without spaces
MIN_PICTURES = 20
MAX_LAUGHS = 40
MIN_WHOLE_SHARE = 0.8
MAX_VERSE_CHARS = 60
MIN_VERSES = 8
_MIN_TEXT_CHARS = 8
_LETTER_RUN = re.compile(rf"([^\W\d_])\1{{{MIN_LETTER_RUN - 1},}}")
_IN_DATA = re.compile(r"[0-9+/=]")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_DENSE = re.compile(rf"[{_UNSPACED}]")
_TOKEN = re.compile(
    rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+(?:[\u0300-\u036f\u0900-\u0963\u0970-\u0dff]+[^\W_]*)*"
)
_WORD = re.compile(r"[^\W_]+")
_HAS_OTHER_TOKENS = re2.compile(r"[\x{300}-\x{36f}\x{900}-\x{17ff}\x{3040}-\x{9fff}]")
_HAS_PICTURES = re2.compile(r"[\x{2600}-\x{27bf}\x{1f300}-\x{1faff}]")
_PICTURE_RUN = re.compile(
    rf"((?:[\U0001f300-\U0001f7df\U0001f7ec-\U0001faff\u2600-\u27bf\u2764][\ufe0f\u200d]*){{1,4}}?)"
    rf"(?:\s*\1){{{MIN_PICTURES - 1},}}"
)
_LIST_MARK = re.compile(r"^\s*(?:[-*+\u2022]|\d{1,4}[.):]|[a-z][.)])\s+")
_TABLE_LINE = re.compile(r"^\s*\||\|.*\||\t|(?:[^,\s]*,){4}")
_LAUGHS = frozenset(
    "ha haha hah he hehe hi hihi ho hoho la na da doo dum tra oh ah eh uh yeah hey ja jaja je rs kk "
    "lol lalala nana sha bla blah beep tick tock tok knock buffalo had om aum "
    "ха хаха хе хехе ля ла на ааа "
    "哈 呵 嘿 嘻 啊 啦 嗯 哇 ハ は ふ わ ㅋ ㅎ ㅠ ㅜ ห ฮ هه ها ههه هههه هاها हा हाहा".split()
)


def loop(text: str) -> str | None:
    """Return what a text repeats over and over, or None.

    A loop is one word eight times in a row, a phrase of up to 24 words four times in a row (and
    fifteen words in all), a line of twelve characters five times in a row, twenty equal pictures,
    or a letter thirty times. What repeats in the middle of a text needs twice as many. Takes time
    linear in the text.
    """
    if len(text) < _MIN_TEXT_CHARS:
        return None
    prose = without_code(text, "\n") if "`" in text or "~~~" in text else text
    words = _WORD.findall(prose.casefold())
    if max(map(len, words), default=0) >= MIN_LETTER_RUN and (letter := _looping_letter(prose)):
        return f"the letter {letter!r}"
    if not prose.isascii():
        if _HAS_PICTURES.search(prose) and (found := _PICTURE_RUN.search(prose)):
            return f"the picture {found[1]!r}"
        words = _tokens(prose)
    return _looping_line(prose.split("\n")) or _looping_speech(prose, words)


def _looping_speech(prose: str, words: list[str]) -> str | None:
    if _looping_phrase(words, is_verse=False) is None:
        return None
    said = [line for line in prose.split("\n") if not _is_structured(line)]
    return _looping_phrase(_tokens("\n".join(said)), is_verse=_is_verse(said))


def _tokens(prose: str) -> list[str]:
    pattern = _TOKEN if _HAS_OTHER_TOKENS.search(prose) else _WORD
    return pattern.findall(prose.casefold())


def _looping_letter(prose: str) -> str | None:
    for found in _LETTER_RUN.finditer(prose):
        around = prose[max(0, found.start() - 1) : found.start()] + prose[found.end() :][:1]
        is_laugh = found[1] in _LAUGHS and len(found[0]) <= MAX_LAUGHS
        if not is_laugh and not _IN_DATA.search(around):
            return found[1]
    return None


def _is_structured(line: str) -> bool:
    """Tell whether a line is a row of a table, of data, or of code."""
    return bool(_TABLE_LINE.search(line)) or is_code_line(line)


def _looping_line(lines: list[str]) -> str | None:
    """Return a line that stands five times in a row; empty lines and list marks aside."""
    if len(lines) < MIN_EQUAL_LINES:
        return None
    before, run = "", 1
    for line in (_LIST_MARK.sub("", line).strip().casefold() for line in lines):
        if not line:
            continue
        run = run + 1 if line == before else 1
        before = line
        is_long = len(line) >= MIN_LINE_CHARS or len(_DENSE.findall(line)) >= MIN_LINE_CHARS / 2
        if run < MIN_EQUAL_LINES or not is_long or not any(map(str.isalpha, line)):
            continue
        if not _is_structured(line):
            return f"the line {line[:60]!r}"
    return None


def _is_verse(lines: list[str]) -> bool:
    said = [line for line in lines if line.strip()]
    return len(said) >= MIN_VERSES and all(len(line) <= MAX_VERSE_CHARS for line in said)


def _looping_phrase(words: list[str], *, is_verse: bool) -> str | None:
    if len(words) < MIN_REPEATS_OF_ONE or not _repeats_itself(words):
        return None
    written = "".join(words)
    is_dense = not written.isascii() and 2 * len(_DENSE.findall(written)) > len(written)
    longest = MAX_PERIOD_CHARS if is_dense else MAX_PERIOD_WORDS
    for period in range(1, min(longest, len(words) // 2) + 1):
        end = _end_of_run(words, period, is_dense=is_dense, is_verse=is_verse)
        if end:
            return f"the words {_shown(words[end - period : end], is_dense=is_dense)!r}"
    return None


def _shown(words: list[str], *, is_dense: bool) -> str:
    return ("" if is_dense else " ").join(words)[:60]


def _end_of_run(words: list[str], period: int, *, is_dense: bool, is_verse: bool) -> int:
    """Return where a stretch that repeats with a period is long enough to be a loop, or 0."""
    is_short = period == 1 or (is_dense and period == len("ab"))
    needed = (MIN_REPEATS_OF_ONE if is_short else MIN_REPEATS) * period
    if is_dense:
        needed = max(needed, MIN_DENSE_CHARS)
    elif period > 1:
        needed = max(needed, MIN_LOOP_WORDS)
    if sum(map(eq, words, words[period:])) < needed - period:
        return 0
    start = 0  # of the stretch that repeats with this period
    for index in range(period, len(words) + 1):
        if index < len(words) and words[index] == words[index - period]:
            continue
        length = index - start
        if length >= needed and _is_stuck(words, start, index, period, needed, is_verse=is_verse):
            return index
        start = index - period + 1
    return 0


def _is_stuck(
    words: list[str], start: int, end: int, period: int, needed: int, *, is_verse: bool
) -> bool:
    """Tell whether a stretch of repeats is no laughter, counting, or refrain."""
    phrase, length = words[end - period : end], end - start
    if all(map(str.isdigit, phrase)):
        return False
    if all(word in _LAUGHS for word in phrase) and length <= MAX_LAUGHS:
        return False
    is_last = len(words) - end <= period
    is_most = 2 * length >= len(words)
    if length >= MIN_WHOLE_SHARE * len(words):
        return True
    if (is_last or is_most) and not is_verse:
        return True
    return length >= MIN_REPEATS_IN_THE_MIDDLE * needed and (is_most or not is_verse)


def _repeats_itself(words: list[str]) -> bool:
    """Tell whether words can loop: a loop says at least four triples of words it said before."""
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(triples) - len(set(triples)) >= MIN_REPEATS
