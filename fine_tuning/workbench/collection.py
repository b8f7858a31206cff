"""Conversations: recording, bringing in, cleaning, handing out, and making data sets of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.data_cleaner import CleaningReport, DataCleaner
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.base import WorkbenchBase


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a file gave: conversations new to the log, those there before, lines passed over."""

    num_new: int
    num_known: int
    skipped: tuple[str, ...]


class Collection(WorkbenchBase):
    """What a user does with conversations."""

    def logger(self) -> ConversationLogger:
        """Return a logger of a new session in the workspace's log."""
        return ConversationLogger(self.workspace.conversations)

    def conversations(self) -> list[Conversation]:
        """Return all recorded conversations.

        Raises:
            DataError: if there are none.
        """
        found = list(open_store(self.workspace.conversations).conversations())
        if not found:
            raise DataError(
                f"No conversations to train on: {self.workspace.conversations} holds none",
                next_command="fine-tuning chat, or fine-tuning import FILE",
            )
        return found

    def import_file(self, path: Path) -> ImportReport:
        """Add a file's conversations to the log; importing it twice adds nothing.

        Raises:
            DataError: if the file cannot be read as conversations.
            StorageError: if the log cannot be written.
        """
        store = open_store(self.workspace.conversations)
        known = {conversation.id for conversation in store.conversations()}
        reader = read_conversations(path)
        num_new = num_known = 0
        for conversation in reader:
            store.append(conversation)
            if conversation.id in known:
                num_known += 1
            else:
                num_new += 1
                known.add(conversation.id)
        skipped = tuple(f"line {item.line}: {item.reason}" for item in reader.skipped)
        if not num_new + num_known:
            first = f"; {skipped[0]}" if skipped else ""
            raise DataError(
                f"{path} holds no conversation in {len(skipped)} lines, expected one JSON object a "
                f"line: a log, ft/1, ChatML, Alpaca or instruction records{first}"
            )
        return ImportReport(num_new=num_new, num_known=num_known, skipped=skipped)

    def clean(self) -> CleaningReport:
        """Clean the recorded conversations by the settings; the log itself stays as it is."""
        collection = self.settings.data_collection
        cleaner = DataCleaner(
            min_length=collection.min_conversation_length,
            max_length=collection.max_conversation_length,
        )
        return cleaner.clean(self.conversations())

    def export(self, folder: Path | None = None) -> dict[str, Path]:
        """Write the clean conversations in every format; return the files by format."""
        exporter = DataExporter(folder or self.workspace.exports)
        return exporter.export_all_formats(self.clean().kept)

    def export_if_due(self) -> dict[str, Path]:
        """Export if the settings ask for it and ``export_interval`` more were recorded.

        Returns:
            The files by format; empty when it was not the time.
        """
        collection = self.settings.data_collection
        if not collection.auto_export:
            return {}
        store = open_store(self.workspace.conversations)
        count = sum(1 for _ in store.conversations())
        return self.export() if count and count % collection.export_interval == 0 else {}

    def prepare(self, base: BaseModel | None = None) -> Snapshot:
        """Build the data set of a base model from the clean conversations.

        Raises:
            DataError: if nothing is left to train on.
        """
        base = base or self.base_model()
        report, preparation = self.clean(), self.settings.data_preparation
        if not report.kept:
            reasons = ", ".join(f"{n} {why}" for why, n in report.counts["dropped"].items())
            raise DataError(
                f"No conversations to train on: cleaning dropped all of them ({reasons})",
                next_command="fine-tuning clean",
            )
        with self.open_model(base) as server:
            builder = DatasetBuilder(
                server.tokenizer,
                server.renderer,
                max_length=preparation.max_length,
                ratios=Ratios(
                    train=preparation.train_ratio,
                    validation=preparation.validation_ratio,
                    test=preparation.test_ratio,
                ),
                seed=self.settings.training.seed,
                base_model={"name": base.name, "digest": base.digest()},
            )
            return builder.build(report.kept, self.workspace.datasets, progress=self.progress)
