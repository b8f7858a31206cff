"""What reading a foreign file gives: conversations with their feedback, and records set aside.

Nothing disappears: every record of a file becomes one or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.storage.json_lines import sound_text

EXCERPT_CHARS = 500
UNREADABLE = (
    AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What reading a stranger's values may raise when they are of another shape than promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A conversation, or feedback on one that was imported before, and the line it begins in."""

    conversation: Conversation | None = None
    feedback: tuple[Feedback, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A record set aside: the line it begins in (0 when there are none), why, and its start."""

    line: int
    reason: str
    excerpt: str = ""


ImportedItem = Imported | Quarantined


def excerpt(value: object) -> str:
    """Return the beginning of a value's text, for a person to recognise it."""
    return sound_text(str(value)[:EXCERPT_CHARS])


def reference(source: str, ref: str) -> str:
    """Return the id of the conversation that a source names ``ref``; the same at every import."""
    return content_name([source, ref])


@dataclass(slots=True)
class Draft:
    """A conversation being read: what its source names it ``ref``, and the feedback on it.

    ``id`` is the conversation's lasting id; the ids of the feedback are made from what it says.
    """

    source: str
    ref: str
    id: str = field(init=False)
    feedback: list[Feedback] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Work the id out once; every message's id may begin with it."""
        self.id = reference(self.source, self.ref)

    def add_feedback(self, message_id: str, kind: FeedbackKind, **fields: Any) -> None:  # noqa: ANN401
        """Add feedback.

        Raises:
            DataError: as :class:`Feedback` does.
        """
        texts: dict[str, Any] = {
            key: sound_text(value) if isinstance(value, str) else value
            for key, value in fields.items()
        }
        said = content_name([self.id, message_id, kind, texts])
        self.feedback.append(
            Feedback(id=said, conversation_id=self.id, message_id=message_id, kind=kind, **texts)
        )

    def conversation(
        self,
        messages: Sequence[Message],
        *,
        leaf_id: str | None = None,
        title: str = "",
        created_at: str = "",
        metadata: JsonObject | None = None,
    ) -> Conversation:
        """Return the conversation of these messages."""
        return Conversation(
            id=self.id,
            messages=tuple(messages),
            leaf_id=leaf_id,
            source=self.source,
            source_ref=self.ref,
            title=title,
            created_at=created_at,
            metadata=metadata or {},
        )

    def imported(self, conversation: Conversation | None = None, line: int = 0) -> Imported:
        """Return the feedback, with the conversation it is on if that was read."""
        return Imported(conversation=conversation, feedback=tuple(self.feedback), line=line)


def add_choices(draft: Draft, conversation: Conversation) -> None:
    """Add a choice for each reply that was generated again, and not kept on the branch in use."""
    replies: dict[str, list[str]] = {}
    for message in conversation.messages:
        if message.role == "assistant" and message.parent_id is not None and message.text.strip():
            replies.setdefault(message.parent_id, []).append(message.id)
    for kept in conversation.path() if replies else ():
        siblings = replies.get(kept.parent_id or "", [])
        for other in siblings if kept.id in siblings else ():
            if other != kept.id:
                draft.add_feedback(kept.id, "choice", rejected_id=other)
