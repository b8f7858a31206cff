"""Where cleaned conversations wait until all were seen: in memory, or in a file without a name.

The file is gone when it is closed, even if the process is killed.
"""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path
from typing import Protocol

import orjson

from fine_tuning.core.conversation import Conversation
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import encode
from fine_tuning.storage.log_lines import full_record


class Shelf(Protocol):
    """Holds conversations by number, counted from 0 in the order in which they were put."""

    def put(self, conversation: Conversation, original: Conversation) -> None:
        """Add a cleaned conversation, and what it was cleaned from."""
        ...

    def original(self, number: int) -> Conversation:
        """Return what a conversation was cleaned from, or its cleaned form."""
        ...

    def get(self, number: int) -> Conversation:
        """Return the conversation of a number."""
        ...

    def close(self) -> None:
        """Let go of all of them."""
        ...


class MemoryShelf:
    """A shelf for as many conversations as fit in memory; hands out the very same objects."""

    def __init__(self) -> None:
        self._kept: list[tuple[Conversation, Conversation]] = []

    def put(self, conversation: Conversation, original: Conversation) -> None:
        """Add a cleaned conversation, and what it was cleaned from."""
        self._kept.append((conversation, original))

    def get(self, number: int) -> Conversation:
        """Return the conversation of a number."""
        return self._kept[number][0]

    def original(self, number: int) -> Conversation:
        """Return what the conversation was cleaned from."""
        return self._kept[number][1]

    def close(self) -> None:
        """Let go of all of them."""
        self._kept = []


class FileShelf:
    """A shelf on disk; 8 bytes of memory for each conversation.

    Args:
        folder: Where the file lies; the system's temporary folder if None.

    Raises:
        StorageError: on construction, if no file can be made there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._place = folder or Path(tempfile.gettempdir())
        with storage_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self._starts = array("Q", [0])
        self._is_writing = True

    def put(self, conversation: Conversation, original: Conversation) -> None:  # noqa: ARG002
        """Add a cleaned conversation; its original is not kept.

        Raises:
            StorageError: if the disk is full.
        """
        line = encode(full_record(conversation))
        with storage_errors(self._place):
            if not self._is_writing:
                self._file.seek(self._starts[-1])
                self._is_writing = True
            self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))

    def get(self, number: int) -> Conversation:
        """Return the conversation of a number.

        Raises:
            StorageError: if the file cannot be read.
        """
        start, end = self._starts[number], self._starts[number + 1]
        with storage_errors(self._place):
            self._is_writing = False
            self._file.seek(start)
            line = self._file.read(end - start)
        return Conversation.from_dict(orjson.loads(line))

    def original(self, number: int) -> Conversation:
        """Return the cleaned conversation: its original is not on the shelf."""
        return self.get(number)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
