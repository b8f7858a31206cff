"""kill -9 of ``fine-tuning deploy`` and ``fine-tuning rollback``, as a user runs them.

Real processes with the real proof, killed after a random time or at a random request. The chatbot
must get the old version throughout, and running the command again must finish the work.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from fine_tuning.core.ports import Sampling
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask
from tests.workbench.trained import MERGEABLE, NAME, TOPICS, Trained, write_trained

SERVED = "fine_tuned_support"
OLD, NEW, ALIAS = f"{SERVED}:1", f"{SERVED}:2", f"{SERVED}:champion"
NUM_KILLS = 30
LONGEST_S = 120.0
SEED_VARIABLE = "KILL_SEED"
Command = Literal["deploy", "rollback"]
ARGUMENTS: dict[Command, tuple[str, ...]] = {
    "deploy": ("deploy", "run2"),
    "rollback": ("rollback",),
}


@dataclass(frozen=True)
class Cost:
    """What a command takes when nobody disturbs it."""

    time_s: float
    num_requests: int


@dataclass
class Arena:
    """A chatbot talks to version 1; version 2 is trained."""

    trained: Trained
    server: StandIn
    settings: Path
    costs: dict[Command, Cost] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def bench(self) -> Workbench:
        return self.trained.bench(self.server.url)

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        return self._popen(*ARGUMENTS[command])

    def _popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        home = {"FINE_TUNING_HOME": str(self.trained.home), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "fine_tuning", *arguments, "--config", str(self.settings)],
            env={**os.environ, **home, "OLLAMA_MODELS": str(self.server.root)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def finish(self, *arguments: str) -> Cost:
        """Run to the end."""
        begun_s, before = time.monotonic(), len(self.server.requests)
        process = self._popen(*arguments)
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, said.decode()
        return Cost(time.monotonic() - begun_s, len(self.server.requests) - before)

    def kill(self, command: Command, dice: random.Random) -> bool:
        """Run and kill at a random moment; False when the process had ended by then."""
        by_time = dice.random() < 0.5
        cost = self.costs[command]
        wait_s = dice.uniform(0, cost.time_s)
        number = len(self.server.requests) + dice.randint(1, cost.num_requests)
        moment, delay_s = dice.choice(["before", "after"]), dice.uniform(0, 0.02)
        process = self.start(command)

        def watch(now: str, at: int) -> None:
            if (now, at) == (moment, number):
                time.sleep(delay_s)
                process.send_signal(signal.SIGKILL)

        self.server.watch = None if by_time else watch
        try:
            _, said = process.communicate(timeout=wait_s if by_time else LONGEST_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate(timeout=LONGEST_S)
        finally:
            self.server.watch = None
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        return process.returncode == -signal.SIGKILL

    def answer(self, name: str) -> str:
        served = self.bench.models.aliases.target().runtime.served(name)  # type: ignore[attr-defined]
        return str(served.complete(ask("Hello there."), Sampling(max_tokens=8)).text)

    def answering(self) -> str:
        """Return the name the chatbot's alias answers as; it and version 1 must answer rightly."""
        digests = {name: self.server.digest(name) for name in (OLD, NEW, ALIAS)}
        (now,) = [name for name in (OLD, NEW) if digests[name] == digests[ALIAS]]
        assert self.answer(ALIAS) == self.words[now]
        assert self.answer(OLD) == self.words[OLD]
        return now

    def check_whole(self, now: str) -> None:
        """Both versions are there, the chatbot has the one it should, and nothing else is."""
        assert self.answering() == now
        assert self.server.names() == {NAME, OLD, NEW, ALIAS}
        books = self.bench.models.register.registry()
        states = [one.state for one in books.find("support:2").deployments]
        assert states[-1] == "active"
        assert books.deployments.unfinished() == []
        assert books.find("support:champion").name == f"support:{now[-1]}"

    def reset(self) -> None:
        """Give the chatbot version 1, and take version 2 from the server."""
        bench = self.bench
        if self.server.digest(ALIAS) != self.server.digest(OLD):
            bench.models.aliases.switcher().switch("support:1")
        bench.models.aliases.switcher().withdraw("support:2", force=True)
        assert self.server.names() == {NAME, OLD, ALIAS}


def prepare(arena: Arena) -> None:
    arena.trained.add_run(1, qalora=True)
    arena.finish("deploy", "run1")
    arena.trained.add_run(2, qalora=True)
    arena.costs["deploy"] = arena.finish(*ARGUMENTS["deploy"])
    arena.words = {name: arena.answer(name) for name in (OLD, NEW)}
    assert arena.words[OLD] != arena.words[NEW]
    arena.costs["rollback"] = arena.finish(*ARGUMENTS["rollback"])
    arena.reset()


def survive(arena: Arena, command: Command, dice: random.Random) -> None:
    """Kill the command once, and let a second run finish."""
    for _ in range(20):
        if command == "rollback":
            arena.finish(*ARGUMENTS["deploy"])
        hit = arena.kill(command, dice)
        now = arena.answering()
        if hit:
            break
        arena.reset()
    else:
        pytest.fail("no kill hit a living process")
    if command == "rollback":
        champion = arena.bench.models.register.registry().find("support:champion").name
        if (now, champion) != (OLD, "support:1"):
            arena.finish(*ARGUMENTS["rollback"])
        arena.check_whole(OLD)
    else:
        arena.finish(*ARGUMENTS["deploy"])
        arena.check_whole(NEW)
    arena.reset()


def kinds(dice: random.Random) -> list[str]:
    """Draw three kinds of server: one that serves adapters, one that does not, and another."""
    takes = [key for key, one in GENERATIONS.items() if one.adapters == "served"]
    first, second = dice.choice(takes), dice.choice([k for k in GENERATIONS if k not in takes])
    return [first, second, dice.choice([k for k in GENERATIONS if k not in (first, second)])]


@pytest.mark.slow
def test_thirty_kills_of_real_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KILL_SEED draws other kinds of server and other moments."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed = int(os.environ.get(SEED_VARIABLE, "6"))
    dice = random.Random(seed)
    drawn = kinds(dice)
    for generation in drawn:
        folder = tmp_path / generation
        trained = write_trained(folder, name=NAME, types=MERGEABLE)
        with StandIn(folder, generation=generation) as server:
            monkeypatch.setenv("OLLAMA_MODELS", str(server.root))
            server.add_model(NAME, trained.base)
            arena = Arena(trained, server, write_settings(folder, server.url))
            prepare(arena)
            for kill in range(NUM_KILLS // len(drawn)):
                survive(arena, "rollback" if kill % 3 == 2 else "deploy", dice)


def write_settings(folder: Path, url: str) -> Path:
    raw = {
        "deployment": {"family": "support", "runtime": "ollama", "ollama_base_url": url},
        "evaluation": {"test_prompts": [f"Tell me about {topic}." for topic in TOPICS]},
        "training": {"base_model": NAME, "threads": 1},
    }
    path = folder / "settings.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path
