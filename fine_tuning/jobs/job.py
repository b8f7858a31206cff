"""What is known of a piece of long work: what was asked for, what became of it, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from fine_tuning.core.errors import DataError

JobState = Literal["queued", "running", "paused", "stopped", "finished", "failed"]
Wish = Literal["", "pause", "stop"]
STATES: tuple[str, ...] = get_args(JobState)
RESUMABLE = ("paused", "stopped", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of long work.

    ``params`` say what is to be done, ``settings`` are those in force when it was asked for, by
    section. ``wish`` is what a person asked of the running process. ``sentence`` says what became
    of it and ``next_command`` what helps; ``result`` is what it found, plain JSON values. Times
    are ISO 8601 in UTC, "" while they are not known. ``module`` registers the kind, "" for a job
    stored before that was kept; see :mod:`fine_tuning.jobs.kinds`.
    """

    id: str
    kind: str
    params: Mapping[str, object]
    settings: Mapping[str, object]
    module: str = ""
    is_resumable: bool = True
    state: JobState = "queued"
    wish: Wish = ""
    created_at: str
    started_at: str = ""
    ended_at: str = ""
    pid: int = 0
    sentence: str = ""
    next_command: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run it makes or is about; "" if there is none."""
        return str(self.params.get("run_id") or "")

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes unless it is resumed."""
        return self.state in {"stopped", "finished", "failed"}

    @property
    def can_resume(self) -> bool:
        """Whether it can go on where it stopped."""
        return self.is_resumable and self.state in RESUMABLE

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the form ``dataclasses.asdict`` makes; unknown keys are ignored.

        Raises:
            DataError: if a field is missing or the state is none.
        """
        known = {spec.name for spec in fields(cls)}
        try:
            job = cls(**{key: value for key, value in raw.items() if key in known})
        except (TypeError, AttributeError) as error:
            raise DataError(f"a job's file lacks a field: {error}") from error
        if job.state not in STATES:
            raise DataError(f"a job has state {job.state!r}, expected one of {', '.join(STATES)}")
        return job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a running job is: ``fraction`` of its stage from 0 to 1, None while unknown.

    ``eta_s`` is the time left of the stage, ``memory_bytes`` what the process occupies now.
    """

    stage: str = ""
    fraction: float | None = None
    eta_s: float | None = None
    memory_bytes: int = 0
    message: str = ""
    updated_at: str = ""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the form ``dataclasses.asdict`` makes; unknown keys are ignored."""
        known = {spec.name for spec in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})
