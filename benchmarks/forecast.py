"""What ``fine-tuning train --dry-run`` says, against what the run then takes.

    python benchmarks/forecast.py --home /tmp/forecast --max-steps 40

Trains on the sample conversations with the embedded model in quality and in fast mode. Prints
predicted and measured time and peak memory; fails when one of them is more than a quarter off.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

GIB = 1 << 30
MOST = 0.25
SAMPLES = Path(__file__).parents[1] / "fine_tuning/data/samples/handbook_conversations.jsonl"


def told(command: list[str]) -> dict[str, Any]:
    """Run the program and read its JSON answer."""
    program = [sys.executable, "-m", "fine_tuning", *command]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def seconds_of(folder: Path) -> float:
    """Return the seconds from a run's beginning to its last event.

    Unlike the run's ``training_time_s`` they hold what fast mode computes before the first step.
    """
    began = json.loads((folder / "manifest.json").read_text())["created_at"]
    *_, last = (folder / "events.jsonl").read_text().splitlines()
    ended = dt.datetime.fromisoformat(json.loads(last)["time"])
    return (ended - dt.datetime.fromisoformat(began)).total_seconds()


def main() -> int:
    """Run both modes; 1 if a forecast missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="a folder for runs; kept")
    parser.add_argument("--max-steps", type=int, default=40)
    options = parser.parse_args()
    home = ["--home", str(options.home), "--json"]
    subprocess.run(
        [sys.executable, "-m", "fine_tuning", "import", str(SAMPLES), *home[:2]],
        check=True,
        capture_output=True,
    )
    missed = 0
    for mode in ("quality", "fast"):
        sets = {"mode": mode, "max_steps": options.max_steps, "early_stopping_patience": "null"}
        settings = [f"--set=training.{key}={value}" for key, value in sets.items()]
        command = ["train", "--base", "embedded", *home, *settings]
        forecast, run = told([*command, "--dry-run"]), told(command)
        pairs = {
            "time": (forecast["forecast_time_s"], seconds_of(Path(run["folder"])), "s", 1),
            "memory": (forecast["forecast_memory_bytes"], run["peak_memory_bytes"], "GiB", GIB),
        }
        for name, (predicted, measured, unit, scale) in pairs.items():
            off = predicted / measured - 1
            missed += abs(off) > MOST
            print(
                f"{mode} {name}: predicted {predicted / scale:.2f} {unit}, "
                f"measured {measured / scale:.2f} {unit}, {off:+.0%}",
                flush=True,
            )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
