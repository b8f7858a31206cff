"""kill -9 at random moments: the resumed run ends with the bytes of the undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fine_tuning.core.events import RunEvent
from fine_tuning.training.events_file import read_events

ROOT = Path(__file__).parents[2]
BIGRAM = (sys.executable, "-m", "tests.training.tiny")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def kill_and_resume(folder: Path, delays_s: Sequence[float], command: Sequence[str]) -> int:
    """Run a command once per delay, killing it then, and a last time to its end.

    A delay counts from the moment the process holds the run, so that the kill falls into the
    training and not into the imports.

    Returns:
        How often it was killed; less than ``len(delays_s)`` if it was faster than the delays.
    """
    kills = 0
    for delay_s in [*delays_s, 120.0]:
        with subprocess.Popen([*command, str(folder)], cwd=ROOT, env=ENVIRONMENT) as process:
            begun_s = time.monotonic()
            while process.poll() is None and not is_held_by(folder, process.pid):
                assert time.monotonic() - begun_s < 60
                time.sleep(0.001)
            try:
                process.wait(delay_s)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        assert process.returncode in {0, -signal.SIGKILL}
        if process.returncode == 0:
            break
    return kills


def is_held_by(folder: Path, pid: int) -> bool:
    lock = folder / ".lock"
    return lock.exists() and lock.read_text().strip() == str(pid)


def history(folder: Path) -> list[tuple[object, ...]]:
    """All that must not depend on interruptions: steps and evaluations with their numbers."""
    names = ("loss", "epoch_loss", "learning_rate", "grad_norm", "validation_loss", "is_best")

    def told(event: RunEvent) -> tuple[object, ...]:
        return event.kind, event.step, *(event.values.get(name) for name in names)

    events = read_events(folder / "events.jsonl")
    return [told(event) for event in events if event.kind in {"step", "validation"}]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}


def assert_survives(tmp_path: Path, kills: int, command: Sequence[str], seed: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = {"cwd": ROOT, "env": ENVIRONMENT, "check": True}
    begun_s = time.monotonic()
    subprocess.run([*command, str(whole)], **environment)
    events = list(read_events(whole / "events.jsonl"))
    assert [event.kind for event in events][-1] == "finished"
    del begun_s
    dice = random.Random(seed)
    delays_s = [dice.uniform(0, 0.6) ** 2 for _ in range(kills)]
    done = kill_and_resume(killed, delays_s, command)
    assert done == kills
    assert files(killed) == files(whole)
    assert history(killed) == history(whole)
    kinds = [event.kind for event in read_events(killed / "events.jsonl")]
    assert kinds.count("started") <= 1
    assert kinds.count("finished") == 1
    assert (killed / "manifest.json").exists()


def test_three_kills(tmp_path: Path) -> None:
    assert_survives(tmp_path, 3, BIGRAM, seed=3)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    assert_survives(tmp_path, 20, BIGRAM, seed=20)
