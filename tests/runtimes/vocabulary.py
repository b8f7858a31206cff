"""The first tokens of a real vocabulary: enough for llama.cpp to load a small random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fine_tuning.gguf.reader import GgufFile


def first_tokens(model: Path, num_tokens: int) -> dict[str, Any]:
    """Return a file's keys of the tokenizer, cut to its first tokens and the merges they allow."""
    with GgufFile.open(model) as file:
        keys = {k: v for k, v in file.typed_metadata.items() if k.startswith("tokenizer.ggml.")}
        tokens = list(file.metadata["tokenizer.ggml.tokens"])[:num_tokens]
        known = set(tokens)
        merges = [
            merge
            for merge in file.metadata["tokenizer.ggml.merges"]
            if merge.replace(" ", "", 1) in known
        ]
        types = file.metadata["tokenizer.ggml.token_type"][:num_tokens].copy()
    arrays = {"tokens": tokens, "merges": merges, "token_type": types}
    return {**keys, **{f"tokenizer.ggml.{name}": value for name, value in arrays.items()}}
