"""A small interpreter of Go's text/template, for the part of it chat templates use.

Actions: if, else if, else, range, with, end, variables, comments, trim markers; functions: and,
or, not, eq, ne, lt, le, gt, ge, len, index, slice, json, print, printf("%s"); as in Go, ``and`` and
``or`` return an operand. Execution follows ollama's template/template.go (collate, Execute).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|:=|[()|,=]|[^\s()|,="`]+')


class GoTemplateError(Exception):
    """A template that does not parse, or uses what chat templates do not."""


@dataclass
class Block:
    """A node with bodies: an if chain, a range or a with."""

    kind: str
    arms: list[tuple[str, list[Any]]] = field(default_factory=list)


def parse(source: str) -> list[Any]:
    """Return the nodes of a template: texts, ("action", text) pairs and blocks."""
    root: list[Any] = []
    stack: list[tuple[Block | None, list[Any]]] = [(None, root)]
    position, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[position : match.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if match[1] else text
        position, trim = match.end(), bool(match[3])
        if text:
            stack[-1][1].append(text)
        _open_or_close(match[2], stack)
    tail = source[position:].lstrip() if trim else source[position:]
    if "{{" in tail or len(stack) > 1:
        raise GoTemplateError("template: unclosed action")
    root.append(tail)
    return root


def _open_or_close(action: str, stack: list[tuple[Block | None, list[Any]]]) -> None:
    word, _, rest = action.partition(" ")
    if action.startswith("/*"):
        return
    if word in {"if", "range", "with"}:
        body: list[Any] = []
        block = Block(word, [(rest.strip(), body)])
        stack[-1][1].append(block)
        stack.append((block, body))
    elif word in {"else", "end"}:
        open_block = stack[-1][0]
        if open_block is None:
            raise GoTemplateError(f"template: unexpected {{{{{word}}}}}")
        stack.pop()
        if word == "else":
            body = []
            condition = rest.strip()
            open_block.arms.append((condition.removeprefix("if ").strip(), body))
            stack.append((open_block, body))
    elif word in {"define", "template", "block", "break", "continue"}:
        raise GoTemplateError(f"template: {word} is not supported here")
    else:
        stack[-1][1].append(("action", action))


class _Scope:
    """The dot, the root and the variables in force."""

    def __init__(self, dot: Any, root: Any, variables: dict[str, Any]) -> None:
        self.dot, self.root, self.variables = dot, root, variables

    def with_dot(self, dot: Any) -> _Scope:
        return _Scope(dot, self.root, dict(self.variables))


def execute(source: str, data: Mapping[str, Any]) -> str:
    """Render a template."""
    scope = _Scope(data, data, {})
    return "".join(_run(parse(source), scope))


def _run(nodes: Sequence[Any], scope: _Scope) -> list[str]:
    out: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, Block):
            out += _run_block(node, scope)
        else:
            out += _run_action(node[1], scope)
    return out


def _run_action(action: str, scope: _Scope) -> list[str]:
    assigned = re.fullmatch(r"(\$\w+)\s*:?=\s*(.*)", action, re.DOTALL)
    if assigned:
        scope.variables[assigned[1]] = _pipeline(assigned[2], scope)
        return []
    return [_text(_pipeline(action, scope))]


def _run_block(block: Block, scope: _Scope) -> list[str]:
    if block.kind == "range":
        return _run_range(block, scope)
    for condition, body in block.arms:
        if not condition:
            return _run(body, scope)
        inner = scope
        value = _pipeline(condition, scope)
        if value:
            if block.kind == "with":
                inner = scope.with_dot(value)
            return _run(body, inner)
    return []


def _run_range(block: Block, scope: _Scope) -> list[str]:
    header, body = block.arms[0]
    names: list[str] = []
    if ":=" in header:
        left, _, header = header.partition(":=")
        names = [name.strip() for name in left.split(",")]
    values = _pipeline(header, scope) or []
    pairs = list(values.items()) if isinstance(values, Mapping) else list(enumerate(values))
    if not pairs and len(block.arms) > 1:
        return _run(block.arms[1][1], scope)
    out: list[str] = []
    for key, value in pairs:
        # A range's body assigns to the variables around it: only its own two are new.
        inner = _Scope(value, scope.root, scope.variables)
        for name, given in zip(names, (key, value) if len(names) == 2 else (value,), strict=False):
            inner.variables[name] = given
        out += _run(body, inner)
    return out


def _pipeline(text: str, scope: _Scope) -> Any:
    tokens = _TOKEN.findall(text)
    value, rest = _parse_pipe(tokens, scope)
    if rest:
        raise GoTemplateError(f"template: unexpected {rest[0]!r} in {text!r}")
    return value


def _parse_pipe(tokens: list[str], scope: _Scope) -> tuple[Any, list[str]]:
    value, tokens = _command(tokens, scope, [])
    while tokens and tokens[0] == "|":
        value, tokens = _command(tokens[1:], scope, [value])
    return value, tokens


def _command(tokens: list[str], scope: _Scope, piped: list[Any]) -> tuple[Any, list[str]]:
    if not tokens:
        raise GoTemplateError("template: missing value")
    head, name = None, tokens[0]
    if name in _FUNCTIONS:
        tokens = tokens[1:]
    else:
        head, tokens = _operand(tokens, scope)
        name = ""
    arguments: list[Any] = []
    while tokens and tokens[0] not in {"|", ")"}:
        argument, tokens = _operand(tokens, scope)
        arguments.append(argument)
    if not name:
        if arguments or piped:
            raise GoTemplateError("template: a value was called like a function")
        return head, tokens
    return _FUNCTIONS[name](*arguments, *piped), tokens


def _operand(tokens: list[str], scope: _Scope) -> tuple[Any, list[str]]:
    token, rest = tokens[0], tokens[1:]
    if token == "(":  # noqa: S105
        value, rest = _parse_pipe(rest, scope)
        if not rest or rest[0] != ")":
            raise GoTemplateError("template: unclosed left paren")
        rest = rest[1:]
        if rest and rest[0].startswith(".") and len(rest[0]) > 1:
            return _fields(value, rest[0][1:]), rest[1:]
        return value, rest
    return _atom(token, scope), rest


def _atom(token: str, scope: _Scope) -> Any:  # noqa: C901, PLR0911 - one line per kind
    if token[0] == '"':
        return json.loads(token)
    if token[0] == "`":
        return token[1:-1]
    if token in {"true", "false", "nil"}:
        return {"true": True, "false": False, "nil": None}[token]
    if re.fullmatch(r"-?\d+", token):
        return int(token)
    if token[0] == ".":
        return _fields(scope.dot, token[1:])
    if token[0] == "$":
        name, _, path = token.partition(".")
        if name == "$":
            return _fields(scope.root, path)
        if name not in scope.variables:
            raise GoTemplateError(f"template: undefined variable {name!r}")
        return _fields(scope.variables[name], path)
    raise GoTemplateError(f"template: function {token!r} not defined")


def _fields(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _marshal(value) if isinstance(value, (dict, list, _Struct)) else str(value)


class _Struct(Mapping[str, Any]):
    """A Go struct: fields by their Go names, JSON by its tags, in the order of its fields."""

    def __init__(self, raw: Mapping[str, Any], order: Sequence[str]) -> None:
        self.raw = {key: raw[key] for key in (*order, *raw) if key in raw}
        self._fields = {key.title(): value for key, value in self.raw.items()}

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def _marshal(value: Any) -> str:
    """Return JSON as Go's encoding/json writes it: no spaces, < > & escaped."""

    def plain(item: Any) -> Any:
        return item.raw if isinstance(item, _Struct) else str(item)

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=plain)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _tool(raw: Any) -> _Struct:
    """Return a tool as ollama reads it (api/types.go: Tool, ToolFunction)."""
    function = dict(raw.get("function") or {})
    if isinstance(function.get("parameters"), Mapping):
        order = ("type", "required", "properties")
        function["parameters"] = _Struct(function["parameters"], order)
    inner = _Struct(function, ("name", "description", "parameters"))
    return _Struct({**raw, "function": inner}, ("type", "function"))


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value[key]
    return value


_FUNCTIONS: dict[str, Any] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
    "eq": lambda first, *rest: any(first == other for other in rest),
    "ne": lambda first, other: first != other,
    "lt": lambda first, other: first < other,
    "le": lambda first, other: first <= other,
    "gt": lambda first, other: first > other,
    "ge": lambda first, other: first >= other,
    "len": lambda value: len(value or ()),
    "index": _index,
    "slice": lambda value, start=0, end=None: (value or [])[start:end],
    "json": _marshal,
    "print": lambda *values: "".join(map(_text, values)),
    "printf": lambda form, *values: form.replace("%v", "%s") % values,
}


def render_chat(
    source: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()
) -> str:
    """Render messages as Ollama does: joined by role, system texts hoisted."""
    system, joined = _collate(messages)
    if ".Messages" in source or "$.Messages" in source:
        data = {"System": system, "Messages": joined, "Tools": [_tool(one) for one in tools]}
        data["Response"] = ""
        return execute(source, data)
    return _render_legacy(source, joined)


def _collate(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    joined: list[dict[str, Any]] = []
    system: list[str] = []
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        if role == "system":
            system.append(content)
        if joined and joined[-1]["Role"] == role:
            joined[-1]["Content"] += "\n\n" + content
        else:
            joined.append({
                "Role": role, "Content": content, "ToolCalls": message.get("tool_calls") or [],
                "Thinking": message.get("thinking") or "",
            })  # fmt: skip
    return "\n\n".join(system), joined


def _render_legacy(source: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """Render turn by turn with .System, .Prompt and .Response; the last is cut after the prompt."""
    if ".Response" not in source:
        source += "{{ .Response }}"
    out: list[str] = []
    turn = {"System": "", "Prompt": "", "Response": ""}
    for message in messages:
        if message["Role"] == "system":
            if turn["Prompt"] or turn["Response"]:
                out.append(execute(source, turn))
                turn = {"System": "", "Prompt": "", "Response": ""}
            turn["System"] = message["Content"]
        elif message["Role"] == "user":
            if turn["Response"] or turn["Prompt"]:
                out.append(execute(source, turn))
                turn = {"System": "", "Prompt": "", "Response": ""}
            turn["Prompt"] = message["Content"]
        elif message["Role"] == "assistant":
            turn["Response"] = message["Content"]
    mark = "\ue000"
    rendered = execute(source, {**turn, "Response": turn["Response"] + mark})
    return "".join(out) + rendered.partition(mark)[0]
