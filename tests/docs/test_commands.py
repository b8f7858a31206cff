"""Every command and every Python block of the documentation runs, page by page, in order.

A page runs in an empty folder with a workspace of its own. ``--base embedded`` becomes a base model
that trains in seconds, unless the page is marked slow.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fine_tuning.cli.main import main
from tests.docs import scenes
from tests.docs.pages import DOCS, ROOT, Block, blocks, commands, name_of, pages

Scene = Callable[[Path], AbstractContextManager[None]]

NOT_RUN = {
    "make demo": "sets up .venv with pip, which needs a package registry; the scene ran the demo",
    "make wheel": "as above; CI runs it",
    "make app": "as above; the same pages are started by fine-tuning app",
    "source .venv/bin/activate": "the tests run in that environment already",
    "pip install": "needs a package registry; make wheel installs the wheel",
    "fine-tuning compare base latest --judge mistral": "needs a model of 4 GB",
}
"""Commands that cannot run here, with the reason."""
GIVEN = {"README.md": "messages = []\n"}
"""What the text around a page's Python blocks leaves to its reader."""
STARTS_SERVER = re.compile(r"(fine-tuning (serve|app)\b|streamlit run\b)")
# A chat without --message reads from the terminal.
NEEDS_SHELL = re.compile(r"[|<>;&]|^fine-tuning chat(?!.*--message)")
OLLAMA_PORT = "11434"
STARTED_S = 60.0

alone, beside_ollama = (partial(partial, way) for way in (scenes.without_server, scenes.on_ollama))
SCENES: dict[str, Scene] = {
    "README.md": alone(scenes.some_versions),
    "howto/streamlit.md": alone(scenes.recorded),
    "howto/ollama.md": beside_ollama(scenes.chatbot),
    "howto/without-ollama.md": alone(scenes.empty),
    "howto/import.md": alone(scenes.empty),
    "howto/feedback.md": alone(scenes.recorded),
    "howto/train.md": alone(scenes.recorded),
    "howto/evaluate.md": alone(scenes.trained),
    "howto/deploy.md": beside_ollama(scenes.versions),
    "howto/rollback.md": alone(scenes.deployed),
    "howto/forget.md": alone(scenes.recorded),
    "howto/scale.md": alone(scenes.recorded),
    "howto/scripts.md": alone(scenes.empty),
    "ollama-adapters.md": alone(scenes.recorded),
    "troubleshooting.md": alone(scenes.recorded),
    "reference/api.md": alone(scenes.empty),
}
SLOW = {
    "README.md",
    "howto/train.md",
    "howto/evaluate.md",
    "howto/deploy.md",
    "howto/rollback.md",
    "howto/scale.md",
    "ollama-adapters.md",
}
"""Pages that train, time, evaluate or serve a model."""
WITH_REAL_MODEL: dict[str, Scene] = {
    "index.md": alone(scenes.after_demo),
    "tutorial.md": alone(scenes.empty),
}
"""Pages on which the embedded model is trained in earnest."""
SCENES |= WITH_REAL_MODEL
SLOW |= {*WITH_REAL_MODEL}


@pytest.fixture(autouse=True)
def _reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the reader into an empty folder, with the command on the path."""
    before = dict(os.environ)
    tools = tmp_path / "bin"
    tools.mkdir()
    tool = tools / "fine-tuning"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m fine_tuning "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    os.environ.update(
        {
            "FINE_TUNING_HOME": str(folder / "home"),
            "PATH": f"{tools}:{Path(sys.executable).parent}:{before['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "STREAMLIT_SERVER_HEADLESS": "true",
            "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        }
    )
    yield
    os.environ.clear()
    os.environ.update(before)


def test_every_page_with_commands_has_a_scene() -> None:
    with_commands = {
        name_of(page)
        for page in pages()
        for block in blocks(page)
        if block.language in {"bash", "console", "python"}
    }
    assert with_commands == {*SCENES}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in SCENES]
)
def test_the_commands_of_a_page(name: str) -> None:
    if name in WITH_REAL_MODEL:
        os.environ[scenes.REAL] = "1"
    walk(name, SCENES[name])


def walk(name: str, scene: Scene) -> None:
    path = ROOT / name if name == "README.md" else DOCS / name
    with scene(Path.cwd()), ExitStack() as servers:
        port = free_port()
        os.environ["FINE_TUNING__SERVING__PORT"] = port
        for block in blocks(path):
            if block.language == "python":
                run_python(block)
            elif block.language in {"bash", "console"}:
                for command in commands(block):
                    text = command.replace(f"127.0.0.1:{OLLAMA_PORT}", f"127.0.0.1:{port}")
                    run_command(text, port, servers)


def run_command(command: str, port: str, servers: ExitStack) -> None:
    """Run a command as its reader would, and fail if it fails."""
    if any(command.startswith(known) for known in NOT_RUN):
        return
    if not os.environ.get(scenes.REAL):
        command = command.replace("--base embedded", f"--base {scenes.BASE}")
    if STARTS_SERVER.search(command):
        servers.enter_context(server(command, port))
    elif command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        os.environ[name] = scenes.BASE if value == "embedded" else value
    elif command.startswith("fine-tuning ") and not NEEDS_SHELL.search(command):
        words = shlex.split(command, comments=True)[1:]
        assert main(words) == 0, command
    else:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def run_python(block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIVEN.get(block.page, "") + block.text],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block.page}\n{block.text}\n{done.stderr}"


@contextmanager
def server(command: str, port: str) -> Iterator[None]:
    """Start a command that goes on until Ctrl-C, wait until it listens, and stop it at the end."""
    if "serve" not in command:
        port = free_port()
        command += f" --no-browser --port {port}" if "app" in command.split() else ""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command.split('#')[0]}".replace("exec OLLAMA", "OLLAMA")],
        env=os.environ | {"STREAMLIT_SERVER_PORT": port},
        start_new_session=True,
    )
    try:
        give_up_s = time.monotonic() + STARTED_S
        while not is_open(port):
            assert process.poll() is None, command
            assert time.monotonic() < give_up_s, command
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_open(port: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
