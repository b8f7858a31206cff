"""Which store a path means, told by its suffix."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.core.errors import StorageError
from fine_tuning.storage.jsonl_store import JsonlConversationStore
from fine_tuning.storage.sqlite_store import SqliteConversationStore

JSONL_SUFFIXES = (".jsonl",)
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def is_sqlite(path: Path | str) -> bool:
    """Tell whether a path's suffix names a database."""
    return Path(path).suffix.lower() in SQLITE_SUFFIXES


def open_store(path: Path | str) -> JsonlConversationStore | SqliteConversationStore:
    """Return the store of a path: ``.jsonl`` or ``.db``, ``.sqlite``, ``.sqlite3``.

    Raises:
        StorageError: if the suffix is another, or the store cannot be opened.
    """
    suffix = Path(path).suffix.lower()
    if suffix in JSONL_SUFFIXES:
        return JsonlConversationStore(path)
    if is_sqlite(path):
        return SqliteConversationStore(path)
    accepted = ", ".join((*JSONL_SUFFIXES, *SQLITE_SUFFIXES))
    raise StorageError(
        f"{path} has suffix {suffix or 'none'!r}, expected one of {accepted}",
        next_command=f"name the file {Path(path).with_suffix('.jsonl')}",
    )
