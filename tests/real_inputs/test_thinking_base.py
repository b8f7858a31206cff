"""Bases whose prompt opens a thought: the trained text closes it, behind the recorded thought."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.data_preparation.data_set_checks import data_set_findings
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from tests.data_preparation.strict_templates import HYBRID, OPENS_THOUGHT
from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.prompts import base_with, masks_of, prepared, trained_on

pytestmark = pytest.mark.real_input("thinking base")


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> str:
    return base_with(tmp_path_factory.mktemp("base") / "think.gguf", OPENS_THOUGHT)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> str:
    return base_with(tmp_path_factory.mktemp("base") / "hybrid.gguf", HYBRID)


def test_a_plain_chat_is_trained_on_behind_a_closed_thought(tmp_path: Path, thinking: str) -> None:
    bench, snapshot = prepared(
        tmp_path, INPUTS / "thinking-template" / "plainchat.jsonl", base=thinking
    )
    masks = masks_of(bench, snapshot)
    assert trained_on(masks) == [
        "\n</think>\n\nThe oak is one.",
        "\n</think>\n\nThe elm is one.",
    ]
    assert all("assistant\n<think>\n[[" in mask for mask in masks)


def test_recorded_thoughts_stand_before_the_closing_mark(tmp_path: Path, thinking: str) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "prompt-shapes" / "thoughts.jsonl", base=thinking)
    assert sorted(trained_on(masks_of(bench, snapshot))) == sorted([
        "Gefragt ist ein Baum.\n</think>\n\nDie Eiche ist einer.",
        "\n</think>\n\nDie Ulme ist noch einer.",
        "木の名前を一つ選ぶ。\n</think>\n\n樫の木があります。",
        "\n</think>\n\n떡갈나무가 하나입니다.",
    ])  # fmt: skip


def test_a_hybrid_is_trained_on_behind_the_prompt_served_by_default(
    tmp_path: Path, hybrid: str
) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "prompt-shapes" / "thoughts.jsonl", base=hybrid)
    masks = masks_of(bench, snapshot)
    assert "<think>\nGefragt ist ein Baum.\n</think>\n\nDie Eiche ist einer." in trained_on(masks)
    assert "<think>\n\n</think>\n\nDie Ulme ist noch einer." in trained_on(masks)
    assert all("<|im_start|>assistant\n[[<think>" in mask for mask in masks)


def test_the_checks_of_the_data_set_understand_it(tmp_path: Path, thinking: str) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "prompt-shapes" / "thoughts.jsonl", base=thinking)
    base = resolve_base_model(thinking)
    with EmbeddedServer(base.path, context_tokens=256) as server:
        recipe = bench.data.builder(base, server, {}).recipe
        findings = data_set_findings(snapshot, recipe, lambda identity: identity)
    by_check = {one.check: one for one in findings}
    assert by_check["template parity"].severity == "good"
    assert "opens a thought (<think>)" in by_check["template parity"].detail
    assert by_check["stop token"].severity == "good"
