"""Long work that goes on when the page is closed: asking for it, watching, pausing, resuming.

What a job does stands in ``job_work``, which runs in a process of its own; how jobs wait for each
other in :mod:`fine_tuning.jobs`. Runs that were started elsewhere are seen here too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeVar

from fine_tuning.config.loader import with_values
from fine_tuning.config.presets import PRESETS, find_preset
from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import DataError, TrainingError
from fine_tuning.core.events import RunEvent
from fine_tuning.core.json_value import trusted
from fine_tuning.core.naming import content_name
from fine_tuning.core.run import RunOverview
from fine_tuning.jobs.job import Job, JobProgress
from fine_tuning.jobs.job_queue import JobQueue
from fine_tuning.jobs.kinds import JobKind
from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.storage.run_files import read_overview
from fine_tuning.training.events_file import read_events
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.evaluate.task_builder import BASE
from fine_tuning.workbench.jobs.kinds import (
    DEMO,
    DEPLOY,
    EVALUATE,
    FORECAST,
    TRAIN,
    DemoParams,
    DeployParams,
    EvaluateParams,
    ForecastParams,
    TrainParams,
    queue_of,
)
from fine_tuning.workbench.locators import RunLocator
from fine_tuning.workbench.runs import overviews

P = TypeVar("P")


class Jobs:
    """What a user does with long work.

    Args:
        context: Settings, workspace and store.
        runs: Finds finished runs.
    """

    def __init__(self, context: Context, runs: RunLocator) -> None:
        self._context = context
        self._settings = context.settings
        self._workspace = context.workspace
        self._runs = runs

    @property
    def _queue(self) -> JobQueue:
        return queue_of(self._workspace.home)

    # Asking for it

    def add(self, kind: JobKind[P], params: P, settings: Settings | None = None) -> str:
        """Put a job of any registered kind into the queue; return its id.

        Args:
            kind: Its kind.
            params: What is to be done.
            settings: The settings it works by; None takes those in force.

        Raises:
            ConfigError: if the parameters do not survive JSON.
            StorageError: if the job cannot be written.
        """
        raw = kind.to_json(params)
        self._workspace.ensure(self._workspace.jobs)
        job = self._queue.add(
            kind.name,
            raw,
            (settings or self._settings).model_dump(mode="json"),
            module=kind.module,
            is_resumable=kind.is_resumable,
            makes_run=kind.makes_run,
        )
        return job.id

    def preset_settings(
        self, preset: str = "", overrides: Mapping[str, object] | None = None, base: str = ""
    ) -> Settings:
        """Return the settings of a run: those in force, then the preset's, then the overrides.

        Args:
            preset: See :mod:`config.presets`; "" takes none.
            overrides: By dotted key, such as ``training.lora_r``.
            base: The base model; "" takes that of the settings.

        Raises:
            ConfigError: if there is no such preset, or a value is not accepted; names all.
        """
        values = dict(find_preset(preset).values) if preset else {}
        values |= trusted(overrides or {})
        if base:
            values["training.base_model"] = base
        return with_values(self._settings, values)

    def start_training(
        self,
        preset: str = "balanced",
        overrides: Mapping[str, object] | None = None,
        *,
        base: str = "",
        then_compare: bool = True,
    ) -> str:
        """Put a training of the recorded conversations into the queue; return the job's id.

        The id is also the run's. See :meth:`preset_settings` for the arguments.

        Args:
            preset: A preset.
            overrides: What differs from it.
            base: The base model.
            then_compare: Whether the run is compared with its base when it is finished.

        Raises:
            ConfigError: as :meth:`preset_settings` raises.
            StorageError: if the job cannot be written.
        """
        settings = self.preset_settings(preset, overrides, base)
        name = settings.training.base_model
        params = TrainParams(preset=preset, base=name, then_compare=then_compare)
        return self.add(TRAIN, params, settings)

    def start_resuming(self, run_id: str) -> str:
        """Put the rest of an interrupted run into the queue; return the job's id.

        Raises:
            TrainingError: if there is no such run, or it is finished or at work.
        """
        run = next((one for one in self.runs() if one.run_id == run_id), None)
        if run is None or run.state != "interrupted":
            found = f"run {run_id!r} is {run.state}" if run else f"there is no run {run_id!r}"
            raise TrainingError(f"{found}, expected one that was interrupted")
        for job in self.all():
            if job.kind == TRAIN.name and job.run_id == run_id and job.can_resume:
                return self.resume(job.id).id
        return self.add(TRAIN, TrainParams(run_id=run_id, base=run.base_name))

    def start_evaluation(
        self,
        run: str = "latest",
        against: str = BASE,
        *,
        beside: Sequence[str] = (),
        judge: str = "",
        deploy_if_better: bool = False,
    ) -> str:
        """Put a comparison of a run into the queue; return the job's id.

        Args:
            run: The run to evaluate.
            against: ``base`` or an earlier run.
            beside: Further runs, shown on the same items.
            judge: A model that says blindly which replies are better.
            deploy_if_better: Deploy it when the verdict is to promote it.

        Raises:
            ModelNotFoundError: if one of them is not there.
        """
        finished_run = self._runs.find(run)
        for other in (against, *beside):
            if other != BASE:
                self._runs.find(other)
        params = EvaluateParams(
            run_id=finished_run.run_id,
            run=str(finished_run.folder),
            against=against,
            beside=tuple(beside),
            judge=judge,
            deploy_if_better=deploy_if_better,
        )
        return self.add(EVALUATE, params)

    def start_deployment(
        self, run: str = "latest", *, way: Way | Literal[""] = "", switch: bool = True
    ) -> str:
        """Put a deployment into the queue; return the job's id.

        Args:
            run: A run or a version.
            way: The one way to serve it by; "" tries the best first.
            switch: Give it to the chatbot at once.

        Raises:
            ModelNotFoundError: if there is no such run or version.
        """
        found = self._runs.find(run)
        params = DeployParams(run_id=found.run_id, run=str(found.folder), way=way, switch=switch)
        return self.add(DEPLOY, params)

    def start_demo(self) -> str:
        """Put the demo into the queue: samples, training, comparison, deployment; return its id.

        It lies apart from the user's own conversations. One that waits or is at work already is
        not begun twice.
        """
        for job in self.all():
            if job.kind == DEMO.name and not job.is_over:
                return job.id
        return self.add(DEMO, DemoParams())

    # Forecasts

    def start_forecast(self, overrides: Mapping[str, object] | None = None, base: str = "") -> str:
        """Put a measurement of what each preset would take into the queue; return the job's id.

        Args:
            overrides: Values that replace those of each preset; None replaces none.
            base: The base model; "" takes that of the settings.
        """
        settings = {name: self.preset_settings(name, overrides, base) for name in PRESETS}
        asked = {name: one.model_dump(mode="json") for name, one in settings.items()}
        key = self._forecast_key(settings)
        for job in self.all():
            if job.kind == FORECAST.name and job.params.get("key") == key and not job.is_over:
                return job.id
        return self.add(FORECAST, ForecastParams(key=key, settings=asked))

    def forecast_job(
        self, overrides: Mapping[str, object] | None = None, base: str = ""
    ) -> Job | None:
        """Return the newest measurement of exactly these settings and conversations, if any.

        Args:
            overrides: As given to :meth:`start_forecast`.
            base: As given to :meth:`start_forecast`.
        """
        key = self._forecast_key(
            {name: self.preset_settings(name, overrides, base) for name in PRESETS}
        )
        made = [j for j in self.all() if j.kind == FORECAST.name and j.params.get("key") == key]
        return made[-1] if made else None

    def _forecast_key(self, settings: Mapping[str, Settings]) -> str:
        """Name everything a forecast depends on: settings, conversations, the base's file."""
        sections = ("data_collection", "data_preparation", "training")
        asked = {
            name: {key: getattr(one, key).model_dump(mode="json") for key in sections}
            for name, one in settings.items()
        }
        token = self._context.store.change_token()
        return content_name({"forecast": 1, "settings": asked, "log": token})

    # Watching and steering

    def all(self) -> list[Job]:
        """Return all jobs, oldest first; one whose process died says so from now on."""
        return self._queue.jobs()

    def find(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            DataError: if there is none.
        """
        return self._queue.job(job_id)

    def progress(self, job_id: str) -> JobProgress:
        """Return how far a job is."""
        return self._queue.progress(job_id)

    def pause(self, job_id: str) -> Job:
        """Let a job save what it did and wait until it is resumed; return it as it is now.

        Raises:
            ConfigError: if it is over.
        """
        return self._queue.ask(job_id, "pause")

    def stop(self, job_id: str) -> Job:
        """Let a job save what it did and end, resumable all the same; return it as it is now.

        Raises:
            ConfigError: if it is over.
        """
        return self._queue.ask(job_id, "stop")

    def resume(self, job_id: str) -> Job:
        """Let a job go on where it stopped, when those before it are done; return it.

        Raises:
            ConfigError: if it is queued, at work or finished.
        """
        return self._queue.resume(job_id)

    def remove(self, job_id: str) -> None:
        """Take a job that is not at work off the list; what it made stays.

        Raises:
            ConfigError: if it is at work.
        """
        self._queue.remove(job_id)

    # Runs

    def runs(self) -> list[RunOverview]:
        """Return all runs of the workspace and its demo, wherever started, oldest first."""
        return overviews(self._workspace)

    def run_events(self, run_id: str) -> list[RunEvent]:
        """Return what a run told, oldest first; nothing before its first step.

        Args:
            run_id: Its id, or its folder where the demo has a run of that id too.

        Raises:
            DataError: if there is no such run.
        """
        return list(read_events(self._overview(run_id).events_path))

    def interrupt_run(self, run_id: str) -> None:
        """Ask a run to save a checkpoint and end, whoever started it, as Ctrl-C does.

        Raises:
            DataError: if there is no such run.
            TrainingError: if no process works on it.
        """
        run = self._overview(run_id)
        if run.state != "running":
            raise TrainingError(f"run {run_id} is {run.state}, expected one that is running")
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGINT)

    def _overview(self, run_id: str) -> RunOverview:
        for place in (self._workspace.runs, self._workspace.demo / "fine_tuned_models"):
            if (found := read_overview(place / run_id)) is not None:
                return found
        raise DataError(f"there is no run {run_id!r} in {self._workspace.runs}")
