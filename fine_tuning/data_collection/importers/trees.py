"""Messages that name their parents, in any order, made into a conversation's tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of an export: what it says, in order, and the entry it follows.

    An entry that says nothing (a hidden or technical one) has no messages; what follows it follows
    its parent instead. A parent that is not there makes the entry a beginning.
    """

    parent: str | None
    messages: tuple[Message, ...] = ()


def arrange(
    nodes: Mapping[str, Node], current: str | None = None
) -> tuple[tuple[Message, ...], str | None]:
    """Return the messages, parents before children, and the end of the branch last shown.

    Args:
        nodes: The entries by their names.
        current: The entry last shown.

    Returns:
        Messages with their ``parent_id``, and the id of the last message on the way to ``current``;
        None when that is not known.

    Raises:
        DataError: if entries follow each other in a circle.
    """
    ends: dict[str, str | None] = {}
    arranged: list[Message] = []
    for name in nodes:
        way: list[str] = []
        wanted: str | None = name
        while wanted is not None and wanted in nodes and wanted not in ends:
            way.append(wanted)
            wanted = nodes[wanted].parent
            if len(way) > len(nodes):
                raise DataError("the messages follow each other in a circle")
        end = ends.get(wanted) if wanted is not None else None
        for step in reversed(way):
            for message in nodes[step].messages:
                arranged.append(replace(message, parent_id=end))
                end = message.id
            ends[step] = end
    return tuple(arranged), ends.get(current) if current is not None else None


def chained(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return messages of which each follows the one before."""
    done: list[Message] = []
    for message in messages:
        done.append(replace(message, parent_id=done[-1].id if done else None))
    return tuple(done)
