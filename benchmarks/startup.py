"""From process start to the end of the first training step on SmolLM2, in seconds.

    python benchmarks/startup.py

Each run is a process of its own over a prepared data set; the first warms the caches and does not
count. Prints the best wall-clock and CPU seconds of the whole, and of the imports alone.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fine_tuning.core.events import RunEvent

REPEATS = 3
SAMPLES = Path(__file__).parents[1] / "fine_tuning/data/samples/handbook_conversations.jsonl"


def measured(command: list[str]) -> tuple[float, float, str]:
    """Return (wall seconds, CPU seconds, standard output) of a process."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    took_s, after = time.time() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took_s, used, done.stdout


def train_one_step(home: str, dataset: str) -> None:
    """Print the time when the first step of a run ends; the child process's part."""
    import os

    from fine_tuning.config.schema import Settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.workbench.workbench import Workbench

    class Stops:
        def on_event(self, event: RunEvent) -> None:
            if event.kind == "step":
                sys.stdout.write(f"{time.time()} {sum(os.times()[:2])}\n")
                sys.stdout.flush()
                os._exit(0)

    training = {"base_model": "embedded", "early_stopping_patience": None}
    settings = Settings.model_validate({"training": training})
    bench = Workbench(settings, Workspace(home=Path(home)))
    snapshot = bench.snapshot(dataset)
    bench.train(snapshot, listener=Stops())


def main() -> None:
    """Prepare once, then measure."""
    program = [sys.executable, "-m", "fine_tuning"]
    with tempfile.TemporaryDirectory() as home:
        place = ["--home", home]
        subprocess.run([*program, "import", str(SAMPLES), *place], check=True, capture_output=True)
        subprocess.run(
            [*program, "prepare", "--base", "embedded", *place], check=True, capture_output=True
        )
        (dataset,) = (path.name for path in (Path(home) / "datasets").iterdir())
        runs = []
        for _ in range(REPEATS + 1):
            start_s = time.time()
            _, _, said = measured([sys.executable, __file__, home, dataset])
            ended_s, cpu_s = map(float, said.split()[-2:])
            runs.append((ended_s - start_s, cpu_s))
    imports = [measured([sys.executable, "-c", f"import {name}"])[:2] for name in MODULES]
    wall_s, cpu_s = min(run[0] for run in runs[1:]), min(run[1] for run in runs[1:])
    print(f"first step ends after {wall_s:.1f} s ({cpu_s:.1f} CPU s)")
    for name, (wall_s, cpu_s) in zip(MODULES, imports, strict=True):
        print(f"import {name}: {wall_s:.1f} s ({cpu_s:.1f} CPU s)")


MODULES = ("torch", "fine_tuning.workbench.workbench")

if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_one_step(*sys.argv[1:])
    else:
        main()
