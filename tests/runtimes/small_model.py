"""A random model so small that it merges in milliseconds, and yet llama.cpp serves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes.base_model import resolve_base_model
from tests.engine.tiny import LLAMA, write_tiny
from tests.runtimes.vocabulary import first_tokens

VOCABULARY = 512


def write_small_model(path: Path) -> Path:
    """Write a llama of Q4_0 and Q8_0 weights with the first tokens of a real vocabulary."""
    keys = first_tokens(resolve_base_model("embedded").path, VOCABULARY)
    model = replace(LLAMA, width=256, ffn=256, d=64, vocabulary=VOCABULARY)
    types = {"ffn_down": TensorType.Q8_0, "blk": TensorType.Q4_0, "token_embd": TensorType.Q8_0}
    return write_tiny(path, model, types=types, metadata=keys)
