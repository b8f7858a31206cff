"""The probe set keeps its promises, and its scores are what they say."""

from __future__ import annotations

import json
import math
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.checks import passes
from fine_tuning.evaluation.contamination import find_contamination
from fine_tuning.evaluation.metrics import right_share
from fine_tuning.evaluation.probes import (
    ProbeItem,
    ability_suites,
    read_probe_items,
    tokenize_probes,
)
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer

ITEMS = read_probe_items()
SAMPLES = files("fine_tuning").joinpath("data", "samples")


def test_there_are_enough_tasks_of_every_skill() -> None:
    skills = Counter(item.skill for item in ITEMS)
    assert len(skills) == 8
    assert min(skills.values()) >= 25
    assert len({(item.prompt, item.lead) for item in ITEMS}) == len(ITEMS) >= 150


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_the_right_choice_passes_its_check_and_the_wrong_ones_do_not(item: ProbeItem) -> None:
    right, *wrong = (item.lead + choice for choice in item.choices)
    assert passes(right, item.check) or item.id in OPEN_ENDED
    assert not any(passes(text, item.check) for text in wrong)


OPEN_ENDED = {"instruction-007", "instruction-008", "format-019"}
"""Their choices are the beginnings of replies."""


@pytest.mark.parametrize("name", ["handbook_conversations", "general_conversations"])
def test_no_task_is_asked_in_the_sample_conversations(name: str) -> None:
    lines = SAMPLES.joinpath(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [
        (raw["id"], message["content"])
        for raw in map(json.loads, lines)
        for message in raw["messages"]
        if message["role"] == "user"
    ]
    found = find_contamination({item.id: item.prompt for item in ITEMS}, asked)
    assert found.contaminated == ()
    assert not {item.prompt for item in ITEMS} & {text for _, text in asked}


def test_the_share_of_the_right_choice_by_hand() -> None:
    assert right_share([math.log(0.6), math.log(0.2)]) == pytest.approx(0.75)
    assert right_share([-2000.0, -2000.0, -2000.0]) == pytest.approx(1 / 3)
    assert right_share([-2000.0, -1.0]) == 0.0


def item(name: str, skill: str, *choices: str, lead: str = "") -> ProbeItem:
    check = {"kind": "contains", "any": [choices[0].strip()]}
    return ProbeItem(id=name, skill=skill, prompt="What?", check=check, choices=choices, lead=lead)


def test_suites_are_made_for_all_tasks_and_for_each_skill() -> None:
    items = [item("a", "one", "x", "y"), item("b", "two", "x", "y"), item("c", "one", "x", "y")]
    suites = ability_suites(items, model="m", shares=[0.5, 0.25, 1.0], replies=["x", "y", "y"])
    assert [suite.suite for suite in suites] == ["ability", "ability/one", "ability/two"]
    whole, one, two = suites
    assert whole.metric("right_choice").value == pytest.approx(1.75 / 3)
    assert one.metric("right_choice").items == (0.5, 1.0)
    assert one.metric("tasks_passed").items == (1.0, 0.0)
    assert two.item_ids == two.clusters == ("b",)
    with pytest.raises(DataError, match="lack shares and replies"):
        ability_suites(items, model="m")


def test_choices_stand_behind_the_prompt_that_serving_shows() -> None:
    base = resolve_base_model("embedded")
    tasks = [
        item("a", "one", " Paris", " London", lead="The capital is"),
        item("b", "one", "apple apple", "apple pear"),
    ]
    with EmbeddedServer(base.path, threads=1, context_tokens=256, system=base.system) as server:
        probes = tokenize_probes(tasks, server.tokenizer, server.renderer)
        prompt = server.renderer.render(tasks[0].messages(), add_generation_prompt=True)
        for probe in probes:
            for sequence, choice in zip(probe.sequences, probe.item.choices, strict=True):
                text = server.tokenizer.decode(sequence.ids)
                assert text == prompt + probe.item.lead + choice
                asked = [i for i, bit in zip(sequence.ids, sequence.mask, strict=True) if bit]
                assert server.tokenizer.decode(asked)
                assert (probe.item.lead + choice).endswith(server.tokenizer.decode(asked))
    # What both choices begin with is context, so only the second word decides.
    assert [sum(sequence.mask) for sequence in probes[1].sequences] == [1, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 is not a probe item"),
        ('{"id": "a"}', "line 1 is not a probe item"),
        ('{"id":"a","skill":"s","prompt":"p","check":{"kind":"?"},"choices":["a","b"]}', "kind"),
        ('{"id":"a","skill":"s","prompt":"p","check":{"kind":"refusal"},"choices":["a"]}', "two"),
        ("", "holds no probe item"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_probe_items(path)
