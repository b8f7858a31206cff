"""Looking at the data before training: statistics, the report, masks, preflight."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.data_collection.preflight import recorded_findings
from fine_tuning.data_collection.profile import Profile
from fine_tuning.data_collection.statistics import conversation_statistics
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.masking import show_mask
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.curation import Curation, kept_of
from fine_tuning.workbench.data_report import DataReport, data_page


class Reviewing(Curation):
    """What a user looks at between recording and training."""

    def data_report(self) -> DataReport:
        """Return what is known of the recorded conversations: counts, spreads, findings.

        Raises:
            DataError: if none are recorded.
        """
        self.require_recorded()
        run, spread, pairs = self.cleaning(), Profile(), 0
        for conversation in kept_of(run):
            spread.add(conversation)
            pairs += sum(len(example.targets) for example in examples_from([conversation]))
        store = self.store
        recorded = conversation_statistics(store.conversations(), store.feedback())
        return DataReport(
            recorded={key: n for key, n in recorded.items() if key != "turns_per_session"},
            profile=spread,
            counts=run.counts,
            findings=recorded_findings(run.counts, pairs),
        )

    def write_data_report(self, report: DataReport, file: Path) -> Path:
        """Write a report as one HTML file that loads nothing.

        Raises:
            StorageError: if it cannot be written.
        """
        made_at = iso(SystemClock().now())
        page = data_page(report, source=self.workspace.conversations.name, made_at=made_at)
        write_file(file, page.to_html().encode())
        return file

    def shown_masks(self, snapshot: Snapshot, count: int, *, ansi: bool = True) -> list[str]:
        """Return the text of a data set's first sequences, with what is learnt in colour."""
        base = self.base_model(snapshot.manifest["base_model"]["name"])
        records = snapshot.split("train").records[:count]
        with self.open_model(base) as server:
            return [show_mask(one.tokenized, server.tokenizer, ansi=ansi) for one in records]
