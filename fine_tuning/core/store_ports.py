"""The ports of a conversation store: what writes to it, what reads it, what keeps it.

A caller asks for the part it needs; ``tests/contracts/`` runs their laws against every store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.feedback import Feedback


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line or record that was left out: its number, counted from 1, and why."""

    line: int
    reason: str


class ConversationLog(Protocol):
    """What a chatbot and an importer write to.

    * What ``append`` acknowledged MUST survive a killed process, and concurrent writers MUST NOT
      lose or interleave each other's messages.
    * Appending a message id that is there already MUST change nothing (retries are safe).
    * A message id is known within its conversation; a conversation is known by its id or, when
      ``source_ref`` is not empty, by (``source``, ``source_ref``). The header stored first stands,
      except ``leaf_id``: that of the last ``append`` that brought something new does.
    """

    def append(self, conversation: Conversation, *, follow: bool = False) -> None:
        """Add a conversation, or those of its messages that are new to the stored one.

        Args:
            conversation: What to add; parents stand before their children.
            follow: A new message without a parent follows the last stored message of its
                conversation instead of starting a branch; decided while no one else can write.

        Raises:
            DataError: if a message names a parent that is neither stored nor given.
            StorageError: if it was not acknowledged; then nothing was written, or the disk failed
                and it may be found later: appending the same ids again is safe either way.
        """
        ...

    def append_many(
        self, conversations: Sequence[Conversation], feedback: Sequence[Feedback] = ()
    ) -> list[bool]:
        """Add conversations and feedback, all or none, at the price of one ``append``.

        Returns:
            Of each conversation, whether it was unknown before.

        Raises:
            DataError: if a message names a parent that is neither stored nor given.
            StorageError: if nothing could be written; then nothing was.
        """
        ...

    def add_feedback(self, feedback: Feedback) -> None:
        """Add feedback; a known id changes nothing.

        Raises:
            StorageError: if it could not be written.
        """
        ...


class ConversationQueries(Protocol):
    """What is kept, read.

    * ``conversations`` MUST yield each conversation once, oldest first, messages in the order in
      which they were appended; a torn or foreign record MUST be skipped and counted, not fatal.
    * Every method raises StorageError when the store exists and cannot be read; an absent store
      MUST read as an empty one.
    """

    @property
    def skipped(self) -> Sequence[Skipped]:
        """The records that could not be read, as of the last look."""
        ...

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return the conversation of an id; None if there is none."""
        ...

    def count(self) -> int:
        """Return how many conversations there are."""
        ...

    def conversations(self) -> Iterator[Conversation]:
        """Yield all conversations."""
        ...

    def feedback(self, conversation_id: str | None = None) -> Iterator[Feedback]:
        """Yield all feedback, or that on one conversation and its messages, oldest first."""
        ...


class ConversationAdmin(Protocol):
    """What keeps a store: watching it, removing from it, saving it.

    * What ``forget`` removed MUST NOT be found in any file of the store afterwards, not even in
      free space.
    * ``change_token`` MUST be another after anything was appended, said or forgotten, by whichever
      process, and MUST stay while nobody writes. Housekeeping of the store may change it too.
    """

    def revisions(self) -> dict[str, str]:
        """Return for each conversation, in their order, a text that changes whenever it does.

        It costs a fraction of reading them, and stays when another conversation changes or goes.
        """
        ...

    def change_token(self) -> str:
        """Return a text that changes whenever the store does; it costs no reading.

        Raises:
            StorageError: if the store cannot be looked at.
        """
        ...

    def forget(self, conversation_id: str) -> bool:
        """Remove a conversation and the feedback on it; tell whether there was any.

        Raises:
            StorageError: if it could not be removed.
        """
        ...

    def back_up(self, target: Path) -> None:
        """Copy one state into a file of the store's own kind, while others go on writing.

        Raises:
            StorageError: if there is nothing to copy, or the copy cannot be written; an old file
                there stays as it was.
        """
        ...


class ConversationStore(ConversationLog, ConversationQueries, ConversationAdmin, Protocol):
    """Where conversations and feedback are kept: the three ports of one store."""
