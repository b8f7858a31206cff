"""The project's own arms: the engine's step on the packed file, timed as TRL's steps are.

Modes: ``packed`` (weights stay packed, the default), ``unpacked`` (unpacked once), ``fast``
(packed, adapters in the last quarter of the layers, hidden states below them kept on disk: its
steps are those from the second epoch on, ``fill_cpu_s`` is what the first epoch costs beside them).
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

STARTED_S = time.time()

import torch  # noqa: E402

from benchmarks.training import probe  # noqa: E402

RSS_AFTER_TORCH = probe.peak_rss_bytes()

from fine_tuning.core.example import TokenizedExample  # noqa: E402
from fine_tuning.engine.decoder import Decoder  # noqa: E402
from fine_tuning.engine.frozen_prefix_cache import FrozenPrefixCache  # noqa: E402
from fine_tuning.training.adapter_training import AdapterTraining  # noqa: E402
from fine_tuning.training.fast_mode import first_adapted  # noqa: E402
from fine_tuning.training.fresh_adapter import fresh_adapter  # noqa: E402
from fine_tuning.training.optimizer import AdamW  # noqa: E402
from fine_tuning.training.plan import TrainingPlan  # noqa: E402


def main() -> None:
    """Train a few steps and print what they cost."""
    given = probe.arguments(("packed", "unpacked", "fast"))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    workload = json.loads(given.workload.read_text())
    fastest = probe.fastest_dtype()
    before = probe.gemm_tflops(fastest)
    residency = "unpacked" if given.mode == "unpacked" else "packed"
    with Decoder.open(given.model, residency=residency) as decoder, TemporaryDirectory() as folder:
        done = train(decoder, workload, given, Path(folder))
    print(
        json.dumps(
            {
                "arm": f"ours {given.mode}",
                **done,
                "peak_rss_bytes": probe.peak_rss_bytes(),
                "torch_rss_bytes": RSS_AFTER_TORCH,
                "probe_tflops": [before, probe.gemm_tflops(fastest)],
                "probe_dtype": str(fastest),
                "load_average": probe.load_average(),
            }
        )
    )


def train(
    decoder: Decoder, workload: dict[str, Any], given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Train on the workload's batches in their order."""
    plan = TrainingPlan(
        learning_rate=given.learning_rate, mode="fast" if given.mode == "fast" else "quality"
    )
    began_cpu_s = time.process_time()
    below = states(decoder, plan, workload, folder) if given.mode == "fast" else None
    fill_cpu_s = time.process_time() - began_cpu_s
    training = AdapterTraining(decoder, fresh_adapter(decoder, plan), below)
    optimizer = AdamW(training.parameters(), betas=plan.adam_betas, weight_decay=plan.weight_decay)
    held_out = examples(workload["held_out"])
    digest, steps, scores = hashlib.sha256(), [], []
    aside_s = aside_cpu_s = 0.0
    for number, raw in enumerate(workload["batches"][: given.steps], 1):
        wall_s, cpu_s = time.time(), time.process_time()
        batch = examples(raw)
        num_targets = sum(example.num_targets for example in batch)
        optimizer.zero_grad()
        result = training.accumulate(batch, scale=1 / num_targets)
        torch.nn.utils.clip_grad_norm_(training.parameters(), plan.max_grad_norm)
        # Linear fall without warm-up: what TRL's default schedule does.
        left = 1 - (number - 1) / min(given.steps, len(workload["batches"]))
        optimizer.step(given.learning_rate * left)
        steps.append(
            {
                "cpu_s": time.process_time() - cpu_s,
                "wall_s": time.time() - wall_s,
                "num_tokens": sum(len(example.ids) for example in batch),
                "num_targets": num_targets,
                "loss": result.loss_sum / num_targets,
            }
        )
        for example in batch:
            labels = [t if bit else -100 for t, bit in zip(example.ids, example.mask, strict=True)]
            digest.update(json.dumps([list(example.ids), labels]).encode())
        if given.held_out_every and number % given.held_out_every == 0:
            began_s, began_cpu_s = time.time(), time.process_time()
            judged = training.evaluate(held_out)
            loss = judged.loss_sum / judged.num_targets
            scores.append(
                {
                    "step": number,
                    "loss": loss,
                    "wall_s": began_s - STARTED_S - aside_s,
                    "cpu_s": began_cpu_s - aside_cpu_s,
                }
            )
            aside_s += time.time() - began_s
            aside_cpu_s += time.process_time() - began_cpu_s
            if loss <= given.target_loss:
                break
    return {
        "steps": steps,
        "batches_sha256": digest.hexdigest(),
        "held_out": scores,
        "fill_cpu_s": fill_cpu_s,
    }


def states(
    decoder: Decoder, plan: TrainingPlan, workload: dict[str, Any], folder: Path
) -> FrozenPrefixCache:
    """Compute the hidden states below the adapted layers, into a file."""
    sequences = [example for raw in workload["batches"] for example in examples(raw)]
    sequences += examples(workload["held_out"])
    shape = (FrozenPrefixCache.num_rows(sequences), decoder.shape.width)
    store = np.memmap(folder / "states", np.int16, "w+", shape=shape)
    below = FrozenPrefixCache(first_adapted(plan, len(decoder.blocks)), sequences, store)
    below.fill(decoder)
    return below


def examples(raw: list[dict[str, Any]]) -> list[TokenizedExample]:
    """Read a batch."""
    return [
        TokenizedExample(
            example_id=str(i), conversation_id="", ids=tuple(s["ids"]), mask=tuple(s["mask"])
        )
        for i, s in enumerate(raw)
    ]


if __name__ == "__main__":
    main()
