"""The facade of conversations and data sets: record, import, clean, review, export, prepare."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.extras import require
from fine_tuning.core.loops import PreparedData
from fine_tuning.data_collection.cleaning_account import cleaning_accounts
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.data_cleaner import Change, CleaningReport
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.feedback_summary import labelled_replies, preference_pairs
from fine_tuning.data_collection.file_import import FileImporter
from fine_tuning.data_collection.preference_files import clean_labels, clean_pairs
from fine_tuning.data_collection.session_cut import cut_sessions
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.snapshot import SPLITS, Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.blobs import BlobFolder
from fine_tuning.storage.open_store import check_suffix, copy_store, is_sqlite
from fine_tuning.storage.records import Records
from fine_tuning.workbench.base_models import recorded_base
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.cleaning_pipeline import CleaningPipeline, kept_of
from fine_tuning.workbench.data.data_reporter import DataReporter
from fine_tuning.workbench.data.feedback_log import FeedbackLog
from fine_tuning.workbench.data.forgetting import ConversationEraser
from fine_tuning.workbench.data.processing_history import ProcessingHistory
from fine_tuning.workbench.data.review import ConversationIndex, ConversationReview
from fine_tuning.workbench.data.review_queue import ReviewQueue

logger = logging.getLogger(__name__)
LAST_EXPORT = "last_export.json"
"""Beside the exports: how many conversations were recorded when they were made."""


class Data:
    """What a user does with conversations, up to the data set a run is trained on.

    Args:
        context: Settings, workspace, store and progress.
        catalog: Base models, data sets, runs and versions.
        index: The conversations as rows; shared with what looks at them elsewhere.
        mark_versions: Marks the versions trained on a conversation, with a reason; returns their
            names.

    Attributes:
        datasets: Finds data sets.
        index: The recorded conversations as rows.
        pipeline: Cleaning by the settings and by feedback.
        review: What cleaning made of each conversation, and why.
        queue: The conversations that need a person, and what was decided.
        feedback: What people say about replies.
        reporter: Statistics, the report, masks.
        eraser: Forgets a conversation everywhere.
    """

    def __init__(
        self,
        context: Context,
        catalog: Catalog,
        index: ConversationIndex,
        mark_versions: Callable[[str, str], list[str]],
    ) -> None:
        self._context = context
        self._bases = catalog.bases
        self.datasets = catalog.datasets
        self.index = index
        self.pipeline = CleaningPipeline(context)
        self._history = ProcessingHistory(context.workspace.records, self.pipeline.settings)
        self.review = ConversationReview(context, index, self.pipeline, self._history)
        self.queue = ReviewQueue(context, index)
        self.feedback = FeedbackLog(context, self.pipeline, self.logger)
        self.reporter = DataReporter(context, self.pipeline, catalog.bases, self._history)
        self.eraser = ConversationEraser(context, index, mark_versions)

    @property
    def importer(self) -> FileImporter:
        """Brings files of conversations into the log."""
        workspace = self._context.workspace
        return FileImporter(
            self._context.store,
            Records(workspace.records),
            BlobFolder(workspace.attachments),
            workspace.quarantine,
            self._context.progress,
        )

    def logger(self) -> ConversationLogger:
        """Return a logger of a new session in the workspace's log."""
        return ConversationLogger(self._context.workspace.conversations, store=self._context.store)

    def conversations(self) -> list[Conversation]:
        """Return all recorded conversations, oldest first.

        Raises:
            DataError: if there are none.
        """
        self.pipeline.require_recorded()
        return list(self._context.store.conversations())

    def clean(self) -> CleaningReport:
        """Clean the recorded conversations by the settings; the log itself stays as it is.

        Returns:
            What cleaning kept, changed and dropped.

        Raises:
            DataError: if none are recorded.
        """
        self.pipeline.require_recorded()
        report = self.pipeline.full_cleaner().clean(self.pipeline.with_feedback())
        self._history.record_cleaning(report)
        return report

    def changes(self) -> Iterator[Change]:
        """Yield every text that cleaning changes, as it was said and as it would be learnt."""
        return self.pipeline.cleaner().changes(self.pipeline.with_feedback())

    def export(self, folder: Path | None = None) -> dict[str, Path]:
        """Write the clean conversations in every format; return the files by format.

        Raises:
            DataError: if none are recorded.
            StorageError: if a file cannot be written.
        """
        self.pipeline.require_recorded()
        exporter = DataExporter(folder or self._context.workspace.exports)
        store = self._context.store
        return exporter.export_all_formats(
            kept_of(self._history.recorded(self.pipeline.stream())),
            pairs=clean_pairs(preference_pairs(store), self.pipeline.cleaner()),
            labelled=clean_labels(labelled_replies(store), self.pipeline.cleaner()),
        )

    def export_if_due(self) -> dict[str, Path]:
        """Export if the settings ask for it and ``export_interval`` more were recorded.

        Returns:
            The files by format; empty when it was not the time.
        """
        collection = self._context.settings.data_collection
        if not collection.auto_export:
            return {}
        count = self._context.store.count()
        if count - self._last_exported(count) < collection.export_interval:
            return {}
        files = self.export()
        note = json.dumps({"conversations": count}).encode()
        write_file(self._context.workspace.exports / LAST_EXPORT, note)
        return files

    def back_up(self, target: Path) -> Path:
        """Copy all conversations and feedback into a file, while they go on being recorded.

        A target of the log's own kind is a copy of it; one of the other kind, ``.db`` or
        ``.jsonl``, is written anew.

        Returns:
            The target.

        Raises:
            DataError: if nothing is recorded.
            StorageError: if the target is no file of either kind, or cannot be written; an old
                file there stays as it was.
        """
        check_suffix(target)
        if self._context.store.count() == 0:
            raise DataError(
                f"there is nothing to back up: {self._context.workspace.conversations} holds no "
                "conversation",
                next_command="fine-tuning chat, or fine-tuning import FILE",
            )
        if is_sqlite(target) == is_sqlite(self._context.workspace.conversations):
            self._context.store.back_up(target)
        else:
            copy_store(self._context.store, target)
        return target

    def prepare(self, base: BaseModel | None = None) -> Snapshot:
        """Build the data set of a base model from the clean conversations.

        Returns:
            The data set, written into the workspace.

        Raises:
            MissingDependencyError: if the extra ``train`` is not installed.
            DataError: if nothing is left to train on, or nothing tells what the base's prompts look
                like.
        """
        require("train", "xllamacpp", "tokenizers")
        base = base or self._bases.find()
        self.pipeline.require_recorded()
        run = self.pipeline.stream()
        kept = list(kept_of(self._history.recorded(run)))
        if not kept:
            reasons = cleaning_accounts(run.counts)[0].reasons
            raise DataError(
                f"No conversations to train on: cleaning dropped all of them ({reasons})",
                next_command="fine-tuning clean",
            )
        base = self._bases.with_prompts(base)
        if base.prompts and base.prompts.remark:
            logger.warning("%s", base.prompts.remark)
        with self._bases.open(base) as server:
            builder = self.builder(base, server, run.clusters)
            snapshot = builder.build(
                kept, self._context.workspace.datasets, progress=self._context.progress
            )
        self._history.record_dataset(snapshot)
        return snapshot

    def prepare_data(self) -> PreparedData:
        """Clean what is recorded and build a data set of it; see :class:`DataPreparer`.

        Returns:
            Its name and the number of examples of each split.
        """
        snapshot = self.prepare()
        counts = {split: len(snapshot.split(split).examples) for split in SPLITS}
        return PreparedData(
            name=snapshot.name,
            num_train=counts["train"],
            num_validation=counts["validation"],
            num_test=counts["test"],
        )

    def builder(
        self, base: BaseModel, server: EmbeddedServer, clusters: dict[str, str]
    ) -> DatasetBuilder:
        """Return a builder of data sets for an opened base model, by the settings.

        Args:
            base: The base model.
            server: The base model, opened.
            clusters: As a cleaning run gives them: which conversations are near-duplicates.
        """
        preparation = self._context.settings.data_preparation
        liked = self.pipeline.liked() if preparation.train_on == "rated_up" else ()
        return DatasetBuilder(
            server.tokenizer,
            server.renderer,
            max_length=preparation.max_length,
            ratios=Ratios(
                train=preparation.train_ratio,
                validation=preparation.validation_ratio,
                test=preparation.test_ratio,
            ),
            seed=self._context.settings.training.seed,
            base_model=recorded_base(base),
            cluster_of=lambda conversation: clusters.get(conversation.id, conversation.id),
            train_on=preparation.train_on,
            rated_up=liked,
            truncation=preparation.truncation,
            sessions_of=cut_sessions,
        )

    def _last_exported(self, count: int) -> int:
        path = self._context.workspace.exports / LAST_EXPORT
        try:
            last = int(json.loads(path.read_bytes())["conversations"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return last if last <= count else 0  # fewer than then: some were forgotten
