"""Our tests as lm-evaluation-harness reads them: a YAML file per task, its items in JSONL.

Everything is local: ``dataset_path: json`` names the items, ``!function`` the metrics of this
package. What this does not know: the harness itself, which is not needed to write its files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fine_tuning.core.example import Example
from fine_tuning.core.naming import canonical_json
from fine_tuning.evaluation.evaluator import answered_turns
from fine_tuning.evaluation.metrics import fact_recall, squad_f1
from fine_tuning.evaluation.probes import ABILITY, ProbeItem
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.similarity import rouge
from fine_tuning.storage.atomic import whole_folder

QUESTIONS = "questions"
REPLIES = "replies"
VERSION = 1
"""Raised when the same items would give other numbers."""
CONVERSATIONS = "fine_tuning.workbench.evaluate.lm_eval_model.HeldOutReplies"
"""The harness's own tasks know one user turn alone; this class brings those before it."""


class _Function(str):
    """The dotted name of a function or class, which the harness imports."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes :class:`_Function` with the harness's tag, and every value in full."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_Dumper.add_representer(
    _Function, lambda dumper, name: dumper.represent_scalar("!function", str(name))
)


def write_tasks(
    folder: Path,
    *,
    probes: Sequence[ProbeItem] = (),
    questions: Sequence[Question] = (),
    sources: Sequence[Example] = (),
    max_question_tokens: int = 256,
    max_reply_tokens: int = 256,
) -> tuple[str, ...]:
    """Write a folder of task files in place of an old one.

    Args:
        folder: Where they go; the files name this place.
        probes: The group ``ability``, a task for each skill: the likeliest choice.
        questions: The task ``questions``: whether replies state the key facts.
        sources: The task ``replies``: held-out conversations, answered at each target turn.
        max_question_tokens: Where replies to questions are cut.
        max_reply_tokens: Where held-out replies are cut.

    Returns:
        The tasks and groups one can ask for; a kind without items is left out.

    Raises:
        StorageError: if the folder cannot be written.
    """
    with whole_folder(folder) as place:
        write = partial(_write_task, place, folder)
        skills = dict.fromkeys(item.skill for item in probes)
        names = [f"{ABILITY}_{skill}" for skill in skills]
        for name, skill in zip(names, skills, strict=True):
            write(name, _CHOOSING, [_choice(item) for item in probes if item.skill == skill])
        if names:
            _write_yaml(place, ABILITY, _group(names))
            names.insert(0, ABILITY)
        if questions:
            asking = _answering(max_question_tokens, states_facts, "fact_recall")
            write(QUESTIONS, asking, [_question(question) for question in questions])
            names.append(QUESTIONS)
        if turns := answered_turns(sources):
            replying = _answering(max_reply_tokens, is_like, "f1", "rouge1", "rouge2", "rougeL")
            docs = [_held_out(example, target) for example, target in turns]
            write(REPLIES, {"class": _Function(CONVERSATIONS), **replying}, docs)
            names.append(REPLIES)
    return tuple(names)


def states_facts(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score the reply to a question as :func:`~fine_tuning.evaluation.metrics.fact_recall` does.

    Args:
        doc: A line of ``questions.jsonl``.
        results: The reply, alone.
    """
    question = Question.from_dict(json.loads(doc["source"]))
    return {"fact_recall": fact_recall([results[0]], [question]).value}


def is_like(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Compare a held-out reply with the recorded one: F1 of words, ROUGE-1, 2 and L.

    Args:
        doc: A line of ``replies.jsonl``.
        results: The reply, alone.
    """
    reference = json.loads(doc["source"])["reference"]
    found = {metric.name: metric.value for metric in rouge([results[0]], [reference])}
    return {"f1": squad_f1(results[0], reference), **found}


def _metric(name: str) -> dict[str, Any]:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


_CHOOSING = {
    "output_type": "multiple_choice",
    "num_fewshot": 0,
    "target_delimiter": "",
    "doc_to_text": "prompt",
    "doc_to_choice": "choices",
    "doc_to_target": "right",
    "metric_list": [_metric("acc")],
}


def _answering(max_tokens: int, score: Callable[..., Any], *metrics: str) -> dict[str, Any]:
    return {
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": "asked",
        "doc_to_target": "source",
        "generation_kwargs": {"until": [], "max_gen_toks": max_tokens, "do_sample": False},
        "process_results": _Function(f"{__name__}.{score.__name__}"),
        "metric_list": [_metric(name) for name in metrics],
    }


def _group(names: Sequence[str]) -> dict[str, Any]:
    return {
        "group": ABILITY,
        "task": list(names),
        "aggregate_metric_list": [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}],
        "metadata": {"version": VERSION},
    }


def _choice(item: ProbeItem) -> dict[str, Any]:
    choices = [item.lead + choice for choice in item.choices]
    return {"id": item.id, "prompt": item.prompt, "choices": choices, "right": 0}


def _question(question: Question) -> dict[str, Any]:
    # JSON text: the harness's table reads lists of dates, say, as something else than words.
    source = canonical_json(question.to_dict())
    return {"id": question.id, "asked": question.question, "source": source}


def _held_out(example: Example, target: int) -> dict[str, Any]:
    before = example.messages[:target]
    source = {
        "messages": [message.to_dict() for message in before],
        "reference": example.messages[target].text,
    }
    identity = f"{example.id}/{target}"
    return {"id": identity, "asked": before[-1].text, "source": canonical_json(source)}


def _write_task(
    place: Path,
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    docs: Sequence[Mapping[str, Any]],
) -> None:
    """Write a task into ``place``, which will be called ``folder``."""
    lines = "".join(canonical_json(doc) + "\n" for doc in docs)
    (place / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    data = {"data_files": {"test": str(folder / f"{name}.jsonl")}}
    where = {"dataset_path": "json", "dataset_kwargs": data, "test_split": "test"}
    about = {"metadata": {"version": VERSION}}
    _write_yaml(place, name, {"task": name, **where, **config, **about})


def _write_yaml(place: Path, name: str, config: Mapping[str, Any]) -> None:
    text = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    (place / f"{name}.yaml").write_text(text, encoding="utf-8")
