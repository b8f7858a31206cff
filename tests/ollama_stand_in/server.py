"""A strict Ollama: the real interface over the real store layout, generating through llama.cpp.

    with StandIn(folder, generation="0.33.0", faults=Faults()) as ollama:
        ollama.add_model("small:latest", model_path())
        client = OllamaClient(ollama.url)

``generation`` is a key of ``generations.GENERATIONS``, which says where the behaviour comes from;
two of them are held to recordings of real servers (tests/recordings). ``faults`` may be changed
while it runs.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

from fine_tuning.core.closing import Closing
from fine_tuning.runtimes.ollama_store import DIGEST
from tests.ollama_stand_in.addresses import is_allowed_host, is_allowed_origin, url_of
from tests.ollama_stand_in.create import Creation, check_request
from tests.ollama_stand_in.embeddings import Embeddings
from tests.ollama_stand_in.generations import GENERATIONS, Faults
from tests.ollama_stand_in.http_messages import HttpMessages
from tests.ollama_stand_in.openai import (
    Answers,
    asked_chat,
    embedding_list,
    failure,
    model_row,
)
from tests.ollama_stand_in.replies import Replies
from tests.ollama_stand_in.requests import DEFAULT_KEEP_S, RefusedError
from tests.ollama_stand_in.runner import Runner
from tests.ollama_stand_in.show import listed, model_size, running, shown
from tests.ollama_stand_in.store import Store, Stored, parse_name

NOT_ALLOWED = b"405 method not allowed"


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
        self,
        folder: Path,
        *,
        generation: str = "0.33.0",
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.generation = GENERATIONS[generation]
        self.faults = faults or Faults()
        self.root = folder / "models"
        self.store = Store(self.root, self.generation.layout)
        self.runner = Runner(self.store, self.generation, self.faults, folder / "scratch")
        self.replies = Replies(self.store, self.generation, self.faults, self.runner)
        self.embeddings = Embeddings(self.generation, self.runner)
        self.requests: list[tuple[str, str]] = []
        self.uploads: list[str] = []
        self.watch: Callable[[str, int], None] | None = None
        self.host = host
        self._http = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        self._http.stand_in = self
        self.url = url_of(host, self._http.server_port)
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
        config = {"model_format": "gguf", "model_family": "llama", "file_type": "Q4_1",
                  "model_type": model_size(path)}  # fmt: skip
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


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(HttpMessages):
    @property
    def own(self) -> StandIn:
        return cast("_Server", self.server).stand_in

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.own.requests.append((self.command, path))
        number = len(self.own.requests)
        time.sleep(self.own.faults.slow_s)
        self._watched("before", number)
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                if self.own.faults.break_on and path.startswith(self.own.faults.break_on):
                    raise BrokenError  # noqa: TRY301 - handled with those of the routes
                origin = self.headers.get("Origin", "")
                is_known = is_allowed_host(self.own.host, self.headers.get("Host", ""))
                if not is_known or not is_allowed_origin(origin):
                    self._send(403, b"")
                elif origin and self.command == "OPTIONS":
                    self._send(204, b"")
                else:
                    self._route(path)
            except RefusedError as refusal:
                error = {"error": refusal.message}
                self._send_json(
                    refusal.status, failure(path, refusal) if path.startswith("/v1/") else error
                )
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
        if path.startswith("/v1/models/") and self.command == "GET":
            self._v1_model(path.removeprefix("/v1/models/"))
            return
        routes: dict[str, tuple[str, Callable[[], None]]] = {
            "/": ("GET HEAD", lambda: self._send(200, b"Ollama is running")),
            "/api/version": ("GET HEAD", self._version),
            "/api/tags": ("GET HEAD", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/create": ("POST", self._create),
            "/api/copy": ("POST", self._copy),
            "/api/delete": ("DELETE", self._delete),
            "/api/chat": ("POST", lambda: self._reply(chat=True)),
            "/api/generate": ("POST", lambda: self._reply(chat=False)),
            "/api/embed": ("POST", self._embed),
            "/api/embeddings": ("POST", self._embeddings),
            "/v1/models": ("GET", self._v1_models),
            "/v1/embeddings": ("POST", self._v1_embeddings),
            "/v1/completions": ("POST", lambda: self._v1_reply(path, chat=False)),
            **{
                dialect: ("POST", lambda: self._v1_reply(path, chat=True))
                for dialect in ("/v1/chat/completions", "/v1/responses", "/v1/messages")
            },
        }
        if path not in routes:
            self._send(404, b"404 page not found")
            return
        methods, handler = routes[path]
        if self.command not in methods.split():
            self._send(405, NOT_ALLOWED, "text/plain")
            return
        handler()

    # Routes

    def _version(self) -> None:
        self._send_json(200, {"version": self.own.generation.version})

    def _tags(self) -> None:
        models = sorted(self.own.store.all(), key=lambda stored: -stored.modified_s)
        can, generation = self.own.runner.capabilities, self.own.generation
        self._send_json(200, {"models": [listed(one, generation, can(one)) for one in models]})

    def _ps(self) -> None:
        until_s, generation = time.time() + DEFAULT_KEEP_S, self.own.generation
        loaded = self.own.runner.loaded()
        rows = {one.name: running(one, generation, until_s) for one in loaded}
        self._send_json(200, {"models": list(rows.values())})

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

    def _existing(
        self, text: object, *, empty: str = "model is required", whole: bool = False
    ) -> Stored:
        """Return a model of the store; ``whole`` names one that is not there with its tag."""
        if not text:
            raise RefusedError(400, empty)
        name = parse_name(text)
        if name is None:
            raise RefusedError(400, "invalid model name")
        stored = self.own.store.find(name)
        if stored is None:
            told = str(name) if whole and self.own.generation.native else text
            raise RefusedError(404, f"model '{told}' not found")
        return stored

    def _show(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model") or request.get("name"), whole=True)
        can = self.own.runner.capabilities(stored)
        answer = shown(stored, self.own.generation, self.own.faults, can, request)
        self._send_json(200, answer)

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
            raise RefusedError(400, f"source {json.dumps(source or '')} is invalid")
        if to_name is None:
            raise RefusedError(400, f"destination {json.dumps(destination or '')} is invalid")
        stored = self.own.store.find(from_name)
        if stored is None:
            raise RefusedError(404, f"model {json.dumps(source)} not found")
        self.own.store.copy(stored, to_name)
        self._send(200, b"")

    def _delete(self) -> None:
        request = self._body()
        stored = self._existing(
            request.get("model") or request.get("name"), empty='name "" is invalid'
        )
        self.own.runner.unload(stored)
        self.own.store.delete(stored)
        self._send(200, b"")

    def _reply(self, *, chat: bool) -> None:
        request = self._body()
        stored = self._existing(request.get("model"))
        lines = self.own.replies.lines(stored, request, chat=chat)
        if request.get("stream") is False or request.get("_debug_render_only"):
            self._send_json(200, self.own.replies.joined(lines, chat=chat))
            return
        self._stream(self._breaking(lines))

    def _embed(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model"))
        self._send_json(200, self.own.embeddings.embed(stored, request))

    def _embeddings(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model"))
        self._send_json(200, self.own.embeddings.embeddings(stored, request))

    def _v1_models(self) -> None:
        models = sorted(self.own.store.all(), key=lambda stored: -stored.modified_s)
        rows = [model_row(stored.name, stored.modified_s) for stored in models]
        self._send_json(200, {"object": "list", "data": rows})

    def _v1_model(self, name: str) -> None:
        stored = self._existing(name, whole=True)
        self._send_json(200, model_row(stored.name, stored.modified_s))

    def _v1_embeddings(self) -> None:
        request = self._body()
        stored = self._existing(request.get("model"))
        answer = self.own.embeddings.embed(stored, request)
        self._send_json(200, embedding_list(request, answer))

    def _v1_reply(self, path: str, *, chat: bool) -> None:
        request = self._body()
        asked = asked_chat(path, request)
        stored = self._existing(asked["model"])
        answers = Answers(self.own.generation, path, request)
        lines = self.own.replies.lines(stored, asked, chat=chat)
        if request.get("stream"):
            self._stream(answers.events(self._breaking(lines)), as_events=True)
            return
        self._send_json(200, answers.whole(self.own.replies.joined(lines, chat=chat)))

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
