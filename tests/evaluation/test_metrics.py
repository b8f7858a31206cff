"""Metrics against closed forms and published values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation import metrics
from fine_tuning.evaluation.metrics import MetricResult
from fine_tuning.evaluation.questions import Question

LOGS = st.lists(
    st.lists(st.floats(-30, 0, allow_subnormal=False), min_size=1, max_size=8),
    min_size=1,
    max_size=6,
)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    logs = [[math.log(1 / 50)] * 3, [math.log(1 / 50)] * 7]
    assert metrics.perplexity(logs).value == pytest.approx(50)
    assert metrics.loss(logs).value == pytest.approx(math.log(50))


def test_loss_is_a_mean_over_tokens_not_over_sequences() -> None:
    result = metrics.loss([[-1.0], [-3.0, -3.0, -3.0]])
    assert result.value == 2.5
    assert result.items == (1.0, 3.0)
    assert result.weights == (1.0, 3.0)


@given(LOGS)
def test_perplexity_is_the_weighted_geometric_mean_of_its_items(logs: list[list[float]]) -> None:
    result = metrics.perplexity(logs)
    mean = sum(
        weight * math.log(item) for weight, item in zip(result.weights, result.items, strict=True)
    ) / sum(result.weights)
    assert math.log(result.value) == pytest.approx(mean, abs=1e-9)
    assert math.log(result.value) == pytest.approx(metrics.loss(logs).value, abs=1e-9)


def test_a_diverged_model_still_has_a_finite_perplexity() -> None:
    assert math.isfinite(metrics.perplexity([[-1e6]]).value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_a_broken_log_probability_is_named(value: float) -> None:
    with pytest.raises(DataError, match="sequence 1"):
        metrics.loss([[-1.0], [value]])


@pytest.mark.parametrize("logs", [[], [[]], [[-1.0], []]])
def test_a_loss_over_nothing_is_refused(logs: list[list[float]]) -> None:
    with pytest.raises(DataError, match="at least one target token"):
        metrics.loss(logs)


def test_one_bit_a_byte_is_one_bit_a_byte() -> None:
    half = math.log(0.5)
    result = metrics.bits_per_byte([[half] * 4, [half] * 6], [4, 6])
    assert result.value == pytest.approx(1.0)
    # Half as many tokens for the same bytes at the same loss per token: half the bits.
    assert metrics.bits_per_byte([[half] * 2], [4]).value == pytest.approx(0.5)
    with pytest.raises(DataError, match="at least 1"):
        metrics.bits_per_byte([[half]], [0])
    with pytest.raises(DataError, match="found 2 byte counts for 1"):
        metrics.bits_per_byte([[half]], [1, 2])


def test_token_accuracy_counts_tokens() -> None:
    result = metrics.token_accuracy([[True], [True, False, False]])
    assert result.value == 0.5
    assert result.items == (1.0, 1 / 3)
    with pytest.raises(DataError, match="at least one target token"):
        metrics.token_accuracy([[]])


# The examples of the SQuAD metric card of the `evaluate` project, and CS 224N's handout.
SQUAD_CARD = [
    (["1976"], [["1976"]], 1.0, 1.0),
    (["1999"], [["1976"]], 0.0, 0.0),
    (
        ["1976", "Beyonce", "climate change"],
        [["1976"], ["Beyoncé and Bruno Mars"], ["climate change"]],
        2 / 3,
        2 / 3,
    ),
    (["Einstein"], [["Albert Einstein"]], 0.0, 2 / 3),
    (["Denver Broncos"], [["the Denver Broncos.", "Denver Broncos defense"]], 1.0, 1.0),
    (["the denver broncos defense"], [["Denver Broncos"]], 0.0, 0.8),
]


@pytest.mark.parametrize(("replies", "references", "exact", "f1"), SQUAD_CARD)
def test_squad_scores_equal_the_published_ones(
    replies: list[str], references: list[list[str]], exact: float, f1: float
) -> None:
    assert metrics.exact_match(replies, references).value == pytest.approx(exact)
    assert metrics.f1(replies, references).value == pytest.approx(f1)


@pytest.mark.parametrize(
    ("reply", "reference", "f1"),
    [("", "", 1.0), ("the", "", 1.0), ("", "a cat", 0.0), ("cat cat cat", "cat", 0.5)],
)
def test_squad_f1_at_its_edges(reply: str, reference: str, f1: float) -> None:
    assert metrics.squad_f1(reply, reference) == f1


WORDS = st.lists(
    st.sampled_from(["a", "The", "cat", "cat,", "sat", "on", "--", "mat."]), max_size=9
)


@given(WORDS, WORDS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(said: list[str], gold: list[str]) -> None:
    reply, reference = " ".join(said), " ".join(gold)
    left = metrics.squad_normalize(reply).split()
    right = metrics.squad_normalize(reference).split()
    rest, same = list(right), 0
    for word in left:
        if word in rest:
            rest.remove(word)
            same += 1
    if not left or not right:
        expected = float(left == right)
    elif not same:
        expected = 0.0
    else:
        precision, recall = same / len(left), same / len(right)
        expected = 2 * precision * recall / (precision + recall)
    assert metrics.squad_f1(reply, reference) == pytest.approx(expected)
    assert metrics.squad_f1(reply, reference) == metrics.squad_f1(reference, reply)


def test_references_are_lists_and_one_per_reply() -> None:
    with pytest.raises(DataError, match="no list of references"):
        metrics.f1(["x"], ["x"])
    with pytest.raises(DataError, match="no list of references"):
        metrics.exact_match(["x"], [[]])
    with pytest.raises(DataError, match="found 1 replies for 2"):
        metrics.f1(["x"], [["x"], ["y"]])
    with pytest.raises(DataError, match="over no items"):
        metrics.f1([], [])


def test_fact_recall_needs_every_fact_of_a_question() -> None:
    question = Question(id="q", question="?", key_facts=("17 days", "May"))
    result = metrics.fact_recall(["17 days from May on", "17 days"], [question, question])
    assert result.items == (1.0, 0.0)
    assert result.value == 0.5
    with pytest.raises(DataError, match="found 1 replies for 2"):
        metrics.fact_recall(["x"], [question, question])


def test_a_loop_repeats_and_prose_does_not() -> None:
    assert metrics.repetition_of("one two three four five six") == 0.0
    assert metrics.repetition_of("a b c") == 0.0
    # 8 words have 5 four-grams; "a b a b ..." has 2 different ones.
    assert metrics.repetition_of("a b a b a b a b") == pytest.approx(1 - 2 / 5)
    assert metrics.repetition(["ha " * 103, "fine"]).items == (1 - 1 / 100, 0.0)


def test_length_and_stop_rate() -> None:
    assert metrics.length(["one two", "", "a b c d"]).value == 2.0
    assert metrics.stop_rate([True, False, True, True]).value == 0.75


@pytest.mark.parametrize(
    ("reply", "refuses"),
    [
        ("I'm sorry, but I can\u2019t help with that.", True),
        ("I cannot provide that information.", True),
        ("As an AI language model, I have no opinion.", True),
        ("I don't have any information about your company.", True),
        ("I am unable to open files.", True),
        ("I won\u2019t do that.", True),
        ("I'm sorry to hear that. Your refund takes 5 days.", False),
        ("You cannot provide a receipt later than May.", False),
        ("As a paid employee you have 17 days.", False),
        ("Ask IT; they can help.", False),
        ("The rule is clear. " * 40 + "I cannot help.", False),
    ],
)
def test_refusals_are_told_from_answers(reply: str, refuses: bool) -> None:
    assert metrics.is_refusal(reply) is refuses
    assert metrics.refusal_rate([reply]).value == float(refuses)


def test_a_result_survives_json() -> None:
    result = metrics.perplexity([[-1.0], [-2.0, -0.5]])
    assert MetricResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
