"""Homes in every state a page may meet, and a page run in them without a browser."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fine_tuning.core.events import RunEvent
from fine_tuning.jobs.job import Job
from fine_tuning.jobs.job_queue import JobQueue
from fine_tuning.workbench.workbench import Workbench
from tests.workbench.trained import TOPICS, Trained

LIMIT_S = 60
SLEEPER = """
import sys, time
from pathlib import Path
from fine_tuning.jobs.job import JobProgress
from fine_tuning.jobs.job_queue import JobQueue

folder, job_id, lock = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
queue = JobQueue(folder, lambda job: [sys.executable, __file__, str(folder), job.id])
try:
    queue.tell(job_id, JobProgress(stage="training", fraction=0.25, eta_s=90, memory_bytes=3 << 30))
    time.sleep(600)
    outcome = {"state": "finished"}
except KeyboardInterrupt:
    state = "paused" if queue.own(job_id).wish == "pause" else "stopped"
    outcome = {"state": state, "sentence": "interrupted at step 3 of 12"}
queue.end(job_id, lock, **outcome)
"""


def settle_in(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pages work in a trained workspace, on one thread, without a store of Ollama."""
    monkeypatch.setenv("FINE_TUNING_HOME", str(trained.home))
    monkeypatch.setenv("FINE_TUNING__TRAINING__BASE_MODEL", trained.name)
    monkeypatch.setenv("FINE_TUNING__TRAINING__THREADS", "1")
    monkeypatch.setenv("OLLAMA_MODELS", str(trained.home / "no-store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def page(name: str, **session: object) -> AppTest:
    """Return a page that has run once."""

    def script(module: str) -> None:
        from importlib import import_module  # noqa: PLC0415 - this text runs alone

        import_module(f"fine_tuning.integration.app.{module}").show()

    app = AppTest.from_function(script, default_timeout=LIMIT_S, kwargs={"module": name})
    for key, value in session.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Return all a page says, a piece a line."""
    pieces = [app.markdown, app.caption, app.info, app.warning, app.error, app.success]
    return "\n".join(str(one.value) for part in pieces for one in part)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def press(app: AppTest, label: str) -> AppTest:
    """Press a button by its label."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def log_conversations(bench: Workbench) -> None:
    logger = bench.data.logger()
    for number, topic in enumerate(TOPICS):
        logger.log_conversation(
            f"Tell me thing {number} about {topic}.", f"Of {topic} I know {number}.",
            session_id=str(number),
        )  # fmt: skip


def sleeping_queue(bench: Workbench) -> JobQueue:
    """Return the workspace's queue, whose jobs say how far they are and then sleep."""
    program, folder = bench.context.workspace.home / "sleeper.py", bench.context.workspace.jobs
    bench.context.workspace.home.mkdir(parents=True, exist_ok=True)
    program.write_text(SLEEPER, encoding="utf-8")
    return JobQueue(folder, lambda job: [sys.executable, str(program), str(folder), job.id])


def sleeping_job(bench: Workbench, run_id: str = "monday") -> Job:
    params = {"run_id": run_id, "preset": "quick", "base": "embedded"}
    return sleeping_queue(bench).add(
        "train", params, bench.context.settings.model_dump(mode="json")
    )


def write_begun_run(bench: Workbench, run_id: str, *, pid: int = 0, num_steps: int = 12) -> Path:
    """Write the folder of a run that was begun elsewhere, at work in a process or left."""
    folder = bench.context.workspace.runs / run_id
    folder.mkdir(parents=True)
    about = {"run_id": run_id, "base_name": "embedded", "created_at": "2026-02-01T00:00:00+00:00"}
    (folder / "settings.json").write_text(json.dumps(about), encoding="utf-8")
    if pid:
        (folder / ".lock").write_text(f"{pid}\n", encoding="ascii")
    write_events(folder, num_steps)
    return folder


def write_events(folder: Path, num_steps: int) -> None:
    time = "2026-02-01T00:00:00+00:00"
    told = [RunEvent(kind="started", time=time, values={"num_steps": 2 * num_steps})]
    for step in range(1, num_steps + 1):
        values = {"loss": 3.0 / step, "eta_s": 60.0, "memory_bytes": 1 << 30}
        told.append(RunEvent(kind="step", time=time, step=step, values=values))
    told.append(RunEvent(kind="validation", time=time, step=3, values={"validation_loss": 2.0}))
    lines = (json.dumps(event.to_dict()) + "\n" for event in told)
    (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")
