"""The functions templates may call: Go's own and Ollama's.

Sources: Go, text/template/funcs.go; Ollama, template/template.go (funcs).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote_plus

from fine_tuning.runtimes.go_templates.go_values import (
    GoValue,
    Struct,
    formatted,
    is_true,
    number_text,
    plain,
    to_json,
)
from fine_tuning.runtimes.go_templates.nodes import GoTemplateError

_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
MAX_WIDTH = 1000
_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


def _failed(what: str) -> GoTemplateError:
    return GoTemplateError(f"the Go template failed: {what}")


def _length(value: GoValue) -> int:
    value = plain(value)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (Mapping, Sequence)):
        return len(value)
    raise _failed(f"len of {formatted(value)}")


def _index(value: GoValue, *keys: GoValue) -> GoValue:
    for key in keys:
        value = plain(value)
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence):
            items = value.encode() if isinstance(value, str) else value
            if not _is_integer(key) or not 0 <= key < len(items):
                raise _failed(f"index {formatted(key)} of {len(items)} items")
            value = items[key]
        else:
            raise _failed(f"index of {formatted(value)}")
    return value


def _slice(value: GoValue, *bounds: GoValue) -> GoValue:
    value = plain(value)
    items = value.encode() if isinstance(value, str) else value
    if items is None:
        items = []
    if not isinstance(items, (bytes, Sequence)) or len(bounds) > 2:  # noqa: PLR2004 - start, end
        raise _failed(f"slice of {formatted(value)}")
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(items)
    if not _is_integer(start) or not _is_integer(end) or not 0 <= start <= end <= len(items):
        raise _failed(f"slice from {formatted(start)} to {formatted(end)} of {len(items)} items")
    part = items[start:end]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _is_integer(value: GoValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: GoValue) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    return "string" if isinstance(value, str) else "nil" if value is None else "other"


def _equal(first: GoValue, *others: GoValue) -> bool:
    if not others:
        raise _failed("eq needs two values")
    for other in others:
        kinds = {_kind(first), _kind(other)}
        if "other" in kinds:
            raise _failed("eq compares values that cannot be compared")
        if len(kinds) > 1 and "nil" not in kinds:
            raise _failed(f"eq compares {formatted(first)!r} with {formatted(other)!r}")
        if first == other and len(kinds) == 1:
            return True
    return False


def _less(first: GoValue, other: GoValue) -> bool:
    if _kind(first) != _kind(other) or _kind(first) not in {"int", "float", "string"}:
        raise _failed(f"lt compares {formatted(first)!r} with {formatted(other)!r}")
    return bool(first < other)


def _print(*values: GoValue) -> str:
    out: list[str] = []
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            out.append(" ")
        out.append(formatted(value))
    return "".join(out)


def _printf(form: GoValue, *values: GoValue) -> str:
    if not isinstance(form, str):
        raise _failed("printf needs a text first")
    waiting = list(values)

    def replaced(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not waiting:
            return f"%!{verb}(MISSING)"
        if int(width or 0) > MAX_WIDTH or int(precision or 0) > MAX_WIDTH:
            raise _failed(f"printf is wider than {MAX_WIDTH} characters")
        text = _verb(verb, waiting.pop(0), precision)
        pad = "0" if "0" in flags and "-" not in flags and verb in "dfxX" else " "
        size = int(width or 0)
        return text.ljust(size) if "-" in flags else text.rjust(size, pad)

    text = _VERB.sub(replaced, form)
    if not waiting:
        return text
    extra = ", ".join(f"{_type_name(value)}={formatted(value)}" for value in waiting)
    return f"{text}%!(EXTRA {extra})"


def _verb(verb: str, value: GoValue, precision: str | None) -> str:  # noqa: PLR0911 - one per verb
    if verb in {"v", "s"}:
        text = formatted(value)
        return text[: int(precision)] if precision and verb == "s" else text
    if verb == "q" and isinstance(value, str):
        return (
            to_json(value).replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")
        )
    if verb == "d" and _is_integer(value):
        return str(value)
    if verb == "t" and isinstance(value, bool):
        return formatted(value)
    if verb in {"x", "X"} and (_is_integer(value) or isinstance(value, str)):
        text = f"{value:x}" if isinstance(value, int) else value.encode().hex()
        return text.upper() if verb == "X" else text
    if verb in {"f", "e", "g"} and isinstance(value, float):
        if verb == "g" and precision is None:
            return number_text(value)
        return f"{value:.{precision or 6}{verb}}"
    return f"%!{verb}({_type_name(value)}={formatted(value)})"


def _type_name(value: GoValue) -> str:
    names = {"bool": "bool", "int": "int", "float": "float64", "string": "string", "nil": "<nil>"}
    return names.get(_kind(value), "value")


def _typescript(value: GoValue) -> str:
    """Return the TypeScript type of a tool's parameter (Ollama: api/types.go)."""
    if not isinstance(value, Struct):
        return "any"
    if any_of := value.fields.get("AnyOf"):
        return " | ".join(map(_typescript, any_of))
    types = value.fields.get("Type")
    listed = [types] if isinstance(types, str) else list(types or ())
    return " | ".join(_TYPESCRIPT.get(str(kind), "any") for kind in listed) or "any"


def _today(*_: GoValue) -> str:
    return str(_local_date())


def _yesterday(*_: GoValue) -> str:
    return str(_local_date() - timedelta(days=1))


def _local_date() -> date:
    return datetime.now(UTC).astimezone().date()


def _script_text(*values: GoValue) -> str:
    escapes = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026"}
    escapes |= {"=": "\\u003D"}
    text = "".join(escapes.get(char, char) for char in _print(*values))
    return re.sub(r"[\x00-\x1f]", lambda found: f"\\u{ord(found[0]):04X}", text)


FUNCTIONS: dict[str, Callable[..., GoValue]] = {
    "not": lambda value: not is_true(value),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "eq": _equal,
    "ne": lambda first, other: not _equal(first, other),
    "lt": _less,
    "le": lambda first, other: _less(first, other) or _equal(first, other),
    "gt": lambda first, other: not (_less(first, other) or _equal(first, other)),
    "ge": lambda first, other: not _less(first, other),
    "print": _print,
    "println": lambda *values: " ".join(map(formatted, values)) + "\n",
    "printf": _printf,
    "html": lambda *values: (
        html.escape(_print(*values)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    ),
    "js": _script_text,
    "urlquery": lambda *values: quote_plus(_print(*values)),
    "json": to_json,
    "currentDate": _today,
    "yesterdayDate": _yesterday,
    "toTypeScriptType": _typescript,
}
"""What may be called, by name; ``and`` and ``or``, which stop early, are the executor's."""

SHORT_CIRCUITS = frozenset({"and", "or"})
NAMES = frozenset(FUNCTIONS) | SHORT_CIRCUITS
