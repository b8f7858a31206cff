"""Forgetting a conversation everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.leftover_scan import files_with, lines_without, pieces_in, traces
from fine_tuning.data_preparation.conversation_removal import without_conversation
from fine_tuning.data_preparation.snapshot import folder_name, snapshot_members
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.storage.blobs import BlobFolder
from fine_tuning.storage.records import Records
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import ConversationIndex

REASON = "conversation {} was forgotten"
MADE_AGAIN = (".json", ".jsonl", ".html", ".md", ".csv", ".txt")
"""Files that are written again by the command that made them: reports, exports, evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What became of a conversation and of everything that held it.

    Attributes:
        conversation_id: Its id.
        datasets: The data sets that held it, with the one made in place of each; "" for none.
        to_retrain: The versions that learnt from it, now marked.
        removed: Files that held its words and were removed, or written again without them.
        residue: Files that still hold some of its words and could not be changed.
    """

    conversation_id: str
    datasets: dict[str, str]
    to_retrain: tuple[str, ...]
    removed: tuple[Path, ...]
    residue: tuple[Path, ...]


class ConversationEraser:
    """Removes a conversation from everything that holds it.

    Args:
        context: Workspace and store.
        index: What is remembered of the conversations, cleared on the way.
        mark: Marks the versions trained on a conversation, with a reason; returns their names.
    """

    def __init__(
        self, context: Context, index: ConversationIndex, mark: Callable[[str, str], list[str]]
    ) -> None:
        self._context = context
        self._index = index
        self._mark_versions = mark

    def forget(self, conversation_id: str) -> Forgotten:
        """Remove a conversation from the log, records, attachments, data sets, exports and reports.

        What was learnt from it stays in the weights: the versions are marked for retraining. A
        later import of a file that holds it brings it back.

        Args:
            conversation_id: Its id, or the beginning of one.

        Raises:
            DataError: if there is none, or several begin like this.
            StorageError: if a file cannot be written; running it again goes on.
        """
        conversation = self._find(conversation_id)
        name = conversation.id
        to_retrain = self._mark(name)
        datasets = self._forget_in_datasets(name)
        removed = self._forget_in_runs(name)
        store = self._context.store
        store.forget(name)
        blobs = BlobFolder(self._context.workspace.attachments)
        for orphan in Records(self._context.workspace.records).forget(name):
            blobs.remove(orphan)
            removed.append(blobs.path(orphan))
        self._index.clear()
        gone, residue = self._clear(conversation)
        return Forgotten(
            conversation_id=name,
            datasets=datasets,
            to_retrain=tuple(to_retrain),
            removed=(*removed, *gone),
            residue=tuple(residue),
        )

    def _find(self, beginning: str) -> Conversation:
        """Find a conversation by its id or the beginning of one.

        Raises:
            DataError: if there is none, or several begin like this.
        """
        store = self._context.store
        if (found := store.conversation(beginning)) is not None:
            return found
        all_of_them = store.conversations() if beginning else ()
        fitting = [one for one in all_of_them if one.id.startswith(beginning)]
        if len(fitting) == 1:
            return fitting[0]
        names = ", ".join(c.id for c in fitting[:3])
        what = f"{len(fitting)} conversations begin with" if fitting else "there is no conversation"
        raise DataError(
            f"{what} {beginning!r}{f': {names}' if names else ''}, expected the id of one",
            next_command="fine-tuning stats --json",
        )

    def _mark(self, name: str) -> list[str]:
        """Mark the versions that learnt from a conversation, while its data sets still say so."""
        return self._mark_versions(name, REASON.format(name))

    def _forget_in_datasets(self, name: str) -> dict[str, str]:
        records = Records(self._context.workspace.records)
        found: dict[str, str] = {}
        for dataset, splits in snapshot_members(self._context.workspace.datasets).items():
            if not any(name in members for members in splits.values()):
                continue
            new = without_conversation(
                self._context.workspace.datasets / folder_name(dataset), name
            )
            found[dataset] = new.name if new else ""
            if new:
                base = str(dict(new.manifest.get("base_model") or {}).get("name", ""))
                records.add_dataset(new.name, base_model=base, run_id="", replaces=dataset)
        return found

    def _forget_in_runs(self, name: str) -> list[Path]:
        """Take the sequences of a conversation out of the runs' own copies of their data."""
        marks = [f'"conversation_id":"{name}"'.encode(), f'"conversation_id": "{name}"'.encode()]
        changed: list[Path] = []
        for path in sorted(self._context.workspace.runs.glob("*/data/*.jsonl")):
            with storage_errors(path):
                kept, num_gone = lines_without(path.read_bytes().splitlines(keepends=True), marks)
            if num_gone:
                write_file(path, b"".join(kept))
                changed.append(path)
        return changed

    def _clear(self, conversation: Conversation) -> tuple[list[Path], list[Path]]:
        """Remove or shorten the files that still hold words of a conversation.

        Words that another conversation said too are no sign of this one.
        """
        wanted, log = traces(conversation), self._context.workspace.conversations
        still_said = pieces_in(log, wanted) if wanted and log.exists() else frozenset()
        own = [piece for piece in wanted if piece not in still_said]
        removed: list[Path] = []
        residue: list[Path] = []
        for path, found in files_with(own, self._context.workspace.home):
            if path.is_relative_to(self._context.workspace.quarantine):
                _shorten(path, sorted(found))
                removed.append(path)
            elif path.suffix in MADE_AGAIN and path.name != "manifest.json":
                with storage_errors(path):
                    path.unlink()
                removed.append(path)
            else:
                residue.append(path)
        return removed, residue


def _shorten(path: Path, pieces: list[bytes]) -> None:
    with storage_errors(path):
        kept, _ = lines_without(path.read_bytes().splitlines(keepends=True), pieces)
    write_file(path, b"".join(kept))
