"""Do replies fit their questions? The likelihood of a reply after its own and another's question.

A model that learnt only the manner of the answers finds them likely after any question: its loss
falls, and it no longer tells whose answer a reply is. The chance it gives to the own question,
against one other, is 1 when it knows and 0.5 when it does not. What this does not know: models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fine_tuning.core.example import TokenizedExample
from fine_tuning.evaluation.metrics import MetricResult, right_share

NAME = "relevance"


def first_replies(examples: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """Return each example cut after its first reply; those without a reply are left out."""
    found = []
    for example in examples:
        if example.num_targets:
            start, end = _first_run(example)
            found.append(
                TokenizedExample(
                    example_id=example.example_id,
                    conversation_id=example.conversation_id,
                    ids=example.ids[:end],
                    mask=(0,) * start + (1,) * (end - start),
                )
            )
    return found


def with_other_questions(firsts: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """Return each reply behind the question of the next example of another conversation.

    Args:
        firsts: What :func:`first_replies` returned.

    Returns:
        As many examples, or none when all belong to one conversation or share one question.
    """
    swapped = []
    for place, example in enumerate(firsts):
        others = [*firsts[place + 1 :], *firsts[:place]]
        start = example.mask.index(1)
        question = next(
            (
                other.ids[: other.mask.index(1)]
                for other in others
                if other.conversation_id != example.conversation_id
                and other.ids[: other.mask.index(1)] != example.ids[:start]
            ),
            None,
        )
        if question is None:
            return []
        swapped.append(
            TokenizedExample(
                example_id=f"{example.example_id}/swapped",
                conversation_id=example.conversation_id,
                ids=(*question, *example.ids[start:]),
                mask=(0,) * len(question) + example.mask[start:],
            )
        )
    return swapped


def relevance(own: Sequence[Sequence[float]], swapped: Sequence[Sequence[float]]) -> MetricResult:
    """Return the chance that a reply belongs to its own question rather than to another.

    Args:
        own: Log-probabilities of each reply's tokens after its own question.
        swapped: The same tokens' after another question.
    """
    items = tuple(
        right_share([math.fsum(mine), math.fsum(other)])
        for mine, other in zip(own, swapped, strict=True)
    )
    return MetricResult(
        name=NAME,
        value=math.fsum(items) / len(items),
        items=items,
        higher_is_better=True,
        unit="share of chance",
    )


def _first_run(example: TokenizedExample) -> tuple[int, int]:
    start = example.mask.index(1)
    rest = example.mask[start:]
    return start, start + (rest.index(0) if 0 in rest else len(rest))
