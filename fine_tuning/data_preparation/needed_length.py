"""How long sequences would have to be to keep the replies that lie beyond the longest one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fine_tuning.core.conversation import Message
from fine_tuning.core.example import Example
from fine_tuning.data_preparation.masking import TOO_LONG, ExampleTokenizer
from fine_tuning.data_preparation.tokenized_conversations import TokenizedConversation

KEPT_SHARE = 0.95
STEP_TOKENS = 64
MOST_MEASURED = 64
"""Replies of one conversation that are measured; the prompts of more would take too long."""
NO_LIMIT = 1 << 40
WHOLE_PAST: tuple[str, ...] = ("cut", "drop")
"""The truncations by which a reply is trained on with all that stands before it."""


def needed_length(
    conversations: Iterable[TokenizedConversation], recipe: ExampleTokenizer
) -> int | None:
    """Return the ``max_length``, in tokens, that would keep 95 % of the replies beyond it now.

    Args:
        conversations: What became of them at the present length.
        recipe: What tokenised them.

    Returns:
        A multiple of 64, so that it is a round number; None when no reply is beyond it.
    """
    beyond = [(one, lost) for one in conversations if (lost := one.lost[TOO_LONG])]
    if not beyond:
        return None
    wide = ExampleTokenizer(
        recipe.tokenizer, recipe.renderer, max_length=NO_LIMIT, truncation="cut"
    )
    is_whole = recipe.truncation in WHOLE_PAST
    weighted: list[tuple[int, float]] = []
    for one, lost in beyond:
        lengths = sorted(
            length
            for example in one.examples
            for length in (_ends(example, wide) if is_whole else _alone(example, wide))
        )
        given = sum(len(example.targets) for example in one.examples)
        num_measured = max(1, round(lost * len(lengths) / given))
        weighted += [(length, lost / num_measured) for length in lengths[-num_measured:]]
    wanted = KEPT_SHARE * sum(weight for _, weight in weighted)
    kept = 0.0
    for length, weight in sorted(weighted):
        kept += weight
        if kept >= wanted:
            return -(-length // STEP_TOKENS) * STEP_TOKENS
    return None


def _measured(example: Example) -> Sequence[int]:
    """Return the targets to measure: all, or some of them and the last."""
    step = -(-len(example.targets) // MOST_MEASURED)
    return example.targets[::-step][::-1]


def _ends(example: Example, wide: ExampleTokenizer) -> Iterator[int]:
    """Yield the tokens up to the end of each reply, all that stands before it included."""
    measured = replace(example, targets=tuple(_measured(example)))
    for sequence in wide.tokenize(measured).sequences:
        mask = (*sequence.mask, 0)
        yield from (end for end in range(1, len(mask)) if mask[end - 1] and not mask[end])


def _alone(example: Example, wide: ExampleTokenizer) -> Iterator[int]:
    """Yield the tokens of each reply with nothing but the system prompt and its own question."""
    messages = example.messages
    for target in _measured(example):
        fixed = [one for one in messages[:1] if one.role in {"system", "developer"}]
        start = max(len(fixed), _question(messages, target))
        window = (*fixed, *messages[start : target + 1])
        alone = replace(example, messages=window, targets=(len(window) - 1,))
        for sequence in wide.tokenize(alone).sequences:
            yield len(sequence.ids)


def _question(messages: Sequence[Message], target: int) -> int:
    """Return where the question of a reply begins; user turns in a row are one question."""
    place = target
    while place and messages[place].role != "user":
        place -= 1
    while place and messages[place - 1].role == "user":
        place -= 1
    return place
