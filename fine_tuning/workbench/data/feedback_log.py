"""What people say about recorded replies, and the preference pairs it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Unpack

from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import FeedbackFields, FeedbackKind
from fine_tuning.core.preference import PreferencePair
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.feedback_summary import preference_pairs
from fine_tuning.data_collection.preference_files import clean_pairs, write_pairs
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.cleaning_pipeline import CleaningPipeline


class FeedbackLog:
    """Feedback on recorded replies.

    Args:
        context: The store.
        pipeline: Cleans the pairs that are written.
        logger: Opens a logger of the workspace's log.
    """

    def __init__(
        self,
        context: Context,
        pipeline: CleaningPipeline,
        logger: Callable[[], ConversationLogger],
    ) -> None:
        self._context = context
        self._pipeline = pipeline
        self._logger = logger

    def record(
        self,
        session_id: str,
        message_id: str,
        kind: FeedbackKind,
        **fields: Unpack[FeedbackFields],
    ) -> str:
        """Note what a person said about a recorded reply; return the feedback's id.

        Args:
            session_id: The conversation.
            message_id: The reply in it.
            kind: What kind of feedback it is.
            fields: Its fields, as ``ConversationLogger.log_feedback`` takes them.

        Raises:
            DataError: if there is no such reply, it is preferred to itself, or the feedback says
                nothing.
            StorageError: if it could not be written.
        """
        if fields.get("rejected_id") == message_id:
            raise DataError(f"reply {message_id!r} cannot be preferred to itself, expected another")
        stored = self._context.store.conversation(session_id)
        replies = {m.id for m in stored.messages if m.role == "assistant"} if stored else set()
        for name in filter(None, (message_id, fields.get("rejected_id"))):
            if name not in replies:
                raise DataError(
                    f"conversation {session_id!r} has no reply {name!r}, expected one recorded",
                    next_command="fine-tuning stats --json",
                )
        return self._logger().log_feedback(message_id, kind, session_id=session_id, **fields)

    def counts(self) -> dict[str, Any]:
        """Count what people said, what is learnt from it, and the pairs it makes."""
        stats = self._logger().get_conversation_stats()["feedback"]
        return {**stats, "preference_pairs": sum(1 for _ in self.preference_pairs())}

    def preference_pairs(self) -> Iterator[PreferencePair]:
        """Yield what people preferred: edited replies, choices, thumbs that differ."""
        return preference_pairs(self._context.store)

    def write_preference_pairs(self, path: Path) -> int:
        """Write the pairs as TRL reads them, ``prompt``, ``chosen``, ``rejected``; return how many.

        They are redacted and cleaned by the settings, as an export is.

        Raises:
            StorageError: if the file cannot be written; an old one there stays as it was.
        """
        return write_pairs(path, clean_pairs(self.preference_pairs(), self._pipeline.cleaner()))
