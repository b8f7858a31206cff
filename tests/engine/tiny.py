"""Small random models in GGUF, and the same decoder in plain torch with autograd."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.writer import TensorSource, write_gguf

WIDTH, FFN, HEADS, KV_HEADS, VOCABULARY, LAYERS = 64, 96, 4, 2, 80, 2


def write_tiny_llama(
    path: Path,
    *,
    types: Mapping[str, TensorType] | None = None,
    is_tied: bool = True,
    rope_factors: bool = False,
    seed: int = 0,
) -> Path:
    """Write a random llama; ``types`` gives the tensor type by a part of the name, else F32."""
    generator = np.random.default_rng(seed)
    d = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, WIDTH)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (WIDTH,),
            f"blk.{i}.attn_q.weight": (WIDTH, WIDTH),
            f"blk.{i}.attn_k.weight": (KV_HEADS * d, WIDTH),
            f"blk.{i}.attn_v.weight": (KV_HEADS * d, WIDTH),
            f"blk.{i}.attn_output.weight": (WIDTH, WIDTH),
            f"blk.{i}.ffn_norm.weight": (WIDTH,),
            f"blk.{i}.ffn_gate.weight": (FFN, WIDTH),
            f"blk.{i}.ffn_up.weight": (FFN, WIDTH),
            f"blk.{i}.ffn_down.weight": (WIDTH, FFN),
        }
    shapes["output_norm.weight"] = (WIDTH,)
    if not is_tied:
        shapes["output.weight"] = (VOCABULARY, WIDTH)
    sources = []
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(np.float32) / math.sqrt(shape[-1])
        if len(shape) == 1:
            values = 1 + 0.1 * values * math.sqrt(shape[-1])
        kind = next((t for part, t in (types or {}).items() if part in name), TensorType.F32)
        if len(shape) == 1:
            kind = TensorType.F32
        sources.append(TensorSource(name, shape, kind, quantize(values, kind)))
    if rope_factors:
        factors = np.linspace(1, 4, d // 2, dtype=np.float32)
        sources.append(TensorSource("rope_freqs.weight", (d // 2,), TensorType.F32, factors))
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.context_length": 512,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": FFN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
    }
    write_gguf(path, metadata, sources)
    return path


def example(length: int, targets: Sequence[int], *, seed: int) -> TokenizedExample:
    """Make a random sequence that learns the positions given."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (length,), generator=generator).tolist()
    mask = tuple(int(i in targets) for i in range(length))
    return TokenizedExample(
        example_id=f"e{seed}", conversation_id=f"c{seed}", ids=tuple(ids), mask=mask
    )


def ragged_batch() -> list[TokenizedExample]:
    """Sequences of lengths 5 to 40, with one span, several spans, and trailing context."""
    return [
        example(12, range(6, 12), seed=1),
        example(40, [*range(5, 9), *range(20, 31)], seed=2),
        example(5, [4], seed=3),
        example(13, [1, 7, 8], seed=4),
        example(38, range(30, 38), seed=5),
    ]


def random_adapter(shapes: Mapping[str, tuple[int, int]], *, rank: int = 4) -> LoraAdapter:
    """Make an adapter whose B is not zero, so that every gradient path is alive."""
    adapter = LoraAdapter.create(shapes, rank=rank, alpha=8.0, seed=7)
    generator = torch.Generator().manual_seed(8)
    for pair in adapter.pairs.values():
        pair.b.copy_(0.1 * torch.randn(pair.b.shape, generator=generator))
    return adapter


class PlainLlama:
    """The textbook decoder in float32 under autograd, one sequence at a time."""

    def __init__(self, path: Path, adapter: LoraAdapter | None = None) -> None:
        with GgufFile.open(path) as file:
            self.w = {n: torch.from_numpy(file.dequantize(n).copy()) for n in file.tensors}
        self.adapter = adapter

    def _linear(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.w[name].T
        if self.adapter is not None and (pair := self.adapter.pairs.get(name)) is not None:
            y = y + self.adapter.scale * (x @ pair.a.T @ pair.b.T)
        return y

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.w[name]

    def _rotate(self, x: Tensor) -> Tensor:  # (heads, S, d)
        d, length = x.shape[-1], x.shape[1]
        frequency = 10000.0 ** (-torch.arange(0, d, 2) / d)
        frequency = frequency / self.w.get("rope_freqs.weight", torch.ones(d // 2))
        angle = torch.arange(length)[:, None] * frequency
        turned = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(turned * torch.polar(torch.ones_like(angle), angle)).flatten(-2)

    def logits(self, ids: Sequence[int]) -> Tensor:
        x, d, length = self.w["token_embd.weight"][list(ids)], WIDTH // HEADS, len(ids)
        for i in range(LAYERS):
            p = f"blk.{i}."
            h = self._norm(x, p + "attn_norm.weight")
            q, k, v = (
                self._linear(h, f"{p}attn_{n}.weight").view(length, -1, d).transpose(0, 1)
                for n in "qkv"
            )
            q, k = self._rotate(q), self._rotate(k)
            k, v = (t.repeat_interleave(HEADS // KV_HEADS, 0) for t in (k, v))
            scores = q @ k.transpose(1, 2) / math.sqrt(d)
            hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
            attended = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
            x = x + self._linear(attended.transpose(0, 1).flatten(1), p + "attn_output.weight")
            h = self._norm(x, p + "ffn_norm.weight")
            gate, up = (self._linear(h, f"{p}ffn_{n}.weight") for n in ("gate", "up"))
            x = x + self._linear(torch.nn.functional.silu(gate) * up, p + "ffn_down.weight")
        head = self.w.get("output.weight", self.w["token_embd.weight"])
        return self._norm(x, "output_norm.weight") @ head.T

    def loss_sum(self, sequences: Sequence[TokenizedExample]) -> Tensor:
        total = torch.zeros(())
        for s in sequences:
            log_p = self.logits(s.ids).log_softmax(-1)
            for i, bit in enumerate(s.mask):
                if bit:
                    total = total - log_p[i - 1, s.ids[i]]
        return total
