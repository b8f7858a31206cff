"""Models with a Go TEMPLATE: prompts by it, thoughts and tool calls read out of replies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fine_tuning.runtimes.go_templates.prompts import GoTemplate
from fine_tuning.runtimes.serving.go_replies import (
    ReplyReader,
    call_mark,
    text_request,
    thought_marks,
)
from fine_tuning.runtimes.serving.pieces import ReplyPiece
from fine_tuning.runtimes.serving.pool import PoolLimits
from tests.runtimes.serving.conftest import open_served

QWEN = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if and .Thinking $.IsThinkSet }}<think>
{{ .Thinking }}
</think>

{{ end }}{{ .Content }}{{ if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
MISTRAL = (
    '{{ range .Messages }}{{ if .ToolCalls }}[TOOL_CALLS] [{{ range .ToolCalls }}{"name": '
    '"{{ .Function.Name }}"}{{ end }}]{{ else }}[INST] {{ .Content }}[/INST]{{ end }}{{ end }}'
)
LLAMA = (
    '{{ range .Messages }}{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}"}'
    "{{ end }}{{ end }}{{ .Content }}{{ end }}"
)
CALL = '{"name": "get", "arguments": {"city": "Köln"}}'


def read(reader: ReplyReader, text: str, step: int) -> tuple[str, str, list[str]]:
    """Return thoughts, text and calls of a reply that comes in pieces of some characters."""
    pieces: list[ReplyPiece] = []
    for begin in range(0, len(text), step):
        pieces += reader.feed(ReplyPiece(text=text[begin : begin + step]))
    pieces += reader.end()
    calls = [call["function"] or {} for piece in pieces for call in piece.tool_calls]
    return (
        "".join(piece.thinking for piece in pieces),
        "".join(piece.text for piece in pieces),
        [f"{call.get('name')} {call.get('arguments')}" for call in calls],
    )


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nHm.\n</think>\n\nDie Eiche.", ("Hm.\n", "Die Eiche.", [])),
        ("Nur Text mit < und </think.", ("", "Nur Text mit < und </think.", [])),
        ("<think>\n木の名前\n</think>\n\n樫 🌳", ("木の名前\n", "樫 🌳", [])),
        ("<think>ohne Ende", ("ohne Ende", "", [])),
        (f"Gleich. <tool_call>\n{CALL}\n</tool_call>", ("", "Gleich. ", ['get {"city": "Köln"}'])),
        (f"<think>a</think><tool_call>{CALL}{CALL}", ("a", "", ['get {"city": "Köln"}'] * 2)),
        ("<tool_call>no JSON", ("", "<tool_call>no JSON", [])),
        ('<tool_call>{"name": "other"}', ("", '<tool_call>{"name": "other"}', [])),
    ],
)
def test_thoughts_text_and_calls_are_told_apart(
    text: str, expected: tuple[str, str, list[str]], step: int
) -> None:
    template = GoTemplate(QWEN)
    opens, closes = thought_marks(template)
    assert (opens, closes) == ("<think>", "</think>")
    reader = ReplyReader(
        opens=opens, closes=closes, mark=call_mark(template), tools=frozenset({"get"})
    )
    assert read(reader, text, step) == expected


@pytest.mark.parametrize(
    ("source", "mark", "reply"),
    [
        (QWEN, "<tool_call>", f"<tool_call>{CALL}"),
        (MISTRAL, "[TOOL_CALLS]", f"[TOOL_CALLS] [{CALL}]"),
        (LLAMA, "{", CALL.replace("arguments", "parameters")),
        ("{{ .Prompt }}", "{", f" [{CALL}]"),
    ],
)
def test_the_mark_of_calls_is_the_templates(source: str, mark: str, reply: str) -> None:
    assert call_mark(GoTemplate(source)) == mark
    reader = ReplyReader(mark=mark, tools=frozenset({"get"}))
    assert read(reader, reply, 2)[2] == ['get {"city": "Köln"}']


def test_text_before_a_bare_object_is_no_call() -> None:
    reader = ReplyReader(mark="{", tools=frozenset({"get"}))
    text = f"The call would be {CALL}."
    assert read(reader, text, 4) == ("", text, [])


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[httpx.Client]:
    limits = PoolLimits(parallel=1, context_tokens=512, threads=1)
    for served in open_served(models, limits):
        made = {"from": "base", "template": QWEN, "parameters": {"stop": ["<|im_end|>"]}}
        created = served.http.post("/api/create", json={"model": "goes:1", "stream": False, **made})
        assert created.status_code == 200, created.text
        yield served.http
        served.http.request("DELETE", "/api/delete", json={"model": "goes:1"})


def asked(client: httpx.Client, turns: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    body = {"model": "goes:1", "messages": turns, "stream": False, **more}
    answer = client.post("/api/chat", json=body)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_a_created_template_makes_the_prompt(client: httpx.Client) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get", "arguments": {"a": 1}}}]},
        {"role": "tool", "tool_name": "get", "content": "7"},
    ]
    shown = asked(client, turns, _debug_render_only=True)["_debug_info"]["rendered_template"]
    assert shown == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get", "arguments": {"a":1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n7<|im_end|>\n<|im_start|>assistant\n"
    )
    raw = {"model": "goes:1", "prompt": shown, "raw": True, "stream": False}
    options = {"num_predict": 6, "temperature": 0}
    text = client.post("/api/generate", json={**raw, "options": options}).json()
    reply = asked(client, turns, options=options, think=False)
    assert reply["message"]["content"] == text["response"]
    assert reply["prompt_eval_count"] == text["prompt_eval_count"]


def test_its_capabilities_are_told(client: httpx.Client) -> None:
    shown = client.post("/api/show", json={"model": "goes:1"}).json()
    assert set(shown["capabilities"]) == {"completion", "thinking"}
    assert shown["template"] == QWEN


def test_schemas_hold(client: httpx.Client) -> None:
    schema = {
        "type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"],
        "additionalProperties": False,
    }  # fmt: skip
    hi = [{"role": "user", "content": "Hi"}]
    reply = asked(client, hi, format=schema, think=False, options={"num_predict": 60})
    assert isinstance(json.loads(reply["message"]["content"])["n"], bool)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get", "put"]),
        ({"type": "function", "function": {"name": "put"}}, ["put"]),
        ("auto", []),
        ("none", []),
    ],
)
def test_a_tool_that_must_be_called_bounds_the_reply(choice: Any, names: list[str]) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("get", "put")]
    body = {"messages": [], "tools": tools, "tool_choice": choice, "max_tokens": 7}
    request = text_request(body, "prompt")
    schema: Any = request.get("json_schema") or {"anyOf": []}
    assert [one["properties"]["name"]["const"] for one in schema["anyOf"]] == names
    assert (request["prompt"], request["n_predict"]) == ("prompt", 7)
    assert "messages" not in request


def test_an_unfinished_reply_goes_on(client: httpx.Client) -> None:
    turns = [
        {"role": "user", "content": "Count"},
        {"role": "assistant", "content": "One, two,"},
    ]
    body = {"model": "base", "messages": turns, "_debug_render_only": True}
    shown = client.post("/api/chat", json=body).json()["_debug_info"]["rendered_template"]
    assert shown.endswith("<|im_start|>assistant\nOne, two,")
