"""Fast mode: adapters in the upper layers, with what the lower ones compute kept on disk.

The file of hidden states lies in the run's folder while the run lasts, named by what it was
computed from; a run that is resumed finds it, or computes it again to the same bits.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fine_tuning.core.item import Item
from fine_tuning.core.naming import content_name
from fine_tuning.core.run import Run, TrainingMetrics
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.frozen_prefix_cache import STATE_BYTES, FrozenPrefixCache
from fine_tuning.storage.atomic import storage_errors, whole_folder
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.run_folder import RunFolder, RunSettings

FAST_SHARE = 0.25
"""Share of the layers that fast mode adapts, the last ones."""


MEASURED = (
    "on the sample conversations that took half the time of quality mode and kept 72 % of its gain "
    "(train once with training.mode=quality to see it on yours)"
)
"""What it gained and lost where both were measured (docs/LOG.md)."""


def first_adapted(plan: TrainingPlan, num_layers: int) -> int:
    """Return the lowest layer a plan adapts."""
    if plan.mode == "quality":
        return 0
    return num_layers - math.ceil(FAST_SHARE * num_layers)


def states_bytes(sequences: Sequence[Item], width: int) -> int:
    """Return the size of the file of hidden states."""
    return STATE_BYTES * width * FrozenPrefixCache.num_rows(sequences)


def frozen_prefix_cache(
    folder: RunFolder,
    settings: RunSettings,
    decoder: Decoder,
    sequences: Sequence[Item],
) -> FrozenPrefixCache | None:
    """Return the hidden states of a run's sequences, computed if need be; None in quality mode.

    Raises:
        StorageError: if they cannot be written.
    """
    first = first_adapted(settings.plan, len(decoder.blocks))
    if not first:
        return None
    about = [settings.base_digest, first, settings.compute_dtype, settings.kernels]
    about += [settings.threads, settings.plan.adapter, dict(settings.data_digests)]
    name = content_name(about).replace(":", "-")
    path, width = folder.hidden_path / name, decoder.shape.width
    rows = FrozenPrefixCache.num_rows(sequences)
    for torn in folder.path.glob(f".{folder.hidden_path.name}.*"):
        shutil.rmtree(torn, ignore_errors=True)
    if not path.is_file():
        with whole_folder(folder.hidden_path) as place:
            _allocate(place / name, rows * width * STATE_BYTES)
            store = np.memmap(place / name, np.int16, "r+", shape=(rows, width))
            FrozenPrefixCache(first, sequences, store).fill(decoder)
            store.flush()
    with storage_errors(path):
        store = np.memmap(path, np.int16, "r", shape=(rows, width))
    return FrozenPrefixCache(first, sequences, store)


def _allocate(path: Path, num_bytes: int) -> None:
    """Reserve a file's place: writing through a map into a full disk would end the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        else:  # macOS
            for _ in range(0, num_bytes, 1 << 20):
                file.write(bytes(1 << 20))


def mode_remark(run: Run, runs: Sequence[Run]) -> str:
    """Say what a fast run gained and lost.

    Args:
        run: The run.
        runs: Finished runs, oldest first; the newest one in quality mode on the same data and base
            with as many steps is what it is compared with.

    Returns:
        "" for a run in quality mode.
    """
    if run.plan.get("mode") != "fast":
        return ""
    summary = f"fast mode adapted the last {FAST_SHARE:.0%} of the layers"
    for other in reversed(runs):
        is_twin = (other.snapshot, other.base_digest) == (run.snapshot, run.base_digest)
        if is_twin and other.plan.get("mode", "quality") == "quality":
            mine, its = run.metrics, other.metrics
            if mine.num_steps != its.num_steps:
                continue
            return (
                f"{summary}: {mine.training_time_s:.0f} s and validation loss {_loss(mine)}, "
                f"against {its.training_time_s:.0f} s and {_loss(its)} of run {other.run_id} in "
                "quality mode on the same data"
            )
    return f"{summary}; {MEASURED}"


def _loss(metrics: TrainingMetrics) -> str:
    loss = metrics.best_validation_loss or metrics.last_validation_loss
    return "not measured" if loss is None else f"{loss:.3f}"
