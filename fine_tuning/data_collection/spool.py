"""Where cleaned conversations wait until all were seen: in memory, or in a file without a name.

As many as are soon read back need no file: the first ones stay in memory, up to a bound.

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

MOST_HELD_CHARS = 1 << 25
CHARS_AROUND = 256


class Spool(Protocol):
    """Holds conversations by number, counted from 0 in the order in which they were put."""

    def put(self, conversation: Conversation, original: Conversation) -> None:
        """Add a cleaned conversation, and what it was cleaned from."""
        ...

    def original(self, number: int) -> Conversation:
        """Return what a conversation was cleaned from, as it came in."""
        ...

    def get(self, number: int) -> Conversation:
        """Return the conversation of a number."""
        ...

    def close(self) -> None:
        """Let go of all of them."""
        ...


class MemorySpool:
    """A spool for as many conversations as fit in memory; hands out the very same objects."""

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


class FileSpool:
    """A spool on disk; the first conversations stay in memory, then 16 bytes of each.

    A conversation that cleaning left alone is written once, one that it changed twice.

    Args:
        folder: Where the file lies; the system's temporary folder if None.
        most_held_chars: About how much stays in memory.

    Raises:
        StorageError: on construction, if no file can be made there.
    """

    def __init__(
        self, folder: Path | None = None, *, most_held_chars: int = MOST_HELD_CHARS
    ) -> None:
        self._num_free_chars = most_held_chars
        self._folder = folder or Path(tempfile.gettempdir())
        with storage_errors(self._folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self._held: list[tuple[Conversation, Conversation]] = []
        self._ends = array("Q", [0])  # of each conversation, and of its original behind it
        self._is_writing = True

    def put(self, conversation: Conversation, original: Conversation) -> None:
        """Add a cleaned conversation, and what it was cleaned from.

        Raises:
            StorageError: if the disk is full.
        """
        if self._num_free_chars > 0:
            self._held.append((conversation, original))
            self._num_free_chars -= _size(conversation)
            return
        line = encode(full_record(conversation))
        before = b"" if original is conversation else encode(full_record(original))
        with storage_errors(self._folder):
            if not self._is_writing:
                self._file.seek(self._ends[-1])
                self._is_writing = True
            self._file.write(line + before)
        self._ends.append(self._ends[-1] + len(line))
        self._ends.append(self._ends[-1] + len(before))

    def get(self, number: int) -> Conversation:
        """Return the conversation of a number.

        Raises:
            StorageError: if the file cannot be read.
        """
        if number < len(self._held):
            return self._held[number][0]
        return self._read(2 * (number - len(self._held)))

    def _read(self, place: int) -> Conversation:
        start, end = self._ends[place], self._ends[place + 1]
        with storage_errors(self._folder):
            self._is_writing = False
            self._file.seek(start)
            line = self._file.read(end - start)
        return Conversation.from_dict(orjson.loads(line))

    def original(self, number: int) -> Conversation:
        """Return what the conversation was cleaned from.

        Raises:
            StorageError: if the file cannot be read.
        """
        if number < len(self._held):
            return self._held[number][1]
        place = 2 * (number - len(self._held)) + 1
        is_same = self._ends[place] == self._ends[place + 1]
        return self._read(place - is_same)

    def close(self) -> None:
        """Delete the file."""
        self._held = []
        self._file.close()


def _size(conversation: Conversation) -> int:
    """Return about how many characters a conversation takes up, with what is around its texts."""
    texts = sum(len(message.text) + len(message.reasoning) for message in conversation.messages)
    return texts + CHARS_AROUND * len(conversation.messages)
