"""What stands around private values is as it was, and one value has one placeholder."""

# ruff: noqa: RUF001 - marks of other scripts are meant

from __future__ import annotations

import importlib.util
import random
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part, Role, ToolCall
from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.private_values import (
    DETECTORS,
    KINDS,
    PLACEHOLDER,
    find_private,
    may_hold_private,
)
from fine_tuning.data_collection.redaction import Redactor, redact_entry

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "redaction.py"


@cache
def benchmark() -> ModuleType:
    """Return the program that measures redaction; ``benchmarks`` is no package."""
    spec = importlib.util.spec_from_file_location("redaction_benchmark", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def items() -> tuple[tuple[str, frozenset[tuple[int, int, str]]], ...]:
    """Return the labelled texts with where their values stand."""
    program = benchmark()
    return tuple((item.text, item.spans) for part in program.PARTS for item in program.items(part))


@pytest.mark.parametrize("part", ["tuning", "held_out", "fresh"])
def test_recall_and_precision_of_every_kind(part: str) -> None:
    program = benchmark()
    counts = program.tally(part)
    assert set(counts.there) == set(KINDS)
    for kind in KINDS:
        assert counts.recall(kind) >= program.LEAST_RECALL, counts.wrong
        assert counts.precision(kind) >= program.LEAST_PRECISION, counts.wrong


def test_the_set_is_large_and_in_many_languages() -> None:
    program = benchmark()
    known = [item for part in program.PARTS for item in program.items(part)]
    assert len({item.text for item in known}) >= 500
    assert len({item.language for item in known}) > 10


def rest_of(text: str, spans: frozenset[tuple[int, int, str]]) -> str:
    """Return a text without its values."""
    pieces, end = [], 0
    for start, stop, _ in sorted(spans):
        pieces += [text[end:start]]
        end = stop
    return "".join([*pieces, text[end:]])


@given(st.randoms(use_true_random=False))
def test_the_text_around_values_stays_to_the_character(rng: random.Random) -> None:
    chosen = rng.sample(items(), 3)
    joint = rng.choice(["\n", "\n\n", "\n- ", "\n> "])
    text = joint.join(text for text, _ in chosen)
    redactor = Redactor()
    redacted = redactor.redact(text)
    rest = joint.join(rest_of(text, spans) for text, spans in chosen)
    assert PLACEHOLDER.sub("", redacted) == rest


@given(st.randoms(use_true_random=False))
def test_redacting_again_changes_nothing(rng: random.Random) -> None:
    text = rng.choice([" ", "\n", ", ", ""]).join(text for text, _ in rng.sample(items(), 3))
    once = Redactor().redact(text)
    again = Redactor()
    again.reserve(once)
    assert again.redact(once) == once
    assert "<<" not in once.replace("<<EMAIL", "").replace("<<URL", "")


@given(st.text(st.sampled_from(list("ab1 9.@:/-+()<>_w=\"'*，。密码は—“”")), max_size=80))
def test_any_text_is_redacted_once(text: str) -> None:
    once = Redactor().redact(text)
    again = Redactor()
    again.reserve(once)
    assert again.redact(once) == once


def test_triggers_name_every_search_that_finds_something() -> None:
    for text, _ in items():
        assert find_private(text) == find_private(text, detectors=DETECTORS), text
        assert may_hold_private(text) or not find_private(text, detectors=DETECTORS)


def talk(*turns: str, arguments: JsonObject | None = None, title: str = "") -> Conversation:
    """Return a conversation of turns, the last of them with a tool call."""
    messages = []
    for number, said in enumerate(turns):
        role: Role = "assistant" if number % 2 else "user"
        calls = (ToolCall(id="1", name="login", arguments=arguments),) if arguments else ()
        messages.append(
            Message(
                id=f"m{number}",
                role=role,
                content=(Part(text=said),),
                parent_id=f"m{number - 1}" if number else None,
                tool_calls=calls if role == "assistant" and number == len(turns) - 1 else (),
            )
        )
    return Conversation(id="x", messages=tuple(messages), title=title)


def test_one_value_has_one_placeholder_in_all_texts() -> None:
    conversation = talk(
        "my password is hunter2, mail john@example.com",
        "I typed hunter2 for john [at] example [dot] com.",
        arguments={"user": "john@example.com", "password": "hunter2", "note": "try hunter2!"},
        title="About hunter2",
    )
    redacted = redact_entry(CleaningItem(conversation))
    assert redacted.title == "About <SECRET_1>"
    assert [m.text for m in redacted.messages] == [
        "my password is <SECRET_1>, mail <EMAIL_1>",
        "I typed <SECRET_1> for <EMAIL_1>.",
    ]
    (call,) = redacted.messages[1].tool_calls
    assert call.arguments == {
        "user": "<EMAIL_1>",
        "password": "<SECRET_1>",
        "note": "try <SECRET_1>!",
    }


def test_an_argument_is_a_secret_by_its_name() -> None:
    conversation = talk("log in", "ok", arguments={"api_key": "a7Kd93hfKq02mfLs", "q": "shoes"})
    (call,) = redact_entry(CleaningItem(conversation)).messages[1].tool_calls
    assert call.arguments == {"api_key": "<SECRET_1>", "q": "shoes"}


def test_known_values_are_not_replaced_within_words() -> None:
    redacted = redact_entry(CleaningItem(talk("my pin: 482913", "x482913y is not 482913.")))
    assert redacted.messages[1].text == "x482913y is not <SECRET_1>."


def test_placeholders_of_a_text_are_no_values() -> None:
    text = "password: <SECRET_1> or https://a.example/<EMAIL_2>"
    redactor = Redactor()
    redactor.reserve(text)
    assert redactor.redact(text) == "password: <SECRET_1> or <URL_1><EMAIL_2>"
