"""Adapters come back from both file forms, under the names and in the row order of each."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fine_tuning.core.errors import TrainingError, UnsupportedModelError
from fine_tuning.core.run import PEFT_CONFIG, PEFT_WEIGHTS
from fine_tuning.engine.adapter_files import read_gguf_adapter, write_gguf_adapter
from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter, LoraPair
from fine_tuning.engine.peft_files import (
    read_peft_adapter,
    write_peft_adapter,
)
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
        with pytest.raises(TrainingError, match="which this base has not; it has qkv_proj"):
            read_peft_adapter(tmp_path, decoder.shape)
        with pytest.raises(TrainingError, match=r"blk\.0\.attn_q\.weight has no counterpart"):
            write_peft_adapter(tmp_path, adapter, decoder.shape, "base")


def written(folder: Path) -> Decoder:
    """Write an adapter in PEFT's form; return the base it belongs to."""
    decoder = opened(folder, "llama")
    write_peft_adapter(folder, random_adapter(decoder.linear_shapes), decoder.shape, "base")
    return decoder


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / PEFT_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


@pytest.mark.parametrize("use_rslora", [False, True])
def test_ranks_of_their_own_come_back(tmp_path: Path, use_rslora: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    with opened(tmp_path, "llama") as decoder:
        pairs = {
            name: LoraPair(
                torch.randn(rank, n_in, generator=generator),
                torch.randn(n_out, rank, generator=generator),
            )
            for rank, (name, (n_out, n_in)) in zip(
                (4, 8, 2, 4, 6), decoder.linear_shapes.items(), strict=False
            )
        }
        adapter = LoraAdapter(pairs, rank=4, alpha=8.0, use_rslora=use_rslora)
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
        found = read_peft_adapter(tmp_path, decoder.shape)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text(encoding="utf-8"))
    assert sorted(config["rank_pattern"].values()) == [2, 6, 8]
    assert config["rank_pattern"]["model.layers.0.self_attn.k_proj"] == 8
    for name, pair in pairs.items():
        own = found.pairs[name]
        torch.testing.assert_close(
            found.scale * own.b @ own.a, adapter.scale * pair.b @ pair.a, msg=name
        )


def test_patterns_of_peft_scale_what_they_name(tmp_path: Path) -> None:
    with written(tmp_path) as decoder:
        plain = read_peft_adapter(tmp_path, decoder.shape)
        change_config(tmp_path, alpha_pattern={r"layers\.1\.self_attn\.v_proj": 24.0, "o_proj": 2})
        found = read_peft_adapter(tmp_path, decoder.shape)
    for name, pair in plain.pairs.items():
        factor = 3.0 if name == "blk.1.attn_v.weight" else 0.25 if "output" in name else 1.0
        torch.testing.assert_close(found.pairs[name].b, pair.b * factor)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
        {"lora_alpha": "much"},
        {"r": 0},
        {"alpha_pattern": ["q_proj"]},
        {"trainable_token_indices": [7]},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "lora_ga"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": "of_next_year"},
        {"kasa_config": {"beta": 1e-4}},
        {"alpha_pattern": {"q_proj(": 4}},
    ],
)
def test_what_is_not_plain_low_rank_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with written(tmp_path) as decoder:
        change_config(tmp_path, **changes)
        with pytest.raises(TrainingError) as caught:
            read_peft_adapter(tmp_path, decoder.shape)
    assert "\n" not in caught.value.message
    assert caught.value.next_command


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    with written(tmp_path) as decoder:
        (tmp_path / PEFT_WEIGHTS).rename(tmp_path / "adapter_model.bin")
        with pytest.raises(TrainingError, match="a pickle, which can run any program") as caught:
            read_peft_adapter(tmp_path, decoder.shape)
    assert "safe_serialization=True" in caught.value.next_command


@pytest.mark.parametrize("lacks", [PEFT_CONFIG, PEFT_WEIGHTS])
def test_a_missing_file_is_named(tmp_path: Path, lacks: str) -> None:
    with written(tmp_path) as decoder:
        (tmp_path / lacks).unlink()
        with pytest.raises(TrainingError, match=f"has no {lacks}") as caught:
            read_peft_adapter(tmp_path, decoder.shape)
    assert caught.value.next_command


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with written(tmp_path) as decoder:
        state = load_file(tmp_path / PEFT_WEIGHTS)
        next(iter(state.values()))[0, 0] = float("nan")
        save_file(state, tmp_path / PEFT_WEIGHTS)
        with pytest.raises(TrainingError, match="holds NaN or infinity"):
            read_peft_adapter(tmp_path, decoder.shape)


def rotated_in_halves(x_THD: torch.Tensor) -> torch.Tensor:
    """Rotate as Hugging Face's Llama does (modeling_llama.py, rotate_half): i with i + d/2."""
    num_tokens, _, d = x_THD.shape
    frequency = 10000.0 ** -(torch.arange(0, d, 2).double() / d)
    angle = torch.outer(torch.arange(num_tokens).double(), frequency).repeat(1, 2)[:, None]
    one, other = x_THD[..., : d // 2], x_THD[..., d // 2 :]
    return x_THD * angle.cos() + torch.cat((-other, one), dim=-1) * angle.sin()


def rotated_neighbours(x_THD: torch.Tensor) -> torch.Tensor:
    """Rotate as ggml does for llama (GGML_ROPE_TYPE_NORMAL): 2i with 2i + 1, as complex numbers."""
    num_tokens, heads, d = x_THD.shape
    frequency = 10000.0 ** -(torch.arange(0, d, 2).double() / d)
    angle = torch.outer(torch.arange(num_tokens).double(), frequency)[:, None]
    pairs = torch.view_as_complex(x_THD.reshape(num_tokens, heads, d // 2, 2).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(2)


def test_attention_scores_are_those_of_hugging_face(tmp_path: Path) -> None:
    """Factors in Hugging Face's order, rotated its way, score as what is read, rotated ggml's."""
    model, generator = MODELS["llama"], torch.Generator().manual_seed(8)
    sizes = {"attn_q": (model.heads, "q_proj"), "attn_k": (model.kv_heads, "k_proj")}
    state, expected, found, as_they_come = {}, {}, {}, {}
    x = torch.randn(7, model.width, generator=generator)
    for kind, (heads, module) in sizes.items():
        a = torch.randn(3, model.width, generator=generator)
        b = torch.randn(heads * model.d, 3, generator=generator)
        name = f"base_model.model.model.layers.1.self_attn.{module}"
        state |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        rows = (x @ a.T @ b.T).double().view(7, heads, model.d)
        expected[kind], as_they_come[kind] = rotated_in_halves(rows), rotated_neighbours(rows)
    save_file(state, tmp_path / PEFT_WEIGHTS)
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3}
    (tmp_path / PEFT_CONFIG).write_text(json.dumps(config), encoding="utf-8")
    with opened(tmp_path, "llama") as decoder:
        adapter = read_peft_adapter(tmp_path, decoder.shape)
    for kind, (heads, _) in sizes.items():
        pair = adapter.pairs[f"blk.1.{kind}.weight"]
        found[kind] = rotated_neighbours((x @ pair.a.T @ pair.b.T).double().view(7, heads, model.d))
    group = model.heads // model.kv_heads
    scores = [
        torch.einsum("thd,shd->hts", one["attn_q"], one["attn_k"].repeat_interleave(group, dim=1))
        for one in (expected, found, as_they_come)
    ]
    torch.testing.assert_close(scores[1], scores[0])
    assert not torch.allclose(scores[2], scores[0], rtol=0.1)


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with written(tmp_path) as decoder:
        sound = (tmp_path / PEFT_WEIGHTS).read_bytes()
        random, refused = Random(3), 0
        for _ in range(200):
            mutant = bytearray(sound)
            place = random.randrange(3000)
            if random.random() < 0.5:
                mutant[place] ^= 1 << random.randrange(8)
            else:
                del mutant[place : place + random.randrange(1, 200)]
            (tmp_path / PEFT_WEIGHTS).write_bytes(mutant)
            try:
                read_peft_adapter(tmp_path, decoder.shape)
            except TrainingError:
                refused += 1
    assert refused > 100


def test_an_adapter_of_another_size_is_refused(tmp_path: Path) -> None:
    with written(tmp_path) as decoder:
        adapter = random_adapter({"blk.0.attn_q.weight": (64, 128)})
        with pytest.raises(UnsupportedModelError, match=r"as \(64, 128\), the base has it as"):
            decoder.stack_adapter(adapter)
