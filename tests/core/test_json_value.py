"""JSON of unknown shape: read with a look first."""

from __future__ import annotations

import pytest

from fine_tuning.core.json_value import (
    JsonValue,
    json_kind,
    list_at,
    number_at,
    object_at,
    parse_object,
    text_at,
)


def test_an_object_is_parsed() -> None:
    assert parse_object(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[]", "array"),
        ("null", "null"),
        ("true", "boolean"),
        ("1.5", "number"),
        ('"x"', "string"),
    ],
)
def test_another_value_is_named_in_the_error(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"it holds {kind}, expected an object"):
        parse_object(text)


def test_a_torn_text_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        parse_object('{"a": ')


def test_an_object_is_called_one() -> None:
    assert json_kind({}) == "object"


def test_values_are_read_by_their_kind() -> None:
    raw: dict[str, JsonValue] = {
        "text": "x",
        "number": 2,
        "flag": True,
        "list": [1],
        "in": {"a": 1},
    }
    assert (text_at(raw, "text"), text_at(raw, "number"), text_at(raw, "none", "d")) == (
        "x",
        "",
        "d",
    )
    assert (number_at(raw, "number"), number_at(raw, "flag"), number_at(raw, "none")) == (
        2,
        None,
        None,
    )
    assert (object_at(raw, "in"), object_at(raw, "list")) == ({"a": 1}, {})
    assert (list_at(raw, "list"), list_at(raw, "text")) == ([1], ())
