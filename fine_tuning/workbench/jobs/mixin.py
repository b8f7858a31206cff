"""The workbench's own names for what :class:`JobsFacade` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

from fine_tuning.config.schema import Settings
from fine_tuning.core.events import RunEvent
from fine_tuning.jobs.job import Job, JobProgress
from fine_tuning.model_management.ladder import Way
from fine_tuning.workbench.base import WorkbenchBase
from fine_tuning.workbench.jobs.facade import JobsFacade
from fine_tuning.workbench.judging import BASE
from fine_tuning.workbench.run_folders import RunOverview


class Jobs(WorkbenchBase):
    """What a user does with long work."""

    @cached_property
    def long_work(self) -> JobsFacade:
        """The workspace's jobs."""
        return JobsFacade(self.settings, self.workspace, find_run=self.find_run)

    def preset_settings(
        self, preset: str = "", overrides: Mapping[str, object] | None = None, base: str = ""
    ) -> Settings:
        """See :meth:`JobsFacade.preset_settings`."""
        return self.long_work.preset_settings(preset, overrides, base)

    def start_training(
        self,
        preset: str = "balanced",
        overrides: Mapping[str, object] | None = None,
        *,
        base: str = "",
        then_compare: bool = True,
    ) -> str:
        """See :meth:`JobsFacade.start_training`."""
        return self.long_work.start_training(
            preset, overrides, base=base, then_compare=then_compare
        )

    def start_resuming(self, run_id: str) -> str:
        """See :meth:`JobsFacade.start_resuming`."""
        return self.long_work.start_resuming(run_id)

    def start_evaluation(
        self,
        run: str = "latest",
        against: str = BASE,
        *,
        beside: Sequence[str] = (),
        judge: str = "",
        deploy_if_better: bool = False,
    ) -> str:
        """See :meth:`JobsFacade.start_evaluation`."""
        return self.long_work.start_evaluation(
            run, against, beside=beside, judge=judge, deploy_if_better=deploy_if_better
        )

    def start_deployment(
        self, run: str = "latest", *, way: Way | Literal[""] = "", switch: bool = True
    ) -> str:
        """See :meth:`JobsFacade.start_deployment`."""
        return self.long_work.start_deployment(run, way=way, switch=switch)

    def start_demo(self) -> str:
        """See :meth:`JobsFacade.start_demo`."""
        return self.long_work.start_demo()

    def start_forecast(self, overrides: Mapping[str, object] | None = None, base: str = "") -> str:
        """See :meth:`JobsFacade.start_forecast`."""
        return self.long_work.start_forecast(overrides, base)

    def forecast_job(
        self, overrides: Mapping[str, object] | None = None, base: str = ""
    ) -> Job | None:
        """See :meth:`JobsFacade.forecast_job`."""
        return self.long_work.forecast_job(overrides, base)

    def jobs(self) -> list[Job]:
        """See :meth:`JobsFacade.all`."""
        return self.long_work.all()

    def job(self, job_id: str) -> Job:
        """See :meth:`JobsFacade.find`."""
        return self.long_work.find(job_id)

    def job_progress(self, job_id: str) -> JobProgress:
        """See :meth:`JobsFacade.progress`."""
        return self.long_work.progress(job_id)

    def pause_job(self, job_id: str) -> Job:
        """See :meth:`JobsFacade.pause`."""
        return self.long_work.pause(job_id)

    def stop_job(self, job_id: str) -> Job:
        """See :meth:`JobsFacade.stop`."""
        return self.long_work.stop(job_id)

    def resume_job(self, job_id: str) -> Job:
        """See :meth:`JobsFacade.resume`."""
        return self.long_work.resume(job_id)

    def remove_job(self, job_id: str) -> None:
        """See :meth:`JobsFacade.remove`."""
        self.long_work.remove(job_id)

    def runs(self) -> list[RunOverview]:
        """See :meth:`JobsFacade.runs`."""
        return self.long_work.runs()

    def run_events(self, run_id: str) -> list[RunEvent]:
        """See :meth:`JobsFacade.run_events`."""
        return self.long_work.run_events(run_id)

    def interrupt_run(self, run_id: str) -> None:
        """See :meth:`JobsFacade.interrupt_run`."""
        self.long_work.interrupt_run(run_id)
