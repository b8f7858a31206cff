"""A file or folder is whole or absent: after an error, a full disk, a kill at any moment."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fine_tuning.core.errors import StorageError
from fine_tuning.storage.atomic import storage_errors, whole_folder, write_file


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert entries(path.parent) == ["file.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_file_and_no_crumbs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    # The operating system itself refuses to let a file of this process grow beyond 64 KiB.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(StorageError, match="could not be written"):
            write_file(path, bytes(1024 * 1024))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert entries(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr({"fsync": os, "replace": Path}[step], step, fail)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        write_file(path, b"new")
    monkeypatch.undo()
    assert caught.value.next_command.startswith("free some space")
    assert path.read_bytes() == b"old"
    assert entries(tmp_path) == ["file"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/inner could not be written"):
        write_file(tmp_path / "file" / "inner", b"x")


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), storage_errors(tmp_path):
        raise KeyError("not about storage")


def test_a_folder_takes_its_place_when_it_is_full(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "one"
    with whole_folder(place) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "data").write_bytes(b"1")
        (folder / "manifest.json").write_bytes(b"{}")
        assert not place.exists()
    assert entries(place) == ["inner", "manifest.json"]
    assert entries(place.parent) == ["one"]


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "one"
    for name in ("old", "new"):
        with whole_folder(place) as folder:
            (folder / name).write_bytes(b"")
    assert entries(place) == ["new"]
    assert entries(tmp_path) == ["one"]


def test_a_failing_body_leaves_the_old_folder(tmp_path: Path) -> None:
    place = tmp_path / "one"
    with whole_folder(place) as folder:
        (folder / "old").write_bytes(b"")

    def fill_half() -> None:
        with whole_folder(place) as folder:
            (folder / "new").write_bytes(b"")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fill_half()
    assert entries(place) == ["old"]
    assert entries(tmp_path) == ["one"]


WRITER = """
    import sys
    from pathlib import Path
    from fine_tuning.storage.atomic import whole_folder, write_file

    folder = Path(sys.argv[1])
    for turn in range(1_000_000):
        letter = b"ab"[turn % 2 : turn % 2 + 1]
        write_file(folder / "file", letter * 300_000)
        with whole_folder(folder / "run") as inside:
            for name in ("one", "two", "manifest"):
                (inside / name).write_bytes(letter * 100_000)
        if turn == 0:
            print("ready", flush=True)
"""


def test_a_kill_at_any_moment_leaves_one_content_or_the_other(tmp_path: Path) -> None:
    for delay_s in (0.0, 0.003, 0.011, 0.017, 0.029):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delay_s)
            writer.kill()
        content = (tmp_path / "file").read_bytes()
        assert content in {b"a" * 300_000, b"b" * 300_000}
        run = tmp_path / "run"
        if run.exists():
            held = {path.name: path.read_bytes() for path in run.iterdir()}
            assert sorted(held) == ["manifest", "one", "two"]
            assert len(set(held.values())) == 1
