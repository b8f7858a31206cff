"""The functions a conversation offers to the model, in OpenAI's form whatever form they came in.

    OpenAI, Ollama   {"type": "function", "function": {"name", "description", "parameters"}}
    OpenAI, older    {"name", "description", "parameters"}  (under "functions")
    Anthropic        {"name", "description", "input_schema"}

Data sets with one type per column hold the list, or each function, as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fine_tuning.core.json_value import JsonObject, JsonValue

_PARAMETERS = ("parameters", "input_schema", "inputSchema")


def tool_schemas(metadata: JsonObject) -> tuple[JsonObject, ...]:
    """Return the functions that a conversation's metadata declare.

    Args:
        metadata: The metadata; functions stand under "tools" or "functions".

    Returns:
        The functions in OpenAI's form, each name once; what is no function is left out.
    """
    declared = _read(metadata.get("tools")) or _read(metadata.get("functions"))
    items = declared if isinstance(declared, list | tuple) else [declared]
    schemas: dict[str, JsonObject] = {}
    for item in items:
        function = _function(_read(item))
        if function is not None:
            schemas.setdefault(str(function["name"]), {"type": "function", "function": function})
    return tuple(schemas.values())


def _read(value: JsonValue) -> JsonValue:
    """Return a value, or what its JSON text holds."""
    if not isinstance(value, str):
        return value
    try:
        read: JsonValue = json.loads(value)
    except ValueError:
        return None
    return read


def _function(item: JsonValue) -> dict[str, JsonValue] | None:
    """Return a function's name, description and parameters; None if it is no function."""
    if not isinstance(item, Mapping):
        return None
    inner = _read(item.get("function"))
    function = inner if isinstance(inner, Mapping) else item
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return None
    kept: dict[str, JsonValue] = {
        key: value for key, value in function.items() if key not in _PARAMETERS and key != "type"
    }
    given = next((_read(function[key]) for key in _PARAMETERS if key in function), None)
    kept["parameters"] = (
        given if isinstance(given, Mapping) else {"type": "object", "properties": {}}
    )
    return kept
