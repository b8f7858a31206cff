"""Conversations and feedback, counted in one pass; memory grows with sessions and thumbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.exchanges import exchanges_of


class FeedbackCounts(TypedDict):
    """Feedback by kind; of thumbs the last one on a message counts."""

    thumbs_up: int
    thumbs_down: int
    ratings: int
    corrections: int
    choices: int
    reviews: int
    mean_rating: float


class ConversationStatistics(TypedDict):
    """What :func:`conversation_statistics` counts; lengths are means in characters."""

    total_conversations: int
    total_exchanges: int
    total_turns: int
    total_messages: int
    mean_user_message_chars: float
    mean_bot_response_chars: float
    mean_turns_per_conversation: float
    first_time: str
    last_time: str
    turns_per_session: dict[str, int]
    feedback: FeedbackCounts


class LogStatistics(ConversationStatistics):
    """The same of a log: its file, and how many of its records could not be read."""

    log_file: str
    skipped_records: int


def conversation_statistics(
    conversations: Iterable[Conversation], feedback: Iterable[Feedback] = ()
) -> ConversationStatistics:
    """Count conversations, messages and feedback.

    An exchange is a question with the replies to it, a turn a reply, on the branch last shown.
    Lengths are means in characters, over the messages on that branch; times are the earliest and
    latest of any message, "" when none is known. Of thumbs the last one on a message counts, and
    none that was taken back.

    Returns:
        ``total_conversations``, ``total_exchanges``, ``total_turns``, ``total_messages`` (side
        branches included), ``mean_user_message_chars``, ``mean_bot_response_chars``,
        ``mean_turns_per_conversation``, ``first_time``, ``last_time``, ``turns_per_session`` and
        ``feedback``.
    """
    counted = ("exchanges", "messages", "user", "user_chars", "assistant", "assistant_chars")
    totals = dict.fromkeys(counted, 0)
    turns_per_session: dict[str, int] = {}
    first, last = "", ""
    for conversation in conversations:
        turns = 0
        path = conversation.path()
        totals["exchanges"] += len(exchanges_of(path))
        for message in path:
            if message.role in {"user", "assistant"}:
                totals[message.role] += 1
                totals[f"{message.role}_chars"] += len(message.text)
            turns += message.role == "assistant"
        totals["messages"] += len(conversation.messages)
        turns_per_session[conversation.id] = turns
        for moment in filter(None, (message.created_at for message in conversation.messages)):
            first, last = min(first or moment, moment), max(last, moment)
    count = len(turns_per_session)
    return {
        "total_conversations": count,
        "total_exchanges": totals["exchanges"],
        "total_turns": totals["assistant"],
        "total_messages": totals["messages"],
        "mean_user_message_chars": _mean(totals["user_chars"], totals["user"]),
        "mean_bot_response_chars": _mean(totals["assistant_chars"], totals["assistant"]),
        "mean_turns_per_conversation": _mean(totals["assistant"], count),
        "first_time": first,
        "last_time": last,
        "turns_per_session": turns_per_session,
        "feedback": _feedback_counts(feedback),
    }


def _feedback_counts(feedback: Iterable[Feedback]) -> FeedbackCounts:
    names = ("thumbs_up", "thumbs_down", "ratings", "corrections", "choices", "reviews")
    counts = dict.fromkeys(names, 0)
    thumbs: dict[tuple[str, ...], int] = {}
    rated = 0
    for item in feedback:
        if item.kind == "thumb":
            by = item.annotator_kind, item.annotator
            thumbs[item.conversation_id, item.message_id, *by] = item.value
        elif (name := f"{item.kind}s") in counts:
            counts[name] += 1
        rated += item.value if item.kind == "rating" else 0
    counts["thumbs_up"] = sum(value > 0 for value in thumbs.values())
    counts["thumbs_down"] = sum(value < 0 for value in thumbs.values())
    return {
        "thumbs_up": counts["thumbs_up"],
        "thumbs_down": counts["thumbs_down"],
        "ratings": counts["ratings"],
        "corrections": counts["corrections"],
        "choices": counts["choices"],
        "reviews": counts["reviews"],
        "mean_rating": _mean(rated, counts["ratings"]),
    }


def _mean(total: int, count: int) -> float:
    return round(total / count, 2) if count else 0.0
