"""Other programs' markup is parted from what was said, in every reader alike."""

# ruff: noqa: E501, RUF001 - records stand on lines of their own, as in the files

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fine_tuning.data_collection.importers.catalogue import IMPORTERS
from tests.real_inputs.pipeline import INPUTS, Cleaned, cleaned, workbench
from tests.real_inputs.programs import PROGRAMS, openai, own_log

pytestmark = pytest.mark.real_input("markup of other programs")

REPLIES = {
    "<think>The user asks for a river.</think>\n\nThe Loire is a river in France.":
        "The Loire is a river in France.",
    "They ask for a planet.\n</think>\n\nJupiter is the largest planet of all.":
        "Jupiter is the largest planet of all.",
    "Honey keeps for years.<think>Should I say why?</think>\n\nIt holds hardly any water.":
        "Honey keeps for years.\n\nIt holds hardly any water.",
    "<think>Erst rechnen.</think>Sieben mal acht ist <think>ja</think>sechsundfünfzig.":
        "Sieben mal acht ist sechsundfünfzig.",
    "[THINK]Wer schrieb es?[/THINK]Goethe schrieb den Faust.": "Goethe schrieb den Faust.",
    "◁think▷首都在哪里？◁/think▷法国的首都是巴黎，位于塞纳河畔。": "法国的首都是巴黎，位于塞纳河畔。",
    "<|channel|>analysis<|message|>Bees.<|end|><|start|>assistant<|channel|>final<|message|>Bees dance in the hive.":
        "Bees dance in the hive.",
    "<details type=\"reasoning\" done=\"true\">\n<summary>Thought for 3 seconds</summary>\n&gt; Hm.\n</details>\nCold is what a glacier is.":
        "Cold is what a glacier is.",
    ":::thinking\nA vegetable?\n:::\n\nA tomato is a berry to botanists.":
        "A tomato is a berry to botanists.",
    "Salt melts ice【3†source】 on roads\ue200cite\ue202turn0search1\ue201.": "Salt melts ice on roads.",
    "Soap binds fat and water.<|im_end|>": "Soap binds fat and water.",
    "Here is the plan.\n```\nThis block is not supported on your current device yet.\n```\nIt has three steps.":
        "Here is the plan.\n\nIt has three steps.",
    "R1 wraps its thoughts in `<think>` and `</think>`, then it answers.":
        "R1 wraps its thoughts in `<think>` and `</think>`, then it answers.",
    "Write it so:\n\n```html\n<details>\n<summary>More</summary>\nText\n</details>\n```\n\nBrowsers fold it.":
        "Write it so:\n\n```html\n<details>\n<summary>More</summary>\nText\n</details>\n```\n\nBrowsers fold it.",
}  # fmt: skip
QUESTIONS = [
    "Name a river in France.", "Which planet is the largest?", "Why does honey keep?", "Was ist 7 mal 8?",
    "Wer schrieb den Faust?", "法国的首都在哪里？", "Where do bees dance?", "What is a glacier like?",
    "What is a tomato?", "Why is salt put on roads?", "How does soap work?", "Do you have a plan?",
    "How does R1 think?", "How do I fold text in HTML?",
]  # fmt: skip
SETTINGS = {"data_collection": {"skip_steps": ["language", "near_duplicate"]}}


def replies(found: Cleaned) -> list[str]:
    return [reply for record in found.learnt for reply in record]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_reader_parts_it(tmp_path: Path, program: str) -> None:
    chats = [
        [("user", asked), ("assistant", said)]
        for asked, said in zip(QUESTIONS, REPLIES, strict=True)
    ]
    path = PROGRAMS[program](tmp_path, chats)
    found = cleaned(tmp_path / "home", path, **SETTINGS)
    assert sorted(replies(found)) == sorted(REPLIES.values())


def test_every_reader_is_tried() -> None:
    tried = {name.replace("_", "-") for name in PROGRAMS}
    others = {"csv-table": "csv", "own-log": "fine-tuning", "llm-logs": "llm"}
    assert {others.get(name, name) for name in tried} <= IMPORTERS.keys()


def test_claude_placeholders(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "claude-placeholders" / "claude.json")
    assert len(found.records) == 6
    said = "\n".join(replies(found))
    assert "not supported" not in said
    assert "supported on mobile" not in said
    assert "<ant" not in said
    assert "```python\ndef dbl(x):\n    return 2 * x\n```" in said
    assert "The list holds one thing, a." in said


def test_open_webui_details(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "owui-details" / "owui.json")
    said = replies(found)
    assert "Yes, take one: it rains in Oslo at 14 degrees." in said
    assert "It is 42." in said
    assert "Slow is the usual one." in said
    assert "Cold is the usual one." in said
    assert "You have 30 days of holiday. They lapse in March." in said
    assert not any("<details" in reply or "think>" in reply for reply in said)
    first = next(turns for turns in found.turns if "Oslo" in turns[0][1])
    assert ("tool", "14 C, rain") in first


def test_thoughts_in_records_of_openai(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "think-in-own-log" / "openai_misc.jsonl")
    assert "It is 1 2 3." in replies(found)
    assert all(text for turns in found.turns for role, text in turns if role == "system")
    assert found.records[0]["messages"][0]["role"] == "user"


def test_the_log_stays_as_it_is_and_review_shows_the_change(tmp_path: Path) -> None:
    said = "<think>Rivers.</think>\n\nThe Loire is a river in France."
    path = own_log(tmp_path, [[("user", "Name a river."), ("assistant", said)]])
    bench = workbench(tmp_path / "home")
    bench.data.importer.import_file(path)
    (stored,) = bench.context.store.conversations()
    assert stored.messages[1].text == said
    changes = [(one.before, one.after) for one in bench.data.changes()]
    assert (said, "The Loire is a river in France.") in changes


def test_a_reply_cut_in_its_thought_is_not_trained_on(tmp_path: Path) -> None:
    cut = [("user", "Is 97 a prime number?"), ("assistant", "<think>97 is not even, and")]
    whole = [("user", "Is 91 a prime number?"), ("assistant", "No, it is 7 times 13.")]
    found = cleaned(tmp_path / "home", openai(tmp_path, [cut, [*cut, *whole]]))
    assert replies(found) == ["No, it is 7 times 13."]


def test_chatgpt_turns(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "chatgpt-turns" / "chatgpt_turns.json")
    assert len(found.records) == 6
    said = replies(found)
    assert (
        "The keeper climbed the stairs once more, and the lamp threw its beam across the bay "
        "until the boats were home." in said
    )
    for reply in (
        "The table has 417 rows.", "It has 9 columns.", "Lima.", "Santiago de Chile.",
        "The newest stable kernel was 6.16 when I looked.",
        "Mostly voles, hares and carrion, which they hear below the snow.",
        "A monad is a type with return and bind that obey three laws.",
    ):  # fmt: skip
        assert reply in said
    fox: Any = next(r for r in found.records if "fox" in str(r["messages"][0]["content"]))
    assert "image_url" in str(fox["messages"])
    assert "custom instructions" not in str(found.records)
