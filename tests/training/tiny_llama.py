"""Runs of the real trainers on a random llama of two layers.

``python -m tests.training.tiny_llama`` records the loss curves the tests compare with.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from fine_tuning.core.run import Run
from fine_tuning.gguf.types import TensorType
from fine_tuning.training.adapter_run import TrainingBase
from fine_tuning.training.events_file import read_events
from fine_tuning.training.lora_trainer import LoRATrainer
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.training.run_folder import current_versions
from fine_tuning.training.run_lifecycle import Listening
from tests.engine.tiny import write_tiny_llama
from tests.training.tiny import sequences

TYPES = {"token_embd": TensorType.Q8_0, "blk.0": TensorType.Q4_1, "blk.1": TensorType.Q5_0}
DATA = TrainingData(
    train=sequences(24),
    validation=sequences(6, seed=1),
    snapshot="b2:llama",
)
SMALL = TrainingPlan(rank=4, alpha=8.0, batch_size=4, gradient_accumulation=2, threads=1)
PLAN = replace(
    SMALL,
    learning_rate=1e-2,
    num_epochs=4,
    evaluate_every=2,
    checkpoint_every=3,
    patience=0,
    compute_dtype="float32",
)
KILL_PLAN = replace(
    SMALL, learning_rate=3e-3, num_epochs=20, evaluate_every=5, checkpoint_every=4, patience=60
)
TRAINERS = {"lora": LoRATrainer, "qlora": QLoRATrainer}
RECORDED = Path(__file__).parent / "recorded"


def base_model(folder: Path) -> TrainingBase:
    """Write the base once into a folder."""
    path = folder / "tiny.gguf"
    return TrainingBase(path=path if path.exists() else write_tiny_llama(path, types=TYPES))


def run_llama(
    folder: Path, method: str, plan: TrainingPlan, listening: Listening | None = None
) -> Run:
    """Begin a run beside its base, or go on with the one in the folder."""
    trainer = TRAINERS[method](plan)
    if (folder / "settings.json").exists():
        return trainer.resume(folder, listening)
    return trainer.train(DATA, base_model(folder.parent), folder, listening)


def kill_target(folder: Path) -> None:
    """Begin the run the kill tests kill, or go on with it."""
    run_llama(folder, "qlora", KILL_PLAN)


def curve(folder: Path) -> dict[str, list[float]]:
    """Return the losses a run told."""
    events = list(read_events(folder / "events.jsonl"))
    return {
        "loss": [e.values["loss"] for e in events if e.kind == "step"],
        "validation_loss": [e.values["validation_loss"] for e in events if e.kind == "validation"],
    }


def record() -> None:
    """Write the curves of both methods with the environment they were made in."""
    os.environ["FINE_TUNING_KERNELS"] = "torch"
    RECORDED.mkdir(exist_ok=True)
    for method in TRAINERS:
        with tempfile.TemporaryDirectory() as folder:
            run_llama(Path(folder) / "run", method, PLAN)
            losses = curve(Path(folder) / "run")
        environment = {**current_versions(), "cpu": torch.backends.cpu.get_cpu_capability()}
        text = json.dumps({"environment": environment, **losses}, indent=1)
        (RECORDED / f"tiny_llama_{method}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
