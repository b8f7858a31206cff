"""Small random models that chat: the real model's tokenizer and template, two layers of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.values import StringArray
from tests.engine.tiny import LLAMA, WIDTH, write_tiny
from tests.runtimes.models import model_path, normal, write_adapter

RANK = 4
STOP_GAIN = 3.0


def write_tiny_chat(
    path: Path,
    *,
    seed: int = 0,
    ends: bool = False,
    types: Mapping[str, TensorType] | None = None,
    without: str = "",
    **changes: Any,
) -> Path:
    """Write one; metadata can be left out, or changed (``__`` for ``.``)."""
    with GgufFile.open(model_path()) as model:
        tokenizer = {k: v for k, v in model.typed_metadata.items() if k.startswith("tokenizer.")}
        vocabulary = model.tensors["token_embd.weight"].shape[0]
        end = model.get("tokenizer.ggml.eos_token_id", int)
        words = [is_word(token) for token in model.get("tokenizer.ggml.tokens", StringArray)]
    tiny = replace(LLAMA, vocabulary=vocabulary, is_tied=False)
    tokenizer = {k: v for k, v in tokenizer.items() if k != without}
    metadata = tokenizer | {key.replace("__", "."): value for key, value in changes.items()}
    types = {
        "token_embd": TensorType.Q8_0,
        "attn_output": TensorType.F32,
        "output.weight": TensorType.F16,
        **(types or {}),
    }
    # Says whole words only, and if it may, ends its turn after a dozen of them. Far from ties:
    # logits are as spread as those of a trained model.
    says = np.array(words, dtype=np.float32)[:, None]
    says[end] = STOP_GAIN if ends else 0
    gains = {"output_norm": 4.0, "attn_output": 1.0, "output.weight": says}
    return write_tiny(path, tiny, types=types, seed=seed, gains=gains, metadata=metadata)


def is_word(token: str) -> bool:
    return token[:1] == "\u0120" and token[1:].isascii() and token[1:].islower()


def write_tiny_adapter(path: Path, *, seed: int, scale: float = 1.0) -> Path:
    names = [f"blk.{layer}.ffn_down.weight" for layer in range(LLAMA.layers)]
    tensors = {}
    for index, name in enumerate(names):
        tensors[f"{name}.lora_a"] = normal(RANK, LLAMA.ffn, seed=seed + index, scale=0.3)
        tensors[f"{name}.lora_b"] = normal(WIDTH, RANK, seed=seed + index + 50, scale=scale)
    return write_adapter(path, tensors, alpha=float(RANK))
