"""Starts and stops the HTTP server: sockets, tokens, Ctrl-C, and clients that send nothing."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import secrets
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from fine_tuning.core.errors import ConfigError, RuntimeUnavailableError, StorageError
from fine_tuning.storage.atomic import storage_errors

HEADERS_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 30
SHUTDOWN_S = 5
BACKLOG = 512
TOKEN_BYTES = 32
MIN_TOKEN_CHARACTERS = 16
STARTED_TIMEOUT_S = 30.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on a client whose first request does not arrive."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.loop.call_later(HEADERS_TIMEOUT_S, self._hang_up_if_silent)

    def _hang_up_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


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


def _server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=BACKLOG,
    )
    return uvicorn.Server(config)


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer requests until Ctrl-C or a request to terminate; then close all models.

    Raises:
        StorageError: if the server cannot be started.
    """
    server = _server(app)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return  # uvicorn has closed everything, and passes the signal on
    finally:
        listening.close()
    if not server.started:
        raise StorageError("the server did not start; its log says why")


@contextmanager
def serving(app: Starlette, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Answer requests in another thread while the context is open; yields the address.

    Raises:
        RuntimeUnavailableError: if the port is taken, or the server does not start.
    """
    listening = listen(host, port)
    server = _server(app)
    thread = threading.Thread(
        target=_run_quietly, args=(server, listening), name="fine-tuning serve", daemon=True
    )
    thread.start()
    try:
        _wait_for(lambda: server.started or not thread.is_alive())
        if not server.started:
            raise RuntimeUnavailableError("the server did not start; its log says why")
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _run_quietly(server: uvicorn.Server, listening: socket.socket) -> None:
    server.run(sockets=[listening])


def _wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(STARTED_TIMEOUT_S / 0.02)):
        if condition():
            return
        pause.wait(0.02)
