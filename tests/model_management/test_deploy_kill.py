"""kill -9 between any two requests of a deployment or a rollback: the old model answers throughout.

The stand-in kills the process that asks it, before or after it works on the n-th request, which is
where a killed process can leave a server in every state it has.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from tests.model_management.ollama_serving import (
    ALIAS,
    BASE,
    GO_CHATML,
    SERVED,
    Home,
    deploy_and_switch,
    make_home,
    roll_back,
    runtime,
    said_by,
    switcher,
    words_of,
)
from tests.model_management.registered import registry
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn

Target = Callable[..., None]
OLD, NEW = f"{SERVED}:1", f"{SERVED}:2"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class Arena:
    """A chatbot talks to version 1; version 2 is to come."""

    def __init__(self, folder: Path, generation: str, context: ForkServerContext) -> None:
        self.home: Home = make_home(folder / "home")
        self.words = {number: words_of(self.home, number) for number in (1, 2)}
        self.server = StandIn(folder / "ollama", generation=generation)
        self.server.add_model(BASE, self.home.base, template=GO_CHATML)
        self.context = context

    def run(self, target: Target, *args: Any) -> int:
        """Run to the end; returns how many requests that took."""
        before = len(self.server.requests)
        process = self.context.Process(target=target, args=(self.home.path, self.server.url, *args))
        process.start()
        process.join(120)
        assert process.exitcode == 0
        return len(self.server.requests) - before

    def kill(self, target: Target, *args: Any, at: int, moment: str, delay_s: float) -> bool:
        """Run and kill; False if it ended before its time came, and then it must be done again."""
        first = len(self.server.requests)
        process = self.context.Process(target=target, args=(self.home.path, self.server.url, *args))

        def watch(now: str, number: int) -> None:
            if (now, number) == (moment, first + at):
                time.sleep(delay_s)
                if process.pid is not None and process.is_alive():
                    os.kill(process.pid, signal.SIGKILL)

        self.server.watch = watch
        process.start()
        process.join(120)
        self.server.watch = None
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode == -signal.SIGKILL

    def check_answers(self) -> str:
        """Return which version the chatbot gets; it and version 1 must answer."""
        ollama = runtime(self.server.url)
        digests = {name: self.server.digest(name) for name in (OLD, NEW, ALIAS)}
        assert digests[OLD]
        now = next(n for n, name in ((1, OLD), (2, NEW)) if digests[name] == digests[ALIAS])
        for name, number in ((OLD, 1), (ALIAS, now)):
            found, words = said_by(ollama.served(name)), self.words[number]
            assert sum(a[:3] == b[:3] for a, b in zip(found, words, strict=True)) >= 2
        return f"support:{now}"

    def check_whole(self) -> None:
        """Version 2 is there, the chatbot has it, and nothing else is."""
        assert self.check_answers() == "support:2"
        assert self.server.names() == {BASE, OLD, NEW, ALIAS}
        books = registry(self.home.path)
        states = [one.state for one in books.find("support:2").deployments]
        assert states[-1] == "active"
        assert set(states[:-1]) <= {"undone", "retired"}
        assert books.deployments.unfinished() == []
        assert books.find("support:champion").name == "support:2"

    def reset(self) -> None:
        """Give the chatbot version 1 again, and remove version 2."""
        mover = switcher(self.home, self.server.url)
        assert mover.rollback("support").version == "support:1"
        mover.withdraw("support:2")
        assert self.server.names() == {BASE, OLD, ALIAS}


def survive_kills(
    folder: Path, generation: str, context: ForkServerContext, *, kills: int, seed: int
) -> None:
    dice = random.Random(seed)
    arena = Arena(folder, generation, context)
    with arena.server:
        arena.run(deploy_and_switch, 1, arena.words[1])
        new = (deploy_and_switch, 2, arena.words[2])
        num_deploy = arena.run(*new)
        num_rollback = arena.run(roll_back)
        arena.run(*new)
        num_hit = 0
        while num_hit < kills:
            when = {"moment": dice.choice(["before", "after"]), "delay_s": dice.uniform(0, 0.02)}
            if num_hit % 3 == 0:
                num_hit += arena.kill(roll_back, at=dice.randint(1, num_rollback), **when)
                arena.check_answers()
                switcher(arena.home, arena.server.url).recover()
                if arena.check_answers() == "support:2":
                    arena.run(roll_back)
                assert arena.check_answers() == "support:1"
                assert registry(arena.home.path).find("support:champion").name == "support:1"
                arena.run(*new)
            else:
                arena.reset()
                num_hit += arena.kill(*new, at=dice.randint(1, num_deploy), **when)
                arena.check_answers()
                arena.run(*new)
            arena.check_whole()


@pytest.mark.parametrize("generation", ["0.33.0", pytest.param("0.40.0", marks=pytest.mark.slow)])
def test_two_kills(tmp_path: Path, processes: ForkServerContext, generation: str) -> None:
    survive_kills(tmp_path, generation, processes, kills=2, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
def test_thirty_kills(tmp_path: Path, processes: ForkServerContext, generation: str) -> None:
    survive_kills(tmp_path, generation, processes, kills=30, seed=30)
