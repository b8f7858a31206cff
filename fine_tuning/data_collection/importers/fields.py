"""Small readings that many formats share: texts, times, pictures, calls of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fine_tuning.core.conversation import Part, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, json_kind

_MILLISECONDS_FROM = 1e11
"""Epoch numbers above this are milliseconds: as seconds they would lie after the year 5000."""
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic", ".bmp", ".avif")
_NANOSECONDS_FROM = 1e17
_LAST_SECOND = 253_402_300_799  # 9999-12-31
_TAVERN_TIME = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})\s*@\s*(\d{1,2})h\s*(\d{1,2})m\s*(\d{1,2})s(?:\s*(\d{1,3})ms)?"
)
_MONTH_TIME = re.compile(r"([A-Z][a-z]+ \d{1,2}, \d{4} \d{1,2}:\d{2})\s*([ap]m)", re.IGNORECASE)


def text(raw: JsonObject, *keys: str) -> str:
    """Return the first of some keys that holds text, "" when none does."""
    for key in keys:
        value = raw.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def words(raw: JsonObject, key: str) -> str:
    """Return what somebody said; a missing value or null is "".

    Raises:
        DataError: if it is no text.
    """
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{key!r} is {type(value).__name__}, expected text")
    return value


def name_of(raw: JsonObject, *keys: str) -> str:
    """Return the first of some keys that holds a text or a whole number, as text."""
    for key in keys:
        value = raw.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)[:64]
        if isinstance(value, str) and value:
            return value
    return ""


def objects(raw: JsonObject, key: str) -> list[dict[str, JsonValue]]:
    """Return the objects of a list.

    Raises:
        DataError: if the value is no list, or holds something else than objects.
    """
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise DataError(f"{key!r} is expected to be a list of objects")
    return value


def mapping(raw: JsonObject, key: str) -> JsonObject:
    """Return the object of a key, an empty one when it holds none."""
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def parts(said: str) -> tuple[Part, ...]:
    """Return text as a message's content; none for ""."""
    return (Part(text=said),) if said else ()


def picture(url: object, name: str = "") -> Part:
    """Return an image by its address, which may be the image itself as a ``data:`` URL."""
    return Part(type="image_url", data={"url": str(url), **({"name": name} if name else {})})


def named_pictures(files: JsonValue) -> tuple[Part, ...]:
    """Return the pictures among files that an export names but may not hold."""
    found = [one for one in files if isinstance(one, Mapping)] if isinstance(files, list) else []
    return tuple(
        picture(text(one, "filepath", "url", "path") or name, name)
        for one in found
        if (name := text(one, "file_name", "filename", "name", "url"))
        and (text(one, "type").startswith("image") or name.lower().endswith(_PICTURES))
    )


def iso_time(value: object) -> str:
    """Return a time as ISO 8601 in UTC: epoch seconds, milliseconds, nanoseconds or a date text.

    A text without a zone counts as UTC; what is no time is "".
    """
    moment: datetime | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        moment = _of_number(float(value) if abs(value) < 1e30 else 0.0)  # noqa: PLR2004 - no time
    elif isinstance(value, str):
        moment = _of_text(value.strip())
    if moment is None:
        return ""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return zoned.astimezone(UTC).isoformat(timespec="microseconds")
    except (OverflowError, ValueError):
        return ""


def _of_number(value: float) -> datetime | None:
    if value > _NANOSECONDS_FROM:
        value /= 1e9
    elif value > _MILLISECONDS_FROM:
        value /= 1e3
    return datetime.fromtimestamp(value, UTC) if 0 < value < _LAST_SECOND else None


def _of_text(value: str) -> datetime | None:
    for read in (datetime.fromisoformat, _of_tavern, lambda said: _of_number(float(said))):
        try:
            return read(value)
        except (ValueError, OverflowError):
            continue
    return None


def _of_tavern(value: str) -> datetime:
    """Read the two ways in which SillyTavern wrote times before it took to ISO 8601.

    Raises:
        ValueError: if it is neither.
    """
    if found := _TAVERN_TIME.match(value):
        year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
        micro = int(found[7] or 0) * 1000
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    if found := _MONTH_TIME.match(value):
        given = f"{found[1]} {found[2].upper()} +0000"
        return datetime.strptime(given, "%B %d, %Y %I:%M %p %z")
    raise ValueError


def object_of(value: JsonValue) -> JsonObject:
    """Return a value that must be an object.

    Raises:
        DataError: if it is another.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"found {json_kind(value)}, expected an object")
    return value


def list_of(value: JsonValue) -> Sequence[JsonValue]:
    """Return a value that must be a list; null is an empty one.

    Raises:
        DataError: if it is another.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise DataError(f"found {json_kind(value)}, expected a list")
    return value


def arguments(value: JsonValue) -> JsonObject:
    """Return the arguments of a call, given as an object or as its JSON text.

    Raises:
        DataError: if they are neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except (ValueError, RecursionError) as error:
            raise DataError(f"a tool call's arguments are no JSON: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return {"value": value}
    return value


def tool_call(call_id: object, name: object, given: JsonValue) -> ToolCall:
    """Return a call of a tool.

    Raises:
        DataError: if the name is missing or the arguments are no JSON.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f"a tool call has the name {name!r}, expected text")
    return ToolCall(id=str(call_id or ""), name=name, arguments=arguments(given))
