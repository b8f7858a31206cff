"""Keys and columns of a known shape that a reader has no use for: named, not passed over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from fine_tuning.core.json_value import JsonObject

ROW_MARKS = frozenset({
    "", "id", "index", "idx", "uuid", "hash", "row", "timestamp", "created_at", "updated_at",
    "create_time", "update_time", "date", "unnamed: 0",
})  # fmt: skip
"""What marks a record and says nothing; a table that pandas wrote has a column without a name."""


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The keys of a record that its reader reads, and those of the turns it holds."""

    record: frozenset[str]
    turn: frozenset[str] = frozenset()


def unread_keys(record: JsonObject, known: KnownKeys) -> Iterator[str]:
    """Yield the keys of a record that hold something and are not read.

    Keys of turns are named after their list: ``messages.images``.
    """
    for key, value in record.items():
        if key in known.record:
            if known.turn and isinstance(value, list):
                turns = [turn for turn in value if isinstance(turn, Mapping)]
                keys = {k for turn in turns for k in unread_names(turn, known.turn)}
                yield from (f"{key}.{name}" for name in sorted(keys))
        elif key not in ROW_MARKS and _says(value):
            yield str(key)


def unread_names(record: JsonObject, read: Collection[str]) -> Iterator[str]:
    """Yield the names in one flat record that hold something and are not read."""
    for key, value in record.items():
        if key not in read and str(key) not in ROW_MARKS and _says(value):
            yield str(key)


def _says(value: object) -> bool:
    return not (value is None or (isinstance(value, str | list | tuple | Mapping) and not value))
