"""What Ollama makes of messages with a model's TEMPLATE (Ollama: template/template.go, Execute)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fine_tuning.core.json_value import JsonObject
from fine_tuning.runtimes.go_templates.execution import Execution
from fine_tuning.runtimes.go_templates.functions import NAMES
from fine_tuning.runtimes.go_templates.go_values import GoValue, JsonText, Struct
from fine_tuning.runtimes.go_templates.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Command,
    FieldPath,
    GoTemplateError,
    Pipe,
    Variable,
)
from fine_tuning.runtimes.go_templates.parsing import parse_bodies

MAX_TEMPLATE_CHARS = 1 << 20
_RESPONSE = "Response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """Whether a request asks for thoughts; ``level`` as it was said ("high"), "" if not."""

    is_wanted: bool
    level: str = ""


class GoTemplate:
    """A parsed TEMPLATE.

    Args:
        source: Its text.

    Raises:
        GoTemplateError: if it does not parse.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise GoTemplateError(
                f"the Go template has {len(source)} characters, "
                f"expected {MAX_TEMPLATE_CHARS} at most"
            )
        self.source = source
        try:
            self._bodies = parse_bodies(source, NAMES)
        except RecursionError as error:
            raise GoTemplateError("the Go template nests too deeply") from error
        self.identifiers = frozenset(
            name.lower() for body in self._bodies.values() for name in _identifiers(body)
        )
        """Fields and variables it names, in lower case, without their dots and signs."""
        if not self.identifiers & {"messages", "response"}:
            # Ollama writes the reply behind a template that names no place for it.
            pipe = Pipe([Command([FieldPath((_RESPONSE,))])])
            self._bodies[""].nodes.append(Action(pipe))

    @property
    def bodies(self) -> tuple[Body, ...]:
        """Its own body and those it defines."""
        return tuple(self._bodies.values())

    @property
    def reads_messages(self) -> bool:
        """Whether it is given all messages; else it is run turn by turn."""
        return "messages" in self.identifiers

    def execute(self, data: Mapping[str, GoValue]) -> str:
        """Return what it writes for some data.

        Args:
            data: Values by the names the template asks for.

        Raises:
            GoTemplateError: if it fails or does not end.
        """
        return Execution(self._bodies, data).run(self._bodies[""])

    def render(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        thinking: Thinking | None = None,
    ) -> str:
        """Return the prompt for the next reply.

        Args:
            messages: In Ollama's form: ``role``, ``content``, ``thinking``, ``tool_calls``,
                ``tool_name``, ``tool_call_id``. A last message of the assistant is gone on with.
            tools: Tools in Ollama's form, which is OpenAI's.
            thinking: What the request says of thoughts; None when it says nothing.

        Raises:
            GoTemplateError: if the template fails or does not end.
        """
        system, joined = collated(messages)
        asked = _asked(thinking)
        if not self.reads_messages:
            return self._turn_by_turn(joined, asked)
        return self.execute(
            {
                "System": system,
                "Messages": [_message(message) for message in joined],
                "Tools": JsonText([_tool(tool) for tool in tools] if tools else None, "null"),
                _RESPONSE: "",
                **asked,
            }
        )

    def fill(self, prompt: str, suffix: str, *, thinking: Thinking | None = None) -> str:
        """Return the prompt that asks for what stands between two texts.

        Args:
            prompt: What stands before.
            suffix: What stands behind.
            thinking: As in :meth:`render`.

        Raises:
            GoTemplateError: if the template fails or does not end.
        """
        return self.execute({"Prompt": prompt, "Suffix": suffix, _RESPONSE: "", **_asked(thinking)})

    def _turn_by_turn(self, messages: Sequence[JsonObject], asked: Mapping[str, GoValue]) -> str:
        """Run the template for every question and reply; the last ends before its reply's end."""
        out: list[str] = []
        turn = {"System": "", "Prompt": "", _RESPONSE: ""}

        def write() -> None:
            out.append(self.execute({**turn, **asked}))
            turn.update(dict.fromkeys(turn, ""))

        for message in messages:
            role, content = message["role"], str(message.get("content") or "")
            if role == "system":
                if turn["Prompt"] or turn[_RESPONSE]:
                    write()
                turn["System"] = content
            elif role == "user":
                if turn[_RESPONSE]:
                    write()
                turn["Prompt"] = content
            elif role == "assistant":
                turn[_RESPONSE] = content
        beginning = _up_to_response(copy.deepcopy(self._bodies[""]))
        out.append(Execution(self._bodies, {**turn, **asked}).run(beginning))
        return "".join(out)


@lru_cache(maxsize=64)
def go_template(source: str) -> GoTemplate:
    """Return a parsed template; each is parsed once.

    Args:
        source: Its text.

    Raises:
        GoTemplateError: if it does not parse.
    """
    return GoTemplate(source)


def collated(messages: Sequence[JsonObject]) -> tuple[str, list[JsonObject]]:
    """Return all system messages in one text, and messages of one role in a row as one.

    Args:
        messages: In Ollama's form.

    Returns:
        The system text, and the messages; tool messages stay apart.
    """
    joined: list[dict[str, GoValue]] = []
    system: list[str] = []
    for message in messages:
        role, content = str(message["role"]).lower(), str(message.get("content") or "")
        if role == "system":
            system.append(content)
        if joined and joined[-1]["role"] == role and role != "tool":
            joined[-1]["content"] += "\n\n" + content
        else:
            joined.append({**message, "role": role, "content": content})
    return "\n\n".join(system), list(joined)


def _asked(thinking: Thinking | None) -> dict[str, GoValue]:
    return {
        "Think": thinking is not None and thinking.is_wanted,
        "ThinkLevel": thinking.level if thinking else "",
        "IsThinkSet": thinking is not None,
    }


def _message(raw: JsonObject) -> Struct:
    calls = raw.get("tool_calls")
    return Struct(
        {
            "Role": raw["role"],
            "Content": raw.get("content") or "",
            "Thinking": raw.get("thinking") or "",
            "Images": raw.get("images") or None,
            "ToolCalls": [_call(call) for call in calls] if isinstance(calls, list) else None,
            "ToolName": raw.get("tool_name") or "",
            "ToolCallID": raw.get("tool_call_id") or "",
        }
    )


def _call(raw: GoValue) -> Struct:
    function = raw.get("function") or raw
    arguments = function.get("arguments")
    return Struct(
        {
            "ID": raw.get("id") or "",
            "Function": Struct(
                {
                    "Index": function.get("index") or 0,
                    "Name": function.get("name") or "",
                    "Arguments": JsonText(arguments, "{}"),
                }
            ),
        }
    )


def _tool(raw: JsonObject) -> Struct:
    function: GoValue = raw.get("function") or {}
    given: GoValue = function.get("parameters") or {}
    properties = given.get("properties")
    known = None if properties is None else {k: _property(v) for k, v in properties.items()}
    parameters = Struct(
        {
            "Type": given.get("type") or "",
            "Defs": given.get("$defs"),
            "Items": given.get("items"),
            "Required": given.get("required"),
            "Properties": JsonText(known, "{}"),
        },
        _present({
            "type": given.get("type") or "", "$defs": given.get("$defs"),
            "items": given.get("items"), "required": given.get("required"),
        }, always={"type"}) | {"properties": known},
    )  # fmt: skip
    name, description = function.get("name") or "", function.get("description") or ""
    inner = Struct(
        {"Name": name, "Description": description, "Parameters": parameters},
        {"name": name, "description": description, "parameters": parameters},
    )
    kind, items = raw.get("type") or "", raw.get("items")
    return Struct(
        {"Type": kind, "Items": items, "Function": inner},
        _present({"type": kind, "items": items}, always={"type"}) | {"function": inner},
        is_text_json=True,
    )


def _property(raw: GoValue) -> Struct:
    """Return a tool's parameter (Ollama: api/types.go, ToolProperty)."""
    kind = raw.get("type")
    any_of = [_property(item) for item in raw.get("anyOf") or ()]
    nested = raw.get("properties")
    inner = None if nested is None else {key: _property(value) for key, value in nested.items()}
    form = {
        "anyOf": any_of, "type": kind, "items": raw.get("items"),
        "description": raw.get("description"), "enum": raw.get("enum"),
        "properties": inner, "required": raw.get("required"),
    }  # fmt: skip
    return Struct(
        {
            "AnyOf": any_of,
            "Type": kind[0] if isinstance(kind, list) and len(kind) == 1 else kind or "",
            "Items": raw.get("items"),
            "Description": raw.get("description") or "",
            "Enum": raw.get("enum"),
            "Properties": inner,
            "Required": raw.get("required"),
        },
        _present(form),
    )


def _present(
    form: Mapping[str, GoValue], always: frozenset[str] | set[str] = frozenset()
) -> dict[str, GoValue]:
    """Return the fields that are not empty (Go's omitempty)."""
    return {key: value for key, value in form.items() if value or key in always}


def _identifiers(node: GoValue) -> Iterator[str]:  # noqa: C901, PLR0912 - one per kind
    """Yield the fields and variables a body names, as Ollama looks for them."""
    if isinstance(node, Body):
        for child in node.nodes:
            yield from _identifiers(child)
    elif isinstance(node, Action | Call):
        if node.pipe is not None:
            yield from _identifiers(node.pipe)
    elif isinstance(node, Branch):
        yield from _identifiers(node.pipe)
        yield from _identifiers(node.body)
        if node.otherwise is not None:
            yield from _identifiers(node.otherwise)
    elif isinstance(node, Pipe):
        for command in node.commands:
            for argument in command.arguments:
                yield from _identifiers(argument)
    elif isinstance(node, FieldPath):
        yield from node.names
    elif isinstance(node, Variable):
        yield node.name
        yield from node.names


def _up_to_response(body: Body) -> Body:
    """Cut a body behind the first place that writes the reply, whatever blocks that is in."""
    _cut(body)
    return body


def _cut(body: Body) -> bool:
    for place, node in enumerate(body.nodes):
        if _ends_here(node):
            del body.nodes[place + 1 :]
            return True
    return False


def _ends_here(node: GoValue) -> bool:
    if isinstance(node, Action):
        return any(
            isinstance(argument, FieldPath) and _RESPONSE in argument.names
            for command in node.pipe.commands
            for argument in command.arguments
        )
    if isinstance(node, Branch):
        # The branch that is not taken writes no reply, so both are looked at.
        return _cut(node.body) | (node.otherwise is not None and _cut(node.otherwise))
    return False
