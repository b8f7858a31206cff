"""Where a running Ollama keeps its models, asked of itself: places need not be guessed then.

Its description of a model names the file of the weights (``FROM /…/blobs/sha256-…``). That folder
may be another user's, a container's, or on another machine: then it is named and cannot be read.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from fine_tuning.core.errors import ConfigError, FineTuningError
from fine_tuning.runtimes.ollama_host import DEFAULT_URL, server_address
from fine_tuning.runtimes.ollama_store import OllamaName

CONNECT_TIMEOUT_S = 1.0
FRESH_S = 2.0
"""So long an answer counts: listing models asks for the folder once, not for each of them."""
ASKING_S = 60.0
MAX_ASKED = 5
"""Models asked for their file; of those that run elsewhere a server names none."""
_FROM = re.compile(
    r'^FROM\s+"?([^"\n]*?)[\\/]+blobs[\\/]+sha256[-:][0-9a-f]{64}"?\s*$', re.MULTILINE | re.I
)
_answers: dict[str, tuple[float, ServerStore | None]] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStore:
    """The store of a server that answers.

    Attributes:
        url: Where the server listens.
        names: The models it has.
        told: The folder as the server names it; "" when it names none.
        root: That folder on this machine, perhaps unreadable; None when it is not here.
    """

    url: str
    names: tuple[str, ...]
    told: str
    root: Path | None

    def has(self, name: OllamaName) -> bool:
        """Tell whether the server has a model."""
        return any(name.key == known.key for known in _parsed(self.names))


def server_store(setting: str = DEFAULT_URL) -> ServerStore | None:
    """Ask the server of a setting where it keeps its models.

    Args:
        setting: ``deployment.ollama_base_url``; at its default ``OLLAMA_HOST`` decides.

    Returns:
        None when no server answers, or it answers with errors.
    """
    try:
        url = server_address(setting)
    except ConfigError:
        return None
    now_s = time.monotonic()
    with _lock:
        until_s, known = _answers.get(url, (0.0, None))
        if now_s < until_s:
            return known
        # A server of ours that asks itself while it answers gets this, and does not ask for ever.
        _answers[url] = (now_s + ASKING_S, known)
    found = _asked(url)
    with _lock:
        _answers[url] = (time.monotonic() + FRESH_S, found)
    return found


def _asked(url: str) -> ServerStore | None:
    from fine_tuning.runtimes.ollama_client import OllamaClient  # noqa: PLC0415 - httpx is slow to load

    try:
        with closing(OllamaClient(url, connect_timeout_s=CONNECT_TIMEOUT_S)) as client:
            rows: list[dict[str, Any]] = client.get("/api/tags").get("models") or []
            local = [str(row.get("name")) for row in rows if not row.get("remote_host")]
            told = ""
            for name in local[:MAX_ASKED]:
                shown = client.post("/api/show", {"model": name, "name": name})
                match = _FROM.search(str(shown.get("modelfile") or ""))
                if match:
                    told = match[1]
                    break
    except (FineTuningError, AttributeError):  # no Ollama, or something else that answers
        return None
    names = tuple(str(row.get("name")) for row in rows)
    return ServerStore(url=url, names=names, told=told, root=_here(told) if told else None)


def _here(told: str) -> Path | None:
    """Return a server's folder on this machine; a Windows server's under WSL's mount of it."""
    windows = PureWindowsPath(told)
    candidates = [Path(told)]
    if windows.drive:
        drive = windows.drive.rstrip(":").lower()
        candidates = [Path(told), Path("/mnt", drive, *windows.parts[1:])]
    for folder in candidates:
        try:
            if (folder / "blobs").is_dir():
                return folder
        except PermissionError:
            return folder  # it is here, and another user's
        except OSError:
            continue
    return None


def _parsed(names: tuple[str, ...]) -> Iterator[OllamaName]:
    for name in names:
        try:
            yield OllamaName.parse(name)
        except FineTuningError:
            continue
