"""Bodies that chat programs send in their present form are answered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.served import served_models

PAGE = {"Origin": "app://obsidian.md"}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
HI = {"role": "user", "content": "hi"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": CITY}}
CALLED = [
    HI,
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "7 degrees"},
]  # fmt: skip
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Open WebUI, chat": ("/api/chat", {
        "model": "handbook:latest", "messages": [SYSTEM, HI], "stream": True,
        "options": {"num_predict": 4, "num_ctx": 512, "stop": [], "mirostat": 0, "tfs_z": 1},
        "keep_alive": "5m", "format": "", "think": None, "metadata": {"chat_id": "1"},
    }),
    "Open WebUI, title": ("/v1/chat/completions", {
        "model": "handbook:latest", "stream": False, "max_completion_tokens": 4,
        "messages": [HI], "metadata": {"task": "title_generation"}, "chat_id": "local:1",
    }),
    "Open WebUI, embeddings": ("/api/embed", {
        "model": "handbook:latest", "input": ["one", "two"], "truncate": True,
    }),
    "Continue, chat": ("/api/chat", {
        "model": "handbook", "messages": [SYSTEM, HI], "stream": True, "keep_alive": 1800,
        "options": {"num_predict": 4, "num_ctx": 512, "stop": None, "num_gpu": None,
                    "temperature": None, "mirostat": None, "num_thread": None, "use_mmap": None},
    }),
    "Continue, completion of code": ("/api/generate", {
        "model": "handbook", "prompt": "<|fim_prefix|>def a(<|fim_suffix|>\n<|fim_middle|>",
        "raw": True, "stream": True, "keep_alive": 1800,
        "options": {"num_predict": 4, "stop": ["<|fim_prefix|>", "\n\n"], "temperature": 0.01},
    }),
    "LlamaIndex, chat": ("/api/chat", {
        "model": "handbook", "messages": [SYSTEM, HI], "tools": [], "stream": False, "format": "",
        "options": {"temperature": 0.75, "num_ctx": -1, "num_predict": 4}, "keep_alive": "300s",
        "think": None, "logprobs": None, "top_logprobs": None,
    }),
    "LlamaIndex, completion": ("/api/generate", {
        "model": "handbook", "prompt": "hi", "suffix": None, "system": None, "template": None,
        "context": None, "stream": False, "raw": None, "images": None, "format": None,
        "options": {"temperature": 0.75, "num_predict": 4}, "keep_alive": "300s",
    }),
    "LlamaIndex, embeddings": ("/api/embed", {
        "model": "handbook", "input": "hi", "truncate": None, "options": {}, "keep_alive": None,
    }),
    "pydantic-ai, chat": ("/v1/chat/completions", {
        "model": "handbook", "messages": CALLED, "stream": False, "tools": [TOOL],
        "tool_choice": "auto", "max_completion_tokens": 4, "parallel_tool_calls": True, "n": 1,
    }),
    "pydantic-ai, structured": ("/v1/chat/completions", {
        "model": "handbook", "messages": [HI], "stream": False, "max_tokens": 40,
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "final_result", "schema": CITY, "strict": True, "description": "d"}},
    }),
    "pydantic-ai, streamed": ("/v1/chat/completions", {
        "model": "handbook", "messages": [HI], "stream": True, "max_tokens": 4,
        "stream_options": {"include_usage": True}, "tools": [TOOL], "tool_choice": "auto",
    }),
    "Obsidian Copilot": ("/api/chat", {
        "model": "handbook", "messages": [HI], "stream": True, "format": None, "keep_alive": -1,
        "options": {"num_predict": 4, "num_ctx": 1024, "temperature": 0.1, "stop": None},
    }),
    "Obsidian Local GPT": ("/api/generate", {
        "model": "handbook", "prompt": "Summarise: hi", "stream": True, "images": [],
        "options": {"temperature": 0.2, "num_predict": 4, "num_ctx": 1024}, "system": "",
    }),
    "Obsidian Smart Connections": ("/api/embed", {
        "model": "handbook", "input": ["note one", "note two"], "truncate": True,
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models(room=512) as made:
        yield made


@pytest.mark.parametrize("program", BODIES)
def test_bodies_of_programs_are_answered(client: httpx.Client, program: str) -> None:
    path, body = BODIES[program]
    answer = client.post(path, json=body, headers=PAGE if "Obsidian" in program else {})
    assert answer.status_code == 200, answer.text
    assert '"error"' not in answer.text
    if body.get("stream"):
        assert answer.text.rstrip().endswith(("[DONE]", "}"))


def test_pictures_are_refused_in_a_sentence(client: httpx.Client) -> None:
    picture = base64.b64encode(b"\x89PNG").decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    for path, turn in (
        ("/api/chat", {**HI, "images": [picture]}),
        ("/v1/chat/completions", {"role": "user", "content": [url]}),
    ):
        answer = client.post(path, json={"model": "handbook", "messages": [turn]})
        assert answer.status_code == 400
        assert "reads only text" in answer.text
