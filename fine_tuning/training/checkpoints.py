"""Checkpoints: all a run needs to go on as if nothing had happened.

A checkpoint is a folder of safetensors files and one JSON file, written beside its place and
renamed; the JSON file comes last and holds the digests of the others, so a torn checkpoint is
recognised however it was torn, and passed over. Knows nothing of models or schedules.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fine_tuning.core.json_shape import build
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import canonical_json
from fine_tuning.storage.atomic import storage_errors, whole_folder

KEEP = 2
FORMAT = 1
STATE_FILE = "state.json"

Tensors = Mapping[str, torch.Tensor]


@dataclass(slots=True, kw_only=True)
class LoopProgress:
    """Where a run stands. Losses are mean natural-log losses per target token; None: not yet known.

    ``step`` counts finished optimizer steps; epoch and position in it follow from it.
    ``evaluated_step`` is the last step whose adapter was evaluated. ``epoch_loss_sum`` and
    ``epoch_targets`` (their weight, or what else
    the loss is a mean over) belong to the epoch under way. ``elapsed_s`` is training time over all
    processes that worked on the run.
    """

    step: int = 0
    evaluated_step: int = -1
    first_loss: float | None = None
    last_loss: float | None = None
    base_validation_loss: float | None = None
    last_validation_loss: float | None = None
    best_validation_loss: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    epoch_loss_sum: float = 0.0
    epoch_targets: float = 0.0
    num_tokens: int = 0
    num_targets: int = 0
    elapsed_s: float = 0.0
    peak_memory_bytes: int = 0

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read what ``dataclasses.asdict`` made; unknown keys are ignored."""
        return build(raw, cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state between two optimizer steps; ``best`` is None while nothing was evaluated."""

    progress: LoopProgress
    adapter: Tensors
    optimizer: Tensors
    best: Tensors | None

    def files(self) -> dict[str, Tensors]:
        """Return the tensors by the file that holds them."""
        files = {"adapter.safetensors": self.adapter, "optimizer.safetensors": self.optimizer}
        return files if self.best is None else {**files, "best.safetensors": self.best}


class CheckpointFolder:
    """The checkpoints of one run; the last two are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove those that are older than the one before it.

        Raises:
            StorageError: if it cannot be written; earlier checkpoints stand.
        """
        place = self.path / f"step-{checkpoint.progress.step:08d}"
        with whole_folder(place) as folder:
            digests = {}
            for name, tensors in checkpoint.files().items():
                content = save({key: tensor.contiguous() for key, tensor in tensors.items()})
                (folder / name).write_bytes(content)
                digests[name] = hashlib.blake2b(content).hexdigest()
            state = {"format": FORMAT, "progress": asdict(checkpoint.progress), "files": digests}
            (folder / STATE_FILE).write_text(canonical_json(state), encoding="utf-8")
        for old in self._places()[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
        return place

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or None when there is none."""
        return next((found for place in self._places() if (found := _read(place))), None)

    def clear_torn(self) -> None:
        """Remove what writers that were killed left beside the checkpoints."""
        for leftover in self.path.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def remove(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _places(self) -> list[Path]:
        return sorted(self.path.glob("step-*"), reverse=True)


def _read(place: Path) -> Checkpoint | None:
    """Read a checkpoint; None when any part of it is missing or differs from its digest."""
    try:
        with storage_errors(place):
            return _read_whole(place)
    except (_TornError, SafetensorError, ValueError, KeyError, TypeError):
        return None


class _TornError(Exception):
    """A checkpoint is not what its state file says."""


def _read_whole(place: Path) -> Checkpoint:
    state_path = place / STATE_FILE
    if not state_path.is_file():
        raise _TornError
    state = json.loads(state_path.read_text(encoding="utf-8"))
    if state["format"] != FORMAT:
        raise _TornError
    tensors = {}
    for name, digest in state["files"].items():
        path = place / name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.blake2b(content).hexdigest() != digest:
            raise _TornError
        tensors[name] = load(content)
    return Checkpoint(
        progress=LoopProgress.from_dict(state["progress"]),
        adapter=tensors["adapter.safetensors"],
        optimizer=tensors["optimizer.safetensors"],
        best=tensors.get("best.safetensors"),
    )
