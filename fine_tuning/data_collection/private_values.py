"""Finds private values in chat text: addresses, phone and account numbers, secrets.

Candidates come from one RE2 alternation, whose time is linear in the text; each is then checked by
what makes it one (check digits, numbering plans, address ranges), so that dates, versions, prices
and order numbers stay. Names of people are not known here.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import phonenumbers
import re2
from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.exceptions import ValidationError

from fine_tuning.data_collection.secret_patterns import (
    SAID,
    VENDOR_KEYS,
    is_said_secret,
    is_vendor_key,
)

URL, EMAIL, PHONE = "URL", "EMAIL", "PHONE"
CARD, IBAN, IP, SECRET = "CARD", "IBAN", "IP", "SECRET"
KINDS: tuple[str, ...] = (URL, EMAIL, PHONE, CARD, IBAN, IP, SECRET)
DEFAULT_REGIONS: tuple[str, ...] = ("US", "GB", "DE")

_KEYS = tuple(VENDOR_KEYS)
_NOT_IN_URL = r"[^\s<>\"`{}|\\^\x00]"
_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 << 20  # of the automaton, which is built as texts need it
_FOUND = re2.compile(
    "|".join(f"(?P<K{index}>{VENDOR_KEYS[name][0]})" for index, name in enumerate(_KEYS))
    + rf"|(?i:(?P<URL>\b(?:https?|ftp)://{_NOT_IN_URL}+|\bwww\.{_NOT_IN_URL}+\.{_NOT_IN_URL}+))"
    r"|(?P<EMAIL>[\pL\pN._%+\-]*[\pL\pN_%+\-]@(?:[\pL\pN](?:[\pL\pN\-]*[\pL\pN])?\.)+\pL[\pL\pN\-]*\pL)"
    rf"|(?P<SAID>{SAID})"
    r"|(?P<IBAN>\b[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){11,30}\b)"
    r"|(?P<IP>\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"
    r"|\b[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4})"
    r"|(?P<CARD>\b\d(?:[ \-]?\d){12,18}\b)"
    r"|(?P<PHONE>(?:\+?1[ .\-]?)?(?:\(\d{3}\) ?|\d{3}[.\-])\d{3}[.\-]\d{4}\b"
    r"|\+\d{1,3}(?:[ .\-/]?\(?\d{1,5}\)?){2,6})",
    _OPTIONS,
)
_VALUE = _FOUND.groupindex["value"]
_HAS_DIGITS = re2.compile(r"\d[\d\s().\-/]{4,}\d")
_NO_PHONE = re2.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*"  # 2026-11-22
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"  # 22.11.2026
    r"|(?:19|20)\d{2}\s*[-/\x{2013}]\s*(?:19|20)\d{2}"  # 2019-2023
    r"|\d+[.,]\d+"  # 37.7749
    r"|\d{1,3}(?:[ .,]\d{3})+"  # 1 000 000
    r"|\d+(?:\.\d+){2,}"  # 10.0.19045
    r"|\d+"  # an order number
)
_PHONE_WORD = re2.compile(
    r"(?i)\b(?:phone|tel|telephone|telefon|call|fax|mobile|cell|handy|whatsapp|sms|text me)\b"
)
_VERSION_WORD = re2.compile(r"(?i)\b(?:v|ver|version|release|section|chapter|build)\.?\s*$")
_CARD_START = re2.compile(r"[34]|5[0-8]|6[0-9]|2[2-7]")  # ISO/IEC 7812 networks in use
_MIN_DIGITS, _MAX_DIGITS = 7, 15
_SHORTEST_IBAN = 15  # Norway
_WORD_REACH_CHARS = 24
_MAX_TRIES = 6  # places in a refused candidate where a value may begin
_WINDOW_CHARS = 300  # no candidate but a key is longer
_PAIRS = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text that must not be learnt; ``what`` says more than the kind ("AWS key")."""

    start: int
    end: int
    kind: str
    what: str = ""


def may_hold_private(joined: str) -> bool:
    """Tell whether :func:`find_private` can find anything in one of some joined texts."""
    return bool(_FOUND.search(joined) or _HAS_DIGITS.search(joined))


def find_private(
    text: str, regions: Sequence[str] = DEFAULT_REGIONS, kinds: Collection[str] = KINDS
) -> list[Span]:
    """Return private values in order, none overlapping another.

    Args:
        text: What was said.
        regions: Countries (ISO 3166) whose national phone numbers are looked for.
        kinds: Those of :data:`KINDS` to return.
    """
    found = [span for span in _patterns(text) if span.kind in kinds]
    if PHONE not in kinds or not _HAS_DIGITS.search(text):
        return found
    starts = [span.start for span in found]
    phones = sorted(
        (span for region in regions for span in _phones(text, region)),
        key=lambda span: (span.start, -span.end),
    )
    extra: list[Span] = []
    end = 0
    for span in phones:
        place = bisect_left(starts, span.end)  # the pattern before it is the only one to overlap
        is_free = place == 0 or found[place - 1].end <= span.start
        if is_free and span.start >= end:
            extra.append(span)
            end = span.end
    return sorted([*found, *extra], key=lambda span: span.start)


def known_regions() -> frozenset[str]:
    """Return the countries whose numbering plans are known."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What the alternation found, at its place in the text; a said secret's word and value too."""

    name: str
    start: int
    end: int
    word: str = ""
    value_start: int = 0

    @classmethod
    def of(cls, found: Any, base: int) -> _Candidate:  # noqa: ANN401 - re2's match
        start, end = found.span()
        if found.group("SAID") is None:
            return cls(found.lastgroup, base + start, base + end)
        value_start = base + found.start(_VALUE)
        return cls("SAID", base + start, base + end, found.group("word"), value_start)


def _patterns(text: str) -> Iterator[Span]:
    """Yield what the alternation finds and the checks confirm, none overlapping another."""
    end = 0
    for found in _FOUND.finditer(text):
        for span in _confirmed(text, _Candidate.of(found, 0)):
            if span.start >= end:
                yield span
                end = span.end


def _confirmed(text: str, candidate: _Candidate) -> Iterator[Span]:
    """Yield a candidate's span, or the spans that begin within a candidate that is none."""
    span = _checked(text, candidate)
    if span is not None:
        yield span
        return
    place = _next_start(text, candidate)
    for _ in range(_MAX_TRIES):
        window = text[place : candidate.end + _WINDOW_CHARS]
        found = _FOUND.search(window)
        if found is None or place + found.start() >= candidate.end:
            return
        inner = _Candidate.of(found, place)
        span = _checked(text, inner)
        if span is not None:
            yield span
        place = span.end if span is not None else _next_start(text, inner)


def _next_start(text: str, candidate: _Candidate) -> int:
    """Return where in a refused candidate another value may begin; its end if nowhere."""
    if candidate.name == "SAID":
        return candidate.value_start
    if candidate.end - candidate.start > _WINDOW_CHARS or candidate.name.startswith("K"):
        return candidate.end
    place = candidate.start + 1
    while place < candidate.end and text[place].isalnum():
        place += 1
    return place


def _checked(text: str, candidate: _Candidate) -> Span | None:
    name, start, end = candidate.name, candidate.start, candidate.end
    if name.startswith("K"):
        what = _KEYS[int(name[1:])]
        return Span(start, end, SECRET, what) if is_vendor_key(what, text[start:end]) else None
    if name == "SAID":
        return _said(text, candidate)
    return _CHECKS[name](text, start, end)


def _said(text: str, candidate: _Candidate) -> Span | None:
    start, value = candidate.value_start, text[candidate.value_start : candidate.end]
    between = text[candidate.start : start].rpartition(candidate.word)[2]
    if not is_said_secret(candidate.word, value, is_assigned=bool(between.strip(" \t\"'`"))):
        return None
    return Span(start, start + len(value.rstrip(".!?:)")), SECRET, "password or token")


def _url(text: str, start: int, end: int) -> Span | None:
    return Span(start, start + len(_trim_url(text[start:end])), URL)


def _email(text: str, start: int, end: int) -> Span | None:  # noqa: ARG001 - all checks alike
    return Span(start, end, EMAIL)


def _iban(text: str, start: int, end: int) -> Span | None:
    """Find the account number at a candidate's start: words that follow are not part of it."""
    candidate = text[start:end]
    while sum(map(str.isalnum, candidate)) >= _SHORTEST_IBAN:
        if _is_iban(candidate):
            return Span(start, start + len(candidate), IBAN)
        candidate = candidate[:-1].rstrip(" -")
    return None


def _is_iban(value: str) -> bool:
    try:
        iban.validate(value.upper())
    except ValidationError:
        return False
    return True


def _ip(text: str, start: int, end: int) -> Span | None:
    """Find addresses of the public internet; versions and section numbers are none."""
    value = text[start:end].rstrip(":")
    after = text[end : end + 2]
    if text[max(0, start - 1) : start] in {".", "-", "/"} or _goes_on(after, {"."}):
        return None
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    octets = value.split(".")
    is_version = len(octets) > 1 and all(len(octet) == 1 for octet in octets)
    said = text[max(0, start - _WORD_REACH_CHARS) : start]
    if not address.is_global or is_version or _VERSION_WORD.search(said):
        return None
    return Span(start, start + len(value), IP)


def _card(text: str, start: int, end: int) -> Span | None:
    digits = "".join(filter(str.isdigit, text[start:end]))
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    is_part = before in {"+", ".", ",", "-", "/"} or _goes_on(after, {".", "-"})
    is_one = _CARD_START.match(digits) and luhn.is_valid(digits)
    return Span(start, end, CARD) if is_one and not is_part else None


def _phone(text: str, start: int, end: int) -> Span | None:
    return Span(start, end, PHONE) if _stands_alone(text, start, end) else None


_CHECKS: dict[str, Callable[[str, int, int], Span | None]] = {
    "URL": _url,
    "EMAIL": _email,
    "IBAN": _iban,
    "IP": _ip,
    "CARD": _card,
    "PHONE": _phone,
}


def _goes_on(after: str, joints: Collection[str]) -> bool:
    """Tell whether a number goes on behind its match."""
    return after[:1] in joints and after[1:].isdigit()


def _trim_url(url: str) -> str:
    """Give back what a sentence put after an address: full stops, quotes, a closing bracket."""
    surplus = {closer: url.count(closer) - url.count(opener) for closer, opener in _PAIRS.items()}
    end = len(url)
    while end and (url[end - 1] in ".,;:!?'*_" or surplus.get(url[end - 1], 0) > 0):
        end -= 1
        if url[end] in surplus:
            surplus[url[end]] -= 1
    return url[:end]


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether digits are all there is to a number: no letters or digits go on at its ends."""
    digits = sum(char.isdigit() for char in text[start:end])
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    runs_on = before.isalnum() or before in {".", "-", "/", "+", "="} or after[:1].isalnum()
    goes_on = _goes_on(after, {".", "-", "/", ","})
    return _MIN_DIGITS <= digits <= _MAX_DIGITS and not runs_on and not goes_on


def _phones(text: str, region: str) -> Iterator[Span]:
    """Find numbers a region's numbering plan knows, less those that are something else."""
    for found in PhoneNumberMatcher(text, region, leniency=Leniency.EXACT_GROUPING):
        start, end, raw = found.start, found.end, found.raw_string
        if not _stands_alone(text, start, end):
            continue
        is_said = bool(_PHONE_WORD.search(text[max(0, start - _WORD_REACH_CHARS) : start]))
        if is_said or raw.startswith(("+", "(")) or not _NO_PHONE.fullmatch(raw):
            yield Span(start, end, PHONE)
