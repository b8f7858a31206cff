"""The program of one job: works on it and says what became of it.

Started by the queue as ``python -m fine_tuning.jobs.job_process HOME MODULE JOB LOCK``; ``MODULE``
registers the kinds of jobs whose own file names no module. Being asked to end (SIGINT, SIGTERM) it
saves what it can and says so; killed, it says nothing, and the queue notices.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import FineTuningError, InterruptedRunError
from fine_tuning.core.extras import missing_extra
from fine_tuning.jobs.job import JobProgress, JobState
from fine_tuning.jobs.job_queue import RUNNER_LOG, JobQueue, open_queue
from fine_tuning.jobs.kinds import KINDS, JobContext
from fine_tuning.jobs.reporter import JobReporter

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Work on a job; return the exit code."""
    home, module, job_id, lock = Path(arguments[0]), arguments[1], arguments[2], int(arguments[3])
    os.set_inheritable(lock, False)
    # A parent in a shell's background leaves SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s")
    queue = open_queue(home, module)
    try:
        outcome = _outcome(home, module, queue, job_id)
    except KeyboardInterrupt:
        outcome = _ended(queue, job_id, "")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the last words are being written
    queue.end(job_id, lock, **outcome)
    return 0


def _outcome(home: Path, module: str, queue: JobQueue, job_id: str) -> dict[str, object]:
    """Do the work; return what became of it as fields of a job."""
    job = queue.own(job_id)
    queue.tell(job_id, JobProgress(stage="starting", updated_at=iso(SystemClock().now())))
    try:
        settings = Settings.model_validate(job.settings)
        kind = KINDS.of(job, module)
        context = JobContext(
            job=job,
            settings=settings,
            workspace=Workspace.open(home, settings),
            reporter=JobReporter(queue, job_id),
        )
        # May load torch, which takes seconds: by now a wish to end is heard.
        done = kind.work(context, kind.from_json(job.params))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        found = f"the job was asked for with settings this version does not take ({where})"
        return _failed(f"{found}: {first['msg']}", "start it anew")
    except InterruptedRunError as error:
        return _ended(queue, job_id, error.message)
    except FineTuningError as error:
        return _failed(error.message, error.next_command)
    except Exception as error:
        logger.exception("job %s failed", job_id)
        return _unexpected(error, queue)
    return {"state": "finished", "sentence": done.sentence, "result": dict(done.values)}


def _unexpected(error: Exception, queue: JobQueue) -> dict[str, object]:
    """Return what an error not meant for users says: a library that is missing, or a fault."""
    if isinstance(error, ImportError) and (missing := missing_extra(error)):
        return _failed(missing.message, missing.next_command)
    where = f"{queue.folder / RUNNER_LOG} tells more"
    return _failed(f"unexpected {type(error).__name__}: {error}", where)


def _failed(sentence: str, next_command: str) -> dict[str, object]:
    return {"state": "failed", "sentence": sentence, "next_command": next_command}


def _ended(queue: JobQueue, job_id: str, sentence: str) -> dict[str, object]:
    """Return the state of a job that was asked to end, by a person or by the system."""
    wish = queue.own(job_id).wish
    state: JobState = "paused" if wish == "pause" else "stopped"
    by = "" if wish else "the system asked it to end"
    return {"state": state, "sentence": sentence or by}


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
