"""What a step keeps for backward: counted, and never a weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.step import MicroBatch, accumulate_gradients
from fine_tuning.gguf.types import TensorType
from tests.engine.tiny import (
    FFN,
    MODELS,
    WIDTH,
    example,
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
        tensors = [tensor for saved in kept for tensor in saved.tensors()]
    tokens, q_width, kv_width = 2 * length, model.heads * model.d, model.kv_heads * model.d
    floats = 2 * WIDTH + 2  # x, x2 and the norms' two reciprocals
    halves = 2 * q_width + 2 * kv_width + 2 * FFN  # q, out, k, v, gate|up
    halves += RANK * ((1 + 1 + 1 + 1) if model.is_fused else (3 + 1 + 2 + 1))
    halves += 2 * WIDTH if model.has_post_norms else 0  # what post-norms read
    expected = len(kept) * tokens * (4 * floats + 2 * halves)
    assert sum(tensor.nbytes for tensor in tensors) == expected
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
            accumulate_gradients(decoder, adapter, [example(9, [8], seed=1)], scale=1.0)
    assert kept == []
