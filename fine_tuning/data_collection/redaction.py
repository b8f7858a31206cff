"""Puts placeholders where private values stand; the same value has one name in a conversation.

``<EMAIL_1>`` is the same address throughout a conversation, and another in the next one. What is
private, ``private_values`` knows; a value that one text calls private is so in the others too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.cleaning_item import CleaningItem, edit_texts, texts_of
from fine_tuning.data_collection.private_spans import Detector
from fine_tuning.data_collection.private_values import (
    CARD,
    DEFAULT_REGIONS,
    EMAIL,
    IBAN,
    ID,
    IP,
    KINDS,
    MAC,
    PHONE,
    PLACEHOLDER,
    SECRET,
    Span,
    detectors_for,
    find_private,
)
from fine_tuning.data_collection.said_secrets import is_secret_name, is_secret_value
from fine_tuning.data_collection.text_repair import SEPARATOR

_MOST_PASSES = 4
_SHORTEST_KNOWN, _FEWEST_KNOWN_DIGITS = 6, 6
_SIGNS = {
    "dot": ".",
    "punkt": ".",
    "punto": ".",
    "point": ".",
    "ponto": ".",
    "kropka": ".",
    "точка": ".",
}
_SIGNS |= dict.fromkeys(("at", "ät", "arroba", "arobase", "chiocciola", "собака", "małpa"), "@")


class Redactor:
    """Replaces private values in the texts of one conversation, counting from 1 for each kind.

    Args:
        regions: Countries (ISO 3166) whose national phone numbers are looked for; numbers with a
            country code are found everywhere.
        kinds: What to replace, of ``private_values.KINDS``.
    """

    def __init__(
        self, regions: Sequence[str] = DEFAULT_REGIONS, kinds: Collection[str] = KINDS
    ) -> None:
        self._regions = tuple(regions)
        self._kinds = frozenset(kinds)
        self._names: dict[tuple[str, str], str] = {}
        self._counts = dict.fromkeys(KINDS, 0)
        self._known: dict[str, str] = {}
        self._detectors: tuple[Detector, ...] | None = None

    def limit_to(self, detectors: tuple[Detector, ...]) -> None:
        """Search only by those detectors whose triggers the conversation has."""
        self._detectors = detectors

    def reserve(self, text: str) -> None:
        """Keep the placeholders a text has already from being given to other values."""
        for found in PLACEHOLDER.finditer(text):
            kind, number = found.group(1), int(found.group(2))
            self._counts[kind] = max(self._counts[kind], number)

    def keep_in_mind(self, text: str) -> None:
        """Replace values that this text calls private in texts that do not call them so."""
        for span in find_private(text, self._regions, self._kinds, self._detectors):
            value = text[span.start : span.end]
            if span.kind in {SECRET, ID, PHONE} and _is_telling(value):
                self._known[value] = span.kind

    def keep_value(self, name: str, value: str) -> None:
        """Replace the value of a field whose name says that it is a secret."""
        if SECRET in self._kinds and is_secret_value(name, value):
            self._known[value] = SECRET

    def redact(self, text: str) -> str:
        """Return the text with placeholders in it."""
        for _ in range(_MOST_PASSES):  # what stood beside a value may let another be seen
            redacted = self._redact_once(text)
            if redacted == text:
                break
            text = redacted
        return text

    def _redact_once(self, text: str) -> str:
        spans = find_private(text, self._regions, self._kinds, self._detectors)
        if self._known:
            spans = _with_known(text, spans, self._known)
        pieces, end = [], 0
        for span in spans:
            pieces += [text[end : span.start], self._name(span.kind, text[span.start : span.end])]
            end = span.end
        return "".join([*pieces, text[end:]]) if pieces else text

    def _name(self, kind: str, value: str) -> str:
        known = (kind, _same(kind, value))
        if known not in self._names:
            self._counts[kind] += 1
            self._names[known] = f"<{kind}_{self._counts[kind]}>"
        return self._names[known]


def _is_telling(value: str) -> bool:
    """Tell whether a value is so much its own that it is the same wherever it stands."""
    digits = sum(map(str.isdigit, value))
    is_mixed = digits > 0 and any(not char.isdigit() for char in value)
    return len(value) >= _SHORTEST_KNOWN and (is_mixed or digits >= _FEWEST_KNOWN_DIGITS)


def _with_known(text: str, spans: list[Span], known: Mapping[str, str]) -> list[Span]:
    """Return spans with those of known values that stand free of them, in order."""
    taken = [(span.start, span.end) for span in spans]
    taken += [found.span() for found in PLACEHOLDER.finditer(text)] if "<" in text else []
    extra: list[Span] = []
    for value, kind in known.items():
        start = text.find(value)
        while start >= 0:
            end = start + len(value)
            edges = text[start - 1 : start] + text[end : end + 1]
            is_apart = all(end <= begin or stop <= start for begin, stop in taken)
            if is_apart and not any(char.isascii() and char.isalnum() for char in edges):
                extra.append(Span(start, end, kind))
                taken.append((start, end))
            start = text.find(value, end)
    return sorted([*spans, *extra], key=lambda span: span.start)


def _same(kind: str, value: str) -> str:
    """Return what two spellings of one value share."""
    if kind in {PHONE, CARD}:
        digits = re.sub(r"\D", "", value.replace("(0)", ""))
        return digits[2:] if digits.startswith("00") else digits
    if kind in {IBAN, ID, MAC}:
        return re.sub(r"\W", "", value).upper()
    if kind == EMAIL:
        return _plain_email(value)
    return value.lower() if kind == IP else value


def _plain_email(value: str) -> str:
    """Return an address with its signs, however they were written."""
    value = re.sub(r"&#64;|&#x40;|&commat;|\uff20", "@", value.lower())
    pieces = re.findall(r"[^\W_]+|[._\-+@]", value)
    return (
        "".join(_SIGNS.get(piece, piece) for piece in pieces)
        if "@" not in value
        else "".join(value.split())
    )


def redact_entry(
    entry: CleaningItem, regions: Sequence[str] = DEFAULT_REGIONS, kinds: Collection[str] = KINDS
) -> Conversation:
    """Return an entry's conversation with placeholders for private values, stable throughout."""
    fields = list(_secret_fields(entry.conversation))
    detectors = detectors_for(entry.joined)
    joined = entry.joined.replace(SEPARATOR, "\n\n")
    if not fields and not (detectors and find_private(joined, regions, kinds, detectors)):
        return entry.conversation
    redactor = Redactor(regions, kinds)
    redactor.limit_to(detectors)
    for name, value in fields:
        redactor.keep_value(name, value)
    for text in texts_of(entry.conversation):
        if "<" in text:
            redactor.reserve(text)
        redactor.keep_in_mind(text)
    return edit_texts(entry.conversation, redactor.redact)


def _secret_fields(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the tools' arguments that are called as secrets are."""
    for message in conversation.messages:
        for call in message.tool_calls:
            yield from _fields(call.arguments)


def _fields(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, str) and item and is_secret_name(str(name)):
                yield str(name), item
            yield from _fields(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _fields(item)
