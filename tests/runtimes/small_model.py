"""A random model so small that it merges in milliseconds, and yet llama.cpp serves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes.base_model import resolve_base_model
from tests.engine.tiny import LLAMA, write_tiny

VOCABULARY = 512


def write_small_model(path: Path) -> Path:
    """Write a llama of Q4_0 and Q8_0 weights with the first tokens of a real vocabulary."""
    with GgufFile.open(resolve_base_model("embedded").path) as file:
        keys = {k: v for k, v in file.typed_metadata.items() if k.startswith("tokenizer.ggml.")}
        tokens = list(file.metadata["tokenizer.ggml.tokens"])[:VOCABULARY]
        known = set(tokens)
        merges = [
            merge
            for merge in file.metadata["tokenizer.ggml.merges"]
            if merge.replace(" ", "", 1) in known
        ]
        kinds = file.metadata["tokenizer.ggml.token_type"][:VOCABULARY].copy()
    arrays = {"tokens": tokens, "merges": merges, "token_type": kinds}
    keys |= {f"tokenizer.ggml.{name}": value for name, value in arrays.items()}
    model = replace(LLAMA, width=256, ffn=256, d=64, vocabulary=VOCABULARY)
    types = {"ffn_down": TensorType.Q8_0, "blk": TensorType.Q4_0, "token_embd": TensorType.Q8_0}
    return write_tiny(path, model, types=types, metadata=keys)
