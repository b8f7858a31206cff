"""Writes how far a job is, from what long work and runs report."""

from __future__ import annotations

import time

import psutil

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.events import RunEvent
from fine_tuning.jobs.job import JobProgress
from fine_tuning.jobs.job_queue import JobQueue

WRITTEN_EVERY_S = 0.5


class JobReporter:
    """Writes how far a job is, now and then; listens to runs and to long work alike."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue = queue
        self._job_id = job_id
        self._stage = ""
        self._told_s = self._began_s = 0.0
        self._began_at = 0
        self._num_steps = 0
        self._process = psutil.Process()

    def stage(self, name: str) -> None:
        """Say what begins."""
        self._tell(name, None, None, "")

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far a stage is."""
        now_s = time.monotonic()
        if what != self._stage:
            self._began_s, self._began_at = now_s, done
        share = done / total if total else None
        eta_s = None
        if total and done > self._began_at:
            eta_s = (now_s - self._began_s) / (done - self._began_at) * (total - done)
        self._tell(what, share, eta_s, "")

    def on_event(self, event: RunEvent) -> None:
        """Say how far a run is."""
        values = event.values
        self._num_steps = int(values.get("num_steps") or 0) or self._num_steps
        if event.kind == "step":
            eta_s = values.get("eta_s")
            share = event.step / self._num_steps if self._num_steps else None
            self._tell("training", share, float(eta_s) if eta_s is not None else None, "")
        elif event.kind in {"started", "resumed"}:
            self.stage("training")

    def _tell(self, stage: str, share: float | None, eta_s: float | None, message: str) -> None:
        now_s = time.monotonic()
        if stage == self._stage and now_s - self._told_s < WRITTEN_EVERY_S:
            return
        self._stage, self._told_s = stage, now_s
        self._queue.tell(
            self._job_id,
            JobProgress(
                stage=stage,
                fraction=None if share is None else min(1.0, max(0.0, share)),
                eta_s=eta_s,
                memory_bytes=int(self._process.memory_info().rss),
                message=message,
                updated_at=iso(SystemClock().now()),
            ),
        )
