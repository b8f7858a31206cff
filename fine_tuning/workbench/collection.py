"""Conversations: recording them, and bringing in those one had elsewhere."""

from __future__ import annotations

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.workbench.importing import Importing
from fine_tuning.workbench.queueing import Queueing


class Collection(Queueing, Importing):
    """What a user does with conversations."""

    def logger(self) -> ConversationLogger:
        """Return a logger of a new session in the workspace's log."""
        return ConversationLogger(self.workspace.conversations, store=self.store)

    def conversations(self) -> list[Conversation]:
        """Return all recorded conversations.

        Raises:
            DataError: if there are none.
        """
        self.require_recorded()
        return list(self.recorded())
