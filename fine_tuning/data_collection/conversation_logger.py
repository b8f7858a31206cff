"""Writes down what a person and the chatbot say to each other, turn by turn, as it happens.

It stamps time, ids and the session, and leaves keeping to a store. It never changes a word and
never prints one: debug messages name lengths, not texts.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import uuid_utils

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import Clock, ConversationStore
from fine_tuning.data_collection.session_cut import is_over
from fine_tuning.data_collection.statistics import LogStatistics, conversation_statistics
from fine_tuning.storage.json_lines import whole_lines
from fine_tuning.storage.log_lines import full_record
from fine_tuning.storage.open_store import open_store

_log = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
"""Replies whose session is kept at hand; that of an older one is looked up in the log."""


class ConversationLogger:
    """Logs conversations for fine-tuning.

    All turns of a session are one conversation, in the order in which they were logged, whichever
    process logged them; a session's id is its conversation's id. A session that is named is never
    ended here. A logger without one begins a new session by itself after half an hour without a
    turn, and after 50 turns; feedback finds the session of its reply.

    Args:
        path: The log: ``.jsonl``, or ``.db`` for SQLite. A relative path starts, as usual, in the
            current folder. Without one, the log is the workspace's ``conversations.jsonl``
            (``FINE_TUNING_HOME``, by default ``./fine_tuning_home``).
        store: Where to log instead of ``path``.
        clock: Who tells the time.
        session_id: The session of turns that name none; None begins new ones.

    Raises:
        StorageError: if the path's suffix is unknown or a database cannot be opened.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        store: ConversationStore | None = None,
        clock: Clock | None = None,
        session_id: str | None = None,
    ) -> None:
        self.path = Path(path) if path is not None else Workspace.open().conversations
        self.store: ConversationStore = store if store is not None else open_store(self.path)
        self._is_named = bool(session_id)
        self._session_id = session_id or _new_id()
        self._clock: Clock = clock or SystemClock()
        self._last_turn: datetime | None = None
        self._num_turns = 0
        self._sessions: OrderedDict[str, str] = OrderedDict()

    @property
    def session_id(self) -> str:
        """The session of turns that name none; setting it names it."""
        return self._session_id

    @session_id.setter
    def session_id(self, name: str) -> None:
        """Name the session of turns that name none.

        Args:
            name: Its id; it is not ended here.
        """
        self._session_id, self._is_named = name, True

    def log_conversation(
        self,
        user_message: str,
        bot_response: str,
        metadata: JsonObject | None = None,
        *,
        session_id: str | None = None,
    ) -> str:
        """Log one turn: what was asked and what was replied; it is on disk on return.

        Args:
            user_message: The person's words.
            bot_response: The chatbot's reply.
            metadata: Notes on the reply (model, latency, ...); values JSON cannot express are
                kept as their text.
            session_id: The session the turn belongs to; None takes the logger's own, or begins a
                new one.

        Returns:
            The reply's message id, which :meth:`log_feedback` takes.

        Raises:
            DataError: if a message is not text or the metadata is not a mapping.
            StorageError: if the turn could not be written; then nothing was.
        """
        _check(user_message=user_message, bot_response=bot_response)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise DataError(f"metadata is {type(metadata).__name__}, expected a mapping or None")
        moment = self._clock.now()
        session, now = session_id or self._own_session(moment), iso(moment)
        asked = Message(id=_new_id(), role="user", content=_parts(user_message), created_at=now)
        reply = Message(
            id=_new_id(),
            role="assistant",
            content=_parts(bot_response),
            parent_id=asked.id,
            created_at=now,
            metadata=dict(metadata or {}),
        )
        turn = Conversation(id=session, messages=(asked, reply), created_at=now)
        self.store.append(turn, follow=True)
        self._remember(reply.id, session)
        sizes = len(user_message), len(bot_response)
        _log.debug("logged turn %s of session %s (%d + %d characters)", reply.id, session, *sizes)
        return reply.id

    def log_feedback(  # noqa: PLR0913 - one per field of feedback
        self,
        message_id: str,
        kind: FeedbackKind,
        *,
        value: int = 0,
        text: str = "",
        rejected_id: str = "",
        reason: str = "",
        comment: str = "",
        session_id: str | None = None,
    ) -> str:
        """Log feedback on a reply.

        Args:
            message_id: What :meth:`log_conversation` returned.
            kind: ``thumb`` (value 1 or -1, 0 takes one back), ``rating`` (value 1 to 10),
                ``correction`` (text is the better reply) or ``choice`` (rejected_id is the reply
                that was not kept).
            value: The thumb or the rating.
            text: The better reply.
            rejected_id: The reply that was not kept.
            reason: A short reason out of a list the page offers.
            comment: What the person wrote about it.
            session_id: The reply's session; None finds it.

        Returns:
            The feedback's id.

        Raises:
            DataError: if the kind is unknown or its field is missing or out of range.
            StorageError: if it could not be written.
        """
        feedback = Feedback(
            id=_new_id(),
            conversation_id=session_id or self._session_of(message_id),
            message_id=message_id,
            kind=kind,
            value=value,
            text=text,
            rejected_id=rejected_id,
            reason=reason,
            comment=comment,
            created_at=iso(self._clock.now()),
        )
        self.store.add_feedback(feedback)
        _log.debug("logged %s feedback %s on message %s", kind, feedback.id, message_id)
        return feedback.id

    def log_thumb(
        self,
        message_id: str,
        up: bool,
        *,
        reason: str = "",
        comment: str = "",
        session_id: str | None = None,
    ) -> str:
        """Log a thumb, up or down; see :meth:`log_feedback`.

        Args:
            message_id: As in :meth:`log_feedback`.
            up: Whether the thumb is up.
            reason: As in :meth:`log_feedback`.
            comment: As in :meth:`log_feedback`.
            session_id: As in :meth:`log_feedback`.

        Returns:
            The judgement's id.
        """
        value = 1 if up else -1
        return self.log_feedback(
            message_id, "thumb", value=value, reason=reason, comment=comment, session_id=session_id
        )

    def log_rating(
        self,
        message_id: str,
        rating: int,
        *,
        reason: str = "",
        comment: str = "",
        session_id: str | None = None,
    ) -> str:
        """Log a rating from 1, the worst, to 10; see :meth:`log_feedback`.

        Args:
            message_id: As in :meth:`log_feedback`.
            rating: 1 to 10.
            reason: As in :meth:`log_feedback`.
            comment: As in :meth:`log_feedback`.
            session_id: As in :meth:`log_feedback`.

        Returns:
            The judgement's id.
        """
        return self.log_feedback(
            message_id,
            "rating",
            value=rating,
            reason=reason,
            comment=comment,
            session_id=session_id,
        )

    def log_edit(
        self, message_id: str, text: str, *, comment: str = "", session_id: str | None = None
    ) -> str:
        """Log a reply as it should have been: what training learns in its place, and a pair.

        Args:
            message_id: What :meth:`log_conversation` returned.
            text: The reply as it should have been.
            comment: What the person wrote about it.
            session_id: The reply's session; None finds it.

        Returns:
            The feedback's id.
        """
        return self.log_feedback(
            message_id, "correction", text=text, comment=comment, session_id=session_id
        )

    def log_regeneration(
        self,
        message_id: str,
        bot_response: str,
        metadata: JsonObject | None = None,
        *,
        session_id: str | None = None,
    ) -> str:
        """Log another reply to the question of a reply; it is the one shown from now on.

        Args:
            message_id: The reply that was asked for again.
            bot_response: The new reply.
            metadata: Notes on the new reply (model, latency, ...).
            session_id: The reply's session; None finds it.

        Returns:
            The new reply's message id. :meth:`log_choice` tells which one was kept.

        Raises:
            DataError: if there is no such reply, or the new one is no text.
            StorageError: if it could not be written.
        """
        _check(bot_response=bot_response)
        session = session_id or self._session_of(message_id)
        stored = self.store.conversation(session)
        replies = [m for m in stored.messages if m.id == message_id] if stored else []
        if not replies or replies[0].role != "assistant":
            raise DataError(
                f"session {session} has no reply {message_id!r}, expected what log_conversation "
                "returned"
            )
        again = Message(
            id=_new_id(),
            role="assistant",
            content=_parts(bot_response),
            parent_id=replies[0].parent_id,
            created_at=iso(self._clock.now()),
            metadata=dict(metadata or {}),
        )
        self.store.append(Conversation(id=session, messages=(again,), leaf_id=again.id))
        self._remember(again.id, session)
        return again.id

    def log_choice(self, kept_id: str, rejected_id: str, *, session_id: str | None = None) -> str:
        """Log which of two replies to one question was kept, and which was not: a pair.

        Args:
            kept_id: The message id of the reply that was kept.
            rejected_id: The message id of the one that was not.
            session_id: The reply's session; None finds it.

        Returns:
            The feedback's id.

        Raises:
            DataError: if the two are the same.
            StorageError: if it could not be written.
        """
        if kept_id == rejected_id:
            raise DataError(f"reply {kept_id} cannot be both kept and rejected")
        return self.log_feedback(kept_id, "choice", rejected_id=rejected_id, session_id=session_id)

    def _own_session(self, now: datetime) -> str:
        """Return the session of a turn that names none, which may be the first of a new one."""
        idle = now - self._last_turn if self._last_turn else timedelta()
        if not self._is_named and is_over(idle, self._num_turns):
            self._session_id, self._num_turns = _new_id(), 0
        self._last_turn = now
        self._num_turns += 1
        return self._session_id

    def _remember(self, message_id: str, session: str) -> None:
        self._sessions[message_id] = session
        if len(self._sessions) > MOST_REMEMBERED:
            self._sessions.popitem(last=False)

    def _session_of(self, message_id: str) -> str:
        """Return the session of a reply: as remembered or stored, else the logger's own."""
        if message_id not in self._sessions:
            own = self.store.conversation(self._session_id)
            for conversation in chain([own] if own else (), self.store.conversations()):
                if any(message.id == message_id for message in conversation.messages):
                    self._remember(message_id, conversation.id)
                    break
        return self._sessions.get(message_id, self._session_id)

    def get_conversation_stats(self) -> LogStatistics:
        """Return what the log holds, counted; an absent log counts as an empty one.

        See :func:`~fine_tuning.data_collection.statistics.conversation_statistics` for the keys;
        ``log_file`` and ``skipped_records`` (lines that could not be read) are added here.

        Raises:
            StorageError: if the log cannot be read.
        """
        stats = conversation_statistics(self.store.conversations(), self.store.feedback())
        skipped = self.store.skipped
        for record in skipped:
            _log.debug("skipped line %d of %s: %s", record.line, self.path, record.reason)
        _log.debug("counted %d conversations in %s", stats["total_conversations"], self.path)
        return {"log_file": str(self.path), **stats, "skipped_records": len(skipped)}

    def export(self, path: Path | str) -> Path:
        """Write all conversations to a JSON Lines file, one ``ft/1`` record a line.

        Args:
            path: The file to write; one that is there is replaced in one step.

        Returns:
            The file's path.

        Raises:
            StorageError: if it cannot be written; an old file there stays as it was.
        """
        target, count = Path(path), 0
        with whole_lines(target) as write:
            for conversation in self.store.conversations():
                write(full_record(conversation))
                count += 1
        _log.debug("exported %d conversations to %s", count, target)
        return target


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def _parts(text: str) -> tuple[Part, ...]:
    return (Part(text=text),) if text else ()


def _check(**texts: object) -> None:
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{name} is {type(text).__name__}, expected text")
