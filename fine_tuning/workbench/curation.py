"""From recorded conversations to clean ones, and to what is made of them: exports, data sets."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.cleaning import Cleaning
from fine_tuning.data_collection.data_cleaner import Change, CleaningReport, DataCleaner, Dropped
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.judgements import labelled_replies, preference_pairs
from fine_tuning.data_collection.preference_files import clean_labels, clean_pairs
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.noting import Noting

LAST_EXPORT = "last_export.json"
"""Beside the exports: how many conversations were recorded when they were made."""


class Curation(Noting):
    """What a user does between recording and training."""

    def recorded(self) -> Iterator[Conversation]:
        """Yield all recorded conversations, oldest first."""
        return self.store.conversations()

    def cleaner(
        self, reviewed: Mapping[str, bool] | None = None, withheld: Collection[str] = ()
    ) -> DataCleaner:
        """Return a cleaner by the settings.

        Args:
            reviewed: The conversations a person accepted (True) or rejected (False).
            withheld: The conversations that must not be learnt.
        """
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
            reviewed=reviewed or {},
            withheld=withheld,
        )

    def clean(self) -> CleaningReport:
        """Clean the recorded conversations by the settings; the log itself stays as it is.

        Raises:
            DataError: if none are recorded.
        """
        self.require_recorded()
        report = self.cleaner(self.reviewed(), self.withheld()).clean(self.judged())
        self.note_cleaning(report)
        return report

    def changes(self) -> Iterator[Change]:
        """Yield every text that cleaning changes, as it was said and as it would be learnt."""
        return self.cleaner().changes(self.judged())

    def export(self, folder: Path | None = None) -> dict[str, Path]:
        """Write the clean conversations in every format; return the files by format.

        Raises:
            DataError: if none are recorded.
            StorageError: if a file cannot be written.
        """
        self.require_recorded()
        exporter = DataExporter(folder or self.workspace.exports)
        store = self.store
        return exporter.export_all_formats(
            kept_of(self.noted(self.cleaning())),
            pairs=clean_pairs(preference_pairs(store), self.cleaner()),
            labelled=clean_labels(labelled_replies(store), self.cleaner()),
        )

    def export_if_due(self) -> dict[str, Path]:
        """Export if the settings ask for it and ``export_interval`` more were recorded.

        Returns:
            The files by format; empty when it was not the time.
        """
        collection = self.settings.data_collection
        if not collection.auto_export:
            return {}
        count = self.store.count()
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
        self.require_recorded()
        run = self.cleaning()
        kept = list(kept_of(self.noted(run)))
        if not kept:
            reasons = ", ".join(f"{n} {why}" for why, n in run.counts["dropped"].items())
            raise DataError(
                f"No conversations to train on: cleaning dropped all of them ({reasons})",
                next_command="fine-tuning clean",
            )
        with self.open_model(base) as server:
            builder = self.builder(base, server, run.clusters)
            snapshot = builder.build(kept, self.workspace.datasets, progress=self.progress)
        self.note_dataset(snapshot)
        return snapshot

    def builder(
        self, base: BaseModel, server: EmbeddedServer, clusters: dict[str, str]
    ) -> DatasetBuilder:
        """Return a builder of data sets for an opened base model, by the settings."""
        preparation = self.settings.data_preparation
        liked = self.liked() if preparation.train_on == "rated_up" else ()
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

    def cleaning(self) -> Cleaning:
        """Return a cleaning of the recorded conversations as a stream."""
        return self.cleaner(self.reviewed(), self.withheld()).stream(self.judged())

    def require_recorded(self) -> None:
        """Do nothing if conversations are recorded.

        Raises:
            DataError: if none are.
        """
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


def kept_of(run: Iterable[Conversation | Dropped]) -> Iterator[Conversation]:
    """Yield what a cleaning keeps."""
    return (outcome for outcome in run if not isinstance(outcome, Dropped))
