from __future__ import annotations

import json

import pytest

from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.tool_schemas import tool_schemas

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": PARAMETERS}
WHOLE = {"type": "function", "function": FUNCTION}
ANTHROPIC = {"name": "weather", "description": "Tells it.", "input_schema": PARAMETERS}


@pytest.mark.parametrize(
    "metadata",
    [
        {"tools": [WHOLE]},
        {"tools": [WHOLE, WHOLE]},
        {"tools": WHOLE},
        {"tools": json.dumps([WHOLE])},
        {"tools": [json.dumps(WHOLE)]},
        {"tools": [FUNCTION]},
        {"functions": [FUNCTION]},
        {"tools": [ANTHROPIC]},
        {"tools": [{"type": "function", **FUNCTION}]},
        {"tools": [{"type": "function", "function": json.dumps(FUNCTION)}]},
        {"tools": [WHOLE, {"type": "web_search"}, None, 3, "not json", {"name": ""}]},
    ],
)
def test_every_form_of_a_function_is_openais(metadata: dict[str, JsonValue]) -> None:
    assert tool_schemas(metadata) == (WHOLE,)


@pytest.mark.parametrize("metadata", [{}, {"tools": None}, {"tools": "a list"}, {"tools": 3}])
def test_what_is_no_function_is_left_out(metadata: dict[str, JsonValue]) -> None:
    assert tool_schemas(metadata) == ()


def test_a_function_without_parameters_takes_none() -> None:
    (tool,) = tool_schemas({"tools": [{"name": "now"}]})
    assert tool["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}}
