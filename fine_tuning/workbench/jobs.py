"""Long work that goes on when the page is closed: asking for it, watching, pausing, resuming.

What a job does stands in ``job_process``, which is its own program; how jobs wait for each other in
``job_queue``. Runs that were started elsewhere are seen here too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fine_tuning.config.loader import with_values
from fine_tuning.config.presets import PRESETS, find_preset
from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import DataError, TrainingError
from fine_tuning.core.events import RunEvent
from fine_tuning.core.naming import content_name
from fine_tuning.core.run import RunOverview
from fine_tuning.storage.run_files import read_overview
from fine_tuning.training.events_file import read_events
from fine_tuning.workbench.base import WorkbenchBase
from fine_tuning.workbench.job_queue import Job, JobProgress, Kind, queue_of
from fine_tuning.workbench.judging import BASE
from fine_tuning.workbench.runs import overviews


class Jobs(WorkbenchBase):
    """What a user does with long work."""

    # Asking for it

    def preset_settings(
        self, preset: str = "", overrides: Mapping[str, Any] | None = None, base: str = ""
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
        values |= overrides or {}
        if base:
            values["training.base_model"] = base
        return with_values(self.settings, values)

    def start_training(
        self,
        preset: str = "balanced",
        overrides: Mapping[str, Any] | None = None,
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
        params = {"preset": preset, "base": name, "then_compare": then_compare}
        return self._add("train", params, settings)

    def start_resuming(self, run_id: str) -> str:
        """Put the rest of an interrupted run into the queue; return the job's id.

        Raises:
            TrainingError: if there is no such run, or it is finished or at work.
        """
        run = next((one for one in self.runs() if one.run_id == run_id), None)
        if run is None or run.state != "interrupted":
            found = f"run {run_id!r} is {run.state}" if run else f"there is no run {run_id!r}"
            raise TrainingError(f"{found}, expected one that was interrupted")
        for job in self.jobs():
            if job.kind == "train" and job.run_id == run_id and job.can_resume:
                return self.resume_job(job.id).id
        return self._add("train", {"run_id": run_id, "base": run.base_name})

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
            run: The run to judge.
            against: ``base`` or an earlier run.
            beside: Further runs, shown on the same items.
            judge: A model that says blindly which replies are better.
            deploy_if_better: Deploy it when the verdict is to promote it.

        Raises:
            ModelNotFoundError: if one of them is not there.
        """
        found = self.find_run(run)
        for other in (against, *beside):
            if other != BASE:
                self.find_run(other)
        params = {
            "run_id": found.run_id,
            "run": str(found.folder),
            "against": against,
            "beside": list(beside),
            "judge": judge,
            "deploy_if_better": deploy_if_better,
        }
        return self._add("evaluate", params)

    def start_deployment(self, run: str = "latest", *, way: str = "", switch: bool = True) -> str:
        """Put a deployment into the queue; return the job's id.

        Args:
            run: A run or a version.
            way: The one way to serve it by; "" tries the best first.
            switch: Give it to the chatbot at once.

        Raises:
            ModelNotFoundError: if there is no such run or version.
        """
        found = self.find_run(run)
        params = {"run_id": found.run_id, "run": str(found.folder), "way": way, "switch": switch}
        return self._add("deploy", params)

    def start_demo(self) -> str:
        """Put the demo into the queue: samples, training, comparison, deployment; return its id.

        It lies apart from the user's own conversations. One that waits or is at work already is
        not begun twice.
        """
        for job in self.jobs():
            if job.kind == "demo" and not job.is_over:
                return job.id
        return self._add("demo", {"run_id": "handbook"})

    # Forecasts

    def start_forecast(self, overrides: Mapping[str, Any] | None = None, base: str = "") -> str:
        """Put a measurement of what each preset would take into the queue; return the job's id."""
        settings = {name: self.preset_settings(name, overrides, base) for name in PRESETS}
        asked = {name: one.model_dump(mode="json") for name, one in settings.items()}
        key = self._forecast_key(settings)
        for job in self.jobs():
            if job.kind == "forecast" and job.params.get("key") == key and not job.is_over:
                return job.id
        return self._add("forecast", {"key": key, "settings": asked})

    def forecast_job(
        self, overrides: Mapping[str, Any] | None = None, base: str = ""
    ) -> Job | None:
        """Return the newest measurement of exactly these settings and conversations, if any."""
        key = self._forecast_key(
            {name: self.preset_settings(name, overrides, base) for name in PRESETS}
        )
        made = [j for j in self.jobs() if j.kind == "forecast" and j.params.get("key") == key]
        return made[-1] if made else None

    def _forecast_key(self, settings: Mapping[str, Settings]) -> str:
        """Name everything a forecast depends on: settings, conversations, the base's file."""
        sections = ("data_collection", "data_preparation", "training")
        asked = {
            name: {key: getattr(one, key).model_dump(mode="json") for key in sections}
            for name, one in settings.items()
        }
        return content_name({"forecast": 1, "settings": asked, "log": self.store.change_token()})

    # Watching and steering

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first; one whose process died says so from now on."""
        return queue_of(self.workspace.home).jobs()

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            DataError: if there is none.
        """
        return queue_of(self.workspace.home).job(job_id)

    def job_progress(self, job_id: str) -> JobProgress:
        """Return how far a job is."""
        return queue_of(self.workspace.home).progress(job_id)

    def pause_job(self, job_id: str) -> Job:
        """Let a job save what it did and wait until it is resumed.

        Raises:
            ConfigError: if it is over.
        """
        return queue_of(self.workspace.home).ask(job_id, "pause")

    def stop_job(self, job_id: str) -> Job:
        """Let a job save what it did and end; it can be resumed all the same.

        Raises:
            ConfigError: if it is over.
        """
        return queue_of(self.workspace.home).ask(job_id, "stop")

    def resume_job(self, job_id: str) -> Job:
        """Let a job go on where it stopped, when those before it are done.

        Raises:
            ConfigError: if it is queued, at work or finished.
        """
        return queue_of(self.workspace.home).resume(job_id)

    def remove_job(self, job_id: str) -> None:
        """Take a job that is not at work off the list; what it made stays.

        Raises:
            ConfigError: if it is at work.
        """
        queue_of(self.workspace.home).remove(job_id)

    # Runs

    def runs(self) -> list[RunOverview]:
        """Return all runs of the workspace and its demo, wherever started, oldest first."""
        return overviews(self.workspace)

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
        for place in (self.workspace.runs, self.workspace.demo / "fine_tuned_models"):
            if (found := read_overview(place / run_id)) is not None:
                return found
        raise DataError(f"there is no run {run_id!r} in {self.workspace.runs}")

    def _add(self, kind: Kind, params: Mapping[str, Any], settings: Settings | None = None) -> str:
        self.workspace.ensure(self.workspace.jobs)
        raw = (settings or self.settings).model_dump(mode="json")
        return queue_of(self.workspace.home).add(kind, params, raw).id
