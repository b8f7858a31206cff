"""Finds URLs, e-mail addresses and phone numbers in chat text and puts placeholders there.

The same value gets the same placeholder throughout a conversation (``<EMAIL_1>``). Patterns run in
RE2, whose time is linear in the text. What is not a phone number - decimals, dates, versions,
amounts, bare runs of digits - stays. Names, cards and secrets are not known here.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import phonenumbers
import re2
from phonenumbers import Leniency, PhoneNumberMatcher

URL, EMAIL, PHONE = "URL", "EMAIL", "PHONE"
DEFAULT_REGIONS: tuple[str, ...] = ("US", "GB", "DE")

_FOUND = re2.compile(
    r"(?i)(?P<URL>\b(?:https?|ftp)://[^\s<>\"`{}|\\^]+|\bwww\.[^\s<>\"`{}|\\^]+\.[^\s<>\"`{}|\\^]+)"
    r"|(?P<EMAIL>[\pL\pN._%+\-]*[\pL\pN_%+\-]@(?:[\pL\pN](?:[\pL\pN\-]*[\pL\pN])?\.)+\pL[\pL\pN\-]*\pL)"
    r"|(?P<PHONE>(?:\+?1[ .\-]?)?(?:\(\d{3}\) ?|\d{3}[.\-])\d{3}[.\-]\d{4}\b"
    r"|\+\d{1,3}(?:[ .\-/]?\(?\d{1,5}\)?){2,6})"
)
_PLACEHOLDER = re2.compile(r"<(URL|EMAIL|PHONE)_(\d{1,6})>")
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
_MIN_DIGITS, _MAX_DIGITS = 7, 15
_WORD_REACH_CHARS = 24
_PAIRS = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text that must not be learnt."""

    start: int
    end: int
    kind: str


class Redactor:
    """Replaces private values in the texts of one conversation, counting from 1 for each kind.

    Args:
        regions: Countries (ISO 3166) whose national phone numbers are looked for; numbers with a
            country code are found everywhere.
    """

    def __init__(self, regions: Sequence[str] = DEFAULT_REGIONS) -> None:
        self._regions = tuple(regions)
        self._names: dict[tuple[str, str], str] = {}
        self._counts = {URL: 0, EMAIL: 0, PHONE: 0}

    def reserve(self, text: str) -> None:
        """Keep the placeholders a text has already from being given to other values."""
        for found in _PLACEHOLDER.finditer(text):
            kind, number = found.group(1), int(found.group(2))
            self._counts[kind] = max(self._counts[kind], number)

    def redact(self, text: str) -> str:
        """Return the text with placeholders in it."""
        pieces, end = [], 0
        for span in find_private(text, self._regions):
            pieces += [text[end : span.start], self._name(span.kind, text[span.start : span.end])]
            end = span.end
        return "".join([*pieces, text[end:]]) if pieces else text

    def _name(self, kind: str, value: str) -> str:
        key = re.sub(r"\D", "", value) if kind == PHONE else value
        known = (kind, key.lower() if kind == EMAIL else key)
        if known not in self._names:
            self._counts[kind] += 1
            self._names[known] = f"<{kind}_{self._counts[kind]}>"
        return self._names[known]


def find_private(text: str, regions: Sequence[str] = DEFAULT_REGIONS) -> list[Span]:
    """Return private values in order, none overlapping another."""
    found = list(_patterns(text))
    if not _HAS_DIGITS.search(text):
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


def _patterns(text: str) -> Iterator[Span]:
    for found in _FOUND.finditer(text):
        kind = next(name for name in (URL, EMAIL, PHONE) if found.group(name) is not None)
        start, end = found.span()
        if kind == URL:
            end = start + len(_trim_url(text[start:end]))
        if kind != PHONE or _stands_alone(text, start, end):
            yield Span(start, end, kind)


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
    goes_on = after[:1] in {".", "-", "/", ","} and after[1:].isdigit()
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


def known_regions() -> frozenset[str]:
    """Return the countries whose numbering plans are known."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)
