"""What Ollama makes of messages with a TEMPLATE."""

from __future__ import annotations

from typing import Any

import pytest

from fine_tuning.runtimes.go_templates.prompts import GoTemplate, Thinking, collated

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Hello."}
MORE = {"role": "user", "content": "More"}

INST = "[INST] {{ .Prompt }} [/INST]"
EITHER = "{{ if .Response }}{{ .Prompt }}{{ .Response }}x{{ else }}{{ .Prompt }}-{{ end }}"
CALLS = (
    "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ .Function.Arguments }}"
    "{{ end }}{{ end }}"
)
CALLING = {
    "role": "assistant",
    "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": "<"}}}],
}
LEGACY = "{{ if .System }}<s>{{ .System }}</s>{{ end }}<u>{{ .Prompt }}</u><a>{{ .Response }}</a>"
MESSAGES = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "required": ["town"],
            "properties": {
                "town": {"type": "string", "description": "Which"},
                "days": {"type": ["integer", "null"]},
            },
        },
    },
}


@pytest.mark.parametrize(
    ("source", "messages", "prompt"),
    [
        (LEGACY, [ASKED], "<u>Hi</u><a>"),
        (LEGACY, [SYSTEM, ASKED], "<s>Be brief.</s><u>Hi</u><a>"),
        (LEGACY, [ASKED, SAID, MORE], "<u>Hi</u><a>Hello.</a><u>More</u><a>"),
        (LEGACY, [ASKED, SAID], "<u>Hi</u><a>Hello."),
        (LEGACY, [ASKED, SYSTEM, MORE], "<u>Hi</u><a></a><s>Be brief.</s><u>More</u><a>"),
        (INST, [ASKED, SAID, MORE], "[INST] Hi [/INST]Hello.[INST] More [/INST]"),
        (MESSAGES, [ASKED, SAID, MORE], "<user>Hi<assistant>Hello.<user>More<assistant>"),
        (MESSAGES, [SYSTEM, ASKED], "<system>Be brief.<user>Hi<assistant>"),
        ("{{ .System }}|{{ range .Messages }}{{ .Role }} {{ end }}", [SYSTEM, ASKED, SYSTEM],
         "Be brief.\n\nBe brief.|system user system "),
        (EITHER, [ASKED], "Hi-"),
        (CALLS, [CALLING], 'f{"a":"\\u003c","b":1}'),
    ],
)  # fmt: skip
def test_prompts(source: str, messages: list[dict[str, Any]], prompt: str) -> None:
    assert GoTemplate(source).render(messages) == prompt


def test_tools_are_written_as_ollama_writes_them() -> None:
    written = (
        '{"type":"function","function":{"name":"weather","description":"Tells the weather",'
        '"parameters":{"type":"object","required":["town"],"properties":{"days":{"type":'
        '["integer","null"]},"town":{"type":"string","description":"Which"}}}}}'
    )
    messages = [ASKED]
    whole = GoTemplate("{{ .Tools }}{{ range .Messages }}{{ end }}")
    assert whole.render(messages, tools=[TOOL]) == f"[{written}]"
    each = GoTemplate("{{ range .Tools }}{{ . }}|{{ json .Function.Name }}{{ end }}{{ .Messages }}")
    assert each.render([], tools=[TOOL]) == f'{written}|"weather"[]'
    typed = GoTemplate(
        "{{ range .Tools }}{{ range $n, $p := .Function.Parameters.Properties }}"
        "{{ $n }}: {{ toTypeScriptType $p }}; {{ end }}{{ end }}{{ .Messages }}"
    )
    assert typed.render([], tools=[TOOL]) == "days: number | null; town: string; []"
    assert GoTemplate("{{ if .Tools }}x{{ end }}{{ .Messages }}").render([]) == "[]"


def test_thinking_is_told() -> None:
    source = "{{ .IsThinkSet }}{{ .Think }}{{ .ThinkLevel }}{{ .Messages }}"
    assert GoTemplate(source).render([]) == "falsefalse[]"
    wanted = Thinking(is_wanted=True, level="high")
    assert GoTemplate(source).render([], thinking=wanted) == "truetruehigh[]"


def test_a_suffix_is_filled_in() -> None:
    source = "<P>{{ .Prompt }}<S>{{ .Suffix }}<M>{{ .Response }}"
    assert GoTemplate(source).fill("a", "b") == "<P>a<S>b<M>"


def test_messages_of_one_role_in_a_row_are_one() -> None:
    tools = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    system, joined = collated([SYSTEM, ASKED, MORE, *tools, {"role": "User", "content": "x"}])
    assert system == "Be brief."
    assert [message["content"] for message in joined] == ["Be brief.", "Hi\n\nMore", "1", "2", "x"]
