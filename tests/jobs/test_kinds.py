"""A kind of job is registered by its own package, and worked on in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.jobs.job import Job
from fine_tuning.jobs.job_queue import JobQueue, open_queue
from fine_tuning.jobs.kinds import JobContext, JobKind, JobKinds, JobResult
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.jobs import kinds as built_in
from fine_tuning.workbench.jobs.jobs import Jobs
from tests.waiting import wait_for

SECOND_PACKAGE = """
from dataclasses import dataclass

from fine_tuning.jobs.kinds import JobContext, JobKind, JobResult, later, register


@dataclass(frozen=True, kw_only=True)
class CountParams:
    words: tuple[str, ...]
    times: int = 1


COUNT = register(
    JobKind(
        name="count", title="Counting", params=CountParams,
        work=later("second_package_work:count"), module=__name__, is_resumable=False,
    )
)
"""
ITS_WORK = """
from fine_tuning.jobs.kinds import JobResult


def count(context, params):
    context.reporter.progress("counting", 1, 2)
    number = len(params.words) * params.times
    seed = context.settings.training.seed
    return JobResult(sentence=f"{number} words", values={"number": number, "seed": seed})
"""


@dataclass(frozen=True, kw_only=True)
class Colour:
    name: str
    shades: tuple[int, ...] = ()


def paint(_context: JobContext, params: Colour) -> JobResult:
    return JobResult(sentence=params.name)


PAINT = JobKind(name="paint", title="Painting", params=Colour, work=paint, module=__name__)


@pytest.fixture
def second_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobKind[object]:
    """A package of someone else, which only its own folder holds."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "second_package_kinds.py").write_text(SECOND_PACKAGE, encoding="utf-8")
    (folder / "second_package_work.py").write_text(ITS_WORK, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(folder), *sys.path]))
    module = import_module("second_package_kinds")
    kind: JobKind[object] = module.COUNT
    return kind


def ended(queue: JobQueue, job_id: str) -> Job:
    wait_for(lambda: queue.job(job_id).is_over)
    return queue.job(job_id)


def test_a_second_package_adds_a_kind_of_job(
    tmp_path: Path, second_package: JobKind[object]
) -> None:
    home = tmp_path / "home"
    context = Context(Settings(), Workspace(home=home))
    facade = Jobs(context, Catalog.of(context).runs)
    job_id = facade.add(second_package, second_package.from_json({"words": ["a", "b"], "times": 3}))
    done = ended(open_queue(home, built_in.__name__), job_id)
    assert (done.state, done.sentence) == ("finished", "6 words")
    assert done.result == {"number": 6, "seed": Settings().training.seed}
    assert facade.progress(job_id).stage in {"counting", "starting"}
    assert not done.can_resume


def test_a_kind_that_is_unknown_is_one_clear_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    queue = open_queue(home, built_in.__name__)
    queue.folder.mkdir(parents=True)
    raw = Settings().model_dump(mode="json")
    unknown = ended(queue, queue.add("fold", {}, raw).id)
    assert unknown.state == "failed"
    assert unknown.sentence == (
        f"job {unknown.id} is of kind 'fold', which is not known here, "
        "expected one of demo, deploy, evaluate, forecast, train"
    )
    assert unknown.next_command == "update the program, or remove the job"
    gone = ended(queue, queue.add("fold", {}, raw, module="no_such_package.kinds").id)
    assert "registered by no_such_package.kinds, which cannot be imported here" in gone.sentence
    bent = ended(queue, queue.add("deploy", {"run": "r", "run_id": 3}, raw).id)
    assert "has a parameter this version does not take (run_id)" in bent.sentence


def test_a_kind_that_cannot_be_resumed_says_so(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path, lambda _: [sys.executable, "-c", "import time; time.sleep(60)"])
    first = queue.add("x", {}, {}, is_resumable=False)
    waiting = queue.add("x", {}, {}, is_resumable=False)
    queue.ask(waiting.id, "pause")
    with pytest.raises(ConfigError, match="of kind 'x' cannot be resumed; start it anew"):
        queue.resume(waiting.id)
    os.kill(queue.job(first.id).pid, signal.SIGKILL)


def test_a_job_stored_before_modules_were_kept_is_read() -> None:
    old = {"id": "a", "kind": "train", "params": {}, "settings": {}, "created_at": ""}
    job = Job.from_dict(old)
    assert (job.module, job.is_resumable) == ("", True)
    kinds = JobKinds()
    with pytest.raises(DataError, match="expected one of none"):
        kinds.of(job)
    kinds.register(built_in.TRAIN)
    assert kinds.of(job, built_in.__name__) is built_in.TRAIN


@pytest.mark.parametrize("kind", [built_in.TRAIN, built_in.DEMO])
def test_parameters_survive_json(kind: JobKind[object]) -> None:
    assert kind.from_json(json.loads(json.dumps(kind.to_json(kind.params())))) == kind.params()


def test_parameters_with_further_runs_survive_json() -> None:
    params = built_in.EvaluateParams(run_id="a", run="/a", against="base", beside=("b", "c"))
    assert built_in.EVALUATE.from_json(built_in.EVALUATE.to_json(params)) == params


def test_parameters_that_do_not_survive_are_refused() -> None:
    assert PAINT.from_json(PAINT.to_json(Colour(name="red", shades=(1, 2)))).shades == (1, 2)
    with pytest.raises(ConfigError, match="'paint' do not survive JSON"):
        PAINT.to_json(Colour(name="red", shades=[1]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"does not take \(name\)"):
        PAINT.from_json({"shades": []})


def test_one_name_belongs_to_one_module() -> None:
    kinds = JobKinds()
    kinds.register(PAINT)
    kinds.register(PAINT)
    assert list(kinds) == [PAINT]
    assert (kinds.title("paint"), kinds.title("fold")) == ("Painting", "fold")
    other = JobKind(name="paint", title="", params=Colour, work=paint, module="elsewhere")
    with pytest.raises(ConfigError, match=r"elsewhere registers a kind of job 'paint'"):
        kinds.register(other)
