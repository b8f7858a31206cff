"""A durable queue of long work: one file a job, one process at a time, which outlives its asker.

A job's process holds the lock of the runner from before it starts until it dies, however that
happens, so that whoever looks next knows a job that was killed from one that is at work. Knows
nothing of what jobs do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.jobs.job import RESUMABLE, Job, JobProgress, JobState, Wish
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.storage.locking import locked, try_lock

RUNNER_LOCK, QUEUE_LOCK, RUNNER_LOG = ".runner.lock", ".queue.lock", "runner.log"
PROGRESS_SUFFIX = ".progress"
PROGRAM = "fine_tuning.jobs.job_process"
DIED = (
    "its process ended without reporting an error: it was killed, or memory ran out; "
    "what it had saved is kept"
)


class JobQueue:
    """The jobs of a workspace.

    Args:
        folder: Where they lie; made when the first is added.
        command: Returns the command line that works on a job; the number of the inherited lock is
            added as its last word.
    """

    def __init__(self, folder: Path, command: Callable[[Job], list[str]]) -> None:
        self.folder = folder
        self._command = command

    # Looking

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first; one whose process died is told as failed from now on."""
        if not self.folder.is_dir():
            return []
        found = self._read_all()
        if any(job.state in {"running", "queued"} for job in found):
            with self._mutex():
                self._tend()
                found = self._read_all()
        return found

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            DataError: if there is none.
        """
        for job in self.jobs():
            if job.id == job_id:
                return job
        raise DataError(f"there is no job {job_id!r} in {self.folder}")

    def progress(self, job_id: str) -> JobProgress:
        """Return how far a job is; an empty one before it began."""
        try:
            raw = json.loads(self._progress_path(job_id).read_bytes())
        except (OSError, ValueError):
            return JobProgress()
        return JobProgress.from_dict(raw) if isinstance(raw, dict) else JobProgress()

    # Asking

    def add(
        self,
        kind: str,
        params: Mapping[str, object],
        settings: Mapping[str, object],
        *,
        module: str = "",
        is_resumable: bool = True,
        makes_run: bool = False,
    ) -> Job:
        """Put a job at the end of the queue; it begins at once when nothing else is at work.

        Args:
            kind: The name of its kind.
            params: What is to be done, plain JSON values.
            settings: The settings in force, by section.
            module: The module that registers the kind.
            is_resumable: Whether it can go on where it stopped.
            makes_run: Whether it makes a run, which gets the job's id unless ``run_id`` names one.

        Raises:
            StorageError: if its file cannot be written.
        """
        now = SystemClock().now()
        with self._mutex():
            taken = {job.id for job in self._read_all()}
            stem = now.strftime("%Y%m%d-%H%M%S")
            names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, len(taken) + 2))
            job_id = next(name for name in names if name not in taken)
            params = dict(params)
            if makes_run and not params.get("run_id"):
                params["run_id"] = job_id
            job = Job(
                id=job_id,
                kind=kind,
                params=params,
                settings=settings,
                module=module,
                is_resumable=is_resumable,
                created_at=iso(now),
            )
            self._write(job)
            self._tend()
            return self._read(job_id)

    def ask(self, job_id: str, wish: Wish) -> Job:
        """Pause or stop a job; a running one saves what it did and ends within a moment.

        Raises:
            DataError: if there is no such job.
            ConfigError: if it is over.
        """
        with self._mutex():
            self._tend()
            job = self._read(job_id)
            if job.state == "running":
                job = replace(job, wish=wish)
                self._write(job)
                with suppress(ProcessLookupError):  # it died this moment; the next look tells
                    os.kill(job.pid, signal.SIGINT)
                return job
            if job.is_over:
                raise ConfigError(f"job {job_id} is {job.state}, expected one that is under way")
            job = replace(
                job,
                state="paused" if wish == "pause" else "stopped",
                sentence="it had not begun",
                ended_at=iso(SystemClock().now()),
            )
            self._write(job)
            return job

    def resume(self, job_id: str) -> Job:
        """Put a job that was paused, stopped or failed at the end of the queue again.

        Raises:
            DataError: if there is no such job.
            ConfigError: if it is queued, at work or finished.
        """
        with self._mutex():
            self._tend()
            job = self._read(job_id)
            if not job.is_resumable:
                raise ConfigError(f"a job of kind {job.kind!r} cannot be resumed; start it anew")
            if not job.can_resume:
                expected = ", ".join(RESUMABLE)
                raise ConfigError(f"job {job_id} is {job.state}, expected one that is {expected}")
            waiting = replace(
                job, state="queued", wish="", sentence="", next_command="", ended_at="", pid=0
            )
            self._write(waiting)
            self._tend()
            return self._read(job_id)

    def remove(self, job_id: str) -> None:
        """Take a job that is not at work off the list; what it made stays.

        Raises:
            ConfigError: if it is at work.
        """
        with self._mutex():
            self._tend()
            if self._read(job_id).state == "running":
                raise ConfigError(f"job {job_id} is running, expected one that is not at work")
            for path in (self._path(job_id), self._progress_path(job_id)):
                path.unlink(missing_ok=True)

    # Working; called by the job's own process

    def tell(self, job_id: str, progress: JobProgress) -> None:
        """Write how far a job is."""
        write_file(self._progress_path(job_id), _json(asdict(progress)))

    def end(self, job_id: str, lock: int, **outcome: Any) -> None:  # noqa: ANN401 - Job's fields
        """Write what became of a job, give the lock back and let the next one begin.

        Args:
            job_id: The job.
            lock: The inherited lock.
            outcome: Fields of :class:`Job`: the state and what is to be said.
        """
        with self._mutex():
            job = self._read(job_id)
            ended_at = iso(SystemClock().now())
            self._write(replace(job, wish="", pid=0, ended_at=ended_at, **outcome))
            os.close(lock)
            self._tend()

    def own(self, job_id: str) -> Job:
        """Return the job that is being worked on, with what a person asked of it since."""
        return self._read(job_id)

    # The rest holds the queue's lock

    def _tend(self) -> None:
        """Tell a job whose process died, and begin the next one if nothing is at work."""
        handle = self._take_runner()
        if handle is None:
            return
        try:
            for job in self._read_all():
                if job.state == "running":
                    self._write(_died(job))
            queued = next((job for job in self._read_all() if job.state == "queued"), None)
            if queued is not None:
                self._begin(queued, handle)
        finally:
            os.close(handle)

    def _take_runner(self) -> int | None:
        """Return the lock of the runner, or None when a job's process holds it."""
        path = self.folder / RUNNER_LOCK
        with storage_errors(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not try_lock(handle):
            os.close(handle)
            return None
        return handle

    def _begin(self, job: Job, lock: int) -> None:
        """Start a job's process, which keeps the lock when this one lets go of it."""
        log_path = self.folder / RUNNER_LOG
        with storage_errors(log_path), log_path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self._command(job), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        # Whoever is the parent must take note of the end, or the system remembers it for ever.
        threading.Thread(target=process.wait, daemon=True).start()
        started_at = iso(SystemClock().now())
        self._progress_path(job.id).unlink(missing_ok=True)
        self._write(replace(job, state="running", pid=process.pid, started_at=started_at, wish=""))

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        with locked(self.folder / QUEUE_LOCK):
            yield

    def _path(self, job_id: str) -> Path:
        if Path(job_id).name != job_id or job_id.startswith("."):
            raise DataError(f"{job_id!r} is no job's id")
        return self.folder / f"{job_id}.json"

    def _progress_path(self, job_id: str) -> Path:
        return self._path(job_id).with_suffix(PROGRESS_SUFFIX)

    def _write(self, job: Job) -> None:
        write_file(self._path(job.id), _json(asdict(job)))

    def _read(self, job_id: str) -> Job:
        path = self._path(job_id)
        if not path.is_file():
            raise DataError(f"there is no job {job_id!r} in {self.folder}")
        with storage_errors(path):
            content = path.read_bytes()
        try:
            return Job.from_dict(json.loads(content))
        except (ValueError, DataError) as error:
            raise DataError(f"{path} cannot be read: {error}, expected a job") from error

    def _read_all(self) -> list[Job]:
        """Return the jobs that can be read, by the time they were asked for."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(self._read(path.stem))
            except DataError:
                continue  # torn by a disk; the others must be seen
        return sorted(found, key=lambda job: (job.created_at, job.id))


def open_queue(home: Path, module: str) -> JobQueue:
    """Return the queue of a workspace, whose jobs are worked on by :mod:`job_process`.

    Args:
        home: The workspace's folder.
        module: The module that registers the kinds of jobs whose own file names none.
    """
    command = [sys.executable, "-X", "utf8", "-m", PROGRAM, str(home), module]
    return JobQueue(Workspace(home=home).jobs, lambda job: [*command, job.id])


def _died(job: Job) -> Job:
    """Return a job whose process is gone without having said what became of it."""
    state: JobState = "failed"
    sentence = DIED
    if job.wish:  # asked to end before it could listen
        state, sentence = ("paused" if job.wish == "pause" else "stopped"), ""
    ended_at = iso(SystemClock().now())
    return replace(job, state=state, sentence=sentence, pid=0, wish="", ended_at=ended_at)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
