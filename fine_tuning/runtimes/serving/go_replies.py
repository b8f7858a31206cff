"""Prompts by a Go TEMPLATE, and thoughts and tool calls read out of the replies to them.

llama-server knows Jinja templates only, so that a prompt of Ollama's kind goes to it as text, and
the reply comes back as text. What marks thoughts and calls in it is taken from the template, as in
Ollama (thinking/template.go, tools/template.go).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.runtimes.go_templates.nodes import Branch, FieldPath, Pipe, TextNode, Variable
from fine_tuning.runtimes.go_templates.prompts import GoTemplate, Thinking, go_template
from fine_tuning.runtimes.llama_api import ToolCallDelta
from fine_tuning.runtimes.llama_client import SYSTEM_ROLES
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.pieces import ReplyPiece

_ANY_CALL = "{"
_THOUGHTS = re.compile(
    r"([^{}\s][^{}]*?)\s*\{\{-?\s*\$?\w*\.Thinking\s*-?\}\}\s*([^{}\s][^{}]*?)\s*(?:\{\{|$)"
)
_CHAT_ONLY = frozenset({
    "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format",
    "chat_template_kwargs", "stream_options", "logprobs", "top_logprobs", "max_tokens",
})  # fmt: skip


def go_prompt(work: Work, turns: Sequence[Mapping[str, object]]) -> str:
    """Return the prompt of some turns by the model's Go TEMPLATE.

    Args:
        work: What is asked; its tools are shown.
        turns: The conversation, in OpenAI's form.

    Raises:
        DataError: if the template fails.
    """
    template = go_template(work.model.go_template)
    return template.render(
        [_ollama_message(turn) for turn in turns], tools=_tools(work), thinking=thinking_of(work)
    )


def text_request(body: Mapping[str, object], prompt: str) -> dict[str, object]:
    """Return llama-server's request for a text, from its request for a chat.

    Args:
        body: The request for a chat.
        prompt: The text the chat is read as.
    """
    request = {key: value for key, value in body.items() if key not in _CHAT_ONLY}
    request["prompt"] = prompt
    if (limit := body.get("max_tokens")) is not None:
        request["n_predict"] = limit
    if body.get("logprobs"):
        request["n_probs"] = body.get("top_logprobs") or 1
    if called := _wanted_tools(body):
        request["json_schema"] = {"anyOf": [_call_schema(function) for function in called]}
    elif isinstance(form := body.get("response_format"), Mapping):
        schema = form.get("json_schema")
        is_any = not isinstance(schema, Mapping) or "schema" not in schema
        if form.get("type") in {"json_object", "json_schema"}:
            given = form.get("schema") or {"type": "object"}
            request["json_schema"] = given if is_any else schema["schema"]  # type: ignore[index]
    return request


def _wanted_tools(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the functions one of which must be called; none where the model chooses."""
    choice, tools = fields.get("tool_choice"), fields.get("tools")
    named = choice.get("function") if isinstance(choice, Mapping) else None
    if not isinstance(tools, list) or not (choice == "required" or isinstance(named, Mapping)):
        return []
    functions = [tool.get("function") for tool in tools if isinstance(tool, Mapping)]
    wanted = named.get("name") if isinstance(named, Mapping) else None
    return [
        function
        for function in functions
        if isinstance(function, Mapping) and wanted in {None, function.get("name")}
    ]


def _call_schema(function: Mapping[str, object]) -> dict[str, object]:
    arguments = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function.get("name")}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def thinking_of(work: Work) -> Thinking | None:
    """Return what a request says of thoughts; where it says nothing, a model that can does.

    Args:
        work: What is asked.
    """
    said = work.fields.get("chat_template_kwargs")
    if isinstance(said, Mapping) and "enable_thinking" in said:
        level = str(said.get("reasoning_effort") or "")
        return Thinking(is_wanted=bool(said["enable_thinking"]), level=level)
    thinks = "thinking" in go_template(work.model.go_template).identifiers
    return Thinking(is_wanted=True) if thinks else None


def _tools(work: Work) -> Sequence[JsonObject]:
    tools = work.fields.get("tools")
    return tools if isinstance(tools, list) else ()


def _ollama_message(turn: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return a message of OpenAI's form in Ollama's."""
    role, content = str(turn.get("role") or "user"), turn.get("content") or ""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(str(text or "") for text in texts)
    message: dict[str, JsonValue] = {
        "role": "system" if role in SYSTEM_ROLES else role,
        "content": str(content),
        "thinking": str(turn.get("reasoning_content") or ""),
        "tool_call_id": str(turn.get("tool_call_id") or ""),
        "tool_name": str(turn.get("name") or "") if role == "tool" else "",
    }
    if isinstance(calls := turn.get("tool_calls"), list):
        message["tool_calls"] = [_ollama_call(call) for call in calls]
    return message


def _ollama_call(call: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    given = call.get("function")
    function: Mapping[str, JsonValue] = given if isinstance(given, Mapping) else {}
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"arguments": arguments}
    return {
        "id": call.get("id") or "",
        "function": {"name": function.get("name") or "", "arguments": arguments},
    }


def thought_marks(template: GoTemplate) -> tuple[str, str]:
    """Return what a template writes before and behind thoughts; ("", "") when it knows none.

    Args:
        template: The TEMPLATE.
    """
    if "thinking" not in template.identifiers:
        return "", ""
    if match := _THOUGHTS.search(template.source):
        return match[1].rpartition("\n")[2].strip(), match[2].partition("\n")[0].strip()
    return "<think>", "</think>"


def call_mark(template: GoTemplate) -> str:
    """Return what a template writes before tool calls; "{" when calls stand there alone.

    Args:
        template: The TEMPLATE.
    """
    for body in template.bodies:
        for node in body.walk():
            if isinstance(node, Branch) and _names(node.pipe, "ToolCalls"):
                texts = (inner.text for inner in node.body.walk() if isinstance(inner, TextNode))
                first = next((text for text in texts if text.strip()), "")
                return first.partition("{")[0].strip().rstrip("[ \n") or _ANY_CALL
    return _ANY_CALL


def _names(pipe: Pipe, name: str) -> bool:
    return any(
        isinstance(part, FieldPath | Variable) and name in part.names
        for command in pipe.commands
        for part in command.arguments
    )


@dataclass(slots=True)
class ReplyReader:
    """Tells thoughts, text and tool calls of a reply apart as its pieces come.

    Args:
        opens: What stands before thoughts, "" for none.
        closes: What stands behind them.
        mark: What stands before tool calls, "" where no tool is offered.
        tools: The names of the tools offered.
        is_thinking: Whether the prompt opened a thought.
    """

    opens: str = ""
    closes: str = ""
    mark: str = ""
    tools: frozenset[str] = frozenset()
    is_thinking: bool = False
    num_calls: int = 0
    _held: str = ""
    _begun: bool = False
    _calls: bool = False
    _trims: bool = False
    _pieces: list[ReplyPiece] = field(default_factory=list)

    def feed(self, piece: ReplyPiece) -> Iterator[ReplyPiece]:
        """Yield what a piece of the reply holds, as far as that is certain by now.

        Args:
            piece: The next one.
        """
        self._held += piece.text
        self._read(is_end=False)
        yield from self._taken(piece)

    def end(self) -> Iterator[ReplyPiece]:
        """Yield what was held back."""
        self._read(is_end=True)
        yield from self._taken(ReplyPiece())

    def _taken(self, source: ReplyPiece) -> Iterator[ReplyPiece]:
        pieces, self._pieces = self._pieces, []
        told = source.log_probabilities
        if told and not pieces:
            pieces = [ReplyPiece()]
        for index, piece in enumerate(pieces):
            yield ReplyPiece(
                text=piece.text,
                thinking=piece.thinking,
                tool_calls=piece.tool_calls,
                log_probabilities=told if index == 0 else (),
            )

    def _read(self, *, is_end: bool) -> None:
        if self.opens and not self._begun and not self._begin(is_end=is_end):
            return
        self._begun = True
        self._trim()
        if self.is_thinking:
            thought, mark, rest = self._held.partition(self.closes)
            kept = 0 if mark or is_end else _overlap(thought, self.closes)
            said = thought[: len(thought) - kept]
            if said:
                self._pieces.append(ReplyPiece(thinking=said))
            self._held = rest if mark else thought[len(thought) - kept :]
            if not mark:
                return
            self.is_thinking, self._trims = False, True
            self._trim()
        self._read_text(is_end=is_end)

    def _trim(self) -> None:
        """Leave out line ends behind a mark."""
        if self._trims:
            self._held = self._held.lstrip("\n")
            self._trims = not self._held

    def _begin(self, *, is_end: bool) -> bool:
        """Look for an opened thought; tell whether enough was read to know."""
        begun = self._held.lstrip()
        if begun.startswith(self.opens):
            self.is_thinking, self._trims = True, True
            self._held = begun.removeprefix(self.opens)
        elif self.opens.startswith(begun) and not is_end and not self.is_thinking:
            return False
        return True

    def _read_text(self, *, is_end: bool) -> None:
        if self.mark and not self._calls:
            place = self._place_of_calls()
            if place >= 0:
                self._calls = True
                self._say(self._held[:place])
                self._held = self._held[place:]
        if self._calls:
            if is_end:
                self._read_calls()
            return
        kept = _overlap(self._held, self.mark) if self.mark and not is_end else 0
        if self.mark == _ANY_CALL and self._held.strip():
            self.mark, kept = "", 0  # text came first, so that no call does
        self._say(self._held[: len(self._held) - kept])
        self._held = self._held[len(self._held) - kept :]

    def _place_of_calls(self) -> int:
        if self.mark != _ANY_CALL:
            return self._held.find(self.mark)
        blank = len(self._held) - len(self._held.lstrip())
        return blank if self._held[blank : blank + 1] in {"{", "["} else -1

    def _say(self, text: str) -> None:
        if text:
            self._pieces.append(ReplyPiece(text=text))

    def _read_calls(self) -> None:
        """Turn what was held back into calls; what holds none is text after all."""
        calls = list(_calls_in(self._held, self.tools))
        if not calls:
            self._say(self._held)
        for name, arguments in calls:
            delta: ToolCallDelta = {
                "index": self.num_calls,
                "id": f"call_{secrets.token_hex(4)}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            self.num_calls += 1
            self._pieces.append(ReplyPiece(tool_calls=[delta]))
        self._held = ""


def reply_reader(work: Work, prompt: str) -> ReplyReader:
    """Return a reader of the reply to a prompt.

    Args:
        work: What is asked.
        prompt: The text it is read as.
    """
    template = go_template(work.model.go_template)
    said = thinking_of(work)
    opens, closes = thought_marks(template) if said and said.is_wanted else ("", "")
    functions = [tool.get("function") for tool in _tools(work)]
    names = [str(one["name"]) for one in functions if isinstance(one, Mapping) and "name" in one]
    return ReplyReader(
        opens=opens,
        closes=closes,
        mark=_ANY_CALL if _wanted_tools(work.fields) else call_mark(template) if names else "",
        tools=frozenset(names),
        is_thinking=bool(opens) and prompt.rstrip().endswith(opens),
    )


def _calls_in(text: str, tools: frozenset[str]) -> Iterator[tuple[str, JsonValue]]:
    """Yield the calls of offered tools that a text holds as JSON objects."""
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        name = value.get("name") or value.get("function")
        if isinstance(name, Mapping):
            value, name = name, name.get("name")
        arguments = value.get("arguments", value.get("parameters"))
        if isinstance(name, str) and name in tools:
            yield name, arguments if isinstance(arguments, dict) else {}
        place = end


def _overlap(text: str, mark: str) -> int:
    """Return how many characters at a text's end may begin a mark."""
    most = min(len(text), len(mark) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(mark[:n])), 0)
