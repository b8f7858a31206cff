"""Two models on the same items: is the difference real, how large, and what could not be seen.

Each metric gets its difference with a bootstrap interval over clusters, the p-value of a sign-flip
test, Holm's correction over the metrics, wins, ties and losses, and the smallest difference a set
of this size shows. What this does not know: whether to promote (see verdict.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_shape import build, data_errors
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.evaluation import resampling
from fine_tuning.evaluation.metrics import MetricResult, metric_named
from fine_tuning.evaluation.results import SuiteResult

RESAMPLES = 10_000
POWER_RESAMPLES = 2000
"""Experiments that are imagined to find the smallest difference one like this would show."""
CONFIDENCE = 0.95
POWER = 0.8
MANY_CLUSTERS = 40
"""Below, a sample tells too little of how such samples vary: the stated power is a rough figure."""
TIE = 1e-9
"""Item values closer than this, relative to their size, are a tie: rounding, not a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """One metric of two models; ``difference`` is candidate minus reference, in the metric's unit.

    ``low`` and ``high`` bound the difference with the comparison's confidence, and
    ``smallest_detectable`` is the true difference such a set would show; all three are None when
    there are fewer than two clusters, and the last also when no item differs.
    ``p_holm`` is None for metrics without a better direction: they are not tested.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    reference: float
    candidate: float
    difference: float
    low: float | None
    high: float | None
    p: float
    p_holm: float | None
    wins: int
    ties: int
    losses: int
    smallest_detectable: float | None
    num_items: int
    num_clusters: int

    @property
    def gain(self) -> float:
        """The difference, turned so that positive is better (as it is without a direction)."""
        return -self.difference if self.higher_is_better is False else self.difference

    @property
    def gain_interval(self) -> tuple[float, float] | None:
        """The interval, turned like :attr:`gain`; None when there is none."""
        if self.low is None or self.high is None:
            return None
        return (-self.high, -self.low) if self.higher_is_better is False else (self.low, self.high)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            ShapeError: if a field is missing or of the wrong type.
        """
        return build(raw, cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against a reference on one suite, metric by metric."""

    suite: str
    reference: str
    candidate: str
    rows: tuple[ComparedMetric, ...]
    confidence: float = CONFIDENCE
    power: float = POWER
    resamples: int = RESAMPLES
    seed: int = 0

    def row(self, name: str) -> ComparedMetric:
        """Return a metric's row.

        Raises:
            DataError: if the suite was not measured by it.
        """
        return metric_named(self.rows, name, f"the comparison on {self.suite!r}")

    def power_sentence(self, name: str) -> str:
        """Say in one sentence what this set could not have shown."""
        row = self.row(name)
        if row.smallest_detectable is None:
            return f"{row.num_clusters} independent items show nothing about {row.name} here"
        size = f"{row.smallest_detectable:.3g} {row.unit}".strip()
        roughly = "roughly " if row.num_clusters < MANY_CLUSTERS else ""
        return (
            f"{row.num_clusters} independent items cannot reliably show a difference in "
            f"{row.name} below {size} ({roughly}{self.power:.0%} power)"
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        raw = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {**raw, "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a field is missing or of the wrong type.
        """
        with data_errors("a comparison"):
            return build(raw, cls)


def compare(
    reference: SuiteResult,
    candidate: SuiteResult,
    *,
    metrics: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare two models on the items of one suite.

    Corpus metrics (BLEU, chrF) are compared by the mean of their items' scores, as their row's unit
    says: a corpus score is no mean over items, so it has no paired differences.

    Args:
        reference: The base or the previous model's result.
        candidate: The new model's result on the same items, in any order.
        metrics: Which metrics; empty for all that both have.
        seed: Of every resampling; the same seed gives the same digits.
        resamples: Of the bootstrap and of the sign-flip test.
        confidence: Of the intervals, between 0 and 1.

    Raises:
        DataError: if the suites or their items differ, a metric is missing, or items weigh
            differently (texts were tokenized differently).
    """
    order = _order(reference, candidate)
    shared = [metric.name for metric in reference.metrics]
    others = {metric.name for metric in candidate.metrics}
    names = list(metrics) or [name for name in shared if name in others]
    rows = [
        _row(
            reference.metric(name),
            _reordered(candidate.metric(name), order),
            reference.clusters,
            (seed, resamples, confidence),
        )
        for name in names
    ]
    return Comparison(
        suite=reference.suite,
        reference=reference.model,
        candidate=candidate.model,
        rows=_with_holm(rows),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def corrected_together(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Apply Holm's correction over the metrics of several suites, which are asked at once."""
    rows = iter(_with_holm([row for found in comparisons for row in found.rows]))
    return tuple(
        replace(found, rows=tuple(next(rows) for _ in found.rows)) for found in comparisons
    )


def _order(reference: SuiteResult, candidate: SuiteResult) -> list[int]:
    """Return where each of the reference's items stands in the candidate's result."""
    if reference.suite != candidate.suite:
        raise DataError(
            f"suite {reference.suite!r} is compared with suite {candidate.suite!r}, "
            "expected the same suite"
        )
    if reference.item_ids == candidate.item_ids:
        return list(range(len(reference.item_ids)))
    places = {identity: place for place, identity in enumerate(candidate.item_ids)}
    missing = set(reference.item_ids) ^ set(candidate.item_ids)
    if missing or not len(places) == len(reference.item_ids) == len(candidate.item_ids):
        what = f"{sorted(missing)[0]!r} is in one only" if missing else "an id stands twice"
        raise DataError(
            f"{reference.model} was evaluated on {len(reference.item_ids)} items of suite "
            f"{reference.suite!r} and {candidate.model} on {len(candidate.item_ids)}: {what}; "
            "expected the same items",
            next_command="fine-tuning evaluate both models on the same data set",
        )
    return [places[identity] for identity in reference.item_ids]


def _reordered(metric: MetricResult, order: Sequence[int]) -> MetricResult:
    items = tuple(metric.items[place] for place in order)
    weights = tuple(metric.weights[place] for place in order) if metric.weights else ()
    return replace(metric, items=items, weights=weights)


def _row(
    reference: MetricResult,
    candidate: MetricResult,
    clusters: Sequence[str],
    settings: tuple[int, int, float],
) -> ComparedMetric:
    """Compare one metric; the Holm correction comes later, when all rows are known."""
    seed, resamples, _ = settings
    if reference.weights != candidate.weights:
        raise DataError(
            f"the items of {reference.name!r} weigh differently in the two results, "
            "expected the same texts and the same tokenizer"
        )
    sums = resampling.paired_sums(
        reference.items,
        candidate.items,
        clusters,
        weights=reference.weights,
        is_log=reference.aggregation == "geometric_mean",
    )
    first, second = sums.values()
    low, high, detectable = _spread(sums, settings, falls=reference.higher_is_better is False)
    wins, ties, losses = _counts(reference, candidate)
    unit = reference.unit
    if reference.aggregation == "corpus":
        unit = f"{unit}, mean of items"
    return ComparedMetric(
        name=reference.name,
        unit=unit,
        higher_is_better=reference.higher_is_better,
        reference=first,
        candidate=second,
        difference=second - first,
        low=low,
        high=high,
        p=resampling.sign_flip_p(sums, resamples=resamples, seed=seed),
        p_holm=None,
        wins=wins,
        ties=ties,
        losses=losses,
        smallest_detectable=detectable,
        num_items=len(reference.items),
        num_clusters=sums.num_clusters,
    )


def _spread(
    sums: resampling.PairedSums, settings: tuple[int, int, float], *, falls: bool
) -> tuple[float | None, float | None, float | None]:
    """Return the interval's ends and the smallest detectable difference, None where unknown.

    ``falls`` says that a gain makes the metric smaller.
    """
    seed, resamples, confidence = settings
    if sums.num_clusters < resampling.MIN_CLUSTERS:
        return None, None, None
    drawn = resampling.bootstrap_differences(sums, resamples=resamples, seed=seed)
    low, high = resampling.percentile_interval(
        drawn, num_clusters=sums.effective_clusters, confidence=confidence
    )
    if drawn.std() == 0.0:
        return low, high, None
    likely = resampling.likely_experiments(
        sums, resamples=min(resamples, POWER_RESAMPLES), seed=seed
    )
    likely = likely.mirrored() if falls else likely
    detectable = resampling.smallest_detectable(likely, confidence=confidence, power=POWER)
    return low, high, detectable


def _counts(reference: MetricResult, candidate: MetricResult) -> tuple[int, int, int]:
    """Count the items on which the candidate is better, equal and worse (higher, without one)."""
    first, second = np.asarray(reference.items), np.asarray(candidate.items)
    gains = second - first if reference.higher_is_better is not False else first - second
    bar = TIE * np.maximum(np.abs(first), np.abs(second))
    wins, losses = int((gains > bar).sum()), int((gains < -bar).sum())
    return wins, len(gains) - wins - losses, losses


def _with_holm(rows: Sequence[ComparedMetric]) -> tuple[ComparedMetric, ...]:
    tested = [row for row in rows if row.higher_is_better is not None]
    corrected = iter(resampling.holm([row.p for row in tested]))
    return tuple(
        replace(row, p_holm=next(corrected)) if row.higher_is_better is not None else row
        for row in rows
    )
