"""kill -9 and two processes at once: what is registered is whole, and the alias always answers."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError
from fine_tuning.core.ports import ModelInfo
from fine_tuning.model_management.lineage import Lineage
from fine_tuning.model_management.pruning import Pruner
from tests.model_management.registered import new_version, registry
from tests.model_management.serving import (
    ALIAS,
    RUNTIME,
    AlreadyWarm,
    answers_as,
    switcher,
)

MEMBERS = {"train": [f"c{i}" for i in range(200)]}
NUM_EACH = 15


def register_many(home: Path, run: str, count: int) -> None:
    books = registry(home)
    for number in range(count):
        books.register(new_version(home, f"{run}-{number}", conversations=MEMBERS))


def test_two_processes_register_at_once(processes: ForkServerContext, tmp_path: Path) -> None:
    both = [processes.Process(target=register_many, args=(tmp_path, run, NUM_EACH)) for run in "ab"]
    # The same runs from a third: each is registered once, whoever is first.
    both.append(processes.Process(target=register_many, args=(tmp_path, "a", NUM_EACH)))
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    versions = registry(tmp_path).versions()
    assert [version.number for version in versions] == list(range(1, 2 * NUM_EACH + 1))
    assert len({version.run_id for version in versions}) == 2 * NUM_EACH


def test_a_killed_registration_is_whole_or_absent(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    draw, kills = random.Random(6), 0
    for life in range(10):
        process = processes.Process(target=register_many, args=(tmp_path, f"life{life}", 10_000))
        process.start()
        while not (tmp_path / "runs" / f"life{life}-1").exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        versions = registry(tmp_path).versions()
        assert [version.number for version in versions] == list(range(1, len(versions) + 1))
        assert all(len(version.artefacts) == 2 for version in versions)
        newest = versions[-1].name
        assert len(Lineage(registry(tmp_path)).conversations(newest)) == len(MEMBERS["train"])
        assert registry(tmp_path).verify(newest) == []
        told = [e.version for e in registry(tmp_path).history() if e.kind == "registered"]
        assert told == [version.name for version in versions]
    assert kills == 10


class Dying(AlreadyWarm):
    """Dies by kill -9 before or after the n-th call of the switcher."""

    def __init__(self, folder: Path, moment: int) -> None:
        super().__init__(folder)
        self._left = moment

    def _pass(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def show(self, name: str) -> ModelInfo:
        self._pass()
        info = super().show(name)
        self._pass()
        return info

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        self._pass()
        info = super().point_alias(alias, target)
        self._pass()
        return info


def move_and_die(home: Path, what: str, moment: int) -> None:
    mover = switcher(home, Dying(home / "models" / RUNTIME, moment))
    if what == "rollback":
        mover.rollback("support")
    else:
        mover.switch(what)


@pytest.mark.parametrize(
    ("what", "expected"), [("support:3", "support:3"), ("rollback", "support:1")]
)
def test_a_switch_killed_anywhere_leaves_an_answer(
    processes: ForkServerContext, home: Path, what: str, expected: str
) -> None:
    outcomes = set()
    for moment in range(1, 40):
        mover = switcher(home)
        for name in ("support:1", "support:2"):
            mover.switch(name)
        process = processes.Process(target=move_and_die, args=(home, what, moment))
        process.start()
        process.join(60)
        assert answers_as(home) in ("support:2", expected)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        outcomes.add(answers_as(home))
        # What the registry says after the next call is what the runtime answers.
        mover.recover()
        now = mover.journal.current(ALIAS)
        assert now is not None
        assert now.version == answers_as(home)
        assert mover.journal.begun() == []
        assert registry(home).find("support:champion").name == now.version
        assert mover.switch(expected).version == answers_as(home) == expected
    assert moment > 8
    assert outcomes == {"support:2", expected}


def switch_to_and_fro(home: Path, seed: int, count: int, together: Barrier | None = None) -> None:
    draw, mover = random.Random(seed), switcher(home)
    for _ in range(count):
        if together is not None:
            together.wait(20)
        mover.switch(f"support:{draw.randint(1, 3)}")
        with suppress(DeploymentError):  # the other process may have rolled back to the start
            mover.rollback("support")


def test_two_processes_switch_at_once(processes: ForkServerContext, home: Path) -> None:
    switcher(home).switch("support:1")
    together = processes.Barrier(2)
    both = [
        processes.Process(target=switch_to_and_fro, args=(home, seed, 10, together))
        for seed in (1, 2)
    ]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        assert answers_as(home)
    for process in both:
        process.join()
        assert process.exitcode == 0
    now = switcher(home).journal.current(ALIAS)
    assert now is not None
    assert (now.version or "support:base") == answers_as(home)


def test_switches_killed_at_random(processes: ForkServerContext, home: Path) -> None:
    switcher(home).switch("support:1")
    draw = random.Random(9)
    for life in range(8):
        process = processes.Process(target=switch_to_and_fro, args=(home, life, 10_000))
        process.start()
        begun_s = time.monotonic()
        lasting_s = draw.uniform(0.05, 0.5)
        while time.monotonic() - begun_s < lasting_s:
            assert answers_as(home)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert answers_as(home)
        switcher(home).recover()
        now = switcher(home).journal.current(ALIAS)
        assert now is not None
        assert (now.version or "support:base") == answers_as(home)


def prune_for_ever(home: Path) -> None:
    while True:
        Pruner(registry(home)).prune(keep=1)


def test_pruning_and_deploying_at_once(processes: ForkServerContext, tmp_path: Path) -> None:
    books = registry(tmp_path)
    books.register(new_version(tmp_path, "run0"))
    process = processes.Process(target=prune_for_ever, args=(tmp_path,))
    process.start()
    kept: list[str] = []
    refused = 0
    for number in range(1, 2000):
        version = books.register(new_version(tmp_path, f"run{number}"))
        older = f"support:{version.number - 1}"
        try:
            books.deployments.begin(older, "embedded", f"x{number}")
            kept.append(older)
        except DeploymentError:  # it was pruned already
            refused += 1
        if refused >= 3 and len(kept) >= 10:
            break
    process.kill()
    process.join()
    assert refused >= 3
    assert len(kept) >= 10
    for name in kept:
        assert books.verify(name) == []
        assert books.find(name).adapter_path is not None
