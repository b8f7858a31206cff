"""Where a server listens, and the token that opens it; knows nothing of HTTP."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
import stat
from pathlib import Path

from fine_tuning.core.errors import ConfigError, RuntimeUnavailableError
from fine_tuning.storage.atomic import storage_errors

BACKLOG = 512
TOKEN_BYTES = 32
MIN_TOKEN_CHARACTERS = 16


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        RuntimeUnavailableError: if the address is taken, not this machine's, or not permitted.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise RuntimeUnavailableError(f"{host!r} is no address: {error.strerror}") from error
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        taken = error.errno == errno.EADDRINUSE
        raise RuntimeUnavailableError(
            f"port {port} of {host} cannot be listened on: "
            + ("another server, perhaps Ollama, has it" if taken else str(error.strerror)),
            next_command=f"fine-tuning serve --port {port + 1}" if taken else "",
        ) from error
    server.setblocking(False)
    return server


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """Read a token, or make one when the file is not there; only its owner may read it.

    Raises:
        StorageError: if it can be neither read nor written.
        ConfigError: if others may read it, or it is too short to keep anyone out.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(file, "w", encoding="ascii") as new:
                new.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"{path} can be read by others (mode {stat.S_IMODE(mode):o}), expected 600",
                next_command=f"chmod 600 {path}",
            )
        token = path.read_text(encoding="utf-8").strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or " " in token:
        raise ConfigError(
            f"{path} holds no token of {MIN_TOKEN_CHARACTERS} or more characters",
            next_command=f"remove {path}, and a new one is made",
        )
    return token
