"""The history of cleaning and preparing: the steps' work, and why conversations were left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.cleaning import Cleaning, Dropped, StepCount
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.data_cleaner import CleaningReport
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.storage.records import Records, StepRecord

BATCH = 512


class ProcessingHistory:
    """Records what became of conversations.

    Args:
        path: The file of the records.
        settings: The settings of cleaning, kept with each run of it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._settings = settings

    def recorded(self, run: Cleaning) -> Iterator[Conversation | Dropped]:
        """Yield what a cleaning yields, and record its steps and drops."""
        records = Records(self._path)
        run_id = records.begin("clean", self._settings)
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

    def record_cleaning(self, report: CleaningReport) -> str:
        """Record the steps and drops of a finished cleaning; return the run's id."""
        records = Records(self._path)
        run_id = records.begin("clean", self._settings)
        records.drop(
            run_id, [(item.conversation.id, item.reason, item.detail) for item in report.dropped]
        )
        records.finish(run_id, report.counts, _steps(report.steps))
        return run_id

    def cleaning_before(self, dataset: str = "") -> CleaningCounts | None:
        """Return the counts of the newest finished cleaning; None when none is remembered.

        Args:
            dataset: The name of a data set: the cleaning it was made by, not a later one; "" takes
                the newest of all.
        """
        if not self._path.exists():
            return None
        records = Records(self._path)
        made_by = {one.name: one.run_id for one in records.datasets()}.get(dataset, "")
        counts: CleaningCounts | None = None
        for run in records.runs():
            if run.kind == "clean" and run.finished_at:
                counts = cast("CleaningCounts", run.stats)
            if made_by and run.id == made_by:
                break
        return counts

    def record_dataset(self, snapshot: Snapshot) -> None:
        """Record a data set that was made, what it left out and why."""
        records = Records(self._path)
        manifest: Mapping[str, Any] = snapshot.manifest
        run_id = records.begin("prepare", manifest.get("settings", {}))
        dropped = manifest.get("dropped_conversations", [])
        records.drop(run_id, [(name, reason, "") for name, reason in dropped])
        base = str(dict(manifest.get("base_model") or {}).get("name", ""))
        records.add_dataset(snapshot.name, base_model=base, run_id=run_id)
        records.finish(run_id, manifest.get("conversations", {}))


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
