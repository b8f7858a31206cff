"""PEFT adapters from elsewhere: read as PEFT reads them, or refused by name with what helps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.run import PEFT_CONFIG, PEFT_WEIGHTS
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.peft_files import read_peft_adapter, write_peft_adapter
from tests.engine.tiny import LLAMA, random_adapter, write_tiny

pytestmark = pytest.mark.real_input("PEFT adapters from elsewhere")

ALPHA = 8.0  # of random_adapter
# alpha_pattern of PEFT, and the modules it names. PEFT puts "(.*\\.)?(" before a pattern, so that
# one with a lookahead may begin at a later part of the name, and references count from 3.
PATTERNS: dict[str, tuple[str, set[tuple[int, str]]]] = {
    "a lookahead": (r"(?!.*layers\.0\.).*q_proj", {(0, "attn_q"), (1, "attn_q")}),
    "a lookahead at the start": (r"^(?!.*layers\.0\.).*q_proj", {(1, "attn_q")}),
    "a lookbehind": (r".*(?<=self_attn\.)v_proj", {(0, "attn_v"), (1, "attn_v")}),
    "a reference": (r".*layers\.(\d)\..*(q)_proj(?:\4)?", {(0, "attn_q"), (1, "attn_q")}),
    "an atomic end": (r"(?=.*layers\.1\.).*down_proj", {(1, "ffn_down")}),
    "a plain name": ("o_proj", {(0, "attn_output"), (1, "attn_output")}),
    "a full name": (r"^model\.layers\.0\.self_attn\.k_proj", {(0, "attn_k")}),
    "alternatives": (r"layers\.1\.mlp\.(up|gate)_proj", {(1, "ffn_up"), (1, "ffn_gate")}),
}
CHANGES_BASE = ("lora_ga", "pissa", "pissa_niter_16", "olora", "corda", "loftq", "PiSSA", "new_way")
KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal", None)


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    with Decoder.open(write_tiny(tmp_path / "base.gguf", LLAMA)) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
        yield decoder


def configured(folder: Path, **changes: Any) -> None:
    path = folder / PEFT_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def renamed(folder: Path, old: str, new: str, *, only: str = "") -> None:
    path = folder / PEFT_WEIGHTS
    state = load_file(path)
    save_file({k.replace(old, new) if only in k else k: v for k, v in state.items()}, path)


def strengths(found: LoraAdapter, plain: LoraAdapter) -> dict[str, float]:
    return {
        name: float(pair.b.norm() / plain.pairs[name].b.norm())
        for name, pair in found.pairs.items()
    }


@pytest.mark.parametrize("case", PATTERNS)
def test_patterns_scale_what_they_name_in_python(
    tmp_path: Path, decoder: Decoder, case: str
) -> None:
    pattern, named = PATTERNS[case]
    plain = read_peft_adapter(tmp_path, decoder.shape)
    configured(tmp_path, alpha_pattern={pattern: 4 * ALPHA}, target_modules=pattern)
    found = strengths(read_peft_adapter(tmp_path, decoder.shape), plain)
    expected = {f"blk.{layer}.{kind}.weight" for layer, kind in named}
    assert {name for name, factor in found.items() if factor > 2} == expected


@pytest.mark.parametrize("pattern", [r"(?=m)((\w+\.?)+)+X", r"(?!x)(.*\.?)*(.*)*y\1{9}"])
def test_a_hostile_pattern_ends_in_time(tmp_path: Path, decoder: Decoder, pattern: str) -> None:
    configured(tmp_path, alpha_pattern={pattern: 4.0})
    begin_s = time.monotonic()
    with pytest.raises(TrainingError, match="more than 5 seconds") as caught:
        read_peft_adapter(tmp_path, decoder.shape)
    assert time.monotonic() - begin_s < 20
    assert caught.value.next_command


def test_what_is_no_pattern_is_named(tmp_path: Path, decoder: Decoder) -> None:
    configured(tmp_path, alpha_pattern={"q_proj(": 4.0})
    with pytest.raises(TrainingError, match=r"'q_proj\(' is no regular expression"):
        read_peft_adapter(tmp_path, decoder.shape)


@pytest.mark.parametrize("begun", CHANGES_BASE)
def test_what_changes_the_base_is_refused_by_name(
    tmp_path: Path, decoder: Decoder, begun: str
) -> None:
    configured(tmp_path, init_lora_weights=begun)
    with pytest.raises(TrainingError, match=begun.lower()) as caught:
        read_peft_adapter(tmp_path, decoder.shape)
    assert "path_initial_model_for_weight_conversion" in caught.value.next_command


@pytest.mark.parametrize("begun", KEEPS_BASE)
def test_what_leaves_the_base_as_it_is_is_taken(
    tmp_path: Path, decoder: Decoder, begun: object
) -> None:
    plain = read_peft_adapter(tmp_path, decoder.shape)
    configured(tmp_path, init_lora_weights=begun, lora_ga_config=None, eva_config={"rho": 2.0})
    found = read_peft_adapter(tmp_path, decoder.shape)
    assert all(torch.equal(found.pairs[name].b, pair.b) for name, pair in plain.pairs.items())


@pytest.mark.parametrize(
    ("new", "named"),
    [
        ("model.vision_tower.vision_model.encoder.layers.", "vision_tower"),
        ("model.visual.layers.", "visual"),
        ("audio_tower.layers.", "audio_tower"),
        ("model.multi_modal_projector.layers.", "multi_modal_projector"),
        ("encoder.layers.", "encoder"),
    ],
)
def test_factors_of_another_part_are_named(
    tmp_path: Path, decoder: Decoder, new: str, named: str
) -> None:
    renamed(tmp_path, "model.layers.", new, only=".layers.1.")
    with pytest.raises(TrainingError, match=f"changes {named}, which is not the text") as caught:
        read_peft_adapter(tmp_path, decoder.shape)
    assert "language model" in caught.value.next_command


@pytest.mark.parametrize("part", ["model.language_model.layers.", "language_model.model.layers."])
def test_the_text_model_of_one_that_sees_is_taken(
    tmp_path: Path, decoder: Decoder, part: str
) -> None:
    plain = read_peft_adapter(tmp_path, decoder.shape)
    renamed(tmp_path, "model.model.layers.", f"model.{part}")
    found = read_peft_adapter(tmp_path, decoder.shape)
    assert set(found.targets) == set(plain.targets)
