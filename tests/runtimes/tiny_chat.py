"""Small random models that chat: the real model's tokenizer and template, two layers of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from tests.engine.tiny import LLAMA, WIDTH, write_tiny
from tests.runtimes.models import model_path, normal, write_adapter

RANK = 4


def write_tiny_chat(path: Path, *, seed: int = 0) -> Path:
    with GgufFile.open(model_path()) as model:
        tokenizer = {k: v for k, v in model.typed_metadata.items() if k.startswith("tokenizer.")}
        vocabulary = model.tensors["token_embd.weight"].shape[0]
    tiny = replace(LLAMA, vocabulary=vocabulary, keys={"vocab_size": vocabulary})
    types = {"token_embd": TensorType.Q8_0}
    # Far from ties: logits as spread as those of a trained model.
    gains = {"output_norm": 4.0}
    return write_tiny(path, tiny, types=types, seed=seed, gains=gains, metadata=tokenizer)


def write_tiny_adapter(path: Path, *, seed: int, scale: float = 1.0) -> Path:
    names = [f"blk.{layer}.ffn_down.weight" for layer in range(LLAMA.layers)]
    tensors = {}
    for index, name in enumerate(names):
        tensors[f"{name}.lora_a"] = normal(RANK, LLAMA.ffn, seed=seed + index, scale=0.3)
        tensors[f"{name}.lora_b"] = normal(WIDTH, RANK, seed=seed + index + 50, scale=scale)
    return write_adapter(path, tensors, alpha=float(RANK))
