"""What is running, seen live: progress, time left, memory, loss curves; pause, stop and resume.

Refreshes itself every two seconds while something is under way, and not at all otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.run import RunOverview
from fine_tuning.integration.app.common import show_error, told, workbench
from fine_tuning.integration.app.formatting import duration, plain, size
from fine_tuning.integration.app.train_curves import loss_chart
from fine_tuning.jobs.job import Job, JobProgress
from fine_tuning.jobs.kinds import KINDS

REFRESH_S = 2.0
UNDER_WAY = ("running", "queued")
STATES = {
    "running": (":material/play_circle:", "running", "blue"),
    "queued": (":material/schedule:", "waiting", "gray"),
    "paused": (":material/pause_circle:", "paused", "orange"),
    "stopped": (":material/stop_circle:", "stopped", "orange"),
    "failed": (":material/error:", "failed", "red"),
    "finished": (":material/check_circle:", "done", "green"),
}
SEEN = "jobs-under-way"


def at_work(place: str) -> None:
    """Show what is under way or paused, on any page.

    Args:
        place: Where it stands, for the names of its buttons.
    """
    is_busy = False
    with told():
        bench = workbench()
        is_busy = any(job.state in UNDER_WAY for job in bench.jobs.all()) or any(
            run.state == "running" for run in bench.jobs.runs()
        )
    st.fragment(_panel, run_every=REFRESH_S if is_busy else None)(place)


def _panel(place: str) -> None:
    with told():
        bench = workbench()
        jobs = bench.jobs.all()
        busy = [job.id for job in jobs if job.state in UNDER_WAY]
        elsewhere = [
            run
            for run in bench.jobs.runs()
            if run.state == "running" and run.pid not in {job.pid for job in jobs}
        ]
        busy += [run.run_id for run in elsewhere]
        before = st.session_state.get(SEEN)
        st.session_state[SEEN] = busy
        if before is not None and set(before) - set(busy):
            _tell_ends([job for job in jobs if job.id in set(before) - set(busy)])
            st.rerun()  # what was made belongs on the rest of the page
        for job in jobs:
            if job.state in {*UNDER_WAY, "paused"}:
                _card(job, place)
        for run in elsewhere:
            _foreign_card(run, place)


def _tell_ends(jobs: list[Job]) -> None:
    for job in jobs:
        icon, word, _ = STATES[job.state]
        sentence = plain(job.sentence[:1].upper() + job.sentence[1:])
        st.toast(f"**{title_of(job)}**: {word}  \n{sentence}", icon=icon)


def title_of(job: Job) -> str:
    """Return what a job is called."""
    title = plain(KINDS.title(job.kind))
    return title if job.kind == "demo" else f"{title} {plain(job.run_id)}".strip()


def _card(job: Job, place: str) -> None:
    icon, word, color = STATES[job.state]
    with st.container(border=True):
        st.markdown(f"**{icon} {title_of(job)}** :{color}-badge[{word}]")
        if about := _about(job):
            st.caption(about)
        if job.wish:
            word = "Pausing" if job.wish == "pause" else "Stopping"
            st.caption(f"{word}: progress is being saved.")
        if job.state == "running":
            _progress(workbench().jobs.progress(job.id))
            if job.kind in {"train", "demo"}:
                _curves(job.run_id, is_demo=job.kind == "demo")
        elif job.sentence:
            st.caption(plain(job.sentence))
        _buttons(job, place)


def _about(job: Job) -> str:
    """Return what distinguishes a job from others of its kind."""
    known = job.params
    if job.kind == "train" and known.get("preset"):
        return plain(f"{str(known['preset']).capitalize()}, on {known.get('base', '')}")
    if job.kind == "evaluate":
        against = Path(str(known.get("against", ""))).name
        return plain(f"Against {against}")
    return ""


def _progress(known: JobProgress) -> None:
    words = plain(known.stage[:1].upper() + known.stage[1:]) or "Starting"
    told_of = []
    if known.fraction is not None:
        told_of.append(f"{known.fraction * 100:.0f} %")
    if known.eta_s is not None and known.eta_s > 0:
        told_of.append(f"{duration(known.eta_s)} left")
    if known.memory_bytes:
        told_of.append(f"{size(known.memory_bytes)} of memory")
    st.progress(known.fraction or 0.0, text=" · ".join([words, *told_of]))


def _curves(run_id: str, *, is_demo: bool) -> None:
    runs = [r for r in workbench().jobs.runs() if r.run_id == run_id and r.is_demo == is_demo]
    if not runs or runs[0].state == "finished":
        return
    loss_chart(runs[0])


def _buttons(job: Job, place: str) -> None:
    bench = workbench()
    with st.container(horizontal=True):
        if (
            job.state in UNDER_WAY
            and not job.wish
            and st.button("Pause", icon=":material/pause:", key=f"{place}-pause-{job.id}")
        ):
            _do(bench.jobs.pause, job.id)
        if job.state == "paused" and st.button(
            "Resume", icon=":material/play_arrow:", key=f"{place}-resume-{job.id}", type="primary"
        ):
            _do(bench.jobs.resume, job.id)
        if job.wish != "stop" and st.button(
            "Stop",
            icon=":material/stop:",
            key=f"{place}-stop-{job.id}",
            help="Progress is saved; it can be resumed later.",
        ):
            _do(bench.jobs.remove if job.state == "paused" else bench.jobs.stop, job.id)


def _do(what: Callable[[str], object], job_id: str) -> None:
    """Do something to a job and show the page anew; what goes wrong is told in its place."""
    try:
        what(job_id)
    except FineTuningError as error:
        show_error(error)
        return
    st.rerun()


def _foreign_card(run: RunOverview, place: str) -> None:
    with st.container(border=True):
        st.markdown(f"**:material/terminal: Training {plain(run.run_id)}** :blue-badge[running]")
        st.caption("Started from the command line.")
        events = workbench().jobs.run_events(run.run_id)
        steps = [event for event in events if event.kind == "step"]
        told_of = [_number(e.values["num_steps"]) for e in events if "num_steps" in e.values]
        total = told_of[-1] if told_of else 0.0
        if steps and total:
            last = steps[-1]
            known = JobProgress(
                stage="training",
                fraction=min(1.0, last.step / total),
                eta_s=_number(last.values.get("eta_s")),
                memory_bytes=int(_number(last.values.get("memory_bytes"))),
            )
            _progress(known)
        loss_chart(run)
        if st.button("Stop", icon=":material/stop:", key=f"{place}-interrupt-{run.run_id}"):
            workbench().jobs.interrupt_run(run.run_id)


def _number(value: float | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
