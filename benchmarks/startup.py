"""From process start to the end of the first training step on SmolLM2, in seconds.

    python benchmarks/startup.py

Each run is ``fine-tuning train`` in a process of its own, over a prepared data set; the first warms
the caches and does not count. Prints wall-clock seconds, best and median, up to what the run's
events tell, and those of the imports alone.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 5
SAMPLES = Path(__file__).parents[1] / "fine_tuning/data/samples/handbook_conversations.jsonl"
PROGRAM = (sys.executable, "-m", "fine_tuning")
MODULES = ("torch", "fine_tuning.workbench.workbench")


def measured(command: list[str]) -> tuple[float, float]:
    """Return (wall seconds, CPU seconds) of a process."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    subprocess.run(command, check=True, capture_output=True)
    took_s, after = time.time() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took_s, used


def train(home: Path, dataset: str, run_id: str) -> tuple[dict[str, float], float]:
    """Train one step; return the seconds from the start to the first event of each kind, and CPU s.

    The CPU seconds are those of the whole process, its end and the checkpoint included.
    """
    settings = ["training.max_steps=1", "training.early_stopping_patience=null"]
    command = [*PROGRAM, "train", "--base", "embedded", "--dataset", dataset, "--run-id", run_id]
    command += ["--home", str(home), *(f"--set={setting}" for setting in settings)]
    began_s = time.time()
    _, cpu_s = measured(command)
    told: dict[str, float] = {}
    (events,) = home.rglob(f"{run_id}/events.jsonl")
    for line in events.read_text().splitlines():
        event = json.loads(line)
        at_s = dt.datetime.fromisoformat(event["time"]).timestamp()
        told.setdefault(event["kind"], at_s - began_s)
    return told, cpu_s


def main() -> None:
    """Prepare once, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        home, place = Path(folder), ["--home", folder]
        measured([*PROGRAM, "import", str(SAMPLES), *place])
        measured([*PROGRAM, "prepare", "--base", "embedded", *place])
        (dataset,) = (path.name for path in (home / "datasets").iterdir())
        runs = [train(home, dataset, f"run{i}") for i in range(REPEATS + 1)][1:]
    for kind in ("started", "validation", "step"):
        times_s = [told[kind] for told, _ in runs]
        print(f"{kind}: best {min(times_s):.2f} s, median {statistics.median(times_s):.2f} s")
    print(f"whole process: {min(cpu_s for _, cpu_s in runs):.2f} CPU s, load {os.getloadavg()[0]}")
    for name in MODULES:
        tries = [measured([sys.executable, "-c", f"import {name}"]) for _ in range(REPEATS)]
        print(f"import {name}: {min(tries)[0]:.2f} s ({min(t[1] for t in tries):.2f} CPU s)")


if __name__ == "__main__":
    main()
