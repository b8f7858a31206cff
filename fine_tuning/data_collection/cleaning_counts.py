"""What a cleaning counts, as plain JSON values: the form records and reports keep."""

from __future__ import annotations

from typing import TypedDict


class CleaningStepRecord(TypedDict):
    """What one step did to conversations; ``left_out`` are exchanges.

    ``examples`` are pairs of a conversation's id and what was seen.
    """

    name: str
    seen: int
    changed: int
    dropped: int
    left_out: int
    cpu_s: float
    examples: list[list[str]]


class AlikeRecord(TypedDict):
    """Two conversations for a person to compare."""

    first_id: str
    second_id: str
    similarity: float


ExchangeCounts = TypedDict("ExchangeCounts", {"in": int, "kept": int, "left_out": dict[str, int]})
"""Exchanges that came in, are trained on, and are left out (by reason); the sum holds."""


class LimitAdvice(TypedDict):
    """A rule with a bound that leaves out more than a tenth of all exchanges.

    ``setting`` is its key, ``current`` its value, ``needed`` the value that would keep 95 % of
    the exchanges, ``left_out`` the exchanges it leaves out now.
    """

    reason: str
    setting: str
    current: float
    needed: float
    left_out: int


CleaningCounts = TypedDict(
    "CleaningCounts",
    {
        "in": int,
        "kept": int,
        "dropped": dict[str, int],
        "steps": list[CleaningStepRecord],
        "clusters": int,
        "review": list[AlikeRecord],
        "exchanges": ExchangeCounts,
        "advice": list[LimitAdvice],
    },
)
"""Conversations that came in, were kept and were dropped (by reason), and the work on them.

``exchanges`` counts what is left out inside of them; ``advice`` names the bounds that cost much.
"""
