"""Adapters come back from both file forms, under the names and in the row order of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fine_tuning.core.errors import TrainingError
from fine_tuning.engine.adapter_files import (
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    read_gguf_adapter,
    read_peft_adapter,
    write_gguf_adapter,
    write_peft_adapter,
)
from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from tests.engine.tiny import MODELS, random_adapter, write_tiny

SEPARATE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]


def opened(folder: Path, name: str) -> Decoder:
    return Decoder.open(write_tiny(folder / "tiny.gguf", MODELS[name]))


def assert_same(found: LoraAdapter, expected: LoraAdapter) -> None:
    assert set(found.targets) == set(expected.targets)
    assert found.scale == pytest.approx(expected.scale)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_forms_come_back(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, name) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        write_gguf_adapter(tmp_path / "a.gguf", adapter, architecture=name)
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
        assert_same(read_gguf_adapter(tmp_path / "a.gguf"), adapter)
        assert_same(read_peft_adapter(tmp_path, decoder.shape), adapter)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text(encoding="utf-8"))
    assert config["target_modules"] == (FUSED if name == "phi3" else SEPARATE)
    names = load_file(tmp_path / PEFT_WEIGHTS)
    module = "qkv_proj" if name == "phi3" else "q_proj"
    assert f"base_model.model.model.layers.1.self_attn.{module}.lora_A.weight" in names


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["attn_q", "attn_k", "attn_v", "ffn_up"])
def test_rows_are_in_hugging_face_order(tmp_path: Path, name: str, kind: str) -> None:
    model = MODELS[name]
    if model.is_fused and kind != "ffn_up":
        pytest.skip("q, k and v are one matrix")
    with opened(tmp_path, name) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
    module = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj"}.get(kind, "")
    module = module or ("self_attn.v_proj" if kind == "attn_v" else "mlp.up_proj")
    module = "mlp.gate_up_proj" if model.is_fused else module
    factors = load_file(tmp_path / PEFT_WEIGHTS)
    prefix = f"base_model.model.model.layers.0.{module}.lora_"
    update = factors[f"{prefix}B.weight"] @ factors[f"{prefix}A.weight"]
    if not model.rotates_halves and kind in ("attn_q", "attn_k"):
        # llama.cpp's converter: from halves of each head to neighbours.
        heads = model.heads if kind == "attn_q" else model.kv_heads
        halves = update.view(heads, 2, model.d // 2, -1)
        update = halves.transpose(1, 2).reshape(update.shape)
    pair = adapter.pairs[f"blk.0.{kind}.weight"]
    torch.testing.assert_close(update, pair.b @ pair.a)


def test_a_split_adapter_does_not_fit_a_fused_base(tmp_path: Path) -> None:
    with opened(tmp_path, "llama") as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
    with opened(tmp_path, "phi3") as decoder:
        with pytest.raises(TrainingError, match="no counterpart"):
            read_peft_adapter(tmp_path, decoder.shape)
        with pytest.raises(TrainingError, match=r"blk\.0\.attn_q\.weight has no counterpart"):
            write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
