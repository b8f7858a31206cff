"""Servers over one folder of models say where they answer, so that a switch can warm them up.

    <folder>/.servers/<pid>.json   address, token's file, and when the process began

A file whose process is gone says nothing, and is removed by whoever finds it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.runtimes.token_file import read_token
from fine_tuning.storage.atomic import storage_errors, write_file

SERVERS = ".servers"
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""A server answers at once when it is there; loading a model may take it minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A server's process and address; ``token_file`` "" when it asks for none."""

    pid: int
    began_s: float
    url: str
    token_file: str

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote it is the one of that number today."""
        try:
            return psutil.Process(self.pid).create_time() == self.began_s
        except psutil.Error:
            return False


@contextmanager
def announced(folder: Path, url: str, token_file: Path | None) -> Iterator[None]:
    """Tell, as long as the context lasts, that this process serves a folder's models.

    Raises:
        StorageError: if it cannot be written.
    """
    own = Announcement(
        pid=os.getpid(),
        began_s=psutil.Process().create_time(),
        url=url,
        token_file=str(token_file or ""),
    )
    path = folder / SERVERS / f"{own.pid}.json"
    write_file(path, json.dumps(asdict(own)).encode())
    try:
        yield
    finally:
        with storage_errors(path):
            path.unlink(missing_ok=True)


def load_on_servers(folder: Path, model: str) -> int:
    """Have every server over a folder load a model; return how many did.

    Raises:
        RuntimeFailedError: if one refuses.
        StorageError: if a server's token cannot be read.
    """
    count = 0
    for server in _servers(folder):
        token = read_token(Path(server.token_file)) if server.token_file else ""
        try:
            answer = httpx.post(
                f"{server.url}/api/generate",
                json={"model": model, "stream": False},
                headers={"Authorization": f"Bearer {token}"} if token else None,
                timeout=TIMEOUT,
                trust_env=False,
            )
        except httpx.ConnectError:
            continue  # it listens no longer, and is about to end
        except httpx.HTTPError as error:
            raise RuntimeFailedError(
                f"the server at {server.url} did not load {model!r}: {error}"
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise RuntimeFailedError(
                f"the server at {server.url} did not load {model!r}: {answer.text.strip()[:200]}",
                next_command="stop it, and start it again: fine-tuning serve",
            )
        count += 1
    return count


def _servers(folder: Path) -> Iterator[Announcement]:
    for path in sorted((folder / SERVERS).glob("*.json")):
        try:
            server = Announcement(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            continue  # being written or removed
        if server.is_alive:
            yield server
        else:
            path.unlink(missing_ok=True)
