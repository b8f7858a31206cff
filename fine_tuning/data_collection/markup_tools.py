"""Calls of tools and their results, as programs and models write them into a reply's text."""

# ruff: noqa: RUF001 - marks are searched for in the letters in which they are written

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

import orjson

from fine_tuning.core.conversation import ToolCall

_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.DOTALL)
_CODE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)\n?[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"<function[= ]\"?([\w.:\-/]+)\"?\s*>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter(?:=| name=)\"?([\w.:\-]+)\"?[^>]*>\n?(.*?)\n?</parameter>", re.DOTALL
)
_INVOKE = re.compile(
    r"<(?:antml:)?invoke name=\"([^\"]+)\"[^>]*>(.*?)</(?:antml:)?invoke>", re.DOTALL
)
_ANT_PARAMETER = re.compile(
    r"<(?:antml:)?parameter name=\"([^\"]+)\"[^>]*>(.*?)</(?:antml:)?parameter>", re.DOTALL
)
_ARG_PAIR = re.compile(r"<arg_key>\s*(.*?)\s*</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_NAMED_ARGS = re.compile(r"\s*([\w.\-]+)(?:\[CALL_ID\]\w+)?\s*(?:\[ARGS\])?\s*(?=\{)")
_DEEPSEEK = re.compile(
    r"(?:function)?<｜tool▁sep｜>([\w.\-]+)\s*(?:```json)?\s*(\{.*?\})?\s*(?:```)?"
    r"\s*(?=<｜tool▁call▁end｜>|<｜tool▁call▁begin｜>|\Z)",
    re.DOTALL,
)
_KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?([\w.\-]+?)(?::\d+)?\s*"
    r"<\|tool_call_argument_begin\|>(.*?)<\|tool_call_end\|>",
    re.DOTALL,
)
_NUM_LEVELS = 3


@dataclass(frozen=True, slots=True)
class CallMark:
    """A call that stood in a text."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ResultMark:
    """A result that stood in a text; ``call_id`` is "" where it named no call."""

    text: str
    call_id: str = ""


ToolMark = CallMark | ResultMark


def attributes(tag: str) -> dict[str, str]:
    """Return the attributes of an opening tag, their entities resolved."""
    return {
        found[1].lower(): unescape(found[2] if found[2] is not None else found[3])
        for found in _ATTRIBUTE.finditer(tag)
    }


def details_marks(tag: str, inner: str) -> Iterator[ToolMark]:
    """Yield the call and the result in Open WebUI's ``<details>``, as far as they are there.

    Args:
        tag: The opening tag, whose attributes hold name, arguments and result as JSON.
        inner: What stands between the tags; the code, for a code interpreter.
    """
    given = attributes(tag)
    if given.get("type") == "code_interpreter":
        code = _CODE.search(inner)
        name, result = "code_interpreter", given.get("output", "")
        said: dict[str, Any] = {"code": code[2] if code else inner.strip()}
    else:
        name, result = given.get("name", ""), given.get("result", "")
        said = _arguments(given.get("arguments", ""))
    call_id = given.get("id", "")
    if name:
        yield CallMark(ToolCall(id=call_id, name=name, arguments=said))
        if result:
            yield ResultMark(_result(result), call_id)


def call_marks(inner: str) -> Iterator[ToolMark]:
    """Yield the calls that a model wrote within its own tags, in any of their grammars."""
    for read in (_invoked, _functions, _special, _json_calls):
        if calls := read(inner):
            yield from (CallMark(call) for call in calls)
            return


def result_mark(inner: str) -> ResultMark:
    """Return a result that stood within its tags."""
    return ResultMark(inner.strip())


def _loaded(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value, None when the text is none."""
    try:
        return orjson.loads(text)
    except (ValueError, TypeError):  # half surrogates, NaN: such values cannot be stored
        return None


def _arguments(given: object) -> dict[str, Any]:
    """Return arguments given as an object, its JSON text, or the JSON text of that text."""
    value: Any = given
    for _ in range(_NUM_LEVELS):
        if isinstance(value, str):
            value = _loaded(value) if value.strip() else {}
    if isinstance(value, Mapping):
        return dict(value)
    return {"input": given} if given else {}


def _result(given: str) -> str:
    """Return a result as text: JSON strings are unwrapped, other values stay JSON."""
    value: Any = given
    for _ in range(_NUM_LEVELS):
        read = _loaded(value)
        if not isinstance(read, str):
            break
        value = read
    found = _loaded(value)
    if isinstance(found, Mapping) and isinstance(found.get("stdout"), str):
        said = [found.get("stdout"), found.get("stderr"), found.get("result")]
        return "\n".join(str(one).strip() for one in said if one)
    return str(value)


def _invoked(inner: str) -> list[ToolCall]:
    return [
        ToolCall(
            id="", name=found[1], arguments={p[1]: p[2] for p in _ANT_PARAMETER.finditer(found[2])}
        )
        for found in _INVOKE.finditer(inner)
    ]


def _functions(inner: str) -> list[ToolCall]:
    calls = []
    for found in _FUNCTION.finditer(inner):
        pairs = {p[1]: p[2] for p in _PARAMETER.finditer(found[2])}
        calls.append(
            ToolCall(id="", name=found[1], arguments=pairs or _arguments(found[2].strip()))
        )
    return calls


def _special(inner: str) -> list[ToolCall]:
    for pattern in (_DEEPSEEK, _KIMI):
        if found := [
            ToolCall(id="", name=one[1], arguments=_arguments((one[2] or "").strip()))
            for one in pattern.finditer(inner)
        ]:
            return found
    pairs = {one[1]: one[2] for one in _ARG_PAIR.finditer(inner)}
    name = inner.strip().split("\n")[0].split("<")[0].strip()
    return [ToolCall(id="", name=name, arguments=pairs)] if pairs and name else []


def _json_calls(inner: str) -> list[ToolCall]:
    """Read objects, a list of them, or Mistral's ``name[ARGS]{...}``."""
    text = inner.strip()
    if found := _NAMED_ARGS.match(text):
        given = _decoded(text, found.end())
        return [ToolCall(id="", name=found[1], arguments=dict(given[0]))] if given else []
    place, calls = 0, list[ToolCall]()
    while place < len(text) and (read := _decoded(text, place)):
        value, place = read
        items = value if isinstance(value, list) else [value]
        calls += [call for item in items if (call := _of_object(item)) is not None]
        while place < len(text) and text[place] in " \t\r\n,;":
            place += 1
    return calls


def _decoded(text: str, place: int) -> tuple[Any, int] | None:
    """Return the object or list that begins at a place, and its end."""
    if text[place : place + 1] not in {"{", "["}:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, place)
        orjson.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return None
    return value, end


def _of_object(item: object) -> ToolCall | None:
    if not isinstance(item, Mapping):
        return None
    function = item.get("function")
    inner = function if isinstance(function, Mapping) else item
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        return None
    given: object = next(
        (inner[key] for key in ("arguments", "parameters", "args") if key in inner), {}
    )
    call_id = item.get("id")
    return ToolCall(
        id=call_id if isinstance(call_id, str) else "", name=name, arguments=_arguments(given)
    )
