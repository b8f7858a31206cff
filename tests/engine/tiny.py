"""Small random models in GGUF.

A row of ``MODELS`` says twice what a model is: as metadata keys, which the engine and llama.cpp
read, and as the numbers of the textbook formula, which tests/engine/plain.py computes with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.writer import TensorSource, write_gguf

WIDTH, FFN, HEADS, KV_HEADS, VOCABULARY, LAYERS = 64, 96, 4, 2, 80, 2
EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """One small model: its sizes, its metadata keys, and what its formula does."""

    architecture: str
    keys: Mapping[str, float | str] = field(default_factory=dict)
    width: int = WIDTH
    ffn: int = FFN
    heads: int = HEADS
    kv_heads: int = KV_HEADS
    d: int = WIDTH // HEADS
    vocabulary: int = VOCABULARY
    layers: int = LAYERS
    is_tied: bool = True
    # The formula:
    rotates_halves: bool = False
    has_biases: bool = False
    has_head_norms: bool = False
    has_post_norms: bool = False
    is_fused: bool = False
    is_gelu: bool = False
    embedding_scale: float = 1.0
    attention_scale: float | None = None
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    windows: tuple[int, ...] = ()
    rope_bases: tuple[float, ...] = ()
    rope_scales: tuple[float, ...] = ()
    factors: tuple[str, ...] = ()
    factors_used: str = ""
    magnitude: float = 1.0
    yarn: tuple[float, int] = (1.0, 0)
    """How many times the context is stretched, and the context before; 0 is no yarn."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Return all keys but the tokenizer's."""
        own = {
            "block_count": self.layers,
            "context_length": 512,
            "embedding_length": self.width,
            "feed_forward_length": self.ffn,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.layer_norm_rms_epsilon": EPS,
            "rope.freq_base": 10000.0,
            **self.keys,
        }
        if self.d * self.heads != self.width:
            own |= {"attention.key_length": self.d, "attention.value_length": self.d}
        return {
            "general.architecture": self.architecture,
            **{f"{self.architecture}.{key}": value for key, value in own.items()},
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor's shape, in the file's order."""
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocabulary, self.width)}
        for i in range(self.layers):
            shapes |= {f"blk.{i}.{name}": shape for name, shape in self._block_shapes().items()}
        shapes["output_norm.weight"] = (self.width,)
        if not self.is_tied:
            shapes["output.weight"] = (self.vocabulary, self.width)
        return shapes

    def _block_shapes(self) -> dict[str, tuple[int, ...]]:
        q, kv, width, ffn = self.heads * self.d, self.kv_heads * self.d, self.width, self.ffn
        qkv = {"attn_q": (q, width), "attn_k": (kv, width), "attn_v": (kv, width)}
        gate_up = {"ffn_gate": (ffn, width), "ffn_up": (ffn, width)}
        if self.is_fused:
            qkv, gate_up = {"attn_qkv": (q + 2 * kv, width)}, {"ffn_up": (2 * ffn, width)}
        names: dict[str, tuple[int, ...]] = {"attn_norm": (width,), **qkv}
        names |= {"attn_output": (width, q), "ffn_norm": (width,), **gate_up}
        names["ffn_down"] = (width, ffn)
        if self.has_head_norms:
            names |= {"attn_q_norm": (self.d,), "attn_k_norm": (self.d,)}
        if self.has_post_norms:
            names |= {"post_attention_norm": (width,), "post_ffw_norm": (width,)}
        shapes = {f"{name}.weight": shape for name, shape in names.items()}
        if self.has_biases:
            shapes |= {f"{name}.bias": shape[:1] for name, shape in qkv.items()}
        return shapes


GEMMA_WINDOW = 6
LLAMA = TinyModel(architecture="llama")
MODELS: Mapping[str, TinyModel] = {
    "llama": LLAMA,
    "granite": TinyModel(
        architecture="granite",
        keys={
            "embedding_scale": 6.0,
            "attention.scale": 0.15,
            "residual_scale": 0.3,
            "logit_scale": 1.5,
        },
        embedding_scale=6.0,
        attention_scale=0.15,
        residual_scale=0.3,
        logit_divisor=1.5,
    ),
    "qwen2": TinyModel(
        architecture="qwen2",
        keys={"rope.freq_base": 1e6},
        rotates_halves=True,
        has_biases=True,
        is_tied=False,
        rope_bases=(1e6, 1e6),
    ),
    "qwen3": TinyModel(architecture="qwen3", d=24, rotates_halves=True, has_head_norms=True),
    "gemma": TinyModel(
        architecture="gemma",
        d=24,
        rotates_halves=True,
        is_gelu=True,
        embedding_scale=math.sqrt(WIDTH),
    ),
    "gemma2": TinyModel(
        architecture="gemma2",
        keys={
            "attention.sliding_window": GEMMA_WINDOW,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 9.0,
        },
        d=24,
        rotates_halves=True,
        has_post_norms=True,
        is_gelu=True,
        embedding_scale=math.sqrt(WIDTH),
        attention_cap=2.0,
        logit_cap=9.0,
        windows=(GEMMA_WINDOW, 0),
    ),
    "gemma3": TinyModel(
        architecture="gemma3",
        keys={
            "attention.sliding_window": GEMMA_WINDOW,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        d=24,
        layers=6,
        rotates_halves=True,
        has_head_norms=True,
        has_post_norms=True,
        is_gelu=True,
        embedding_scale=math.sqrt(WIDTH),
        windows=(GEMMA_WINDOW,) * 5 + (0,),
        rope_bases=(1e4,) * 5 + (1e6,),
        rope_scales=(1.0,) * 5 + (1 / 8,),
    ),
    "phi3": TinyModel(
        architecture="phi3",
        keys={
            "rope.scaling.original_context_length": 4096,
            "rope.scaling.attn_factor": 1.19,
            "attention.sliding_window": 4,
        },
        rotates_halves=True,
        is_fused=True,
        is_tied=False,
        factors=("rope_factors_long.weight", "rope_factors_short.weight"),
        factors_used="rope_factors_short.weight",
        magnitude=1.19,
    ),
}
MODELS = {
    **MODELS,
    "llama-factors": replace(
        LLAMA, factors=("rope_freqs.weight",), factors_used="rope_freqs.weight"
    ),
    "llama-linear": replace(
        LLAMA, keys={"rope.scaling.factor": 4.0}, rope_scales=(0.25, 0.25), is_tied=False
    ),
    "qwen3-yarn": replace(
        MODELS["qwen3"],
        keys={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
        yarn=(4.0, 128),
    ),
    "phi3-long": replace(
        MODELS["phi3"],
        keys={**MODELS["phi3"].keys, "rope.scaling.original_context_length": 64},
        factors_used="rope_factors_long.weight",
    ),
}


def write_tiny(
    path: Path,
    model: TinyModel,
    *,
    types: Mapping[str, TensorType] | None = None,
    seed: int = 0,
    gains: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a random model.

    Args:
        path: Where.
        model: What.
        types: Tensor type of matrices by a part of the name, the first match counts; else F32.
        seed: Of the draw.
        gains: Factor on a tensor by a part of the name; matrices have variance 1 / n_in, norms
            lie around 1.
        metadata: Further keys, such as the tokenizer's.
    """
    generator = np.random.default_rng(seed)
    sources = []
    for name, shape in model.shapes().items():
        values = generator.standard_normal(shape).astype(np.float32) / math.sqrt(shape[-1])
        if len(shape) == 1:
            noise = 0.1 * values * math.sqrt(shape[-1])
            values = noise * 5 if name.endswith("bias") else 1 + noise
        values = values * np.asarray(_first(gains, name, 1.0), dtype=np.float32)
        kind = _first(types, name, TensorType.F32) if len(shape) > 1 else TensorType.F32
        sources.append(TensorSource(name, shape, kind, _packed(values, kind)))
    for index, name in enumerate(model.factors):
        factors = np.linspace(1, 4 + index, model.d // 2, dtype=np.float32)
        sources.append(TensorSource(name, factors.shape, TensorType.F32, factors))
    write_gguf(path, {**model.metadata, **(metadata or {})}, sources)
    return path


def _first(table: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    return next((value for part, value in (table or {}).items() if part in name), default)


def _packed(values: np.ndarray, kind: TensorType) -> np.ndarray:
    return pack_q4_k(values) if kind is TensorType.Q4_K else quantize(values, kind)


def pack_q4_k(values: np.ndarray) -> np.ndarray:
    """Pack into Q4_K with each run's minimum at -7.5 of its scale: sound, if not the best."""
    runs = values.reshape(-1, 8, 32)
    scale = np.abs(runs).max(-1) / 7.5
    d = (scale.max(-1) / 63).astype("<f2")
    steps = np.ceil(scale / d[:, None].astype(np.float32)).clip(1, 63).astype(np.uint8)
    unit = (d[:, None].astype(np.float32) * steps)[..., None]
    q = np.round(runs / unit + 7.5).clip(0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    low, high = steps[:, :4], steps[:, 4:]  # scales and minima are the same numbers
    six_bits = low | ((high >> 4) << 6)
    packed = np.concatenate((six_bits, six_bits, (high & 15) * 17), axis=1)
    halves = np.stack((d, (d.astype(np.float32) * 7.5).astype("<f2")), axis=1).view(np.uint8)
    nibbles = (q[:, :, 0] | (q[:, :, 1] << 4)).reshape(-1, 128)
    return np.concatenate((halves, packed, nibbles), axis=1).reshape(-1)


def write_tiny_llama(
    path: Path,
    *,
    types: Mapping[str, TensorType] | None = None,
    is_tied: bool = True,
    rope_factors: bool = False,
    seed: int = 0,
) -> Path:
    """Write a random llama; ``types`` gives the tensor type by a part of the name, else F32."""
    model = MODELS["llama-factors"] if rope_factors else LLAMA
    return write_tiny(path, replace(model, is_tied=is_tied), types=types, seed=seed)


def example(
    length: int, targets: Sequence[int], *, seed: int, vocabulary: int = VOCABULARY
) -> TokenizedExample:
    """Make a random sequence that learns the positions given."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
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


def random_adapter(
    shapes: Mapping[str, tuple[int, int]], *, rank: int = 4, size: float = 0.1
) -> LoraAdapter:
    """Make an adapter whose B is not zero, so that every gradient path is alive."""
    adapter = LoraAdapter.create(shapes, rank=rank, alpha=8.0, seed=7)
    generator = torch.Generator().manual_seed(8)
    for pair in adapter.pairs.values():
        pair.b.copy_(size * torch.randn(pair.b.shape, generator=generator))
    return adapter
