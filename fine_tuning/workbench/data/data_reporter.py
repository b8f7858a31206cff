"""Looking at the data before training: statistics, the report, masks."""

from __future__ import annotations

import json
from pathlib import Path

from fine_tuning.core.clock import iso
from fine_tuning.core.data_account import DataAccount
from fine_tuning.data_collection.cleaning_account import cleaning_accounts
from fine_tuning.data_collection.data_report import DataReport, data_page
from fine_tuning.data_collection.profile import Profile
from fine_tuning.data_collection.recording_checks import recorded_findings
from fine_tuning.data_collection.statistics import conversation_statistics
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.masking import show_mask
from fine_tuning.data_preparation.preparation_account import preparation_accounts
from fine_tuning.data_preparation.snapshot import MANIFEST, Snapshot, folder_name
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.storage.records import Records
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.cleaning_pipeline import CleaningPipeline, kept_of
from fine_tuning.workbench.data.processing_history import ProcessingHistory


class DataReporter:
    """What a user looks at between recording and training.

    Args:
        context: Workspace, store and clock.
        pipeline: Cleans what was recorded.
        bases: Opens the model whose masks are shown.
        history: What earlier cleanings counted.
    """

    def __init__(
        self,
        context: Context,
        pipeline: CleaningPipeline,
        bases: BaseModels,
        history: ProcessingHistory,
    ) -> None:
        self._context = context
        self._pipeline = pipeline
        self._bases = bases
        self._history = history

    def accounts(
        self, snapshot: Snapshot | None = None, *, is_new: bool = False
    ) -> list[DataAccount]:
        """Return what became of the recorded data: cleaning, then the data set.

        Args:
            snapshot: A data set; None tells of the newest cleaning alone.
            is_new: It was made just now, by the newest cleaning, though an equal one may be older.

        Returns:
            Accounts in the order of the stages; fewer when no cleaning is remembered.

        Raises:
            StorageError: if the records cannot be read.
        """
        counts = self._history.cleaning_before(snapshot.name if snapshot and not is_new else "")
        cleaned = cleaning_accounts(counts) if counts is not None else []
        prepared = preparation_accounts(snapshot.manifest) if snapshot else []
        return [*cleaned, *prepared]

    def newest_data_set(self) -> list[DataAccount]:
        """Return what became of the replies of the data set made last; [] when there is none.

        Raises:
            StorageError: if the records cannot be read.
        """
        path = self._context.workspace.records
        names = [record.name for record in Records(path).datasets()] if path.exists() else []
        for name in reversed(names):
            manifest = self._context.workspace.datasets / folder_name(name) / MANIFEST
            if manifest.exists():
                with storage_errors(manifest):
                    return preparation_accounts(json.loads(manifest.read_bytes()))
        return []

    def report(self) -> DataReport:
        """Return what is known of the recorded conversations: counts, spreads, findings.

        Raises:
            DataError: if none are recorded.
        """
        self._pipeline.require_recorded()
        run, spread, pairs = self._pipeline.stream(), Profile(), 0
        for conversation in kept_of(run):
            spread.add(conversation)
            pairs += sum(len(example.targets) for example in examples_from([conversation]))
        store = self._context.store
        recorded = conversation_statistics(store.conversations(), store.feedback())
        return DataReport(
            recorded={key: n for key, n in recorded.items() if key != "turns_per_session"},
            profile=spread,
            counts=run.counts,
            findings=recorded_findings(run.counts, pairs),
        )

    def write(self, report: DataReport, file: Path) -> Path:
        """Write a report as one HTML file that loads nothing.

        Raises:
            StorageError: if it cannot be written.
        """
        made_at = iso(self._context.clock.now())
        page = data_page(report, source=self._context.workspace.conversations.name, made_at=made_at)
        write_file(file, page.to_html().encode())
        return file

    def masks(self, snapshot: Snapshot, count: int, *, ansi: bool = True) -> list[str]:
        """Return the text of a data set's first sequences, with what is learnt in colour."""
        base = self._bases.of_data_set(snapshot.manifest["base_model"])
        records = snapshot.split("train").records[:count]
        with self._bases.open(base) as server:
            return [show_mask(one.tokenized, server.tokenizer, ansi=ansi) for one in records]
