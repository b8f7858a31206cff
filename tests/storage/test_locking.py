"""A lock keeps others out, says who holds it, and dies with its holder."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from fine_tuning.core.errors import StorageError
from fine_tuning.storage.locking import locked


def test_another_thread_waits_and_then_has_it(tmp_path: Path) -> None:
    told: list[str] = []

    def second() -> None:
        with locked(tmp_path / "x" / ".lock"):
            told.append("second")

    with locked(tmp_path / "x" / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        told.append("first")
    thread.join(10)
    assert told == ["first", "second"]


def test_who_waits_too_long_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(StorageError, match=f"process {os.getpid()} for 0"),
        locked(tmp_path / ".lock", wait_s=0),
    ):
        pass
    with locked(tmp_path / ".lock", wait_s=0):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def hold(path: Path) -> None:
    with locked(path):
        time.sleep(60)


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path / ".lock",))
    process.start()
    while not (tmp_path / ".lock").exists() or not (tmp_path / ".lock").read_text():
        time.sleep(0.01)
    with pytest.raises(StorageError), locked(tmp_path / ".lock", wait_s=0.05):
        pass
    process.kill()
    process.join()
    with locked(tmp_path / ".lock", wait_s=0):
        pass


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match="could not be written"),
        locked(tmp_path / "file" / ".lock"),
    ):
        pass
