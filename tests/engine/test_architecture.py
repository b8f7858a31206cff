"""Metadata become the right numbers, and what the engine does not compute is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.architecture import ModelConfig, read_config
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.layout import Tokens
from fine_tuning.engine.rope import RopeShape
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType, tensor_num_bytes
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf
from tests.engine.tiny import LLAMA, MODELS, TinyModel, write_tiny


def shape_of(folder: Path, model: TinyModel, drop: tuple[str, ...] = ()) -> ModelConfig:
    """Read the shape of a file that holds nothing but metadata."""
    metadata = {k: v for k, v in model.metadata.items() if not k.endswith(drop or ("?",))}
    write_gguf(folder / "shape.gguf", metadata, [])
    with GgufFile.open(folder / "shape.gguf") as file:
        return read_config(file)


def with_keys(name: str, **keys: float | str | bool) -> TinyModel:
    model = MODELS[name]
    dotted = {key.replace("__", "."): value for key, value in keys.items()}
    return replace(model, keys={**model.keys, **dotted})


def changed(folder: Path, name: str, tensors: Mapping[str, tuple[int, ...] | None]) -> Path:
    """Write a small model with some tensors added, reshaped, or (None) left out."""
    path = write_tiny(folder / "whole.gguf", MODELS[name])
    with GgufFile.open(path) as file:
        kept = [tensor_from_file(file, n) for n in file.tensors if n not in tensors]
        new = [
            TensorSource(n, shape, TensorType.F32, np.ones(shape, np.float32))
            for n, shape in tensors.items()
            if shape is not None
        ]
        write_gguf(folder / "changed.gguf", MODELS[name].metadata, [*kept, *new])
    return folder / "changed.gguf"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(LLAMA, architecture="mamba"), "'mamba'.*it trains: gemma, gemma2"),
        (with_keys("llama", expert_count=8), "mixture of experts"),
        (with_keys("llama", rope__scaling__type="ntk"), "'ntk', expected none or linear or yarn"),
        (with_keys("llama", rope__scaling__type="longrope"), "'longrope', expected none"),
        (with_keys("phi3", rope__scaling__type="ntk"), "none or linear or yarn or longrope"),
        (with_keys("granite", rope__scaling__finetuned=False), "does not rotate"),
        (with_keys("llama", attention__value_length=8), "values and keys of different sizes"),
        (with_keys("llama", attention__head_count_kv=3), "4 query and 3 key-value heads"),
        (with_keys("llama", rope__dimension_count=18), "18 of them rotated"),
        (with_keys("qwen3", attention__sliding_window="x"), ""),
    ],
)
def test_unsupported_metadata(tmp_path: Path, model: TinyModel, message: str) -> None:
    if not message:  # a key that llama.cpp does not read for the family is not read here
        assert shape_of(tmp_path, model).attention[0].window == 0
        return
    with pytest.raises(UnsupportedModelError, match=message):
        shape_of(tmp_path, model)


def test_needed_keys(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"granite\.logit_scale is missing"):
        shape_of(tmp_path, MODELS["granite"], drop=("logit_scale",))
    with pytest.raises(UnsupportedModelError, match=r"layer_norm_rms_epsilon is missing"):
        shape_of(tmp_path, LLAMA, drop=("rms_epsilon",))


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("llama", {"blk.0.attn_sinks.weight": (4,)}, "attn_sinks.*architecture llama"),
        ("llama", {"blk.0.attn_q_norm.weight": (16,)}, "attn_q_norm"),
        ("qwen3", {"blk.1.attn_q.bias": (96,)}, r"attn_q\.bias"),
        ("qwen2", {"rope_freqs.weight": (8,)}, "rope_freqs"),
        ("gemma2", {"blk.1.post_ffw_norm.weight": None}, "no tensor blk.1.post_ffw_norm.weight"),
        ("gemma3", {"blk.0.attn_k_norm.weight": (16,)}, r"shape \(16,\), expected \(24,\)"),
        ("phi3", {"blk.0.attn_qkv.weight": (120, 64)}, r"\(120, 64\), expected \(128, 64\)"),
        ("phi3", {"blk.0.ffn_up.weight": (96, 64)}, r"\(96, 64\), expected \(192, 64\)"),
        ("llama", {"blk.0.attn_k.weight": (64, 64)}, r"\(160, 64\), expected \(128, 64\)"),
        ("llama-factors", {"rope_freqs.weight": (16,)}, r"expected \(8,\)"),
    ],
)
def test_unsupported_tensors(
    tmp_path: Path, name: str, tensors: Mapping[str, tuple[int, ...] | None], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        Decoder.open(changed(tmp_path, name, tensors))


def test_a_type_without_an_unpacker_is_refused_at_opening(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "whole.gguf", replace(LLAMA, width=256, d=64))
    name = "blk.0.attn_q.weight"
    raw = np.zeros(tensor_num_bytes(TensorType.IQ2_XS, (256, 256)), np.uint8)
    with GgufFile.open(path) as file:
        kept = [tensor_from_file(file, n) for n in file.tensors if n != name]
        keys = {k: v for k, v in file.typed_metadata.items() if k.startswith(("llama", "general"))}
        sources = [*kept, TensorSource(name, (256, 256), TensorType.IQ2_XS, raw)]
        write_gguf(tmp_path / "iq2.gguf", keys, sources)
    with pytest.raises(UnsupportedModelError, match=r"attn_q\.weight is of type IQ2_XS, expected"):
        Decoder.open(tmp_path / "iq2.gguf")


def test_windows_alternate_as_in_llama_cpp(tmp_path: Path) -> None:
    model = replace(with_keys("gemma3"), layers=13)
    attention = shape_of(tmp_path, model).attention
    everywhere = [i for i, layer in enumerate(attention) if not layer.window]
    assert everywhere == [5, 11]
    assert attention[0].rope == RopeShape(10000.0, 1.0, 1.0)
    assert attention[5].rope == RopeShape(1e6, 0.125, 1.0)
    assert [layer.window for layer in shape_of(tmp_path, MODELS["gemma2"]).attention] == [6, 0]
    period = with_keys("gemma3", attention__sliding_window_pattern=2)
    assert [bool(layer.window) for layer in shape_of(tmp_path, period).attention] == [
        True,
        False,
    ] * 3


@pytest.mark.parametrize(("name", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_sizes_scale_scores_by_the_width(tmp_path: Path, name: str, layers: int) -> None:
    model = replace(MODELS[name], layers=layers)
    assert shape_of(tmp_path, model).attention[0].scale == 1 / math.sqrt(64 // 4)
    model = replace(model, layers=layers - 1)
    assert shape_of(tmp_path, model).attention[0].scale == 1 / math.sqrt(24)


def test_rope_scaling_of_type_none_is_none(tmp_path: Path) -> None:
    factor: dict[str, Any] = {"rope__scaling__factor": 4.0}
    assert shape_of(tmp_path, with_keys("llama", **factor)).attention[0].rope.scale == 0.25
    model = with_keys("llama", **factor, rope__scaling__type="none")
    assert shape_of(tmp_path, model).attention[0].rope.scale == 1.0
    old = shape_of(tmp_path, with_keys("llama", rope__scale_linear=2.0))
    assert old.attention[0].rope.scale == 0.5


def test_files_of_ollamas_converter(tmp_path: Path) -> None:
    plain = replace(MODELS["gemma3"], keys={"attention.sliding_window": 6})
    missing = ("rms_epsilon", "rope.freq_base")
    shape = shape_of(tmp_path, plain, drop=missing)
    assert shape.norm_eps == 1e-6
    assert [shape.attention[i].rope for i in (0, 5)] == [
        RopeShape(1e4, 1.0, 1.0),
        RopeShape(1e6, 1.0, 1.0),
    ]
    large = replace(plain, keys={**plain.keys, "context_length": 131072})
    shape = shape_of(tmp_path, large, drop=missing)
    assert [shape.attention[i].rope.scale for i in (0, 5)] == [1.0, 0.125]
    assert shape_of(tmp_path, large).attention[5].rope.scale == 1.0  # not by that converter
    keys = {"rope.global.freq_base": 5e5, "rope.local.freq_base": 2e4}
    named = replace(plain, keys={**plain.keys, **keys})
    shape = shape_of(tmp_path, named, drop=("gemma3.rope.freq_base",))
    assert [shape.attention[i].rope.base for i in (0, 5)] == [2e4, 5e5]


def test_vision_tensors_of_gemma3_are_left_aside(tmp_path: Path) -> None:
    path = changed(tmp_path, "gemma3", {"v.blk.0.attn_q.weight": (8, 8), "mm.soft.weight": (8,)})
    with Decoder.open(path) as decoder:
        assert not [name for name in decoder.linear_shapes if not name.startswith("blk.")]
    with pytest.raises(UnsupportedModelError, match=r"v\.blk"):
        Decoder.open(changed(tmp_path, "gemma2", {"v.blk.0.attn_q.weight": (8, 8)}))


def test_phi3_rope_factors_follow_the_longest_of_context_and_text(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS["phi3"])
    tables = []
    for served, length in ((4096, 10), (4097, 10), (10, 4097)):
        with Decoder.open(path, served_context_tokens=served) as decoder:
            (rope,) = decoder.context(Tokens([range(length)]).segments).every.ropes.values()
            tables.append(rope.cosine[:10])
    assert torch.equal(tables[1], tables[2])
    assert not torch.equal(tables[0], tables[1])
    assert tables[0][0] == pytest.approx(1.19)
