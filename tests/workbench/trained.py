"""A workspace with a trained run of a tiny chat model: what training leaves, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Message
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import file_sha256
from fine_tuning.data_preparation.snapshot import Record, Snapshot, write_snapshot
from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.types import TensorType
from fine_tuning.workbench.workbench import Workbench
from tests.engine.tiny import FFN, LLAMA, WIDTH
from tests.runtimes.tiny_chat import write_tiny_chat

TOPICS = (
    "owls", "tea", "rain", "trains", "the moon", "bread", "chess", "glass", "rivers", "salt",
    "clocks", "maps", "wool", "ferns", "bells", "kites",
)  # fmt: skip
NAME = "tiny:latest"
MERGEABLE: Mapping[str, TensorType] = {"ffn_down": TensorType.Q4_0}
CONTEXT_TOKENS = 2048
Chat = tuple[Message, ...]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Trained:
    """A home, and the base its runs were trained on; ``name`` is what the user calls that."""

    home: Path
    base: Path
    name: str

    def add_run(
        self,
        number: int = 1,
        *,
        qalora: bool = False,
        scale: float = 0.3,
        chats: Mapping[str, Sequence[Chat]] | None = None,
        prompts: JsonObject | None = None,
    ) -> Path:
        """Write a run on chats by split, with what wrote its prompts; returns its folder."""
        snapshot = write_chats(self.home / "datasets", chats or {})
        folder = self.home / "fine_tuned_models" / f"run{number}"
        (folder / "adapter").mkdir(parents=True)
        adapter = folder / "adapter" / "adapter.gguf"
        write_gguf_adapter(
            adapter, _drawn(number, qalora=qalora, scale=scale), architecture="llama"
        )
        manifest = {
            "run_id": folder.name,
            "method": "qlora",
            "base_name": self.name,
            "base_digest": file_sha256(self.base),
            "snapshot": snapshot.name,
            "created_at": f"2026-01-0{number}T00:00:00.000000+00:00",
            "adapter": {"name": f"b2:{number}", "files": {adapter.name: file_sha256(adapter)}},
            "prompts": prompts or {},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    def bench(
        self, url: str = "", *, data_preparation: JsonObject | None = None, **deployment: object
    ) -> Workbench:
        """Open the workspace; without an address, the embedded runtime serves."""
        where = {"runtime": "ollama", "ollama_base_url": url} if url else {"runtime": "embedded"}
        raw = {
            "deployment": {"family": "support", **where, **deployment},
            "evaluation": {"test_prompts": [f"Tell me about {topic}." for topic in TOPICS]},
            "data_preparation": data_preparation or {},
            "training": {"base_model": self.name, "threads": 1},
        }
        return Workbench(Settings.model_validate(raw), Workspace(home=self.home))


def write_chats(folder: Path, chats: Mapping[str, Sequence[Chat]]) -> Snapshot:
    """Write a data set whose every last message is learnt."""
    records = {
        split: [
            Record(
                example=(example := Example(
                    conversation_id=f"{split}{index}", messages=chat, targets=(len(chat) - 1,)
                )),
                tokenized=TokenizedExample(
                    example_id=example.id, conversation_id=f"{split}{index}", ids=(1, 2),
                    mask=(0, 1),
                ),
            )
            for index, chat in enumerate(chats.get(split, ()))
        ]
        for split in SPLITS
    }  # fmt: skip
    told = {
        split: {"conversation_ids": [one.example.conversation_id for one in lines]}
        for split, lines in records.items()
    }
    facts = {"splits": told, "remarks": [], "settings": {"max_length": 512}}
    return write_snapshot(folder, records, facts)


def _drawn(seed: int, *, qalora: bool, scale: float) -> LoraAdapter:
    shapes = {f"blk.{layer}.ffn_down.weight": (WIDTH, FFN) for layer in range(LLAMA.layers)}
    adapter = LoraAdapter.create(
        shapes, rank=4, alpha=4.0, seed=seed, qalora=tuple(shapes) if qalora else ()
    )
    generator = torch.Generator().manual_seed(seed + 50)
    for pair in adapter.pairs.values():
        pair.b.copy_(scale * torch.randn(pair.b.shape, generator=generator))
    return adapter


def write_base(path: Path, **changes: Any) -> Path:
    """Write a base with room for the longest prompt of a proof."""
    changes = {"llama__context_length": CONTEXT_TOKENS, **changes}
    return write_tiny_chat(path, ends=True, **changes)


def write_trained(folder: Path, *, name: str = "", **changes: Any) -> Trained:
    """Write a base and a home without runs; a base without a name is called by its path."""
    folder.mkdir(parents=True, exist_ok=True)
    base = write_base(folder / "base.gguf", **changes)
    return Trained(folder / "home", base, name or str(base))
