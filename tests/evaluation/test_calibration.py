"""The gate errs as rarely as it says, on simulated comparisons whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import (
    CONFIDENCE,
    RESAMPLES,
    TRIALS_AT_ONCE,
    calibrate,
    draw,
    holds,
    intervals,
    pooled,
)
from fine_tuning.evaluation import resampling


def test_a_trial_is_what_the_comparison_computes() -> None:
    trials = draw(np.random.default_rng(1), "likelihood", (TRIALS_AT_ONCE + 2, 30), 0.05)
    together = intervals(trials, seed=9)
    for trial in (0, 3, TRIALS_AT_ONCE, TRIALS_AT_ONCE + 1):
        seed, one = 9 + trial // TRIALS_AT_ONCE, trials.one(trial)
        drawn = resampling.bootstrap_differences(one, resamples=RESAMPLES, seed=seed)
        alone = resampling.percentile_interval(
            drawn, num_clusters=one.effective_clusters, confidence=CONFIDENCE
        )
        assert together[trial] == pytest.approx(alone, rel=1e-9)


def test_the_true_difference_is_the_one_asked_for() -> None:
    rng = np.random.default_rng(2)
    for kind in ("likelihood", "facts", "rare facts", "choices"):
        found = draw(rng, kind, (4000, 50), 0.04).differences()
        assert found.mean() == pytest.approx(0.04, abs=4 * found.std() / np.sqrt(len(found)))


@pytest.mark.parametrize(
    ("kind", "clusters"),
    [
        ("facts", 40),
        ("rare facts", 10),
        ("choices", 40),
        pytest.param("likelihood", 10, marks=pytest.mark.slow),
        pytest.param("likelihood", 40, marks=pytest.mark.slow),
        pytest.param("rare facts", 100, marks=pytest.mark.slow),
    ],
)
def test_promotion_coverage_and_power_are_as_stated(kind: str, clusters: int) -> None:
    assert holds(pooled([calibrate(kind, clusters, trials=500, seed=seed) for seed in (3, 4)]))


@pytest.mark.parametrize("kind", ["likelihood", "facts", "choices"])
def test_few_items_do_not_make_the_gate_promote(kind: str) -> None:
    assert calibrate(kind, 10, trials=500).promoted_without_difference <= 0.05
