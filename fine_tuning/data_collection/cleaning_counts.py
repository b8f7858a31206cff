"""What a cleaning counts, as plain JSON values: the form records and reports keep."""

from __future__ import annotations

from typing import TypedDict


class CleaningStepRecord(TypedDict):
    """What one step did; ``examples`` are pairs of a conversation's id and what was seen."""

    name: str
    seen: int
    changed: int
    dropped: int
    cpu_s: float
    examples: list[list[str]]


class AlikeRecord(TypedDict):
    """Two conversations for a person to compare."""

    first_id: str
    second_id: str
    similarity: float


CleaningCounts = TypedDict(
    "CleaningCounts",
    {
        "in": int,
        "kept": int,
        "dropped": dict[str, int],
        "steps": list[CleaningStepRecord],
        "clusters": int,
        "review": list[AlikeRecord],
    },
)
"""Conversations that came in, were kept and were dropped (by reason), and the work on them."""
