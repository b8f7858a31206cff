"""Looking at the data before training: statistics, the report, masks, preflight."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning import Cleaning
from fine_tuning.data_collection.cleaning_steps import STEP_NAMES
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.preflight import left_private, recorded_findings
from fine_tuning.data_collection.profile import Profile
from fine_tuning.data_collection.statistics import conversation_statistics
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.masking import show_mask
from fine_tuning.data_preparation.preflight import data_set_findings
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.open_store import open_store
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
        store = open_store(self.workspace.conversations)
        recorded = conversation_statistics(store.conversations(), store.feedback())
        del recorded["turns_per_session"]
        return DataReport(
            recorded=recorded,
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

    def preflight(self, base: BaseModel | None = None) -> list[Finding]:
        """Check the recorded conversations, and the data set they would make; keeps nothing.

        Args:
            base: The model the data set is for; None takes that of the settings, and without one
                what concerns tokens is left out and said.
        """
        run = self.cleaning()
        kept = list(kept_of(run))
        pairs = sum(len(example.targets) for example in examples_from(kept))
        found = recorded_findings(run.counts, pairs)
        if not kept:
            return found
        found.append(left_private(kept))
        try:
            return [*found, *self._data_set_findings(base or self.base_model(), kept, run)]
        except FineTuningError as error:
            told = Finding(
                check="tokens",
                severity="warning",
                title="tokens, masks and splits were not checked",
                detail=error.message,
                fix=error.next_command or "name a base model with --base, such as embedded",
            )
            return [*found, told]

    def _data_set_findings(
        self, base: BaseModel, kept: list[Conversation], run: Cleaning
    ) -> list[Finding]:
        with self.open_model(base) as server, tempfile.TemporaryDirectory() as folder:
            builder = self.builder(base, server, run.clusters)
            snapshot = builder.build(kept, Path(folder), progress=self.progress)
            near = self._clusters_of(kept)
            return data_set_findings(snapshot, builder.recipe, lambda name: near.get(name, name))

    def _clusters_of(self, kept: list[Conversation]) -> dict[str, str]:
        """Return the near-duplicate clusters of conversations, whatever cleaning did before."""
        similarity = self.settings.data_collection.near_duplicate_similarity
        looking = DataCleaner(similarity=similarity, skip=STEP_NAMES)
        run = looking.stream(kept)
        for _ in run:
            pass
        return run.clusters
