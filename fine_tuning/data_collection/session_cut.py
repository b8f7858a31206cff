"""Where one session ends and the next begins, for loggers that were given no session.

A logger that names no session records everything a process says under one. It begins another by
itself after a while without a turn, and after many turns. Logs that were recorded before it did so
are cut when they are trained on; the log, and all that is known of its conversations by their ids,
stays as it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from fine_tuning.core.conversation import Conversation, Message

IDLE = timedelta(minutes=30)
"""So long without a turn ends a session nobody named."""
MOST_TURNS = 50
"""So many turns end it too: more of the past is rarely of use, and one odd turn costs less."""
RECORDED_IDLE = timedelta(hours=2)
"""So long a pause parts a recorded conversation: whoever comes back to a page after half an hour
may go on where he was, and the log does not tell who named his session."""
_OWN_ID_VERSION = 7


def is_over(idle: timedelta, num_turns: int) -> bool:
    """Tell whether a session that nobody named ends before the next turn.

    Args:
        idle: The time since its last turn.
        num_turns: How many turns it has.
    """
    return idle >= IDLE or num_turns >= MOST_TURNS


def cut_sessions(conversation: Conversation) -> list[Conversation]:
    """Return a conversation as the sessions it is made of: parted by pauses of hours.

    Only what a logger without a named session recorded is cut. Every part keeps the conversation's
    id and the ids of its messages, so that feedback, reviews and forgetting go on to find it; it
    begins with the system messages the conversation begins with.

    Args:
        conversation: With a sound branch; the branch last shown is what is cut.

    Returns:
        The parts in their order; the conversation itself when there is nothing to cut.
    """
    if not _is_unnamed(conversation):
        return [conversation]
    path = conversation.path()
    begins = [
        place
        for place, (before, after) in enumerate(pairwise(path), start=1)
        if after.role == "user" and _pause(before, after) >= RECORDED_IDLE
    ]
    if not begins:
        return [conversation]
    num_fixed = next((n for n, one in enumerate(path) if one.role != "system"), len(path))
    ends = [*begins, len(path)]
    return [
        _part(conversation, (*path[: num_fixed if begin else 0], *path[begin:end]))
        for begin, end in zip([0, *begins], ends, strict=True)
    ]


def _is_unnamed(conversation: Conversation) -> bool:
    """Tell whether a logger made up the session's id, and recorded whole turns."""
    try:
        is_own = uuid.UUID(conversation.id).version == _OWN_ID_VERSION
    except ValueError:
        return False
    if not is_own or conversation.source != "chat":
        return False
    asked = {message.id: message for message in conversation.messages if message.role == "user"}
    replies: dict[str, Message] = {}
    for message in conversation.messages:
        if message.role == "assistant" and message.parent_id in asked:
            replies.setdefault(message.parent_id, message)
    # A turn is logged at one moment; in a chat that is recorded as it goes, no reply comes at once.
    num_at_once = sum(asked[name].created_at == one.created_at for name, one in replies.items())
    return 2 * num_at_once > len(replies)


def _pause(before: Message, after: Message) -> timedelta:
    """Return the time between two messages; none when it is not known."""
    try:
        return datetime.fromisoformat(after.created_at) - datetime.fromisoformat(before.created_at)
    except (ValueError, TypeError):  # no time, or one with a zone and one without
        return timedelta()


def _part(conversation: Conversation, messages: Sequence[Message]) -> Conversation:
    chained = [replace(messages[0], parent_id=None)]
    for message in messages[1:]:
        chained.append(replace(message, parent_id=chained[-1].id))
    begun = next((one.created_at for one in messages if one.role != "system"), "")
    return replace(conversation, messages=tuple(chained), leaf_id=chained[-1].id, created_at=begun)
