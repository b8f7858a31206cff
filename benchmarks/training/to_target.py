"""How long until a held-out loss is reached, start-up included: TRL's defaults against ours.

Run: python -m benchmarks.training.to_target [--steps 24]
The target is fixed first: the held-out loss TRL's defaults end at. Then each arm runs until it
gets there. Time spent on held-out losses is not counted; everything else since the process began
is, imports and loading included.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training.arms import PEERS_PYTHON, RESULTS, ROOT, processor, run_arm, say
from benchmarks.training.workloads import LENGTHS, make_workload
from fine_tuning.config.schema import Settings
from fine_tuning.runtimes.base_model import resolve_base_model

TRL_LEARNING_RATE = 2e-5
"""SFTConfig's default in TRL 1.16."""
EVERY = 2
"""Steps between held-out losses."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=LENGTHS, default="short")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--judged", type=int, default=24, help="held-out chats, at most 64")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON)
    parser.add_argument("--save", action="store_true", help="write the table beside this file")
    given = parser.parse_args()
    model = resolve_base_model("embedded").path
    own_rate = Settings().training.learning_rate
    arms = [("trl default", own_rate), ("trl best", own_rate), ("ours packed", own_rate)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.json"
        workload = make_workload(given.workload, model, given.steps)
        workload["held_out"] = workload["held_out"][: given.judged]
        path.write_text(json.dumps(workload))

        def run(arm: str, rate: float, target: float) -> dict[str, Any]:
            say(f"{arm} at {rate:g}")
            options = ("--steps", given.steps, "--learning-rate", rate, "--held-out-every", EVERY)
            target_options = ("--target-loss", target)
            return run_arm(arm, path, model, *options, *target_options, peers=given.peers)

        slowest = run("trl default", TRL_LEARNING_RATE, 0.0)
        target = slowest["held_out"][-1]["loss"]
        found = [(f"trl default, its rate {TRL_LEARNING_RATE:g}", slowest)]
        found += [(f"{arm}, rate {rate:g}", run(arm, rate, target)) for arm, rate in arms]
    text = table(found, target, given)
    say(text)
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        place = RESULTS / f"time-to-loss-{dt.datetime.now(dt.UTC).date()}.md"
        place.write_text(text)
        say(f"written to {place.relative_to(ROOT)}")


def table(found: list[tuple[str, dict[str, Any]]], target: float, given: argparse.Namespace) -> str:
    """Return the results in Markdown."""
    reference = found[0][1]["held_out"][-1]
    lines = [
        f"# Time to a held-out loss of {target:.4f}, {given.workload} chats, one thread\n",
        (
            f"{dt.datetime.now(dt.UTC).date()}, {processor()}. The loss on {given.judged} chats "
            f"that TRL's defaults end at after {given.steps} steps of 8. Start-up counts, held-out "
            "losses not.\n"
        ),
        "| arm | steps | held-out loss | CPU s | wall s | times faster (CPU) |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in found:
        end = result["held_out"][-1]
        lines.append(
            f"| {name} | {end['step']} | {end['loss']:.4f} | {end['cpu_s']:.1f} "
            f"| {end['wall_s']:.1f} | {reference['cpu_s'] / end['cpu_s']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
