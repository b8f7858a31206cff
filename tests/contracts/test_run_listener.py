"""The laws of the port ``RunListener``, run against every implementation."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from fine_tuning.core.clock import SystemClock
from fine_tuning.core.events import EventKind, RunEvent
from fine_tuning.core.ports import RunListener
from fine_tuning.jobs.job_queue import JobQueue
from fine_tuning.jobs.reporter import JobReporter
from fine_tuning.training.events_file import EventsFile, Listeners, read_events
from fine_tuning.training.progress import ProgressBar, ProgressLines


def lines(_: Path) -> RunListener:
    return ProgressLines(io.StringIO(), SystemClock())


def bar(_: Path) -> RunListener:
    return ProgressBar(io.StringIO())


def file(folder: Path) -> RunListener:
    return EventsFile(folder / "events.jsonl")


def several(folder: Path) -> RunListener:
    return Listeners([lines(folder), file(folder)])


def job(folder: Path) -> RunListener:
    (folder / "jobs" / "one").mkdir(parents=True)
    return JobReporter(JobQueue(folder / "jobs", lambda _: []), "one")


@pytest.fixture(params=[lines, bar, file, several, job])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> RunListener:
    opener: Callable[[Path], RunListener] = request.param
    return opener(tmp_path)


STEP = {
    "loss": 2.0,
    "tokens_per_s": 512.0,
    "memory_bytes": 3 << 30,
    "eta_s": 65.0,
    "learning_rate": 1e-4,
    "grad_norm": 0.5,
}
VALUES: dict[str, dict[str, float | int | str]] = {
    "started": {"num_steps": 3},
    "step": STEP,
    "validation": {"validation_loss": 1.5},
    "remark": {"message": "a remark"},
    "failed": {"message": "the disk is full"},
}


def events() -> list[RunEvent]:
    return [
        RunEvent(
            kind=kind, time="2026-01-01T00:00:00+00:00", step=number, values=VALUES.get(kind, {})
        )
        for number, kind in enumerate(get_args(EventKind))
    ]


def test_every_kind_of_event_is_taken(listener: RunListener) -> None:
    for event in events():
        listener.on_event(event)


def test_a_kind_it_does_not_know_is_no_error(listener: RunListener) -> None:
    unknown = replace(events()[0], kind="paused", values={})  # type: ignore[arg-type]
    listener.on_event(unknown)
    for event in events():
        listener.on_event(event)


def test_events_pass_in_order(tmp_path: Path) -> None:
    for event in events():
        several(tmp_path).on_event(event)
    assert list(read_events(tmp_path / "events.jsonl")) == events()
