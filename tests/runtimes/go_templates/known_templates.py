"""TEMPLATEs of Ollama's best known models in their public form, and what they make of messages.

The prompts are written by hand. ``end`` is what a reply ends with: what the TEMPLATE writes, else
the tokenizer's end of sequence, here ``</s>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "required": ["town"],
            "properties": {"town": {"type": "string", "description": "Which"}},
        },
    },
}
FUNCTION = (
    '{"name":"weather","description":"Tells the weather","parameters":{"type":"object","required":'
    '["town"],"properties":{"town":{"type":"string","description":"Which"}}}}'
)
FUNCTION_AS_GO = (
    "{weather Tells the weather {object <nil> <nil> [town] "
    '{"town":{"type":"string","description":"Which"}}}}'
)
"""What Ollama writes for a tool's function: Go's own form, since the type has no method String."""
TOOL_TEXT = '{"type":"function","function":' + FUNCTION + "}"
TURNS = {
    "one": (("user", "Hi there"),),
    "several": (("user", "Hi there"), ("assistant", "Hello!"), ("user", "And now?")),
    "system": (("system", "Be brief."), ("user", "Hi there")),
    "tools": (("user", "Weather in Oslo?"),),
}


@dataclass(frozen=True)
class Known:
    """A TEMPLATE, prompts by the names of ``TURNS``, and the end of a reply."""

    source: str
    end: str
    prompts: Mapping[str, str]
    stop: tuple[str, ...] = field(default=())


def _known(
    source: str, end: str, one: str, several: str, system: str, tools: str = "", *stop: str
) -> Known:
    prompts = {"one": one, "several": several, "system": system, "tools": tools}
    return Known(source, end, {name: text for name, text in prompts.items() if text}, stop)


MISTRAL_TOOLS = """{{- if .Messages }}
{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (eq (len (slice $.Messages $index)) 1) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}\
[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and $.System (eq (len (slice $.Messages $index)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]
{{- end }}</s>
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}} [/TOOL_RESULTS]
{{- end }}
{{- end }}
{{- else }}[INST] {{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }}[/INST]
{{- end }} {{ .Response }}
{{- if .Response }}</s>
{{- end }}"""

LLAMA_3 = """<|start_header_id|>system<|end_header_id|>

Cutting Knowledge Date: December 2023

{{ if .System }}{{ .System }}
{{- end }}
{{- if .Tools }}When you receive a tool call response, use the output to format an answer.

You are a helpful assistant with tool calling capabilities.
{{- end }}<|eot_id|>
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{- if and $.Tools $last }}

Given the following functions, please respond with a JSON for a function call.

{{ range $.Tools }}
{{- . }}
{{ end }}
{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end }}"""
_HEAD_3 = "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n"
_USER_3 = "<|start_header_id|>user<|end_header_id|>\n\n"
_REPLY_3 = "<|start_header_id|>assistant<|end_header_id|>\n\n"

PHI_4 = """{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}<|im_sep|>
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_end|>
<|im_start|>assistant<|im_sep|>
{{ end }}
{{- end }}"""

DEEPSEEK = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ .Content }}\
{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>{{- end }}
{{- end }}"""  # noqa: RUF001 - DeepSeek's wide bars

_QWEN_TOOLS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""
_QWEN_TOOLS_TEXT = _QWEN_TOOLS.partition("{{-")[0].rstrip() + (
    '\n{"type": "function", "function": ' + FUNCTION_AS_GO + "}\n</tools>"
) + _QWEN_TOOLS.partition("</tools>\n\n")[1].removeprefix("</tools>") + (
    _QWEN_TOOLS.partition("</tools>\n\n")[2]
)  # fmt: skip
_QWEN_CALLS = """<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}"""

QWEN_2_5 = (
    """{{- if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

"""
    + _QWEN_TOOLS
    + """
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}"""
    + _QWEN_CALLS
    + """
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"""
)

QWEN_3 = (
    """{{- $lastUserIdx := -1 -}}
{{- range $idx, $msg := .Messages -}}
{{- if eq $msg.Role "user" }}{{ $lastUserIdx = $idx }}{{ end -}}
{{- end }}
{{- if or .System .Tools }}<|im_start|>system
{{ if .System }}{{ .System }}

{{ end }}
{{- if .Tools }}"""
    + _QWEN_TOOLS
    + """
{{- end -}}
<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUserIdx) }}
   {{- if $.Think -}}
      {{- " "}}/think
   {{- else -}}
      {{- " "}}/no_think
   {{- end -}}
{{- end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if (and $.IsThinkSet (and .Thinking (or $last (gt $i $lastUserIdx)))) -}}
<think>{{ .Thinking }}</think>
{{ end -}}
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}"""
    + _QWEN_CALLS
    + """
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end -}}
{{ end }}
{{- end }}"""
)


def _turns(system: str, user: str, reply: str) -> str:
    """Write a TEMPLATE of the older style: each turn where there is one, ``%`` for its text."""
    parts = (
        "{{ if .System }}" + system.replace("%", "{{ .System }}") + "{{ end }}",
        "{{ if .Prompt }}" + user.replace("%", "{{ .Prompt }}") + "{{ end }}",
        reply.replace("%", "{{ .Response }}"),
    )
    return "".join(parts)


IM = "<|im_start|>"
KNOWN: dict[str, Known] = {
    "Mistral, old": _known(
        "[INST] {{ if .System }}{{ .System }} {{ end }}{{ .Prompt }} [/INST]",
        "</s>",
        "[INST] Hi there [/INST]",
        "[INST] Hi there [/INST]Hello![INST] And now? [/INST]",
        "[INST] Be brief. Hi there [/INST]",
        "",
        "[INST]",
        "[/INST]",
    ),
    "Mistral with tools": _known(
        MISTRAL_TOOLS,
        "</s>",
        "[INST] Hi there[/INST] ",
        "[INST] Hi there[/INST] Hello!</s>[INST] And now?[/INST] ",
        "[INST] Be brief.\n\nHi there[/INST] ",
        f"[AVAILABLE_TOOLS] [{TOOL_TEXT}][/AVAILABLE_TOOLS][INST] Weather in Oslo?[/INST] ",
    ),
    "Llama 2": _known(
        "[INST] <<SYS>>\n{{- if .System }}\n{{ .System }}\n{{ end }}<</SYS>>\n\n"
        "{{ .Prompt }} [/INST] {{ .Response }}</s><s>",
        "</s>",
        "[INST] <<SYS>><</SYS>>\n\nHi there [/INST] ",
        "[INST] <<SYS>><</SYS>>\n\nHi there [/INST] Hello!</s><s>"
        "[INST] <<SYS>><</SYS>>\n\nAnd now? [/INST] ",
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi there [/INST] ",
    ),
    "Llama 3.2 with tools": _known(
        LLAMA_3,
        "<|eot_id|>",
        f"{_HEAD_3}<|eot_id|>{_USER_3}Hi there<|eot_id|>{_REPLY_3}",
        f"{_HEAD_3}<|eot_id|>{_USER_3}Hi there<|eot_id|>{_REPLY_3}Hello!<|eot_id|>"
        f"{_USER_3}And now?<|eot_id|>{_REPLY_3}",
        f"{_HEAD_3}Be brief.<|eot_id|>{_USER_3}Hi there<|eot_id|>{_REPLY_3}",
        f"{_HEAD_3}When you receive a tool call response, use the output to format an answer.\n\n"
        f"You are a helpful assistant with tool calling capabilities.<|eot_id|>{_USER_3}"
        "Given the following functions, please respond with a JSON for a function call.\n\n"
        f"{TOOL_TEXT}\n\nWeather in Oslo?<|eot_id|>{_REPLY_3}",
    ),
    "Gemma": _known(
        "<start_of_turn>user\n{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>\n"
        "<start_of_turn>model\n{{ .Response }}<end_of_turn>\n",
        "<end_of_turn>",
        "<start_of_turn>user\nHi there<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>user\nHi there<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>user\nBe brief. Hi there<end_of_turn>\n<start_of_turn>model\n",
    ),
    "Phi 3": _known(
        _turns("<|system|>\n%<|end|>\n", "<|user|>\n%<|end|>\n", "<|assistant|>\n%<|end|>\n"),
        "<|end|>",
        "<|user|>\nHi there<|end|>\n<|assistant|>\n",
        "<|user|>\nHi there<|end|>\n<|assistant|>\nHello!<|end|>\n"
        "<|user|>\nAnd now?<|end|>\n<|assistant|>\n",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi there<|end|>\n<|assistant|>\n",
    ),
    "Phi 4": _known(
        PHI_4,
        "<|im_end|>",
        "<|im_start|>user<|im_sep|>\nHi there<|im_end|>\n<|im_start|>assistant<|im_sep|>\n",
        "<|im_start|>user<|im_sep|>\nHi there<|im_end|>\n<|im_start|>assistant<|im_sep|>\nHello!"
        "<|im_end|>\n<|im_start|>user<|im_sep|>\nAnd now?<|im_end|>\n"
        "<|im_start|>assistant<|im_sep|>\n",
        "<|im_start|>system<|im_sep|>\nBe brief.<|im_end|>\n<|im_start|>user<|im_sep|>\nHi there"
        "<|im_end|>\n<|im_start|>assistant<|im_sep|>\n",
    ),
    "Zephyr": _known(
        _turns("<|system|>\n%</s>\n", "<|user|>\n%</s>\n", "<|assistant|>\n%</s>\n"),
        "</s>",
        "<|user|>\nHi there</s>\n<|assistant|>\n",
        "<|user|>\nHi there</s>\n<|assistant|>\nHello!</s>\n<|user|>\nAnd now?</s>\n"
        "<|assistant|>\n",
        "<|system|>\nBe brief.</s>\n<|user|>\nHi there</s>\n<|assistant|>\n",
    ),
    "Alpaca": _known(
        _turns("%\n\n", "### Instruction:\n%\n\n", "### Response:\n%\n\n"),
        "</s>",
        "### Instruction:\nHi there\n\n### Response:\n",
        "### Instruction:\nHi there\n\n### Response:\nHello!\n\n"
        "### Instruction:\nAnd now?\n\n### Response:\n",
        "Be brief.\n\n### Instruction:\nHi there\n\n### Response:\n",
    ),
    "Vicuna": _known(
        _turns("%\n\n", "USER: %\n", "ASSISTANT: %</s>\n"),
        "</s>",
        "USER: Hi there\nASSISTANT: ",
        "USER: Hi there\nASSISTANT: Hello!</s>\nUSER: And now?\nASSISTANT: ",
        "Be brief.\n\nUSER: Hi there\nASSISTANT: ",
    ),
    "ChatML": _known(
        _turns(f"{IM}system\n%<|im_end|>\n", f"{IM}user\n%<|im_end|>\n",
               f"{IM}assistant\n%<|im_end|>\n"),
        "<|im_end|>",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "DeepSeek": _known(
        DEEPSEEK,
        "<｜end▁of▁sentence｜>",  # noqa: RUF001
        "<｜User｜>Hi there<｜Assistant｜>",  # noqa: RUF001
        "<｜User｜>Hi there<｜Assistant｜>Hello!<｜end▁of▁sentence｜>"  # noqa: RUF001
        "<｜User｜>And now?<｜Assistant｜>",  # noqa: RUF001
        "Be brief.<｜User｜>Hi there<｜Assistant｜>",  # noqa: RUF001
    ),
    "Command R": _known(
        _turns("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>%<|END_OF_TURN_TOKEN|>",
               "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>%<|END_OF_TURN_TOKEN|>",
               "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>%<|END_OF_TURN_TOKEN|>"),
        "<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi there<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi there<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello!<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>And now?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi there<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "Qwen 2.5 with tools": _known(
        QWEN_2_5,
        "<|im_end|>",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
        "<|im_start|>assistant\n",
        f"<|im_start|>system\n\n{_QWEN_TOOLS_TEXT}<|im_end|>\n<|im_start|>user\nWeather in Oslo?"
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "Qwen 3 with thinking": _known(
        QWEN_3,
        "<|im_end|>",
        "<|im_start|>user\nHi there /think<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd now? /think<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.\n\n<|im_end|>\n<|im_start|>user\nHi there /think"
        "<|im_end|>\n<|im_start|>assistant\n",
        f"<|im_start|>system\n{_QWEN_TOOLS_TEXT}<|im_end|>\n<|im_start|>user\nWeather in Oslo? "
        "/think<|im_end|>\n<|im_start|>assistant\n",
    ),
    "Falcon": _known(
        _turns("System: %\n", "User:\n%\n", "Falcon:\n%\n"),
        "</s>",
        "User:\nHi there\nFalcon:\n",
        "User:\nHi there\nFalcon:\nHello!\nUser:\nAnd now?\nFalcon:\n",
        "System: Be brief.\nUser:\nHi there\nFalcon:\n",
    ),
    "Orca": _known(
        _turns("### System:\n%\n\n", "### User:\n%\n\n", "### Assistant:\n%\n\n"),
        "</s>",
        "### User:\nHi there\n\n### Assistant:\n",
        "### User:\nHi there\n\n### Assistant:\nHello!\n\n### User:\nAnd now?\n\n### Assistant:\n",
        "### System:\nBe brief.\n\n### User:\nHi there\n\n### Assistant:\n",
    ),
    "StarCoder 2": _known(
        _turns("%\n\n", "### Instruction\n%\n\n", "### Response\n%<|endoftext|>\n\n"),
        "<|endoftext|>",
        "### Instruction\nHi there\n\n### Response\n",
        "### Instruction\nHi there\n\n### Response\nHello!<|endoftext|>\n\n"
        "### Instruction\nAnd now?\n\n### Response\n",
        "Be brief.\n\n### Instruction\nHi there\n\n### Response\n",
    ),
    "Granite": _known(
        _turns("System:\n%\n\n", "Question:\n%\n\n", "Answer:\n%\n\n"),
        "</s>",
        "Question:\nHi there\n\nAnswer:\n",
        "Question:\nHi there\n\nAnswer:\nHello!\n\nQuestion:\nAnd now?\n\nAnswer:\n",
        "System:\nBe brief.\n\nQuestion:\nHi there\n\nAnswer:\n",
    ),
    "Yi": _known(
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "TinyLlama": _known(
        "<|system|>\n{{ .System }}</s>\n<|user|>\n{{ .Prompt }}</s>\n<|assistant|>\n",
        "</s>",
        "<|system|>\n</s>\n<|user|>\nHi there</s>\n<|assistant|>\n",
        "<|system|>\n</s>\n<|user|>\nHi there</s>\n<|assistant|>\nHello!"
        "<|system|>\n</s>\n<|user|>\nAnd now?</s>\n<|assistant|>\n",
        "<|system|>\nBe brief.</s>\n<|user|>\nHi there</s>\n<|assistant|>\n",
    ),
}  # fmt: skip
SPECIAL = (
    "</s>", "<s>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|end|>",
    "<|endoftext|>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>",  # noqa: RUF001
    "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
)  # fmt: skip
