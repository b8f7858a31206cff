"""Adapters changed on the way to llama.cpp, for faults."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ValueType
from fine_tuning.gguf.writer import tensor_from_file, write_gguf

ALPHA_KEY = "adapter.lora.alpha"


def rescaled(adapter: Path, scale: float, scratch: Path) -> Path:
    """Return the adapter, or a copy whose alpha is multiplied."""
    if scale == 1.0:
        return adapter
    scratch.mkdir(parents=True, exist_ok=True)
    place = scratch / f"{adapter.name}-{scale}.gguf"
    with GgufFile.open(adapter) as file:
        alpha = float(str(file.metadata[ALPHA_KEY])) * scale
        metadata = {**file.typed_metadata, ALPHA_KEY: (alpha, ValueType.FLOAT32)}
        write_gguf(place, metadata, [tensor_from_file(file, name) for name in file.tensors])
    return place
