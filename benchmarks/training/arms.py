"""Runs one arm of the training benchmarks: a process of its own, one thread, one JSON answer."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
ARMS = ("trl default", "trl best", "trl nf4", "ours packed", "ours unpacked", "ours fast")
CAPS = {
    "": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "FINE_TUNING_KERNELS": "avx2",
    },
}


def run_arm(
    arm: str, workload: Path, model: Path, *options: object, cap: str = "", peers: Path
) -> dict[str, Any]:
    """Run one arm in its own process and environment.

    Args:
        arm: One of :data:`ARMS`.
        workload: The batches.
        model: The GGUF file all arms start from.
        options: More of the arm's options.
        cap: The instruction set to keep to, a key of :data:`CAPS`.
        peers: The Python of the peers' environment.
    """
    side, mode = arm.split()
    if side == "trl":
        command = [str(peers), str(Path(__file__).with_name("peer_trl.py"))]
    else:
        command = [sys.executable, "-m", "benchmarks.training.ours"]
    command += ["--mode", mode, "--workload", str(workload), "--model", str(model)]
    command += [str(option) for option in options]
    environment = {**os.environ, **CAPS[cap], "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def say(text: str, to: Any = sys.stdout) -> None:
    """Print at once, whoever reads."""
    to.write(text + "\n")
    to.flush()
