"""Conversations that need a person: which ones first, and what the person decides.

A decision is recorded as the person's own feedback, beside thumbs and edits, and cleaning follows
it. Nothing is asked twice: what is decided leaves the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import uuid_utils

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.data_collection.cleaning_steps import RULES_OF_THUMB
from fine_tuning.data_collection.feedback_summary import FeedbackSummary
from fine_tuning.data_collection.listing import Listed
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import CleaningOutcome, ConversationIndex

Decision = Literal["accept", "reject", "open"]
VALUES: Mapping[Decision, int] = {"accept": 1, "reject": -1, "open": 0}
LOW_QUALITY = 0.4
"""Heuristic quality below which a person should look; 5 % of real chats are."""
_THUMB, _REFUSAL, _DROPPED, _QUALITY, _ALIKE = 16.0, 4.0, 3.0, 2.0, 1.0
"""How much each reason needs a person; what a person said outweighs all others together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToReview:
    """A conversation to look at: why, in words, and how much it needs a person."""

    row: Listed
    why: tuple[str, ...]
    need: float
    twin_id: str = ""


class ReviewQueue:
    """What a user does to decide about conversations one by one.

    Args:
        context: Settings and store.
        index: The conversations as rows.
    """

    def __init__(self, context: Context, index: ConversationIndex) -> None:
        self._context = context
        self._index = index

    def pending(self, outcome: CleaningOutcome | None = None) -> list[ToReview]:
        """Return the undecided conversations a person should look at, neediest first.

        Args:
            outcome: What cleaning made of them; without it, what it drops and pairs that are
                alike are not known.

        Raises:
            StorageError: if the conversations cannot be read.
        """
        listing = self._index.listing()
        alike = _alike(outcome)
        queue: list[ToReview] = []
        for row in listing.rows.values():
            summary = listing.feedback_summaries.get(row.id)
            if summary is not None and summary.review:
                continue
            reasons = [
                *_feedback_reasons(summary, self._context.settings.data_collection.lowest_rating)
            ]
            reasons += [*_measured(row), *_left_out(row.id, outcome)]
            twin_id = alike.get(row.id, "")
            if twin_id and twin_id in listing.rows:
                reasons.append((_ALIKE, "similar to another one, yet no duplicate"))
            if reasons:
                need = sum(weight for weight, _ in reasons)
                why = tuple(text for _, text in reasons)
                queue.append(ToReview(row=row, why=why, need=need, twin_id=twin_id))
        queue.sort(key=lambda entry: entry.row.last_at, reverse=True)
        return sorted(queue, key=lambda entry: -entry.need)

    def decide(self, conversation_id: str, decision: Decision, *, comment: str = "") -> None:
        """Record what is to become of a conversation; ``open`` takes an earlier decision back.

        Raises:
            DataError: if there is no such conversation.
            StorageError: if it cannot be written.
        """
        self._require(conversation_id)
        review = _feedback(conversation_id, "review", "", value=VALUES[decision], comment=comment)
        self._context.store.append_many([], [review])

    def fix(self, conversation_id: str, texts: Mapping[str, str]) -> None:
        """Record better replies, and accept the conversation; they are learnt in their place.

        Args:
            conversation_id: The conversation.
            texts: The better reply by message id.

        Raises:
            DataError: if there is no such conversation or reply, or a text says nothing.
            StorageError: if it cannot be written; then nothing was.
        """
        replies = self._require(conversation_id)
        for name in texts:
            if name not in replies:
                raise DataError(
                    f"conversation {conversation_id!r} has no reply {name!r}, expected one recorded"
                )
        said = [_feedback(conversation_id, "correction", n, text=t) for n, t in texts.items()]
        self._context.store.append_many(
            [], [*said, _feedback(conversation_id, "review", "", value=1)]
        )

    def _require(self, conversation_id: str) -> set[str]:
        """Return the ids of a conversation's replies."""
        found = self._context.store.conversation(conversation_id)
        if found is None:
            raise DataError(
                f"there is no conversation {conversation_id!r}, expected a recorded one"
            )
        return {message.id for message in found.messages if message.role == "assistant"}


def _feedback(
    conversation_id: str, kind: FeedbackKind, message_id: str, **fields: int | str
) -> Feedback:
    return Feedback.from_dict(
        {
            "id": str(uuid_utils.uuid7()),
            "conversation_id": conversation_id,
            "message_id": message_id,
            "kind": kind,
            "created_at": iso(SystemClock().now()),
            **fields,
        }
    )


def _feedback_reasons(
    summary: FeedbackSummary | None, lowest_rating: int
) -> list[tuple[float, str]]:
    if summary is None:
        return []
    edited = summary.corrections
    down = sum(value < 0 and name not in edited for name, value in summary.thumbs.items())
    low = sum(value < lowest_rating and n not in edited for n, value in summary.ratings.items())
    told = []
    if down:
        told.append((_THUMB * down, "you gave a thumb down" + (f" ({down})" if down > 1 else "")))
    if low:
        told.append((_THUMB * low, "you rated a reply low"))
    return told


def _measured(row: Listed) -> list[tuple[float, str]]:
    told = []
    if row.refusals:
        told.append((_REFUSAL, "a reply refuses"))
    if row.turns and row.quality < LOW_QUALITY:
        told.append((_QUALITY * (1 - row.quality), f"low quality of replies ({row.quality:.0%})"))
    return told


def _left_out(name: str, outcome: CleaningOutcome | None) -> list[tuple[float, str]]:
    drop = outcome.drops.get(name) if outcome else None
    if drop is None or drop.reason not in RULES_OF_THUMB:
        return []
    return [(_DROPPED, f"cleaning leaves it out: {drop.detail}")]


def _alike(outcome: CleaningOutcome | None) -> dict[str, str]:
    """Return the likest other conversation of each that is in a pair to look at."""
    found: dict[str, str] = {}
    for pair in outcome.counts["review"] if outcome else ():
        found.setdefault(pair["first_id"], pair["second_id"])
        found.setdefault(pair["second_id"], pair["first_id"])
    return found
