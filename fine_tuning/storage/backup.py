"""A copy of all conversations and feedback, while they go on being recorded."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.jsonl_store import JsonlConversationStore
from fine_tuning.storage.open_store import is_sqlite, open_store
from fine_tuning.storage.sqlite_store import SqliteConversationStore

BATCH = 64
"""Conversations written at a time."""


def back_up(store: JsonlConversationStore | SqliteConversationStore, target: Path) -> None:
    """Copy a store into a file.

    A target of the store's own kind is a copy of it; one of the other kind, ``.db`` or ``.jsonl``,
    is written anew.

    Raises:
        StorageError: if the target cannot be written; an old file there stays as it was.
    """
    if is_sqlite(target) == is_sqlite(store.path):
        store.back_up(target)
        return
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup.") as folder:
            other = open_store(Path(folder) / target.name)
            conversations = iter(store.conversations())
            while batch := list(islice(conversations, BATCH)):
                other.append_many(batch)
            other.append_many([], list(store.feedback()))
            other.back_up(target)
