"""Advice on bounds that leave out much: the value that would keep nearly every exchange."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fine_tuning.data_collection.cleaning_counts import LimitAdvice
from fine_tuning.data_collection.cleaning_steps import BOILERPLATE, CleaningLimits, Step
from fine_tuning.data_collection.exchange_rules import BoundRule

SHARE_TOLD = 0.1
SHARE_KEPT = 0.95


def limit_advice(
    active: Sequence[Step],
    limits: CleaningLimits,
    left_out: Mapping[str, int],
    num_exchanges: int,
    same_replies: NDArray[np.int64],
) -> list[LimitAdvice]:
    """Return advice on each bound that leaves out more than a tenth of all exchanges.

    Args:
        active: The steps of the cleaning, with what they measured.
        limits: Their bounds.
        left_out: Exchanges left out, by reason.
        num_exchanges: All exchanges that came in.
        same_replies: How often each reply was given that ``max_same_reply`` counts.
    """
    least = SHARE_TOLD * num_exchanges

    def bounds() -> Iterator[tuple[str, str, float, float]]:
        for step in active:
            if left_out.get(step.name, 0) > least and step.bound and step.bound.bound is not None:
                rule = step.bound
                yield step.name, rule.setting, step.bound.bound, needed_bound(rule)
        if left_out.get("language", 0) > least:
            number = len(limits.languages)
            yield "language", "data_collection.languages", number, number
        if left_out.get(BOILERPLATE, 0) > least and limits.max_same_reply is not None:
            needed = needed_repeats(same_replies)
            yield BOILERPLATE, "data_collection.max_same_reply", limits.max_same_reply, needed

    return [
        {
            "reason": reason,
            "setting": setting,
            "current": current,
            "needed": needed,
            "left_out": left_out[reason],
        }
        for reason, setting, current, needed in bounds()
    ]


def needed_bound(rule: BoundRule) -> float:
    """Return the bound with which a rule would keep 95 of 100 of the exchanges it measured."""
    values = np.sort(np.frombuffer(rule.values, np.float64))
    if rule.is_least:
        value = float(values[math.floor((1 - SHARE_KEPT) * len(values) + 1e-9)])
    else:
        value = float(values[math.ceil(SHARE_KEPT * len(values) - 1e-9) - 1])
    return value if value == int(value) else math.floor(100 * value) / 100


def needed_repeats(counts: NDArray[np.int64]) -> int:
    """Return how often one reply may be given, so that 95 of 100 of them stay."""
    low, high = 1, int(counts.max(initial=1))
    most_lost = (1 - SHARE_KEPT) * int(counts.sum()) + 1e-9
    while low < high:
        middle = (low + high) // 2
        if int(np.maximum(counts - middle, 0).sum()) <= most_lost:
            high = middle
        else:
            low = middle + 1
    return low
