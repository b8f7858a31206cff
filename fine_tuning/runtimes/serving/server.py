"""Starts and stops the HTTP server: Ctrl-C, and clients that send nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from fine_tuning.core.errors import RuntimeUnavailableError, StorageError
from fine_tuning.runtimes.serving.listening import BACKLOG, listen

HEADERS_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 30
SHUTDOWN_S = 5
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
