"""The app as a child process, and the browser it is seen through."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage")
START_S = 60
PATIENCE_MS = 60_000
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
"""Matches when the page's script has run to its end."""
DESKTOP = (1280, 900)
PHONE = (390, 844)


class App:
    """The command ``fine-tuning app`` as a child process on a port of its own.

    Args:
        home: The workspace.
        settings: Lines of a settings file; "" takes the defaults.
    """

    def __init__(self, home: Path, settings: str = "") -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / f"{home.name}-app.log"
        self._config = home.parent / f"{home.name}.yaml"
        if settings:
            self._config.write_text(settings, encoding="utf-8")
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {**os.environ, "FINE_TUNING_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        if self._config.is_file():
            environment["FINE_TUNING_CONFIG"] = str(self._config)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "fine_tuning", "app", "--no-browser", f"--port={self.port}"],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        give_up_s = time.monotonic() + START_S
        while not self.answers():
            if self._child.poll() is not None or time.monotonic() > give_up_s:
                raise AssertionError(f"the app did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether the page can be asked for."""
        try:
            return httpx.get(f"{self.url}/_stcore/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as the kernel does when memory is short; what it started lives on."""
        self._end(signal.SIGKILL)

    def _end(self, sign: signal.Signals) -> None:
        if self._child is None:
            return
        parts = [self._child.pid]
        with_children = psutil.Process(self._child.pid)
        parts += [
            child.pid for child in with_children.children() if "streamlit" in command_of(child)
        ]
        for pid in reversed(parts):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue
        self._child.wait(timeout=30)
        self._child = None


def command_of(process: psutil.Process) -> str:
    """Return a process' command line; "" when it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chromium() -> str | None:
    """Return where the browser is; None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """Start a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
