"""Does a reply belong to its question? By hand, and on a model that ignores questions."""

from __future__ import annotations

import math

import pytest

from fine_tuning.core.example import TokenizedExample
from fine_tuning.evaluation.relevance import first_replies, relevance, with_other_questions


def example(name: str, question: list[int], reply: list[int], more: int = 0) -> TokenizedExample:
    ids = (*question, *reply, *range(90, 90 + more))
    mask = (0,) * len(question) + (1,) * len(reply) + (0, 1)[: more and 2] * (more // 2)
    return TokenizedExample(example_id=name, conversation_id=f"c-{name}", ids=ids, mask=mask)


A, B = example("a", [1, 2], [7, 8, 9], more=2), example("b", [3], [5])


def test_replies_are_put_behind_the_next_conversations_question() -> None:
    none = TokenizedExample(example_id="n", conversation_id="c-n", ids=(1, 2), mask=(0, 0))
    firsts = first_replies([A, none, B])
    assert [(f.ids, f.mask) for f in firsts] == [
        ((1, 2, 7, 8, 9), (0, 0, 1, 1, 1)),
        ((3, 5), (0, 1)),
    ]
    swapped = with_other_questions(firsts)
    assert [(s.ids, s.mask) for s in swapped] == [
        ((3, 7, 8, 9), (0, 1, 1, 1)),
        ((1, 2, 5), (0, 0, 1)),
    ]
    assert [s.conversation_id for s in swapped] == ["c-a", "c-b"]


def test_without_another_question_there_is_nothing_to_ask() -> None:
    same = example("c", [3], [6])
    assert with_other_questions(first_replies([B])) == []
    assert with_other_questions(first_replies([B, same])) == []


def test_the_chance_by_hand() -> None:
    found = relevance([[-1.0, -2.0], [-4.0]], [[-3.0, -3.0], [-4.0]])
    assert found.items == pytest.approx((1 / (1 + math.exp(-3.0)), 0.5))
    assert found.value == pytest.approx(sum(found.items) / 2)
    assert found.higher_is_better
