"""Jobs wait their turn, die and go on: real processes that do next to nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.jobs.job import Job, JobProgress, JobState
from fine_tuning.jobs.job_queue import DIED, JobQueue
from tests.waiting import wait_for

PROGRAM = """
import signal, sys, time
from pathlib import Path
from fine_tuning.jobs.job import JobProgress
from fine_tuning.jobs.job_queue import JobQueue

folder, job_id, lock = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
queue = JobQueue(folder, lambda job: [sys.executable, __file__, str(folder), job.id])
job = queue.own(job_id)
with (folder / "began.txt").open("a") as file:
    file.write(job_id + "\\n")
try:
    queue.tell(job_id, JobProgress(stage="sleeping", fraction=0.5))
    end = time.monotonic() + job.params["sleep_s"]
    while time.monotonic() < end:
        time.sleep(0.01)
    outcome = {"state": "finished", "sentence": "slept"}
except KeyboardInterrupt:
    state = "paused" if queue.own(job_id).wish == "pause" else "stopped"
    outcome = {"state": state, "sentence": "woken"}
queue.end(job_id, lock, **outcome)
"""
LONG_S = 600.0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    program, folder = tmp_path / "sleeper.py", tmp_path / "jobs"
    program.write_text(PROGRAM, encoding="utf-8")
    made = JobQueue(folder, lambda job: [sys.executable, str(program), str(folder), job.id])
    yield made
    for job in made.jobs():
        if job.state == "queued":
            made.ask(job.id, "stop")
    for job in made.jobs():
        if job.state == "running":
            os.kill(job.pid, signal.SIGKILL)
            wait_for(lambda one=job.id: made.job(one).state != "running")


def sleeper(queue: JobQueue, sleep_s: float) -> Job:
    return queue.add("train", {"sleep_s": sleep_s}, {})


def wait_until(queue: JobQueue, job_id: str, *states: JobState) -> Job:
    wait_for(lambda: queue.job(job_id).state in states)
    return queue.job(job_id)


def began(queue: JobQueue) -> list[str]:
    path = queue.folder / "began.txt"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def test_an_empty_queue_has_no_jobs(queue: JobQueue) -> None:
    assert queue.jobs() == []
    assert not queue.folder.exists()
    assert queue.progress("x") == JobProgress()


def test_jobs_are_worked_on_one_at_a_time_in_their_order(queue: JobQueue) -> None:
    jobs = [sleeper(queue, 0.05) for _ in range(3)]
    assert [job.state for job in queue.jobs()].count("running") == 1
    wait_until(queue, jobs[-1].id, "finished")
    assert [job.state for job in queue.jobs()] == ["finished"] * 3
    assert began(queue) == [job.id for job in jobs]
    ended = [(job.started_at, job.ended_at) for job in queue.jobs()]
    assert all(before[1] <= after[0] for before, after in pairwise(ended))
    assert queue.progress(jobs[0].id).stage == "sleeping"


def test_a_killed_job_is_noticed_and_the_next_one_begins(queue: JobQueue) -> None:
    first, second = sleeper(queue, LONG_S), sleeper(queue, 0.0)
    wait_for(lambda: began(queue) == [first.id])
    os.kill(queue.job(first.id).pid, signal.SIGKILL)
    wait_until(queue, second.id, "finished")
    died = queue.job(first.id)
    assert (died.state, died.sentence, died.pid) == ("failed", DIED, 0)
    again = queue.resume(first.id)
    assert again.state == "running"
    assert again.sentence == ""


def test_pausing_and_stopping_are_told_apart(queue: JobQueue) -> None:
    first, second = sleeper(queue, LONG_S), sleeper(queue, LONG_S)
    wait_for(lambda: began(queue) == [first.id])
    assert queue.ask(first.id, "pause").state == "running"
    assert wait_until(queue, first.id, "paused").sentence == "woken"
    wait_for(lambda: began(queue) == [first.id, second.id])
    queue.ask(second.id, "stop")
    stopped = wait_until(queue, second.id, "stopped")
    assert (stopped.wish, stopped.can_resume) == ("", True)
    with pytest.raises(ConfigError, match="is stopped, expected one that is under way"):
        queue.ask(second.id, "stop")


def test_a_job_that_waits_can_be_put_aside(queue: JobQueue) -> None:
    first, second = sleeper(queue, LONG_S), sleeper(queue, 0.0)
    assert queue.ask(second.id, "pause").state == "paused"
    with pytest.raises(ConfigError, match="is running"):
        queue.remove(first.id)
    with pytest.raises(ConfigError, match="is running, expected one that is paused"):
        queue.resume(first.id)
    queue.remove(second.id)
    assert [job.id for job in queue.jobs()] == [first.id]
    with pytest.raises(DataError, match="there is no job"):
        queue.job(second.id)


def test_a_wish_that_came_before_the_process_could_listen_is_kept(queue: JobQueue) -> None:
    job = sleeper(queue, LONG_S)
    queue.ask(job.id, "pause")  # python has hardly started
    assert wait_until(queue, job.id, "paused").can_resume


def test_many_who_ask_at_once_lose_nothing(queue: JobQueue) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: sleeper(queue, 0.0), range(8)))
    assert len({job.id for job in jobs}) == 8
    wait_for(lambda: all(job.state == "finished" for job in queue.jobs()))
    assert sorted(began(queue)) == sorted(job.id for job in jobs)


def test_a_torn_file_hides_no_other_job(queue: JobQueue) -> None:
    job = sleeper(queue, 0.0)
    wait_until(queue, job.id, "finished")
    (queue.folder / "torn.json").write_text('{"id": "to', encoding="utf-8")
    (queue.folder / "other.json").write_text("[1]", encoding="utf-8")
    (queue.folder / f"{job.id}.progress").write_text("{", encoding="utf-8")
    assert [one.id for one in queue.jobs()] == [job.id]
    assert queue.progress(job.id) == JobProgress()
    with pytest.raises(DataError, match="no job's id"):
        queue.remove("../x")


def test_a_job_whose_asker_was_killed_goes_on(queue: JobQueue, tmp_path: Path) -> None:
    """The asker is a process of its own, in a group that is killed as a terminal's is."""
    asker = tmp_path / "asker.py"
    program = [sys.executable, str(tmp_path / "sleeper.py"), str(queue.folder)]
    asker.write_text(
        "import time\nfrom pathlib import Path\n"
        "from fine_tuning.jobs.job_queue import JobQueue\n"
        f"queue = JobQueue(Path({str(queue.folder)!r}), lambda job: [*{program!r}, job.id])\n"
        "queue.add('train', {'sleep_s': 1.0}, {})\ntime.sleep(600)\n",
        encoding="utf-8",
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, str(asker)], os.environ, setpgroup=0)
    wait_for(lambda: len(began(queue)) == 1)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (job,) = queue.jobs()
    assert job.state == "running"
    wait_until(queue, job.id, "finished")


def test_a_job_says_what_is_wrong_with_its_file() -> None:
    job = Job(id="a", kind="train", params={}, settings={}, created_at="")
    with pytest.raises(DataError, match="has state 'lost'"):
        Job.from_dict({**vars_of(job), "state": "lost"})
    with pytest.raises(DataError, match="lacks a field"):
        Job.from_dict({"id": "a"})
    assert not replace(job, state="queued").is_over


def vars_of(job: Job) -> dict[str, object]:
    return {name: getattr(job, name) for name in job.__slots__}
