"""One chat for command line, SDK and page: questions first, corrections applied, failures kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.core.ports import GREEDY, Sampling, ServedReply
from fine_tuning.data_collection.chat_session import ChatSession, build_messages
from fine_tuning.storage.jsonl_store import JsonlConversationStore
from fine_tuning.storage.open_store import open_store


class Echo:
    """Replies with what it read last; fails on questions that say so, after ``!``."""

    name = "echo"

    def __init__(self, store: JsonlConversationStore | None = None) -> None:
        self.read: list[list[str]] = []
        self.on_disk: list[list[str]] = []
        self._store = store

    def reply(self, messages: Sequence[Message], sampling: Sampling = GREEDY) -> Iterator[str]:
        self.read.append([message.text for message in messages])
        assert sampling == GREEDY
        if self._store is not None:
            chats = self._store.conversations()
            self.on_disk.append([m.text for chat in chats for m in chat.messages])
        text = messages[-1].text
        if text.startswith("fail"):
            raise RuntimeFailedError("the conversation outgrew the model's context")
        yield text
        if text.startswith("break"):
            raise RuntimeFailedError("the model broke off")
        yield "!"


@pytest.fixture
def store(tmp_path: Path) -> JsonlConversationStore:
    made = open_store(tmp_path / "log.jsonl")
    assert isinstance(made, JsonlConversationStore)
    return made


def say(session: ChatSession, text: str) -> str:
    return "".join(session.say(text))


def test_the_question_is_recorded_before_the_reply_is_asked_for(
    store: JsonlConversationStore,
) -> None:
    model = Echo(store)
    session = ChatSession(store, model, version_of=lambda name: f"{name}:1")
    assert say(session, "Hello") == "Hello!"
    assert model.on_disk == [["Hello"]]
    reply = session.conversation().path()[-1]
    assert (reply.model, reply.metadata) == ("echo", {"version": "echo:1"})


@pytest.mark.parametrize("is_recording", [True, False])
def test_a_correction_is_what_later_turns_see(
    store: JsonlConversationStore, is_recording: bool
) -> None:
    model = Echo()
    session = ChatSession(store if is_recording else None, model)
    assert not session.correct("nothing yet")
    say(session, "One")
    assert session.correct("The first.") == is_recording
    say(session, "Two")
    assert model.read[-1] == ["One", "The first.", "Two"]


@pytest.mark.parametrize("bad", ["fail", "break"])
def test_a_turn_that_failed_is_recorded_and_the_next_goes_on_before_it(
    store: JsonlConversationStore, bad: str
) -> None:
    model = Echo()
    session = ChatSession(store, model)
    for text in ("One", f"{bad} me", f"{bad} me again", "Two"):
        try:
            say(session, text)
        except RuntimeFailedError:
            assert text.startswith(bad)
    assert model.read[-1] == ["One", "One!", "Two"]
    texts = [message.text for message in session.conversation().messages]
    assert f"{bad} me" in texts, "nothing said is lost"
    assert [m.text for m in session.conversation().path()] == ["One", "One!", "Two", "Two!"]


def test_a_first_turn_that_failed_begins_no_chat(store: JsonlConversationStore) -> None:
    begun: list[str] = []
    session = ChatSession(store, Echo(), on_begun=lambda: begun.append("begun"))
    with pytest.raises(RuntimeFailedError):
        say(session, "fail")
    assert not begun
    say(session, "One")
    say(session, "Two")
    assert begun == ["begun"]
    assert [m.text for m in session.conversation().path()] == ["One", "One!", "Two", "Two!"]
    session.start_over()
    say(session, "Three")
    assert len(list(store.conversations())) == 2
    assert len(begun) == 2


def test_what_the_model_reads_can_be_built_otherwise() -> None:
    """As a loop does that shows examples before every question."""
    model = Echo()

    def with_example(history: Sequence[Message]) -> list[Message]:
        return [*build_messages(history)[-1:], *build_messages(history)]

    session = ChatSession(None, model, build_messages=with_example)
    say(session, "One")
    session.correct("The first.")
    say(session, "Two")
    assert model.read[-1] == ["Two", "One", "The first.", "Two"]


def test_a_session_without_a_model_cannot_reply() -> None:
    with pytest.raises(DataError, match="opened without a model"):
        say(ChatSession(None), "Hello")


class BreakingOff:
    """A model whose server ends a reply that repeats itself."""

    name = "breaking"

    def reply(
        self, messages: Sequence[Message], sampling: Sampling = GREEDY
    ) -> Generator[str, None, ServedReply]:
        del messages, sampling
        yield from ["no "] * 3
        return ServedReply(text="no no no ", ended=False, broken_off="a reply of equal pieces")


def test_a_reply_that_its_server_broke_off_is_kept(store: JsonlConversationStore) -> None:
    session = ChatSession(store, BreakingOff())
    assert say(session, "Hello") == "no no no "
    assert session.broken_off == "a reply of equal pieces"
    reply = session.conversation().path()[-1]
    assert (reply.text, reply.status) == ("no no no ", "aborted")
    assert reply.metadata["broken_off"] == session.broken_off
    session.start_over()
    assert not session.broken_off
