"""Where Ollama listens, in all the forms its own programs take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.errors import ConfigError
from fine_tuning.runtimes.ollama_host import (
    DEFAULT_URL,
    VARIABLE,
    ollama_url,
    same_server,
    server_address,
    server_identity,
)

pytestmark = pytest.mark.real_input("address of Ollama")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://localhost:11434"), ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://localhost:1234"), ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"), ("box.local:80", "http://box.local:80"),
        (":66000", "http://localhost:11434"), (":-1", "http://localhost:11434"),
        ("[::1]", "http://[::1]:11434"), ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"), ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104
        ("0.0.0.0:1234", "http://127.0.0.1:1234"), ("[::]:1234", "http://[::1]:1234"),
        ("::", "http://[::1]:11434"), (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ("\" 1.2.3.4 \"", "http://1.2.3.4:11434"), ("'1.2.3.4'", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"), ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4:443"), ("HTTP://Box:1", "http://Box:1"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("https://example.com/ollama/", "https://example.com:443/ollama"),
        ("http://localhost:11434/", "http://localhost:11434"),
        ("ollama.com", "https://ollama.com:443"), ("host.docker.internal:11434", "http://host.docker.internal:11434"),
    ],
)  # fmt: skip
def test_every_form(text: str, url: str) -> None:
    assert ollama_url(text) == url


@pytest.mark.parametrize("text", ["ftp://box", "unix:///run/x", "a b", "http://", "ws://x:1"])
def test_what_is_no_address(text: str) -> None:
    if text == "http://":
        assert ollama_url(text) == "http://localhost:80"
        return
    with pytest.raises(ConfigError, match="OLLAMA_HOST is"):
        ollama_url(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:11434", "127.0.0.1"), ("http://localhost:11434/", "0.0.0.0:11434"),
        ("[::1]:11434", "localhost"), ("http://BOX:80", "http://box"), ("127.0.0.2", ""),
        ("https://box", "https://box:443/"),
    ],
)  # fmt: skip
def test_spellings_of_one_server(one: str, other: str) -> None:
    assert same_server(one, other)
    assert server_identity(one) == server_identity(server_identity(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [(":1", ":2"), ("http://box", "box"), ("https://box:1", "http://box:1"), ("a/x", "a/y")],
)
def test_other_servers(one: str, other: str) -> None:
    assert not same_server(one, other)


def test_the_environment_decides_where_no_setting_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_address() == DEFAULT_URL
    monkeypatch.setenv(VARIABLE, "0.0.0.0:9999")
    assert server_address() == server_address("") == "http://127.0.0.1:9999"
    assert server_address("http://127.0.0.1:11434") == "http://127.0.0.1:9999"
    assert server_address("http://box:1") == "http://box:1"


@given(st.text(max_size=40))
def test_every_text_is_an_address_or_refused(text: str) -> None:
    try:
        url = ollama_url(text)
    except ConfigError:
        return
    assert ollama_url(url) == url
    assert server_identity(url).startswith(("http://", "https://"))
