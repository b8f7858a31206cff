"""Requests that are wrong, large, or meant badly: a status and one sentence in JSON, every time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fine_tuning.core.errors import ConfigError
from fine_tuning.runtimes.serving.listening import is_loopback, listen
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.token_file import read_token
from tests.runtimes.serving.conftest import Served, open_served

TOKEN = "a-token-of-some-length"  # noqa: S105 - of these tests only
CHAT = {"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": False}


def sentence(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    text = error if isinstance(error, str) else error["message"]
    assert text
    assert "Traceback" not in text
    return str(text)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", b"{", 400, "not JSON"),
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"[]", 400, "valid dictionary"),
        ("/api/chat", b"\xff\xfe{}", 400, "not JSON"),
        ("/api/chat", b"[" * 100_000, 400, "not JSON"),
        ("/api/chat", {**CHAT, "model": 7}, 400, "'model'"),
        ("/api/chat", {**CHAT, "options": {"temperature": "hot"}}, 500, '"temperature" must be of'),
        ("/api/chat", {**CHAT, "options": {"stop": 7}}, 500, '"stop" must be of type array'),
        ("/api/chat", {**CHAT, "options": 7}, 400, "'options'"),
        ("/api/chat", {**CHAT, "keep_alive": "soon"}, 400, "invalid duration"),
        ("/api/chat", {**CHAT, "think": True}, 400, "does not support thinking"),
        ("/api/chat", {**CHAT, "messages": "hello"}, 400, "'messages'"),
        ("/api/chat", {**CHAT, "messages": [{"role": "user", "images": ["aa"]}]}, 400, "images"),
        ("/api/chat", {**CHAT, "messages": [{"role": "user", "content": 3}]}, 400, "content"),
        ("/api/chat", {**CHAT, "top_logprobs": 21}, 400, "top_logprobs"),
        ("/api/chat", {**CHAT, "format": "xml"}, 400, "format"),
        ("/api/chat", {**CHAT, "model": "../../etc/passwd"}, 400, "invalid model"),
        ("/api/chat", {**CHAT, "model": "a\x00b"}, 400, "invalid model"),
        ("/api/chat", {**CHAT, "model": "x" * 501}, 400, "model"),
        ("/api/generate", {"model": "/etc/passwd", "prompt": "x"}, 404, "not found"),
        ("/api/generate", {"model": "base", "prompt": "x", "template": "{{if}}"}, 400, "template"),
        ("/api/generate", {"model": "base", "prompt": "x", "suffix": "y"}, 400, "insert"),
        ("/api/show", {"model": "..%2f..%2fetc"}, 400, "invalid model"),
        ("/api/show", {}, 400, "names no model"),
        ("/api/embed", {"model": "base", "input": [7]}, 400, "input"),
        ("/api/embed", {"model": "base", "input": "owl " * 3000, "truncate": False}, 400, "length"),
        ("/api/create", {"model": "../../x", "from": "base"}, 400, "invalid model name"),
        ("/api/create", {"model": "x", "from": "/etc/hosts.gguf"}, 500, "not exist"),
        ("/api/create", {"model": "x", "files": {"../a": "sha256:" + "0" * 64}}, 400, "relative"),
        ("/api/create", {"model": "x", "files": {"a": "sha256:.."}}, 400, "digest"),
        ("/api/push", {"model": "base"}, 501, "loads nothing up"),
        ("/api/copy", {"source": "base", "destination": "../x"}, 400, "not a model name"),
        ("/v1/chat/completions", {**CHAT, "tools": {}}, 400, "'tools'"),
        ("/v1/completions", b"nonsense", 400, "not JSON"),
        ("/v1/embeddings", {"model": "base", "input": ""}, 400, "empty"),
        ("/nowhere", b"{}", 404, "/nowhere"),
        ("/api/tags", b"{}", 405, "POST"),
        ("/api/blobs/sha256:xyz", b"x", 400, "digest"),
        ("/api/blobs/sha256:" + "0" * 64, b"x", 400, "digest mismatch"),
    ],
)  # fmt: skip
def test_wrong_requests_get_one_sentence(
    served: Served, path: str, body: Any, status: int, words: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.http.post(path, content=content)
    assert words in sentence(answer)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"


def test_a_body_of_ten_megabytes_is_refused_and_the_server_goes_on(served: Served) -> None:
    body = {**CHAT, "messages": [{"role": "user", "content": "x" * 10_000_000}]}
    for path in ("/api/chat", "/v1/chat/completions"):
        answer = served.http.post(path, json=body)
        assert answer.status_code == 413
        assert "bytes" in sentence(answer)
    assert served.chat("base", "Hello")["message"]["content"]


def test_nothing_is_left_of_refused_uploads(served: Served) -> None:
    served.http.post("/api/blobs/sha256:" + "1" * 64, content=b"x" * 100_000)
    assert not list(served.catalog.blobs.glob("*"))
    assert not list(served.catalog.blobs.glob(".*"))


def test_what_is_no_http_does_no_harm(served: Served) -> None:
    place = urlsplit(served.url)
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 70_000):
        with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
            raw.sendall(data)
            raw.recv(100)
    assert served.http.get("/api/version").status_code == 200


def test_pages_from_elsewhere_may_not_ask(served: Served) -> None:
    for headers in (
        {"Host": "evil.example:11434"},
        {"Host": "[bad"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ):
        answer = served.http.get("/api/tags", headers=headers)
        assert answer.status_code == 403, headers
        assert "access-control-allow-origin" not in answer.headers
        assert ("serving.hosts" if "Host" in headers else "serving.origins") in (
            answer.headers["x-reason"]
        )
    local = served.http.get("/api/tags", headers={"Origin": "http://localhost:8501"})
    assert local.headers["access-control-allow-origin"] == "http://localhost:8501"


@pytest.fixture(scope="module")
def guarded(models: Path) -> Iterator[Served]:
    yield from open_served(models, PoolLimits(parallel=1, context_tokens=256, threads=1), TOKEN)


def test_a_token_is_asked_of_every_request(guarded: Served) -> None:
    assert guarded.http.get("/api/tags").status_code == 200
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"):
        for path in ("/", "/api/tags", "/v1/models", "/nowhere"):
            headers = {"Authorization": given.encode()} if given else {}
            answer = httpx.get(guarded.url + path, headers=headers, trust_env=False)  # type: ignore[arg-type]
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text


def test_tokens_are_made_and_kept_secret(tmp_path: Path) -> None:
    path = tmp_path / "home" / "serve.token"
    token = read_token(path)
    assert len(token) >= 32
    assert path.stat().st_mode & 0o077 == 0
    assert read_token(path) == token
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        read_token(path)
    path.chmod(0o600)
    path.write_text("short\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no token"):
        read_token(path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False),  # noqa: S104 - not bound
     ("::", False), ("192.168.1.4", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_told_from_other_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_taken_port_is_said(served: Served) -> None:
    port = urlsplit(served.url).port or 0
    with pytest.raises(Exception, match="another server, perhaps Ollama, has it"):
        listen("127.0.0.1", port)
