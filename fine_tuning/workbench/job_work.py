"""What each kind of job does, and how it tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.events import RunEvent
from fine_tuning.core.run import EVALUATION_FILE, SETTINGS_FILE
from fine_tuning.workbench.demo import DEMO_SETTINGS, RUN_ID, run_demo
from fine_tuning.workbench.job_queue import Job, JobProgress, JobQueue
from fine_tuning.workbench.workbench import Workbench

TOLD_EVERY_S = 0.5
Found = tuple[str, dict[str, Any]]
"""A sentence on what was done, and what was found."""


class Teller:
    """Writes how far a job is, now and then; listens to runs and to long work alike."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue = queue
        self._job_id = job_id
        self._stage = ""
        self._told_s = self._began_s = 0.0
        self._began_at = 0
        self._num_steps = 0
        self._process = psutil.Process()

    def stage(self, name: str) -> None:
        """Say what begins."""
        self._tell(name, None, None, "")

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far a stage is."""
        now_s = time.monotonic()
        if what != self._stage:
            self._began_s, self._began_at = now_s, done
        share = done / total if total else None
        eta_s = None
        if total and done > self._began_at:
            eta_s = (now_s - self._began_s) / (done - self._began_at) * (total - done)
        self._tell(what, share, eta_s, "")

    def on_event(self, event: RunEvent) -> None:
        """Say how far a run is."""
        values = event.values
        self._num_steps = int(values.get("num_steps") or 0) or self._num_steps
        if event.kind == "step":
            eta_s = values.get("eta_s")
            share = event.step / self._num_steps if self._num_steps else None
            self._tell("training", share, float(eta_s) if eta_s is not None else None, "")
        elif event.kind in {"started", "resumed"}:
            self.stage("training")

    def _tell(self, stage: str, share: float | None, eta_s: float | None, message: str) -> None:
        now_s = time.monotonic()
        if stage == self._stage and now_s - self._told_s < TOLD_EVERY_S:
            return
        self._stage, self._told_s = stage, now_s
        self._queue.tell(
            self._job_id,
            JobProgress(
                stage=stage,
                fraction=None if share is None else min(1.0, max(0.0, share)),
                eta_s=eta_s,
                memory_bytes=int(self._process.memory_info().rss),
                message=message,
                updated_at=iso(SystemClock().now()),
            ),
        )


def train(bench: Workbench, job: Job, teller: Teller) -> Found:
    """Train the recorded conversations, or go on with the run that was begun."""
    folder = bench.workspace.runs / job.run_id
    if (folder / SETTINGS_FILE).exists():
        run = bench.resume(job.run_id, teller)
    else:
        run = bench.train(run_id=job.run_id, listener=teller)
    version = bench.version_of(run).name
    before, after = run.metrics.base_validation_loss, run.metrics.best_validation_loss
    told = f"{version} is trained"
    if before and after:
        told += f"; its loss on held-back chats went from {before:.2f} to {after:.2f}"
    if job.params.get("then_compare"):
        deploys = bench.settings.deployment.auto_deploy
        bench.start_evaluation(str(run.folder), deploy_if_better=deploys)
    return told, {"run_id": run.run_id, "version": version}


def evaluate(bench: Workbench, job: Job, teller: Teller) -> Found:
    """Compare a run; deploy it if that was asked for and it is better."""
    params = job.params
    report = bench.evaluate(
        str(params["run"]),
        against=str(params["against"]),
        beside=list(params.get("beside") or ()),
        judge=str(params.get("judge") or ""),
    )
    outcome = report.verdict.outcome
    told = f"the verdict on {job.run_id} against {params['against']}: {outcome}"
    found: dict[str, Any] = {"run_id": job.run_id, "outcome": outcome}
    if params.get("deploy_if_better") and outcome == "promote":
        teller.stage("deploying")
        try:
            name = bench.deploy(str(params["run"])).deployed.name
        except FineTuningError as error:  # what was measured stands all the same
            told += f"; it was not deployed: {error.message}"
        else:
            found["deployed"] = name
            told += f"; it is deployed and proven, as {name}"
    return told, found


def deploy(bench: Workbench, job: Job, teller: Teller) -> Found:
    """Serve a version and prove it."""
    teller.stage("deploying")
    way: Any = job.params.get("way") or None
    done = bench.deploy(str(job.params["run"]), way=way, switch=bool(job.params["switch"]))
    served = done.deployed
    return (
        f"{served.version} answers as {served.name} on {served.runtime}, and is proven",
        {"version": served.version, "name": served.name},
    )


def demo(bench: Workbench, _job: Job, teller: Teller) -> Found:
    """Load the samples, train, compare and deploy; a demo that was interrupted goes on."""
    own = Workbench(DEMO_SETTINGS, Workspace(home=bench.workspace.demo), teller.progress)
    folder = own.workspace.runs / RUN_ID
    if not (folder / SETTINGS_FILE).exists():
        run_demo(
            own.workspace.home, listener=teller, progress=teller.progress, on_stage=teller.stage
        )
    else:
        own.resume(RUN_ID, teller)
        if not (folder / EVALUATION_FILE).exists():
            teller.stage("evaluate")
            own.evaluate(RUN_ID, prompts=())
    teller.stage("deploying")
    done = bench.deploy(str(folder))
    return (
        f"the demo's model {done.deployed.version} is trained, compared and deployed",
        {"run_id": RUN_ID, "version": done.deployed.version, "name": done.deployed.name},
    )


def forecast(bench: Workbench, job: Job, teller: Teller) -> Found:
    """Measure what each preset would take; the data set is made once."""
    found: dict[str, Any] = {}
    num_examples = 0
    snapshot = None
    for name, raw in dict(job.params["settings"]).items():
        asked = Workbench(Settings.model_validate(raw), bench.workspace, bench.progress)
        teller.stage(f"measuring {name}")
        try:
            snapshot = snapshot or asked.prepare()
            num_examples = len(snapshot.split("train").examples)
            known = asked.forecast(snapshot)
        except FineTuningError as error:
            found[name] = {"error": error.message, "next_command": error.next_command}
        else:
            found[name] = {"num_steps": known.num_steps, **known.values()}
    return "time, memory and disk are measured", {"presets": found, "num_examples": num_examples}


WORK: dict[str, Callable[[Workbench, Job, Teller], Found]] = {
    "train": train,
    "evaluate": evaluate,
    "deploy": deploy,
    "demo": demo,
    "forecast": forecast,
}


def work_on(job: Job, settings: Settings, workspace: Workspace, queue: JobQueue) -> Found:
    """Do a job's work.

    Raises:
        InterruptedRunError: if a run was asked to end; it left a checkpoint.
        FineTuningError: as the work raises.
    """
    teller = Teller(queue, job.id)
    return WORK[job.kind](Workbench(settings, workspace, teller.progress), job, teller)
