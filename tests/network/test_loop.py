"""A version's way on any server: deployed with the real proof, switched, rolled back, killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.ports import Sampling
from fine_tuning.workbench.workbench import Workbench
from tests.network.rented import Rented, rented
from tests.runtimes.models import ask
from tests.workbench.trained import MERGEABLE, TOPICS, Trained, write_trained

pytestmark = pytest.mark.network
NUM_KILLS = 3
LONGEST_S = 600.0
HOLDS = {"prompt", "ending", "output", "settings", "speed"}


@dataclass(frozen=True)
class Scene:
    """A workspace whose names on the server are the tests' own."""

    trained: Trained
    names: Rented

    def bench(self) -> Workbench:
        return self.trained.bench(self.names.url, **self.deployment())

    def deployment(self) -> dict[str, object]:
        return {"model_name_prefix": self.names.prefix}

    def served(self, tag: object) -> str:
        return f"{self.names.prefix}support:{tag}"

    def answers(self, tag: object) -> str:
        with self.bench().models.access.open_served(self.served(tag)) as model:
            return "".join(model.reply(ask("Hello there."), Sampling(max_tokens=8)))

    def run(self, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        raw = {
            "deployment": {
                "family": "support", "runtime": "ollama", "ollama_base_url": self.names.url,
                **self.deployment(),
            },
            "evaluation": {"test_prompts": [f"Tell me about {topic}." for topic in TOPICS]},
            "training": {"base_model": self.trained.name, "threads": 1},
        }  # fmt: skip
        settings = folder / "settings.yaml"
        settings.write_text(json.dumps(raw), encoding="utf-8")
        home = {"FINE_TUNING_HOME": str(self.trained.home), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "fine_tuning", *arguments, "--config", str(settings)],
            env={**os.environ, **home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with rented() as names:
        yield Scene(write_trained(tmp_path / "mine", types=MERGEABLE), names)


def test_versions_are_proved_switched_and_rolled_back(scene: Scene) -> None:
    for number in (1, 2):
        scene.trained.add_run(number, qalora=True)
        done = scene.bench().models.deployment.deploy(f"run{number}")
        proof: Any = done.deployed.proof
        parts = {part["name"]: part["outcome"] for part in proof["parts"]}
        assert parts == dict.fromkeys(HOLDS, "holds")
        digests = scene.names.digests()
        assert digests[scene.served("champion")] == digests[scene.served(number)]
    assert scene.answers("champion") == scene.answers(2) != scene.answers(1)
    aliases = scene.bench().models.aliases
    assert aliases.rollback().version == "support:1"
    assert scene.answers("champion") == scene.answers(1)
    aliases.switcher().switch("support:2")
    assert scene.answers("champion") == scene.answers(2)


def test_kills_in_mid_deployment_leave_the_old_version(scene: Scene, tmp_path: Path) -> None:
    dice = random.Random(7)
    scene.trained.add_run(1, qalora=True)
    begun_s = time.monotonic()
    process = scene.run(tmp_path, "deploy", "run1")
    _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said.decode()
    took_s, old = time.monotonic() - begun_s, scene.answers(1)
    scene.trained.add_run(2, qalora=True)
    for _ in range(NUM_KILLS):
        process = scene.run(tmp_path, "deploy", "run2")
        try:
            process.communicate(timeout=dice.uniform(0.2, 0.8) * took_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=LONGEST_S)
        digests = scene.names.digests()
        champion = digests[scene.served("champion")]
        assert champion in {digests.get(scene.served(1)), digests.get(scene.served(2))}
        assert scene.answers(1) == old
    process = scene.run(tmp_path, "deploy", "run2")
    _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said.decode()
    assert scene.answers("champion") == scene.answers(2)
    assert scene.names.names() == {scene.served(tag) for tag in (1, 2, "champion")}
