"""Two models on the same items, compared as the numbers say and drawn as a table."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation import metrics, similarity
from fine_tuning.evaluation.comparison import Comparison, compare, corrected_together
from fine_tuning.evaluation.comparison_table import table
from fine_tuning.evaluation.metrics import MetricResult
from fine_tuning.evaluation.results import SuiteResult


def share(values: list[float], name: str = "fact_recall") -> MetricResult:
    return MetricResult(
        name=name, value=sum(values) / len(values), items=tuple(values), higher_is_better=True
    )


def suite(model: str, *found: MetricResult, clusters: list[str] | None = None) -> SuiteResult:
    ids = [f"item-{i}" for i in range(len(found[0].items))]
    return SuiteResult(
        suite="s",
        model=model,
        item_ids=tuple(ids),
        clusters=tuple(clusters or ids),
        metrics=found,
    )


def test_a_clear_gain_by_hand() -> None:
    base, tuned = [0.0] * 30 + [1.0] * 10, [1.0] * 36 + [0.0] * 4
    row = compare(suite("base", share(base)), suite("tuned", share(tuned))).row("fact_recall")
    assert (row.reference, row.candidate) == (0.25, 0.9)
    assert row.difference == row.gain == pytest.approx(0.65)
    assert (row.wins, row.ties, row.losses) == (30, 6, 4)
    test = scipy.stats.binomtest(30, 34)
    assert row.p < 0.001
    assert test.pvalue < 0.001
    differences = np.array(tuned) - np.array(base)
    low, high = scipy.stats.t.interval(0.95, 39, 0.65, scipy.stats.sem(differences))
    assert row.low == pytest.approx(low, abs=0.04)
    assert row.high == pytest.approx(high, abs=0.04)
    assert row.gain_interval == (row.low, row.high)
    plain = scipy.stats.sem(differences) * (2.0227 + 0.8512)
    assert row.smallest_detectable == pytest.approx(plain, rel=0.15)
    # Losses weigh more than gains here: a large difference comes with a small error.
    assert row.smallest_detectable > plain


def test_lower_is_better_for_a_loss_and_the_gain_says_so() -> None:
    base = metrics.perplexity([[-2.0], [-2.5, -2.5], [-3.0], [-2.0]])
    tuned = metrics.perplexity([[-1.0], [-1.5, -1.5], [-2.0], [-1.0]])
    row = compare(suite("base", base), suite("tuned", tuned)).row("perplexity")
    assert row.reference == pytest.approx(base.value)
    assert row.candidate == pytest.approx(tuned.value)
    assert row.difference == pytest.approx(tuned.value - base.value)
    assert row.gain > 0
    assert row.gain_interval == (-row.high, -row.low)  # type: ignore[operator]
    assert row.gain_interval[0] > 0
    assert (row.wins, row.ties, row.losses) == (4, 0, 0)
    assert row.p == 2 / 16


def test_a_model_against_itself_shows_nothing() -> None:
    same = suite("base", share([0.0, 1.0, 1.0, 0.0]))
    row = compare(same, replace(same, model="copy")).row("fact_recall")
    assert (row.difference, row.low, row.high, row.p) == (0.0, 0.0, 0.0, 1.0)
    assert (row.wins, row.ties, row.losses) == (0, 4, 0)
    assert row.smallest_detectable is None


def test_rounding_is_a_tie() -> None:
    row = compare(suite("a", share([0.1 + 0.2, 1.0])), suite("b", share([0.3, 1.0]))).rows[0]
    assert (row.wins, row.ties, row.losses, row.p) == (0, 2, 0, 1.0)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    chats = rng.normal(0.2, 1.0, 12)
    base, tuned = share([0.0] * 60), share(np.repeat(chats, 5).tolist())
    together = [f"chat-{i // 5}" for i in range(60)]
    wide = compare(suite("a", base, clusters=together), suite("b", tuned, clusters=together)).rows
    narrow = compare(suite("a", base), suite("b", tuned)).rows
    assert wide[0].num_clusters == 12
    assert wide[0].high - wide[0].low > 2 * (narrow[0].high - narrow[0].low)  # type: ignore[operator]


def test_one_cluster_has_no_interval() -> None:
    one = ["chat"] * 3
    found = compare(
        suite("a", share([0, 0, 0]), clusters=one), suite("b", share([1, 1, 1]), clusters=one)
    )
    row = found.rows[0]
    assert (row.low, row.high, row.gain_interval, row.smallest_detectable) == (None,) * 4
    assert row.p == 1.0
    assert "1 independent items show nothing" in found.power_sentence("fact_recall")
    assert "+1" in drawn(found)


def test_items_are_paired_by_name_in_any_order() -> None:
    base = suite("base", metrics.loss([[-1.0], [-2.0, -2.0], [-3.0]]))
    tuned = suite("tuned", metrics.loss([[-0.5], [-1.0, -1.0], [-4.0]]))
    (metric,) = tuned.metrics
    turned = replace(
        tuned,
        item_ids=tuned.item_ids[::-1],
        clusters=tuned.clusters[::-1],
        metrics=(replace(metric, items=metric.items[::-1], weights=metric.weights[::-1]),),
    )
    assert compare(base, turned) == compare(base, tuned)


def test_other_items_suites_and_tokenizers_are_refused() -> None:
    base, tuned = suite("base", share([0, 1])), suite("tuned", share([1, 1]))
    with pytest.raises(DataError, match=r"suite 's' is compared with suite 'other'"):
        compare(base, replace(tuned, suite="other"))
    with pytest.raises(DataError, match=r"'item-1' is in one only"):
        compare(base, replace(tuned, item_ids=("item-0", "item-x")))
    doubled = ("item-0", "item-1", "item-1")
    with pytest.raises(DataError, match="an id stands twice"):
        compare(base, replace(suite("tuned", share([1, 1, 1])), item_ids=doubled))
    with pytest.raises(DataError, match="weigh differently"):
        compare(
            suite("base", metrics.loss([[-1.0], [-1.0]])),
            suite("tuned", metrics.loss([[-1.0, -1.0], [-1.0]])),
        )
    with pytest.raises(DataError, match="has no metric 'bleu'"):
        compare(base, tuned, metrics=["bleu"])
    with pytest.raises(DataError, match="expected one value per item"):
        replace(base, item_ids=("item-0",))


def test_holm_corrects_over_the_metrics_that_have_a_direction() -> None:
    rng = np.random.default_rng(1)
    base = [share(rng.normal(size=20).tolist(), name) for name in ("x", "y", "z")]
    tuned = [share((np.array(m.items) + rng.normal(0.5, 1, 20)).tolist(), m.name) for m in base]
    length = replace(base[0], name="length", higher_is_better=None)
    found = compare(suite("a", *base, length), suite("b", *tuned, length))
    tested = sorted((row.p, row.p_holm) for row in found.rows[:3])
    assert tested[0][1] == pytest.approx(3 * tested[0][0])
    assert found.row("length").p_holm is None
    assert compare(suite("a", *base), suite("b", *tuned), metrics=["y"]).rows[0].p_holm == (
        found.row("y").p
    )


def test_corpus_metrics_are_compared_by_their_items() -> None:
    texts = ["the cat sat on the mat", "a dog ran in the park", "it rained all day long"]
    base = suite("base", similarity.bleu(["the cat", "a dog ran", "it rained"], texts))
    tuned = suite("tuned", similarity.bleu(texts, texts))
    row = compare(base, tuned).row("bleu")
    assert row.candidate == pytest.approx(100)
    assert row.reference == pytest.approx(np.mean(base.metric("bleu").items))
    assert row.unit == "0-100, mean of items"


def test_the_same_seed_gives_the_same_digits_and_json_keeps_them() -> None:
    rng = np.random.default_rng(2)
    base = suite("base", share(rng.normal(size=30).tolist()))
    tuned = suite("tuned", share(rng.normal(size=30).tolist()))
    found = compare(base, tuned, seed=4)
    assert found == compare(base, tuned, seed=4)
    assert found != compare(base, tuned, seed=5)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Comparison.from_dict(json.loads(text)) == found
    with pytest.raises(DataError, match="cannot be read"):
        Comparison.from_dict({"rows": []})


def drawn(comparison: Comparison) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table([comparison]))
    return console.export_text()


def test_the_table_shows_what_was_found() -> None:
    base, tuned = [0.0] * 30 + [1.0] * 10, [1.0] * 36 + [0.0] * 4
    words = MetricResult(name="length", value=3, items=(3.0,) * 40, higher_is_better=None)
    found = compare(suite("base", share(base), words), suite("tuned", share(tuned), words))
    text = drawn(found)
    for expected in ("tuned against base", "0.25", "0.9", "+0.65 [+", "30/6/4", "fact_recall"):
        assert expected in text
    assert "cannot reliably show a difference in fact_recall below 0." in found.power_sentence(
        "fact_recall"
    )


def test_holm_counts_the_metrics_of_all_suites() -> None:
    base, tuned = [0.0] * 30 + [1.0] * 10, [0.0] * 22 + [1.0] * 18
    one = compare(suite("base", share(base)), suite("tuned", share(tuned)))
    two = replace(one, suite="other")
    alone, (first, second) = one.rows[0], corrected_together([one, two])
    assert alone.p_holm == alone.p
    assert first.rows[0].p_holm == second.rows[0].p_holm == pytest.approx(2 * alone.p)


def test_a_table_of_several_references_has_one_row_for_a_metric() -> None:
    first, second = [0.0] * 30 + [1.0] * 10, [0.0] * 20 + [1.0] * 20
    tuned = suite("tuned", share([0.0] * 10 + [1.0] * 30))
    found = [compare(suite(n, share(v)), tuned) for n, v in (("base", first), ("old", second))]
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table(found))
    text = console.export_text()
    (line,) = [line for line in text.splitlines() if "fact_recall" in line]
    for expected in ("0.25", "0.75", "+0.5 [", "0.5", "+0.25 ["):
        assert expected in line
    assert "tuned against base, old" in text
