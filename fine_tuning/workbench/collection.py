"""Conversations: recording them, and bringing in those one had elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.curation import Curation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a file gave: conversations new to the log, those there before, lines passed over."""

    num_new: int
    num_known: int
    skipped: tuple[str, ...]


class Collection(Curation):
    """What a user does with conversations."""

    def logger(self) -> ConversationLogger:
        """Return a logger of a new session in the workspace's log."""
        return ConversationLogger(self.workspace.conversations)

    def conversations(self) -> list[Conversation]:
        """Return all recorded conversations.

        Raises:
            DataError: if there are none.
        """
        self._require_recorded()
        return list(self.recorded())

    def import_file(self, path: Path) -> ImportReport:
        """Add a file's conversations to the log; importing it twice adds nothing.

        Raises:
            DataError: if the file cannot be read as conversations.
            StorageError: if the log cannot be written.
        """
        store = open_store(self.workspace.conversations)
        known = {conversation.id for conversation in store.conversations()}
        reader = read_conversations(path)
        num_new = num_known = 0
        for conversation in reader:
            store.append(conversation)
            if conversation.id in known:
                num_known += 1
            else:
                num_new += 1
                known.add(conversation.id)
        skipped = tuple(f"line {item.line}: {item.reason}" for item in reader.skipped)
        if not num_new + num_known:
            first = f"; {skipped[0]}" if skipped else ""
            raise DataError(
                f"{path} holds no conversation in {len(skipped)} lines, expected one JSON object a "
                f"line: a log, ft/1, ChatML, Alpaca or instruction records{first}"
            )
        return ImportReport(num_new=num_new, num_known=num_known, skipped=skipped)
