"""From recorded conversations to clean ones: cleaning, review, export, data sets, preflight."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, FineTuningError
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning import Cleaning
from fine_tuning.data_collection.cleaning_steps import STEP_NAMES
from fine_tuning.data_collection.data_cleaner import Change, CleaningReport, DataCleaner, Dropped
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.preflight import left_private, recorded_findings
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.preflight import data_set_findings
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.base import WorkbenchBase

LAST_EXPORT = "last_export.json"
"""Beside the exports: how many conversations were recorded when they were made."""
LIKED_RATING = 7


class Curation(WorkbenchBase):
    """What a user does between recording and training."""

    def recorded(self) -> Iterator[Conversation]:
        """Yield all recorded conversations, oldest first."""
        return open_store(self.workspace.conversations).conversations()

    def cleaner(self) -> DataCleaner:
        """Return a cleaner by the settings."""
        collection = self.settings.data_collection
        return DataCleaner(
            min_length=collection.min_conversation_length,
            max_length=collection.max_conversation_length,
            skip=collection.skip_steps,
            phone_regions=collection.phone_regions,
            private_kinds=collection.redact,
            max_tokens=collection.max_conversation_tokens,
            languages=collection.languages,
            min_quality=collection.min_quality,
            max_same_reply=collection.max_same_reply,
            similarity=collection.near_duplicate_similarity,
            moderation=collection.moderation,
            toxicity_threshold=collection.toxicity_threshold,
        )

    def clean(self) -> CleaningReport:
        """Clean the recorded conversations by the settings; the log itself stays as it is.

        Raises:
            DataError: if none are recorded.
        """
        self._require_recorded()
        return self.cleaner().clean(self.recorded())

    def changes(self) -> Iterator[Change]:
        """Yield every text that cleaning changes, as it was said and as it would be learnt."""
        return self.cleaner().changes(self.recorded())

    def export(self, folder: Path | None = None) -> dict[str, Path]:
        """Write the clean conversations in every format; return the files by format.

        Raises:
            DataError: if none are recorded.
            StorageError: if a file cannot be written.
        """
        self._require_recorded()
        exporter = DataExporter(folder or self.workspace.exports)
        return exporter.export_all_formats(_kept(self._cleaning()))

    def export_if_due(self) -> dict[str, Path]:
        """Export if the settings ask for it and ``export_interval`` more were recorded.

        Returns:
            The files by format; empty when it was not the time.
        """
        collection = self.settings.data_collection
        if not collection.auto_export:
            return {}
        count = sum(1 for _ in self.recorded())
        if count - self._last_exported(count) < collection.export_interval:
            return {}
        files = self.export()
        note = json.dumps({"conversations": count}).encode()
        write_file(self.workspace.exports / LAST_EXPORT, note)
        return files

    def prepare(self, base: BaseModel | None = None) -> Snapshot:
        """Build the data set of a base model from the clean conversations.

        Raises:
            DataError: if nothing is left to train on.
        """
        base = base or self.base_model()
        self._require_recorded()
        run = self._cleaning()
        kept = list(_kept(run))
        if not kept:
            reasons = ", ".join(f"{n} {why}" for why, n in run.counts["dropped"].items())
            raise DataError(
                f"No conversations to train on: cleaning dropped all of them ({reasons})",
                next_command="fine-tuning clean",
            )
        with self.open_model(base) as server:
            builder = self._builder(base, server, run.clusters)
            return builder.build(kept, self.workspace.datasets, progress=self.progress)

    def preflight(self, base: BaseModel | None = None) -> list[Finding]:
        """Check the recorded conversations, and the data set they would make; keeps nothing.

        Args:
            base: The model the data set is for; None takes that of the settings, and without one
                what concerns tokens is left out and said.
        """
        run = self._cleaning()
        kept = list(_kept(run))
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
            builder = self._builder(base, server, run.clusters)
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

    def _builder(
        self, base: BaseModel, server: EmbeddedServer, clusters: dict[str, str]
    ) -> DatasetBuilder:
        preparation = self.settings.data_preparation
        liked = self._liked() if preparation.train_on == "rated_up" else ()
        return DatasetBuilder(
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
            cluster_of=lambda conversation: clusters.get(conversation.id, conversation.id),
            train_on=preparation.train_on,
            rated_up=liked,
            truncation=preparation.truncation,
        )

    def _liked(self) -> set[tuple[str, str]]:
        """Return the replies a person liked: a thumb up, a rating of 7 and more, a choice."""
        return {
            (one.conversation_id, one.message_id)
            for one in open_store(self.workspace.conversations).feedback()
            if (one.kind == "thumb" and one.value > 0)
            or (one.kind == "rating" and one.value >= LIKED_RATING)
            or one.kind in {"correction", "choice"}
        }

    def _cleaning(self) -> Cleaning:
        return self.cleaner().stream(self.recorded())

    def _require_recorded(self) -> None:
        if next(iter(self.recorded()), None) is None:
            raise DataError(
                f"No conversations to train on: {self.workspace.conversations} holds none",
                next_command="fine-tuning chat, or fine-tuning import FILE",
            )

    def _last_exported(self, count: int) -> int:
        path = self.workspace.exports / LAST_EXPORT
        try:
            last = int(json.loads(path.read_bytes())["conversations"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return last if last <= count else 0  # fewer than then: some were forgotten


def _kept(run: Cleaning) -> Iterator[Conversation]:
    return (outcome for outcome in run if not isinstance(outcome, Dropped))
