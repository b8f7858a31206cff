"""System messages that are empty, several or midway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_preparation.strict_templates import ALTERNATING, GEMMA
from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.prompts import base_with, masks_of, prepared, trained_on

pytestmark = pytest.mark.real_input("empty system message")

SYSTEMS = INPUTS / "prompt-shapes" / "systems.jsonl"
DEFAULT = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM"
REPLIES = {
    "The nightingale sings at night.",
    "Le rossignol chante la nuit.",
    "El ruiseñor canta de noche.",
    "Die Nachtigall singt nachts.",
    "It is called the moon.",
    "We open at ten on Sundays.",
    "We close at six in the evening, madam.",
}


def test_an_empty_system_message_leaves_the_default_of_the_template(tmp_path: Path) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "think-in-own-log" / "openai_misc.jsonl")
    (mask,) = (one for one in masks_of(bench, snapshot) if "boiling point" in one)
    assert mask.startswith(DEFAULT)


def test_empty_ones_in_every_form_are_none(tmp_path: Path) -> None:
    bench, snapshot = prepared(tmp_path, SYSTEMS)
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) == REPLIES
    assert not any("<|im_start|>system\n<|im_end|>" in mask for mask in masks)
    nightly = [mask for mask in masks if "moon" not in mask and "library" not in mask]
    assert [mask.startswith(DEFAULT) for mask in nightly] == [True] * 4


@pytest.mark.parametrize("template", [GEMMA, ALTERNATING])
def test_a_strict_template_costs_no_reply(tmp_path: Path, template: str) -> None:
    base = base_with(tmp_path / "strict.gguf", template)
    bench, snapshot = prepared(tmp_path / "home", SYSTEMS, base=base)
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) == REPLIES
    text = "".join(masks)
    assert "You are terse." in text
    assert "Answer in English." in text
    assert "Welcome to the library" in text
    assert "From now on be formal." in text
