"""Puts placeholders where private values stand; the same value has one name in a conversation.

``<EMAIL_1>`` is the same address throughout a conversation, and another in the next one. What is
private, ``private_values`` knows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import re2

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.cleaning_item import CleaningItem, edit_texts, texts_of
from fine_tuning.data_collection.private_values import (
    CARD,
    DEFAULT_REGIONS,
    EMAIL,
    IBAN,
    KINDS,
    PHONE,
    find_private,
    may_hold_private,
)

_PLACEHOLDER = re2.compile(rf"<({'|'.join(KINDS)})_(\d{{1,6}})>")


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

    def reserve(self, text: str) -> None:
        """Keep the placeholders a text has already from being given to other values."""
        for found in _PLACEHOLDER.finditer(text):
            kind, number = found.group(1), int(found.group(2))
            self._counts[kind] = max(self._counts[kind], number)

    def redact(self, text: str) -> str:
        """Return the text with placeholders in it."""
        pieces, end = [], 0
        for span in find_private(text, self._regions, self._kinds):
            pieces += [text[end : span.start], self._name(span.kind, text[span.start : span.end])]
            end = span.end
        return "".join([*pieces, text[end:]]) if pieces else text

    def _name(self, kind: str, value: str) -> str:
        known = (kind, _same(kind, value))
        if known not in self._names:
            self._counts[kind] += 1
            self._names[known] = f"<{kind}_{self._counts[kind]}>"
        return self._names[known]


def _same(kind: str, value: str) -> str:
    """Return what two spellings of one value share."""
    if kind in {PHONE, CARD}:
        return re.sub(r"\D", "", value)
    if kind == IBAN:
        return re.sub(r"\W", "", value).upper()
    return value.lower() if kind == EMAIL else value


def redact_entry(
    entry: CleaningItem, regions: Sequence[str] = DEFAULT_REGIONS, kinds: Collection[str] = KINDS
) -> Conversation:
    """Return an entry's conversation with placeholders for private values, stable throughout."""
    if not may_hold_private(entry.joined):
        return entry.conversation
    redactor = Redactor(regions, kinds)
    if "<" in entry.joined:
        for text in texts_of(entry.conversation):
            redactor.reserve(text)
    return edit_texts(entry.conversation, redactor.redact)
