"""Statistics against scipy, closed forms and simulations with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.evaluation import resampling
from fine_tuning.evaluation.resampling import PairedSums, paired_sums


def sums_of(differences: list[float] | np.ndarray) -> PairedSums:
    """Return single-item clusters with the given differences."""
    ones = [1.0] * len(differences)
    names = [str(i) for i in range(len(differences))]
    return paired_sums(ones, [1.0 + d for d in differences], names)


def test_sums_are_taken_over_clusters() -> None:
    sums = paired_sums([1, 2, 4], [2, 2, 8], ["b", "a", "b"], weights=[1, 2, 3])
    assert sums.num_clusters == 2
    assert sorted(sums.reference.tolist()) == [4, 13]
    assert sums.weight.sum() == 6
    assert sums.values() == pytest.approx((17 / 6, 30 / 6))


def test_a_geometric_mean_is_taken_in_logarithms() -> None:
    sums = paired_sums([2, 8], [4, 4], ["a", "b"], weights=[1, 3], is_log=True)
    assert sums.values() == pytest.approx((2 ** (1 / 4) * 8 ** (3 / 4), 4))


def test_bootstrap_equals_scipys() -> None:
    rng = np.random.default_rng(5)
    differences = rng.exponential(1.0, 40) - 0.7
    ours = resampling.bootstrap_differences(sums_of(differences), resamples=20_000, seed=1)
    theirs = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=20_000, method="percentile", rng=2
    )
    assert ours.mean() == pytest.approx(differences.mean(), abs=0.005)
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.02)
    ends = theirs.confidence_interval
    assert np.quantile(ours, [0.025, 0.975]) == pytest.approx([ends.low, ends.high], abs=0.02)


@pytest.mark.parametrize("n", [8, 20, 60])
def test_the_interval_of_a_mean_is_as_wide_as_the_t_interval(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    drawn = resampling.bootstrap_differences(sums_of(differences), resamples=40_000, seed=0)
    low, high = resampling.percentile_interval(drawn, num_clusters=n, confidence=0.95)
    error = scipy.stats.sem(differences)
    expected = scipy.stats.t.interval(0.95, n - 1, differences.mean(), error)
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.03)
    plain = np.quantile(drawn, [0.025, 0.975])
    assert high - low > plain[1] - plain[0]
    likely = resampling.likely_experiments(sums_of(differences), resamples=40_000, seed=0)
    assert likely.off.std() == pytest.approx(error, rel=0.02)
    assert np.sqrt((likely.error**2).mean()) == pytest.approx(error, rel=0.02)


def test_chunks_do_not_change_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = sums_of([0.5, -0.25, 1.0, 0.125])
    whole = resampling.bootstrap_differences(sums, resamples=100, seed=3)
    monkeypatch.setattr(resampling, "CELLS_AT_ONCE", 12)
    parts = resampling.bootstrap_differences(sums, resamples=100, seed=3)
    assert np.array_equal(whole, parts)
    assert len(parts) == 100


@given(
    st.lists(
        st.floats(-5, 5, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=2, max_size=10
    )
)
def test_an_exact_sign_flip_test_equals_scipys(differences: list[float]) -> None:
    ours = resampling.sign_flip_p(sums_of(differences), resamples=10, seed=0)
    theirs = scipy.stats.permutation_test(
        (np.array(differences),),
        lambda x, axis: np.abs(np.round(x.sum(axis=axis), 9)),
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    assert ours == pytest.approx(theirs.pvalue, abs=1e-12)


def test_a_random_sign_flip_test_comes_near_the_t_test() -> None:
    differences = np.random.default_rng(11).normal(0.25, 1.0, 80)
    ours = resampling.sign_flip_p(sums_of(differences), resamples=20_000, seed=0)
    assert ours == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert ours == resampling.sign_flip_p(sums_of(differences), resamples=20_000, seed=0)


def test_signs_flip_by_cluster_not_by_item() -> None:
    # Twenty items, all better, from two conversations: two coins fall alike half of the time.
    clusters = ["a"] * 10 + ["b"] * 10
    sums = paired_sums([0.0] * 20, [1.0] * 20, clusters)
    assert resampling.sign_flip_p(sums, resamples=100, seed=0) == 0.5
    alone = paired_sums([0.0] * 20, [1.0] * 20, [str(i) for i in range(20)])
    assert resampling.sign_flip_p(alone, resamples=10_000, seed=0) < 0.001


def test_no_difference_has_p_one_and_p_is_never_zero() -> None:
    assert resampling.sign_flip_p(sums_of([0.0] * 5), resamples=10, seed=0) == 1.0
    assert resampling.sign_flip_p(sums_of([1.0] * 99), resamples=999, seed=0) == 1 / 1000


def test_holm_by_hand() -> None:
    assert resampling.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert resampling.holm([0.6, 0.7]) == [1.0, 1.0]
    assert resampling.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni(values: list[float]) -> None:
    adjusted = resampling.holm(values)
    for p, q in zip(values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(values) * p)
    order = np.argsort(values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


@pytest.mark.parametrize("n", [12, 40, 200])
def test_the_detectable_difference_has_the_power_of_the_noncentral_t(n: int) -> None:
    drawn = np.random.default_rng(n).normal(0.7, 1.0, (20_000, n))
    experiments = resampling.Experiments.of(drawn, np.ones_like(drawn), 0.7)
    delta = resampling.smallest_detectable(experiments, confidence=0.95, power=0.8)
    bar = scipy.stats.t.ppf(0.975, n - 1)
    power = scipy.stats.nct.sf(bar, n - 1, delta * np.sqrt(n))
    assert power == pytest.approx(0.8, abs=0.012)


def test_a_sample_stands_for_the_experiments_it_came_from() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.exponential(1.0, (4000, 400)) - 1.0
    true = resampling.Experiments.of(drawn, np.ones_like(drawn), 0.0)
    wanted = resampling.smallest_detectable(true, confidence=0.95, power=0.8)
    found = [
        resampling.smallest_detectable(
            resampling.likely_experiments(sums_of(sample), resamples=1000, seed=0),
            confidence=0.95,
            power=0.8,
        )
        for sample in drawn[:20]
    ]
    assert np.mean(found) == pytest.approx(wanted, rel=0.05)
    assert true.skew.mean() == pytest.approx(2.0 / np.sqrt(400), rel=0.15)


def test_a_gain_downwards_mirrors_a_gain_upwards() -> None:
    differences = np.random.default_rng(8).exponential(1.0, 30)
    up = resampling.likely_experiments(sums_of(differences), resamples=500, seed=1)
    down = resampling.likely_experiments(sums_of(-differences), resamples=500, seed=1)
    of = {"confidence": 0.95, "power": 0.8}
    mirrored = resampling.smallest_detectable(down.mirrored(), **of)
    assert mirrored == pytest.approx(resampling.smallest_detectable(up, **of), rel=1e-9)
    assert mirrored != pytest.approx(resampling.smallest_detectable(down, **of), rel=0.01)


def test_clusters_of_unequal_weight_count_for_fewer() -> None:
    equal = paired_sums([0.0] * 4, [1.0] * 4, list("abcd"))
    assert equal.effective_clusters == 4.0
    unequal = paired_sums([0.0] * 4, [1.0] * 4, list("abcd"), weights=[3, 1, 1, 1])
    assert unequal.effective_clusters == pytest.approx(3.0)
    alone = paired_sums([0.0] * 4, [1.0] * 4, list("abcd"), weights=[1e9, 1, 1, 1])
    assert alone.effective_clusters == 2.0


def simulated(rng: np.random.Generator, kind: str, clusters: int, effect: float) -> PairedSums:
    """Draw a paired experiment: clusters of one to five items that share half their variance."""
    sizes = rng.integers(1, 6, clusters)
    names = np.repeat(np.arange(clusters).astype(str), sizes)
    shared = np.repeat(rng.normal(size=clusters), sizes)
    noise = (shared + rng.normal(size=len(names))) / np.sqrt(2)
    if kind == "skewed":
        noise = np.expm1(noise * 0.8) - np.expm1(0.32)
    base = rng.normal(size=len(names))
    return paired_sums(base, base + noise + effect, names.tolist())


@pytest.mark.parametrize(("kind", "clusters"), [("normal", 20), ("normal", 60), ("skewed", 100)])
def test_intervals_cover_the_truth_as_often_as_they_say(kind: str, clusters: int) -> None:
    rng = np.random.default_rng(7)
    covered = rejected = 0
    for trial in range(1000):
        sums = simulated(rng, kind, clusters, effect=0.3)
        drawn = resampling.bootstrap_differences(sums, resamples=2000, seed=trial)
        low, high = resampling.percentile_interval(
            drawn, num_clusters=sums.effective_clusters, confidence=0.95
        )
        covered += low <= 0.3 <= high
        if kind == "normal":
            null = simulated(rng, kind, clusters, effect=0.0)
            rejected += resampling.sign_flip_p(null, resamples=999, seed=trial) <= 0.05
    assert 930 <= covered <= 970
    assert rejected <= 65
