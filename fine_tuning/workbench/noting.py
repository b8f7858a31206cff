"""What is remembered of cleaning and preparing: the steps' work, and why conversations left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.ports import ConversationStore
from fine_tuning.data_collection.cleaning import Cleaning, Dropped, StepCount
from fine_tuning.data_collection.data_cleaner import CleaningReport
from fine_tuning.data_collection.feedback_summary import (
    ConversationsWithFeedback,
    feedback_summaries,
    liked_replies,
    reviewed,
    withheld,
)
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.storage.records import Records, StepRecord
from fine_tuning.workbench.base import WorkbenchBase

BATCH = 512
TOLD_EVERY = 64


class Noting(WorkbenchBase):
    """The recorded conversations as people judged them, and the notes of what became of them."""

    def judged(self) -> Iterable[Conversation]:
        """Return the recorded conversations as feedback says they are to be learnt.

        With ``data_collection.learn_from_feedback`` off they are as they were recorded.
        """
        store = self.store
        collection = self.settings.data_collection
        if not collection.learn_from_feedback:
            return self._told(store)
        return ConversationsWithFeedback(
            self._told(store), store.feedback(), lowest_rating=collection.lowest_rating
        )

    def _told(self, store: ConversationStore) -> Iterator[Conversation]:
        """Yield the recorded conversations, and tell how many went to the cleaning."""
        total = store.count() if self.progress else 0
        number = 0
        for number, conversation in enumerate(store.conversations(), start=1):
            yield conversation
            if self.progress and number % TOLD_EVERY == 0:
                self.progress("cleaning", number, total)
        if self.progress:
            self.progress("cleaning", number, total)

    def reviewed(self) -> dict[str, bool]:
        """Return the conversations a person decided on: True for accepted, False for rejected."""
        return reviewed(feedback_summaries(self.store.feedback()))

    def withheld(self) -> frozenset[str]:
        """Return the conversations that must not be learnt."""
        return withheld(feedback_summaries(self.store.feedback()))

    def liked(self) -> frozenset[tuple[str, str]]:
        """Return conversation and message id of the replies people liked."""
        return liked_replies(self.store.feedback())

    def noted(self, run: Cleaning) -> Iterator[Conversation | Dropped]:
        """Yield what a cleaning yields, and note its steps and drops."""
        records = Records(self.workspace.records)
        run_id = records.begin("clean", self._cleaning_settings())
        drops: list[tuple[str, str, str]] = []
        for outcome in run:
            if isinstance(outcome, Dropped):
                drops.append((outcome.conversation.id, outcome.reason, outcome.detail))
                if len(drops) == BATCH:
                    records.drop(run_id, drops)
                    drops = []
            yield outcome
        records.drop(run_id, drops)
        records.finish(run_id, run.counts, _steps(run.steps))

    def note_cleaning(self, report: CleaningReport) -> str:
        """Note the steps and drops of a finished cleaning; return the run's id."""
        records = Records(self.workspace.records)
        run_id = records.begin("clean", self._cleaning_settings())
        records.drop(
            run_id, [(item.conversation.id, item.reason, item.detail) for item in report.dropped]
        )
        records.finish(run_id, report.counts, _steps(report.steps))
        return run_id

    def note_dataset(self, snapshot: Snapshot) -> None:
        """Note a data set that was made, what it left out and why."""
        records = Records(self.workspace.records)
        manifest: Mapping[str, Any] = snapshot.manifest
        run_id = records.begin("prepare", manifest.get("settings", {}))
        dropped = manifest.get("dropped_conversations", [])
        records.drop(run_id, [(name, reason, "") for name, reason in dropped])
        base = str(dict(manifest.get("base_model") or {}).get("name", ""))
        records.add_dataset(snapshot.name, base_model=base, run_id=run_id)
        records.finish(run_id, manifest.get("conversations", {}))

    def _cleaning_settings(self) -> dict[str, Any]:
        return self.settings.data_collection.model_dump(mode="json")


def _steps(steps: Iterable[StepCount]) -> list[StepRecord]:
    return [
        StepRecord(
            name=step.name,
            num_in=step.seen,
            num_changed=step.changed,
            num_dropped=step.dropped,
            cpu_s=step.cpu_s,
        )
        for step in steps
    ]
