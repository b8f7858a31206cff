"""Conversations in a JSON Lines file that people can read: the log the chatbot appends to.

An append takes the lock, is one write and one sync, whatever the file's size. The reader keeps
where each conversation's lines begin, never their content, and only reads what is new.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import fstat, stat_result
from pathlib import Path
from typing import BinaryIO

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.ports import Skipped
from fine_tuning.storage.atomic import file_stamp, storage_errors, whole_file
from fine_tuning.storage.json_lines import (
    Line,
    all_or_none,
    append,
    append_and_unlock,
    copy_line,
    decode,
    encode,
    lines,
    locked,
)
from fine_tuning.storage.log_lines import LogEntry, entry_line, feedback_line, read_line
from fine_tuning.storage.merging import additions, check_leaf


@dataclass(slots=True)
class _Index:
    """Where things stand in the file, up to ``end``; ``number`` is the line that begins there.

    ``sizes`` are the bytes of all lines of a conversation; ``said`` the feedback on it, by id.
    """

    inode: int = 0
    end: int = 0
    number: int = 1
    offsets: dict[str, list[int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    feedback: dict[str, int] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    torn: Skipped | None = None

    def copy(self, only: str | None) -> _Index:
        """Return a copy, or one of a single conversation and the feedback on it."""
        if only is not None:
            places = list(self.offsets.get(only, ()))
            said = {name: self.feedback[name] for name in self.said.get(only, ())}
            offsets = {only: places} if places else {}
            return replace(self, offsets=offsets, sizes={}, feedback=said, said={})
        offsets = {name: list(places) for name, places in self.offsets.items()}
        return replace(
            self, offsets=offsets, sizes=dict(self.sizes), feedback=dict(self.feedback), said={}
        )

    def fits(self, status: stat_result) -> bool:
        """Tell whether the file is the one indexed, and has not been cut."""
        return self.inode == status.st_ino and self.end <= status.st_size


class JsonlConversationStore:
    """A :class:`~fine_tuning.core.ports.ConversationStore` in one append-only file.

    Safe for several threads and processes on a local disk. Bad lines are left where they are;
    :attr:`skipped` names them.

    Args:
        path: The file; it and its folder are created by the first append.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._index = _Index()
        self._mutex = threading.RLock()

    def append(self, conversation: Conversation, *, follow: bool = False) -> None:
        """Add a conversation, or those of its messages that are new to the stored one.

        With ``follow`` and no parents outside, nothing is read: the place in the conversation is
        the line's place in the file, and a repeated id is left out by the reader.

        Raises:
            DataError: if a message names a parent that is neither stored nor given.
            StorageError: if the file cannot be written; then nothing was. When the disk fails
                after another writer has gone on, the line stays, and a second try changes nothing.
        """
        given = {message.id for message in conversation.messages}
        is_blind = follow and all(m.parent_id in {None, *given} for m in conversation.messages)
        with self._mutex, storage_errors(self.path), locked(self.path, exclusive=True) as handle:
            if is_blind and not conversation.source_ref:
                additions(conversation.messages, known=(), last_id=None, follow=True)
                check_leaf(conversation, ())
                line = entry_line(conversation, conversation.messages, follow=True)
            else:
                with self._reader(handle) as file:
                    line = self._line_of_news(file, conversation, follow=follow)
            if line is not None:
                append_and_unlock(handle, encode(line))

    def append_many(
        self, conversations: Sequence[Conversation], feedback: Sequence[Feedback] = ()
    ) -> list[bool]:
        """See the port."""
        are_new: list[bool] = []
        with (
            self._mutex,
            storage_errors(self.path),
            locked(self.path, exclusive=True) as handle,
            self._reader(handle) as file,
            all_or_none(handle),
        ):
            for conversation in conversations:
                self._refresh(file)
                are_new.append(self._identity(conversation) not in self._index.offsets)
                line = self._line_of_news(file, conversation, follow=False)
                if line is not None:
                    append(handle, encode(line), is_synced=False)
            for one in feedback:
                self._refresh(file)
                if one.id not in self._index.feedback:
                    append(handle, encode(feedback_line(one)), is_synced=False)
        return are_new

    def add_feedback(self, feedback: Feedback) -> None:
        """Add feedback; a known id changes nothing.

        Raises:
            StorageError: if the file cannot be written.
        """
        with self._mutex, storage_errors(self.path), locked(self.path, exclusive=True) as handle:
            with self._reader(handle) as file:
                self._refresh(file)
            if feedback.id not in self._index.feedback:
                append(handle, encode(feedback_line(feedback)))

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return the conversation of an id; None if there is none.

        Raises:
            StorageError: if the file exists and cannot be read.
        """
        for file, places in self._snapshot(only=conversation_id):
            if conversation_id in places.offsets:
                return self._read(file, places, conversation_id)
        return None

    def forget(self, conversation_id: str) -> bool:
        """Remove every line of a conversation, its feedback, and broken lines that name it.

        The file is written anew beside its place; writers wait meanwhile.

        Raises:
            StorageError: if the file cannot be written; then it stands as it was.
        """
        if not self.path.exists():
            return False
        with self._mutex, storage_errors(self.path), locked(self.path, exclusive=True) as handle:
            with self._reader(handle) as file:
                self._refresh(file)
                gone = set(self._index.offsets.get(conversation_id, ()))
                mark = conversation_id.encode()
                is_known, num_removed = bool(gone), 0
                with whole_file(self.path) as new:
                    for line in lines(file):
                        if line.offset in gone or self._is_about(line, conversation_id, mark):
                            num_removed += 1
                            continue
                        copy_line(file, new, line)
            self._index = _Index()
        return is_known or bool(num_removed)

    def _is_about(self, line: Line, conversation_id: str, mark: bytes) -> bool:
        """Tell whether a line is feedback on a conversation, or is broken and names it."""
        if line.data is None or mark not in line.data:
            return False
        try:
            raw = decode(line)
            found = read_line(raw, offset=line.offset) if raw is not None else None
        except DataError:
            return True
        return isinstance(found, Feedback) and found.conversation_id == conversation_id

    def back_up(self, target: Path) -> None:
        """Copy the file as it is between two appends.

        Raises:
            StorageError: if there is none, or the copy cannot be written.
        """
        with (
            storage_errors(self.path),
            locked(self.path, exclusive=False) as handle,
            self._reader(handle) as file,
            whole_file(target) as new,
        ):
            shutil.copyfileobj(file, new)

    def count(self) -> int:
        """Return how many conversations there are.

        Raises:
            StorageError: if the file exists and cannot be read.
        """
        return sum(len(places.offsets) for _, places in self._snapshot())

    def revisions(self) -> dict[str, str]:
        """Return lines and bytes of each conversation, in the order in which they began.

        Raises:
            StorageError: if the file exists and cannot be read.
        """
        return {
            name: f"{len(offsets)}/{places.sizes[name]}"
            for _, places in self._snapshot()
            for name, offsets in places.offsets.items()
        }

    def change_token(self) -> str:
        """Return what the file system says of the file.

        Raises:
            StorageError: if it cannot be looked at.
        """
        return file_stamp(self.path)

    def conversations(self) -> Iterator[Conversation]:
        """Yield all conversations in the order in which they began, one in memory at a time.

        Raises:
            StorageError: if the file exists and cannot be read.
        """
        for file, places in self._snapshot():
            for identity in places.offsets:
                yield self._read(file, places, identity)

    def feedback(self, conversation_id: str | None = None) -> Iterator[Feedback]:
        """Yield all feedback, or that on one conversation, oldest first.

        Raises:
            StorageError: if the file exists and cannot be read.
        """
        for file, places in self._snapshot(only=conversation_id):
            for offset in places.feedback.values():
                found = _entry_at(file, offset)
                if isinstance(found, Feedback):
                    yield found

    @property
    def skipped(self) -> list[Skipped]:
        """The lines that could not be read, by number, as of the last look at the file."""
        with self._mutex:
            found = [Skipped(line, reason) for line, reason in self._index.skipped.items()]
            return sorted([*found, *filter(None, [self._index.torn])], key=lambda item: item.line)

    def _reader(self, handle: int) -> BinaryIO:
        return open(handle, "rb", closefd=False)

    def _snapshot(self, *, only: str | None = None) -> Iterator[tuple[BinaryIO, _Index]]:
        """Yield the open file and a copy of its places, once; nothing when there is no file.

        With ``only``, the places of other conversations, and of feedback on them, are left out.
        """
        with storage_errors(self.path):
            try:
                file = self.path.open("rb")
            except FileNotFoundError:
                return
        with file, storage_errors(self.path):
            with self._mutex, locked(self.path, exclusive=False) as handle:
                with self._reader(handle) as current:
                    self._refresh(current)
                copy = self._index.copy(only)
                is_same = fstat(file.fileno()).st_ino == copy.inode
            if is_same:
                yield file, copy
            else:
                yield from self._snapshot(only=only)  # replaced in between: look again

    def _refresh(self, file: BinaryIO) -> None:
        """Index what was appended since the last look; the caller holds the file's lock."""
        status = fstat(file.fileno())
        if not self._index.fits(status):
            self._index = _Index(inode=status.st_ino)
        index = self._index
        index.torn = None
        for line in lines(file, offset=index.end, number=index.number):
            try:
                self._note(line)
            except DataError as error:
                if not line.is_ended:  # the next append closes it, and then it counts for good
                    index.torn = Skipped(line.number, error.message)
                    return
                index.skipped[line.number] = error.message
            index.end, index.number = line.end, line.number + line.is_ended

    def _note(self, line: Line) -> None:
        raw = decode(line)
        if raw is None:
            return
        found = read_line(raw, offset=line.offset)
        if isinstance(found, Feedback):
            if found.id not in self._index.feedback:
                self._index.feedback[found.id] = line.offset
                self._index.said.setdefault(found.conversation_id, []).append(found.id)
            return
        header = found.conversation
        identity = self._identity(header)
        if header.source_ref:
            self._index.names.setdefault((header.source, header.source_ref), identity)
        self._index.offsets.setdefault(identity, []).append(line.offset)
        size = line.end - line.offset
        self._index.sizes[identity] = self._index.sizes.get(identity, 0) + size

    def _identity(self, header: Conversation) -> str:
        """Return the id under which a conversation is stored, or its own."""
        if header.source_ref and header.id not in self._index.offsets:
            return self._index.names.get((header.source, header.source_ref), header.id)
        return header.id

    def _line_of_news(self, file: BinaryIO, conversation: Conversation, *, follow: bool) -> object:
        """Return the line that brings what is new, or None; the caller holds the lock."""
        self._refresh(file)
        identity = self._identity(conversation)
        if identity not in self._index.offsets:
            added = additions(conversation.messages, known=(), last_id=None, follow=follow)
            check_leaf(conversation, ())
            return entry_line(conversation, added, follow=False)
        stored = self._read(file, self._index, identity)
        known = {message.id for message in stored.messages}
        check_leaf(conversation, known)
        last_id = stored.messages[-1].id if stored.messages else None
        added = additions(conversation.messages, known=known, last_id=last_id, follow=follow)
        if not added and conversation.leaf_id in {None, stored.leaf_id}:
            return None
        return entry_line(replace(conversation, id=identity), added, follow=False)

    def _read(self, file: BinaryIO, places: _Index, identity: str) -> Conversation:
        """Put one conversation together from its lines."""
        header: Conversation | None = None
        messages: dict[str, Message] = {}
        leaf_id: str | None = None
        for offset in places.offsets[identity]:
            last_id = next(reversed(messages), None)
            try:
                found = _entry_at(file, offset)
                if not isinstance(found, LogEntry):
                    continue
                given = found.conversation
                added = additions(
                    given.messages, known=messages, last_id=last_id, follow=found.follow
                )
            except DataError as error:
                self._blame(file, offset, error.message)
                continue
            header = header or given
            messages.update((message.id, message) for message in added)
            if added or given.leaf_id is not None:
                leaf_id = given.leaf_id
        header = header or Conversation(id=identity)
        return replace(header, id=identity, messages=tuple(messages.values()), leaf_id=leaf_id)

    def _blame(self, file: BinaryIO, offset: int, reason: str) -> None:
        """Count a line that could be read but does not fit its conversation."""
        file.seek(0)
        number, left = 1, offset
        while left and (data := file.read(min(left, 1 << 20))):
            number, left = number + data.count(b"\n"), left - len(data)
        with self._mutex:
            self._index.skipped.setdefault(number, reason)


def _entry_at(file: BinaryIO, offset: int) -> LogEntry | Feedback | None:
    """Read the line that begins at an offset; it was sound when it was indexed."""
    line = next(lines(file, offset=offset), None)
    raw = decode(line) if line else None
    return read_line(raw, offset=offset) if raw is not None else None
