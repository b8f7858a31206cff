"""The kinds of jobs of the workbench, registered when this module is imported.

Light: what does the work, and the libraries it needs, are loaded in a job's own process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from fine_tuning.jobs.job_queue import JobQueue, open_queue
from fine_tuning.jobs.kinds import JobContext, JobKind, JobResult, later, register
from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.workbench.process import limit_spinning

P = TypeVar("P")
DEMO_RUN_ID = "handbook"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainParams:
    """A training: ``run_id`` is the run to make or to go on with."""

    run_id: str = ""
    base: str = ""
    preset: str = ""
    then_compare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateParams:
    """A comparison of the run in the folder ``run`` with ``against``, a run or ``base``."""

    run_id: str
    run: str
    against: str
    beside: tuple[str, ...] = ()
    judge: str = ""
    deploy_if_better: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployParams:
    """A deployment of the run in the folder ``run``; ``way`` "" tries the best first."""

    run_id: str
    run: str
    way: Way | Literal[""] = ""
    switch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoParams:
    """The demo, which makes one run."""

    run_id: str = DEMO_RUN_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastParams:
    """A measurement of what presets would take: ``settings`` by preset, ``key`` names them all."""

    key: str
    settings: Mapping[str, Mapping[str, object]]


def _work(name: str) -> Callable[[JobContext, P], JobResult]:
    """Return a function of :mod:`fine_tuning.workbench.job_work`, imported when it is called."""
    load: Callable[[JobContext, P], JobResult] = later(f"fine_tuning.workbench.job_work:{name}")

    def work(context: JobContext, params: P) -> JobResult:
        limit_spinning()  # before torch is loaded
        return load(context, params)

    return work


def _kind(name: str, title: str, params: type[P], *, makes_run: bool = False) -> JobKind[P]:
    """Register a kind whose work is the function of its name."""
    return register(
        JobKind(
            name=name,
            title=title,
            params=params,
            work=_work(name),
            module=__name__,
            makes_run=makes_run,
        )
    )


TRAIN = _kind("train", "Training", TrainParams, makes_run=True)
EVALUATE = _kind("evaluate", "Comparing", EvaluateParams)
DEPLOY = _kind("deploy", "Deploying", DeployParams)
DEMO = _kind("demo", "The demo", DemoParams)
FORECAST = _kind("forecast", "Measuring time and memory", ForecastParams)


def queue_of(home: Path) -> JobQueue:
    """Return the queue of a workspace; jobs whose file names no module are of kinds of this one."""
    return open_queue(home, __name__)
