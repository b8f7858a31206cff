"""Bodies that clients send and Ollama takes: unknown, empty and null fields, whole floats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("fields of clients")

FILES = sorted((INPUTS / "serve-fields").glob("*.json"))
HI = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "handbook", "messages": HI, "stream": False}
FEW = {"num_predict": 2}
CALL = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "roles in any case": (
        "/api/chat",
        {**CHAT, "options": FEW, "messages": [{"role": "User", "content": "Grüß Gott"}]},
    ),
    "max_tokens -1": (
        "/v1/chat/completions",
        {**CHAT, "max_tokens": -1, "stop": [" "], "user": "u", "n": 1, "store": None},
    ),
    "keep_alive as a number of seconds": ("/api/chat", {**CHAT, "options": FEW, "keep_alive": 300}),
    "keep_alive for ever": ("/api/chat", {**CHAT, "options": FEW, "keep_alive": "-1m"}),
    "keep_alive of two units": ("/api/chat", {**CHAT, "options": FEW, "keep_alive": "1h30m"}),
    "keep_alive as text": ("/api/generate", {"model": "handbook", "keep_alive": "60"}),
    "empty fields": (
        "/api/chat",
        {
            **CHAT, "options": FEW, "format": "", "tools": [], "keep_alive": None, "template": "",
            "system": None, "context": None, "think": False, "name": "",
        },
    ),
    "an option nobody has": (
        "/api/chat",
        {**CHAT, "options": {"num_predict": 2.0, "mirostat": 0, "penalize_newline": True, "x": {}}},
    ),
    "parts of text": (
        "/v1/chat/completions",
        {
            "model": "handbook", "max_completion_tokens": 2, "stream_options": None,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "日本語"}]}],
        },
    ),
    "answers of tools": (
        "/v1/chat/completions",
        {
            "model": "handbook", "max_tokens": 2, "parallel_tool_calls": True, "seed": 7.0,
            "messages": [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
                {"role": "tool", "tool_call_id": "c1", "name": "get", "content": "4807"},
            ],
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models(room=512) as made:
        yield made


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_recorded_bodies_are_answered(client: httpx.Client, name: str) -> None:
    path = "/" + name.partition("__")[0].replace("v1_chat_", "v1/chat/").replace("api_", "api/")
    answer = client.post(path, json=json.loads((INPUTS / "serve-fields" / name).read_text("utf-8")))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", OTHERS)
def test_other_bodies_of_the_kind_are_answered(client: httpx.Client, kind: str) -> None:
    path, body = OTHERS[kind]
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text


def test_what_has_no_effect_is_named_in_the_log(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.post("/api/chat", json={**CHAT, "options": {**FEW, "temprature": 1, "mirostat": 2}})
    assert "temprature, mirostat" in caplog.text
