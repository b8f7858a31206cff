"""Requests read and answers written as bytes: bodies in chunks or whole, JSON, lines, events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.ollama_stand_in.requests import RefusedError, decode
from tests.ollama_stand_in.runner import dumps

CHUNK_BYTES = 1 << 20


class HttpMessages(BaseHTTPRequestHandler):
    """What every route reads and writes with."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def answer(self) -> None:
        """Answer a request of any method."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the base's names

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
        if origin := self.headers.get("Origin"):
            self.send_header("Access-Control-Allow-Origin", origin)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
        self._send(status, dumps(value), "application/json; charset=utf-8")

    def _stream(self, lines: Iterator[Mapping[str, Any]], *, as_events: bool = False) -> None:
        """Send lines as they come. A refusal is a status before the first, a line after it."""
        first = next(lines)
        self._begin, self._end = (b"data: ", b"\n\n") if as_events else (b"", b"\n")
        self.send_response(200)
        self.send_header(
            "Content-Type", "text/event-stream" if as_events else "application/x-ndjson"
        )
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(first)
        try:
            for line in lines:
                self._chunk(line)
        except RefusedError as refusal:
            self._chunk({"error": refusal.message})
        if as_events:
            self._chunk(None)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, line: Mapping[str, Any] | None) -> None:
        data = self._begin + (b"[DONE]" if line is None else dumps(line)) + self._end
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()
