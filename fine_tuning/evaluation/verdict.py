"""The gate every candidate passes: promote, reject, or not enough evidence, with every reason.

A candidate is promoted only when its primary metric is better beyond chance, every guard is shown
to be no worse than its margin allows, and every canary holds. Anything shown to be worse rejects
it. What remains undecided is said to be undecided, with how many more items would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.loops import Outcome
from fine_tuning.evaluation.comparison import ComparedMetric, Comparison

Finding = Literal["holds", "fails", "undecided"]
MIN_CLUSTERS = 8
"""Fewer independent items than this decide nothing, however clear they look."""


MOST_ITEMS = 10_000
"""More independent items than this nobody collects: the number is not told as advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A metric that must not get worse by more than ``margin``, in the metric's own unit."""

    suite: str
    metric: str
    margin: float

    def __post_init__(self) -> None:
        """Refuse a margin that asks for more than no harm."""
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise DataError(f"guard {self.metric!r} has margin {self.margin}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a candidate must show: a better primary metric, and guards that hold."""

    suite: str
    metric: str
    guards: tuple[Guard, ...] = ()
    min_clusters: int = MIN_CLUSTERS

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One check and what it found; ``items_needed`` estimates what would decide an open one."""

    check: str
    finding: Finding
    sentence: str
    items_needed: int | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "check": self.check,
            "finding": self.finding,
            "sentence": self.sentence,
            "items_needed": self.items_needed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's answer about a candidate."""

    candidate: str
    reference: str
    outcome: Outcome
    reasons: tuple[Reason, ...]

    @property
    def items_needed(self) -> int | None:
        """How many independent items the most demanding open check needs; None if unknown."""
        needed = [r.items_needed for r in self.reasons if r.items_needed is not None]
        return max(needed, default=None)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "candidate": self.candidate,
            "reference": self.reference,
            "outcome": self.outcome,
            "items_needed": self.items_needed,
            "reasons": [reason.to_dict() for reason in self.reasons],
        }


def decide(
    comparisons: Sequence[Comparison],
    policy: Policy,
    canaries: Mapping[str, bool] | None = None,
    *,
    since_zero: Sequence[Comparison] = (),
) -> Verdict:
    """Decide on a candidate by its comparisons with the reference, one per suite.

    Args:
        comparisons: All against the same reference; each suite at most once.
        policy: The primary metric and the guards.
        canaries: Named checks that must hold, such as a phrase that must never be said.
        since_zero: Comparisons with the untuned base, where the reference is a tuned model: every
            guard on a suite among them must hold against the base too, so that many small losses
            do not add up unseen.

    Raises:
        DataError: if a suite is missing or twice, a metric is missing, or the comparisons are
            about different models.
    """
    suites = _by_suite(comparisons)
    primary = _find(suites, policy.suite, policy.metric)
    reasons = [_primary_reason(primary, suites[policy.suite], policy.min_clusters)]
    for guard in policy.guards:
        row = _find(suites, guard.suite, guard.metric)
        reasons.append(_guard_reason(row, guard, policy.min_clusters))
    for zero in since_zero:
        for guard in (guard for guard in policy.guards if guard.suite == zero.suite):
            found = _guard_reason(zero.row(guard.metric), guard, policy.min_clusters)
            since = f"since generation zero, {found.sentence}"
            reasons.append(replace(found, check=f"{found.check} since zero", sentence=since))
    for name, holds in (canaries or {}).items():
        said = "holds" if holds else "does not hold"
        reasons.append(
            Reason(
                check=f"canary {name}",
                finding="holds" if holds else "fails",
                sentence=f"canary {name} {said}",
            )
        )
    return Verdict(
        candidate=comparisons[0].candidate,
        reference=comparisons[0].reference,
        outcome=_outcome(reasons),
        reasons=tuple(reasons),
    )


def _outcome(reasons: Sequence[Reason]) -> Outcome:
    findings = {reason.finding for reason in reasons}
    if "fails" in findings:
        return "reject"
    return "not enough evidence" if "undecided" in findings else "promote"


def _by_suite(comparisons: Sequence[Comparison]) -> dict[str, Comparison]:
    pairs = {(comparison.reference, comparison.candidate) for comparison in comparisons}
    suites = {comparison.suite: comparison for comparison in comparisons}
    if len(pairs) != 1 or len(suites) != len(comparisons):
        raise DataError(
            f"the gate was given {len(comparisons)} comparisons of {len(suites)} suites and "
            f"{len(pairs)} pairs of models, expected one pair and each suite once"
        )
    return suites


def _find(suites: Mapping[str, Comparison], suite: str, metric: str) -> ComparedMetric:
    if suite not in suites:
        raise DataError(
            f"the gate asks for suite {suite!r}, the comparisons are of {', '.join(suites)}"
        )
    row = suites[suite].row(metric)
    if row.higher_is_better is None:
        raise DataError(f"metric {metric!r} has no better direction, so it cannot decide anything")
    return row


def _primary_reason(row: ComparedMetric, comparison: Comparison, min_clusters: int) -> Reason:
    """Better beyond chance: the interval lies above zero."""
    check = f"primary {comparison.suite}/{row.name}"
    interval = row.gain_interval
    if interval is None or row.num_clusters < min_clusters:
        return _too_few(check, row, min_clusters)
    seen = f"{row.name} changed by {_signed(row, interval)}, better is positive, p {row.p:.2g}"
    if interval[0] > 0:
        return Reason(check=check, finding="holds", sentence=f"{seen}: better beyond chance")
    if interval[1] < 0:
        return Reason(check=check, finding="fails", sentence=f"{seen}: worse beyond chance")
    if not row.wins and not row.losses:
        same = f"equal: {row.name} is the same on each of {row.num_items} items"
        return Reason(check=check, finding="undecided", sentence=same)
    needed = _needed(row.smallest_detectable, row.gain, row.num_clusters)
    power = comparison.power_sentence(row.name)
    return Reason(
        check=check,
        finding="undecided",
        sentence=f"{seen}: no difference beyond chance; {power}{_more(needed, row)}",
        items_needed=needed,
    )


def _guard_reason(row: ComparedMetric, guard: Guard, min_clusters: int) -> Reason:
    """No worse than the margin: the interval's lower end lies above it."""
    check = f"guard {guard.suite}/{row.name}"
    interval = row.gain_interval
    if interval is None or row.num_clusters < min_clusters:
        return _too_few(check, row, min_clusters)
    allowed = f"may worsen by {guard.margin:.3g}"
    seen = f"{row.name} changed by {_signed(row, interval)}, better is positive, {allowed}"
    if interval[0] >= -guard.margin:
        return Reason(check=check, finding="holds", sentence=f"{seen}: within the margin")
    if interval[1] < -guard.margin:
        return Reason(check=check, finding="fails", sentence=f"{seen}: worse than allowed")
    # Enough items would move the lower end of the interval up to the margin.
    needed = _needed(row.gain - interval[0], row.gain + guard.margin, row.num_clusters)
    return Reason(
        check=check,
        finding="undecided",
        sentence=f"{seen}: the interval reaches beyond the margin{_more(needed, row)}",
        items_needed=needed,
    )


def _more(needed: int | None, row: ComparedMetric) -> str:
    """Say how many more items would decide, if the difference stays as it was seen."""
    if needed is None:
        return ""
    if needed > MOST_ITEMS:
        return "; no realistic number of items would decide"
    return f"; about {needed - row.num_clusters} more items like these would decide"


def _signed(row: ComparedMetric, interval: tuple[float, float]) -> str:
    return f"{row.gain:+.3g} ({interval[0]:+.3g} to {interval[1]:+.3g})"


def _too_few(check: str, row: ComparedMetric, min_clusters: int) -> Reason:
    return Reason(
        check=check,
        finding="undecided",
        sentence=(
            f"{row.name} was evaluated on {row.num_clusters} independent items, "
            f"expected at least {min_clusters}"
        ),
        items_needed=min_clusters,
    )


def _needed(width: float | None, wanted: float, num_clusters: int) -> int | None:
    """Return the clusters at which a width shrinks to what is wanted; widths go with 1/sqrt(n).

    None where no number would do; above ``MOST_ITEMS`` nobody would collect them.
    """
    if width is None or wanted <= 0:
        return None
    return max(num_clusters + 1, math.ceil(num_clusters * (width / wanted) ** 2))
