"""The evaluator judges functions: here a real bigram model and a real rule-based answerer."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.evaluation.answering import GivenReply
from fine_tuning.evaluation.evaluator import REPLY_METRICS, Evaluator
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.results import SuiteResult

VOCABULARY = 7


@dataclass(frozen=True)
class Score:
    log_probabilities: tuple[float, ...]
    correct: tuple[bool, ...]


class Bigram:
    """A model small enough to be checked by hand: next token by counts, smoothed by one."""

    def __init__(self, text: Sequence[int]) -> None:
        self.counts = Counter(itertools.pairwise(text))
        self.calls: list[int] = []

    def probability(self, before: int, token: int) -> float:
        total = sum(self.counts[before, t] + 1 for t in range(VOCABULARY))
        return (self.counts[before, token] + 1) / total

    def score(self, examples: Sequence[TokenizedExample]) -> list[Score]:
        self.calls.append(len(examples))
        scores = []
        for example in examples:
            pairs = [
                (example.ids[i - 1], example.ids[i])
                for i in range(len(example.ids))
                if example.mask[i]
            ]
            chances = [[self.probability(b, t) for t in range(VOCABULARY)] for b, _ in pairs]
            scores.append(
                Score(
                    tuple(math.log(self.probability(b, t)) for b, t in pairs),
                    tuple(
                        chance.index(max(chance)) == t
                        for chance, (_, t) in zip(chances, pairs, strict=True)
                    ),
                )
            )
        return scores


def example(name: str, ids: Sequence[int], mask: Sequence[int]) -> TokenizedExample:
    return TokenizedExample(
        example_id=name, conversation_id=f"c-{name}", ids=tuple(ids), mask=tuple(mask)
    )


EXAMPLES = [
    example("a", [0, 1, 2, 3], [0, 1, 1, 0]),
    example("none", [0, 1], [0, 0]),
    example("b", [4, 5, 6], [0, 0, 1]),
]


def test_held_out_loss_by_hand() -> None:
    model = Bigram([0, 1, 2, 0, 1, 2])
    seen: list[tuple[str, int, int]] = []
    evaluator = Evaluator(batch_size=1, progress=lambda *told: seen.append(told))
    result = evaluator.evaluate_held_out(EXAMPLES, model.score, model="bigram")
    # 0->1 and 1->2 were seen twice: 3 / (7 + 2); 5->6 never: 1 / 7.
    nats = -(2 * math.log(3 / 9) + math.log(1 / 7)) / 3
    assert result.loss == pytest.approx(nats)
    assert result.perplexity == pytest.approx(math.exp(nats))
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.suite.item_ids == ("a", "b")
    assert result.suite.clusters == ("c-a", "c-b")
    assert (result.num_target_tokens, result.skipped) == (3, 1)
    assert seen == [("scoring bigram", 1, 2), ("scoring bigram", 2, 2)]
    assert model.calls == [1, 1]


def test_batches_do_not_change_the_result() -> None:
    model = Bigram([0, 1, 2, 0, 1, 2])
    results = [
        Evaluator(batch_size=size).evaluate_held_out(EXAMPLES, model.score) for size in (1, 2, 9)
    ]
    assert results[0] == results[1] == results[2]


def test_bits_per_byte_skips_what_has_no_target() -> None:
    model = Bigram([0, 1, 2])
    result = Evaluator().evaluate_held_out(EXAMPLES, model.score, target_bytes=[4, 0, 2])
    bits = result.loss * 3 / math.log(2)
    assert result.suite.metric("bits_per_byte").value == pytest.approx(bits / 6)


def test_scores_that_do_not_fit_are_refused() -> None:
    model = Bigram([0, 1])
    with pytest.raises(RuntimeFailedError, match="gave 1 results for 2 items"):
        Evaluator().evaluate_held_out(EXAMPLES, lambda batch: model.score(batch)[:1])
    with pytest.raises(RuntimeFailedError, match="example a was scored with 1 log-prob"):
        Evaluator().evaluate_held_out(
            EXAMPLES,
            lambda batch: [
                replace(score, log_probabilities=score.log_probabilities[:1])
                for score in model.score(batch)
            ],
        )
    with pytest.raises(DataError, match="none of 1 held-out examples"):
        Evaluator().evaluate_held_out(EXAMPLES[1:2], model.score)
    with pytest.raises(DataError, match="batch size is 0"):
        Evaluator(batch_size=0)


def given(texts: Sequence[str]) -> list[GivenReply]:
    return [GivenReply(text=text, ended=True) for text in texts]


def handbook(conversations: Sequence[Sequence[Message]]) -> list[GivenReply]:
    """Answer from two rules, echo otherwise; a system message sets the language."""
    replies = []
    for messages in conversations:
        question = messages[-1].text.lower()
        polite = "Sure. " if messages[0].role == "system" else ""
        if "leave" in question:
            replies.append(f"{polite}You get 17 days.")
        elif "budget" in question:
            replies.append(f"{polite}It is 1,200 euros until May.")
        else:
            replies.append(f"{polite}{question}")
    return given(replies)


QUESTIONS = [
    Question(id="q1", question="How much leave?", key_facts=("17 days",), fact="leave"),
    Question(id="q2", question="Leave in days?", key_facts=("117 days",), fact="leave"),
    Question(id="q3", question="What budget?", key_facts=("1200", "May")),
]


def test_questions_are_judged_by_their_facts() -> None:
    result = Evaluator(batch_size=2).evaluate_questions(QUESTIONS, handbook, model="rules")
    assert [answer.is_right for answer in result.answers] == [True, False, True]
    assert result.answers[1].missing == ("117 days",)
    assert result.fact_recall == pytest.approx(2 / 3)
    assert result.suite.clusters == ("leave", "leave", "q3")
    assert result.suite.metric("refusal_rate").value == 0.0
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_system_message_reaches_the_model() -> None:
    result = Evaluator().evaluate_questions(QUESTIONS[:1], handbook, system="Be polite.")
    assert result.answers[0].reply == "Sure. You get 17 days."


def test_a_model_that_answers_too_few_is_refused() -> None:
    with pytest.raises(RuntimeFailedError, match="asking model gave 2 results for 3 items"):
        Evaluator().evaluate_questions(QUESTIONS, lambda batch: handbook(batch)[:2])
    with pytest.raises(DataError, match="over no items"):
        Evaluator().evaluate_questions([], handbook)


def held_out() -> Example:
    conversation = Conversation.from_turns(
        [
            ("user", "How much leave?"),
            ("assistant", "You get 17 days."),
            ("user", "And the budget?"),
            ("assistant", "1,200 euros until May."),
        ]
    )
    return Example(conversation_id="c1", messages=conversation.path(), targets=(1, 3))


def test_replies_are_compared_at_every_target_turn() -> None:
    # Likeness by embeddings needs an extra, and has its own tests (test_embeddings.py).
    asked = set(REPLY_METRICS) - {"embedding_similarity"}
    result = Evaluator().evaluate_replies([held_out()], handbook, metrics=sorted(asked))
    assert result.references == ("You get 17 days.", "1,200 euros until May.")
    assert result.replies == ("You get 17 days.", "It is 1,200 euros until May.")
    assert result.suite.metric("exact_match").items == (1.0, 0.0)
    names = {metric.name for metric in result.suite.metrics}
    assert names == (asked - {"rouge"}) | {"rouge1", "rouge2", "rougeL"}
    again = SuiteResult.from_dict(json.loads(json.dumps(result.suite.to_dict())))
    assert again == result.suite
    json.dumps(result.to_dict(), allow_nan=False)


def test_an_unknown_metric_is_named_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'blue' is unknown, expected one of bleu"):
        Evaluator().evaluate_replies([held_out()], handbook, metrics=["blue"])
    with pytest.raises(DataError, match="none of 0 held-out conversations"):
        Evaluator().evaluate_replies([], handbook)
    with pytest.raises(DataError, match="has no metric 'bleu', it has fact_recall"):
        Evaluator().evaluate_questions(QUESTIONS, handbook).suite.metric("bleu")


def test_prompts_side_by_side() -> None:
    rows = Evaluator(batch_size=1).side_by_side(
        ["My leave?", "Hello"],
        {"rules": handbook, "echo": lambda batch: given([m[-1].text for m in batch])},
    )
    assert [row.to_dict() for row in rows] == [
        {"prompt": "My leave?", "replies": {"rules": "You get 17 days.", "echo": "My leave?"}},
        {"prompt": "Hello", "replies": {"rules": "hello", "echo": "Hello"}},
    ]
