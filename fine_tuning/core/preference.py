"""What a person preferred: two replies to one question, or one reply and a thumb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fine_tuning.core.conversation import Message

Origin = Literal["correction", "choice", "thumbs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two replies to one question, of which one is better.

    ``prompt`` is the way from the root to the question. ``origin`` says how it is known: the worse
    one was edited into the better, was generated again and not kept, or got the lower thumb.
    """

    conversation_id: str
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledReply:
    """A reply that is wanted or not, and the way from the root to its question."""

    conversation_id: str
    prompt: tuple[Message, ...]
    reply: Message
    is_wanted: bool
