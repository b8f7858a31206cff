"""Registries with versions in them: what the tests of model management share."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.versions import ModelVersion, NewVersion

BASE_DIGEST = "sha256:" + "0" * 64


def registry(home: Path) -> ModelRegistry:
    return ModelRegistry(home / "models")


def write_run(home: Path, run_id: str, *, size_bytes: int = 1000) -> Path:
    """Write a run's adapter and its PEFT form; return the run's folder."""
    folder = home / "runs" / run_id
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    content = random.Random(run_id).randbytes(size_bytes)
    (folder / "adapter" / "adapter.gguf").write_bytes(content)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(content[::-1])
    return folder


def new_version(
    home: Path,
    run_id: str,
    *,
    family: str = "support",
    conversations: Mapping[str, Sequence[str]] | None = None,
    snapshot: str = "",
    base_name: str = "embedded",
    base_digest: str = BASE_DIGEST,
    **others: Any,
) -> NewVersion:
    folder = write_run(home, run_id)
    return NewVersion(
        family=family,
        run_id=run_id,
        run_folder=folder,
        method="qlora",
        adapter_name=f"b2:{run_id}",
        base_name=base_name,
        base_digest=base_digest,
        snapshot=snapshot or f"b2:data-{run_id}",
        artefacts=[
            ("adapter", folder / "adapter" / "adapter.gguf"),
            ("peft", folder / "adapter" / "adapter_model.safetensors"),
        ],
        conversations={"train": ["c1", "c2"]} if conversations is None else conversations,
        **others,
    )


def register(home: Path, run_id: str, **others: Any) -> ModelVersion:
    return registry(home).register(new_version(home, run_id, **others))
