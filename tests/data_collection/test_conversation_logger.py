from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.importing import read_conversations

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


class TickingClock:
    """A clock that a second passes on whenever one looks at it."""

    def __init__(self) -> None:
        self.seconds = -1

    def now(self) -> datetime:
        self.seconds += 1
        return START + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        return float(self.seconds)


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return (self.time - START).total_seconds()

    def pass_by(self, **some: float) -> None:
        self.time += timedelta(**some)


@pytest.fixture(params=["log.jsonl", "log.db"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


def test_the_log_of_the_first_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    user_message, bot_response, metadata = "What is AI?", "AI is ...", {"model": "m"}
    logger = ConversationLogger("conversations.jsonl")
    logger.log_conversation(user_message, bot_response, metadata)
    line = json.loads((tmp_path / "conversations.jsonl").read_text())
    said = [line[key] for key in ("user_message", "bot_response", "metadata")]
    assert said == ["What is AI?", "AI is ...", {"model": "m"}]


def test_the_usage_and_debug_snippets_in_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.basicConfig(level=logging.DEBUG)
    logger = ConversationLogger()
    stats = logger.get_conversation_stats()
    assert stats["total_conversations"] == 0, "an absent log is an empty one"
    assert not (tmp_path / "fine_tuning_home").exists(), "asking creates nothing"
    logger.log_conversation("What is AI?", "AI is artificial intelligence...")
    stats = ConversationLogger().get_conversation_stats()
    print(stats)  # noqa: T201 - the snippet does
    assert "'total_conversations': 1" in capsys.readouterr().out
    assert stats["log_file"] == str(tmp_path / "fine_tuning_home" / "conversations.jsonl")
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "elsewhere"))
    assert ConversationLogger().path == tmp_path / "elsewhere" / "conversations.jsonl"


def test_turns_of_a_session_are_one_path_in_order(path: Path) -> None:
    logger = ConversationLogger(path, clock=TickingClock())
    other = ConversationLogger(path, session_id="mine")
    for number in range(3):
        logger.log_conversation(f"q{number}", f"a{number}")
        other.log_conversation(f"Q{number}", f"A{number}")
    ConversationLogger(path).log_conversation("Q3", "", session_id="mine")
    first, second = logger.store.conversations()
    assert [m.text for m in first.path()] == ["q0", "a0", "q1", "a1", "q2", "a2"]
    assert [m.text for m in second.path()] == ["Q0", "A0", "Q1", "A1", "Q2", "A2", "Q3", ""]
    assert first.id == logger.session_id
    assert second.id == "mine"
    assert first.created_at == "2026-11-22T10:00:00.000000+00:00"


def test_an_unnamed_session_ends_after_half_an_hour_without_a_turn(path: Path) -> None:
    clock = SetClock()
    logger = ConversationLogger(path, clock=clock)
    for minutes in (0, 29, 30, 1, 60 * 24):
        clock.pass_by(minutes=minutes)
        logger.log_conversation(f"after {minutes}", "a")
    asked = [[m.text for m in c.path()[::2]] for c in logger.store.conversations()]
    assert asked == [["after 0", "after 29"], ["after 30", "after 1"], ["after 1440"]]


def test_an_unnamed_session_ends_after_fifty_turns(path: Path) -> None:
    logger = ConversationLogger(path, clock=TickingClock())
    for number in range(120):
        logger.log_conversation(f"q{number}", f"a{number}")
    counts = [len(one.messages) // 2 for one in logger.store.conversations()]
    assert counts == [50, 50, 20]


@pytest.mark.parametrize("is_named_later", [False, True])
def test_a_named_session_is_never_ended(path: Path, is_named_later: bool) -> None:
    clock = SetClock()
    logger = ConversationLogger(path, clock=clock, session_id=None if is_named_later else "mine")
    if is_named_later:
        logger.session_id = "mine"
    for number in range(60):
        clock.pass_by(hours=number)
        logger.log_conversation(f"q{number}", f"a{number}")
        logger.log_conversation(f"Q{number}", f"A{number}", session_id="other")
    assert {one.id: len(one.messages) for one in logger.store.conversations()} == {
        "mine": 120,
        "other": 120,
    }


def test_feedback_finds_the_session_of_its_reply(path: Path) -> None:
    clock = SetClock()
    logger = ConversationLogger(path, clock=clock)
    first = logger.log_conversation("q", "a")
    own = logger.session_id
    clock.pass_by(hours=1)
    later = logger.log_conversation("q2", "a2")
    named = logger.log_conversation("q3", "a3", session_id="n")
    logger.log_thumb(first, True)
    again = logger.log_regeneration(first, "b")
    logger.log_choice(again, first)
    logger.log_rating(named, 3)
    # Another process knows the replies from the log alone.
    other = ConversationLogger(path, clock=clock)
    other.log_edit(later, "better")
    other.log_thumb("unknown", True)
    given = [(one.message_id, one.conversation_id) for one in logger.store.feedback()]
    assert given == [
        (first, own),
        (again, own),
        (named, "n"),
        (later, logger.session_id),
        ("unknown", other.session_id),
    ]
    assert own != logger.session_id
    stored = logger.store.conversation(own)
    assert stored is not None
    assert [m.text for m in stored.path()] == ["q", "b"]


def test_stats_count_everything(path: Path) -> None:
    logger = ConversationLogger(path, clock=TickingClock(), session_id="s")
    turns = [logger.log_conversation("ab" * n, "xyz" * n) for n in (1, 2, 3)]
    logger.log_conversation("q", "a", session_id="t")
    logger.log_feedback(turns[0], "thumb", value=1)
    logger.log_feedback(turns[1], "thumb", value=-1, reason="wrong", comment="no")
    logger.log_feedback(turns[1], "rating", value=4)
    logger.log_feedback(turns[2], "rating", value=7)
    logger.log_feedback(turns[2], "correction", text="better")
    logger.log_feedback(turns[2], "choice", rejected_id="x", session_id="s")
    assert logger.get_conversation_stats() == {
        "log_file": str(path),
        "total_conversations": 2,
        "total_exchanges": 4,
        "total_turns": 4,
        "total_messages": 8,
        "mean_user_message_chars": 3.25,
        "mean_bot_response_chars": 4.75,
        "mean_turns_per_conversation": 2.0,
        "first_time": "2026-11-22T10:00:00.000000+00:00",
        "last_time": "2026-11-22T10:00:03.000000+00:00",
        "turns_per_session": {"s": 3, "t": 1},
        "feedback": {
            "thumbs_up": 1,
            "thumbs_down": 1,
            "ratings": 2,
            "corrections": 1,
            "choices": 1,
            "reviews": 0,
            "mean_rating": 5.5,
        },
        "skipped_records": 0,
    }
    assert {f.conversation_id for f in logger.store.feedback()} == {"s"}
    assert turns[0] in {m.id for c in logger.store.conversations() for m in c.messages}


def test_bad_lines_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"user_message": "a", "bot_response": "b"}\nnonsense\n{"user_mess')
    stats = ConversationLogger(log).get_conversation_stats()
    assert (stats["total_turns"], stats["skipped_records"]) == (1, 2)


def test_an_empty_log_has_stats(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("")
    assert ConversationLogger(log).get_conversation_stats()["mean_bot_response_chars"] == 0


@pytest.mark.parametrize("turn", [(None, "a"), ("q", 5), ("q", "a", ["no mapping"])])
def test_what_is_no_turn_is_refused(path: Path, turn: tuple) -> None:
    logger = ConversationLogger(path)
    with pytest.raises(DataError, match=r"expected text|expected a mapping"):
        logger.log_conversation(*turn)
    assert list(logger.store.conversations()) == []


def test_feedback_that_says_nothing_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="expected 1, 0 or -1"):
        ConversationLogger(path).log_feedback("m", "thumb", value=5)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected one of"):
        ConversationLogger(tmp_path / "log.txt")


def test_debug_messages_tell_no_words(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ConversationLogger(path, session_id="s").log_conversation("my secret", "is safe")
    assert "of session s (9 + 7 characters)" in caplog.text
    assert "secret" not in caplog.text


def test_export_is_read_back_equal(path: Path, tmp_path: Path) -> None:
    logger = ConversationLogger(path)
    logger.log_conversation("q", "a", {"n": 1})
    logger.log_conversation("q2", "a2")
    branches = Conversation.from_turns([("user", "x"), ("assistant", "y")], id="b", title="T")
    logger.store.append(branches)
    target = logger.export(tmp_path / "deep" / "out.jsonl")
    assert list(read_conversations(target)) == list(logger.store.conversations())
    assert logger.export(target).read_bytes() == target.read_bytes()


def test_four_processes_log_one_session_at_once(path: Path) -> None:
    code = (
        "import sys; from fine_tuning.data_collection.conversation_logger import *;"
        "log = ConversationLogger(sys.argv[1], session_id='one');"
        "[log.log_conversation(f'{sys.argv[2]} {n}', 'a') for n in range(50)]"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(who)]) for who in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    stats = ConversationLogger(path).get_conversation_stats()
    assert stats["turns_per_session"] == {"one": 200}
