"""One chat of a person with a model: questions, replies as they come, other replies, opinions.

A question is on disk before its reply begins, so that nothing said is lost, whatever is killed. A
reply that was stopped or broke off is kept as far as it came, marked ``aborted`` or ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import uuid_utils

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.conversation import Conversation, Message, Part, Status
from fine_tuning.core.errors import DataError, FineTuningError
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.core.ports import GREEDY, ChatModel, Clock, ConversationStore, Sampling
from fine_tuning.data_collection.chat_turns import Turn, turns_of
from fine_tuning.data_collection.feedback_summary import FeedbackSummary, feedback_summaries
from fine_tuning.data_collection.heard_reply import HeardReply

BETWEEN_QUESTIONS = "\n\n"
BuildMessages = Callable[[Sequence[Message]], list[Message]]
"""Makes of the history, corrected, what a model is to read."""


@dataclass(slots=True)
class Remembered:
    """A conversation that is kept in memory only, because nothing is to be recorded."""

    conversation: Conversation
    feedback: list[Feedback] = field(default_factory=list)


def build_messages(history: Sequence[Message]) -> list[Message]:
    """Return the history as a model reads it by default: questions in a row are one."""
    read: list[Message] = []
    for message in history:
        text = message.text
        if read and read[-1].role == message.role == "user":
            text = BETWEEN_QUESTIONS.join((read.pop().text, text))
        read.append(replace(message, content=(Part(text=text),)))
    return read


class ChatSession:
    """A conversation and what a person does in it.

    Args:
        store: Where it is recorded; None records nothing and keeps it here.
        model: Who replies to :meth:`say`; :meth:`reply` is told who replies.
        sampling: How replies to :meth:`say` are drawn.
        conversation_id: Which one to go on with; "" begins a new one, an unknown one begins with
            the first question.
        clock: Tells the time.
        build_messages: Makes of the history what a model is to read; corrections are applied to
            the history already.
        version_of: Returns the version a model answers as, "" for none; kept with its replies.
        on_begun: Called when the first reply of a recorded conversation is complete.

    Attributes:
        is_withheld: Whether consent was taken back here; before the first question nothing says
            so but this.
        broken_off: Why the model's server broke the last reply off; "" when it did not.
    """

    def __init__(  # noqa: PLR0913 - every collaborator is an argument
        self,
        store: ConversationStore | None,
        model: ChatModel | None = None,
        sampling: Sampling = GREEDY,
        *,
        conversation_id: str = "",
        clock: Clock | None = None,
        build_messages: BuildMessages = build_messages,
        version_of: Callable[[str], str] = lambda _: "",
        on_begun: Callable[[], object] = lambda: None,
    ) -> None:
        self._store = store
        self._model = model
        self._sampling = sampling
        self._clock = clock or SystemClock()
        self._build_messages = build_messages
        self._version_of = version_of
        self._on_begun = on_begun
        self.is_withheld = False
        self._begin(conversation_id or new_id())

    def _begin(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._kept = Remembered(Conversation(id=conversation_id))
        self._failed_after: tuple[str | None] | None = None
        self.broken_off = ""

    @property
    def model_name(self) -> str:
        """The model talked to by :meth:`say`; "" when there is none."""
        return self._model.name if self._model else ""

    def start_over(self) -> None:
        """Begin a new conversation; what was recorded stays."""
        self._begin(new_id())

    @property
    def is_recording(self) -> bool:
        """Whether what is said is recorded."""
        return self._store is not None

    def conversation(self) -> Conversation:
        """Return the conversation as it stands; empty before the first question."""
        if self._store is None:
            return self._kept.conversation
        return self._store.conversation(self.id) or Conversation(id=self.id)

    def feedback_summary(self) -> FeedbackSummary:
        """Return what was said about it."""
        said = self._store.feedback(self.id) if self._store else self._kept.feedback
        return feedback_summaries(said).get(self.id, FeedbackSummary())

    # Talking

    def ask(self, text: str) -> str:
        """Record a question at the end of the branch last shown; return its id.

        Raises:
            DataError: if it says nothing.
            StorageError: if it cannot be recorded; then nothing was.
        """
        return self._ask(text, self._leaf_id())

    def say(self, text: str) -> Generator[str, None, str]:
        """Record a question and stream the reply of the session's own model; return its id.

        A turn that failed is recorded; the next one goes on from the turn before it.

        Raises:
            DataError: if the session has no model, or the question says nothing.
            RuntimeFailedError: if the conversation outgrew the model's context.
            StorageError: if the question or the reply cannot be recorded.
        """
        if self._model is None:
            raise DataError("this chat was opened without a model, expected one to reply")
        (after,) = self._failed_after or (self._leaf_id(),)
        asked_id = self._ask(text, after)
        self._failed_after = (after,)  # until the reply is complete
        version = self._version_of(self._model.name) if self.is_recording else ""
        reply_id = yield from self.reply(asked_id, self._model, self._sampling, version=version)
        self._failed_after = None
        if self.is_recording and after is None:
            self._on_begun()
        return reply_id

    def reply(
        self,
        asked_id: str,
        model: ChatModel,
        sampling: Sampling,
        *,
        note: str = "",
        version: str = "",
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[str, None, str]:
        """Stream a reply to a question, and record it however it ends; return its id, "" for none.

        Args:
            asked_id: The question; with earlier replies this one stands beside them.
            model: Who replies.
            sampling: How; the number of earlier replies is added to the seed.
            note: A remark kept with the reply, such as ``trial``.
            version: The version that replies, kept with it too; "" when it is none.
            is_stopped: Asked before each piece; what comes after it says so is not kept.

        Raises:
            FineTuningError: if there is no such question, the model fails (what came before is
                recorded), or the reply cannot be recorded.
        """
        read, earlier = self._read_for(asked_id)
        drawn = replace(sampling, seed=sampling.seed + earlier)
        pieces, reply_id = list[str](), ""
        status: Status = "aborted"
        heard = HeardReply(model.reply(read, drawn))
        self.broken_off = ""
        try:
            with closing(heard.pieces()) as stream:
                for piece in stream:
                    if is_stopped():
                        break
                    pieces.append(piece)
                    yield piece
                else:
                    self.broken_off = heard.broken_off
                    status = "aborted" if self.broken_off else "complete"
        except FineTuningError:
            status = "error"
            raise
        finally:
            if (text := "".join(pieces)).strip() or status == "complete":
                reply = self._message("assistant", text, parent=asked_id)
                reply_id = reply.id
                notes = _notes(note=note, version=version, broken_off=self.broken_off)
                self._add(replace(reply, model=model.name, status=status, metadata=notes))
        return reply_id

    def _read_for(self, asked_id: str) -> tuple[list[Message], int]:
        """Return what is read to reply to a question, and how many replies it has already."""
        conversation = self.conversation()
        if asked_id not in {message.id for message in conversation.messages}:
            raise DataError(f"conversation {self.id!r} has no question {asked_id!r}")
        earlier = sum(m.parent_id == asked_id for m in conversation.messages)
        return self._build_messages(self._corrected(conversation.path(asked_id))), earlier

    def show_branch(self, message_id: str) -> None:
        """Go on from another reply: it and what followed it last are shown from now on.

        Raises:
            DataError: if there is no such message.
            StorageError: if it cannot be recorded.
        """
        conversation = self.conversation()
        if message_id not in {message.id for message in conversation.messages}:
            raise DataError(f"conversation {self.id!r} has no message {message_id!r}")
        leaf = message_id
        for message in conversation.messages:  # parents stand before their children
            if message.parent_id == leaf:
                leaf = message.id
        if self._store is None:
            self._kept.conversation = replace(conversation, leaf_id=leaf)
        else:
            self._store.append(Conversation(id=self.id, leaf_id=leaf))

    def turns(self) -> list[Turn]:
        """Return the branch last shown, question by question."""
        return turns_of(self.conversation(), self.feedback_summary())

    # Opinions

    def rate(self, value: int, *, reply_id: str = "", reason: str = "", comment: str = "") -> bool:
        """Give a reply a thumb, 1 or -1; 0 takes an earlier one back.

        Args:
            value: The thumb.
            reply_id: The reply; "" is the last one shown.
            reason: A short reason.
            comment: A remark.

        Returns:
            Whether it is recorded; False without a reply, or when nothing is recorded.
        """
        if not (reply_id := reply_id or self._last_reply_id()):
            return False
        self._add_feedback("thumb", reply_id, value=value, reason=reason, comment=comment)
        return self.is_recording

    def correct(self, text: str, *, reply_id: str = "") -> bool:
        """Say what a reply should have been; the chat goes on as if it had been said.

        Args:
            text: The better reply.
            reply_id: The reply; "" is the last one shown.

        Returns:
            Whether it is recorded; False without a reply, or when nothing is recorded.
        """
        if not (reply_id := reply_id or self._last_reply_id()):
            return False
        self._add_feedback("correction", reply_id, text=text)
        return self.is_recording

    def choose(self, kept_id: str, others: Iterable[str], *, reason: str = "") -> None:
        """Record that a reply is better than others to the same question, and go on from it."""
        for other in others:
            if other != kept_id:
                self._add_feedback("choice", kept_id, rejected_id=other, reason=reason)
        self.show_branch(kept_id)

    def rename(self, title: str) -> None:
        """Give the conversation a name.

        Raises:
            DataError: if it is blank.
        """
        self._add_feedback("title", "", text=title)

    def set_consent(self, is_given: bool) -> None:
        """Allow or forbid that the conversation is ever learnt; before it begins, it is noted."""
        if self.conversation().messages:
            self._add_feedback("consent", "", value=1 if is_given else -1)
        self.is_withheld = not is_given

    @property
    def has_consent(self) -> bool:
        """Whether the conversation may be learnt."""
        return not self.is_withheld and self.feedback_summary().consent >= 0

    # Recording

    def _ask(self, text: str, after: str | None) -> str:
        """Record a question after a message, None for the first; return its id."""
        if not text.strip():
            raise DataError("the message is empty, expected something to ask")
        asked = self._message("user", text, parent=after)
        self._add(asked, consent=not self.conversation().messages)
        return asked.id

    def _add(self, message: Message, *, consent: bool = False) -> None:
        """Record a message at the end of its branch; with the first one, a consent withheld."""
        now = message.created_at
        given = Conversation(id=self.id, messages=(message,), leaf_id=message.id, created_at=now)
        said = [self._feedback("consent", "", value=-1)] if consent and self.is_withheld else []
        if self._store is not None:
            self._store.append_many([given], said)
            return
        old = self._kept.conversation
        self._kept.conversation = replace(
            old, messages=(*old.messages, message), leaf_id=message.id
        )
        self._kept.feedback += said

    def _add_feedback(
        self,
        kind: FeedbackKind,
        message_id: str,
        **fields: Any,  # noqa: ANN401 - the fields of Feedback, which checks them
    ) -> None:
        """Record feedback, given now; ``fields`` are its other fields."""
        feedback = self._feedback(kind, message_id, **fields)
        if self._store is None:
            self._kept.feedback.append(feedback)
        else:
            self._store.add_feedback(feedback)

    def _feedback(
        self,
        kind: FeedbackKind,
        message_id: str,
        **fields: Any,  # noqa: ANN401 - as above
    ) -> Feedback:
        return Feedback(
            id=new_id(),
            conversation_id=self.id,
            message_id=message_id,
            kind=kind,
            created_at=iso(self._clock.now()),
            **fields,
        )

    def _message(self, role: str, text: str, *, parent: str | None) -> Message:
        return Message.from_dict(
            {
                "id": new_id(),
                "role": role,
                "content": text,
                "parent_id": parent,
                "created_at": iso(self._clock.now()),
            }
        )

    def _corrected(self, path: Sequence[Message]) -> list[Message]:
        """Return a branch with edited replies as edited."""
        corrections = self.feedback_summary().corrections
        return [
            replace(message, content=(Part(text=corrections[message.id]),))
            if message.id in corrections
            else message
            for message in path
        ]

    def _leaf_id(self) -> str | None:
        """Return the last message shown; None before the first question."""
        path = self.conversation().path()
        return path[-1].id if path else None

    def _last_reply_id(self) -> str:
        """Return the last reply shown; "" when there is none."""
        path = self.conversation().path()
        return next((m.id for m in reversed(path) if m.role == "assistant"), "")


def _notes(**notes: str) -> dict[str, str]:
    """Return the notes that say something."""
    return {name: text for name, text in notes.items() if text}


def new_id() -> str:
    """Return an id that sorts by time."""
    return str(uuid_utils.uuid7())
