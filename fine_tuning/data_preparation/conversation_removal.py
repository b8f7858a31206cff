"""A data set without one conversation: what is left of it, under the name of its new content.

A data set is never changed in place; the old folder goes when the new one stands. Splits stay as
they were drawn, so that nothing moves between training and test.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fine_tuning.data_preparation.dataset_builder import count_split
from fine_tuning.data_preparation.manifest import SplitCounts, facts_of
from fine_tuning.data_preparation.snapshot import (
    SPLITS,
    Record,
    Snapshot,
    load_snapshot,
    write_snapshot,
)
from fine_tuning.storage.atomic import storage_errors


def without_conversation(folder: Path, conversation_id: str) -> Snapshot | None:
    """Replace a data set by one that does not hold a conversation.

    Returns:
        The new data set, beside the old one, which is gone; None when nothing was left.

    Raises:
        DataError: if the old one is missing or damaged; then it stands as it was.
        StorageError: if the new one cannot be written; then the old one stands.
    """
    old = load_snapshot(folder)
    splits: dict[str, list[Record]] = {}
    counts: dict[str, SplitCounts] = {}
    for split in SPLITS:
        records = old.split(split).records
        splits[split] = [one for one in records if one.example.conversation_id != conversation_id]
        members = old.manifest["splits"][split]["conversation_ids"]
        counts[split] = count_split(
            splits[split], [name for name in members if name != conversation_id]
        )
    facts = facts_of(old.manifest)
    facts["dropped_conversations"] = [
        entry for entry in facts.get("dropped_conversations", []) if entry[0] != conversation_id
    ]
    num_gone = sum(
        old.manifest["splits"][split]["replies"] - counts[split]["replies"] for split in SPLITS
    )
    if num_gone and (replies := facts.get("replies")):
        facts["replies"] = {
            "given": replies["given"] - num_gone,
            "kept": replies["kept"] - num_gone,
        }
    facts["splits"] = counts
    facts["forgotten"] = facts.get("forgotten", 0) + 1
    new = None
    if any(splits.values()):
        new = write_snapshot(folder.parent, splits, facts)
    with storage_errors(folder):
        shutil.rmtree(folder)
    return new
