"""Files of things to ask: JSONL, one object a line, each with an id of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject


class NamedItem(Protocol):
    """What is asked, by its name."""

    @property
    def id(self) -> str:
        """The name, once in a file."""


T = TypeVar("T", bound=NamedItem)


def read_items(path: Path, read: Callable[[JsonObject], T], noun: str) -> tuple[T, ...]:
    """Read a JSONL file in order; blank lines are passed over.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        read: Makes an item of a line's object, or raises DataError.
        noun: What one is called in messages, such as ``question``.

    Raises:
        DataError: if the file is missing or empty, a line is no item (the line is named), or an
            id stands twice.
    """
    items: dict[str, T] = {}
    for place, line in _lines(path, noun):
        try:
            raw = json.loads(line)
            item = read(raw if isinstance(raw, Mapping) else {})
        except (json.JSONDecodeError, DataError) as error:
            raise DataError(f"{place} is not a {noun}: {error}") from error
        if item.id in items:
            raise DataError(f"{place} repeats {noun} id {item.id!r}, expected unique ids")
        items[item.id] = item
    if not items:
        raise DataError(f"{path} holds no {noun}, expected one JSON object a line")
    return tuple(items.values())


def _lines(path: Path, noun: str) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of the lines that hold something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"no {noun} can be read from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line
