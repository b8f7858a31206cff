"""What a page's reader has before its first command: chats, runs, versions, a server."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from fine_tuning.cli.main import main
from tests.docs.pages import ROOT
from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import MERGEABLE, NAME, TOPICS, write_base, write_trained

SAMPLES = ROOT / "fine_tuning" / "data" / "samples"
NOBODY = "http://127.0.0.1:9"
BASE = "base.gguf"
OLLAMA = "0.40.0"
OLLAMA_MODEL = "mistral:7b-instruct-q4_0"
NUM_CHATS = 60
REAL = "DOCS_TRAIN_THE_EMBEDDED_MODEL"
"""Variable of pages that are walked with the real small model."""
# Enough to see every part of a training and an evaluation at work.
SHORT = {
    "TRAINING__MAX_STEPS": "4",
    "EVALUATION__MAX_REPLIES": "4",
    "EVALUATION__MAX_REPLY_TOKENS": "16",
    "EVALUATION__ABILITY_PROBE": "false",
    "DATA_PREPARATION__MAX_LENGTH": "256",
}


def settle(**values: str) -> None:
    """Set variables of the environment; the test takes them back."""
    os.environ.update({f"FINE_TUNING__{key}": value for key, value in values.items()})


CHAT_OF_PERSONS = (
    "[01.12.26, 10:00:00] Ann: Which key opens the archive?\n"
    "[01.12.26, 10:01:00] Bot: The brass key, which hangs beside the door.\n"
)


def empty(folder: Path) -> None:
    """Give the reader a small base model, files of other programs, and no Ollama."""
    if not (folder / BASE).exists():
        write_base(folder / BASE)
    (folder / "examples").symlink_to(ROOT / "examples")
    settle(DEPLOYMENT__OLLAMA_BASE_URL=NOBODY, TRAINING__BASE_MODEL=str(folder / BASE), **SHORT)
    lines = (SAMPLES / "handbook_conversations.jsonl").read_text(encoding="utf-8").splitlines()
    chats = [json.loads(line) for line in lines[:NUM_CHATS]]
    exported = [{"id": chat["id"], "messages": chat["messages"]} for chat in chats]
    text = json.dumps(exported, indent=1)
    (folder / "conversations.json").write_text(text, encoding="utf-8")
    (folder / "chats.jsonl").write_text("\n".join(lines[:NUM_CHATS]) + "\n", encoding="utf-8")
    (folder / "_chat.txt").write_text(CHAT_OF_PERSONS, encoding="utf-8")


def recorded(folder: Path) -> None:
    """The same, and a log of conversations."""
    empty(folder)
    assert main(["import", "chats.jsonl"]) == 0


def trained(folder: Path) -> None:
    """The same, and two runs: monday and tuesday."""
    recorded(folder)
    for name in ("monday", "tuesday"):
        assert main(["train", "--run-id", name]) == 0


def chatbot(folder: Path) -> None:
    """A chatbot that asks an Ollama model."""
    empty(folder)
    settle(TRAINING__BASE_MODEL=OLLAMA_MODEL)


def _versions(folder: Path, base_name: str) -> None:
    made = write_trained(folder, name=base_name, types=MERGEABLE)
    for number in (1, 2):
        made.add_run(number, qalora=True)
    prompts = json.dumps([f"Tell me about {topic}." for topic in TOPICS])
    settle(EVALUATION__TEST_PROMPTS=prompts, DEPLOYMENT__FAMILY="support", TRAINING__THREADS="1")


@contextmanager
def without_server(prepare: Callable[[Path], None], folder: Path) -> Iterator[None]:
    """Prepare a scene in which no Ollama answers."""
    prepare(folder)
    yield


@contextmanager
def on_ollama(prepare: Callable[[Path], None], folder: Path) -> Iterator[None]:
    """Prepare a scene with an Ollama of today that has the base models."""
    (folder / "ollama").mkdir()
    with StandIn(folder / "ollama", generation=OLLAMA) as server:
        os.environ["OLLAMA_MODELS"] = str(server.root)
        prepare(folder)
        for name in (NAME, OLLAMA_MODEL):
            server.add_model(name, folder / BASE)
        settle(DEPLOYMENT__OLLAMA_BASE_URL=server.url)
        yield


def versions(folder: Path) -> None:
    """Two runs on a base model of Ollama, which its reader is about to deploy."""
    _versions(folder, NAME)


def deployed(folder: Path) -> None:
    """The same, deployed on the embedded runtime, and switched to the first."""
    _versions(folder, "")
    settle(DEPLOYMENT__RUNTIME="embedded", DEPLOYMENT__OLLAMA_BASE_URL=NOBODY)
    for run in ("run1", "run2"):
        assert main(["deploy", run, "--no-switch"]) == 0
    assert main(["switch", "support:1"]) == 0


@cache
def _demo() -> Path:
    """Run the demo once for all pages; return its workspace."""
    home = Path(tempfile.mkdtemp(prefix="demo-"))
    atexit.register(shutil.rmtree, home)
    assert main(["demo", "--home", str(home)]) == 0
    return home / "demo"


def after_demo(folder: Path) -> None:
    """The demo was run; trainings take the embedded model, and are as short as they can be."""
    empty(folder)
    real = {"BASE_MODEL": "embedded", "MAX_STEPS": "30", "LEARNING_RATE": "1e-3"}
    settle(DEPLOYMENT__RUNTIME="embedded", **{f"TRAINING__{key}": v for key, v in real.items()})
    shutil.copytree(_demo(), folder / "home" / "demo")


def some_versions(folder: Path) -> None:
    """Two versions in use, a log, and trainings that change a small model enough to prove it."""
    deployed(folder)
    recorded(folder)
    settle(DEPLOYMENT__RUNTIME="embedded", TRAINING__LEARNING_RATE="0.01", TRAINING__MAX_STEPS="12")
