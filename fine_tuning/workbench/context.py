"""What every facade of the workbench stands on: settings, workspace, store, progress, clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock
from fine_tuning.core.ports import Clock, ConversationStore, Progress
from fine_tuning.storage.open_store import open_store


class LazyStore:
    """A store that is opened when it is first needed, and then kept.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._store: ConversationStore | None = None

    def get(self) -> ConversationStore:
        """Return the open store.

        Raises:
            StorageError: if it cannot be opened.
        """
        with self._mutex:
            if self._store is None:
                self._store = open_store(self._path)
            return self._store


@dataclass(frozen=True)
class Context:
    """One user's settings and workspace, and how work reports on itself.

    Args:
        settings: The settings in force.
        workspace: Where the user's data lies.
        progress: Called with how far long work is.
        clock: The source of time.
    """

    settings: Settings
    workspace: Workspace
    progress: Progress | None = None
    clock: Clock = field(default_factory=SystemClock)
    _opened: LazyStore = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_opened", LazyStore(self.workspace.conversations))

    @property
    def store(self) -> ConversationStore:
        """Where conversations are recorded; kept open, as it remembers where each one stands.

        Raises:
            StorageError: if it cannot be opened.
        """
        return self._opened.get()

    def with_progress(self, progress: Progress) -> Context:
        """Return the same context with another progress callback; both share the open store."""
        other = replace(self, progress=progress)
        object.__setattr__(other, "_opened", self._opened)
        return other
