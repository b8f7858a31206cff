"""kill -9 at random moments: the resumed run ends with the bytes of the undisturbed one."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from fine_tuning.core.events import RunEvent
from fine_tuning.training.events_file import read_events
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.run_lifecycle import Listening
from tests.training import tiny, tiny_llama

Target = Callable[[Path], None]


def run_to_end(context: ForkServerContext, target: Target, folder: Path) -> float:
    """Run undisturbed; returns the seconds from holding the run to the end."""
    process = context.Process(target=target, args=(folder,))
    process.start()
    wait_until_held(process, folder)
    begun_s = time.monotonic()
    process.join(120)
    assert process.exitcode == 0
    return time.monotonic() - begun_s


def kill_and_resume(
    context: ForkServerContext, target: Target, folder: Path, delays_s: Sequence[float]
) -> int:
    """Begin a run and kill it after each delay; resume after each kill, at last to the end.

    A delay counts from the moment the process holds the run, so that the kill falls into the
    training and not into the process's start.

    Returns:
        How often it was killed; less than ``len(delays_s)`` if it was faster than the delays.
    """
    for kills, delay_s in enumerate([*delays_s, 120.0]):
        process = context.Process(target=target, args=(folder,))
        process.start()
        wait_until_held(process, folder)
        process.join(delay_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            continue
        assert process.exitcode == 0
        return kills
    raise AssertionError("the run did not end")


def wait_until_held(process: multiprocessing.process.BaseProcess, folder: Path) -> None:
    lock, begun_s = folder / ".lock", time.monotonic()
    while process.is_alive() and not (
        lock.exists() and lock.read_text().strip() == str(process.pid)
    ):
        assert time.monotonic() - begun_s < 60
        time.sleep(0.001)


def history(folder: Path) -> list[tuple[object, ...]]:
    """All that must not depend on interruptions: steps and evaluations with their numbers."""
    names = ("loss", "epoch_loss", "learning_rate", "grad_norm", "validation_loss", "is_best")

    def told(event: RunEvent) -> tuple[object, ...]:
        return event.kind, event.step, *(event.values.get(name) for name in names)

    events = read_events(folder / "events.jsonl")
    return [told(event) for event in events if event.kind in {"step", "validation"}]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}


def assert_survives(
    context: ForkServerContext, target: Target, tmp_path: Path, *, kills: int, seed: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    took_s = run_to_end(context, target, whole)
    dice = random.Random(seed)
    # On average the kills use up half of the time the run needs, so that it lives to see them all.
    delays_s = [dice.uniform(0, took_s / kills) for _ in range(kills)]
    assert kill_and_resume(context, target, killed, delays_s) == kills
    assert files(killed) == files(whole)
    assert history(killed) == history(whole)
    kinds = [event.kind for event in read_events(killed / "events.jsonl")]
    assert kinds.count("started") == kinds.count("finished") == 1
    assert (killed / "manifest.json").exists()


TARGETS = [
    pytest.param(tiny.kill_target, id="bigram"),
    pytest.param(tiny_llama.kill_target, id="llama"),
]


@pytest.mark.parametrize("target", TARGETS)
def test_three_kills(processes: ForkServerContext, tmp_path: Path, target: Target) -> None:
    assert_survives(processes, target, tmp_path, kills=3, seed=3)


class KillsItself:
    """Dies when it hears the n-th event of a kind: at the moments that matter most."""

    def __init__(self, kind: str, count: int) -> None:
        self._kind, self._left = kind, count

    def on_event(self, event: RunEvent) -> None:
        self._left -= event.kind == self._kind
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


SHORT_PLAN = TrainingPlan(
    learning_rate=1e-2, num_epochs=3, batch_size=4, checkpoint_every=3, evaluate_every=3
)


def self_killing(folder: Path, kind: str, count: int) -> None:
    tiny.run_tiny(folder, SHORT_PLAN, Listening(listener=KillsItself(kind, count)))


MOMENTS = [
    ("started", 1),
    ("validation", 1),
    ("validation", 2),
    ("step", 1),
    ("step", 24),
    ("checkpoint", 1),
    ("checkpoint", 8),
    ("finished", 1),
]


def test_kills_between_any_two_files(processes: ForkServerContext, tmp_path: Path) -> None:
    tiny.run_tiny(tmp_path / "whole", SHORT_PLAN)
    for kind, count in MOMENTS:
        folder = tmp_path / f"{kind}{count}"
        process = processes.Process(target=self_killing, args=(folder, kind, count))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, (kind, count)
        assert not (folder / "manifest.json").exists()
        tiny.run_tiny(folder, SHORT_PLAN)
        assert files(folder) == files(tmp_path / "whole"), (kind, count)
        assert history(folder) == history(tmp_path / "whole"), (kind, count)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_twenty_kills(processes: ForkServerContext, tmp_path: Path, target: Target) -> None:
    assert_survives(processes, target, tmp_path, kills=20, seed=20)
