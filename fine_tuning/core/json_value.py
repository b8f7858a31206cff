"""What JSON can hold, as types that make a reader look before it takes.

A value of unknown shape is a :data:`JsonValue`: a checker lets nobody use it as a text or a number
before an ``isinstance``. Read-only types, so that a ``dict[str, int]`` or a tuple is one too. An
object of known shape is a ``TypedDict`` or a dataclass instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, Union

JsonValue: TypeAlias = Union[  # noqa: UP007 - `json_shape` looks at it when a program runs
    str, int, float, bool, Sequence["JsonValue"], Mapping[str, "JsonValue"], None
]
JsonObject: TypeAlias = Mapping[str, JsonValue]


def parse_object(text: str | bytes) -> dict[str, JsonValue]:
    """Parse a JSON object.

    Raises:
        ValueError: if it is not JSON, or another value than an object.
    """
    value: JsonValue = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds {json_kind(value)}, expected an object")  # noqa: TRY004 - as json.loads
    return value


def json_kind(value: JsonValue) -> str:
    """Return what JSON calls a value: ``object``, ``array``, ``string``, ``number`` and so on."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def text_at(raw: JsonObject, key: str, default: str = "") -> str:
    """Return the text under a key; the default where there is none, or another kind of value."""
    value = raw.get(key)
    return value if isinstance(value, str) else default


def number_at(raw: JsonObject, key: str) -> float | None:
    """Return the number under a key; None where there is none. A boolean is no number."""
    value = raw.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def object_at(raw: JsonObject, key: str) -> JsonObject:
    """Return the object under a key; an empty one where there is none."""
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def list_at(raw: JsonObject, key: str) -> Sequence[JsonValue]:
    """Return the list under a key; an empty one where there is none. A text is no list."""
    value = raw.get(key)
    return value if isinstance(value, list | tuple) else ()


def object_of(raw: JsonObject, key: str) -> dict[str, JsonValue]:
    """Return the object under a key; KeyError and TypeError as :func:`text_of` raises them."""
    value = raw[key]
    if not isinstance(value, Mapping):
        raise _other_kind(key, value, "an object")
    return dict(value)


def list_of(raw: JsonObject, key: str) -> Sequence[JsonValue]:
    """Return the list under a key, a text being none; raises as :func:`text_of` does."""
    value = raw[key]
    if not isinstance(value, list | tuple):
        raise _other_kind(key, value, "a list")
    return value


def text_of(raw: JsonObject, key: str) -> str:
    """Return the text under a key.

    Raises:
        KeyError: if there is nothing.
        TypeError: if it is another kind of value.
    """
    value = raw[key]
    if not isinstance(value, str):
        raise _other_kind(key, value, "a text")
    return value


def number_of(raw: JsonObject, key: str) -> float:
    """Return the number under a key, also where it is written as a text.

    Raises:
        KeyError: if there is nothing.
        TypeError: if it is another kind of value.
        ValueError: if a text is no number.
    """
    value = raw[key]
    if not isinstance(value, int | float | str):
        raise _other_kind(key, value, "a number")
    return float(value)


def _other_kind(key: str, value: JsonValue, expected: str) -> TypeError:
    return TypeError(f"{key} is {json_kind(value)}, expected {expected}")


def trusted(raw: object) -> Any:  # noqa: ANN401 - the point of it
    """Return JSON unchecked, for readers of a stored form that are too hot to look at each value.

    Wrong kinds of values end where the value that is made of them refuses them.
    """
    return raw
