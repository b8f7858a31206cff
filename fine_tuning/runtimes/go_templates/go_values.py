"""Go's values as templates see them: what is true, and how each is written and made JSON.

Go's maps are dictionaries, slices lists, nil ``None``; a struct is a :class:`Struct`. Sources: Go,
text/template/exec.go (printValue, truth), fmt/print.go, encoding/json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

GoValue = Any
"""A value of Go: None, bool, int, float, str, dict, list, :class:`Struct`, :class:`JsonText`."""

NO_VALUE = "<no value>"
_LARGE, _SMALL = 1e21, 1e-4


class Struct:
    """A Go struct.

    Args:
        fields: Values by Go's field names, in order.
        json_form: What encoding/json makes of it; None takes the fields.
        is_text_json: Whether it is written as its JSON (it has a method String of that kind).
    """

    __slots__ = ("fields", "is_text_json", "json_form")

    def __init__(
        self,
        fields: Mapping[str, GoValue],
        json_form: GoValue = None,
        *,
        is_text_json: bool = False,
    ) -> None:
        self.fields = dict(fields)
        self.json_form = self.fields if json_form is None else json_form
        self.is_text_json = is_text_json


class JsonText:
    """A Go map or slice whose method String writes JSON; ``value`` may be None."""

    __slots__ = ("empty", "value")

    def __init__(self, value: dict[str, GoValue] | list[GoValue] | None, empty: str) -> None:
        self.value = value
        self.empty = empty


def plain(value: GoValue) -> GoValue:
    """Return the map or slice below a :class:`JsonText`, any other value as it is."""
    return value.value if isinstance(value, JsonText) else value


def is_true(value: GoValue) -> bool:
    """Tell whether a value counts as true: not zero, not empty, not nil; a struct always is."""
    return isinstance(value, Struct) or bool(plain(value))


def to_text(value: GoValue) -> str:
    """Return what an action writes for a value."""
    return NO_VALUE if value is None else formatted(value)


def formatted(value: GoValue) -> str:  # noqa: C901, PLR0911 - one per kind
    """Return a value as fmt's ``%v`` writes it."""
    if isinstance(value, JsonText):
        return value.empty if value.value is None else to_json(value.value)
    if isinstance(value, Struct):
        if value.is_text_json:
            return to_json(value)
        return "{" + " ".join(map(formatted, value.fields.values())) + "}"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{formatted(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + " ".join(map(formatted, value)) + "]"
    return str(value)


def number_text(value: float) -> str:
    """Return a float64 as ``%v`` does: the shortest that reads back, exponents from 1e21."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    if _SMALL <= abs(value) < _LARGE:
        return str(int(value)) if value == int(value) else _fixed(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        mantissa, _, exponent = f"{value:e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"


def _fixed(value: float) -> str:
    text = repr(value)
    return text if "e" not in text else f"{value:.20f}".rstrip("0")


def to_json(value: GoValue) -> str:
    """Return JSON as Go's encoding/json writes it: no blanks, maps sorted, ``< > &`` escaped."""
    text = json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _jsonable(value: GoValue) -> GoValue:  # noqa: PLR0911 - one per kind
    value = plain(value)
    if isinstance(value, Struct):
        form = value.json_form
        if isinstance(form, Mapping):  # a struct keeps the order of its fields
            return {key: _jsonable(item) for key, item in form.items()}
        return _jsonable(form)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and value == int(value) and abs(value) < _LARGE:
        return int(value)
    return value
