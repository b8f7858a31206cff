"""Exchanges by their text: a question with the reply to it, case and white space aside.

Two conversations that hold an exchange of one text share it, whatever their ids and times. What is
trained on in one of them must not be tested in the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Message
from fine_tuning.core.naming import canonical_json

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class ReplyKey:
    """The text of one exchange as a short name, with the characters of that text.

    ``place`` is the reply's index among its messages; ``is_asked`` is false for a greeting, which
    nobody asked for.
    """

    place: int
    key: bytes
    num_chars: int
    is_asked: bool


def normalized(text: str) -> str:
    """Return a text without differences of case and white space."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class ExchangeText:
    """A reply's place among its messages, with its question and itself, both normalized."""

    place: int
    asked: str
    said: str
    calls: str
    is_asked: bool


def exchange_texts(messages: Sequence[Message]) -> Iterator[ExchangeText]:
    """Yield the text of every reply with its question, which user turns in a row make up.

    Results of tools and system messages between a question and its reply are no part of it.

    Args:
        messages: One branch of a conversation.
    """
    question: list[str] = []
    is_answered = False
    for place, message in enumerate(messages):
        if message.role == "user":
            question = [] if is_answered else question
            question.append(message.text)
            is_answered = False
        elif message.role == "assistant":
            is_answered = True
            calls = [[call.name, dict(call.arguments)] for call in message.tool_calls]
            yield ExchangeText(
                place=place,
                asked=normalized(" ".join(question)),
                said=normalized(message.text),
                calls=canonical_json(calls) if calls else "",
                is_asked=bool(question),
            )


def reply_keys(messages: Sequence[Message]) -> Iterator[ReplyKey]:
    """Yield the key of every reply; see :func:`exchange_texts`."""
    for one in exchange_texts(messages):
        text = f"{one.asked}\x00{one.said}\x00{one.calls}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES)
        yield ReplyKey(one.place, digest.digest(), len(one.asked) + len(one.said), one.is_asked)


def beginnings(keys: Sequence[ReplyKey]) -> Iterator[tuple[bytes, int]]:
    """Yield a name for the first exchange, the first two and so on, with their characters."""
    name, num_chars = b"", 0
    for reply in keys:
        name = hashlib.blake2b(name + reply.key, digest_size=KEY_BYTES).digest()
        num_chars += reply.num_chars
        yield name, num_chars
