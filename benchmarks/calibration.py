"""Does the gate err as rarely as it says? Simulated comparisons whose truth is known.

Run: python -m benchmarks.calibration [trials]
For each kind of metric and number of independent items: how often the gate promotes where there is
no difference (at most 5 %), how often the 95 % interval holds the truth (93 to 97 %), and how
often a difference of the size the power statement names is shown (80 %, give or take 3 points).

All trials are resampled with one set of draws, those `compare` makes with the same seed, so a
trial is what `compare` computes; `tests/evaluation/test_calibration.py` holds it to that.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fine_tuning.evaluation import resampling
from fine_tuning.evaluation.resampling import PairedSums

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 2000
TRUTH_TRIALS = 20_000
KINDS = ("likelihood", "facts", "rare facts", "choices")
CLUSTERS = (10, 20, 40, 100, 200)


@dataclass(frozen=True, slots=True)
class Trials:
    """Sums over clusters of many paired experiments; arrays are [trials, clusters]."""

    reference: Floats
    candidate: Floats
    weight: Floats

    def one(self, trial: int) -> PairedSums:
        """Return one experiment as the statistics take it."""
        return PairedSums(
            reference=self.reference[trial],
            candidate=self.candidate[trial],
            weight=self.weight[trial],
        )

    def differences(self) -> Floats:
        """Return each experiment's difference, [trials]."""
        total = self.weight.sum(axis=1)
        return (self.candidate.sum(axis=1) - self.reference.sum(axis=1)) / total


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was found; all but the counts are shares of the trials."""

    kind: str
    clusters: int
    promoted_without_difference: float
    covered: float
    shown_at_stated_size: float


def draw(rng: np.random.Generator, kind: str, shape: tuple[int, int], effect: float) -> Trials:
    """Draw paired experiments whose true difference is ``effect``, higher is better.

    ``likelihood``: clusters of one to five replies of 5 to 80 tokens, heavy-tailed differences
    that a conversation shares. ``facts``: right or wrong, two questions a fact. ``rare facts``:
    the same, one in twenty right. ``choices``: a share of chance near 0 or 1, one task a cluster.
    """
    trials, n = shape
    if kind == "likelihood":
        tokens = rng.integers(5, 81, size=(trials, n, 5)) * (
            np.arange(5) < rng.integers(1, 6, size=(trials, n, 1))
        )
        base = -rng.gamma(4.0, 0.6, size=(trials, n, 5))
        noise = rng.standard_t(5, size=(trials, n, 1)) + rng.standard_t(5, size=(trials, n, 5))
        weight = tokens.sum(axis=2).astype(float)
        reference = (tokens * base).sum(axis=2)
        return Trials(reference, reference + (tokens * (0.15 * noise + effect)).sum(axis=2), weight)
    if kind == "choices":
        reference = rng.beta(0.8, 0.4, size=shape)
        noise = 0.25 * rng.standard_normal(shape) * np.sqrt(reference * (1 - reference))
        return Trials(reference, reference + noise + effect, np.ones(shape))
    middle = 0.05 + effect / 2 if kind == "rare facts" else 0.5
    shares = (middle - effect / 2, middle + effect / 2)
    # Two wordings of a fact agree in four of five cases; both models draw on their own.
    pairs = []
    for share in shares:
        first = rng.random(shape) < share
        second = np.where(rng.random(shape) < 0.8, first, rng.random(shape) < share)
        pairs.append(first.astype(float) + second)
    return Trials(pairs[0], pairs[1], np.full(shape, 2.0))


def intervals(trials: Trials, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return each experiment's interval, [trials, 2], as `compare` computes it with this seed."""
    n = trials.weight.shape[1]
    drawn = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=n).astype(np.float64)
    total = counts @ trials.weight.T
    resampled = (counts @ (trials.candidate - trials.reference).T) / total
    return np.array(
        [
            resampling.percentile_interval(column, num_clusters=n, confidence=CONFIDENCE)
            for column in np.ascontiguousarray(resampled.T)
        ]
    )


def detectable(rng: np.random.Generator, kind: str, clusters: int) -> float:
    """Return the difference the power statement would name if it knew the true error.

    The error depends on the difference for right-or-wrong metrics, so the two are brought
    together in a few rounds.
    """
    size = 0.0
    for _ in range(6):
        error = float(draw(rng, kind, (TRUTH_TRIALS, clusters), size).differences().std())
        size = resampling.smallest_detectable(
            error, num_clusters=clusters, confidence=CONFIDENCE, power=POWER
        )
    return size


def calibrate(kind: str, clusters: int, *, trials: int = 1000, seed: int = 0) -> Calibration:
    """Simulate experiments of one kind and size."""
    rng = np.random.default_rng([seed, KINDS.index(kind), clusters])
    null = intervals(draw(rng, kind, (trials, clusters), 0.0))
    size = detectable(rng, kind, clusters)
    shown = intervals(draw(rng, kind, (trials, clusters), size))
    middle = intervals(draw(rng, kind, (trials, clusters), size / 2))
    return Calibration(
        kind=kind,
        clusters=clusters,
        promoted_without_difference=float((null[:, 0] > 0).mean()),
        covered=float(((middle[:, 0] <= size / 2) & (middle[:, 1] >= size / 2)).mean()),
        shown_at_stated_size=float((shown[:, 0] > 0).mean()),
    )


def main(trials: int) -> None:
    """Print one line for each kind and size."""
    print(f"{'metric':<12}{'items':>6}{'promoted':>10}{'covered':>9}{'shown':>8}")
    for kind in KINDS:
        for clusters in CLUSTERS:
            found = calibrate(kind, clusters, trials=trials)
            print(
                f"{kind:<12}{clusters:>6}{found.promoted_without_difference:>10.1%}"
                f"{found.covered:>9.1%}{found.shown_at_stated_size:>8.1%}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
