"""The gate errs as rarely as it says, on simulated comparisons whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import CONFIDENCE, RESAMPLES, calibrate, draw, intervals
from fine_tuning.evaluation import resampling


def test_a_trial_is_what_the_comparison_computes() -> None:
    trials = draw(np.random.default_rng(1), "likelihood", (4, 30), 0.05)
    together = intervals(trials, seed=9)
    for trial, found in enumerate(together):
        drawn = resampling.bootstrap_differences(trials.one(trial), resamples=RESAMPLES, seed=9)
        alone = resampling.percentile_interval(drawn, num_clusters=30, confidence=CONFIDENCE)
        assert found == pytest.approx(alone, rel=1e-9)


def test_the_true_difference_is_the_one_asked_for() -> None:
    rng = np.random.default_rng(2)
    for kind in ("likelihood", "facts", "rare facts", "choices"):
        found = draw(rng, kind, (4000, 50), 0.04).differences()
        assert found.mean() == pytest.approx(0.04, abs=4 * found.std() / np.sqrt(len(found)))


@pytest.mark.parametrize(
    ("kind", "clusters"), [("likelihood", 40), ("facts", 100), ("choices", 40)]
)
def test_promotion_coverage_and_power_are_as_stated(kind: str, clusters: int) -> None:
    found = calibrate(kind, clusters, trials=1000)
    assert found.promoted_without_difference <= 0.05
    assert 0.93 <= found.covered <= 0.97
    assert found.shown_at_stated_size == pytest.approx(0.80, abs=0.03)


@pytest.mark.parametrize("kind", ["likelihood", "facts", "rare facts", "choices"])
def test_few_items_do_not_make_the_gate_promote(kind: str) -> None:
    assert calibrate(kind, 10, trials=1000).promoted_without_difference <= 0.05
