"""A conversation in a few words and numbers, for lists, filters and plots.

What is measured here is cheap to keep for every conversation; its words are not kept. Tokens are
estimates without a model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.token_estimate import estimate_tokens
from fine_tuning.data_collection.exchanges import exchange_lengths
from fine_tuning.data_collection.language import conversation_language
from fine_tuning.data_collection.quality import quality
from fine_tuning.data_collection.text_filters import refusal

TITLE_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One conversation, measured on the branch last shown.

    ``title`` is its title or the beginning of the first question; ``last_at`` the time of its
    newest message, "" when none is known; ``quality`` is heuristic, 0 to 1; ``refusals`` are
    replies that refuse.
    """

    id: str
    title: str
    source: str
    model: str
    language: str
    last_at: str
    turns: int
    longest_exchange_chars: int
    tokens: int
    quality: float
    refusals: int

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values; the constructor takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Listed:
        """Read what :meth:`to_dict` wrote.

        Raises:
            TypeError: if a field is missing, or one is not known.
        """
        fields: dict[str, Any] = dict(raw)
        return cls(**fields)


def listed(conversation: Conversation) -> Listed:
    """Measure a conversation."""
    path = conversation.path()
    replies = [message for message in path if message.role == "assistant"]
    asked = next((m.text for m in path if m.role == "user" and m.text.strip()), "")
    times = [message.created_at for message in conversation.messages if message.created_at]
    return Listed(
        id=conversation.id,
        title=" ".join((conversation.title or asked).split())[:TITLE_CHARS],
        source=conversation.source,
        model=next((reply.model for reply in reversed(replies) if reply.model), ""),
        language=conversation_language(conversation),
        last_at=max(times, default=conversation.created_at),
        turns=len(replies),
        longest_exchange_chars=max(exchange_lengths(path), default=0),
        tokens=sum(estimate_tokens(message.text) for message in path),
        quality=round(quality(conversation).score, 3),
        refusals=sum(refusal(reply.text) is not None for reply in replies),
    )


def searchable(conversation: Conversation) -> str:
    """Return all words of a conversation, in the case :func:`str.casefold` gives them."""
    texts = [conversation.title, *(message.text for message in conversation.messages)]
    return "\n".join(texts).casefold()
