"""What a step keeps for backward: counted, never a weight, and no more than the budget allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.engine.block import Saved
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.memory import (
    MemoryNeeds,
    StepSize,
    available_bytes,
    kept_bytes_per_token,
    plan_memory,
    unpacked_bytes,
)
from fine_tuning.engine.step import MicroBatch, accumulate_gradients
from fine_tuning.gguf.types import TensorType
from tests.engine.tiny import (
    FFN,
    MODELS,
    WIDTH,
    example,
    ragged_batch,
    random_adapter,
    write_tiny,
    write_tiny_llama,
)

RANK = 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bytes_kept_for_backward(tmp_path: Path, name: str) -> None:
    model = MODELS[name]
    path = write_tiny(tmp_path / "tiny.gguf", model, types={"ffn": TensorType.Q4_0})
    length = 80  # nothing to round up, and no token count equals a width
    batch = MicroBatch.of([example(length + 1, [length], seed=i) for i in range(2)])
    with Decoder.open(path, dtype=torch.bfloat16) as decoder, torch.no_grad():
        stacks = decoder.stack_adapter(random_adapter(decoder.linear_shapes, rank=RANK))
        context = decoder.context(batch.segments)
        entered = decoder.embed(batch.ids, context)
        _, kept = decoder.hidden(entered, stacks, context, save_from=0)
        tensors = [t for saved in kept if isinstance(saved, Saved) for t in saved.tensors()]
    tokens, q_width, kv_width = 2 * length, model.heads * model.d, model.kv_heads * model.d
    floats = 2 * WIDTH + 2  # x, x2 and the norms' two reciprocals
    halves = 2 * q_width + 2 * kv_width + 2 * FFN  # q, out, k, v, gate|up
    halves += RANK * ((1 + 1 + 1 + 1) if model.is_fused else (3 + 1 + 2 + 1))
    halves += 2 * WIDTH if model.has_post_norms else 0  # what post-norms read
    expected = len(kept) * tokens * (4 * floats + 2 * halves)
    assert sum(tensor.nbytes for tensor in tensors) == expected
    assert tokens * sum(kept_bytes_per_token(decoder, stack) for stack in stacks) == expected
    weights = set(decoder.linear_shapes.values()) | {(n_in, n) for n, n_in in weights_of(decoder)}
    assert not [t.shape for t in tensors if tuple(t.shape) in weights]


def weights_of(decoder: Decoder) -> list[tuple[int, int]]:
    return [(linear.n_out, linear.n_in) for block in decoder.blocks for linear in block.linears]


def test_autograd_keeps_nothing(tmp_path: Path) -> None:
    kept: list[torch.Tensor] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with Decoder.open(write_tiny_llama(tmp_path / "tiny.gguf")) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        for parameter in adapter.parameters():
            parameter.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            accumulate_gradients(decoder, adapter, [example(9, [8], seed=1)], coefficients=1.0)
    assert kept == []


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("blocks", [{0}, None], ids=["lowest", "all"])
def test_computing_blocks_again_changes_no_bit(
    tmp_path: Path, name: str, blocks: set[int] | None
) -> None:
    path, gradients = write_tiny(tmp_path / "tiny.gguf", MODELS[name]), []
    for again in (set(), blocks):
        with Decoder.open(path) as decoder:
            decoder.recomputed = frozenset(range(len(decoder.blocks)) if again is None else again)
            decoder.unpack(decoder.recomputed)
            adapter = random_adapter(decoder.linear_shapes)
            accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
            gradients.append([parameter.grad for parameter in adapter.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_a_block_computed_again_keeps_its_input_alone(tmp_path: Path) -> None:
    batch = MicroBatch.of([example(65, [64], seed=1)])
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with Decoder.open(path) as decoder, torch.no_grad():
        decoder.recomputed = frozenset({0})
        stacks = decoder.stack_adapter(random_adapter(decoder.linear_shapes))
        context = decoder.context(batch.segments)
        entered = decoder.embed(batch.ids, context)
        _, (first, second) = decoder.hidden(entered, stacks, context, save_from=0)
    assert isinstance(second, Saved)
    assert isinstance(first, torch.Tensor)
    assert torch.equal(first, entered)


def test_a_budget_is_kept_by_computing_again_first_and_unpacking_last(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS["gemma3"])
    with Decoder.open(path, dtype=torch.float32) as decoder:
        size = StepSize(num_tokens=10_000, num_shares=2, longest_tokens=100)
        needs = MemoryNeeds(decoder, random_adapter(decoder.linear_shapes), size, 10**8)
        num_layers, everything = len(decoder.blocks), frozenset(range(len(decoder.blocks)))
        stored = needs.total_bytes(frozenset(), frozenset())
        leanest = needs.total_bytes(frozenset(), everything)
        richest = needs.total_bytes(everything, frozenset())
        assert leanest < stored < richest
        weights = sum(unpacked_bytes(decoder, i) for i in everything)
        assert richest - stored == weights
        plans = {
            budget: plan_memory(needs, budget, wants_unpacked=True)
            for budget in (leanest - 1, leanest, (leanest + stored) // 2, stored, richest)
        }
    found = [(len(p.recomputed), len(p.unpacked), p.fits) for p in plans.values()]
    assert found[0] == (num_layers, 0, False)
    assert found[1] == (num_layers, 0, True)
    assert 0 < found[2][0] < num_layers
    assert 0 in plans[(leanest + stored) // 2].recomputed
    assert found[3] == (0, 0, True)
    assert found[4] == (0, num_layers, True)
    assert all(plan.needed_bytes <= budget for budget, plan in plans.items() if plan.fits)
    assert "computed again" in plans[leanest].reason
    assert "GiB" in plans[richest].reason
    assert not plan_memory(needs, richest, wants_unpacked=False).unpacked


def test_free_memory_is_known() -> None:
    assert 0 < available_bytes() < 1 << 50
