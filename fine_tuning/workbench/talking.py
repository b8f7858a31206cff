"""One conversation as a person has it: asking, replies as they come, other replies, opinions.

A question is on disk before its reply begins, so that nothing said is lost, whatever is killed. A
reply that was stopped or broke off is kept as far as it came, marked ``aborted`` or ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, cast

import uuid_utils

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.conversation import Conversation, Message, Part, Status
from fine_tuning.core.errors import DataError, FineTuningError
from fine_tuning.core.feedback import Feedback, FeedbackKind
from fine_tuning.core.naming import unit_interval
from fine_tuning.core.ports import ChatModel, Clock, ConversationStore, Sampling
from fine_tuning.data_collection.feedback_summary import FeedbackSummary, feedback_summaries

BETWEEN_QUESTIONS = "\n\n"
TRIAL = "trial"
"""The note of replies that were made side by side, for the person to choose between blindly."""
DRAWN = "drawn"
"""The note of a reply by one of two versions in an A/B test; which one is not shown with it."""
Opinions = FeedbackSummary
"""What a person said about a conversation and its replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question with the replies it got.

    Attributes:
        asked: The question; None for a reply nobody asked for.
        replies: All replies to it, oldest first; empty while it waits for one.
        shown: The reply on the branch last shown; None while the question waits.
        is_open: Whether the newest of several replies ends the chat and waits for a choice.
    """

    asked: Message | None
    replies: tuple[Message, ...] = ()
    shown: Message | None = None
    is_open: bool = False


@dataclass(slots=True)
class Remembered:
    """A conversation that is kept in memory only, because nothing is to be recorded."""

    conversation: Conversation
    feedback: list[Feedback] = field(default_factory=list)


class Talk:
    """A conversation and what a person does in it.

    Args:
        conversation_id: Which one; an unknown one begins with the first question.
        store: Where it is recorded; None records nothing and keeps it here.
        clock: Tells the time.

    Attributes:
        is_withheld: Whether consent was taken back here; before the first question nothing says
            so but this.
    """

    def __init__(
        self, conversation_id: str, store: ConversationStore | None, *, clock: Clock | None = None
    ) -> None:
        self.id = conversation_id
        self._store = store
        self._kept = Remembered(Conversation(id=conversation_id))
        self._clock = clock or SystemClock()
        self.is_withheld = False

    @property
    def is_recording(self) -> bool:
        """Whether what is said is recorded."""
        return self._store is not None

    def conversation(self) -> Conversation:
        """Return the conversation as it stands; empty before the first question."""
        if self._store is None:
            return self._kept.conversation
        return self._store.conversation(self.id) or Conversation(id=self.id)

    def verdicts(self) -> FeedbackSummary:
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
        if not text.strip():
            raise DataError("the message is empty, expected something to ask")
        path = self.conversation().path()
        asked = self._message("user", text, parent=path[-1].id if path else None)
        self._add(asked, consent=not path)
        return asked.id

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
        conversation = self.conversation()
        if asked_id not in {message.id for message in conversation.messages}:
            raise DataError(f"conversation {self.id!r} has no question {asked_id!r}")
        earlier = sum(m.parent_id == asked_id for m in conversation.messages)
        drawn = replace(sampling, seed=sampling.seed + earlier)
        said = self._as_corrected(conversation.path(asked_id))
        pieces, reply_id = list[str](), ""
        status: Status = "aborted"
        try:
            with closing(_generator(model.reply(said, drawn))) as stream:
                for piece in stream:
                    if is_stopped():
                        break
                    pieces.append(piece)
                    yield piece
                else:
                    status = "complete"
        except FineTuningError:
            status = "error"
            raise
        finally:
            if (text := "".join(pieces)).strip() or status == "complete":
                found = self._message("assistant", text, parent=asked_id)
                reply_id, notes = found.id, _notes(note=note, version=version)
                self._add(replace(found, model=model.name, status=status, metadata=notes))
        return reply_id

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
        conversation = self.conversation()
        path, verdicts = conversation.path(), self.verdicts()
        children: dict[str | None, list[Message]] = {}
        for message in conversation.messages:
            children.setdefault(message.parent_id, []).append(message)
        shown: list[Turn] = []
        waiting: Message | None = None
        for message in path:
            if message.role == "user":
                if waiting is not None:
                    shown.append(Turn(asked=waiting))
                waiting = message
            elif message.role == "assistant":
                replies = [m for m in children[message.parent_id] if m.role == "assistant"]
                is_newest = message.id == path[-1].id == replies[-1].id
                is_open = is_newest and len(replies) > 1 and _undecided(replies, verdicts)
                shown.append(
                    Turn(asked=waiting, replies=tuple(replies), shown=message, is_open=is_open)
                )
                waiting = None
        return shown if waiting is None else [*shown, Turn(asked=waiting)]

    # Opinions

    def rate(self, message_id: str, value: int, *, reason: str = "", comment: str = "") -> None:
        """Record a thumb, 1 or -1, for a reply; 0 takes an earlier one back."""
        self._say(self._feedback("thumb", message_id, value=value, reason=reason, comment=comment))

    def correct(self, message_id: str, text: str) -> None:
        """Record what a reply should have been; the chat goes on as if it had been said."""
        self._say(self._feedback("correction", message_id, text=text))

    def choose(self, kept_id: str, others: Iterable[str], *, reason: str = "") -> None:
        """Record that a reply is better than others to the same question, and go on from it."""
        for other in others:
            if other != kept_id:
                self._say(self._feedback("choice", kept_id, rejected_id=other, reason=reason))
        self.show_branch(kept_id)

    def rename(self, title: str) -> None:
        """Give the conversation a name.

        Raises:
            DataError: if it is blank.
        """
        self._say(self._feedback("title", "", text=title))

    def set_consent(self, is_given: bool) -> None:
        """Allow or forbid that the conversation is ever learnt; before it begins, it is noted."""
        if self.conversation().messages:
            self._say(self._feedback("consent", "", value=1 if is_given else -1))
        self.is_withheld = not is_given

    @property
    def has_consent(self) -> bool:
        """Whether the conversation may be learnt."""
        return not self.is_withheld and self.verdicts().consent >= 0

    # Recording

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

    def _say(self, said: Feedback) -> None:
        """Record a judgement."""
        if self._store is None:
            self._kept.feedback.append(said)
        else:
            self._store.add_feedback(said)

    def _feedback(
        self,
        kind: FeedbackKind,
        message_id: str,
        **said: Any,  # noqa: ANN401 - the fields of Feedback, which checks them
    ) -> Feedback:
        """Return a judgement, made now; ``said`` are its other fields."""
        return Feedback(
            id=new_id(),
            conversation_id=self.id,
            message_id=message_id,
            kind=kind,
            created_at=iso(self._clock.now()),
            **said,
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

    def _as_corrected(self, path: Sequence[Message]) -> list[Message]:
        """Return what the model is to read: edited replies as edited, questions in a row as one."""
        corrections: Mapping[str, str] = self.verdicts().corrections
        said: list[Message] = []
        for message in path:
            text = corrections.get(message.id, message.text)
            if said and said[-1].role == message.role == "user":
                text = BETWEEN_QUESTIONS.join((said.pop().text, text))
            said.append(replace(message, content=(Part(text=text),)))
        return said


def drawn_order(names: Sequence[str], asked_id: str) -> list[str]:
    """Return models in an order that only the question decides, for a blind comparison."""
    return sorted(names, key=lambda name: unit_interval(f"{asked_id}/{name}", salt="order"))


def _notes(**notes: str) -> dict[str, str]:
    """Return the notes that say something."""
    return {name: text for name, text in notes.items() if text}


def new_id() -> str:
    """Return an id that sorts by time."""
    return str(uuid_utils.uuid7())


def _undecided(replies: Sequence[Message], verdicts: FeedbackSummary) -> bool:
    """Tell whether no choice was made about the newest of several replies."""
    newest = replies[-1].id
    return not any(newest in pair for pair in verdicts.choices)


def _generator(pieces: Iterable[str]) -> Generator[str, None, object]:
    """Return pieces as something that can be closed; both runtimes give generators."""
    if isinstance(pieces, Generator):
        return cast("Generator[str, None, object]", pieces)
    return (piece for piece in pieces)
