"""The command app: loopback needs nothing, elsewhere a password; it starts and stops for real."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from fine_tuning.cli import app_command
from fine_tuning.cli.main import main
from fine_tuning.core.errors import ConfigError, StorageError
from fine_tuning.workbench.app_access import Access

PASSWORD = "correct horse"  # noqa: S105 - of a test
START_S = 60.0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "chatbot.example"])  # noqa: S104
def test_nobody_else_is_let_in_without_a_password(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["app", "--home", str(tmp_path), "--host", host, "--no-browser"])
    assert code == ConfigError.exit_code
    told = capsys.readouterr().err
    assert f"{host} is not this computer" in " ".join(told.split())
    assert "fine-tuning app --set-password" in told


def test_a_password_is_kept_as_a_salted_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    assert main(["app", "--home", str(tmp_path), "--set-password"]) == 0
    mine = Access(tmp_path)
    assert mine.has_password
    assert mine.check_password(PASSWORD)
    assert not mine.check_password(PASSWORD.upper())
    assert not mine.check_password("")
    mine.require_password("0.0.0.0")  # noqa: S104 - that is the question
    (file,) = tmp_path.iterdir()
    assert PASSWORD.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    first = file.read_bytes()
    mine.set_password(PASSWORD)
    assert file.read_bytes() != first, "another salt"
    file.write_bytes(b"{}")
    with pytest.raises(StorageError, match="does not hold"):
        mine.check_password(PASSWORD)


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 8"):
        Access(tmp_path).set_password("seven77")
    assert not Access(tmp_path).has_password


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_none(tmp_path: Path, host: str) -> None:
    Access(tmp_path).require_password(host)


def test_what_it_runs_lies_where_it_looks() -> None:
    assert app_command.PAGES.is_file()


def test_it_answers_and_stops_with_its_child(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fine_tuning", "app", "--home", str(tmp_path)]
    child = subprocess.Popen(
        [*command, "--port", str(port), "--no-browser"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        _wait_for_answer(f"http://127.0.0.1:{port}/_stcore/health")
    finally:
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=START_S)
    assert child.returncode == 0
    assert "Stopped." in told
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/_stcore/health", trust_env=False)


def _wait_for_answer(url: str) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < until_s
            time.sleep(0.1)
        else:
            return
