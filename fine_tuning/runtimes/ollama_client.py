"""Ollama over HTTP: requests, lines, blobs, and errors as one sentence each.

Raw HTTP, because versions differ in what they take and the official client knows only the newest
(ollama: server/routes.go, api/types.go). Knows no recipes and keeps no state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fine_tuning.core.errors import (
    DataError,
    ModelNotFoundError,
    RuntimeFailedError,
    RuntimeUnavailableError,
)
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.ports import Progress
from fine_tuning.runtimes.ollama_answers import StreamLine
from fine_tuning.runtimes.ollama_host import DEFAULT_URL, VARIABLE, server_address
from fine_tuning.storage.atomic import storage_errors

CONNECT_TIMEOUT_S = 5.0
QUICK_TIMEOUT_S = 30.0
# Loading a large model from a slow disk, and each pause between two pieces of a reply.
WORK_TIMEOUT_S = 600.0
CHUNK_BYTES = 1 << 20
TOKEN_VARIABLE = "OLLAMA_API_KEY"  # noqa: S105 - a variable's name
START_SERVER = f"ollama serve, or set {VARIABLE} or deployment.ollama_base_url to where it listens"


class OllamaClient:
    """One HTTP client of an Ollama server; safe to share between threads.

    A server that asks for a token gets that of ``OLLAMA_API_KEY``, as from Ollama's own clients.

    Args:
        url: Where the server listens; at its default, ``OLLAMA_HOST`` decides.
        work_timeout_s: The longest silence of a server that works: loads, creates, replies.
        connect_timeout_s: How long to wait for a connection.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        work_timeout_s: float = WORK_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.url = server_address(url)
        self._work = httpx.Timeout(connect_timeout_s, read=work_timeout_s, write=work_timeout_s)
        quick = httpx.Timeout(connect_timeout_s, read=QUICK_TIMEOUT_S, write=QUICK_TIMEOUT_S)
        # A connection each: a kept one may be dead after the minutes between two requests.
        limits = httpx.Limits(max_keepalive_connections=0)
        # trust_env: a proxy of the environment must not see what goes to the user's own server.
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        self._http = httpx.Client(
            base_url=self.url,
            timeout=quick,
            limits=limits,
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"} if token else None,
        )

    def close(self) -> None:
        """Close all connections; calling it again does nothing."""
        self._http.close()

    def version(self) -> str:
        """Return the server's version, such as "0.33.3".

        Raises:
            RuntimeUnavailableError: if no server answers, or it is not Ollama.
            RuntimeFailedError: if it answers with an error.
        """
        answer = self.get("/api/version")
        if not isinstance(answer, Mapping) or not isinstance(answer.get("version"), str):
            raise self._not_ollama()
        return str(answer["version"])

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of a GET; raises as :meth:`post` does."""
        with self._transport_errors():
            return self._json(self._http.get(path))

    def post(self, path: str, body: Mapping[str, object], *, is_work: bool = False) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of a POST, None when it is empty.

        Args:
            path: Where.
            body: What.
            is_work: Wait as long as loading a model may take.

        Raises:
            DataError: if a text is not valid Unicode.
            ModelNotFoundError: if the server has no such model.
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if it answers with an error, too late, or stops half-way.
        """
        timeout = self._work if is_work else httpx.USE_CLIENT_DEFAULT
        with self._transport_errors():
            return self._json(
                self._http.post(path, content=_content(body), headers=_JSON, timeout=timeout)
            )

    def delete(self, path: str, body: Mapping[str, object]) -> None:
        """Send a DELETE; raises as :meth:`post` does."""
        with self._transport_errors():
            self._json(self._http.request("DELETE", path, content=_content(body), headers=_JSON))

    def lines(self, path: str, body: Mapping[str, object]) -> Generator[StreamLine, None, None]:
        """Yield the lines of a streamed answer; closing the generator drops the connection.

        After its first byte Ollama can no longer send a status: an error is then a line of its own.

        Raises:
            FineTuningError: as :meth:`post` raises, at once or half-way.
        """
        with (
            self._transport_errors(),
            self._http.stream(
                "POST", path, content=_content(body), headers=_JSON, timeout=self._work
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                response.read()
                raise self._failure(response)
            for line in response.iter_lines():
                value = self._line(line)
                if "error" in value:
                    raise RuntimeFailedError(f"Ollama at {self.url} reports: {value['error']}")
                yield value

    def _line(self, line: str) -> StreamLine:
        try:
            value: StreamLine | None = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RuntimeFailedError(
                f"Ollama at {self.url} sent {line[:60]!r}, expected a line of JSON"
            )
        return value

    def has_blob(self, digest: str) -> bool:
        """Tell whether the server has a blob, by ``sha256:<64 hex>``.

        Raises:
            FineTuningError: as :meth:`post` raises.
        """
        with self._transport_errors():
            response = self._http.head(f"/api/blobs/{digest}")
        if response.status_code in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            return response.status_code == httpx.codes.OK
        raise self._failure(response)

    def upload(self, path: Path, progress: Progress | None = None, *, digest: str = "") -> str:
        """Bring a file to the server unless it is there; returns its digest.

        Args:
            path: The file.
            progress: Told in bytes; a file the server has is told as done at once.
            digest: The file's digest when it is known, else the file is read once more.

        Raises:
            StorageError: if the file cannot be read.
            FineTuningError: as :meth:`post` raises.
        """
        with storage_errors(path):
            digest = digest or file_sha256(path)
            size = path.stat().st_size
        if not self.has_blob(digest):
            headers = {"Content-Length": str(size)}
            content = _chunks(path, size, progress)
            with self._transport_errors(), storage_errors(path):
                response = self._http.post(
                    f"/api/blobs/{digest}", content=content, headers=headers, timeout=self._work
                )
            if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
                raise self._failure(response)
        if progress:
            progress("uploading", size, size)
        return digest

    def _json(self, response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
        if response.status_code != httpx.codes.OK:
            raise self._failure(response)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise self._not_ollama() from error

    def _not_ollama(self) -> RuntimeUnavailableError:
        return RuntimeUnavailableError(
            f"something answers at {self.url} that is not Ollama", next_command=START_SERVER
        )

    def _failure(self, response: httpx.Response) -> RuntimeFailedError | ModelNotFoundError:
        try:
            said = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            said = f"HTTP {response.status_code}"
        if response.status_code == httpx.codes.FORBIDDEN:
            return RuntimeFailedError(
                f"Ollama at {self.url} refuses requests under this host name",
                next_command="use http://localhost:11434 as deployment.ollama_base_url",
            )
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return RuntimeFailedError(
                f"Ollama at {self.url} lets nobody in without its token: {said}",
                next_command=f"set the environment variable {TOKEN_VARIABLE} to the token",
            )
        if response.status_code == httpx.codes.NOT_FOUND and "not found" in said:
            return ModelNotFoundError(
                f"Ollama at {self.url} says: {said}", next_command="ollama list"
            )
        return RuntimeFailedError(f"Ollama at {self.url} reports: {said}")

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise RuntimeUnavailableError(
                f"no Ollama server answers at {self.url}: {error}", next_command=START_SERVER
            ) from error
        except httpx.TimeoutException as error:
            raise RuntimeFailedError(
                f"Ollama at {self.url} was silent for too long", next_command="ollama ps"
            ) from error
        except httpx.TransportError as error:
            raise RuntimeFailedError(
                f"Ollama at {self.url} stopped half-way: {error}", next_command="ollama serve"
            ) from error
        except RuntimeError as error:  # httpx: the client was closed
            if "closed" not in str(error):
                raise
            raise RuntimeUnavailableError("this client of Ollama was closed") from error


_JSON = {"Content-Type": "application/json"}


def _content(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"a text holds {error.object[error.start]!a}, half of a surrogate pair, "
            "expected valid Unicode"
        ) from error


def _chunks(path: Path, size: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if progress:
                progress("uploading", min(sent, size), size)
