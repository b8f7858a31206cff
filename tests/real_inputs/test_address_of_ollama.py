"""Where Ollama listens and keeps its models, as people set it: every spelling is one server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apsw
import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import ConfigError, ModelNotFoundError, StorageError
from fine_tuning.model_management.alias_history import AliasHistory, all_aliases
from fine_tuning.model_management.registry_schema import APPLICATION_ID, MIGRATIONS
from fine_tuning.runtimes import server_store as asking
from fine_tuning.runtimes.base_model import list_base_models, resolve_base_model
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_host import address_source, ollama_url, same_server
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.runtimes.server_store import server_store
from fine_tuning.workbench.base_models import BaseModels
from tests.model_management.registered import ALIAS, point, register, registry
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.tiny_chat import write_tiny_chat

pytestmark = pytest.mark.real_input("address of Ollama")
SPELLINGS = (
    ":{port}",
    "127.0.0.1:{port}",
    "localhost:{port}",
    "0.0.0.0:{port}",
    "http://127.0.0.1:{port}",
    "http://localhost:{port}/",
    "HTTP://LOCALHOST:{port}",
    "  '127.0.0.1:{port}' ",
    '"http://0.0.0.0:{port}/"',
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "ollama", generation="0.33.0") as stand_in:
        stand_in.add_model("tiny:latest", write_tiny_chat(tmp_path / "tiny.gguf"), system="Hm.")
        yield stand_in


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_reaches_the_server_and_its_store(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", spelling.format(port=server.url.rpartition(":")[2]))
    runtime = OllamaRuntime(OllamaClient())
    assert runtime.name == f"ollama {server.url.replace('127.0.0.1', 'localhost')}"
    assert [info.name for info in runtime.list()] == ["tiny:latest"]
    assert resolve_base_model("tiny").path.is_relative_to(server.root)
    assert "tiny:latest" in [model.name for model in list_base_models()]
    assert BaseModels(Settings()).find("tiny").system == "Hm."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://box.example/ollama/", "https://BOX.example:443/ollama", True),
        ("http://box.example", "box.example:80", True),
        ("box.example", "http://box.example", False),  # 11434 and 80
        ("[::]:11434", "http://localhost:11434", True),
        ("127.0.0.2", "", True),
        ("https://box.example/a", "https://box.example/b", False),
        ("192.168.1.7", "http://192.168.1.7:11434/", True),
    ],
)
def test_two_spellings_are_one_server(one: str, other: str, *, same: bool) -> None:
    assert same_server(one, other) is same


def test_the_setting_counts_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", ":9999")
    assert OllamaClient().url == "http://localhost:9999"
    assert OllamaClient("http://box:1").url == "http://box:1"
    assert address_source() == "OLLAMA_HOST"
    assert address_source("http://box:1") == "deployment.ollama_base_url"
    monkeypatch.setenv("OLLAMA_HOST", "")
    assert address_source() == "Ollama's default"
    with pytest.raises(ConfigError, match="OLLAMA_HOST"):
        ollama_url("ftp://box")


class Elsewhere(BaseHTTPRequestHandler):
    """Answers as an Ollama whose files are in a container, or on another machine."""

    folder = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def do_GET(self) -> None:
        self.answer({"models": [{"name": "tiny:latest"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        slash = "\\" if "\\" in self.folder else "/"
        path = slash.join((self.folder, "blobs", f"sha256-{'a' * 64}"))
        self.answer({"modelfile": f"# comment\nFROM {path}\nTEMPLATE x\n"})

    def answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.mark.parametrize(
    "folder",
    ["/root/.ollama/models", "/var/lib/ollama/models", r"C:\Users\ann\.ollama\models"],
)
def test_a_store_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    handler = type("Handler", (Elsewhere,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("OLLAMA_HOST", f":{server.server_port}")
        try:
            with pytest.raises(StorageError, match="not on this machine") as refused:
                resolve_base_model("tiny")
            with pytest.raises(ModelNotFoundError):
                resolve_base_model("nobody-has-this")
        finally:
            server.shutdown()
            thread.join()
    assert folder in refused.value.message
    assert "OLLAMA_MODELS" in (refused.value.next_command or "")


def test_the_servers_own_store_counts_before_the_users(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StandIn(tmp_path / "mine") as mine:  # ended before it is looked at: a store alone
        mine.add_model(
            "tiny:latest", write_tiny_chat(tmp_path / "mine.gguf", seed=2), system="Mine."
        )
        mine.add_model("other:latest", write_tiny_chat(tmp_path / "mine.gguf", seed=2))
    monkeypatch.setenv("OLLAMA_MODELS", str(mine.root))
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert resolve_base_model("tiny").system == "Hm."
    assert resolve_base_model("other").path.is_relative_to(mine.root)
    names = [model.name for model in list_base_models()]
    assert sorted(names) == ["embedded", "other:latest", "tiny:latest"]


def test_what_is_no_ollama_or_does_not_answer_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert server_store() is None
    assert "embedded" in [model.name for model in list_base_models()]
    assert server_store("gopher://x") is None
    with StandIn(tmp_path / "empty") as empty:
        found = server_store(empty.url)
        assert found is not None
        assert (found.names, found.told, found.root) == ((), "", None)
    monkeypatch.setattr(asking, "FRESH_S", 0.0)
    assert server_store(empty.url) is not None  # asked a moment ago


OLD_SPELLINGS = {
    "ollama http://127.0.0.1:11434": "ollama http://localhost:11434",
    "ollama http://localhost:11434/": "ollama http://localhost:11434",
    "ollama http://Box.example": "ollama http://box.example:80",
    "ollama https://box.example/ollama/": "ollama https://box.example:443/ollama",
    "ollama http://box:8080/a": "ollama http://box:8080/a",
    "embedded": "embedded",
}


@pytest.mark.parametrize("old", OLD_SPELLINGS)
def test_a_registry_with_another_spelling_is_brought_to_the_one(tmp_path: Path, old: str) -> None:
    version = register(tmp_path, "run1")
    books = registry(tmp_path)
    books.deployments.record(version.name, old, "fine_tuned_support:1", digest="d1")
    point(AliasHistory(books, old), version.name)
    undo_migration(books.folder / "registry.db")
    books = registry(tmp_path)
    new = OLD_SPELLINGS[old]
    assert books.find(version.name).deployed_on(new) is not None
    assert [one.runtime for one in all_aliases(books)] == [new]
    current = AliasHistory(books, new).current(ALIAS)
    assert current is not None
    assert current.version == version.name
    with books.database.reading() as connection:
        owned = connection.execute("SELECT runtime, name FROM owned_name ORDER BY name").fetchall()
    assert owned == [(new, "fine_tuned_support:1"), (new, ALIAS)]


def test_two_spellings_in_one_registry_become_one(tmp_path: Path) -> None:
    names = [register(tmp_path, run).name for run in ("run1", "run2")]
    books = registry(tmp_path)
    spellings = ("ollama http://127.0.0.1:11434", "ollama http://localhost:11434")
    for spelling in spellings:
        for name in names:
            books.deployments.record(name, spelling, f"fine_tuned_{name}", digest=spelling)
        point(AliasHistory(books, spelling), names[0])
    point(AliasHistory(books, spellings[0]), names[1])
    undo_migration(books.folder / "registry.db")
    books = registry(tmp_path)
    (alias,) = all_aliases(books)
    assert (alias.runtime, alias.version) == (spellings[1], names[1])
    states = [one.state for one in books.find(names[0]).deployments]
    assert states == ["retired", "active"]


def undo_migration(path: Path) -> None:
    """Give a registry the form it had before it knew who owns which name."""
    assert len(MIGRATIONS) >= 3
    connection = apsw.Connection(str(path))
    connection.execute("DROP TABLE owned_name; DROP TABLE workspace;").fetchall()
    connection.pragma("user_version", 2)
    assert connection.pragma("application_id") == APPLICATION_ID
    connection.close()
