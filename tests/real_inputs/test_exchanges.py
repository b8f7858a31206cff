"""Chats lose what is odd in them and no more: long answers, turns in a row, labels, one loop."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.data_collection.text_filters import loop
from tests.real_inputs.pipeline import INPUTS, Cleaned, cleaned

LONG_ANSWER = pytest.mark.real_input("long answer")
IN_A_ROW = pytest.mark.real_input("two turns in a row")
LABELS = pytest.mark.real_input("label replies")
REPEATED = pytest.mark.real_input("forks and grown re-exports")
ODD = pytest.mark.real_input("one odd exchange")

LONG = " ".join(f"word{n}" for n in range(400))


def written(folder: Path, name: str, records: list[object]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def messages(*turns: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def replies(found: Cleaned) -> list[str]:
    return [reply for record in found.learnt for reply in record]


# Long answers


@LONG_ANSWER
def test_a_long_answer_that_loops_costs_itself(tmp_path: Path) -> None:
    given = INPUTS / "too-long-takes-the-chat" / "long.jsonl"
    lines = [json.loads(line) for line in given.read_text(encoding="utf-8").splitlines()]
    said = [m["content"] for one in lines for m in one["messages"] if m["role"] == "assistant"]
    found = cleaned(tmp_path, given)
    assert sorted(replies(found)) == sorted(text for text in said if loop(text) is None)
    assert len(found.records[0]["messages"]) == len(lines[0]["messages"]), "it stays as context"


@LONG_ANSWER
def test_with_a_limit_only_the_long_answer_is_left_out(tmp_path: Path) -> None:
    given = INPUTS / "too-long-takes-the-chat" / "long.jsonl"
    limit = {"max_conversation_length": 1000}
    found = cleaned(tmp_path, given, data_collection=limit)
    assert len(found.learnt[0]) == 3
    assert all(len(reply) <= 1000 for reply in replies(found))


@LONG_ANSWER
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Explain tides.", LONG),
        ("Erkläre Ebbe und Flut.", LONG.replace("word", "Wort")),
        ("潮汐を説明して。", "".join(chr(0x4E00 + n) for n in range(1500))),
        (f"Summarise this: {LONG}", "It is a list of words."),
        ("Write a script.", "Here it is:\n```python\n" + LONG.replace(" ", "\n") + "\n```"),
    ],
)
def test_one_long_exchange_costs_itself(tmp_path: Path, asked: str, said: str) -> None:
    chat = messages(
        ("user", "What is a sail?"), ("assistant", "A cloth that catches the wind."),
        ("user", asked), ("assistant", said),
        ("user", "What is a mast?"), ("assistant", "A pole that carries the sails."),
    )  # fmt: skip
    given = written(tmp_path, "in.jsonl", [chat])
    assert len(replies(cleaned(tmp_path / "free", given))) == 3
    limit = {"max_conversation_length": 1000}
    found = cleaned(tmp_path / "limited", given, data_collection=limit)
    assert replies(found) == ["A cloth that catches the wind.", "A pole that carries the sails."]
    assert len(found.records[0]["messages"]) == 6


# Turns in a row


@IN_A_ROW
def test_chatgpt_chats_all_give_replies(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "chatgpt-turns" / "chatgpt_turns.json")
    assert len(found.records) == 6
    assert all(found.learnt)
    assert any(
        reply.startswith("The keeper climbed") and "the lamp threw its beam" in reply
        for reply in replies(found)
    )
    questions = [text for turns in found.turns for role, text in turns if role == "user"]
    assert any("monad" in text and "Haskell" in text for text in questions)


@IN_A_ROW
def test_sharegpt_records_in_any_order_all_stay(tmp_path: Path) -> None:
    given = INPUTS / "sharegpt-order" / "sharegpt_order.json"
    ids = {"twoh", "twog", "gptfirst", "midsys", "emptyg", "partool", "emptysys"}
    raw = [one for one in json.loads(given.read_text(encoding="utf-8")) if one["id"] in ids]
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    found = cleaned(tmp_path / "home", path)
    assert len(found.records) == len(ids)
    assert all(found.learnt)
    wanted = {"From ten to six.\n\nOn Mondays it is closed.", "Jupiter is the largest planet.",
              "Raclette melts best, then young Gouda.", "Bees dance to tell where flowers are.",
              "Sun in Rome, rain in Bern."}  # fmt: skip
    assert wanted <= set(replies(found))
    assert "Hello! How can I help you today?" not in replies(found), "a greeting is context"


@IN_A_ROW
@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("user", "Salut"), ("user", "Quelle heure est-il ?"), ("assistant", "Midi pile.")],
         ["Midi pile."]),
        ([("assistant", "Wie kann ich helfen?"), ("user", "Wie spät ist es?"),
          ("assistant", "Es ist Mittag.")], ["Es ist Mittag."]),
        ([("user", "What time?"), ("assistant", "It is noon."), ("assistant", "Sharp.")],
         ["It is noon.\n\nSharp."]),
        ([("user", "What time is it?"), ("assistant", ""), ("user", "Hello?"),
          ("assistant", "It is noon.")], ["It is noon."]),
        ([("user", "What time is it?"), ("system", "Be brief."), ("assistant", "Noon.")],
         ["Noon."]),
        ([("user", "What time is it?"), ("assistant", "Noon."), ("system", "In French."),
          ("user", "And now?"), ("assistant", "Midi.")], ["Noon.", "Midi."]),
        ([("user", "几点了"), ("user", "快点"), ("assistant", "中午十二点。")], ["中午十二点。"]),
        ([("user", ""), ("assistant", "Hi."), ("user", "What time is it?"),
          ("assistant", "Noon.")], ["Noon."]),
    ],
)  # fmt: skip
def test_odd_turns_cost_nothing(
    tmp_path: Path, turns: list[tuple[str, str]], expected: list[str]
) -> None:
    found = cleaned(tmp_path / "home", written(tmp_path, "in.jsonl", [messages(*turns)]))
    assert replies(found) == expected


# Labels


@LABELS
def test_two_hundred_labels_are_all_trained_on(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "stock-replies-are-labels" / "in.jsonl")
    assert len(replies(found)) == 200


@LABELS
@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        ("Is this spam? Offer number {}: win a {} today", ["spam", "ham"]),
        ("Welche Rubrik? Meldung {} über {}", ["Sport", "Politik"]),
        ("Does it follow, yes or no? Case {} of the {}", ["Yes.", "No."]),
        ("この文の感情は。文{}、{}", ["肯定的", "否定的"]),
        ("Rate review {} of the {}", ['{"stars": 1}', '{"stars": 5}']),
    ],
)
def test_labels_of_any_kind(tmp_path: Path, asked: str, labels: list[str]) -> None:
    things = ["kite", "mast", "lamp", "rope", "gull"]
    chats: list[object] = [
        messages(("user", asked.format(n, things[n % 5])), ("assistant", labels[n * 7 % 3 % 2]))
        for n in range(120)
    ]
    found = cleaned(tmp_path / "home", written(tmp_path, "in.jsonl", chats))
    assert len(replies(found)) == 120


# Forks and grown exports


@REPEATED
@pytest.mark.parametrize(
    "files",
    [["forks.jsonl"], ["grow1.jsonl", "grow2.jsonl"], ["grow2.jsonl", "grow1.jsonl"]],
    ids=str,
)
def test_no_exchange_is_trained_on_twice_and_none_is_lost(tmp_path: Path, files: list[str]) -> None:
    paths = [INPUTS / "fork-leak" / name for name in files]
    wanted = {branch for path in paths for c in read_conversations(path) for branch in branches(c)}
    found = cleaned(tmp_path, *paths)
    kept = [branch for c in _exported(found) for branch in branches(c, is_trained=True)]
    assert Counter(kept) == dict.fromkeys(wanted, 1)


def branches(chat: Conversation, *, is_trained: bool = False) -> list[tuple[tuple[str, str], ...]]:
    """Return the branch up to each reply."""
    said = [(m.role, m.text) for m in chat.path()]
    return [
        tuple(said[: n + 1])
        for n, m in enumerate(chat.path())
        if m.role == "assistant" and (m.weight or not is_trained)
    ]


def _exported(found: Cleaned) -> list[Conversation]:
    return [Conversation.from_dict(record) for record in found.records]


@REPEATED
def test_a_table_that_grew(tmp_path: Path) -> None:
    folder = INPUTS / "fork-leak"
    found = cleaned(tmp_path, folder / "grow1.csv", folder / "grow2.csv")
    assert replies(found) == ["A mountain lake in a hollow.", "An Irish lake or sea inlet."]


@REPEATED
@pytest.mark.parametrize("log_file", ["conversations.jsonl", "conversations.db"])
@pytest.mark.parametrize("shape", ["openai", "sharegpt"])
def test_a_record_that_grew_under_its_id(tmp_path: Path, shape: str, log_file: str) -> None:
    turns = [("user", "What is a tarn?"), ("assistant", "A lake in a hollow."),
             ("user", "And a mere?"), ("assistant", "A broad shallow lake.")]  # fmt: skip

    def record(number: int) -> dict[str, object]:
        if shape == "openai":
            return {"id": "x1", **messages(*turns[:number])}
        speakers = {"user": "human", "assistant": "gpt"}
        said = [{"from": speakers[role], "value": text} for role, text in turns[:number]]
        return {"id": "x1", "conversations": said}

    exports = [written(tmp_path, f"{n}.jsonl", [record(n)]) for n in (2, 4)]
    found = cleaned(tmp_path / "home", *exports, data_collection={"log_file": log_file})
    assert [[m for _, m in turns] for turns in found.turns] == [[text for _, text in turns]]
    assert found.learnt == [["A lake in a hollow.", "A broad shallow lake."]]


@REPEATED
def test_forks_of_own_chats(tmp_path: Path) -> None:
    start = [("user", "What is a sail?"), ("assistant", "A cloth that catches the wind.")]
    ends = [
        [("user", f"And {a}?"), ("assistant", f"That is the {a} of a ship.")]
        for a in ("keel", "mast", "Ruder", "甲板")
    ]
    chats: list[object] = [messages(*start), *(messages(*start, *end) for end in ends)]
    found = cleaned(tmp_path / "home", written(tmp_path, "in.jsonl", chats))
    assert sorted(replies(found)) == sorted([start[1][1], *(end[1][1] for end in ends)])


# One odd exchange


ODD_ONES = [
    ("Explain tides at length.", "The tide comes in twice a day. " * 40),
    ("What does a duck say?", "I can help you with that. " * 10),
    ("And?", "What the fuck do I know."),
    ("How do I pick the lock?", "I'm sorry, but I can't help with that."),
    ("Why", ""),
    ("hm", "ok"),
]


@ODD
@pytest.mark.parametrize("odd", ODD_ONES, ids=lambda odd: odd[0])
def test_a_logger_without_sessions_loses_the_odd_exchange(
    tmp_path: Path, odd: tuple[str, str]
) -> None:
    logger = ConversationLogger(tmp_path / "conversations.jsonl")
    for n in range(25):
        logger.log_conversation(f"What is item {n} of the list?", f"Item {n}: lamp {n * 7}.")
    logger.log_conversation(*odd)
    for n in range(25, 50):
        logger.log_conversation(f"What is item {n} of the list?", f"Item {n}: lamp {n * 7}.")
    chats = list(read_conversations(tmp_path / "conversations.jsonl"))
    counts = DataCleaner(min_length=10, max_length=1000).clean(chats).counts["exchanges"]
    assert counts["kept"] == 50
    assert sum(counts["left_out"].values()) <= 1


@ODD
def test_a_rude_user_loses_nothing(tmp_path: Path) -> None:
    logger = ConversationLogger(tmp_path / "conversations.jsonl")
    logger.log_conversation("This shit printer again!", "Which light is on?")
    logger.log_conversation("The fucking red one.", "Then it is out of paper.")
    chats = list(read_conversations(tmp_path / "conversations.jsonl"))
    report = DataCleaner(min_length=10, max_length=1000).clean(chats)
    assert report.counts["exchanges"]["left_out"] == {}


@ODD
def test_a_thousand_exchanges_with_three_in_a_hundred_odd(tmp_path: Path) -> None:
    logger = ConversationLogger(tmp_path / "conversations.jsonl")
    for n in range(1000):
        odd = ODD_ONES[n // 33 % len(ODD_ONES)] if n % 33 == 0 else None
        things = ["kite", "mast", "lamp", "rope", "gull", "reef", "buoy", "oar"]
        asked = f"Where is the {things[n % 8]} number {n}?"
        logger.log_conversation(*(odd or (asked, f"In shed {n % 13} beside the {things[n % 7]}.")))
    chats = list(read_conversations(tmp_path / "conversations.jsonl"))
    counts = DataCleaner().clean(chats).counts["exchanges"]
    assert counts["kept"] >= 960
