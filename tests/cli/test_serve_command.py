"""The verb serve: it says where it answers, asks strangers for a token, and stops on Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from fine_tuning.cli.main import main
from fine_tuning.runtimes.announcing import SERVERS


def test_serve_asks_strangers_for_a_token_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fine_tuning", "serve", "--port", "0", "--host", "0.0.0.0"]  # noqa: S104 - with a token
    with subprocess.Popen(
        [*command, "--home", str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        said = ""
        while not (found := re.search(r"interface at http://0\.0\.0\.0:(\d+)", said)):
            line = server.stderr.readline()
            assert line, said
            said += line
        url = f"http://127.0.0.1:{found[1]}"
        # It listens before it answers; a first request waits for that.
        assert httpx.get(f"{url}/api/version", timeout=60, trust_env=False).status_code == 401
        token = (tmp_path / "serve.token").read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {token}"}
        models = httpx.get(f"{url}/api/tags", headers=headers, timeout=60, trust_env=False).json()
        assert "embedded:latest" in {model["name"] for model in models["models"]}
        (announced,) = (tmp_path / "models" / "embedded" / SERVERS).iterdir()
        assert f'"http://127.0.0.1:{found[1]}"' in announced.read_text(encoding="utf-8")
        server.send_signal(signal.SIGINT)
        _, rest = server.communicate(timeout=60)
    assert server.returncode == 0, rest
    assert not announced.exists()
    assert "Stopped." in rest
    assert "Traceback" not in said + rest
    assert token not in said + rest


def test_a_token_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-token-of-some-length\n", encoding="ascii")
    path.chmod(0o644)
    code = main(["serve", "--port", "0", "--home", str(tmp_path), "--token-file", str(path)])
    assert code == 2
