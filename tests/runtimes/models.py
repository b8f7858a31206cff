"""The real model, adapters made for it, and messages: what the tests of runtimes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from fine_tuning.runtimes.base_model import resolve_base_model

RANK = 8
WIDTH = 576


def model_path() -> Path:
    return resolve_base_model("embedded").path


def messages(*turns: tuple[Role, str]) -> tuple[Message, ...]:
    return Conversation.from_turns(turns).messages


def ask(text: str) -> tuple[Message, ...]:
    return messages(("user", text))


def normal(*shape: int, seed: int = 0, scale: float = 0.3) -> Any:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def write_adapter(
    path: Path,
    tensors: dict[str, Any] | None = None,
    *,
    architecture: str = "llama",
    kind: str = "adapter",
    adapter_type: str = "lora",
    alpha: Callable[[gguf.GGUFWriter], None] | float | None = 16.0,
) -> Path:
    """Write an adapter as llama.cpp documents it; every part can be made wrong."""
    if tensors is None:
        tensors = {
            "blk.0.attn_q.weight.lora_a": normal(RANK, WIDTH),
            "blk.0.attn_q.weight.lora_b": normal(WIDTH, RANK, seed=1),
        }
    writer = gguf.GGUFWriter(path, architecture)
    if kind:
        writer.add_string("general.type", kind)
    if adapter_type:
        writer.add_string("adapter.type", adapter_type)
    if callable(alpha):
        alpha(writer)
    elif alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    finish(writer)
    return path


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything and close."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def copy_model(path: Path, *, without: str = "", **changes: Any) -> Path:
    """Copy the real model with one metadata key left out or some changed (``__`` for ``.``)."""
    with GgufFile.open(model_path()) as model:
        metadata = {key: value for key, value in model.typed_metadata.items() if key != without}
        for key, value in changes.items():
            metadata[key.replace("__", ".")] = value
        write_gguf(path, metadata, [tensor_from_file(model, name) for name in model.tensors])
    return path
