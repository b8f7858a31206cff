"""What is made once for the tests of model management."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.model_management.serving import copy_home, make_home


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three versions deployed on the embedded runtime."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    home = make_home(tmp_path_factory.mktemp("made") / "home")
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    return home


@pytest.fixture
def home(made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return copy_home(made_home, tmp_path / "home")


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes with the registry imported already, each forked from one that never used it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.model_management.serving", "tests.model_management.ollama_serving"]
    )
    return context
