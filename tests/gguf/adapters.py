"""Adapters as files, made of pairs of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fine_tuning.gguf.adapter import BLOCK_SUM_KEY
from fine_tuning.gguf.types import TensorType, ValueType
from fine_tuning.gguf.writer import TensorSource, write_gguf

Pair = tuple[np.ndarray, np.ndarray]


def write_pairs(path: Path, pairs: Mapping[str, Pair], folded: Sequence[str]) -> Path:
    """Write A and B of each weight as a llama adapter of alpha 4; ``folded`` have block sums."""
    sources = []
    for name, (a, b) in pairs.items():
        sources.append(TensorSource(f"{name}.lora_a", a.shape, TensorType.F32, a))
        sources.append(TensorSource(f"{name}.lora_b", b.shape, TensorType.F32, b))
    metadata = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": (4.0, ValueType.FLOAT32),
        BLOCK_SUM_KEY: list(folded),
    }
    write_gguf(path, metadata, sources)
    return path
