"""Forgetting a conversation everywhere, backing all of them up, and judging replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import FeedbackKind
from fine_tuning.core.preference import PreferencePair
from fine_tuning.data_collection.judgements import preference_pairs
from fine_tuning.data_collection.residue import files_with, lines_without, pieces_in, traces
from fine_tuning.data_preparation.forgetting import without_conversation
from fine_tuning.data_preparation.snapshot import folder_name, snapshot_members
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.storage.blobs import BlobFolder
from fine_tuning.storage.json_lines import whole_lines
from fine_tuning.storage.open_store import copy_store, is_sqlite
from fine_tuning.storage.records import Records
from fine_tuning.workbench.collection import Collection
from fine_tuning.workbench.models import Models

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


class Forgetting(Collection, Models):
    """What a user does to take something back, and to be safe."""

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
        store = self.store
        store.forget(name)
        blobs = BlobFolder(self.workspace.attachments)
        for orphan in Records(self.workspace.records).forget(name):
            blobs.remove(orphan)
            removed.append(blobs.path(orphan))
        self.forget_what_was_listed()
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
        store = self.store
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
        return self.mark_for_retraining(name, REASON.format(name))

    def _forget_in_datasets(self, name: str) -> dict[str, str]:
        records = Records(self.workspace.records)
        found: dict[str, str] = {}
        for dataset, splits in snapshot_members(self.workspace.datasets).items():
            if not any(name in members for members in splits.values()):
                continue
            new = without_conversation(self.workspace.datasets / folder_name(dataset), name)
            found[dataset] = new.name if new else ""
            if new:
                base = str(dict(new.manifest.get("base_model") or {}).get("name", ""))
                records.add_dataset(new.name, base_model=base, run_id="", replaces=dataset)
        return found

    def _forget_in_runs(self, name: str) -> list[Path]:
        """Take the sequences of a conversation out of the runs' own copies of their data."""
        marks = [f'"conversation_id":"{name}"'.encode(), f'"conversation_id": "{name}"'.encode()]
        changed: list[Path] = []
        for path in sorted(self.workspace.runs.glob("*/data/*.jsonl")):
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
        wanted, log = traces(conversation), self.workspace.conversations
        still_said = pieces_in(log, wanted) if wanted and log.exists() else frozenset()
        own = [piece for piece in wanted if piece not in still_said]
        removed: list[Path] = []
        residue: list[Path] = []
        for path, found in files_with(own, self.workspace.home):
            if path.is_relative_to(self.workspace.quarantine):
                _shorten(path, sorted(found))
                removed.append(path)
            elif path.suffix in MADE_AGAIN and path.name != "manifest.json":
                with storage_errors(path):
                    path.unlink()
                removed.append(path)
            else:
                residue.append(path)
        return removed, residue

    def back_up(self, target: Path) -> Path:
        """Copy all conversations and feedback into a file, while they go on being recorded.

        A target of the log's own kind is a copy of it; one of the other kind, ``.db`` or
        ``.jsonl``, is written anew.

        Raises:
            StorageError: if the target cannot be written; an old file there stays as it was.
        """
        self.require_recorded()
        if is_sqlite(target) == is_sqlite(self.workspace.conversations):
            self.store.back_up(target)
        else:
            copy_store(self.store, target)
        return target

    def judge_reply(  # noqa: PLR0913 - one per field of a judgement
        self,
        session_id: str,
        message_id: str,
        kind: FeedbackKind,
        *,
        value: int = 0,
        text: str = "",
        rejected_id: str = "",
        reason: str = "",
        comment: str = "",
    ) -> str:
        """Note what a person said about a recorded reply; return the judgement's id.

        Raises:
            DataError: if there is no such reply, or the judgement says nothing.
            StorageError: if it could not be written.
        """
        stored = self.store.conversation(session_id)
        replies = {m.id for m in stored.messages if m.role == "assistant"} if stored else set()
        for name in filter(None, (message_id, rejected_id)):
            if name not in replies:
                raise DataError(
                    f"conversation {session_id!r} has no reply {name!r}, expected one recorded",
                    next_command="fine-tuning stats --json",
                )
        return self.logger().log_feedback(
            message_id,
            kind,
            value=value,
            text=text,
            rejected_id=rejected_id,
            reason=reason,
            comment=comment,
            session_id=session_id,
        )

    def feedback_counts(self) -> dict[str, Any]:
        """Count what people said, what is learnt from it, and the pairs it makes."""
        stats = self.logger().get_conversation_stats()["feedback"]
        return {**stats, "preference_pairs": sum(1 for _ in self.preference_pairs())}

    def preference_pairs(self) -> Iterator[PreferencePair]:
        """Yield what people preferred: edited replies, choices, thumbs that differ."""
        return preference_pairs(self.store)

    def write_preference_pairs(self, path: Path) -> int:
        """Write the pairs as TRL reads them, ``prompt``, ``chosen``, ``rejected``; return how many.

        Raises:
            StorageError: if the file cannot be written; an old one there stays as it was.
        """
        count = 0
        with whole_lines(path) as write:
            for count, pair in enumerate(self.preference_pairs(), start=1):  # noqa: B007 - counted
                write(
                    {
                        "prompt": [_shown(message) for message in pair.prompt],
                        "chosen": [_shown(pair.chosen)],
                        "rejected": [_shown(pair.rejected)],
                    }
                )
        return count


def _shown(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.text}


def _shorten(path: Path, pieces: list[bytes]) -> None:
    with storage_errors(path):
        kept, _ = lines_without(path.read_bytes().splitlines(keepends=True), pieces)
    write_file(path, b"".join(kept))
