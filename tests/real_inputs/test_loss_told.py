"""What is left out is told: in clean, stats, doctor --data, prepare and train, in the same form."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.data_collection.conversation_logger import ConversationLogger
from tests.cli.running import run, run_json
from tests.real_inputs.pipeline import INPUTS

pytestmark = pytest.mark.real_input("loss told")

WORDS = (
    *("tide", "harbour", "lamp", "stone", "ferry", "bread", "gull", "rope", "anchor"),
    *("deck", "sail", "keel", "crew", "storm"),
)
CUT = ("--set", "data_preparation.truncation=cut", "--set", "data_preparation.max_length=256")
EMBEDDED = ("--base", "embedded")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def said(number: int, length: int = 12) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=length))


def log_session(home: Path, number: int = 60) -> None:
    """Record as README's two lines do: no session ids."""
    logger = ConversationLogger(home / "home" / "conversations.jsonl")
    for place in range(number):
        logger.log_conversation(f"Question {place}: {said(place, 6)}?", f"{said(-place - 1)}.")


def import_chats(
    home: Path, capsys: pytest.CaptureFixture[str], chats: list[list[tuple[str, str]]]
) -> None:
    lines = [
        json.dumps({"messages": [{"role": role, "content": text} for role, text in chat]})
        for chat in chats
    ]
    (home / "chats.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert run(capsys, "import", str(home / "chats.jsonl"))[0] == 0


def holds(account: dict[str, Any]) -> bool:
    return bool(account["in"] == account["kept"] + sum(account["left_out"].values()))


def findings(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    _, out, _ = run(capsys, "doctor", "--data", *options, "--json")
    found = json.loads(out)
    assert isinstance(found, list)
    return found


@pytest.mark.usefixtures("home")
def test_replies_lost_to_a_picture_are_counted_where_data_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each reply of the chat reaches training or is among the numbers left out."""
    run(capsys, "import", str(INPUTS / "lost-replies-unsaid" / "chatgpt_image.json"))
    prepared = run_json(capsys, "prepare", *EMBEDDED)
    told = prepared["left_out"]
    assert isinstance(told, dict)
    assert holds(told["replies"])
    assert holds(told["exchanges"])
    assert told["exchanges"]["kept"] == told["replies"]["in"] == 4
    _, table, _ = run(capsys, "prepare", *EMBEDDED)
    replies = told["replies"]
    lost = sum(replies["left_out"].values())
    assert f"4 = {replies['kept']} kept + {lost} left out" in table
    pairs = [
        one["numbers"]["pairs"] for one in findings(capsys, *EMBEDDED) if one["check"] == "size"
    ]
    assert pairs == [replies["kept"]], "what reaches training, not what was recorded"


def test_a_logger_without_sessions_says_what_does_not_fit(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_session(home)
    replies = run_json(capsys, "prepare", *EMBEDDED, *CUT)["left_out"]["replies"]  # type: ignore[call-overload,index]
    assert replies["in"] == 60
    lost = replies["left_out"]["beyond max_length"]
    assert lost > 6
    line = f"beyond max_length: {lost} of 60 replies are left out"
    _, table, _ = run(capsys, "prepare", *EMBEDDED, *CUT)
    assert [row for row in table.splitlines() if row.startswith(line)]
    assert f"60 = {60 - lost} kept + {lost} left out" in table
    first, *others = findings(capsys, *EMBEDDED, *CUT)
    assert (first["check"], first["severity"]) == ("left out", "warning")
    assert line in first["detail"]
    assert "data_preparation." in first["fix"]
    assert [one["severity"] for one in others if one["title"] == line] == ["warning"]
    assert [one["numbers"]["pairs"] for one in others if one["check"] == "size"] == [60 - lost]


def test_training_says_it_in_one_line_before_it_starts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_session(home)
    made = run_json(capsys, "prepare", *EMBEDDED, *CUT)
    lost = made["left_out"]["replies"]["left_out"]["beyond max_length"]  # type: ignore[call-overload,index]
    small = ("--dry-run", "--set", "training.memory_budget=0.1")
    for chosen in ((), ("--dataset", str(made["name"]))):
        _, _, err = run(capsys, "train", *EMBEDDED, *CUT, *small, *chosen)
        (line,) = [row for row in err.splitlines() if "exchanges are kept" in row]
        assert f"{60 - lost} of 60 replies are kept (left out: {lost} beyond max_length)" in line


def test_one_odd_exchange_costs_itself_and_is_counted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_session(home, 50)
    logger = ConversationLogger(home / "home" / "conversations.jsonl")
    loop = "The tide comes in because the moon pulls at the sea, and so it rises again. "
    logger.log_conversation("Explain the tides.", loop * 30)
    counts = run_json(capsys, "clean")
    assert holds(counts["exchanges"])  # type: ignore[arg-type]
    assert counts["exchanges"]["left_out"] == {"repetitive": 1}  # type: ignore[call-overload,index]
    _, out, _ = run(capsys, "clean")
    assert "51 = 50 kept + 1 left out" in out
    assert "repetitive: 1 of" not in out, "a fiftieth has no line of its own"


LONG = {
    "German": "Die Fähre legt um acht Uhr am Morgen ab und ist am Abend wieder zurück im Hafen.",
    "Japanese": "フェリーは朝八時に出発し、夕方には港に戻ります。切符は窓口で買えます。",
    "Arabic": "تغادر العبّارة في الثامنة صباحًا وتعود إلى الميناء في المساء كل يوم.",
    "code": "for name in sorted(folder.glob('*.txt')):\n    print(name, name.stat().st_size)",
}


@pytest.mark.parametrize("name", LONG)
def test_a_length_that_leaves_out_much_is_told_with_the_value_that_keeps_most(
    home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    chats = [
        [
            ("user", f"{number}. {said(number)}?"),
            ("assistant", f"{number}. {LONG[name]} {said(number, 20 if number % 3 else 90)}."),
        ]
        for number in range(30)
    ]
    import_chats(home, capsys, chats)
    limit = ("--set", "data_collection.max_conversation_length=400")
    counts = run_json(capsys, "clean", *limit)
    exchanges: Any = counts["exchanges"]
    assert holds(exchanges)
    assert exchanges["left_out"] == {"too_long": 10}
    (advice,) = counts["advice"]  # type: ignore[misc]
    _, out, _ = run(capsys, "clean", *limit)
    (line,) = [row for row in out.splitlines() if row.startswith("too long: ")]
    advised = f"data_collection.max_conversation_length={advice['needed']:.0f}"  # type: ignore[index]
    assert line == f"too long: 10 of 30 exchanges are left out; {advised} would keep 95 % of them"
    _, stats, _ = run(capsys, "stats", *limit)
    assert line in stats.splitlines()
    first, *_ = findings(capsys, *limit, *EMBEDDED)
    assert first["severity"] == "warning"
    assert first["fix"] == f"{advised} would keep 95 % of them"
    kept = run_json(capsys, "clean", "--set", advised)["exchanges"]["kept"]  # type: ignore[call-overload,index]
    assert kept >= 0.95 * 30, "the advice holds"


def test_refusals_are_told_without_a_value_and_with_what_helps(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = "I'm sorry, but I can't help with that."
    chats = [
        [
            ("user", f"{said(number)}?"),
            ("assistant", refusal if number % 4 == 0 else f"{said(number + 99)}."),
        ]
        for number in range(40)
    ]
    import_chats(home, capsys, chats)
    _, out, _ = run(capsys, "clean")
    (line,) = [row for row in out.splitlines() if "are left out" in row]
    assert line.startswith("refusal: 10 of 40 exchanges are left out; write better replies")


def test_a_chat_that_fits_nowhere_is_among_the_lost_replies(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chats = [
        [("user", f"{said(number, 8 if number else 900)}?"), ("assistant", f"{said(-number - 1)}.")]
        for number in range(20)
    ]
    import_chats(home, capsys, chats)
    any_length = ("--set", "data_collection.max_conversation_length=null")
    replies = run_json(capsys, "prepare", *EMBEDDED, *CUT, *any_length)["left_out"]["replies"]  # type: ignore[call-overload,index]
    assert holds(replies)
    assert (replies["in"], replies["kept"]) == (20, 19)
