"""Pages of desktop programs, browsers and containers: who may ask, and who may not."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from fine_tuning.runtimes.serving.origins import Visitors
from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("pages and hosts")

TOKEN = "a-token-of-these-tests"  # noqa: S105 - of these tests only
LET_IN = [
    "app://obsidian.md", "file://", "tauri://localhost", "vscode-webview://1a2b",
    "vscode-file://vscode-app", "http://localhost", "https://localhost:5173",
    "http://127.0.0.1:8080", "http://0.0.0.0:3000", "http://[::1]:3000",
    "https://chat.example.com", "https://a.example.org",
]  # fmt: skip
KEPT_OUT = [
    "https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.nip.io",
    "https://notexample.org", "apps://obsidian.md", "http://localhost@evil.example",
]  # fmt: skip
HOSTS = [
    "localhost:21434", "app.localhost", "host.docker.internal:21434", "box.local", "0.0.0.0:21434",
    "127.0.0.1", "[::1]:21434", "192.168.1.7:21434", "box.example.com",
]  # fmt: skip
FOREIGN_HOSTS = ["evil.example:21434", "localhost.evil.example", "internal", "xlocal", "[bad"]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    visitors = Visitors(("https://chat.example.com", "https://*.example.org"), ("box.example.com",))
    with served_models(visitors=visitors) as made:
        yield made


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    with served_models(token=TOKEN) as made:
        yield made


@pytest.mark.parametrize("origin", LET_IN)
def test_pages_that_may_ask(client: httpx.Client, origin: str) -> None:
    answer = client.get("/api/tags", headers={"Origin": origin})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = client.options(
        "/api/chat", headers={**asked, "Access-Control-Request-Headers": "content-type,x-stainless"}
    )
    assert preflight.status_code == 204
    assert "x-stainless" in preflight.headers["access-control-allow-headers"]


@pytest.mark.parametrize("origin", KEPT_OUT)
def test_pages_that_may_not(client: httpx.Client, origin: str) -> None:
    answer = client.get("/api/tags", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", HOSTS)
def test_names_of_this_machine(client: httpx.Client, host: str) -> None:
    assert client.get("/api/tags", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_names_that_were_let_point_here(client: httpx.Client, host: str) -> None:
    assert client.get("/api/tags", headers={"Host": host}).status_code in {400, 403}


def test_ollamas_own_variable_is_read(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = {"Origin": "https://other.example.net"}
    assert client.get("/api/tags", headers=origin).status_code == 403
    monkeypatch.setenv("OLLAMA_ORIGINS", "https://*.example.net, http://x")
    assert client.get("/api/tags", headers=origin).status_code == 200


def test_a_token_lets_pages_of_other_machines_in(guarded: httpx.Client) -> None:
    page = {"Origin": "https://webui.example.com", "Host": "models.example.com"}
    asked = {**page, "Access-Control-Request-Method": "GET"}
    assert guarded.options("/api/tags", headers=asked).status_code == 204
    without = guarded.get("/api/tags", headers=page)
    assert without.status_code == 401
    answer = guarded.get("/api/tags", headers={**page, "Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://webui.example.com"
