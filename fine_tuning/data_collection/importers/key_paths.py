"""Where messages stand in records of an unknown shape, for a sentence that helps to get them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_collection.importers.message_lists import is_turns

MAX_VALUES = 20_000
MAX_DEPTH = 12


def path_of_messages(records: Sequence[JsonObject]) -> str:
    """Return the path of the first list of messages in records, "" when there is none.

    ``data.chats[].turns`` is the key ``turns`` of each item of the list ``chats`` of ``data``.
    """
    for record in records:
        for path in _paths(record):
            return path.removeprefix(".")
    return ""


def _paths(record: JsonObject) -> Iterator[str]:
    waiting: list[tuple[str, object, int]] = [("", record, 0)]
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        path, value, depth = waiting.pop(0)
        if is_turns(value):
            yield path
        elif depth < MAX_DEPTH:
            waiting += [(f"{path}{step}", inner, depth + 1) for step, inner in _inner(value)]


def _inner(value: object) -> Iterator[tuple[str, object]]:
    """Yield what a value holds that may hold messages, and the step of the path to it."""
    if isinstance(value, Mapping):
        found = [(f".{key}", inner) for key, inner in value.items()]
    else:
        found = [("[]", inner) for inner in (value if isinstance(value, list) else ())[:5]]
    yield from ((step, inner) for step, inner in found if isinstance(inner, Mapping | list))


def command(path: str, *, is_array: bool) -> str:
    """Return the command that writes the lists at a path to a file that can be imported.

    Args:
        path: As :func:`path_of_messages` gives it.
        is_array: Whether the file's records are the items of an array.
    """
    where = ("." if not is_array else ".[].") + path
    return f"jq -c '{where}' FILE > messages.jsonl, then fine-tuning import messages.jsonl"
