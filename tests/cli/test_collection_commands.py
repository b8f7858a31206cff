"""import, feedback, backup and forget, as typed."""

# ruff: noqa: RUF001 - a text in another script

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.import_remarks import unread_line
from fine_tuning.storage.open_store import open_store
from tests.cli.running import run
from tests.data_collection.importers.exports import EXPORTS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "home"))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def write(home: Path, name: str) -> str:
    EXPORTS[name](home / name)
    return str(home / name)


def test_the_format_is_found_said_and_may_be_chosen(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "import", write(home, "open-webui.json"))
    assert code == 0
    assert "Open WebUI export, because its records have archived, chat" in err
    assert "1 new conversations, 0 already in the log, 3 ratings" in out
    alpaca = write(home, "alpaca.json")
    assert answer(capsys, "import", alpaca)["format"] == "alpaca"
    assert answer(capsys, "import", alpaca, "--format", "anything-llm")["format"] == "anything-llm"
    code, _, err = run(capsys, "import", alpaca, "--format", "alpacca")
    assert code == 2
    assert "did you mean 'alpaca'" in err


def test_who_the_assistant_is_is_asked_and_may_be_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = write(home, "telegram.json")
    code, _, err = run(capsys, "import", chat)
    assert code == 3
    assert "is a chat between persons; one of them must be the assistant: Ann, Bot" in err
    assert 'fine-tuning import FILE --assistant "Ann"' in err
    assert answer(capsys, "import", chat, "--assistant", "bot")["new"] == 2
    code, _, err = run(capsys, "import", chat, "--assistant", "Cy")
    assert "has no person 'Cy'" in err


def test_another_encoding_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "table.csv"
    path.write_bytes("prompt;response\nКакая столица?;Это Париж.\n".encode("cp1251"))
    code, _, err = run(capsys, "import", str(path))
    assert code == 0
    assert "read as Windows-1251 (Cyrillic)" in err


def test_several_files_at_once_with_one_that_is_none(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "note.txt").write_text("Dear Ann,\n")
    files = [write(home, "claude.zip"), str(home / "note.txt"), write(home, "llm.db")]
    code, out, err = run(capsys, "import", *files)
    assert code == 3
    assert "3 new conversations" in out
    assert "note.txt holds no conversation" in err


def test_bad_records_are_set_aside_where_one_can_look(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(write(home, "alpaca.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"instruction": "x", "output": [}\n')
    report = answer(capsys, "import", str(path))
    assert (report["in"], report["new"], report["quarantined"]) == (4, 3, 1)
    (aside,) = [json.loads(line) for line in Path(report["quarantine"]).read_text().splitlines()]
    assert (aside["line"], aside["excerpt"]) == (4, '{"instruction": "x", "output": [}')


def test_judging_counting_and_writing_pairs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = ConversationLogger(home / "home" / "conversations.jsonl")
    reply = logger.log_conversation("Name a colour.", "Seven.")
    given = ["feedback", reply, "--session", logger.session_id]
    assert (
        len(answer(capsys, *given, "--down", "--edit", "Red.", "--reason", "wrong")["feedback"])
        == 2
    )
    assert len(answer(capsys, *given, "--rating", "3")["feedback"]) == 1
    counts = answer(capsys, "feedback")
    assert (counts["thumbs_down"], counts["corrections"], counts["ratings"]) == (1, 1, 1)
    assert counts["preference_pairs"] == 1
    assert answer(capsys, "feedback", "--pairs", str(home / "pairs.jsonl"))["pairs"] == 1
    assert json.loads((home / "pairs.jsonl").read_text())["chosen"][0]["content"] == "Red."
    assert len(answer(capsys, *given, "--no-thumb")["feedback"]) == 1
    assert answer(capsys, "feedback")["thumbs_down"] == 0
    code, _, err = run(capsys, *given, "--rating", "11")
    assert code == 3
    assert "expected 1 to 10" in err


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ([], 2, "no feedback, expected one of --up, --down"),
        (["--comment", "nice"], 2, "a comment or reason goes with feedback, expected one of --up"),
        (["--reason", "wrong"], 2, "a comment or reason goes with feedback"),
        (["--up", "--down"], 2, "--up and --down contradict each other"),
        (["--down", "--no-thumb"], 2, "--down and --no-thumb contradict each other"),
        (["--up", "--down", "--no-thumb"], 2, "--up and --down and --no-thumb contradict"),
        (["--over", "REPLY"], 3, "cannot be preferred to itself"),
    ],
)
def test_feedback_that_says_nothing_or_two_things_is_refused_by_name(
    home: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, sentence: str
) -> None:
    logger = ConversationLogger(home / "home" / "conversations.jsonl")
    reply = logger.log_conversation("Name a colour.", "Seven.")
    typed = [reply if option == "REPLY" else option for option in options]
    found, _, err = run(capsys, "feedback", reply, "--session", logger.session_id, *typed)
    assert (found, sentence in err) == (code, True), err
    assert list(open_store(home / "home" / "conversations.jsonl").feedback()) == []


def test_feedback_needs_a_reply_and_its_session(
    home: Path,  # noqa: ARG001 - the workspace
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong, sentence in (
        (["some-reply", "--up"], "expected --session"),
        (["--up"], "feedback is given on a reply, expected its id first"),
        (["--comment", "nice", "--session", "s"], "expected its id first"),
    ):
        code, _, err = run(capsys, "feedback", *wrong)
        assert (code, sentence in err) == (2, True), err


def test_a_backup_is_named_by_its_kind_and_holds_something(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "backup", str(home / "saved.jsonl"))
    assert code == 3
    assert "there is nothing to back up" in err
    assert "train" not in err
    answer(capsys, "import", write(home, "claude.zip"))
    for name in ("b.txt", "b", "b.json"):
        code, _, err = run(capsys, "backup", str(home / name))
        assert (code, "expected one of .jsonl, .db" in err) == (9, True), err
        assert not (home / name).exists()
    for name in ("b.jsonl", "b.db"):
        assert answer(capsys, "backup", str(home / name))["size_bytes"] > 0


def test_what_is_forgotten_is_told_in_words(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer(capsys, "import", write(home, "chatgpt.zip"))
    answer(capsys, "import", write(home, "claude.zip"))
    first = answer(capsys, "prepare", "--base", "embedded")["name"]
    chat, *_ = open_store(home / "home" / "conversations.jsonl").conversations()
    _, out, _ = run(capsys, "forget", chat.id)
    flat = re.sub(r"[\s│]", "", out)  # a cell may be wrapped
    assert f"{first},nowb2:" in flat
    assert "{" not in out


def test_columns_that_are_not_read_are_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["prompt,response,difficulty,annotator"]
    rows += [f"What is item {n}?,Item {n} is a lamp.,hard,Ann" for n in range(3)]
    (home / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    code, _, err = run(capsys, "import", str(home / "table.csv"))
    assert code == 0
    (line,) = [row for row in err.splitlines() if "not read" in row]
    assert "difficulty (in 3)" in line
    assert answer(capsys, "import", str(home / "table.csv"))["unread"]["annotator"] == 3


def test_what_an_import_does_not_read_is_one_line() -> None:
    assert unread_line({}) == ""
    assert unread_line({"rating": 3, "input": 1200}) == "not read: input (in 1,200), rating (in 3)"
    many = unread_line({f"column {n}": 1 for n in range(11)})
    assert many.endswith(" and 3 more")
    assert "\n" not in many


def test_backing_up_and_forgetting(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "import", write(home, "chatgpt.zip"))
    answer(capsys, "import", write(home, "claude.zip"))
    saved = answer(capsys, "backup", str(home / "saved.db"))
    assert saved["size_bytes"] > 0
    log = open_store(home / "home" / "conversations.jsonl")
    chat = next(iter(log.conversations()))
    assert list(open_store(home / "saved.db").conversations()) == list(log.conversations())
    forgotten = answer(capsys, "forget", chat.id[:12])
    assert forgotten["conversation"] == chat.id
    assert forgotten["residue"] == []
    assert len(list(log.conversations())) == 1
    code, _, err = run(capsys, "forget", chat.id)
    assert code == 3
    assert "there is no conversation" in err
    assert answer(capsys, "import", str(home / "saved.db"))["new"] == 1, "a backup brings it back"
