"""A block-sum adapter: its gradients are autograd's, and merging it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.core.errors import ConfigError, GgufError
from fine_tuning.engine import step
from fine_tuning.engine.adapter_files import read_gguf_adapter, write_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import BLOCK_GAIN, LoraAdapter, LoraPair
from fine_tuning.engine.peft_files import read_peft_adapter, write_peft_adapter
from fine_tuning.gguf.adapter import BLOCK_SUM_KEY
from fine_tuning.gguf.merge import merge_adapter
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from fine_tuning.training.fresh_adapter import foldable_weights, fresh_adapter
from fine_tuning.training.plan import TrainingPlan
from tests.engine.plain import PlainDecoder
from tests.engine.tiny import LLAMA, ragged_batch, write_tiny

WIDE = replace(LLAMA, width=256, ffn=256, d=64)
MIXED = {
    "attn_q": TensorType.Q4_0,
    "attn_k": TensorType.Q4_1,
    "attn_v": TensorType.Q8_0,
    "attn_output": TensorType.Q4_K,
    "ffn_gate": TensorType.Q5_0,
    "ffn_up": TensorType.F16,
    "ffn_down": TensorType.Q5_1,
    "token_embd": TensorType.Q8_0,
}
FOLDABLE = {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_down"}
PLAN = TrainingPlan(rank=4, alpha=8.0, seed=3, adapter="mergeable")


def trained_looking(decoder: Decoder) -> LoraAdapter:
    """An adapter as a plan makes it, with a B that is not zero."""
    adapter = fresh_adapter(decoder, PLAN)
    generator = torch.Generator().manual_seed(8)
    for pair in adapter.pairs.values():
        pair.b.copy_(0.02 * torch.randn(pair.b.shape, generator=generator))
    return adapter


def requantized(path: Path) -> Decoder:
    return Decoder.open(path, dtype=torch.float32, requantized=lambda name: name.startswith("blk."))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "base.gguf", WIDE, types=MIXED)


def test_weights_of_four_and_five_bits_take_the_qalora_form(base: Path) -> None:
    with requantized(base) as decoder:
        adapter = fresh_adapter(decoder, PLAN)
        names = {name.split(".")[2] for name in foldable_weights(decoder)}
    assert names == FOLDABLE
    for name, pair in adapter.pairs.items():
        is_folded = name.split(".")[2] in FOLDABLE
        assert pair.form == ("qalora" if is_folded else "plain"), name
        assert pair.a.shape == (4, 256 // 32 if is_folded else 256)
        assert pair.expanded_a().shape == (4, 256)
    for plan, folded in (
        (replace(PLAN, adapter="lora"), set()),
        (replace(PLAN, eight_bit=("attn_q", "ffn_up")), FOLDABLE - {"attn_q"}),
        (replace(PLAN, eight_bit=("attn_q",), targets=("attn_q", "attn_k")), {"attn_k"}),
    ):
        with Decoder.open(base) as decoder:
            found = fresh_adapter(decoder, plan).qalora
            assert {name.split(".")[2] for name in found} == folded
            with pytest.raises(ConfigError, match="eight_bit name ffn"):
                fresh_adapter(decoder, replace(plan, eight_bit=("ffn",)))


def test_gradients_are_those_of_autograd(base: Path) -> None:
    """The reference sees the expanded A as a function of the compact one."""
    with Decoder.open(base, dtype=torch.float32) as decoder:
        adapter = trained_looking(decoder)
        result = step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=0.05)
    leaves, pairs = {}, {}
    for name, pair in adapter.pairs.items():
        a, b = (t.detach().clone().requires_grad_() for t in (pair.a, pair.b))
        leaves[name] = (a, b)
        # x reaches A through sums over blocks: the textbook form, not the engine's expansion.
        matrix = a
        if pair.form == "qalora":
            sums = torch.block_diag(*[torch.ones(1, 32)] * a.shape[1])
            matrix = BLOCK_GAIN * a @ sums
        pairs[name] = LoraPair(matrix, b)
    reference = LoraAdapter(pairs, rank=4, alpha=8.0)
    loss = PlainDecoder(base, reference, WIDE).loss_sum(ragged_batch())
    (loss * 0.05).backward()
    assert result.loss_sum == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, (a, b) in leaves.items():
        for found, expected in ((adapter.pairs[name].a, a), (adapter.pairs[name].b, b)):
            assert found.grad is not None
            assert expected.grad is not None
            error = (found.grad - expected.grad).norm() / expected.grad.norm()
            assert error < 1e-4, f"{name}: {error:.1e}"


def test_file_forms_apply_everywhere_and_read_back_compactly(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    with Decoder.open(base) as decoder:
        adapter = trained_looking(decoder)
        write_gguf_adapter(path, adapter, architecture="llama")
        write_peft_adapter(tmp_path, adapter, decoder.shape, "base")
        as_peft = read_peft_adapter(tmp_path, decoder.shape)
    found = read_gguf_adapter(path)
    assert found.qalora == adapter.qalora
    for name, tensor in adapter.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    with GgufFile.open(path) as file:
        assert file.tensor("blk.0.attn_q.weight.lora_a").shape == (4, 256)
    for name, pair in adapter.pairs.items():
        assert as_peft.pairs[name].form == "plain"
        assert torch.equal(as_peft.pairs[name].a, pair.expanded_a())


def test_a_file_that_lies_about_its_form_is_refused(base: Path, tmp_path: Path) -> None:
    path, lying = tmp_path / "adapter.gguf", tmp_path / "lying.gguf"
    with Decoder.open(base) as decoder:
        adapter = trained_looking(decoder)
        write_gguf_adapter(path, adapter, architecture="llama")
    with GgufFile.open(path) as file:
        metadata = dict(file.typed_metadata)
        sources = [tensor_from_file(file, name) for name in file.tensors]
        for name, sentence in (
            ("blk.0.ffn_up.weight", "differs within a block of 32"),
            ("blk.9.ffn_up.weight", "names 'blk.9.ffn_up.weight'"),
        ):
            write_gguf(lying, metadata | {BLOCK_SUM_KEY: [name]}, sources)
            with pytest.raises(GgufError, match=sentence):
                read_gguf_adapter(lying)


def test_merged_and_unmerged_predict_the_same(base: Path, tmp_path: Path) -> None:
    adapter_path, merged = tmp_path / "adapter.gguf", tmp_path / "merged.gguf"
    ids = ragged_batch()[1].ids
    with requantized(base) as decoder:
        adapter = trained_looking(decoder)
        write_gguf_adapter(adapter_path, adapter, architecture="llama")
        unmerged = step.next_token_logits(decoder, adapter, ids).log_softmax(-1)
        bare = step.next_token_logits(decoder, None, ids).log_softmax(-1)
    report = merge_adapter(base, adapter_path, merged)
    with Decoder.open(merged, dtype=torch.float32) as decoder:
        found = step.next_token_logits(decoder, None, ids).log_softmax(-1)
    changed, lost = (unmerged - bare).abs().mean(), (found - unmerged).abs().mean()
    assert changed > 0.01
    # What is lost is the rounding of 8 bits (attn_v) and of fp16, not the update.
    assert lost < 0.1 * changed
    assert {t.name.split(".")[2] for t in report.tensors if t.is_exact} == FOLDABLE
    assert report.kept > 0.97


def test_ranks_and_scales_of_their_own_are_folded_into_the_file(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = {
        f"blk.{i}.attn_q.weight": LoraPair(
            torch.randn(rank, 64, generator=generator), torch.randn(64, rank, generator=generator)
        )
        for i, rank in enumerate((4, 8, 2))
    }
    adapter = LoraAdapter(pairs, rank=4, alpha=16.0, use_rslora=True)
    write_gguf_adapter(tmp_path / "a.gguf", adapter, architecture="llama")
    with GgufFile.open(tmp_path / "a.gguf") as file:
        alpha = file.get("adapter.lora.alpha", float)
        for name, pair in pairs.items():
            a, b = (torch.from_numpy(file.dequantize(name + end)) for end in (".lora_a", ".lora_b"))
            served = alpha / a.shape[0] * b @ a  # llama.cpp's formula, each pair's own rank
            torch.testing.assert_close(served, adapter.scale * pair.b @ pair.a)
    found = read_gguf_adapter(tmp_path / "a.gguf")
    for name, pair in pairs.items():
        own = found.pairs[name]
        expected = adapter.scale * pair.b @ pair.a
        torch.testing.assert_close(found.scale * own.b @ own.a, expected)
