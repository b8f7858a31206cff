"""What an instruction is about belongs to it, and columns and keys that are not read are named."""

# ruff: noqa: E501 - records stand on lines of their own, as in the files

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_inputs.pipeline import INPUTS, cleaned, workbench
from tests.real_inputs.programs import write

pytestmark = pytest.mark.real_input("columns that are not read")
FERRY = "The ferry of Lake Placeholder started in 1931."


def asked(found: list[list[tuple[str, str]]]) -> list[str]:
    return [text for turns in found for role, text in turns if role == "user"]


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("instr_in_out.csv", ["Translate to French.\n\nGood morning", "Translate to French.\n\nGood night"]),
        ("dolly.csv", [f"When did the ferry start?\n\n{FERRY}"]),
        ("dolly.jsonl", [f"When did the ferry start?\n\n{FERRY}", f"Which lake?\n\n{FERRY}"]),
    ],
)  # fmt: skip
def test_the_input_follows_the_instruction(tmp_path: Path, name: str, questions: list[str]) -> None:
    found = cleaned(tmp_path, INPUTS / "csv-input-column" / name)
    assert asked(found.turns) == questions


TABLES = {
    "question,context,answer\nWhich lake?,{0},Lake Placeholder.\n": "Which lake?\n\n{0}",
    "id,title,context,question,answers\n1,Ferry,{0},Which lake?,"
    "\"{{'text': ['Lake Placeholder.'], 'answer_start': [13]}}\"\n": "Which lake?\n\n{0}",
    "Instruction;Input;Output\nWhich lake?;{0};Lake Placeholder.\n": "Which lake?\n\n{0}",
    "instruction\tquestion\tresponse\nBe exact.\t{0}\tLake Placeholder.\n": "Be exact.\n\n{0}",
    "prompt,context,completion\nWhich lake?,{0},Lake Placeholder.\n": "Which lake?\n\n{0}",
    "instruction,input,output\n{0} Which lake?,,Lake Placeholder.\n": "{0} Which lake?",
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_that_kind(tmp_path: Path, table: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(table.format(FERRY), "utf-8")
    found = cleaned(tmp_path / "home", path)
    assert asked(found.turns) == [TABLES[table].format(FERRY)]
    assert found.learnt == [["Lake Placeholder."]]


def unread(folder: Path, path: Path) -> dict[str, int]:
    return workbench(folder / "home").data.importer.import_file(path).unread


@pytest.mark.parametrize("name", ["dolly.csv", "dolly.jsonl"])
def test_a_column_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    found = unread(tmp_path, INPUTS / "csv-input-column" / name)
    assert set(found) == {"category"}


def test_keys_of_records_and_their_turns_are_named(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi", "images": ["x"]},
        {"role": "assistant", "content": "Yes"},
    ]
    path = write(
        tmp_path / "openai.jsonl",
        {"messages": turns, "id": 1, "score": 3},
        {"messages": turns, "score": None, "lang": ""},
    )
    assert unread(tmp_path, path) == {"messages.images": 2, "score": 1}


def test_keys_of_alpaca_and_sharegpt_are_named(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        {"instruction": "Add.", "input": "1 1", "output": "2", "level": "easy"},
    )
    turns = [{"from": "human", "value": "Hi", "mood": "glad"}, {"from": "gpt", "value": "Hello"}]
    second = write(tmp_path / "s.jsonl", {"conversations": turns, "source": "web"})
    assert unread(tmp_path / "1", first) == {"level": 1}
    assert unread(tmp_path / "2", second) == {"conversations.mood": 1, "source": 1}


def test_rows_of_messages_name_them_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("role,content,mood\nuser,Hi,glad\nassistant,Hello,\n", "utf-8")
    assert unread(tmp_path, path) == {"mood": 1}
