"""How messages join a stored conversation: the part of the store's laws that needs no disk."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError


def additions(
    messages: Iterable[Message],
    *,
    known: Container[str],
    last_id: str | None,
    follow: bool,
) -> list[Message]:
    """Return the messages that are new, each with the parent it gets.

    Args:
        messages: Messages in order, parents before children.
        known: Ids the stored conversation has.
        last_id: The id of its last message; None when it has none.
        follow: A message without a parent follows the one appended before it.

    Raises:
        DataError: if a message names a parent that is neither stored nor given before it.
    """
    added: list[Message] = []
    given: set[str] = set()
    for message in messages:
        if message.id in known or message.id in given:
            continue
        parent = message.parent_id
        if parent is None and follow:
            parent = last_id
        if parent is not None and parent not in known and parent not in given:
            raise DataError(f"message {message.id!r} names unknown parent {parent!r}")
        added.append(message if parent == message.parent_id else replace(message, parent_id=parent))
        given.add(message.id)
        last_id = message.id
    return added


def check_leaf(conversation: Conversation, known: Container[str]) -> None:
    """Refuse a branch's end that does not exist.

    Raises:
        DataError: if ``leaf_id`` names a message that is neither stored nor given.
    """
    leaf_id = conversation.leaf_id
    given = {message.id for message in conversation.messages}
    if leaf_id is not None and leaf_id not in known and leaf_id not in given:
        raise DataError(f"conversation {conversation.id} ends at unknown message {leaf_id!r}")
