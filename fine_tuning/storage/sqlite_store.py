"""Conversations in a SQLite database: the store for more than a few thousand of them.

Rows are only ever added, except for the branch a conversation currently shows. Reading goes page
by page, so that a long reading neither holds memory nor keeps the write-ahead log from shrinking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import orjson

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.core.ports import Skipped
from fine_tuning.storage.atomic import file_stamp
from fine_tuning.storage.database import BUSY_TIMEOUT_MS, Database
from fine_tuning.storage.json_lines import encode, sound_text
from fine_tuning.storage.merging import additions, check_leaf
from fine_tuning.storage.migrations import APPLICATION_ID, MIGRATIONS

PAGE_CONVERSATIONS = 256
_HEADER = ("id", "source", "source_ref", "title", "created_at")
_TEXTS = (
    "id",
    "parent_id",
    "role",
    "name",
    "tool_call_id",
    "reasoning",
    "model",
    "status",
    "created_at",
)
_MESSAGE = ("conversation_id", *_TEXTS, "weight", "content", "tool_calls", "meta")
_FEEDBACK = tuple(Feedback.__dataclass_fields__)
_FIND = (
    "SELECT seq, id, source, source_ref, title, created_at, current_leaf, meta FROM conversation "
)
_REVISIONS = (
    "SELECT c.id, count(m.seq) || '/' || ifnull(max(m.seq), 0) || '/' || ifnull(c.current_leaf, '')"
    " FROM conversation c LEFT JOIN message m ON m.conversation_id = c.id"
    " GROUP BY c.seq ORDER BY c.seq"
)


class SqliteConversationStore:
    """A :class:`~fine_tuning.core.ports.ConversationStore` in one SQLite file.

    Safe for several threads and processes on a local disk (write-ahead log, full sync).

    Args:
        path: The file; it and its folder are created.
        busy_timeout_ms: How long to wait for another writer.

    Raises:
        StorageError: if the file is no database, is damaged, locked, another program's, or newer
            than this program.
    """

    def __init__(self, path: Path | str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.path = Path(path)
        self._database = Database(
            self.path,
            migrations=MIGRATIONS,
            application_id=APPLICATION_ID,
            busy_timeout_ms=busy_timeout_ms,
        )

    def append(self, conversation: Conversation, *, follow: bool = False) -> None:
        """Add a conversation, or those of its messages that are new to the stored one.

        Raises:
            DataError: if a message names a parent that is neither stored nor given.
            StorageError: if the database cannot be written; then nothing was.
        """
        with self._database.writing() as connection:
            _append(connection, conversation, follow=follow)

    def append_many(
        self, conversations: Sequence[Conversation], feedback: Sequence[Feedback] = ()
    ) -> list[bool]:
        """See the port."""
        with self._database.writing() as connection:
            are_new = [_append(connection, one, follow=False) for one in conversations]
            for item in feedback:
                _add_feedback(connection, item)
        return are_new

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return the conversation of an id; None if there is none.

        Raises:
            StorageError: if the database cannot be read.
        """
        with self._database.reading() as connection:
            header = connection.execute(
                f"{_FIND} WHERE id = ?", (sound_text(conversation_id),)
            ).fetchone()
            return _conversation(connection, header) if header else None

    def forget(self, conversation_id: str) -> bool:
        """Remove a conversation and its feedback, from free pages and the log too.

        Raises:
            StorageError: if the database cannot be written, or another process keeps reading what
                was there before; the rows are gone then, and trying again finishes the work.
        """
        name = sound_text(conversation_id)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM annotation WHERE conversation_id = ?", (name,))
            connection.execute("DELETE FROM conversation WHERE id = ?", (name,))
            is_gone = bool(connection.changes())
        self._database.compact()
        return is_gone

    def back_up(self, target: Path) -> None:
        """Copy one state of the store into a file, while others read and write it.

        Raises:
            StorageError: if the copy cannot be written.
        """
        self._database.back_up(target)

    def add_feedback(self, feedback: Feedback) -> None:
        """Add feedback; a known id changes nothing.

        Raises:
            StorageError: if the database cannot be written.
        """
        with self._database.writing() as connection:
            _add_feedback(connection, feedback)

    def count(self) -> int:
        """Return how many conversations there are.

        Raises:
            StorageError: if the database cannot be read.
        """
        with self._database.reading() as connection:
            found = connection.execute("SELECT count(*) FROM conversation").get
            return found if isinstance(found, int) else 0

    def revisions(self) -> dict[str, str]:
        """Return number and place of the messages of each conversation, and the branch it shows.

        Raises:
            StorageError: if the database cannot be read.
        """
        with self._database.reading() as connection:
            rows: Any = connection.execute(_REVISIONS)
            return dict(rows)

    def change_token(self) -> str:
        """Return what the file system says of the database and its write-ahead log.

        Raises:
            StorageError: if they cannot be looked at.
        """
        return file_stamp(self.path, self.path.with_name(f"{self.path.name}-wal"))

    def conversations(self) -> Iterator[Conversation]:
        """Yield all conversations in the order in which they were added, a page in memory.

        Raises:
            StorageError: if the database cannot be read.
        """
        last_seq = 0
        while True:
            with self._database.reading() as connection:
                page, last_seq = _page(connection, last_seq)
            if not page:
                return
            yield from page

    def feedback(self, conversation_id: str | None = None) -> Iterator[Feedback]:
        """Yield all feedback, or that on one conversation, oldest first.

        Raises:
            StorageError: if the database cannot be read.
        """
        with self._database.reading() as connection:
            only = "" if conversation_id is None else "WHERE conversation_id = ? "
            query = f"SELECT {', '.join(_FEEDBACK)} FROM annotation {only}ORDER BY seq"  # noqa: S608 - ours
            names = () if conversation_id is None else (sound_text(conversation_id),)
            rows = connection.execute(query, names).fetchall()
        for row in rows:
            yield Feedback.from_dict(dict(zip(_FEEDBACK, row, strict=True)))

    @property
    def skipped(self) -> list[Skipped]:
        """Records that could not be read: none, the schema refuses them."""
        return []

    def close(self) -> None:
        """Close this thread's connection; the next use opens it again."""
        self._database.close()


def _append(connection: apsw.Connection, conversation: Conversation, *, follow: bool) -> bool:
    """Add what is new of a conversation; tell whether all of it was."""
    identity, known, last_id = _stored(connection, conversation)
    check_leaf(conversation, known)
    added = additions(conversation.messages, known=known, last_id=last_id, follow=follow)
    is_new = identity is None
    if identity is None:
        identity = _insert_header(connection, conversation)
    if added:
        rows = [_message_row(identity, message) for message in added]
        connection.executemany(_insert("message", _MESSAGE), rows)
    if added or conversation.leaf_id is not None:
        connection.execute(
            "UPDATE conversation SET current_leaf = ?1 WHERE id = ?2 AND current_leaf IS NOT ?1",
            (conversation.leaf_id, identity),
        )
    return is_new


def _add_feedback(connection: apsw.Connection, feedback: Feedback) -> None:
    raw = feedback.to_dict()
    row = [sound_text(v) if isinstance(v, str) else v for v in (raw[key] for key in _FEEDBACK)]
    connection.execute(f"{_insert('annotation', _FEEDBACK)} ON CONFLICT (id) DO NOTHING", row)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - our names


def _stored(
    connection: apsw.Connection, conversation: Conversation
) -> tuple[str | None, set[str], str | None]:
    """Return the stored conversation's id or None, those ids it names that are stored, the last id.

    Only the ids that are asked about are read, so that a turn of a long chat costs what the first
    one did.
    """
    identity = connection.execute(
        "SELECT id FROM conversation WHERE id = ?1 "
        "OR (?3 <> '' AND source = ?2 AND source_ref = ?3) ORDER BY id = ?1 DESC",
        [sound_text(conversation.id), conversation.source, sound_text(conversation.source_ref)],
    ).get
    if not isinstance(identity, str):
        return None, set(), None
    named = {conversation.leaf_id}
    for message in conversation.messages:
        named |= {message.id, message.parent_id}
    rows = connection.execute(
        "SELECT id FROM message WHERE conversation_id = ? "
        "AND id IN (SELECT value FROM json_each(?))",
        (identity, encode(sorted(one for one in named if one is not None)).decode()),
    )
    known = {str(row[0]) for row in rows}
    last_id = connection.execute(
        "SELECT id FROM message WHERE conversation_id = ? ORDER BY seq DESC LIMIT 1", (identity,)
    ).get
    if not isinstance(last_id, str):
        return identity, known, None
    return identity, {*known, last_id}, last_id


def _insert_header(connection: apsw.Connection, conversation: Conversation) -> str:
    row = [sound_text(getattr(conversation, key)) for key in _HEADER]
    meta = encode(dict(conversation.metadata)).decode()
    connection.execute(_insert("conversation", (*_HEADER, "meta")), [*row, meta])
    return row[0]


def _message_row(identity: str, message: Message) -> list[Any]:
    raw = message.to_dict()
    texts = (getattr(message, key) for key in _TEXTS)
    return [
        identity,
        *(text if text is None else sound_text(text) for text in texts),
        message.weight,
        *(encode(value).decode() for value in (raw["content"], raw.get("tool_calls", []))),
        encode(dict(message.metadata)).decode(),
    ]


def _page(connection: apsw.Connection, after_seq: int) -> tuple[list[Conversation], int]:
    """Return the conversations that follow a place in the order, and the place of the last."""
    headers: list[Any] = connection.execute(
        f"{_FIND} WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, PAGE_CONVERSATIONS)
    ).fetchall()
    page = [_conversation(connection, header) for header in headers]
    return page, headers[-1][0] if headers else after_seq


def _conversation(connection: apsw.Connection, header: tuple[Any, ...]) -> Conversation:
    _, *texts, leaf_id, meta = header
    fields = dict(zip(_HEADER, texts, strict=True))
    return Conversation(
        **fields,
        leaf_id=leaf_id,
        metadata=orjson.loads(meta),
        messages=tuple(_messages(connection, fields["id"])),
    )


def _messages(connection: apsw.Connection, identity: str) -> Iterator[Message]:
    columns = _MESSAGE[1:]
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM message WHERE conversation_id = ? ORDER BY seq",  # noqa: S608 - ours
        (identity,),
    )
    for row in rows:
        yield _message(dict(zip(columns, row, strict=True)))


def _message(row: Mapping[str, apsw.SQLiteValue]) -> Message:
    raw: dict[str, JsonValue] = trusted(dict(row))
    for key in ("content", "tool_calls", "meta"):
        raw[key] = orjson.loads(str(row[key]))
    return Message.from_dict({**raw, "metadata": raw.pop("meta")})
