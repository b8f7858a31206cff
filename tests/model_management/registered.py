"""Registries with versions in them: what the tests of model management share."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tuning.model_management.alias_history import Alias, AliasHistory, Traffic
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.versions import ModelVersion, NewVersion

ALIAS = "fine_tuned_support:champion"
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


def point(journal: AliasHistory, version: str, *, back: bool = False, done: bool = True) -> None:
    """Move the alias as the switcher does; ``back`` walks one step of its past."""
    now = journal.current(ALIAS)
    before_id = now.switching_id if now else None
    if back:
        assert now is not None
        earlier = journal.before(now)
        assert earlier is not None
        version, before_id = earlier.version, earlier.before_id
    wanted = Alias(
        switching_id=0,
        runtime=journal.runtime,
        alias=ALIAS,
        family="support",
        version=version,
        target=version,
        digest=version,
        before_id=before_id,
    )
    switching_id = journal.begin("rollback" if back else "switch", wanted)
    if done:
        journal.finish(switching_id)


def split(journal: AliasHistory, version: str, *, target: str = "") -> None:
    traffic = Traffic(
        runtime=journal.runtime, alias=ALIAS, family="support", version=version,
        target=target or version, share=0.5, salt="",
    )  # fmt: skip
    journal.split(traffic)
