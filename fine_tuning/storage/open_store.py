"""Which store a path means, told by its suffix."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from fine_tuning.core.errors import StorageError
from fine_tuning.core.ports import ConversationStore
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.jsonl_store import JsonlConversationStore
from fine_tuning.storage.sqlite_store import SqliteConversationStore

JSONL_SUFFIXES = (".jsonl",)
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_BATCH = 256


def is_sqlite(path: Path | str) -> bool:
    """Tell whether a path's suffix names a database."""
    return Path(path).suffix.lower() in SQLITE_SUFFIXES


def open_store(path: Path | str) -> ConversationStore:
    """Return the store of a path: ``.jsonl`` or ``.db``, ``.sqlite``, ``.sqlite3``.

    Raises:
        StorageError: if the suffix is another, or the store cannot be opened.
    """
    check_suffix(path)
    return SqliteConversationStore(path) if is_sqlite(path) else JsonlConversationStore(path)


def check_suffix(path: Path | str) -> None:
    """Do nothing if a path's suffix names a kind of store.

    Raises:
        StorageError: if it does not.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (*JSONL_SUFFIXES, *SQLITE_SUFFIXES):
        return
    accepted = ", ".join((*JSONL_SUFFIXES, *SQLITE_SUFFIXES))
    raise StorageError(
        f"{path} has suffix {suffix or 'none'!r}, expected one of {accepted}",
        next_command=f"name the file {Path(path).with_suffix('.jsonl')}",
    )


def copy_store(source: ConversationStore, target: Path) -> None:
    """Write everything of a store anew, into a file of the kind its suffix names.

    A store's own ``back_up`` is faster, and keeps its file as it is; this one changes the kind.

    Raises:
        StorageError: if the target cannot be written; an old file there stays as it was.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup.") as folder:
            copy = open_store(Path(folder) / target.name)
            conversations = source.conversations()
            while batch := list(islice(conversations, _BATCH)):
                copy.append_many(batch)
            copy.append_many([], list(source.feedback()))
            copy.back_up(target)
