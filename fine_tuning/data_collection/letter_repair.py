"""Mends letters: text that was decoded wrongly as a whole, accents apart, invisible controls.

A wrongly decoded word may be what a chat is about. So letters are decoded anew only where a whole
message is broken alike, in its prose, and nothing in it speaks of encodings.
"""

from __future__ import annotations

import re
import unicodedata

import ftfy
from ftfy.badness import is_bad

from fine_tuning.data_collection.fences import without_code

_MAX_ROUNDS = 8
_INVISIBLE = re.compile("\x1b\\[[0-9;]*[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f\u00ad\u2060\ufeff]")
_ZERO_WIDTH = re.compile("(?<![\u0e00-\u109f\u1780-\u17ff])\u200b(?![\u0e00-\u109f\u1780-\u17ff])")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_CODE = re.compile(r"((?s:```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z))|`[^`\n]+`)")
_APART = re.compile("[A-Za-z\u00c0-\u024f\u0370-\u04ff\u1e00-\u1fff][\u0300-\u036f]+")
_JAMO = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?")
_QUOTED = re.compile(
    "\"[^\"\n]*\"|(?<!\\w)'[^'\n]*'(?!\\w)|\u201c[^\u201d\n]*\u201d|\u201e[^\u201c\n]*\u201c"
    "|\u00ab[^\u00bb\n]*\u00bb|\u300c[^\u300d\n]*\u300d"
)
_LINE_ENDS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization=None,
    decode_inconsistent_utf8=False,
    replace_lossy_sequences=False,
    remove_control_chars=False,
    remove_terminal_escapes=False,
    fix_line_breaks=False,
)
_IN_A_WORD = re.compile(
    r"[A-Za-z][\u0080-\u00ff\u0152-\u0178\u0192\u02c6\u02dc\u2013-\u2122]{2,}"
    r"|[\u0080-\u00ff\u0152-\u0178\u0192\u02c6\u02dc\u2013-\u2122]{2,}[A-Za-z]"
    r"|[\u0400-\u045f]{6,}|[\u00c0-\u00ff]\S{5,}"
)
_TOPIC = re.compile(
    r"(?i)mojibake|encod|decod|utf-?8|utf-?16|latin-?1|iso-?8859|cp-?125|windows-125|ascii|"
    r"unicode|charset|codec|code ?page|ftfy|garbled|gibberish|weird|strange|characters?\b|"
    r"\b(?:csv|excel|mysql|browser|terminal|console|html|output|show[sn]|showing|prints?)\b|"
    r"\b(?:fix|repair|correct|restore)\b[^.\n]{0,30}:|repar|korrig|corrig|"
    r"\b(?:fix|repair|correct) (?:this|the|my|these)|"
    r"instead of|should be|shows? (?:up )?as|displays?|appears?|turns? into|became|becomes|"
    r"zeichensatz|kodierung|umlaut|zeichen|statt\b|sonderzeichen|angezeigt|encodage|caract[e\u00e8]re|"
    r"au lieu|codifica|caracter|en lugar|en vez|codific|caratter|acent|tecken|znak|karakter|"
    r"\u043a\u043e\u0434\u0438\u0440\u043e\u0432|\u043a\u0440\u0430\u043a\u043e\u0437|"
    r"\u4e71\u7801|\u7f16\u7801|\u6587\u5b57\u5316\u3051|\u6587\u5b57\u30b3\u30fc\u30c9|\uae68\uc9d0|"
    r"\uc778\ucf54\ub529|\u062a\u0631\u0645\u064a\u0632|->|\u2192|=>"
)


def mend_letters(text: str) -> str:
    """Return a text with its letters mended; the text itself where nothing is broken."""
    for _ in range(_MAX_ROUNDS):  # what one repair uncovers, another may mend
        mended = _mended(text)
        if mended == text:
            break
        text = mended
    return text


def _mended(text: str) -> str:
    if not text.isascii():
        text = _decoded(text)
        text = "".join(
            piece if number % 2 else _JAMO.sub(_composed, _APART.sub(_composed, piece))
            for number, piece in enumerate(_CODE.split(text))
        )
        text = _ZERO_WIDTH.sub("", text)
        if not _RIGHT_TO_LEFT.search(text):
            text = _DIRECTION.sub("", text)
    return _INVISIBLE.sub("", text)


def _composed(letters: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", letters[0])


def _decoded(text: str) -> str:
    """Return a text decoded anew, if all of it was decoded wrongly in one way."""
    if not is_bad(text):
        return text
    prose = _QUOTED.sub(" ", without_code(_LINE_ENDS.sub("\n", text)))
    if _TOPIC.search(prose) or not is_bad(prose) or not _IN_A_WORD.search(prose):
        return text
    mended = ftfy.fix_encoding(text, _FTFY)
    if mended == text and "\u00a0" in text:  # a real one among them cannot be decoded
        spaced = text.replace("\u00a0", " ")
        mended = ftfy.fix_encoding(spaced, _FTFY)
        return text if mended == spaced else mended
    return mended
