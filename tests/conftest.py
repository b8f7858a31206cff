"""What every test relies on: no settings from outside, the same examples, no trace of others."""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGALRM)
LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--order-seed", type=int, help="run files, and the tests in each, in another order"
    )


def pytest_configure() -> None:
    """Hear Ctrl-C, and let children hear it, also where a shell started the tests with ``&``."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the files and the tests of each; a file's tests stay together, as its fixtures do."""
    seed = config.getoption("--order-seed")
    if seed is None:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    chance = random.Random(seed)
    shuffled = chance.sample(list(files.values()), len(files))
    items[:] = [item for tests in shuffled for item in chance.sample(tests, len(tests))]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(_no_trace_left_behind: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the shell of the person who runs the tests may have set."""
    for name in list(os.environ):
        if name.startswith(("FINE_TUNING", "OLLAMA_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_trace_left_behind() -> Iterator[None]:
    """Fail a test that changes its process for the tests after it.

    Two things libraries leave are put back without a word: Streamlit's test runner a page's script
    as ``__main__``, which processes started later would run, and typer its ``sys.excepthook``.
    """
    program, hook, before = sys.modules["__main__"], sys.excepthook, _process_state()
    yield
    sys.modules["__main__"], sys.excepthook = program, hook
    after = _process_state()
    changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert not changed, f"the test leaves its process changed (before, after): {changed}"


def _process_state() -> dict[str, Any]:
    root = logging.getLogger()
    state: dict[str, Any] = {
        "working folder": os.getcwd(),  # noqa: PTH109 - as text
        "arguments": list(sys.argv),
        "import path": list(sys.path),
        "signal handlers": {number.name: signal.getsignal(number) for number in SIGNALS},
        "resource limits": {number: resource.getrlimit(number) for number in LIMITS},
        "logging": (root.level, list(root.handlers), root.manager.disable),
        "socket timeout": socket.getdefaulttimeout(),
        "standard streams": (sys.__stdout__, sys.__stderr__),
    }
    if (torch := sys.modules.get("torch")) is not None:
        state["torch"] = (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        )
    return state
