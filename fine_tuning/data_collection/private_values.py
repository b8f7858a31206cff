"""Finds private values in chat text: addresses, phone and account numbers, secrets.

One RE2 alternation of all kinds' triggers, whose time is linear in the text, tells whether any may
be there; the kinds are then searched and checked by what makes a value one (check digits,
numbering plans, what is said around it). Names of people are not known here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence

import re2

from fine_tuning.data_collection import (
    mail_addresses,
    national_ids,
    phone_numbers,
    private_numbers,
    said_secrets,
    secret_patterns,
    street_addresses,
    web_addresses,
)
from fine_tuning.data_collection.phone_numbers import known_regions
from fine_tuning.data_collection.private_spans import (
    ADDRESS,
    CARD,
    EMAIL,
    IBAN,
    ID,
    IP,
    KINDS,
    MAC,
    PHONE,
    SECRET,
    URL,
    Detector,
    Span,
    compiled,
    fold,
)

__all__ = [
    "ADDRESS", "CARD", "DEFAULT_REGIONS", "DETECTORS", "EMAIL", "IBAN", "ID", "IP", "KINDS", "MAC",
    "PHONE", "SECRET", "URL", "Span", "detectors_for", "find_private", "known_regions",
    "may_hold_private",
]  # fmt: skip
DEFAULT_REGIONS: tuple[str, ...] = ("US", "GB", "DE")

DETECTORS = (  # in the order of trust: of two values equally long the earlier counts
    secret_patterns.DETECTOR,
    web_addresses.WITH_PASSWORD,
    web_addresses.PLAIN,
    mail_addresses.PLAIN,
    mail_addresses.OBFUSCATED,
    private_numbers.IBANS,
    national_ids.DETECTOR,
    private_numbers.CARDS,
    said_secrets.SAID,
    private_numbers.MACS,
    private_numbers.IPS,
    said_secrets.CODES,
    phone_numbers.DETECTOR,
    street_addresses.DETECTOR,
)
PLACEHOLDER = re2.compile(rf"<({'|'.join(KINDS)})_(\d{{1,6}})>")
_MAY_HOLD = compiled(
    "|".join(f"(?:{detector.trigger})" for detector in DETECTORS), has_groups=False
)
_TRIGGERS = tuple(compiled(detector.trigger, has_groups=False) for detector in DETECTORS)


def may_hold_private(joined: str) -> bool:
    """Tell whether :func:`find_private` can find anything in one of some joined texts."""
    return bool(_MAY_HOLD.search(joined))


def detectors_for(joined: str) -> tuple[Detector, ...]:
    """Return the searches that can find anything in one of some joined texts."""
    if not _MAY_HOLD.search(joined):
        return ()
    pairs = zip(DETECTORS, _TRIGGERS, strict=True)
    return tuple(detector for detector, trigger in pairs if trigger.search(joined))


def find_private(
    text: str,
    regions: Sequence[str] = DEFAULT_REGIONS,
    kinds: Collection[str] = KINDS,
    detectors: Sequence[Detector] | None = None,
) -> list[Span]:
    """Return private values in order, none overlapping another or a placeholder.

    Args:
        text: What was said.
        regions: Countries (ISO 3166) whose national phone numbers are looked for.
        kinds: Those of :data:`KINDS` to return.
        detectors: What :func:`detectors_for` returned for texts with this one; None to ask it.
    """
    if detectors is None:
        detectors = detectors_for(text)
    if not detectors:
        return []
    folded = fold(text)
    spans: list[tuple[int, int, Span]] = []
    for rank, detector in enumerate(detectors):
        if detector.kind in kinds:
            spans += [(s.start - s.end, rank, s) for s in detector.find(folded, regions)]
    if not spans:
        return []
    taken = [m.span() for m in PLACEHOLDER.finditer(text)] if "<" in text else []
    return _apart((span for _, _, span in sorted(spans, key=lambda s: s[:2])), taken)


def _apart(spans: Iterable[Span], taken: list[tuple[int, int]]) -> list[Span]:
    """Return those of some spans that overlap no earlier one and nothing that is taken."""
    kept = []
    for span in spans:
        index = bisect_left(taken, (span.end, 0))  # only the last that begins before can overlap
        if index == 0 or taken[index - 1][1] <= span.start:
            insort(taken, (span.start, span.end))
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)
