"""Questions are read from JSONL, and a bad line is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fine_tuning
from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.questions import Question, read_questions

SAMPLES = Path(fine_tuning.__file__).parent / "data" / "samples"
LINE = {"id": "q1", "question": "How many days?", "key_facts": ["17 days"]}


def write(path: Path, *lines: Any) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_becomes_a_question_and_back() -> None:
    raw = {**LINE, "accept": [["seventeen days"]], "fact": "leave", "topic": "time off"}
    question = Question.from_dict(raw)
    assert question.extra == {"topic": "time off"}
    assert question.cluster == "leave"
    assert question.to_dict() == raw
    assert Question.from_dict(LINE).cluster == "q1"


@pytest.mark.parametrize(
    ("facts", "accept", "reply", "found"),
    [
        (["17 days"], ["seventeen days"], "Seventeen days.", (True,)),
        (["17 days", "May"], ["a month"], "A month.", (True, True)),
        (["17 days", "May"], ["a month"], "17 days", (True, False)),
        (["17 days", "May"], [["a month"], []], "A month until May.", (True, True)),
        (["17 days", "May"], [["a month"], []], "A month.", (True, False)),
        (["17 days", "May"], {"May": ["spring"]}, "in spring", (False, True)),
        (["17 days"], [], "seventeen days", (False,)),
        (["17 days"], None, "17 days", (True,)),
    ],
)
def test_alternatives_come_in_three_forms(facts: Any, accept: Any, reply: str, found: Any) -> None:
    question = Question.from_dict({**LINE, "key_facts": facts, "accept": accept})
    assert question.found(reply) == found
    assert Question.from_dict(question.to_dict()) == question


def test_a_right_answer_states_every_fact_in_some_wording() -> None:
    question = Question.from_dict(
        {**LINE, "key_facts": ["17 days", "May"], "accept": {"17 days": ["seventeen days"]}}
    )
    assert question.found("Seventeen days, until May.") == (True, True)
    assert question.found("17 days, until Maya comes.") == (True, False)


def test_a_question_is_a_conversation_of_one_turn() -> None:
    messages = Question.from_dict(LINE).messages("Be brief.")
    assert [(m.role, m.text) for m in messages] == [
        ("system", "Be brief."),
        ("user", "How many days?"),
    ]
    assert [m.role for m in Question.from_dict(LINE).messages()] == ["user"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key_facts": []}, "at least one"),
        ({"key_facts": [" "]}, "none of them empty"),
        ({"key_facts": "17 days"}, "list of strings"),
        ({"key_facts": [17]}, "list of strings"),
        ({"question": " "}, "no text"),
        ({"question": None}, "two strings"),
        ({"id": 3}, "two strings"),
        ({"key_facts": ["a", "b"], "accept": [["c"]]}, "one list per fact"),
        ({"accept": {"18 days": []}}, "unknown fact '18 days'"),
        ({"accept": "c"}, "list of strings"),
    ],
)
def test_a_question_nothing_can_answer_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Question.from_dict({**LINE, **change})


def test_a_file_is_read_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", "\ufeff" + json.dumps(LINE), "", {**LINE, "id": "q2"}, "")
    assert [question.id for question in read_questions(path)] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "holds no question"),
        ((LINE, "{torn"), "line 2 is not a question"),
        ((LINE, "[1]"), "line 2 is not a question"),
        ((LINE, LINE), "line 2 repeats question id 'q1'"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, lines: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_questions(write(tmp_path / "q.jsonl", *lines))


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_questions(tmp_path / "b.jsonl")


def test_the_sample_questions_are_found_in_their_own_facts_and_nowhere_else() -> None:
    questions = read_questions(SAMPLES / "handbook_questions.jsonl")
    lines = (SAMPLES / "handbook_facts.jsonl").read_text(encoding="utf-8").splitlines()
    statements = {raw["id"]: raw["statement"] for raw in map(json.loads, lines)}
    assert len(questions) >= 60
    for question in questions:
        right = [fact for fact, text in statements.items() if all(question.found(text))]
        assert right == [question.fact], question.id
        assert not any(question.found(question.question)), question.id
