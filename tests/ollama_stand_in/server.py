"""A strict Ollama: the real interface over the real store layout, generating through llama.cpp.

    with StandIn(folder, generation="0.33.0", faults=Faults()) as ollama:
        ollama.add_model("small:latest", model_path())
        client = OllamaClient(ollama.url)

``generation`` is a key of ``generations.GENERATIONS``. ``faults`` may be changed while it runs.
Source: ollama, server/routes.go and server/create.go of each version.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

from fine_tuning.core.closing import Closing
from fine_tuning.runtimes.ollama_store import DIGEST
from tests.ollama_stand_in.create import Creation, check_request
from tests.ollama_stand_in.generations import GENERATIONS, Faults
from tests.ollama_stand_in.replies import Replies
from tests.ollama_stand_in.requests import RefusedError, decode
from tests.ollama_stand_in.runner import Runner, dumps
from tests.ollama_stand_in.show import listed, shown
from tests.ollama_stand_in.store import Store, Stored, parse_name

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
CHUNK_BYTES = 1 << 20


class BrokenError(Exception):
    """The connection ends here, without another byte."""


class StandIn(Closing):
    """The server; a context manager.

    Attributes:
        url: Where it listens.
        root: Its models folder (``OLLAMA_MODELS``).
        requests: (method, path) of everything it was asked, in order.
        uploads: Digests of all blobs that were really sent.
        watch: Called with "before" and "after" each request is worked on, and its number from 1.
    """

    def __init__(
        self, folder: Path, *, generation: str = "0.33.0", faults: Faults | None = None
    ) -> None:
        self.generation = GENERATIONS[generation]
        self.faults = faults or Faults()
        self.root = folder / "models"
        self.store = Store(self.root, self.generation.layout)
        self.runner = Runner(self.store, self.generation, self.faults, folder / "scratch")
        self.replies = Replies(self.store, self.generation, self.faults, self.runner)
        self.requests: list[tuple[str, str]] = []
        self.uploads: list[str] = []
        self.watch: Callable[[str, int], None] | None = None
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.stand_in = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server, as a killed one does: connections break."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self.runner.close()

    def add_model(self, name: str, path: Path, **layers: str) -> None:
        """Put a model into the store as ``ollama pull`` would; layers by kind (template, ...)."""
        parsed = parse_name(name)
        assert parsed is not None
        entries = [("model", self.store.link_blob(path))]
        config = {"model_format": "gguf", "model_family": "llama", "file_type": "Q4_1"}
        for kind, text in layers.items():
            if kind in {"renderer", "parser"}:
                config[kind] = text
            else:
                entries.append((kind, self.store.add_blob(text.encode())))
        self.store.write(parsed, entries, config)

    def names(self) -> set[str]:
        """Return all models' names."""
        return {stored.name for stored in self.store.all()}

    def digest(self, name: str) -> str:
        """Return the manifest digest of a model, "" when there is none."""
        parsed = parse_name(name)
        stored = self.store.find(parsed) if parsed else None
        return stored.digest if stored else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    stand_in: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    @property
    def own(self) -> StandIn:
        return cast("_Server", self.server).stand_in

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the base's names

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.own.requests.append((self.command, path))
        number = len(self.own.requests)
        time.sleep(self.own.faults.slow_s)
        self._watched("before", number)
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                if self.own.faults.break_on and path.startswith(self.own.faults.break_on):
                    raise BrokenError  # noqa: TRY301 - handled with those of the routes
                if self.headers.get("Host", "").rsplit(":", 1)[0] not in LOCAL_HOSTS:
                    self._send(403, b"")
                    return
                self._route(path)
            except RefusedError as refusal:
                self._send_json(refusal.status, {"error": refusal.message})
            except BrokenError:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
        self._watched("after", number)

    def _watched(self, moment: str, number: int) -> None:
        if self.own.watch is not None:
            self.own.watch(moment, number)

    def _route(self, path: str) -> None:
        if path.startswith("/api/blobs/") and self.command in {"HEAD", "POST"}:
            self._blob(path.removeprefix("/api/blobs/"))
            return
        routes = {
            ("GET", "/"): lambda: self._send(200, b"Ollama is running"),
            ("HEAD", "/"): lambda: self._send(200, b""),
            ("GET", "/api/version"): self._version,
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/create"): self._create,
            ("POST", "/api/copy"): self._copy,
            ("DELETE", "/api/delete"): self._delete,
            ("POST", "/api/chat"): lambda: self._reply(chat=True),
            ("POST", "/api/generate"): lambda: self._reply(chat=False),
        }
        handler = routes.get((self.command, path))
        if handler is None:
            self._send(404, b"404 page not found")
            return
        handler()

    # Bodies and answers

    def _read(self, size: int) -> bytes:
        """Read up to ``size`` bytes of the body, plain or chunked."""
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            return self._read_chunk()
        left: int = getattr(self, "_left", int(self.headers.get("Content-Length") or 0))
        data = self.rfile.read(min(size, left))
        self._left = left - len(data) if data else 0
        return data

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _body(self) -> dict[str, Any]:
        data = b""
        while part := self._read(CHUNK_BYTES):
            data += part
        del self.__dict__["_left"]
        return decode(data)

    def _send(self, status: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
        self._send(status, dumps(value), "application/json; charset=utf-8")

    def _stream(self, lines: Iterator[Mapping[str, Any]]) -> None:
        """Send lines as they come. A refusal is a status before the first, a line after it."""
        first = next(lines)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(first)
        try:
            for line in lines:
                self._chunk(line)
        except RefusedError as refusal:
            self._chunk({"error": refusal.message})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, line: Mapping[str, Any]) -> None:
        data = dumps(line) + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    # Routes

    def _version(self) -> None:
        self._send_json(200, {"version": self.own.generation.version})

    def _tags(self) -> None:
        models = sorted(self.own.store.all(), key=lambda stored: -stored.modified_s)
        self._send_json(200, {"models": [listed(stored) for stored in models]})

    def _ps(self) -> None:
        until = datetime.now(UTC).isoformat()
        self._send_json(200, {"models": [
            {"name": item.name, "model": item.name, "size": item.size_bytes, "size_vram": 0,
             "expires_at": until}
            for item in self.own.runner.loaded()
        ]})  # fmt: skip

    def _blob(self, digest: str) -> None:
        if not DIGEST.fullmatch(digest):
            raise RefusedError(400, "invalid digest format")
        digest = digest.replace("-", ":")
        exists = self.own.store.blob(digest).exists()
        if self.command == "HEAD":
            self._send(200 if exists else 404, b"")
            return
        found = self.own.store.receive(self._read, digest)
        self.__dict__.pop("_left", None)
        if exists:
            self._send(200, b"")
            return
        if found != digest:
            raise RefusedError(400, f'digest mismatch, expected "{digest}", got "{found}"')
        self.own.uploads.append(digest)
        self._send(201, b"")

    def _existing(self, text: object) -> Stored:
        name = parse_name(text)
        if name is None:
            raise RefusedError(400, "invalid model name")
        stored = self.own.store.find(name)
        if stored is None:
            raise RefusedError(404, f"model '{text}' not found")
        return stored

    def _show(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model") or request.get("name"))
        can = self.own.runner.capabilities(stored)
        self._send_json(200, shown(stored, self.own.generation, can, request))

    def _create(self) -> None:
        request = self._body()
        name = check_request(self.own.generation, request)

        def work(tell: Any) -> None:
            if self.own.faults.create_error:
                tell("parsing GGUF")
                raise RefusedError(500, self.own.faults.create_error)
            Creation(self.own.store, self.own.generation, tell).run(name, request)

        lines = _told(work)
        if request.get("stream") is False:
            self._send_json(200, list(lines)[-1])
            return
        self._stream(lines)

    def _copy(self) -> None:
        request = self._body()
        source, destination = request.get("source"), request.get("destination")
        from_name, to_name = parse_name(source), parse_name(destination)
        if from_name is None:
            raise RefusedError(400, f"source {json.dumps(source)} is invalid")
        if to_name is None:
            raise RefusedError(400, f"destination {json.dumps(destination)} is invalid")
        stored = self.own.store.find(from_name)
        if stored is None:
            raise RefusedError(404, f"model {json.dumps(source)} not found")
        self.own.store.copy(stored, to_name)
        self._send(200, b"")

    def _delete(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model") or request.get("name"))
        self.own.runner.unload(stored)
        self.own.store.delete(stored)
        self._send(200, b"")

    def _reply(self, *, chat: bool) -> None:
        request = self._body()
        stored = self._existing(request.get("model"))
        lines = self.own.replies.lines(stored, request, chat=chat)
        if request.get("stream") is False or "_debug_render_only" in request:
            self._send_json(200, self.own.replies.joined(lines, chat=chat))
            return
        self._stream(self._breaking(lines))

    def _breaking(self, lines: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for count, line in enumerate(lines):
            if count == self.own.faults.die_after_pieces:
                raise BrokenError
            if count == self.own.faults.error_after_pieces:
                raise RefusedError(500, "an error was encountered while running the model")
            yield line


def _told(work: Any) -> Iterator[Mapping[str, Any]]:
    """Run work and return what it told, then its success, then perhaps its refusal."""
    told: list[Mapping[str, Any]] = []
    try:
        work(lambda status: told.append({"status": status}))
    except RefusedError as refusal:
        if not told:
            raise
        yield from told
        raise RefusedError(refusal.status, refusal.message) from refusal
    yield from told
    yield {"status": "success"}
