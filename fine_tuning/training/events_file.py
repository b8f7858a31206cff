"""``events.jsonl``: what a run told, one JSON object a line, in order, for whoever watches.

A line is on its way to disk before the run goes on, so a killed run loses none. When a run goes
on from a checkpoint, events of the work that is done again are taken out first: every step then
stands in the file exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from fine_tuning.core.events import RunEvent
from fine_tuning.core.ports import RunListener
from fine_tuning.storage.atomic import storage_errors, write_file

if TYPE_CHECKING:
    from fine_tuning.training.checkpoints import LoopProgress

HISTORY = frozenset({"started", "resumed", "failed"})
"""Kinds that tell what happened to the process; doing steps again does not undo them."""


class Listeners:
    """Passes each event to several listeners, in order."""

    def __init__(self, listeners: Sequence[RunListener]) -> None:
        self._listeners = tuple(listeners)

    def on_event(self, event: RunEvent) -> None:
        """Pass an event on."""
        for listener in self._listeners:
            listener.on_event(event)


class EventsFile:
    """A listener that appends to ``events.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_event(self, event: RunEvent) -> None:
        """Append one line; a checkpoint's line is also forced to disk.

        Raises:
            StorageError: if the line cannot be written.
        """
        with storage_errors(self.path), self.path.open("ab") as file:
            file.write(orjson.dumps(event.to_dict()) + b"\n")
            if event.kind == "checkpoint":
                file.flush()
                os.fsync(file.fileno())

    def rewind(self, progress: LoopProgress) -> None:
        """Take out the events of work that is going to be done again, and a torn last line.

        Args:
            progress: Where the run goes on.

        Raises:
            StorageError: if the file cannot be rewritten.
        """
        kept = [event for event in read_events(self.path) if _stands(event, progress)]
        lines = b"".join(orjson.dumps(event.to_dict()) + b"\n" for event in kept)
        write_file(self.path, lines)


def read_events(path: Path) -> Iterator[RunEvent]:
    """Yield the events of a file, oldest first; a missing file has none, a torn line is skipped.

    Raises:
        StorageError: if the file cannot be read.
    """
    if not path.exists():
        return
    with storage_errors(path):
        lines = path.read_bytes().splitlines()
    for line in lines:
        try:
            event = RunEvent.from_dict(orjson.loads(line))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
        yield event


def _stands(event: RunEvent, progress: LoopProgress) -> bool:
    """Tell whether an event is part of the past at ``progress``."""
    if event.kind in HISTORY:
        return True
    if event.kind == "finished":
        return False
    if event.kind in {"validation", "remark"}:
        # A checkpoint may lie between a step and its evaluation.
        return event.step <= max(progress.evaluated_step, progress.step - 1)
    return event.step <= progress.step
