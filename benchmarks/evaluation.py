"""How long does an evaluation take? Held-out chats, two models, every metric, nothing kept before.

Run: python -m benchmarks.evaluation [chats]
Prints seconds and processor seconds by stage for a base and a run of few steps on it, on the
sample conversations, and how long the same evaluation takes when it is asked for again.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.workbench.demo import read_samples
from fine_tuning.workbench.workbench import Workbench

STEPS = 20
METRICS = (
    *("perplexity", "accuracy", "bits_per_byte", "bleu", "chrf", "rouge", "exact_match", "f1"),
    *("length", "length_gap", "repetition", "refusal_rate", "language_match", "stop_rate"),
)


def settings_for(chats: int) -> Settings:
    """Return settings that hold out most of the sample conversations and measure everything."""
    return Settings.model_validate(
        {
            "training": {"base_model": "embedded", "max_steps": STEPS, "learning_rate": 2e-3},
            "data_preparation": {"train_ratio": 0.3, "validation_ratio": 0.05, "test_ratio": 0.65},
            "evaluation": {"metrics": METRICS, "max_replies": chats},
        }
    )


class Stages:
    """Seconds between the changes of what is being done."""

    def __init__(self) -> None:
        self.time_s: dict[str, float] = defaultdict(float)
        self._last_s = time.monotonic()

    def __call__(self, what: str, _done: int, _total: int) -> None:
        """Add the time since the last call to what is being done."""
        now_s = time.monotonic()
        self.time_s[what] += now_s - self._last_s
        self._last_s = now_s


def main(chats: int) -> None:
    """Evaluate twice, and print what each took."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(settings_for(chats), Workspace(home=Path(folder)))
        store = bench.data.logger().store
        for name in ("handbook", "general"):
            for conversation in read_samples(f"{name}_conversations.jsonl"):
                store.append(conversation)
        snapshot = bench.data.prepare()
        bench.train.train(snapshot, run_id="short")
        for which in ("first", "again"):
            stages = Stages()
            bench = bench.with_progress(stages)
            begin_s, begin_cpu_s = time.monotonic(), _cpu_s()
            report = bench.evaluate.evaluate("short")
            wall_s, cpu_s = time.monotonic() - begin_s, _cpu_s() - begin_cpu_s
            num_replies = len(report.models[0].replies.replies) if report.models[0].replies else 0
            print(
                f"{which}: {num_replies} replies of each model, "
                f"{len(report.held_out[0].suite.item_ids)} held-out sequences, "
                f"{wall_s:.0f} s, {cpu_s:.0f} processor seconds, {report.verdict.outcome}"
            )
            for what, took_s in stages.time_s.items():
                print(f"  {what:<20}{took_s:>8.1f} s")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
