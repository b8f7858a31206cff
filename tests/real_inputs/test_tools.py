"""Records that declare tools: the prompt shows them as the template does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_preparation.strict_templates import ALTERNATING, TOOLS
from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.prompts import base_with, masks_of, prepared, trained_on

pytestmark = pytest.mark.real_input("tools")

FILE = INPUTS / "openai-tools" / "tools.jsonl"
REPLIES = {
    "Yes, a light drizzle at seven degrees.",
    "A hood is enough for a drizzle.",
    "En Lima son las dos y cinco de la tarde.",
    "Etwa vier bis fünf Minuten in kochendem Wasser.",
}


def test_declared_tools_stand_in_every_prompt(tmp_path: Path) -> None:
    base = base_with(tmp_path / "tools.gguf", TOOLS)
    bench, snapshot = prepared(tmp_path / "home", FILE, base=base)
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) >= REPLIES
    shown = {name: [mask for mask in masks if f'"{name}"' in mask] for name in ("weather", "clock")}
    assert all("<|im_start|>system\nTools: [" in mask for mask in masks)
    assert all('"parameters"' in mask for mask in masks)
    assert any("Present weather of a city." in mask for mask in shown["weather"])
    assert any("La hora de una zona." in mask for mask in shown["clock"])
    assert any('"timer"' in mask for mask in masks)
    called = [text for text in trained_on(masks) if text.startswith("<call>")]
    assert sorted("Oslo" in text for text in called) == [False, True]
    assert snapshot.manifest["lost_replies"] == {}


def test_a_template_without_tools_ignores_them(tmp_path: Path) -> None:
    bench, snapshot = prepared(tmp_path, FILE)
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) == REPLIES
    assert not any("Present weather" in mask for mask in masks)
    assert "drizzle, 7 degrees" in "".join(masks)


def test_a_template_that_refuses_tools_costs_no_reply_in_words(tmp_path: Path) -> None:
    base = base_with(tmp_path / "strict.gguf", ALTERNATING)
    bench, snapshot = prepared(tmp_path / "home", FILE, base=base)
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) == REPLIES
    assert "drizzle, 7 degrees" in "".join(masks)
    assert sum(snapshot.manifest["lost_replies"].values()) == 2  # the calls themselves
