"""The gate: what it promotes, what it rejects, what it leaves open, and how often it errs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.comparison import ComparedMetric, Comparison, compare
from fine_tuning.evaluation.metrics import MetricResult
from fine_tuning.evaluation.resampling import Experiments, smallest_detectable
from fine_tuning.evaluation.results import SuiteResult
from fine_tuning.evaluation.verdict import Guard, Policy, Verdict, decide


def row(
    name: str,
    gain: float,
    half: float,
    *,
    clusters: int = 50,
    higher_is_better: bool | None = True,
) -> ComparedMetric:
    """Make a row whose gain lies in the middle of an interval of the given half width."""
    difference = -gain if higher_is_better is False else gain
    return ComparedMetric(
        name=name,
        unit="",
        higher_is_better=higher_is_better,
        reference=1.0,
        candidate=1.0 + difference,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=0.001,
        p_holm=0.001,
        wins=1,
        ties=0,
        losses=0,
        smallest_detectable=half * 1.4,
        num_items=clusters,
        num_clusters=clusters,
    )


def comparison(suite: str, *rows: ComparedMetric) -> Comparison:
    return Comparison(suite=suite, reference="base", candidate="tuned", rows=rows)


POLICY = Policy(
    suite="questions",
    metric="fact_recall",
    guards=(Guard(suite="held_out", metric="loss", margin=0.1),),
)
GOOD = row("fact_recall", 0.5, 0.1)
FINE = row("loss", 0.2, 0.1, higher_is_better=False)


def judge(
    primary: ComparedMetric, guard: ComparedMetric, canaries: dict[str, bool] | None = None
) -> Verdict:
    return decide(
        [comparison("questions", primary), comparison("held_out", guard)], POLICY, canaries
    )


def test_better_with_guards_that_hold_is_promoted() -> None:
    verdict = judge(GOOD, FINE, {"no secrets": True})
    assert verdict.outcome == "promote"
    assert [reason.finding for reason in verdict.reasons] == ["holds"] * 3
    assert [reason.check for reason in verdict.reasons] == [
        "primary questions/fact_recall",
        "guard held_out/loss",
        "canary no secrets",
    ]
    assert verdict.items_needed is None
    assert json.loads(json.dumps(verdict.to_dict()))["outcome"] == "promote"


@pytest.mark.parametrize(
    ("primary", "guard", "canaries", "blamed"),
    [
        (row("fact_recall", -0.5, 0.1), FINE, {}, "primary questions/fact_recall"),
        (GOOD, row("loss", -0.3, 0.1, higher_is_better=False), {}, "guard held_out/loss"),
        (GOOD, FINE, {"no secrets": False}, "canary no secrets"),
    ],
)
def test_anything_shown_to_be_worse_rejects_and_is_named(
    primary: ComparedMetric, guard: ComparedMetric, canaries: dict[str, bool], blamed: str
) -> None:
    verdict = judge(primary, guard, canaries)
    assert verdict.outcome == "reject"
    assert [r.check for r in verdict.reasons if r.finding == "fails"] == [blamed]


@pytest.mark.parametrize(
    ("primary", "guard", "said"),
    [
        (row("fact_recall", 0.05, 0.1), FINE, "no difference beyond chance"),
        (row("fact_recall", -0.05, 0.1), FINE, "no difference beyond chance"),
        (row("fact_recall", 0.0, 0.0), FINE, "no difference beyond chance"),
        (GOOD, row("loss", 0.0, 0.15, higher_is_better=False), "reaches beyond the margin"),
        (row("fact_recall", 0.5, 0.1, clusters=7), FINE, "on 7 independent items"),
        (GOOD, row("loss", 0.2, 0.1, higher_is_better=False, clusters=3), "on 3 independent"),
        (replace(GOOD, low=None, high=None), FINE, "expected at least"),
    ],
)
def test_what_is_open_is_said_to_be_open(
    primary: ComparedMetric, guard: ComparedMetric, said: str
) -> None:
    verdict = judge(primary, guard)
    assert verdict.outcome == "not enough evidence"
    (open_reason,) = [r for r in verdict.reasons if r.finding == "undecided"]
    assert said in open_reason.sentence


def test_how_many_items_would_decide() -> None:
    # Seen 0.05, visible from 0.14 with 50: the square of 2.8 times as many.
    assert judge(row("fact_recall", 0.05, 0.1), FINE).items_needed == 392
    # The guard's interval reaches 0.15 down where 0.1 is allowed: 2.25 times as many.
    guard = row("loss", 0.0, 0.15, higher_is_better=False)
    assert judge(GOOD, guard).items_needed == 113
    # Nothing in favour was seen, so no number of items can be named.
    assert judge(row("fact_recall", -0.01, 0.1), FINE).items_needed is None


def test_the_edge_of_the_margin_still_holds() -> None:
    assert judge(GOOD, row("loss", 0.0, 0.1, higher_is_better=False)).outcome == "promote"


def test_what_the_gate_cannot_be_asked() -> None:
    pair = [comparison("questions", GOOD), comparison("held_out", FINE)]
    with pytest.raises(DataError, match="asks for suite 'held_out'"):
        decide(pair[:1], POLICY)
    with pytest.raises(DataError, match="expected one pair and each suite once"):
        decide([*pair, pair[0]], POLICY)
    with pytest.raises(DataError, match="2 pairs of models"):
        decide([pair[0], replace(pair[1], candidate="other")], POLICY)
    with pytest.raises(DataError, match="expected one pair"):
        decide([], POLICY)
    with pytest.raises(DataError, match="no better direction"):
        decide(
            [comparison("questions", row("length", 1, 0.1, higher_is_better=None))],
            Policy(suite="questions", metric="length"),
        )
    with pytest.raises(DataError, match="has no metric 'fact_recall'"):
        decide([comparison("questions", FINE)], Policy(suite="questions", metric="fact_recall"))
    with pytest.raises(DataError, match="margin -1"):
        Guard(suite="s", metric="m", margin=-1)


def answers(model: str, values: np.ndarray) -> SuiteResult:
    items = tuple(float(value) for value in values)
    metric = MetricResult(
        name="fact_recall", value=sum(items) / len(items), items=items, higher_is_better=True
    )
    ids = tuple(str(i) for i in range(len(items)))
    return SuiteResult(
        suite="questions", model=model, item_ids=ids, clusters=ids, metrics=(metric,)
    )


def promoted_share(chance: tuple[float, float], *, items: int, trials: int, seed: int) -> float:
    """Simulate right and wrong answers of two models and return how often the gate promotes."""
    rng = np.random.default_rng(seed)
    policy = Policy(suite="questions", metric="fact_recall")
    promoted = 0
    for trial in range(trials):
        base, tuned = (answers("m", rng.random(items) < share) for share in chance)
        found = compare(base, tuned, seed=trial, resamples=999)
        promoted += decide([found], policy).outcome == "promote"
    return promoted / trials


@pytest.mark.parametrize(("share", "items"), [(0.5, 60), (0.05, 60), (0.5, 10)])
def test_without_a_difference_the_gate_promotes_at_most_one_in_twenty(
    share: float, items: int
) -> None:
    assert promoted_share((share, share), items=items, trials=1000, seed=3) <= 0.05


@pytest.mark.parametrize("items", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_the_smallest_detectable_difference_is_detected_as_often_as_said(items: int) -> None:
    # How the answers differ depends on the difference sought: a few rounds bring them together.
    rng, delta = np.random.default_rng(items), 0.0
    for _ in range(5):
        base, tuned = (rng.random((20_000, items)) < 0.5 + side * delta / 2 for side in (-1, 1))
        differences = tuned.astype(float) - base
        experiments = Experiments.of(differences, np.ones_like(differences), delta)
        delta = smallest_detectable(experiments, confidence=0.95, power=0.8)
    share = promoted_share((0.5 - delta / 2, 0.5 + delta / 2), items=items, trials=2000, seed=4)
    assert share == pytest.approx(0.8, abs=0.03)
