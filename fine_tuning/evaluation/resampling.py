"""Paired statistics on clusters of items: bootstrap interval, sign-flip test, Holm, power.

Items of one cluster (a conversation, the wordings of one fact) depend on each other, so clusters
are what is drawn and flipped, never single items. Everything is seeded: the same input gives the
same digits. What this does not know: what the numbers measure, and which direction is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CELLS_AT_ONCE = 1 << 21  # of the resamples x clusters matrix; bounds the memory used
MIN_CLUSTERS = 2
EXACT_CLUSTERS = 12  # up to this many differing clusters all 2^n sign patterns are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSums:
    """One metric of two models, summed over each cluster; arrays are [clusters].

    The metric is ``sum(reference) / sum(weight)``, and its exponential when ``is_log``.
    """

    reference: Floats
    candidate: Floats
    weight: Floats
    is_log: bool = False

    @property
    def num_clusters(self) -> int:
        """How many independent units there are."""
        return len(self.weight)

    @property
    def effective_clusters(self) -> float:
        """How many clusters of equal weight would tell as much, at least 2.

        Source: Kish, Survey Sampling, 1965, section 11.7.
        """
        return max(2.0, float(self.weight.sum() ** 2 / (self.weight**2).sum()))

    def values(self) -> tuple[float, float]:
        """Return the metric of the reference and of the candidate."""
        total = self.weight.sum()
        pair = self.reference.sum() / total, self.candidate.sum() / total
        return (math.exp(pair[0]), math.exp(pair[1])) if self.is_log else pair


def paired_sums(
    reference: Sequence[float],
    candidate: Sequence[float],
    clusters: Sequence[str],
    *,
    weights: Sequence[float] = (),
    is_log: bool = False,
) -> PairedSums:
    """Sum two models' item values over clusters.

    Args:
        reference: One value per item; with ``is_log`` positive.
        candidate: The other model's values of the same items.
        clusters: The cluster each item belongs to.
        weights: One positive weight per item; empty for equal weights.
        is_log: Aggregate by the geometric mean instead of the mean.
    """
    _, index = np.unique(np.asarray(clusters, dtype=object), return_inverse=True)
    weight = np.asarray(weights if len(weights) else np.ones(len(reference)), dtype=np.float64)
    pair = [np.asarray(values, dtype=np.float64) for values in (reference, candidate)]
    first, second = (np.log(values) if is_log else values for values in pair)
    sums = [
        np.bincount(index, weights=values).astype(np.float64)
        for values in (weight * first, weight * second, weight)
    ]
    return PairedSums(reference=sums[0], candidate=sums[1], weight=sums[2], is_log=is_log)


def bootstrap_differences(sums: PairedSums, *, resamples: int, seed: int) -> Floats:
    """Return candidate minus reference in resamples that draw whole clusters with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8 (clusters as
    the sampled unit).
    """
    rng = np.random.default_rng(seed)
    n = sums.num_clusters
    parts = []
    for rows in _chunks(resamples, n):
        drawn = rng.integers(0, n, size=(rows, n))
        total = sums.weight[drawn].sum(axis=1)
        first = sums.reference[drawn].sum(axis=1) / total
        second = sums.candidate[drawn].sum(axis=1) / total
        parts.append(np.exp(second) - np.exp(first) if sums.is_log else second - first)
    return np.concatenate(parts)


def percentile_interval(
    differences: Floats, *, num_clusters: float, confidence: float
) -> tuple[float, float]:
    """Return the expanded percentile interval of bootstrapped differences.

    Plain percentiles are too narrow for few clusters; the expanded ones ask for the quantiles
    that give the width of a t interval when the statistic is a mean. Right-or-wrong metrics take
    few distinct values, so mid-quantiles are used: an end may lie between two of them.

    Args:
        differences: One per resample.
        num_clusters: How many clusters were drawn from, above 1; of unequal weight their
            :attr:`PairedSums.effective_clusters`.
        confidence: Between 0 and 1.

    Sources: Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.1; Ma,
    Genton and Parzen, Asymptotic Properties of Sample Quantiles of Discrete Distributions, 2011.
    """
    n = num_clusters
    from scipy.special import ndtr, stdtrit  # noqa: PLC0415 - slow to import

    t = stdtrit(n - 1, (1.0 - confidence) / 2.0)
    tail = float(ndtr(t * math.sqrt(n / (n - 1))))
    scale = float(np.abs(differences).max()) or 1.0
    values, counts = np.unique(np.round(differences / scale, 12), return_counts=True)
    middle = (np.cumsum(counts) - counts / 2.0) / len(differences)
    low, high = np.interp([tail, 1.0 - tail], middle, values * scale)
    return float(low), float(high)


def sign_flip_p(sums: PairedSums, *, resamples: int, seed: int) -> float:
    """Return the two-sided p-value of no difference, by flipping whole clusters' differences.

    Under no difference each cluster's difference is as likely with the other sign. All patterns
    are tried when at most EXACT_CLUSTERS clusters differ; else random ones, and the observed
    pattern counts as one of them, so that p is never 0.

    Source: Fisher's randomisation test; Noreen, Computer-Intensive Methods, 1989.
    """
    differences = sums.candidate - sums.reference
    differences = differences[np.abs(differences) > _rounding(sums)]
    n = len(differences)
    if n == 0:
        return 1.0
    observed = abs(differences.sum())
    bar = observed * (1.0 - 1e-12) - 1e-300
    if n <= EXACT_CLUSTERS:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        flipped = np.abs((1.0 - 2.0 * patterns) @ differences)
        return float((flipped >= bar).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    for rows in _chunks(resamples, n):
        signs = rng.integers(0, 2, size=(rows, n), dtype=np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ differences) >= bar).sum())
    return (hits + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for asking several questions at once, in the order given.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True, slots=True)
class Experiments:
    """Many experiments with one truth; arrays are [experiments].

    ``off`` is how far each one's difference is off the true one, ``error`` the standard error
    estimated from its own clusters, ``skew`` the skewness of its difference so estimated (that of a
    sum over clusters, not of a single cluster), ``clusters`` how many effective ones it has.
    """

    off: Floats
    error: Floats
    skew: Floats
    clusters: Floats

    @classmethod
    def of(cls, differences: Floats, weights: Floats, truth: float) -> Self:
        """Look at experiments from outside.

        Args:
            differences: Candidate minus reference, summed over each cluster,
                [experiments, clusters].
            weights: The same of the weights.
            truth: The true difference.
        """
        total = weights.sum(axis=1)
        found = differences.sum(axis=1) / total
        rest = differences - found[:, None] * weights
        squared = rest * rest
        squares, cubes = squared.sum(axis=1), (squared * rest).sum(axis=1)
        clusters = np.maximum(2.0, total**2 / (weights**2).sum(axis=1))
        return cls(
            off=found - truth,
            error=np.sqrt(squares * clusters / (clusters - 1.0)) / total,
            skew=cubes / np.where(squares > 0, squares, 1.0) ** 1.5,
            clusters=clusters,
        )

    def mirrored(self) -> Self:
        """Return the same with reference and candidate exchanged."""
        return replace(self, off=-self.off, skew=-self.skew)


def likely_experiments(sums: PairedSums, *, resamples: int, seed: int) -> Experiments:
    """Return experiments like one that was made: it stands for the truth, resamples for them."""
    rng = np.random.default_rng(seed)
    n = sums.num_clusters
    first, second = sums.values()
    # The difference of exponentials is linear in small changes of the logarithms.
    slopes = (first, second) if sums.is_log else (1.0, 1.0)
    share = sums.weight / sums.weight.sum()
    differences = slopes[1] * (sums.candidate - share * sums.candidate.sum()) - slopes[0] * (
        sums.reference - share * sums.reference.sum()
    )
    parts = []
    for rows in _chunks(resamples, n):
        drawn = rng.integers(0, n, size=(rows, n))
        parts.append(Experiments.of(differences[drawn], sums.weight[drawn], 0.0))
    off, error, skew, clusters = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("off", "error", "skew", "clusters")
    )
    # A sample varies a little less around its own mean than what it was drawn from.
    widen = math.sqrt(sums.effective_clusters / (sums.effective_clusters - 1.0))
    return Experiments(off=off * widen, error=error * widen, skew=skew, clusters=clusters)


def smallest_detectable(experiments: Experiments, *, confidence: float, power: float) -> float:
    """Return the true difference that experiments like these show with the given power.

    One shows it when its interval lies above 0. The lower end of the percentile interval lies
    ``t - skew (t^2 - 1) / 6`` standard errors below the difference found, so that each experiment
    needs a certain true difference, and a share ``power`` of them needs at most the one returned.
    Unlike a sum of two quantiles this knows that, for right-or-wrong metrics, a large difference
    comes with a small error or with a large one.

    Source: Hall, The Bootstrap and Edgeworth Expansion, 1992, section 3.5, for the lower end.

    Args:
        experiments: Such as were or could have been made.
        confidence: Of the two-sided interval that must exclude 0.
        power: The share of experiments in which it does.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    t = stdtrit(experiments.clusters - 1.0, (1.0 + confidence) / 2.0)
    below = experiments.error * (t - experiments.skew * (t**2 - 1.0) / 6.0)
    return float(np.quantile(below - experiments.off, power))


def _rounding(sums: PairedSums) -> float:
    """Return below which a difference of sums is rounding, not a difference."""
    size = max(np.abs(sums.reference).max(), np.abs(sums.candidate).max())
    return float(size * 1e-12)


def _chunks(resamples: int, num_clusters: int) -> Iterator[int]:
    """Yield row counts that add up to the resamples, each matrix within CELLS_AT_ONCE."""
    rows = max(1, CELLS_AT_ONCE // max(1, num_clusters))
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)
