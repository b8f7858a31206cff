"""Secrets by what is said before them: passwords in many languages, settings, headers, codes.

Only what is assigned counts ("password: x", "my password is x", ``API_KEY=x``, ``--token x``); what
merely talks about passwords, or fetches one in a program, stays.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fine_tuning.data_collection import secret_words as words
from fine_tuning.data_collection.private_spans import (
    FOLDED_MARKS,
    SECRET,
    Detector,
    Span,
    group_span,
    joined_lines,
)
from fine_tuning.data_collection.secret_patterns import bits_per_char, is_random, is_words

_SHORTEST, _SHORTEST_LETTERS, _MOST = 4, 5, 200
_SHORTEST_SETTING, _SHORTEST_TOKEN, _LONG_TOKEN = 6, 12, 16
_TOKEN_BITS = 2.5
_OWN_PIN = re.compile(r"(?:my|your|sim|card|bank|atm|phone|new|old|the|mein\w*) $")
_JOINTS = "-_./'’:"
_SHORT_WORD = re.compile(r"(?i)_?p(?:ass|w)")
_NAMES = re.compile(r"(?i)pass|pwd|secret|token|hash|kennw|парол")  # of variables
_STATE = re.compile(r"(?i).{2,}(?:ed|iert|able|ible)")
_NO_PASSWORD = re.compile(
    r"(?i)(?:/|\b(?:boarding|bus|ski|guest|day|season|hall|mountain|train|free) )$"
)
_SCHEME = re.compile(r"(?i)(?:(?:bearer|basic|token|apikey)\s+)")
_NEXT_FIELD = re.compile(r"&\w+=")


@dataclass(frozen=True, slots=True)
class _Value:
    """What stands behind a word for a secret, and how it is joined to the word.

    ``link`` is "assigned" (a colon, an equals sign), "said" (a verb) or "bare" (a space).
    """

    text: str
    start: int
    end: int
    word: str
    before: str
    link: str
    joint: str
    is_quoted: bool

    @property
    def value(self) -> str:
        """The characters that may be the secret."""
        return self.text[self.start : self.end]

    @property
    def is_clause_end(self) -> bool:
        """Whether nothing of the sentence or the statement follows the value."""
        behind = self.text[self.end : self.end + 12]
        if re.match(r"\s*[})]|,\s*(?:\n|$)|\s*[=(\[+]|\s*\?\s*\w", behind):
            return False
        return (
            re.match(
                r"[*_`\"'”»]*(?:[.,;:!?。，；！]+(?:\s|$|\W)|[ \t]*(?:\n|$)"
                r"|[^\w\s]|[^\x00-\u0dff])",
                behind,
            )
            is not None
        )


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield the secrets that words or names before them tell.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    yield from _passwords(text)
    yield from _settings(text)
    yield from _flags(text)
    yield from _headers(text)
    for match in words.LOGIN.finditer(text):
        start, end = group_span(match, "value")
        end = start + len(match["value"].rstrip(".,)?"))
        if _is_mixed(text[start:end]) and "/" not in text[start:end]:
            yield Span(start, end, SECRET, "password")


def find_codes(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield PINs, security codes of cards and codes for one use.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in words.CODE.finditer(text):
        start, end = group_span(match, "value")
        word, link = match["word"].lower(), match["link"]
        digits = sum(map(str.isdigit, match["value"]))
        is_card = bool(
            re.match(
                r"cv|security|card|sicherheits|安全|セキュ|보안|code de sécu|código de segu", word
            )
        )
        is_said = any(char.isalpha() or char in ":=：#" for char in link)
        after = text[end : end + 2]
        if not link and word.isascii():
            continue
        if digits < (3 if is_card else 4) or (after[:1].isascii() and after[:1].isalnum()):
            continue
        if after[:1] in {".", ",", "-", ":", "/"} and after[1:].isdigit():
            continue
        is_year = re.fullmatch(r"(?:19|20)\d\d", match["value"]) is not None
        if (is_year and not is_said) or (
            word.startswith("tan") and not (is_said and match["word"] != "tan")
        ):
            continue
        ahead = text[max(0, match.start() - 12) : match.start()].lower()
        is_pin = word != "pin" or is_said or match["word"] == "PIN" or _OWN_PIN.search(ahead)
        if is_pin and not words.UNITS.match(text, end):
            yield Span(start, end, SECRET, "code")


def is_secret_name(name: str) -> bool:
    """Tell whether an argument or a field of that name holds a secret."""
    is_key = words.SETTING.search(f"{name}=") is not None and not words.NO_KEY.fullmatch(name)
    return bool(words.ASSIGNED.search(f"{name}=")) or (is_key and name.lower() != "key")


def is_secret_value(name: str, value: str) -> bool:
    """Tell whether the whole value of a field whose name tells secrets is one."""
    quoted = f'{name}="{value}"'
    return any(quoted[span.start : span.end] == value for span in find(quoted))


def _value_at(text: str, start: int, opener: str, link: str) -> tuple[int, int, bool]:
    """Return where the value at ``start`` begins and ends and whether quotes hold it."""
    if opener.strip("\\") and text[start : start + 1].isspace() and opener[0] in "*`\"'":
        while text[start : start + 1] in {" ", "\t"} and start < len(text):
            start += 1  # the mark closed what stands before: **Password:** value
        opener = ""
        if text[start : start + 1] == "`":
            opener, start = "`", start + 1
    if opener:
        line_end = text.find("\n", start, start + _MOST)
        close = text.find(
            words.CLOSERS[opener], start, line_end if line_end >= 0 else start + _MOST
        )
        if close > start:
            return start, close, True
    stop = words.STOP.search(text, start, min(len(text), start + _MOST))
    end = stop.start() if stop else min(len(text), start + _MOST)
    following = _NEXT_FIELD.search(text, start, end)
    end = following.start() if following else end
    kept = text[start:end].rstrip(".,;:?!)]}*|…" if link == "said" else ".,;:?)]}*|")
    return start, start + len(kept), False


def _linked(link: str) -> str:
    if re.search(r"[:=：＝→]|->", link):
        return "assigned"
    return "said" if link.strip() else "bare"


def _passwords(text: str) -> Iterator[Span]:
    for match in words.ASSIGNED.finditer(text):
        link = _linked(match["link"])
        start, end, is_quoted = _value_at(text, match.end(), match["open"] or "", link)
        before = text[max(0, match.start() - 24) : match.start()]
        value = _Value(text, start, end, match["word"], before, link, match["link"], is_quoted)
        if _is_password(value):
            yield Span(start, end, SECRET, "password")


def _is_password(given: _Value) -> bool:
    """Tell whether what stands behind a word for passwords is one."""
    value = given.value
    if _is_no_value(given):
        return False
    if any(char.isspace() for char in value):
        return given.link != "bare" and _is_phrase(value)
    if given.link == "bare":
        is_other = words.VAGUE.fullmatch(given.word) and not _SHORT_WORD.match(given.word)
        return _is_mixed(value) and not is_other and not is_words(value)
    if all(char.isalpha() or char in _JOINTS for char in value) and any(map(str.isalpha, value)):
        return _is_word_password(given)
    return _is_mixed_password(given)


def _is_no_value(given: _Value) -> bool:
    """Tell whether a template, a program, or nothing stands where a password would."""
    value = given.value
    if not _SHORTEST <= len(value) <= _MOST or words.DUMMY.fullmatch(value):
        return True
    is_sure = re.match(r"(?i)_?pass(?:word|phrase)", given.word) is not None
    if _NO_PASSWORD.search(given.before) and not is_sure:
        return True
    is_counted = value[:1].isdigit() and words.UNITS.match(given.text, given.end)
    is_code = (words.TEMPLATE if given.is_quoted else words.PROGRAM).search(value)
    return bool(is_code or is_counted) or "](" in value


def _is_mixed_password(given: _Value) -> bool:
    """Tell whether a value that is not of letters alone is a password, once it is assigned."""
    value = given.value
    if not any(map(str.isalpha, value)):
        is_decimal = re.match(r"[.,]\d", given.text[given.end : given.end + 2])
        return value.isdigit() and not is_decimal
    is_compound = "-" in value and words.ADJECTIVE.fullmatch(value)
    is_counted = re.match(r"\d+-?(?:char|zeichen|digit|bit|letter|stellig)", value)
    is_member = not given.is_quoted and re.fullmatch(r"[a-z_]+\d?(?:\.[a-z_]+\d?)+", value)
    return not (is_compound or is_counted or is_member)


def _is_word_password(given: _Value) -> bool:
    """Tell whether letters alone are a password: clearly assigned, and nothing else is said."""
    value, name = given.value, given.word.lower()
    is_east = value.isascii() and not re.search(r"[a-z\u0430-\u044f]", name)
    is_short = not is_east and (len(value) < _SHORTEST_LETTERS or words.VAGUE.fullmatch(name))
    if is_short or words.TALK.fullmatch(value) or _NAMES.search(value):
        return False
    if is_east:
        return given.is_clause_end
    if given.link == "said":
        is_mine = words.POSSESSIVE.search(given.before) is not None or ":" in given.joint
        is_name = "lautet" in given.joint or ":" in given.joint
        is_noun = is_name or not words.ADJECTIVE.fullmatch(value)
        return is_mine and given.is_clause_end and is_noun
    if given.is_quoted:
        return not words.ADJECTIVE.fullmatch(value)
    is_program = "=" in given.joint and given.joint != "="  # a variable is assigned
    is_camel = re.search(r"[a-z][A-Z]", value) is not None
    return given.is_clause_end and not (is_program or is_camel or _STATE.fullmatch(value))


def _is_phrase(value: str) -> bool:
    """Tell whether quoted words are a passphrase rather than a sentence about passwords."""
    pieces = re.findall(r"[^\W_]+", value.lower())
    is_sentence = re.search(
        r"(?i)\b(?:must|should|at least|characters?|passwor\w+|your|please|enter|is|are"
        r"|the|a|an|for|to|with|and|bitte|ihr|saisir|introduce|votre|tu|zeichen)\b",
        value,
    )
    has_digit = any(map(str.isdigit, value))
    return not is_sentence and (has_digit or len(pieces) >= 4) and len(pieces) <= 12  # noqa: PLR2004


def _is_mixed(value: str) -> bool:
    """Tell whether a value mixes characters as only passwords and tokens do."""
    has_digit, has_letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    has_case = any(map(str.isupper, value)) and any(map(str.islower, value))
    has_mark = any(not char.isalnum() and char not in "-_./:'’(),=[]{}" for char in value)
    is_said = has_digit and has_letter and (has_mark or (has_case and len(value) >= 8))  # noqa: PLR2004
    is_plain = (
        words.DUMMY.fullmatch(value)
        or words.PROGRAM.search(value)
        or re.match(r"(?i)\d+(?:st|nd|rd|th|x|k|mb|gb|%)$", value)
    )
    return not is_plain and (is_said or (len(value) >= _SHORTEST_TOKEN and is_random(value)))


def _settings(text: str) -> Iterator[Span]:
    for match in words.SETTING.finditer(text):
        name, link = match["name"], _linked(match["link"])
        begin = match.end()
        if name.lower().endswith("authorization"):
            scheme = _SCHEME.match(text, begin)
            begin = scheme.end() if scheme else begin
        start, end, is_quoted = _value_at(text, begin, match["open"] or "", link)
        before = text[match.start() - 1 : match.start()] if match.start() else ""
        if words.NO_KEY.fullmatch(name) or (before.isalnum() and name[:1].islower()):
            continue
        value = text[start:end]
        is_member = not is_quoted and words.MEMBER.fullmatch(value)
        is_joined = name[-3:] == "key" and len(name) > 3 and name[-4:-3].isalpha()  # noqa: PLR2004
        if is_member or value[:1] == "#" or (is_joined and not words.STRONG_NAME.search(name)):
            continue
        is_env = link == "assigned" and (
            is_quoted or name.isupper() or match["link"].strip() == match["link"]
        )
        if name.lower().endswith("authorization"):
            is_one = len(value) >= 8 and not is_words(value)  # noqa: PLR2004 - fewer is no token
            is_one = is_one and not words.DUMMY.fullmatch(value) and " " not in value
        else:
            is_one = _is_token(name, value, link, is_env=is_env, is_quoted=is_quoted)
        if is_one and not words.PROGRAM.search(value) and not words.TEMPLATE.search(value):
            yield Span(start, end, SECRET, "token")


def _is_token(name: str, value: str, link: str, *, is_env: bool, is_quoted: bool) -> bool:
    """Tell whether the value of a setting or of a word for tokens looks like a token."""
    if len(value) > _MOST or words.DUMMY.fullmatch(value) or any(map(str.isspace, value)):
        return False
    is_long = len(value) >= _SHORTEST_TOKEN
    if is_long and is_random(value):
        return link == "assigned" or re.fullmatch(r"[A-Za-z]+\d{0,4}[.!?]?", value) is None
    if link != "assigned" or (is_words(value) and (not value.isalpha() or not is_env)):
        return False
    has_digit, has_letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    if has_digit and has_letter:
        is_strong = words.STRONG_NAME.search(name) is not None
        is_short = len(value) >= _SHORTEST_SETTING and bits_per_char(value) >= _TOKEN_BITS - 0.5
        return is_env and is_short and (is_strong or len(value) >= _SHORTEST_TOKEN)
    is_letters = (
        len(value) >= _LONG_TOKEN and value.isalpha() and bits_per_char(value) >= _TOKEN_BITS
    )
    return (
        is_env
        and is_letters
        and (is_quoted or name.isupper())
        and not re.search(r"[a-z][A-Z][a-z]", value)
    )


def _flags(text: str) -> Iterator[Span]:
    for match in words.FLAG.finditer(text):
        opener = next((match[name] for name in ("open", "q1", "q2", "q3") if match[name]), "")
        is_flag = match["link"] is not None
        start, end, _ = _value_at(text, match.end(), opener, "assigned")
        value = text[start:end]
        if (
            value.startswith(("-", "|"))
            or words.DUMMY.fullmatch(value)
            or words.TEMPLATE.search(value)
        ):
            continue
        if words.PROGRAM.match(value) or len(value) < _SHORTEST or words.TALK.fullmatch(value):
            continue
        is_plain = value.isalpha() or is_words(value)
        if is_flag and is_plain and not value.isdigit():
            behind = text[end : end + 3]
            is_option = re.match(r"\s*(?:$|\n|\\|\s-)|[\"'`]", behind) is not None
            if not is_option or (match["link"] == " " and len(value) < _SHORTEST_LETTERS):
                continue
        yield Span(start, end, SECRET, "password")


def _headers(text: str) -> Iterator[Span]:
    for match in words.BEARER.finditer(text):
        start, end = group_span(match, "value")
        value = match["value"].rstrip(".-")
        end = start + len(value)
        ahead = text[max(0, match.start() - 24) : match.start()].lower()
        is_header = "authorization" in ahead
        if words.DUMMY.fullmatch(value) or re.match(r"(?i)your|<", value):
            continue
        if match["scheme"].lower() == "basic":
            is_one = _is_basic(value) or (is_header and len(value) >= 8 and not is_words(value))  # noqa: PLR2004
        else:
            is_one = (len(value) >= _SHORTEST_TOKEN and is_random(value)) or (
                is_header and len(value) >= 8 and not is_words(value)  # noqa: PLR2004
            )
        if is_one:
            yield Span(start, end, SECRET, "token")


def _is_basic(value: str) -> bool:
    """Tell whether a value is a name and a password as HTTP's Basic scheme writes them."""
    if len(value) < 8:  # noqa: PLR2004 - "a:b" is four
        return False
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return False
    return ":" in decoded and decoded.isprintable()


SAID = Detector(
    SECRET,
    joined_lines(r"""
    (?i:passw|passphr|passc|pwd|kennw|mot de passe|mdp|contrase|clave|senha|parol|palavra-p
    |has[łl]|wachtw|lösen|adgang|salas|heslo|sandi|парол|şifre|jelsz|mật kh|wi-?fi key
    |schlüssel)|密码|密碼|口令|パスワ|비밀번|암호|패스워|รหัส|พาสเว|كلمة|باسو
    |पासव|\b[Pp]ass(?:_| ?[:=]| is | \S*\d)
    |\b[pP][wW][ :=\"]|[_A-Z]PASS
    |(?i:key|token|secret|credentials?|authorization|session_?id|sessid)[\"'`\]\\]*\s?[:=：]
    |(?i:key|token|secret|bearer|basic) (?:is |ist |to |es |est )?[\"'`“]?[A-Za-z_.\-+/]*\d
    |[ (\"'`]--[a-z\-]+[= ]|\bmysql|mariadb|sshpass
    |\bcurl |redis-cli| login |\b(?:7z|zip) |ldapsearch
    |(?i:login|log-in|creds|credentials|user|username|account|zugangsdaten|zugang|identifiants?
    |acceso|usuario):"""),
    find,
)
CODES = Detector(
    SECRET,
    rf"(?:{joined_lines(words.CODE_HINT)})[^\n\d\x00]*[\d{FOLDED_MARKS}]",
    find_codes,
)
