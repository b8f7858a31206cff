"""A chat as it is shown: question by question, with all replies each of them got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.naming import unit_interval
from fine_tuning.data_collection.feedback_summary import FeedbackSummary

TRIAL = "trial"
"""The note of replies that were made side by side, for the person to choose between blindly."""
DRAWN = "drawn"
"""The note of a reply by one of two versions in an A/B test; which one is not shown with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question with the replies it got.

    Attributes:
        asked: The question; None for a reply nobody asked for.
        replies: All replies to it, oldest first; empty while it waits for one.
        shown: The reply on the branch last shown; None while the question waits.
        is_open: Whether the newest of several replies ends the chat and waits for a choice.
    """

    asked: Message | None
    replies: tuple[Message, ...] = ()
    shown: Message | None = None
    is_open: bool = False


def turns_of(conversation: Conversation, summary: FeedbackSummary) -> list[Turn]:
    """Return the branch last shown, question by question."""
    path = conversation.path()
    children: dict[str | None, list[Message]] = {}
    for message in conversation.messages:
        children.setdefault(message.parent_id, []).append(message)
    shown: list[Turn] = []
    waiting: Message | None = None
    for message in path:
        if message.role == "user":
            if waiting is not None:
                shown.append(Turn(asked=waiting))
            waiting = message
        elif message.role == "assistant":
            replies = [m for m in children[message.parent_id] if m.role == "assistant"]
            is_newest = message.id == path[-1].id == replies[-1].id
            is_open = is_newest and len(replies) > 1 and _undecided(replies, summary)
            shown.append(
                Turn(asked=waiting, replies=tuple(replies), shown=message, is_open=is_open)
            )
            waiting = None
    return shown if waiting is None else [*shown, Turn(asked=waiting)]


def drawn_order(names: Sequence[str], asked_id: str) -> list[str]:
    """Return models in an order that only the question decides, for a blind comparison."""
    return sorted(names, key=lambda name: unit_interval(f"{asked_id}/{name}", salt="order"))


def _undecided(replies: Sequence[Message], summary: FeedbackSummary) -> bool:
    """Tell whether no choice was made about the newest of several replies."""
    newest = replies[-1].id
    return not any(newest in pair for pair in summary.choices)
