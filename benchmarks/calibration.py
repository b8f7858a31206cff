"""Does the gate err as rarely as it says? Simulated comparisons whose truth is known.

Run: python -m benchmarks.calibration [trials] [seed]...
For each kind of metric and number of independent items: how often the gate promotes where there is
no difference (at most 5 %), how often the 95 % interval holds the truth (93 to 97 %), and how
often a difference of the size the power statement names is shown (80 %, give or take 3 points).

Trials are resampled in groups, each with the draws `compare` makes with one seed, so a trial is
what `compare` computes; `tests/evaluation/test_calibration.py` holds it to that. Several seeds are
pooled as well: of 1,000 trials at 80 % one cell in fifty is more than 3 points off by chance.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fine_tuning.evaluation import resampling
from fine_tuning.evaluation.comparison import CONFIDENCE, POWER, RESAMPLES
from fine_tuning.evaluation.resampling import Experiments, PairedSums

Floats = npt.NDArray[np.float64]
TRIALS_AT_ONCE = 100
TRUTH_TRIALS = 20_000
KINDS = ("likelihood", "facts", "rare facts", "choices")
CLUSTERS = (10, 20, 40, 100, 200)


class Trials(NamedTuple):
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
    """Return each experiment's interval, [trials, 2], as `compare` computes it.

    The first TRIALS_AT_ONCE trials get the draws of ``seed``, the next those of the next seed.
    """
    count, n = trials.weight.shape
    ends = []
    for start in range(0, count, TRIALS_AT_ONCE):
        some = slice(start, start + TRIALS_AT_ONCE)
        rng = np.random.default_rng(seed + start // TRIALS_AT_ONCE)
        drawn = rng.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n)
        counts = counts.astype(np.float64)
        weight = trials.weight[some]
        resampled = (counts @ (trials.candidate[some] - trials.reference[some]).T) / (
            counts @ weight.T
        )
        ends += [
            resampling.percentile_interval(
                column,
                num_clusters=trials.one(start + place).effective_clusters,
                confidence=CONFIDENCE,
            )
            for place, column in enumerate(np.ascontiguousarray(resampled.T))
        ]
    return np.array(ends)


def detectable(rng: np.random.Generator, kind: str, clusters: int) -> float:
    """Return the difference the power statement would name if it knew all experiments.

    How they vary depends on the difference for right-or-wrong metrics, so the two are brought
    together in a few rounds.
    """
    size = 0.0
    for _ in range(6):
        drawn = draw(rng, kind, (TRUTH_TRIALS, clusters), size)
        experiments = Experiments.of(drawn.candidate - drawn.reference, drawn.weight, size)
        size = resampling.smallest_detectable(experiments, confidence=CONFIDENCE, power=POWER)
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


def holds(found: Calibration) -> bool:
    """Tell whether a cell is as stated."""
    return (
        found.promoted_without_difference <= 1.0 - CONFIDENCE
        and abs(found.covered - CONFIDENCE) <= 0.02
        and abs(found.shown_at_stated_size - POWER) <= 0.03
    )


def pooled(cells: Sequence[Calibration]) -> Calibration:
    """Return the mean over seeds of one kind and size."""
    return replace(
        cells[0],
        **{
            name: float(np.mean([getattr(cell, name) for cell in cells]))
            for name in ("promoted_without_difference", "covered", "shown_at_stated_size")
        },
    )


def main(trials: int, seeds: Sequence[int]) -> int:
    """Print a line for each kind and size; return how many of the pooled ones are off."""
    off, off_alone = 0, 0
    print(f"{trials} trials of each of seeds {', '.join(map(str, seeds))}, mean (least to most)")
    print(f"{'metric':<12}{'items':>6}{'promoted':>24}{'covered':>24}{'shown':>24}")
    for kind in KINDS:
        for clusters in CLUSTERS:
            cells = [calibrate(kind, clusters, trials=trials, seed=seed) for seed in seeds]
            whole = pooled(cells)
            off += not holds(whole)
            off_alone += sum(not holds(cell) for cell in cells)
            columns = [
                _column([getattr(cell, name) for cell in (whole, *cells)])
                for name in ("promoted_without_difference", "covered", "shown_at_stated_size")
            ]
            mark = "" if holds(whole) else "  off"
            print(f"{kind:<12}{clusters:>6}{''.join(columns)}{mark}", flush=True)
    cells_in_all = len(KINDS) * len(CLUSTERS)
    print(
        f"pooled: {off} of {cells_in_all} cells are not as stated; "
        f"seed by seed: {off_alone} of {cells_in_all * len(seeds)}"
    )
    return off


def _column(values: Sequence[float]) -> str:
    mean, *each = values
    return f"{f'{mean:.1%} ({min(each):.1%} to {max(each):.1%})':>24}"


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]] or [1000]
    sys.exit(main(asked[0], asked[1:] or (0, 1, 2)))
