"""The exchanges of a branch: what a user says, with the replies to it, up to what is said next.

The unit of leaving out. What the assistant says before anybody asked (a greeting) and what a system
message says between two exchanges is context, and belongs to none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Message


@dataclass(slots=True)
class Exchange:
    """One exchange: ``place`` counts those of the branch; ``messages`` begin with the user's.

    ``end`` is the position on the branch behind its last message.
    """

    place: int
    end: int
    messages: tuple[Message, ...]

    @property
    def trained(self) -> list[Message]:
        """The replies that are trained on, by their weights."""
        return [m for m in self.messages if m.weight and says_something(m)]

    @property
    def finished(self) -> list[Message]:
        """The replies that were finished, trained on or not."""
        return [m for m in self.messages if m.status == "complete" and says_something(m)]

    @property
    def length(self) -> int:
        """Characters of question and reply."""
        return sum(len(m.text) for m in self.messages if m.role in {"user", "assistant"})

    @property
    def said(self) -> str:
        """The question in one line, and the reply in those that follow."""
        asked = " ".join(m.text.replace("\n", " ") for m in self.messages if m.role == "user")
        replies = [m.text for m in self.messages if m.role == "assistant"]
        return "\n".join((asked, *replies))

    @property
    def last_reply_id(self) -> str:
        """The id of the assistant's last message; of the last one at all if there is no reply."""
        replies = [m.id for m in self.messages if m.role == "assistant"]
        return replies[-1] if replies else self.messages[-1].id


def says_something(message: Message) -> bool:
    """Tell whether a message is a reply that has words or calls a tool."""
    return message.role == "assistant" and bool(message.tool_calls or message.text.strip())


def exchanges_of(path: Sequence[Message]) -> tuple[Exchange, ...]:
    """Return the exchanges of a branch, in order.

    Args:
        path: The branch's messages, oldest first, in any order of roles.

    Returns:
        One exchange for each run of user messages, answered or not.
    """
    spans: list[list[int]] = []
    is_answered = True
    for position, message in enumerate(path):
        if message.role == "user":
            if is_answered:
                spans.append([position, position])
                is_answered = False
            spans[-1][1] = position + 1
        elif message.role in {"assistant", "tool"} and spans:
            is_answered = True
            spans[-1][1] = position + 1
    return tuple(
        Exchange(place, end, tuple(path[start:end])) for place, (start, end) in enumerate(spans)
    )


def exchange_lengths(path: Sequence[Message]) -> list[int]:
    """Return the characters of each exchange: a user's messages with the replies to them."""
    return [exchange.length for exchange in exchanges_of(path)]
