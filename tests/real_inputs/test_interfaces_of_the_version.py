"""/api/version names interfaces that clients then use: all of them answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("interfaces of the version")

TOOL = {"name": "get", "description": "d", "parameters": {"type": "object", "properties": {}}}
RESPONSES: list[dict[str, Any]] = [
    {"input": "hi"},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Grüß Gott"}]}]},
    {"input": "hi", "instructions": "Be brief.", "temperature": 0, "store": False, "tools": [
        {"type": "function", **TOOL}]},
    {"input": [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
    ]},
]  # fmt: skip
MESSAGES: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "几点了"}]}],
     "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}]},
    {"messages": [{"role": "user", "content": "hi"}], "tools": [
        {"name": "get", "input_schema": TOOL["parameters"]}], "metadata": {"user_id": "u"}},
    {"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "get", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "7"}]},
    ]},
]  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models(room=1024) as made:
        yield made


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("body", RESPONSES)
def test_responses(client: httpx.Client, body: dict[str, Any]) -> None:
    body = {"model": "handbook", "max_output_tokens": 4, **body}
    whole = client.post("/v1/responses", json=body)
    assert whole.status_code == 200, whole.text
    assert whole.json()["status"] == "completed"
    assert whole.json()["output"]
    told = events(client.post("/v1/responses", json={**body, "stream": True}).text)
    assert told[0]["type"] == "response.created"
    assert told[-1]["type"] == "response.completed"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@pytest.mark.parametrize("body", MESSAGES)
def test_messages(client: httpx.Client, body: dict[str, Any]) -> None:
    body = {"model": "handbook", "max_tokens": 4, **body}
    whole = client.post("/v1/messages", json=body)
    assert whole.status_code == 200, whole.text
    assert whole.json()["content"]
    assert whole.json()["stop_reason"] in {"max_tokens", "end_turn"}
    told = events(client.post("/v1/messages", json={**body, "stream": True}).text)
    assert [told[0]["type"], told[-1]["type"]] == ["message_start", "message_stop"]


def test_the_version_names_what_is_there(client: httpx.Client) -> None:
    assert client.get("/api/version").json()["version"] >= "0.34"
