"""Task files for lm-evaluation-harness: written without it, and judged by our own metrics."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import yaml

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.example import Example
from fine_tuning.evaluation import lm_eval_tasks as harness_files
from fine_tuning.evaluation.lm_eval_tasks import is_like, states_facts, write_tasks
from fine_tuning.evaluation.probes import read_probe_items
from fine_tuning.evaluation.questions import Question

QUESTION = Question(
    id="q1", question="When?", key_facts=("2024-05-01", "noon"), accept=(("1 May",), ("12:00",))
)


def turn(role: Any, text: str) -> Message:
    return Message(id=text, role=role, content=(Part(text=text),))


CONVERSATION = Example(
    conversation_id="c",
    messages=(
        turn("system", "Be brief."),
        turn("user", "Hello?"),
        turn("assistant", "Hi there."),
        turn("user", "Which kite?"),
        turn("assistant", "The red kite."),
    ),
    targets=(2, 4),
)


class Reader(yaml.SafeLoader):
    """Reads ``!function`` as the dotted name behind it."""


Reader.add_constructor("!function", lambda _, node: f"function {node.value}")


def read(folder: Path, name: str) -> dict[str, Any]:
    config = yaml.load((folder / f"{name}.yaml").read_text("utf-8"), Loader=Reader)  # noqa: S506
    assert isinstance(config, dict)
    return config


def docs(folder: Path, name: str) -> list[dict[str, Any]]:
    path = read(folder, name)["dataset_kwargs"]["data_files"]["test"]
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def test_every_skill_is_a_task_of_one_group(tmp_path: Path) -> None:
    items = read_probe_items()
    names = write_tasks(tmp_path / "tasks", probes=items)
    skills = list(dict.fromkeys(item.skill for item in items))
    assert names == ("ability", *(f"ability_{skill}" for skill in skills))
    group = read(tmp_path / "tasks", "ability")
    assert group["task"] == list(names[1:])
    assert group["aggregate_metric_list"][0]["weight_by_size"] is True
    told = []
    for name in names[1:]:
        config = read(tmp_path / "tasks", name)
        assert config["task"] == name
        assert (config["dataset_path"], config["target_delimiter"]) == ("json", "")
        assert [metric["metric"] for metric in config["metric_list"]] == ["acc"]
        told += docs(tmp_path / "tasks", name)
    by_id = {doc["id"]: doc for doc in told}
    assert len(by_id) == len(told) == len(items)
    for item in items:
        doc = by_id[item.id]
        assert doc["prompt"] == item.prompt
        assert doc["choices"][doc["right"]] == item.lead + item.choices[0]
        assert len(doc["choices"]) == len(item.choices)


def test_questions_and_replies_are_judged_by_our_own_metrics(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    names = write_tasks(
        folder,
        questions=[QUESTION],
        sources=[CONVERSATION],
        max_question_tokens=9,
        max_reply_tokens=7,
    )
    assert names == ("questions", "replies")
    for name, function, tokens in (("questions", states_facts, 9), ("replies", is_like, 7)):
        config = read(folder, name)
        assert config["generation_kwargs"]["max_gen_toks"] == tokens
        assert config["generation_kwargs"]["until"] == []
        module, _, attribute = config["process_results"].removeprefix("function ").rpartition(".")
        assert getattr(importlib.import_module(module), attribute) is function
    (asked,) = docs(folder, "questions")
    assert asked["asked"] == "When?"
    assert states_facts(asked, ["On 1 May, at 12:00."]) == {"fact_recall": 1.0}
    assert states_facts(asked, ["On 1 May."]) == {"fact_recall": 0.0}
    first, second = docs(folder, "replies")
    assert [m["role"] for m in json.loads(first["source"])["messages"]] == ["system", "user"]
    assert [m["content"] for m in json.loads(second["source"])["messages"]] == [
        "Be brief.",
        "Hello?",
        "Hi there.",
        "Which kite?",
    ]
    right = {"f1": 1.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert is_like(second, ["The red kite."]) == right
    assert 0 < is_like(second, ["A red boat."])["f1"] < 1
    metrics = [metric["metric"] for metric in read(folder, "replies")["metric_list"]]
    assert set(metrics) == set(right)


def test_the_class_that_brings_conversations_is_where_the_task_says(tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks", sources=[CONVERSATION])
    named = read(tmp_path / "tasks", "replies")["class"].removeprefix("function ")
    module, _, name = named.rpartition(".")
    path = Path(harness_files.__file__).parents[2] / f"{module.replace('.', '/')}.py"
    nodes = ast.parse(path.read_text("utf-8")).body
    assert name in {node.name for node in nodes if isinstance(node, ast.ClassDef)}


def test_new_files_take_the_place_of_old_ones(tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks", questions=[QUESTION])
    assert write_tasks(tmp_path / "tasks", probes=read_probe_items()[:1]) == (
        "ability",
        "ability_arithmetic",
    )
    assert not (tmp_path / "tasks" / "questions.yaml").exists()
    assert write_tasks(tmp_path / "tasks") == ()
